"""Deletion of users at Clerk."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from daysong.kernel.errors import VendorError
from daysong.kernel.settings import ClerkSettings
from daysong.kernel.time.clock import MovableClock
from daysong.vendors.clerk.client import ClerkUsers
from daysong.vendors.conftest import Answerer, fixture

pytestmark = pytest.mark.anyio

ISSUER = "https://clerk.diary.example"
USER = "user_2aaaaaaaaaaaaaaaaaaaaaaaaa1"
SETTINGS = ClerkSettings(issuer=ISSUER, secret_key="sk_secret", base_url="http://clerk.test")


@pytest.mark.parametrize(
    ("name", "permanent", "wait"),
    [
        ("delete-user-400", True, None),
        ("delete-user-429", False, 10.0),
        ("delete-user-500", False, None),
    ],
)
async def test_each_recorded_deletion_failure_is_permanent_or_not(
    answerer: Answerer,
    name: str,
    permanent: bool,
    wait: float | None,
) -> None:
    """A rate limit has Retry-After."""
    headers = {} if wait is None else {"retry-after": f"{wait:g}"}
    answerer.will_answer(int(name.rpartition("-")[2]), fixture(f"clerk/{name}.json"), headers)
    users = ClerkUsers(SETTINGS, transport=answerer.transport, clock=MovableClock(datetime(2026, 11, 20, tzinfo=UTC)))
    with pytest.raises(VendorError) as caught:
        await users.delete_user(USER)
    assert (caught.value.permanent, caught.value.retry_after) == (permanent, wait)
    await users.close()


async def test_deleting_a_user_is_idempotent(answerer: Answerer) -> None:
    """A 404 is success."""
    answerer.will_answer(200, {"object": "user", "id": USER, "deleted": True})
    answerer.will_answer(404, fixture("clerk/delete-user-404.json"))
    users = ClerkUsers(SETTINGS, transport=answerer.transport)
    await users.delete_user(USER)
    await users.delete_user("user/../sessions")
    await users.close()
    assert [(request.method, request.headers["authorization"]) for request in answerer.asked] == [
        ("DELETE", "Bearer sk_secret")
    ] * 2
    assert answerer.asked[0].path == f"/v1/users/{USER}"


async def test_without_a_secret_key_deletion_fails(answerer: Answerer) -> None:
    """The error names the missing setting."""
    users = ClerkUsers(ClerkSettings(issuer=ISSUER), transport=answerer.transport)
    with pytest.raises(VendorError, match="CLERK_SECRET_KEY") as caught:
        await users.delete_user(USER)
    assert caught.value.permanent
    await users.close()
