"""Which hash keys stored rows still need: numbers that refused calls, deleted accounts, and mailboxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import DaysongError
from daysong.kernel.keys import FINGERPRINT_BYTES, fingerprint

DIGEST_BYTES = 32
# Columns that hold keyed hashes for weeks or longer, and what their rows are.
HASHED = {
    "phone_numbers.number_hash": "phone numbers",
    "tombstones.clerk_hash": "deleted accounts",
    "tombstones.email_hash": "deleted accounts",
    "users.mailbox_hash": "mailboxes",
    "mailbox_usage.mailbox_hash": "mailboxes",
    "mailbox_minutes.mailbox_hash": "mailboxes",
}


class HashKeyMissing(DaysongError):
    """Rows were hashed with a key that is not set; the message says which, and what is not found without it."""


class Rows(NamedTuple):
    """How many rows of each kind were hashed with a key, by its fingerprint; b"" for rows without a fingerprint."""

    by_key: dict[bytes, Counter[str]]

    def needing(self, key: bytes) -> str:
        """Return the rows of a key in words; "" for none."""
        return ", ".join(f"{count} {rows}" for rows, count in sorted(self.by_key.get(key, Counter()).items()))


async def count_rows(db: Reader) -> Rows:
    """Count the rows of each key; reads every row of those tables."""
    by_key: dict[bytes, Counter[str]] = {}
    for column, rows in HASHED.items():
        table, _, name = column.partition(".")
        counted = await db.fetch(
            f"""select case when length({name}) = $1 then substring({name} for $2) else '' end as key, count(*) as count
                from {table} where {name} is not null group by 1""",  # noqa: S608 - names from above
            DIGEST_BYTES + FINGERPRINT_BYTES, FINGERPRINT_BYTES,
        )  # fmt: skip
        for row in counted:
            by_key.setdefault(row["key"], Counter())[rows] += row["count"]
    return Rows(by_key)


def report(rows: Rows, keys: Sequence[str]) -> str:
    """Return which keys are needed, the current one first. Errors: HashKeyMissing."""
    fingerprints = [fingerprint(key) for key in keys]
    unknown = sorted(key for key in rows.by_key if key and key not in fingerprints)
    if unknown:
        lost = "; ".join(f"{rows.needing(key)} of key {key.hex()}" for key in unknown)
        raise HashKeyMissing(f"{lost} are not found: add that key to DAYSONG_HASH_KEY_OLD")
    unmarked = rows.needing(b"")
    said = [f"key {fingerprints[0].hex()}"]
    for key in fingerprints[1:]:
        if needed := rows.needing(key):
            said.append(f"earlier key {key.hex()} is needed by {needed}")
        elif unmarked:
            said.append(f"earlier key {key.hex()} may be needed")
        else:
            said.append(f"earlier key {key.hex()} is needed by no row: remove it from DAYSONG_HASH_KEY_OLD")
    if unmarked and len(keys) > 1:
        said.append(f"{unmarked} do not tell their key: keep every key that was ever used")
    return "; ".join(said)
