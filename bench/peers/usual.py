"""The measured functions as the tutorials of FastAPI and SQLAlchemy write them: ORM, pydantic, dependencies, uvicorn.

Relations are loaded eagerly, nothing is read that is not needed, and a transaction takes the account's lock. The pure
rules of quotas are daysong's.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Query, Request
from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload, undefer

from bench.peers.usual_dependencies import SessionDep, SubjectDep, UserDep
from bench.peers.usual_models import (
    CallSettings,
    Diary,
    Generation,
    Job,
    Music,
    QueueItem,
    SharedMusic,
    Subscription,
    UsageCharge,
    User,
    WebhookEvent,
)  # fmt: skip
from bench.peers.usual_schemas import (
    CallSettingsOut,
    ContentIn,
    CreatedOut,
    DiaryOut,
    DiaryPageOut,
    PlanOut,
    ProfileOut,
    RevenueCatIn,
    SharedOut,
    SongOut,
    StartedOut,
    SubscriptionOut,
    SunoIn,
    ThanksOut,
    UserOut,
)  # fmt: skip
from daysong.features.diaries.rules import checked
from daysong.features.pages import NEWEST, Position, position_of
from daysong.features.phone_calls.schedule.calendar import days_of, time_of
from daysong.features.subscriptions.entitlements import parse_entitlements, spans, summary
from daysong.features.subscriptions.rules import (
    LONGEST_PERIOD,
    PLANS,
    CountingWindow,
    Quota,
    QuotaState,
    quota,
    talk_quota,
)  # fmt: skip
from daysong.kernel.ids import ChargeId, DiaryId, EventId, GenerationId, JobId, MusicId
from daysong.kernel.time.clock import to_ms

SITE = os.environ["BENCH_SITE"]
SECRET = os.environ["BENCH_REVENUECAT_SECRET"]

app = FastAPI()


# Queries


@app.get("/plans")
async def get_plans() -> list[PlanOut]:
    return [
        PlanOut(tier=tier, music_limit=plan.sold_songs, period_days=plan.sold_days, price=plan.price)
        for tier, plan in PLANS.items()
    ]


def state_of(subscription: Subscription) -> QuotaState:
    window = None
    if subscription.counted_at is not None:
        window = CountingWindow(subscription.counted_since, subscription.counted_until, subscription.counted_at)
    entitlements = parse_entitlements(subscription.lines)
    return QuotaState(spans(entitlements), subscription.custom_music_limit, subscription.last_reset_at, window)


def with_quota(subject: str, now: datetime) -> Any:
    """Select the user with everything that a quota counts."""
    counting = UsageCharge.charged_at > now - LONGEST_PERIOD
    return (
        select(User)
        .where(User.clerk_id == subject, User.deleted_at.is_(None), User.suspension.is_(None))
        .options(
            selectinload(User.subscription),
            selectinload(User.charges.and_(counting)).selectinload(UsageCharge.refund),
        )
    )


def quota_of(user: User, now: datetime) -> Quota:
    charges = [charge.charged_at for charge in user.charges if charge.refund is None]
    return quota(state_of(user.subscription), charges, now)


@app.get("/me/profile", response_model_exclude_none=False)
async def get_profile(subject: SubjectDep, session: SessionDep) -> ProfileOut | None:
    now = datetime.now(UTC)
    user = await session.scalar(
        with_quota(subject, now).options(selectinload(User.call_settings), selectinload(User.talks))
    )
    if user is None:
        return None
    songs, state = quota_of(user, now), state_of(user.subscription)
    found = summary(parse_entitlements(user.subscription.lines), now)
    talk = talk_quota(state, [(one.reserved_at, one.seconds) for one in user.talks], {}, now)
    calls: CallSettings | None = user.call_settings
    return ProfileOut(
        user=UserOut(id=user.id, name=user.name, email=user.email),
        subscription=SubscriptionOut(
            tier=songs.tier,
            product_id=found.product_id,
            status=found.status,
            music_generations_used=songs.used,
            music_limit=songs.limit,
            period_start=to_ms(songs.period_start),
            period_end=to_ms(songs.period_end),
            is_active=found.status != "expired",
            remaining_quota=songs.remaining,
        ),
        call_settings=calls
        and CallSettingsOut(
            id=calls.id,
            phone_e164=calls.phone_e164,
            timezone=calls.timezone,
            time_of_day=time_of(calls.local_minutes),
            cadence=calls.cadence,
            active=calls.active,
            language=calls.language,
            consent=calls.consent,
            days_of_week=days_of(calls.byday_mask) if calls.cadence == "custom" else None,
            paused_reason=calls.paused_reason,
            next_run_at_utc=calls.next_run_at and to_ms(calls.next_run_at),
            minutes_used=round(talk.used / 60, 2),
            minutes_limit=round(talk.limit / 60, 2),
        ),
    )


def song_out(song: Music) -> SongOut:
    return SongOut(
        id=song.id,
        status=song.status,
        reason=song.failure_reason,
        title=song.title,
        image_url=f"{SITE}/media/{song.image_file_id}" if song.image_file_id else song.image_url,
        audio_url=f"{SITE}/media/{song.audio_file_id}" if song.audio_file_id else song.audio_url or song.stream_url,
        duration=song.duration,
        lyric=song.lyric,
    )


def diary_out(diary: Diary) -> DiaryOut:
    song = diary.primary_music
    shown = None if song is None or song.deleted_at is not None else song_out(song)
    return DiaryOut(
        id=diary.id,
        creation_time=to_ms(diary.created_at),
        user_id=diary.user_id,
        content=diary.content,
        date=to_ms(diary.date),
        updated_at=to_ms(diary.updated_at),
        title=diary.title,
        primary_music_id=shown and shown.id,
        primary_music=shown,
    )


@app.get("/diaries", response_model_exclude_none=True)
async def list_diaries(user: UserDep, session: SessionDep) -> list[DiaryOut]:
    diaries = await session.scalars(
        select(Diary)
        .where(Diary.user_id == user.id)
        .options(joinedload(Diary.primary_music))
        .order_by(Diary.date.desc(), Diary.id.desc())
        .limit(500)
    )
    return [diary_out(diary) for diary in diaries]


@app.get("/diaries/page", response_model_exclude_unset=False)
async def page_diaries(
    user: UserDep, session: SessionDep, limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: str | None = None
) -> DiaryPageOut:
    start = position_of(cursor, DiaryId) if cursor else NEWEST
    found = await session.scalars(
        select(Diary)
        .where(Diary.user_id == user.id, tuple_(Diary.date, Diary.id) < tuple_(start.moment, start.id))
        .options(joinedload(Diary.primary_music))
        .order_by(Diary.date.desc(), Diary.id.desc())
        .limit(limit + 1)
    )
    diaries = list(found)
    shown = diaries[:limit]
    following = Position(shown[-1].date, shown[-1].id).cursor() if len(diaries) > limit else None
    return DiaryPageOut(page=[diary_out(diary) for diary in shown], next_cursor=following)


@app.get("/shared/{share_id}", response_model_exclude_none=True)
async def get_shared(share_id: str, subject: SubjectDep, session: SessionDep) -> SharedOut:
    share = await session.scalar(
        select(SharedMusic)
        .where(SharedMusic.share_id == share_id)
        .options(joinedload(SharedMusic.user), joinedload(SharedMusic.music).options(undefer(Music.lyric_with_time)))
    )
    if share is None or share.is_private or share.music.deleted_at or share.music.status != "ready":
        raise HTTPException(404, "Nothing is shared here")
    song, user = share.music, share.user
    is_owner = user.clerk_id == subject
    media = f"{SITE}/media/shared/{share_id}"
    return SharedOut(
        title=song.title or "Untitled Track",
        created_at=to_ms(share.created_at),
        is_owner=is_owner,
        image_url=f"{media}/cover" if song.image_file_id or song.image_url else None,
        image_width=song.image_width,
        image_height=song.image_height,
        audio_url=f"{media}/audio" if song.audio_file_id or song.audio_url else None,
        lyric=song.lyric,
        lyric_with_time=song.lyric_with_time,
        duration=song.duration,
        user_name=user.name.partition(" ")[0] if user.name and user.show_name_on_shares else None,
        owner_clerk_id=user.clerk_id if is_owner else None,
    )


# Mutations


async def locked_user(session: AsyncSession, subject: str, now: datetime) -> User:
    user = await session.scalar(with_quota(subject, now).with_for_update(key_share=True, of=User))
    if user is None:
        raise HTTPException(401, "No such account")
    return user


@app.post("/diaries")
async def create_diary(body: ContentIn, subject: SubjectDep, session: SessionDep) -> CreatedOut:
    now = datetime.now(UTC)
    user = await session.scalar(
        select(User)
        .where(User.clerk_id == subject, User.deleted_at.is_(None), User.suspension.is_(None))
        .with_for_update(key_share=True)
    )
    if user is None:
        raise HTTPException(401, "No such account")
    diary = Diary(
        id=DiaryId.new(now), user_id=user.id, content=checked(body.content), date=now, created_at=now, updated_at=now
    )
    session.add(diary)
    await session.commit()
    return CreatedOut(id=diary.id)


async def add_job(session: AsyncSession, function: str, lane: str, args: dict[str, Any], key: str | None) -> None:
    now = datetime.now(UTC)
    job = Job(
        id=JobId.new(now), ticket=secrets.token_hex(8), function=function, args=args, due_at=now, unique_key=key
    )  # fmt: skip
    carried = f"{job.id}:{job.ticket}"
    item = QueueItem(
        priority=0, entrypoint=lane, payload=carried.encode(), dedupe_key=carried, status="queued"
    )  # fmt: skip
    session.add_all([job, item])
    await session.flush()


@app.post("/songs")
async def start_song(body: ContentIn, subject: SubjectDep, session: SessionDep) -> StartedOut:
    now = datetime.now(UTC)
    user = await locked_user(session, subject, now)
    left = quota_of(user, now)
    if left.remaining == 0:
        raise HTTPException(402, "All songs of this period are used")
    diary = Diary(
        id=DiaryId.new(now), user_id=user.id, content=checked(body.content), date=now, created_at=now, updated_at=now
    )
    charge = UsageCharge(id=ChargeId.new(now), user_id=user.id, charged_at=now)
    song = Generation(
        id=GenerationId.new(now), user_id=user.id, diary=diary, charge=charge, status="queued",
        callback_secret=secrets.token_urlsafe(32), created_at=now, updated_at=now,
    )  # fmt: skip
    session.add(song)
    await session.flush()
    song_tracks = [
        Music(
            id=MusicId.new(now), user_id=user.id, diary_id=diary.id, generation_id=song.id, music_index=index,
            status="pending", created_at=now, updated_at=now,
        )
        for index in range(2)
    ]  # fmt: skip
    session.add_all(song_tracks)
    diary.primary_music = song_tracks[0]
    await add_job(
        session, "musicActions:requestSunoGeneration", "daysong songs", {"generationId": song.id}, None
    )  # fmt: skip
    await session.commit()
    return StartedOut(diary_id=diary.id, success=True, remaining_quota=left.remaining - 1)


# Webhooks


async def receive_event(
    session: AsyncSession, vendor: str, event_id: str, kind: str, subject: str | None, about: list[str], body: str,
    handler: str,
) -> None:  # fmt: skip
    now = datetime.now(UTC)
    inserted = await session.scalar(
        insert(WebhookEvent)
        .values(
            id=EventId.new(now), vendor=vendor, event_id=event_id, type=kind, subject=subject, about=about, body=body,
            received_at=now, handler=handler,
        )
        .on_conflict_do_nothing(index_elements=["vendor", "event_id"])
        .returning(WebhookEvent.id)
    )  # fmt: skip
    if inserted is not None:
        await add_job(session, handler, "daysong", {"eventId": inserted}, f"event {inserted} 0")
    await session.commit()


@app.post("/webhooks/revenuecat")
async def revenuecat(
    body: RevenueCatIn, session: SessionDep, authorization: Annotated[str, Header()] = ""
) -> ThanksOut:
    if not secrets.compare_digest(authorization.removeprefix("Bearer ").encode(), SECRET.encode()):
        raise HTTPException(401, "Wrong authorization")
    event = body.event
    about = list(dict.fromkeys([event.app_user_id, event.original_app_user_id, *event.aliases]))
    stored = body.model_dump_json(by_alias=True, exclude={"event": {"subscriber_attributes"}})
    await receive_event(
        session, "revenuecat", event.id, event.type, None, about, stored, "webhooks:handleRevenuecatEvent"
    )  # fmt: skip
    return ThanksOut()


@app.post("/webhooks/suno/{generation_id}/{secret}")
async def suno(generation_id: str, secret: str, body: SunoIn, request: Request, session: SessionDep) -> ThanksOut:
    generation = await session.get(Generation, generation_id)
    if generation is None or not secrets.compare_digest(generation.callback_secret, secret):
        raise HTTPException(401, "Not one of our addresses")
    stored = (await request.body()).decode()
    event_id = f"{generation_id}:{body.data.task_id}:{body.data.callback_type}"
    await receive_event(
        session, "suno", event_id, body.data.callback_type, generation_id, [generation_id], stored,
        "webhooks:handleSunoEvent",
    )  # fmt: skip
    return ThanksOut()


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"ok": True}
