"""The least that the measured functions can cost in Python: bare ASGI, asyncpg and msgspec.

It shares daysong's SQL and its pure rules (quotas, periods), so that results are the same, and takes the same locks. A
token is verified once and then known by its hash. Writes take as few statements as they can.

    BENCH_DATABASE  BENCH_JWKS  BENCH_ISSUER  BENCH_SITE  BENCH_REVENUECAT_SECRET  BENCH_HASH_KEY
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import jwt
import msgspec
from msgspec import UNSET, UnsetType

from bench.peers.floor_sql import ACCOUNT_SQL, DIARY_SQL, EVENT_SQL, QUOTA_SQL, SHARED_SQL, SONG_SQL
from daysong.features.diaries.rules import checked
from daysong.features.diaries.store import LIST_SQL, PAGE
from daysong.features.pages import LARGEST_LIST, NEWEST, OLDEST, Position, position_of
from daysong.features.phone_calls.schedule.calendar import days_of, time_of
from daysong.features.profile import PROFILE_SQL
from daysong.features.subscriptions.entitlements import Entitlement, spans, summary
from daysong.features.subscriptions.rules import LONGEST_PERIOD, PLANS, CountingWindow, QuotaState, quota, talk_quota
from daysong.kernel.ids import ChargeId, DiaryId, EventId, GenerationId, JobId, MusicId
from daysong.kernel.time.clock import to_ms

SITE = os.environ.get("BENCH_SITE", "")
POOL = 16
encode = msgspec.json.Encoder().encode
_entitlements = msgspec.json.Decoder(dict[str, Entitlement]).decode


class Call(msgspec.Struct):
    """The body of a call."""

    path: str
    args: msgspec.Raw = msgspec.Raw(b"{}")


class Content(msgspec.Struct):
    """An entry to save."""

    content: str


class Page(msgspec.Struct):
    """A page to read."""

    limit: int = 20
    cursor: str | None = None


class Share(msgspec.Struct):
    """The link of a song."""

    shareId: str  # noqa: N815 - as on the wire


class Song(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The song of an entry."""

    id: str = msgspec.field(name="_id")
    status: str
    reason: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    lyric: str | UnsetType = UNSET


