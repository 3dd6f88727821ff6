"""Secrets are replaced on a database with rows: what was stored or signed with earlier ones is still recognized."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import NOW
from daysong.kernel.keys import fingerprint
from daysong.workflows.accounts import hash_keys
from daysong.workflows.accounts.hash_keys import HashKeyMissing
from rehearsal.calls.phones import answers, has_agreed, until_due, wants_calls
from rehearsal.world import ADMIN_KEY, HASH_KEY, FunctionError, Person, World

pytestmark = pytest.mark.anyio

NEW_KEY = "the hash key from now on"
NEW_SIGNING_SECRET = "whsec_" + base64.b64encode(b"the next one").decode()


async def upload(person: Person) -> str:
    """Return an address that a file may be uploaded to."""
    address: str = await person.action("diaryMedia:generateUploadUrl")
    return address


async def test_a_replaced_hash_key_forgets_nobody(database_url: str, data_dir: Path) -> None:
    """Refused numbers stay refused, deleted accounts deleted, and quota used; a lost key is named."""
    async with World(database_url, data_dir, NOW) as before:
        alice, bob = await before.person("alice"), await before.person("bob")
        await wants_calls(bob)
        await answers(before, "refuses")
        await until_due(before)
        await alice.song()
        await alice.mutation("users:deleteAccount")
        await before.settle()
        address = await upload(bob)
        now = before.clock.now()
    turned = {"DAYSONG_HASH_KEY": NEW_KEY, "DAYSONG_HASH_KEY_OLD": HASH_KEY}
    async with World(database_url, data_dir, now + timedelta(minutes=1), turned) as after:
        charlie = await after.person("charlie")
        with pytest.raises(FunctionError) as refused:
            await wants_calls(charlie)
        assert refused.value.code == "number_refused"
        with pytest.raises(FunctionError):
            await Person(after, alice.headers).mutation("users:ensureCurrentUser")
        again = await after.person("alice")
        assert (await again.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 1
        assert len(await after.db.pool.fetch("select mailbox_hash from users where email = 'alice@example.test'")) == 1
        photo = await after.http.post(address, content=b"no picture", headers={"content-type": "image/png"})
        assert photo.status_code != 404

        rows = await hash_keys.count_rows(after.db.pool)
        said = hash_keys.report(rows, (NEW_KEY, HASH_KEY))
        assert f"earlier key {fingerprint(HASH_KEY).hex()} is needed by" in said
        assert "1 phone numbers" in rows.needing(fingerprint(HASH_KEY))
        assert "deleted accounts" in rows.needing(fingerprint(HASH_KEY))
        assert "mailboxes" in rows.needing(fingerprint(NEW_KEY))
        assert "is needed by no row" in hash_keys.report(rows, (NEW_KEY, HASH_KEY, "used by none"))
        with pytest.raises(HashKeyMissing, match=fingerprint(HASH_KEY).hex()):
            hash_keys.report(rows, (NEW_KEY,))


async def test_replaced_secrets_are_accepted_as_long_as_they_are_listed(database_url: str, data_dir: Path) -> None:
    """Webhooks of Clerk, RevenueCat, VAPI and Kie with the earlier secret, and the earlier admin key; no third one."""
    secrets = {
        "CLERK_WEBHOOK_SIGNING_SECRET": NEW_SIGNING_SECRET,
        "REVENUECAT_WEBHOOK_SECRET": "new",
        "REVENUECAT_WEBHOOK_HMAC_SECRET": "new",
        "VAPI_WEBHOOK_SECRET": "new",
        "KIE_WEBHOOK_HMAC_KEY": "new",
    }
    earlier = {"DAYSONG_ADMIN_KEY": "the admin key from now on", "DAYSONG_ADMIN_KEY_OLD": f"older,{ADMIN_KEY}"}
    async with World(database_url, data_dir, NOW) as plain:
        olds = {f"{name}_OLD": value for name, value in plain.environ().items() if name in secrets}
    assert len(olds) == len(secrets)
    async with World(database_url, data_dir, NOW, secrets | olds | earlier) as world:
        alice = await world.person("alice")
        await wants_calls(alice)
        await has_agreed(world)
        await world.buys("purchase", "user_alice", productId="eveokee_premium_monthly")
        await world.steer("clerk", "update", sub="user_alice", name="Alice Liddell")
        await until_due(world)
        song = await alice.song()
        await alice.action("videoActions:startVideoGeneration", musicId=song["_id"])
        await world.settle()
        got = {row["vendor"] for row in await world.db.pool.fetch("select distinct vendor from webhook_events")}
        assert got == {"clerk", "revenuecat", "vapi", "suno", "kie"}
        keys = ("the admin key from now on", ADMIN_KEY, "older", "another", "")
        opened = [(await world.http.post("/test/reset", headers={"Authorization": f"Convex {key}"})) for key in keys]
        assert [answer.is_success for answer in opened] == [True, True, True, False, False]
