"""Authorization: every public function is called by every kind of caller with the ids of Alice's rows."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest

from daysong.kernel.errors import ArgumentValidationError, ExpectedError
from daysong.kernel.functions.context import Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from rehearsal import library, memories, photos
from rehearsal.blog import write_post
from rehearsal.calls import call_history
from rehearsal.library import Song
from rehearsal.world import Person, World, public_functions

pytestmark = pytest.mark.anyio

# Outcomes of a call besides the code of an expected error.
ANSWER = "an answer"
EMPTY = "nothing"  # null, an empty list or page, or {found: false}
UNAUTHORIZED = "unauthorized"


class Ends(NamedTuple):
    """The outcome of a function for each kind of caller."""

    anonymous: str
    stranger: str
    owner: str = ANSWER


OWN_THINGS = Ends(anonymous=EMPTY, stranger=EMPTY)  # of the caller; Bob has none
OWN_STATE = Ends(anonymous=EMPTY, stranger=ANSWER)
ANYBODY = Ends(anonymous=ANSWER, stranger=ANSWER)
ACCOUNT = Ends(anonymous=UNAUTHORIZED, stranger=ANSWER)
OWN_CALLS = Ends(anonymous=UNAUTHORIZED, stranger=EMPTY)


def owner_only(refusal: str, owner: str = ANSWER) -> Ends:
    """Return the outcomes of a function that changes a row named in its arguments."""
    return Ends(anonymous=UNAUTHORIZED, stranger=refusal, owner=owner)


EXPECTED: dict[str, Ends] = {
    "users:ensureCurrentUser": ACCOUNT,
    "users:getUserProfile": OWN_STATE,
    "users:deleteAccount": ACCOUNT,
    "users:getSettings": OWN_STATE,
    "users:updateSettings": ACCOUNT,
    "diaries:createDiary": ACCOUNT,
    "diaries:updateDiary": owner_only("forbidden"),
    "diaries:deleteDiary": owner_only("forbidden", owner=EMPTY),
    "diaries:listDiaries": OWN_THINGS,
    "diaries:pageDiaries": OWN_THINGS,
    "diaries:getDiary": OWN_THINGS,
    "diaries:getCalendar": OWN_THINGS,
    "diaries:onThisDay": OWN_THINGS,
    "diaryMedia:generateUploadUrl": ACCOUNT,
    "diaryMedia:createDiaryMedia": owner_only("forbidden"),
    "diaryMedia:getDiaryMedia": OWN_THINGS,
    "diaryMedia:deleteDiaryMedia": owner_only("forbidden", owner=EMPTY),
    "events:getEvent": OWN_THINGS,
    "events:updateEvent": owner_only("event_not_found", owner=EMPTY),
    "memory/events:getTimelineEvents": OWN_THINGS,
    "memory/people:listPeople": OWN_THINGS,
    "memory/people:getPersonDetail": OWN_THINGS,
    "memory/people:updatePerson": owner_only("person_not_found", owner=EMPTY),
    "memory/people:mergePeople": owner_only("person_not_found", owner=EMPTY),
    "memory/people:generatePersonHighlight": owner_only("person_not_found"),
    "memory/tags:listTags": OWN_THINGS,
    "music:startDiaryMusicGeneration": owner_only("forbidden"),
    "music:listPlaylistMusic": OWN_THINGS,
    "music:pagePlaylist": OWN_THINGS,
    "music:getMusic": OWN_THINGS,
    "music:listTracks": OWN_THINGS,
    "music:softDeleteMusic": owner_only("music_not_found", owner=EMPTY),
    "videos:listVideosForMusic": OWN_THINGS,
    "videos:getVideo": OWN_THINGS,
    "videos:setAsPrimaryVideo": owner_only("not_authorized_for_video", owner=EMPTY),
    "videos:deleteVideo": owner_only("not_authorized_for_video", owner=EMPTY),
    "videoActions:startVideoGeneration": owner_only("music_not_found"),
    "music:getPlaylistOwnerNames": OWN_THINGS,
    "userSongs:addFromShare": ACCOUNT,
    "userSongs:isShareInLibrary": ANYBODY,
    "userSongs:removeFromLibrary": owner_only("user_song_not_found", owner=EMPTY),
    "sharing:createShareLink": owner_only("not_authorized_to_share"),
    "sharing:getSharedMusic": ANYBODY,
    "sharing:recordShareView": Ends(anonymous=EMPTY, stranger=EMPTY, owner=EMPTY),
    "sharing:listSharedMusic": OWN_THINGS,
    "sharing:setSharePrivacy": owner_only("share_not_found"),
    "sharing:toggleSharePrivacy": owner_only("share_not_found"),
    "sharing:setShareOptions": owner_only("share_not_found"),
    "sharing:revokeShare": owner_only("share_not_found", owner=EMPTY),
    "billing:getPlans": ANYBODY,
    "billing:getCurrentUserStatus": OWN_STATE,
    "usage:getCurrentUserUsage": OWN_STATE,
    "usage:canCurrentUserGenerateMusic": ANYBODY,
    "usage:checkUsageWithReconciliation": ACCOUNT,
    "usage:recordCurrentUserMusicGeneration": ACCOUNT,
    "usage:getUsageByWeek": OWN_STATE,
    "callSettings:upsertCallSettings": owner_only(ANSWER),
    "callSettings:sendTestCall": owner_only("call_settings_not_found"),
    "callSettings:getNextCall": OWN_THINGS,
    "callJobs:getCallJobs": OWN_CALLS,
    "callJobs:getCallJobStats": Ends(anonymous=UNAUTHORIZED, stranger=ANSWER),
    "callJobs:getCallSessions": OWN_CALLS,
    "callJobs:deleteCallSession": owner_only("call_session_not_found", owner=EMPTY),
    "callJobs:getDashboardStats": Ends(anonymous=UNAUTHORIZED, stranger=ANSWER),
    "featureFlags:getUserFlags": OWN_STATE,
    "emailNotify:addEmailNotification": ANYBODY,
    "blog:listPublished": ANYBODY,
    "blog:listRecent": ANYBODY,
    "blog:listByTag": ANYBODY,
    "blog:getBySlug": ANYBODY,
    "blog:getDraftByPreviewToken": Ends(anonymous=EMPTY, stranger=EMPTY, owner=EMPTY),
    "blog:incrementViewCount": Ends(anonymous=EMPTY, stranger=EMPTY, owner=EMPTY),
    "pushNotifications:registerPushToken": owner_only(EMPTY, owner=EMPTY),
    "pushNotifications:unregisterPushToken": owner_only(EMPTY, owner=EMPTY),
    "pushNotifications:getMyPushTokens": OWN_THINGS,
    "pushNotifications:setPreferences": ACCOUNT,
    "pushNotifications:getPreferences": OWN_STATE,
}
# For a deleted account, where it differs from an anonymous caller: its share links stop working too.
GONE = {
    "sharing:getSharedMusic": EMPTY,
    "usage:checkUsageWithReconciliation": "user_not_found",
    "memory/people:generatePersonHighlight": "user_not_found",
}
# Recording a view changes only the share.
COUNTED = {"share_viewers"}

# Queries first, and the deletion of the account last.
FUNCTIONS = sorted(
    public_functions(), key=lambda function: (function.identifier == "users:deleteAccount", function.kind != Kind.QUERY)
)


class Library(NamedTuple):
    """Alice's rows: a shared song, a private one and a call, with the texts that no other caller may receive."""

    owner: str
    shared: Song
    private: Song
    arguments: dict[str, Any]
    secrets: list[str]


