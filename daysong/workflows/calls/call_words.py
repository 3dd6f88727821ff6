"""Deletes the transcript of a call: here at once, and at VAPI by a job."""

from __future__ import annotations

from daysong.features.phone_calls import sessions
from daysong.features.subscriptions import accounts
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, mutation
from daysong.workflows.calls.call_to_diary import VapiCall, delete_vapi_call


class CallSessionNotFound(ExpectedError):
    """No call session of the caller has this id."""

    code = "call_session_not_found"
    status = 404
    default_message = "Call session not found"


class DeleteCallSession(Args):
    """The id of the call session whose transcript is deleted."""

    session_id: IdText


@mutation
async def delete_call_session(ctx: MutationContext, args: DeleteCallSession) -> None:
    """Delete the transcript of a call of the caller, here and at VAPI; its entry stays. CallSessionNotFound."""
    owner = await accounts.of_caller(ctx)
    if not await ctx.db.fetchval(
        "select true from call_sessions where id = $1 and user_id = $2", args.session_id, owner
    ):
        raise CallSessionNotFound
    for call_id in await sessions.delete_words(ctx, owner, session_id=args.session_id):
        await schedule_deletion_at_vapi(ctx, call_id)


async def delete_words_of_entry(ctx: MutationContext, owner: str, diary_id: str) -> None:
    """Delete the transcript of the call an entry was made from, if any. Call it before deleting the entry."""
    for call_id in await sessions.delete_words(ctx, owner, diary_id=diary_id):
        await schedule_deletion_at_vapi(ctx, call_id)


async def schedule_deletion_at_vapi(ctx: MutationContext, call_id: str) -> None:
    """Schedule the deletion of a call whose transcript the user deleted."""
    await ctx.schedule(delete_vapi_call, VapiCall(vapi_call_id=call_id), key=f"forget {call_id} deleted")
