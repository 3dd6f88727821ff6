"""From a call to a diary entry and its song.

    a report (call_reports.py)   the session, the consent, and whether an entry is written
    generateDiaryFromCall        a job: the text, from VAPI's summary or OpenAI, then the entry, once
    generateMusicForCallDiary    a job: charge and generation, as for a typed entry

A session makes at most one entry, and that entry one song.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

import msgspec

from daysong.features.diaries import functions as diaries
from daysong.features.diaries.rules import MAX_CONTENT
from daysong.features.music import generations
from daysong.features.phone_calls import sessions
from daysong.features.phone_calls.talk.outcomes import talk_text
from daysong.features.subscriptions import revenuecat_billing
from daysong.features.subscriptions.quotas import usage
from daysong.features.users import store as users
from daysong.kernel import logs
from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, Retry, action, mutation, query
from daysong.kernel.ids import DiaryId, GenerationId, UserId
from daysong.kernel.limits import budgets
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.visible import trimmed
from daysong.vendors.openai.client import Diarist
from daysong.vendors.vapi.client import Telephone
from daysong.vendors.vapi.reports import Turn
from daysong.workflows.songs import song_budget
from daysong.workflows.songs.diary_to_song import begin_song

log = logs.get_logger("calls")


class OneSession(Args):
    """The id of a call session."""

    session_id: IdText


class OneDiary(Args):
    """The id of an entry from a call."""

    diary_id: IdText


class CallSong(OneDiary):
    """The same, with the reservation for its song, or the daily cap that is reached."""

    reservation: str | None = None
    cap: str | None = None


class VapiCall(Args):
    """A call's id at VAPI."""

    vapi_call_id: str


class CallTranscript(Result):
    """A call's transcript and summary, with its user."""

    user_id: str
    language: str
    summary: str | None
    turns: list[Turn]


class CallDiary(Args):
    """The text of an entry from a call."""

    session_id: IdText
    content: str


@mutation
async def use_own_words(ctx: MutationContext, args: OneSession) -> None:
    """Save the user's own words as the entry, when the model could not write one."""
    row = await ctx.db.fetchrow("select transcript from call_sessions where id = $1", args.session_id)
    if row is not None and row["transcript"] is not None:
        content = _own_words(msgspec.convert(row["transcript"], list[Turn]))
        await save_call_diary(ctx, CallDiary(session_id=args.session_id, content=content))


def _own_words(turns: list[Turn]) -> str:
    return "\n\n".join(turn.text for turn in turns if turn.role == "user")


@action(on_exhausted=use_own_words, lane=Lane.CALLS)
async def generate_diary_from_call(ctx: ActionContext, args: OneSession) -> None:
    """Write the entry of a call. A job; idempotent, and safe to be killed at any point."""
    call = await ctx.run_query(get_call_transcript, args)
    if call is None:
        return
    content = call.summary
    if content is None:
        diarist: Diarist = ctx.vendor(Diarist)  # type: ignore[type-abstract]  # looked up by its interface
        person = hashlib.sha256(call.user_id.encode()).hexdigest()
        try:
            with budgets.paid_for(ctx.settings, call.user_id, args.session_id):
                content = await diarist.write_diary(talk=talk_text(call.turns), language=call.language, person=person)
        except VendorError as error:
            if not error.permanent:
                raise
            log.warning("entry not written", session=args.session_id, code=error.code)
            content = _own_words(call.turns)
    await ctx.run_mutation(save_call_diary, CallDiary(session_id=args.session_id, content=content))


@query
async def get_call_transcript(ctx: QueryContext, args: OneSession) -> CallTranscript | None:
    """Return the transcript of a call whose entry is not written yet; None when no entry is pending."""
    row = await ctx.db.fetchrow(
        """select c.user_id, c.transcript, c.end_of_call_report, s.language
           from call_sessions c join users u on u.id = c.user_id and u.deleted_at is null
           left join call_settings s on s.user_id = c.user_id
           where c.id = $1 and c.outcome = 'diary to be written'""",
        args.session_id,
    )
    if row is None:
        return None
    summary = (row["end_of_call_report"] or {}).get("summary")
    return CallTranscript(
        user_id=row["user_id"],
        language=row["language"] or "en",
        summary=summary.strip() or None if isinstance(summary, str) else None,
        turns=msgspec.convert(row["transcript"] or [], list[Turn]),
    )