@pytest.fixture
async def alices(world: World, alice: Person) -> Library:
    """Create Alice's library."""
    shared, private = await library.fill(world, "alice", 2)
    link = await alice.mutation("sharing:createShareLink", musicId=shared.music_id)
    [share] = await alice.query("sharing:listSharedMusic")
    owner = (await alice.mutation("users:ensureCurrentUser"))["userId"]
    attached = await photos.attached(world, alice, shared.diary_id)
    [video] = await library.film(world, shared)
    waiting = await photos.uploaded(world, alice)
    calls = await call_history.wants_calls(alice)
    await call_history.had_calls(world, "alice", 2)
    await call_history.has_talked(world, "alice", 2)
    post = await write_post(world)
    bobs = await library.of_another(world, alice)
    await alice.mutation("pushNotifications:registerPushToken", token="ExpoPushToken[alices-phone]", platform="ios")
    memory = (await memories.fill(world, "alice", 2))[0]
    await world.db.pool.execute("update diaries set date = date - interval '365 days' where id = $1", private.diary_id)
    return Library(
        owner=owner,
        shared=shared,
        private=private,
        arguments={
            "diaryId": shared.diary_id,
            "sessionId": await world.db.pool.fetchval("select min(id) from call_sessions where user_id = $1", owner),
            "musicId": shared.music_id,
            "eventId": memory.event_id,
            "personId": memory.person_id,
            "intoPersonId": memory.person_id,
            "shareId": link["shareId"],
            "userSongId": bobs["userSongId"],
            "sharedMusicId": share["_id"],
            "isPrivate": True,
            "storageId": waiting,
            "mediaId": attached,
            "videoId": video,
            "mediaType": "photo",
            "contentType": "image/jpeg",
            "fileSize": 100,
            "content": "Somebody was here",
            "phoneE164": call_history.SETTINGS["phoneE164"],
            "timezone": "America/New_York",
            "timeOfDay": "19:30",
            "cadence": "daily",
            "active": True,
            "email": "somebody@example.test",
            "postId": post["_id"],
            "slug": "a-post",
            "tag": "news",
            "previewToken": post["previewToken"],
            "year": world.clock.now().year,
            "date": f"{world.clock.now():%Y-%m-%d}",
            # Of no account: one that Alice holds would move, by design.
            "token": "ExpoPushToken[another-phone]",
            "platform": "android",
        },
        secrets=[
            "Secret thought",
            "user_alice",
            "alice@example.test",
            owner,
            shared.diary_id,
            shared.file_id,
            waiting,
            attached,
            video,
            "Secret scene",
            *private,
            "Song 2",
            "alices-phone",
            "Secret talk",
            "Secret friend",
            "Secret event",
            "Secret subject",
            "+1202555",
            calls["settingsId"],
        ],
    )


