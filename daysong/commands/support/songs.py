"""`daysong songs` and `daysong calls`: listed by status, shown with what became of them, and made again."""

from __future__ import annotations

from typing import Any

from daysong.app import App
from daysong.commands.support.people import user_of
from daysong.commands.support.saying import Say, act, call, fields, moment, say_json, say_rows

TIMES = ("createdAt", "updatedAt", "at")


async def list_songs(app: App, say: Say, *, status: str | None, person: str | None, limit: int, as_json: bool) -> None:
    """Say the newest songs, a line each and why they failed."""
    user_id = None if person is None else await user_of(app, person)
    rows = await call(app, "support/songs:listSongs", status=status, user_id=user_id, limit=limit)
    say_rows(say, rows, _song, as_json=as_json)


def _song(song: dict[str, Any]) -> list[str]:
    line = f"{song['songId']}  {song['status']:9}  {moment(song['createdAt'])}  {song['userId']}"
    refunded = ", refunded" if song["refunded"] else ""
    why = [f"    {song['failureCode']}: {song.get('reason', '')}{refunded}"] if "failureCode" in song else []
    return [line, *why]


async def show_song(app: App, say: Say, song_id: str, *, reason: str | None, as_json: bool) -> None:
    """Say one song; with a reason, which is recorded, also its words and its entry."""
    song = await call(app, "support/songs:showSong", song_id=song_id)
    if reason is not None:
        song["words"] = await call(app, "support/songs:readSong", song_id=song_id, reason=reason)
    if as_json:
        say_json(say, song)
        return
    rows = {name: song.pop(name) for name in ("tracks", "costs", "jobs", "others", "steps")}
    fields(say, song, times=TIMES)
    for step, at in rows["steps"].items():
        say(f"  {step:<10} {moment(at)}")
    for track in rows["tracks"]:
        say(f"  {track['musicId']}  {track['status']}  {track.get('duration', 0):.0f} s")
    for cost in rows["costs"]:
        say(f"  {cost['vendor']} {cost['function']}  {cost['amount'] / 1e6:.4f} $")
    for job in rows["jobs"]:
        say(f"  {job['id']}  {job['status']:7}  {job['function']}")


async def rerun(app: App, say: Say, song_id: str, *, reason: str | None, charge: bool, as_json: bool) -> None:
    """Make a failed song again."""
    outcome = await call(app, "support/songs:rerunSong", song_id=song_id, reason=reason, charge=charge)
    act(say, outcome, f"begun: {outcome.get('songId', '')}", as_json=as_json)


async def list_calls(app: App, say: Say, *, status: str | None, person: str | None, limit: int, as_json: bool) -> None:
    """Say the newest calls, a line each and how they ended."""
    user_id = None if person is None else await user_of(app, person)
    rows = await call(app, "support/calls:listCalls", status=status, user_id=user_id, limit=limit)
    say_rows(say, rows, _call, as_json=as_json)


def _call(one: dict[str, Any]) -> list[str]:
    line = f"{one['callId']}  {one['kind']:9}  {one['status']:9}  {moment(one['at'])}  {one['userId']}"
    why = one.get("outcome") or one.get("errorCode")
    return [line if why is None else f"{line}  ({why})"]


async def show_call(app: App, say: Say, call_id: str, *, reason: str | None, as_json: bool) -> None:
    """Say one call; with a reason, which is recorded, also what was said in it."""
    one = await call(app, "support/calls:showCall", call_id=call_id)
    if reason is not None:
        one["words"] = await call(app, "support/calls:readCall", call_id=call_id, reason=reason)
    if as_json:
        say_json(say, one)
        return
    steps = one.pop("steps")
    fields(say, one, times=TIMES)
    for step, at in steps.items():
        say(f"  {step:<14} {moment(at)}")
