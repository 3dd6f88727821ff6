"""A journey with recognizable private texts, for a test that searches the logs for them.

    python -m rehearsal.log_leaks <file>

It logs as production does. It writes to the file, as a JSON list, every text that must not appear in the log.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from standardwebhooks import Webhook

from daysong.features.diaries import store as diaries
from daysong.features.memory import store as memory
from daysong.kernel import logs
from daysong.kernel.jobs.worker import Worker
from daysong.sandbox.clerk import api as clerk
from daysong.sandbox.clerk.webhooks import SIGNING_SECRET
from daysong.sandbox.openai import api as openai
from daysong.sandbox.suno import api as suno
from daysong.sandbox.vapi import api as vapi
from daysong.sandbox.vapi import webhooks as vapi_webhooks
from daysong.workflows.songs import song_delivery
from rehearsal.blog import write_post
from rehearsal.world import ADMIN_KEY, HASH_KEY, FunctionError, Person, World

# Recognizable, and in no dictionary.
DIARY = "Zwitscherlinchen sat on the windowsill of my kitchen"
CHANGED = "Piepmatzowitsch flew away over the harbour"
NAME = "Kanaria Vogelsang"
EMAIL = "kanaria.vogelsang@canary.example"
PHONE = "+12125550147"
CODE = "739146"
LEAK = "Trillerkehlchen"
# Of an entry's event: the person, the title, and a tag and a name that the user gives it.
PERSON, PLACE, TAG, ALTERNATIVE = "Nachtigallia", "Rotkehlhafen", "amselthematik", "Zaunkoenigin"
EVENT = f"I met {PERSON} in {PLACE}."

NEEDLES = ["witscherlinchen", "windowsill", "iepmatzowitsch", "ogelsang", "canary.example", "2125550147", CODE, LEAK]
NEEDLES += [PERSON, PLACE, TAG, ALTERNATIVE]
SECRETS = [
    ADMIN_KEY,
    HASH_KEY,
    SIGNING_SECRET,
    openai.API_KEY,
    suno.API_KEY,
    vapi.API_KEY,
    vapi_webhooks.SECRET,
    clerk.SECRET_KEY,
]


class Quoting(Exception):
    """An error whose message quotes user text, as errors of a database or a parser do."""


async def tried(call: Any) -> None:
    """Await a call, and ignore how it ends."""
    try:
        await call
    except FunctionError:
        return


async def journey(world: World) -> list[str]:
    """Run every song and account flow, successful and failing; return the texts that must not be logged."""
    await world.steer("clerk", "webhooks", automatic=True)
    token = (await world.steer("clerk", "sign-in", sub="user_kanaria", email=EMAIL, name=NAME))["jwt"]
    person = Person(world, {"Authorization": f"Bearer {token}"})
    await world.settle()
    await person.mutation("users:ensureCurrentUser")
    await world.steer("clerk", "update", sub="user_kanaria", phone=PHONE)
    await world.steer("clerk", "send", type="sms.created", data={"id": "sms_1", "message": f"{CODE} is your code"})
    song = await person.song(DIARY, style=f"calm, {LEAK}")
    await person.mutation("diaries:updateDiary", diaryId=song["diaryId"], content=CHANGED)
    link = await person.mutation("sharing:createShareLink", musicId=song["_id"])
    for path in (f"/share/{link['shareId']}", f"/media/{song['audioUrl'].rpartition('/')[2]}", f"/nothing/{LEAK}"):
        await world.http.get(path, params={"q": LEAK})
    secret = await world.db.pool.fetchrow("select callback_secret, lyric from generations")
    assert secret is not None
    for address in (EMAIL, "kanaria.vogelsang at canary.example"):
        await tried(person.mutation("emailNotify:addEmailNotification", email=address, source=LEAK))
    draft = await write_post(world, LEAK, published=False)
    await person.query("blog:getDraftByPreviewToken", previewToken=draft["previewToken"])
    await person.action("videoActions:startVideoGeneration", musicId=song["_id"])
    await world.settle()
    video = await world.db.pool.fetchrow("select status, callback_secret, script_prompt from music_videos")
    assert video is not None
    assert video["status"] == "ready"
    said = await calls(world, person)
    await memories(world, person)
    await failures(world, person)
    await bad_requests(world, token)
    await working(world, person)
    await person.mutation("users:deleteAccount")
    await world.settle()
    private = [
        token,
        draft["previewToken"],
        video["callback_secret"],
        video["script_prompt"],
        secret["callback_secret"],
        link["shareId"],
        *secret["lyric"].split("\n"),
    ]
    private += said
    return [*NEEDLES, *SECRETS, *(text.strip() for text in private if len(text) > 9)]  # noqa: PLR2004 - a word of it may be


async def calls(world: World, person: Person) -> list[str]:
    """Call the person, let them ring in, and call while everything fails; return the words spoken."""
    wanted = {"timezone": "UTC", "timeOfDay": "20:00", "cadence": "daily", "active": True, "phoneE164": PHONE}
    await person.mutation("callSettings:upsertCallSettings", **wanted)
    for fault in ({}, {"status": 400}, {"drop": True}, {"webhooks": "malformed"}):
        await world.fault("vapi", **fault)
        await tried(person.mutation("callSettings:sendTestCall"))
        await world.settle()
        await world.pass_time(timedelta(minutes=1))
    await world.fault("vapi")
    await world.steer("vapi", "ring-in", number=PHONE)
    await world.steer("vapi", "ring-in", number="+12125550148")
    await world.settle()
    sessions = await person.query("callJobs:getCallSessions")
    return ["2125550148", *(turn["text"] for session in sessions for turn in session.get("transcript", ()))]


async def memories(world: World, person: Person) -> None:
    """Have an entry read, edit and sum up what was found, and do it again while everything fails."""
    entry = (await person.mutation("diaries:createDiary", content=EVENT))["_id"]
    await world.pass_time(timedelta(minutes=1))
    [event] = (await person.query("diaries:getDiary", diaryId=entry))["events"]
    [found] = event["people"]
    assert PLACE in event["title"]
    assert found["name"] == PERSON
    one = {"personId": found["_id"]}
    await person.mutation("memory/people:updatePerson", **one, altNames=[ALTERNATIVE], relationshipLabel=LEAK)
    await person.action("memory/people:generatePersonHighlight", **one)
    await person.mutation("events:updateEvent", eventId=event["_id"], tags=[TAG], peopleNames=[ALTERNATIVE])
    for fault in ({"status": 400, "code": "invalid_prompt"}, {"answer": "bad_json"}, {"answer": "wrong_shape"}):
        await world.fault("openai", **fault)
        await tried(person.action("memory/people:generatePersonHighlight", **one))
        await person.mutation("diaries:updateDiary", diaryId=entry, content=f"{EVENT} {fault}")
        await world.pass_time(timedelta(minutes=1))
    await world.fault("openai")
    with mock.patch.object(memory, "replace_events", side_effect=Quoting(f"Key (folded)=({PERSON}) in {PLACE}")):
        await person.mutation("diaries:updateDiary", diaryId=entry, content=EVENT)
        await world.pass_time(timedelta(minutes=1))
    with mock.patch.object(memory, "people_by_name", side_effect=Quoting(f"Key (folded)=({ALTERNATIVE}), {TAG}")):
        await tried(person.mutation("events:updateEvent", eventId=event["_id"], peopleNames=[PERSON]))


async def failures(world: World, person: Person) -> None:
    """Let vendors and our own code fail with errors that quote user text."""
    for vendor, fault in (
        ("openai", {"status": 400, "code": "invalid_prompt"}),
        ("openai", {"answer": "refusal"}),
        ("openai", {"answer": "bad_json"}),
        ("openai", {"status": 500, "times": 1}),
        ("suno", {"status": 500, "times": 1}),
        ("suno", {"callbackCode": 400}),
        ("suno", {"callbacks": "malformed"}),
        ("clerk", {"webhooks": "bad_signature"}),
    ):
        await world.fault(vendor, **fault)
        await tried(person.action("music:startDiaryMusicGeneration", content=f"{DIARY} {vendor} {fault}"))
        await world.steer("clerk", "update", sub="user_kanaria", name=NAME)
        await world.settle()
        await world.fault(vendor)
        await world.db.pool.execute("delete from usage_charges")
        await world.db.pool.execute("delete from mailbox_usage")
    with mock.patch.object(diaries, "insert", side_effect=Quoting(f"Failing row contains ({DIARY})")):
        await tried(person.mutation("diaries:createDiary", content=DIARY))
    with mock.patch.object(song_delivery, "complete", side_effect=Quoting(f"lyric: {LEAK}")):
        await tried(person.action("music:startDiaryMusicGeneration", content=DIARY))
        await world.settle()
        # Until the retries are exhausted.
        await world.pass_time(timedelta(minutes=6))


async def bad_requests(world: World, token: str) -> None:
    """Send requests that are refused, with private text in every part."""
    for headers in ({"Authorization": f"Bearer {token[:-6]}{CODE}"}, {"Authorization": f"Convex {LEAK}"}, {}):
        for body in ({"path": "diaries:createDiary", "args": {LEAK: DIARY}}, {"path": LEAK, "args": {}}, [LEAK], LEAK):
            await world.http.post("/api/mutation", json=body, headers=headers)
        await world.http.get("/api/query", params={"path": f"users:{LEAK}", "args": json.dumps({LEAK: DIARY})})
    event = json.dumps({"type": "user.created", "data": {"id": "user_x", "first_name": LEAK}, "email": EMAIL})
    for path in ("clerk", "suno", "revenuecat", "vapi", f"suno-webhook/{LEAK}/{LEAK}"):
        address = f"/http/{path}" if "/" in path else f"/http/{path}-webhook"
        for content in (event, event[:-1], f"{LEAK}"):
            now = world.clock.now()
            await world.http.post(
                address,
                content=content,
                headers={
                    "svix-id": f"msg_{len(content)}",
                    "svix-timestamp": str(int(now.timestamp())),
                    "svix-signature": Webhook(SIGNING_SECRET).sign(f"msg_{len(content)}", now, content),
                    "authorization": f"Bearer {LEAK}",
                    "x-vapi-secret": LEAK,
                },
            )
    await world.settle()


async def working(world: World, person: Person) -> None:
    """Run the real worker on a job that fails with an error that quotes user text."""
    worker = Worker(world.app.runtime, ())
    with mock.patch.object(song_delivery, "adopt_task", side_effect=Quoting(LEAK)):
        await tried(person.action("music:startDiaryMusicGeneration", content=DIARY))
        running = asyncio.create_task(worker.run_forever(world.settings.database_url or ""))
        async with asyncio.timeout(20):
            while not await world.db.pool.fetchval(
                "select count(*) from jobs where failures > 0 and status = 'queued'"
            ):
                await asyncio.sleep(0.02)
        await worker.stop()
        await running
    await world.pass_time(timedelta(minutes=1))


async def main() -> list[str]:
    """Run the journey, logging as production does."""
    logs.configure(readable=False)
    with tempfile.TemporaryDirectory() as folder:
        async with World(os.environ["DATABASE_URL"], Path(folder), datetime.now(UTC)) as world:
            return await journey(world)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(main())))
