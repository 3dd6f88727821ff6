"""Convex's system functions that its command line asks for, with the admin key.

_system/cli/modules:apiSpec      all functions with their validators: `npx convex function-spec`, `run`
_system/cli/convexUrl:cloudUrl   the address of this server: `function-spec`, `network-test`
_system/frontend/components:list the components: none
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, query
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.registry import Module, Registry, module, named
from daysong.transport.system.validators import api_spec


class Component(Args):
    """Which component; there is none but the app, which clients name by leaving it out."""

    component_id: str | None = None


def modules(registry: Registry) -> tuple[Module, ...]:
    """Return the modules of system functions that describe the functions of `registry`."""

    # Half a second of work, so it is done once, and not on the event loop.
    @cache
    def spec() -> list[dict[str, Any]]:
        return api_spec(describe(registry))

    @query
    async def api_spec_of_app(ctx: QueryContext, args: Component) -> Any:  # noqa: ARG001
        """Return all functions with their validators, as Convex's tools expect them."""
        return await asyncio.to_thread(spec)

    @query
    async def cloud_url(ctx: QueryContext, args: Component) -> str:  # noqa: ARG001
        """Return the public address of this server."""
        return ctx.settings.site_url

    @query
    async def list_components(ctx: QueryContext, args: NoArgs) -> list[Any]:  # noqa: ARG001
        """Return the components: none."""
        return []

    return (
        module("_system/cli/modules", internal=(named("apiSpec", api_spec_of_app),)),
        module("_system/cli/convexUrl", internal=(cloud_url,)),
        module("_system/frontend/components", internal=(named("list", list_components),)),
    )