class Entry(msgspec.Struct, omit_defaults=True, rename="camel"):
    """An entry."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    user_id: str
    content: str
    date: float
    updated_at: float
    title: str | UnsetType = UNSET
    primary_music_id: str | UnsetType = UNSET
    primary_music: Song | UnsetType = UNSET


def given(value: Any) -> Any:
    """Return UNSET for None."""
    return UNSET if value is None else value


def entry(row: asyncpg.Record) -> Entry:
    """Return the entry of a row."""
    song: Song | UnsetType = UNSET
    if row["music_id"] is not None:
        image, audio = row["image_file_id"], row["audio_file_id"]
        song = Song(
            id=row["music_id"],
            status=row["status"],
            reason=given(row["failure_reason"]),
            title=given(row["music_title"]),
            image_url=f"{SITE}/media/{image}" if image else given(row["image_url"]),
            audio_url=f"{SITE}/media/{audio}" if audio else given(row["audio_url"] or row["stream_url"]),
            duration=given(row["duration"]),
            lyric=given(row["lyric"]),
        )
    return Entry(
        id=row["id"],
        creation_time=row["created_ms"],
        user_id=row["user_id"],
        content=row["content"],
        date=row["date_ms"],
        updated_at=row["updated_ms"],
        title=given(row["title"]),
        primary_music_id=given(row["music_id"]),
        primary_music=song,
    )


class Floor:
    """The ASGI app."""

    def __init__(self) -> None:
        keys = msgspec.json.decode(Path(os.environ["BENCH_JWKS"]).read_bytes())["keys"]
        self._key = jwt.PyJWK(keys[0], algorithm="RS256")
        self._issuer = os.environ["BENCH_ISSUER"]
        self._secret = os.environ["BENCH_REVENUECAT_SECRET"].encode()
        self._known: dict[bytes, tuple[str, float]] = {}
        self._call = msgspec.json.Decoder(Call).decode
        self._pool: asyncpg.Pool | None = None
        self._functions: dict[str, Callable[[str, msgspec.Raw], Awaitable[bytes]]] = {
            "billing:getPlans": self.plans,
            "users:getUserProfile": self.profile,
            "diaries:listDiaries": self.entries,
            "diaries:pageDiaries": self.page,
            "sharing:getSharedMusic": self.shared,
            "diaries:createDiary": self.create,
            "music:startDiaryMusicGeneration": self.start,
        }

    @property
    def pool(self) -> asyncpg.Pool:
        """The open pool."""
        assert self._pool is not None
        return self._pool

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        event = await receive()
        body = event["body"]
        while event.get("more_body"):
            event = await receive()
            body += event["body"]
        path: str = scope["path"]
        status = 200
        if path.startswith("/api/"):
            call = self._call(body)
            subject = self._subject(scope)
            if subject is None:
                status, answer = 401, b'{"code":"InvalidAuthHeader"}'
            else:
                value = await self._functions[call.path](subject, call.args)
                answer = b'{"status":"success","value":' + value + b',"logLines":[]}'
        elif path == "/http/revenuecat-webhook":
            status, answer = await self._revenuecat(scope, body)
        elif path.startswith("/http/suno-webhook/"):
            status, answer = await self._suno(path, body)
        else:
            answer = b"{}"
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=1, max_size=POOL, reset=_no_reset)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _subject(self, scope: Any) -> str | None:
        """Return who sent the request: verified once, then known by the token's hash until it expires."""
        header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if header is None or not header.startswith(b"Bearer "):
            return None
        digest = hashlib.sha256(header).digest()
        known = self._known.get(digest)
        if known is None or known[1] < time.time():
            try:
                claims = jwt.decode(header[7:], self._key, ["RS256"], audience="convex", issuer=self._issuer)
            except jwt.PyJWTError:
                return None
            known = self._known[digest] = (claims["sub"], claims["exp"])
        return known[0]

    # Queries

    async def plans(self, subject: str, args: msgspec.Raw) -> bytes:  # noqa: ARG002
        """Return all plans."""
        return encode(
            [
                {"tier": tier, "musicLimit": plan.sold_songs, "periodDays": plan.sold_days, "price": plan.price}
                for tier, plan in PLANS.items()
            ]
        )

    async def profile(self, subject: str, args: msgspec.Raw) -> bytes:  # noqa: ARG002
        """Return the caller's profile."""
        now = datetime.now(UTC)
        row = await self.pool.fetchrow(PROFILE_SQL, subject, now - LONGEST_PERIOD)
        if row is None:
            return b"null"
        entitlements, state = _plan(row)
        songs = quota(state, row["charges"], now, shared=row["shared"])
        found = summary(entitlements, now)
        talks = zip(row["talked_at"], row["talked_for"], strict=True)
        talk = talk_quota(state, talks, {}, now, shared=row["talk_shared"])
        user = {"_id": row["account_id"], "name": row["name"], "email": row["email"]}
        subscription = {
            "tier": songs.tier,
            "productId": found.product_id,
            "status": found.status,
            "musicGenerationsUsed": songs.used,
            "musicLimit": songs.limit,
            "periodStart": to_ms(songs.period_start),
            "periodEnd": to_ms(songs.period_end),
            "isActive": found.status != "expired",
            "remainingQuota": songs.remaining,
        }
        calls = None
        if row["settings_id"] is not None:
            calls = {
                "_id": row["settings_id"],
                "phoneE164": row["phone_e164"],
                "timezone": row["timezone"],
                "timeOfDay": time_of(row["local_minutes"]),
                "cadence": row["cadence"],
                "active": row["active"],
                "language": row["language"],
                "consent": row["consent"],
                "minutesUsed": round(talk.used / 60, 2),
                "minutesLimit": round(talk.limit / 60, 2),
            }
            if row["cadence"] == "custom":
                calls["daysOfWeek"] = days_of(row["byday_mask"])
            if row["paused_reason"] is not None:
                calls["pausedReason"] = row["paused_reason"]
            if row["next_run_at"] is not None:
                calls["nextRunAtUTC"] = to_ms(row["next_run_at"])
        return encode({"user": user, "subscription": subscription, "callSettings": calls})

    async def entries(self, subject: str, args: msgspec.Raw) -> bytes:  # noqa: ARG002
        """Return the caller's entries."""
        return encode([entry(row) for row in await self.pool.fetch(LIST_SQL, subject)])

    async def page(self, subject: str, args: msgspec.Raw) -> bytes:
        """Return a page of the caller's entries."""
        wanted = msgspec.json.decode(args, type=Page)
        start = position_of(wanted.cursor, DiaryId) if wanted.cursor else NEWEST
        rows = await self.pool.fetch(PAGE.sql, subject, *start, *OLDEST, wanted.limit + 1, LARGEST_LIST)
        shown = rows[: wanted.limit]
        following = Position(shown[-1]["date"], shown[-1]["id"]).cursor() if len(rows) > len(shown) else None
        return encode({"page": [entry(row) for row in shown], "nextCursor": following})

    async def shared(self, subject: str, args: msgspec.Raw) -> bytes:
        """Return the song behind a link."""
        share_id = msgspec.json.decode(args, type=Share).shareId
        row = await self.pool.fetchrow(SHARED_SQL, share_id)
        if row is None:
            return b'{"found":false}'
        is_owner = row["clerk_id"] == subject
        media = f"{SITE}/media/shared/{share_id}"
        song = {
            "found": True,
            "title": row["title"],
            "createdAt": to_ms(row["created_at"]),
            "isOwner": is_owner,
            "imageUrl": f"{media}/cover" if row["has_cover"] else UNSET,
            "imageWidth": given(row["image_width"]),
            "imageHeight": given(row["image_height"]),
            "audioUrl": f"{media}/audio" if row["has_audio"] else UNSET,
            "lyric": given(row["lyric"]),
            "lyricWithTime": msgspec.Raw(row["lyric_with_time"].encode()) if row["lyric_with_time"] else UNSET,
            "duration": given(row["duration"]),
            "userName": row["name"].partition(" ")[0] if row["name"] else UNSET,
            "ownerClerkId": row["clerk_id"] if is_owner else UNSET,
        }
        return encode({name: value for name, value in song.items() if value is not UNSET})

    # Mutations

    async def create(self, subject: str, args: msgspec.Raw) -> bytes:
        """Save an entry: the account's lock, then the row."""
        content, now = checked(msgspec.json.decode(args, type=Content).content), datetime.now(UTC)
        diary_id = DiaryId.new(now)
        async with self.pool.acquire() as connection, connection.transaction():
            owner = await connection.fetchval(ACCOUNT_SQL, subject)
            await connection.execute(DIARY_SQL, diary_id, owner, content, now)
        return encode({"_id": str(diary_id)})

    async def start(self, subject: str, args: msgspec.Raw) -> bytes:
        """Save an entry, charge it, and schedule its song: the account's lock, the quota, then all rows."""
        content, now = checked(msgspec.json.decode(args, type=Content).content), datetime.now(UTC)
        diary_id, tracks = DiaryId.new(now), [MusicId.new(now), MusicId.new(now)]
        async with self.pool.acquire() as connection, connection.transaction():
            # In two statements: one that waited for the lock would count with the snapshot of before.
            owner = await connection.fetchval(ACCOUNT_SQL, subject)
            row = await connection.fetchrow(QUOTA_SQL, owner, now - LONGEST_PERIOD)
            _, state = _plan(row)
            left = quota(state, row["charges"], now, shared=row["shared"])
            if left.remaining == 0:
                return encode({"diaryId": str(diary_id), "success": False})
            await connection.execute(
                SONG_SQL, owner, now, diary_id, content, ChargeId.new(now), GenerationId.new(now),
                secrets.token_urlsafe(32), tracks, JobId.new(now), secrets.token_hex(8),
            )  # fmt: skip
        return encode({"diaryId": str(diary_id), "success": True, "remainingQuota": left.remaining - 1})

    # Webhooks

    async def _revenuecat(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(header.removeprefix(b"Bearer "), self._secret):
            return 401, b'{"code":"Unauthorized"}'
        found = msgspec.json.decode(body)
        event = found["event"]
        event.pop("subscriber_attributes", None)
        about = dict.fromkeys([event["app_user_id"], event["original_app_user_id"], *event["aliases"]])
        await self._receive(
            "revenuecat", event["id"], event["type"], None, list(about), encode(found).decode(),
            "webhooks:handleRevenuecatEvent",
        )  # fmt: skip
        return 200, b'{"code":"OK","message":"Thank you"}'

    async def _suno(self, path: str, body: bytes) -> tuple[int, bytes]:
        generation_id, _, secret = path.removeprefix("/http/suno-webhook/").partition("/")
        expected = await self.pool.fetchval("select callback_secret from generations where id = $1", generation_id)
        if not hmac.compare_digest((expected or "none").encode(), secret.encode()) or expected is None:
            return 401, b'{"code":"Unauthorized"}'
        data = msgspec.json.decode(body)["data"]
        stage = data["callbackType"]
        await self._receive(
            "suno", f"{generation_id}:{data['task_id']}:{stage}", stage, generation_id, [generation_id], body.decode(),
            "webhooks:handleSunoEvent",
        )  # fmt: skip
        return 200, b'{"code":"OK","message":"Thank you"}'

    async def _receive(
        self, vendor: str, event_id: str, kind: str, subject: str | None, about: list[str], body: str, handler: str
    ) -> None:
        now = datetime.now(UTC)
        await self.pool.execute(
            EVENT_SQL, EventId.new(now), vendor, event_id, kind, subject, about, body, now, handler, JobId.new(now),
            secrets.token_hex(8),
        )  # fmt: skip


def _plan(row: asyncpg.Record) -> tuple[dict[str, Entitlement], QuotaState]:
    """Return what the person of a row is entitled to."""
    entitlements = _entitlements(row["subscription_lines"])
    window = row["counted_at"] and CountingWindow(row["counted_since"], row["counted_until"], row["counted_at"])
    return entitlements, QuotaState(spans(entitlements), row["custom_music_limit"], row["last_reset_at"], window)


async def _no_reset(connection: asyncpg.Connection) -> None:
    """Keep a connection as it is: no session state is ever set."""


app = Floor()