def arguments(function: Function, alices: Library) -> dict[str, Any]:
    """Return the arguments with ids of Alice's rows; `diaryId` also where it is optional."""
    described = msgspec.inspect.type_info(function.args_type)
    assert isinstance(described, msgspec.inspect.StructType)
    return {
        field.encode_name: alices.arguments[field.encode_name]
        for field in described.fields
        if field.required or field.encode_name == "diaryId"
    }


async def call(world: World, function: Function, args: dict[str, Any], headers: dict[str, str]) -> httpx2.Response:
    """Return the response to a call, success or error."""
    body = {"path": function.identifier, "args": args, "format": "json"}
    return await world.http.post(f"/api/{function.kind.value.lower()}", json=body, headers=headers)


def end(answer: httpx2.Response) -> str:
    """Return the outcome: ANSWER, EMPTY, or the code of an expected error."""
    assert answer.status_code == httpx2.codes.OK, answer.text
    said = answer.json()
    if said["status"] == "error":
        return str(said["errorData"]["code"])
    empty = said["value"] in (None, [], {}, {"page": [], "nextCursor": None}, {"found": False})
    return EMPTY if empty else ANSWER


async def assert_ends(world: World, function: Function, alices: Library, who: Person, expected: str) -> None:
    """Assert the expected outcome, without Alice's texts in it and without a change of her rows."""
    before = await library.digests(world, alices.owner)
    answer = await call(world, function, arguments(function, alices), who.headers)
    assert end(answer) == expected
    assert not [secret for secret in alices.secrets if secret in answer.text]
    after = await library.digests(world, alices.owner)
    assert {table for table in after if after[table] != before[table]} <= COUNTED


