"""The condition that selects the caller's account in queries.

join users u on u.id = d.user_id and {IS_CALLER}     with ctx.caller.subject as $1
where user_id = {CALLERS_ID}
"""

from __future__ import annotations

# Excludes accounts that are deleted, and those that are banned or locked at Clerk, or blocked by an operator.
IS_CALLER = "u.clerk_id = $1 and u.deleted_at is null and u.suspension is null"
CALLERS_ID = f"(select u.id from users u where {IS_CALLER})"  # noqa: S608 - a constant
