"""Applies the journal of removals to a restored database: what was removed since the backup does not come back.

Ids are compared by their SHA-256, phone numbers and accounts by their keyed hashes. Everything is idempotent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from daysong.features.phone_calls.numbers.numbers import number_hashes
from daysong.features.users import store as users
from daysong.features.users import tombstones
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, mutation
from daysong.kernel.ids import UserId
from daysong.kernel.time.clock import from_ms
from daysong.workflows import diary_removal
from daysong.workflows.accounts import account_deletion
from daysong.workflows.recovery.journal import Removal

# Rows that are deleted as they are. The stored file of a row that has one goes with the orphan files.
DELETED = ("music_videos", "diary_media", "music", "shared_music", "push_tokens", "call_sessions", "invitations")
WITH_FILE = ("music_videos", "diary_media")
# Of two opposite kinds, the last one of a row counts.
OPPOSITES = {
    "share_public": "share_private",
    "share_private": "share_public",
    "calls_on": "calls_off",
    "calls_off": "calls_on",
    "number_proved": "number_refused",
    "number_refused": "number_proved",
}
UPDATES = {
    "music_hidden": "update music set deleted_at = $2, updated_at = $2 where {} and deleted_at is null",
    "call_words": """update call_sessions set words_deleted_at = $2, transcript = null, end_of_call_report = null,
                       updated_at = $2 where {} and words_deleted_at is null""",
    "share_private": "update shared_music set is_private = true, updated_at = $2 where {} and not is_private",
    "calls_off": "update call_settings set active = false, next_run_at = null, updated_at = $2 where {} and active",
}
BY_ID = "sha256(convert_to(id, 'UTF8')) = any($1)"


class Removals(Args):
    """Lines of the journal."""

    removals: list[Removal]


@mutation
async def remove_again(ctx: MutationContext, args: Removals) -> dict[str, int]:
    """Apply removals to the restored database; return how many rows of each kind were still there.

    Accounts are closed, and erased by their jobs. Part of a restore: nothing else runs meanwhile.
    """
    marks = standing(args.removals)
    removed: Counter[str] = Counter()
    removed["accounts"] = await _close_accounts(ctx, marks.get("account", {}))
    removed["diaries"] = await _delete_entries(ctx, list(marks.get("diaries", {})))
    for table in DELETED:
        removed[table] = await _delete_rows(ctx, table, list(marks.get(table, {})))
    for kind, statement in UPDATES.items():
        done = await ctx.db.execute(statement.format(BY_ID), list(marks.get(kind, {})), ctx.now)
        removed[kind] = int(done.rpartition(" ")[2])
    removed["numbers_refused"] = await _refuse_numbers(ctx, list(marks.get("number_refused", {})))
    return {kind: count for kind, count in removed.items() if count}


def standing(removals: Sequence[Removal]) -> dict[str, dict[bytes, float]]:
    """Return the marks of each kind with their last time, without those that were taken back later."""
    found: dict[str, dict[bytes, float]] = {}
    for removal in sorted(removals, key=lambda one: one.at):
        mark = bytes.fromhex(removal.mark)
        found.setdefault(removal.kind, {})[mark] = removal.at
        if removal.kind in OPPOSITES:
            found.get(OPPOSITES[removal.kind], {}).pop(mark, None)
    return found


async def _close_accounts(ctx: MutationContext, marks: dict[bytes, float]) -> int:
    await ctx.db.execute(
        """insert into tombstones (clerk_hash, deleted_at) select * from unnest($1::bytea[], $2::timestamptz[])
           on conflict (clerk_hash) do update set deleted_at = greatest(tombstones.deleted_at, excluded.deleted_at)""",
        list(marks), [from_ms(at) for at in marks.values()],
    )  # fmt: skip
    closed = 0
    rows = await ctx.db.fetch("select id, clerk_id, created_at from users where deleted_at is null") if marks else []
    for row in rows:
        times = [marks[one] for one in tombstones.clerk_hashes(ctx.settings, row["clerk_id"]) if one in marks]
        # An account that was opened after an earlier one of the same person was deleted stays.
        if times and row["created_at"] < from_ms(max(times)):
            await users.lock_account(ctx.db, row["id"])
            await account_deletion.close(ctx, UserId(row["id"]))
            closed += 1
    return closed


async def _delete_entries(ctx: MutationContext, marks: list[bytes]) -> int:
    rows = await ctx.db.fetch(f"select id, user_id from diaries where {BY_ID}", marks)  # noqa: S608 - a constant
    for row in rows:
        await users.lock_account(ctx.db, row["user_id"])
        await diary_removal.remove(ctx, UserId(row["user_id"]), row["id"])
    return len(rows)


async def _delete_rows(ctx: MutationContext, table: str, marks: list[bytes]) -> int:
    columns = "file_id" if table in WITH_FILE else "null as file_id"
    rows = await ctx.db.fetch(f"delete from {table} where {BY_ID} returning {columns}", marks)  # noqa: S608 - constants
    await ctx.db.execute("delete from files where id = any($1)", [row["file_id"] for row in rows if row["file_id"]])
    return len(rows)


async def _refuse_numbers(ctx: MutationContext, marks: list[bytes]) -> int:
    """Refuse numbers again, and switch off the calls of settings that name them."""
    await ctx.db.execute(
        """insert into phone_numbers (number_hash, refused_at, updated_at)
           select mark, $2, $2 from unnest($1::bytea[]) as mark
           on conflict (number_hash) do update set refused_at = coalesce(phone_numbers.refused_at, $2)""",
        marks, ctx.now,
    )  # fmt: skip
    rows = await ctx.db.fetch("select id, phone_e164 from call_settings") if marks else []
    refused = [row["id"] for row in rows if not set(marks).isdisjoint(number_hashes(ctx.settings, row["phone_e164"]))]
    await ctx.db.execute(
        """update call_settings set consent = 'refused', consent_at = $2, consent_session_id = null, active = false,
             paused_reason = 'refused', next_run_at = null, updated_at = $2 where id = any($1)""",
        refused, ctx.now,
    )  # fmt: skip
    return len(marks)