@mutation
async def save_call_diary(ctx: MutationContext, args: CallDiary) -> None:
    """Insert the entry of a call and schedule its song. Idempotent."""
    session = await ctx.db.fetchrow(
        """select c.id, c.user_id, c.started_at, c.created_at
           from call_sessions c join users u on u.id = c.user_id and u.deleted_at is null
           where c.id = $1 and c.outcome = 'diary to be written' for update of c""",
        args.session_id,
    )
    if session is None:
        return
    content = trimmed(args.content)[:MAX_CONTENT]
    if not content:
        await ctx.db.execute("update call_sessions set outcome = 'no_words' where id = $1", args.session_id)
        return
    diary_id = await diaries.save_of_call(
        ctx, UserId(session["user_id"]), content,
        date=session["started_at"] or session["created_at"], call_session_id=args.session_id,
    )  # fmt: skip
    await ctx.db.execute(
        "update call_sessions set outcome = 'diary', diary_id = $2, updated_at = $3 where id = $1",
        args.session_id, diary_id, ctx.now,
    )  # fmt: skip
    await sessions.merge_metadata(ctx, args.session_id, {sessions.DIARY_ID: diary_id})
    await ctx.schedule(generate_music_for_call_diary, OneDiary(diary_id=diary_id), key=f"song of {diary_id}")


@action(lane=Lane.SONGS)
async def generate_music_for_call_diary(ctx: ActionContext, args: OneDiary) -> None:
    """Start the song of an entry from a call. An idempotent job."""
    owner = await ctx.run_query(owner_of, args)
    if owner is not None:
        await revenuecat_billing.refresh_user_if_stale(ctx, owner)
        reserved = await song_budget.reserve_song(ctx, owner)
        begun = await ctx.run_mutation(
            begin_call_song, CallSong(diary_id=args.diary_id, reservation=reserved.reservation, cap=reserved.cap)
        )
        if begun != "begun":
            await song_budget.cancel(ctx, reserved)


@query
async def owner_of(ctx: QueryContext, args: OneDiary) -> str | None:
    """Return the owner of an entry; None when either is deleted, or the account is suspended."""
    return await _owner(ctx.db, args.diary_id)


async def _owner(db: Reader, diary_id: str) -> UserId | None:
    owner = await db.fetchval(
        """select u.id from diaries d
           join users u on u.id = d.user_id and u.deleted_at is null and u.suspension is null
           where d.id = $1""",
        diary_id,
    )
    return None if owner is None else UserId(owner)


@mutation
async def begin_call_song(ctx: MutationContext, args: CallSong) -> str:
    """Charge the account, insert the generation and schedule its job, once; return the outcome.

    When the quota is used up, the entry stays without a song.
    """
    owner = await _owner(ctx.db, args.diary_id)
    if owner is None or not await users.lock_account(ctx.db, owner) or await _owner(ctx.db, args.diary_id) is None:
        return "gone"
    if await ctx.db.fetchval("select true from generations where diary_id = $1 limit 1", args.diary_id):
        return "begun before"
    charge_id = None if args.cap else await usage.charge(ctx.db, owner, ctx.now)
    if charge_id is None:
        reason = "daily limit reached" if args.cap else "usage limit reached"
        await ctx.db.execute(
            """update call_sessions set metadata = metadata || jsonb_build_object('song', $3::text), updated_at = $2
               where diary_id = $1""",
            args.diary_id, ctx.now, reason,
        )  # fmt: skip
        return "limit reached"
    new = generations.Beginning(GenerationId.new(ctx.now), owner, DiaryId(args.diary_id), charge_id)
    await begin_song(ctx, new, args.reservation)
    return "begun"


async def schedule_vapi_deletion(ctx: MutationContext, call_id: str) -> None:
    """Schedule the deletion of a call at VAPI."""
    await ctx.schedule(delete_vapi_call, VapiCall(vapi_call_id=call_id), key=f"forget {call_id}")


# Retried for more than a day: transcripts without consent must not stay there.
@action(retry=Retry(attempts=40, longest=timedelta(hours=1)), lane=Lane.CALLS)
async def delete_vapi_call(ctx: ActionContext, args: VapiCall) -> None:
    """Delete a call at VAPI. A job."""
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    await telephone.delete(args.vapi_call_id)
