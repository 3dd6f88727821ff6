"""Functions as TypeScript, without a compiler; with one: tests/conformance/test_types.py."""

from __future__ import annotations

import msgspec
import pytest

from daysong.commands.documents.typescript import document
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, mutation, query
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.registry import Registry, module


class Plant(Args):
    """What to plant."""

    bed_id: IdText
    seeds: list[str | None]
    depth: float = 2.5
    label: bytes | msgspec.UnsetType = msgspec.UNSET


class Error(Result):
    """A bed whose name TypeScript has already. */ alert(1)"""

    id: str = msgspec.field(name="_id")
    grown: bool = False
    plants: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    beside: Error | None = None
    odd: str | msgspec.UnsetType = msgspec.field(name="a-b", default=msgspec.UNSET)


class NoBed(ExpectedError):
    """No bed."""

    code = "no_bed"
    default_message = "No bed"


@mutation
async def plant(ctx: MutationContext, args: Plant) -> Error:
    """Plant something.

    And more. Errors: NoBed.
    """
    raise NoBed


class Page(Result):
    """A page."""

    page: list[str]
    is_done: bool
    continue_cursor: str


class GetPage(Args):
    """Which page, by either way of paging."""

    tag: str
    limit: int = 5
    cursor: str | None = None
    pagination_opts: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


@query
async def page(ctx: QueryContext, args: GetPage) -> Page | Error:
    """A page."""
    raise NoBed


@query
async def beds(ctx: QueryContext, args: NoArgs) -> list[Error] | None:
    """All beds."""
    return None


MODULES = [module("garden", public=(plant, page)), module("garden/old", internal=(beds,))]


@pytest.mark.parametrize(
    "expected",
    [
        "/** A bed whose name TypeScript has already. *\\/ alert(1) */\nexport type Error_ = {\n  _id: string;\n",
        "  grown: boolean;\n  plants?: Record<string, number>;\n  beside: Error_ | null;\n  \"a-b\"?: string;\n",
        'export type ErrorCode = "no_bed" | "part_is_off" | "rate_limited";\n',
        '  "garden:plant": "no_bed" | "part_is_off" | "rate_limited";\n',
        '  "garden/old:beds": "part_is_off" | "rate_limited";\n',
        "   * Plant something.\n",
        '    plant: FunctionReference<"mutation", "public", {\n      bedId: string;\n',
        "      seeds: Array<string | null>;\n      depth?: number;\n      label?: ArrayBuffer;\n    }, Error_>;\n",
        "export type PaginatedApi = {\n  garden: {\n    /** A page. */\n",
        '    page: FunctionReference<"query", "public", {\n      tag: string;\n',
        "      paginationOpts: PaginationOptions;\n    }, Page>;\n  };\n};\n",
        "export type InternalApi = {\n  garden: {\n    old: {\n      /** All beds. */\n",
        '      beds: FunctionReference<"query", "internal", Record<string, never>, Array<Error_> | null>;\n',
    ],
)  # fmt: skip
def test_functions_are_types(expected: str) -> None:
    """Arguments, results, codes, prose; nothing in a docstring ends a comment."""
    assert expected in document(describe(Registry(MODULES)))
