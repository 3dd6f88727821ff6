"""The sign-ins of Authenticate messages."""

from __future__ import annotations

import msgspec

from daysong.kernel.functions.context import ANONYMOUS, Caller
from daysong.transport.callers.auth import SignIn
from daysong.transport.sync.hub import Hub
from daysong.transport.sync.messages import NULL, Authenticate


async def verify(hub: Hub, address: str, message: Authenticate) -> SignIn | None:
    """Return the sign-in that a message proves; None when it signs out. Errors: Refused."""
    authenticator, now = hub.authenticator, hub.runtime.clock.now()
    if message.token_type == "None":  # noqa: S105 - a kind of token
        return None
    if message.token_type == "User":  # noqa: S105
        return await authenticator.user(message.value, now)
    acting_as = message.acting_as if message.impersonating == NULL else message.impersonating
    viewer = authenticator.viewer(address, now).viewer
    caller = await authenticator.guarded(viewer, lambda: authenticator.admin(message.value, bytes(acting_as)))
    return SignIn(caller, None)


def is_same_caller(one: SignIn | None, other: SignIn | None) -> bool:
    """Return whether two sign-ins are of one caller: tokens of one person differ by when they were issued."""
    return _without_issue_time(one) == _without_issue_time(other)


def _without_issue_time(sign_in: SignIn | None) -> Caller:
    return ANONYMOUS if sign_in is None else msgspec.structs.replace(sign_in.caller, issued_at=None)
