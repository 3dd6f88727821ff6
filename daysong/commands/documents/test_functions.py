"""docs/FUNCTIONS.md, and which functions are public."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daysong.commands.documents.functions import as_json, document
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, given, mutation, query
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.registry import Registry, module
from daysong.surface import SURFACE

HERE = "daysong/commands/documents/test_functions.py"
DOCUMENT = Path(__file__).parents[3] / "docs" / "FUNCTIONS.md"

# The public functions, and no others. Q query, M mutation, A action.
PUBLIC = """
users: ensureCurrentUser M, getUserProfile Q, deleteAccount M, getSettings Q, updateSettings M
diaryMedia: generateUploadUrl A, createDiaryMedia M, getDiaryMedia Q, deleteDiaryMedia M
diaries: createDiary M, updateDiary M, deleteDiary M, listDiaries Q, pageDiaries Q, getDiary Q,
         getCalendar Q, onThisDay Q
events: getEvent Q, updateEvent M
memory/events: getTimelineEvents Q
memory/people: listPeople Q, getPersonDetail Q, updatePerson M, mergePeople M, generatePersonHighlight A
memory/tags: listTags Q
music: startDiaryMusicGeneration A, listPlaylistMusic Q, pagePlaylist Q, getMusic Q, softDeleteMusic M,
       getPlaylistOwnerNames Q, listTracks Q
videos: listVideosForMusic Q, getVideo Q, setAsPrimaryVideo M, deleteVideo M
videoActions: startVideoGeneration A
sharing: createShareLink M, getSharedMusic Q, recordShareView M, listSharedMusic Q, setSharePrivacy M,
         toggleSharePrivacy M, setShareOptions M, revokeShare M
userSongs: addFromShare M, isShareInLibrary Q, removeFromLibrary M
billing: getPlans Q, getCurrentUserStatus Q
usage: getCurrentUserUsage Q, canCurrentUserGenerateMusic Q, checkUsageWithReconciliation A,
       recordCurrentUserMusicGeneration M, getUsageByWeek Q
callSettings: upsertCallSettings M, sendTestCall M, getNextCall Q
callJobs: getCallJobs Q, getCallJobStats Q, getCallSessions Q, getDashboardStats Q, deleteCallSession M
featureFlags: getUserFlags Q
emailNotify: addEmailNotification M
blog: listPublished Q, listRecent Q, listByTag Q, getBySlug Q, getDraftByPreviewToken Q, incrementViewCount M
pushNotifications: registerPushToken M, unregisterPushToken M, getMyPushTokens Q, setPreferences M, getPreferences Q
"""


def agreed() -> dict[str, str]:
    """The functions of PUBLIC by name, with their kinds."""
    found = {}
    for line in PUBLIC.replace(",\n", ",").strip().splitlines():
        module, _, listed = line.partition(":")
        for each in listed.split(","):
            name, kind = each.split()
            found[f"{module}:{name}"] = {"Q": "Query", "M": "Mutation", "A": "Action"}[kind]
    return found


def test_f10_the_public_functions_are_those_agreed_on_and_no_others() -> None:
    """Whatever else is registered is internal."""
    there = {function.identifier: function.kind.value for function in Registry(SURFACE) if function.public}
    assert there == agreed()


def test_the_document_is_what_is_registered() -> None:
    """If this fails: `daysong functions > docs/FUNCTIONS.md`."""
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == document(describe(Registry(SURFACE))), "run: daysong functions > docs/FUNCTIONS.md"


class Plant(Args):
    """What to plant."""

    bed_id: IdText
    seeds: list[str]
    depth: float = 2.5
    water: bool | msgspec.UnsetType = msgspec.UNSET


class Bed(Result):
    """A bed.

    With more to say.
    """

    id: str = msgspec.field(name="_id")
    grown: bool = False
    plants: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    beside: Bed | None = None


class Nothing(Result):
    """No bed."""

    reason: str


@mutation
async def plant(ctx: MutationContext, args: Plant) -> Bed:
    """Plant something
    in a bed.

    And more.
    """
    return Bed(id="bed", plants=given(None))


@query
async def beds(ctx: QueryContext, args: NoArgs) -> list[Bed] | Nothing | None:
    """All beds."""
    return None


room = module("garden", public=(beds,), internal=(plant,))


@pytest.mark.parametrize(
    "expected",
    [
        "## garden\n\n### garden:beds\n\nPublic query. All beds.\n\n- takes nothing\n",
        "- takes nothing\n- gives `[Bed] | Nothing | null`\n",
        "### garden:plant\n\nInternal mutation. Plant something in a bed.\n\n",
        "- takes `bedId: id, seeds: [string], depth?: number = 2.5, water?: boolean`\n- gives `Bed`\n",
        "### Bed\n\nA bed.\n\n- `_id: string`\n- `grown: boolean = false`\n- `plants?: {string: integer}`\n",
        "- `beside: Bed | null`\n",
        f"- handler [{HERE}](../{HERE}), `plant`\n",
        "### Nothing\n\nNo bed.\n\n- `reason: string`\n",
    ],
)
def test_a_function_is_described_by_what_it_takes_and_gives(expected: Any) -> None:
    """Public ones first; the first paragraph of the docstring; what may be left out and what is meant then."""
    assert expected in document(describe(Registry([room])))


def test_the_json_has_the_line_of_each_handler() -> None:
    """And whole docstrings, bounds and defaults."""
    garden = json.loads(as_json(describe(Registry([room]))))
    functions = garden["modules"][0]["functions"]
    assert [one["identifier"] for one in functions] == ["garden:beds", "garden:plant"]
    planted = functions[1]
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert planted["source"]["file"] == HERE
    assert "async def plant(" in "".join(lines[planted["source"]["line"] - 1 :][:2])
    assert (planted["summary"], planted["description"]) == ("Plant something in a bed.", "And more.")
    bed, _, depth, _ = planted["arguments"]["fields"]
    assert bed["shape"] == {"kind": "id", "bounds": {"minLength": 1, "maxLength": 64}}
    assert depth == {"name": "depth", "shape": {"kind": "number"}, "optional": True, "default": 2.5}
    assert [one["name"] for one in garden["types"]] == ["Bed", "Nothing"]