async def test_an_anonymous_caller_reaches_nothing_of_alices(
    world: World, alices: Library, anonymous: Person, subtests: pytest.Subtests
) -> None:
    """Without a token, only public data is returned."""
    for function in FUNCTIONS:
        with subtests.test(function.identifier):
            await assert_ends(world, function, alices, anonymous, EXPECTED[function.identifier].anonymous)


async def test_bob_reaches_nothing_of_alices(
    world: World, alices: Library, bob: Person, subtests: pytest.Subtests
) -> None:
    """With another account, only its own and public data is returned."""
    for function in FUNCTIONS:
        with subtests.test(function.identifier):
            await assert_ends(world, function, alices, bob, EXPECTED[function.identifier].stranger)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.identifier)
async def test_alice_may(world: World, alices: Library, alice: Person, function: Function) -> None:
    """The owner's calls succeed."""
    answer = await call(world, function, arguments(function, alices), alice.headers)
    assert end(answer) == EXPECTED[function.identifier].owner


async def test_a_deleted_account_reaches_nothing_of_what_was_its(
    world: World, alices: Library, alice: Person, subtests: pytest.Subtests
) -> None:
    """Its token still verifies, but counts as anonymous."""
    await world.db.pool.execute("update users set deleted_at = $1 where id = $2", world.clock.now(), alices.owner)
    for function in FUNCTIONS:
        with subtests.test(function.identifier):
            expected = GONE.get(function.identifier, EXPECTED[function.identifier].anonymous)
            await assert_ends(world, function, alices, alice, expected)


async def test_g05_a_banned_user_is_anonymous_and_can_delete_the_account(
    world: World, alices: Library, alice: Person, subtests: pytest.Subtests
) -> None:
    """Only deleting the account still works."""
    await world.steer("clerk", "update", sub="user_alice", banned=True)
    await world.settle()
    for function in FUNCTIONS:
        with subtests.test(function.identifier):
            if function.identifier != "users:deleteAccount":
                await assert_ends(world, function, alices, alice, EXPECTED[function.identifier].anonymous)
    shared = await alice.query("sharing:getSharedMusic", shareId=alices.arguments["shareId"])
    assert (shared["found"], shared["isOwner"]) == (True, False)
    assert (await alice.mutation("users:deleteAccount"))["success"]


async def test_a_query_that_reads_the_time_says_until_when_it_holds(
    world: World, alices: Library, alice: Person, bob: Person, subtests: pytest.Subtests
) -> None:
    """So that a renewed token reruns none of a socket's queries: for the owner, another account, and without one."""
    await bob.mutation("users:ensureCurrentUser")
    queries = [function for function in FUNCTIONS if function.kind is Kind.QUERY]
    for name in ("user_alice", "user_bob", "user_charlie"):
        caller = world.acting_as(name)
        for function in queries:
            with subtests.test(f"{function.identifier} for {name}"):
                for args in (arguments(function, alices), {}):
                    notes = Notes(is_subscribed=True)
                    with suppress(ExpectedError, ArgumentValidationError):
                        await world.app.runtime.call(function, function.parse(args), caller, notes)
                    assert not notes.is_timed or (notes.until is not None and notes.until > world.clock.now())


async def test_an_expired_token_is_refused_before_anything_happens(
    world: World, alices: Library, subtests: pytest.Subtests
) -> None:
    """HTTP 401 for the whole request: the caller does not become anonymous."""
    signed_in = await world.http.post("/sandbox/clerk/sign-in", json={"sub": "user_alice", "ttl": 60})
    headers = {"Authorization": f"Bearer {signed_in.json()['jwt']}"}
    world.clock.forward(timedelta(minutes=10))
    before = await library.digests(world)
    for function in FUNCTIONS:
        with subtests.test(function.identifier):
            answer = await call(world, function, arguments(function, alices), headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "InvalidAuthHeader")
            assert not [secret for secret in alices.secrets if secret in answer.text]
    assert await library.digests(world) == before
