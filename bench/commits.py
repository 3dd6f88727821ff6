"""Commits a second of writers that share nothing: with and without the notifications of live queries.

    script/bench commits [--writers 16] [--seconds 4] [--rounds 3]

Each writer has an account and a connection of its own, and saves one entry in each transaction or statement, as
`diaries:createDiary` does. Durability is on. The rounds are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median

import asyncpg

from bench import machine
from daysong.kernel.database import migrations
from daysong.kernel.database.transactions import BEGIN, COMMIT, FLUSH, UNFLUSHED

# Whether there are triggers, and what begins and ends a transaction, or what follows a statement without one.
WAYS = {
    "as in kernel/database/transactions.py": ("enable", BEGIN, COMMIT),
    "the same, in one statement": ("enable", None, FLUSH),
    "with triggers, in ordinary transactions": ("enable", "begin", "commit"),
    "the same, in one statement that flushes": ("enable", None, None),
    "without triggers, in ordinary transactions": ("disable", "begin", "commit"),
}
ACCOUNT = "insert into users (id, clerk_id, created_at, updated_at) values ($1, $1, now(), now())"
LOCK = "select id from users where clerk_id = $1 and deleted_at is null for no key update"
ENTRY = """insert into diaries (id, user_id, content, date, created_at, updated_at)
           values ($1 || '-' || $2::int, $1, 'Rain.', now(), now(), now())"""
AT_ONCE = f"""with account as ({LOCK})
              insert into diaries (id, user_id, content, date, created_at, updated_at)
              select $1 || '-' || $2::int, id, 'Rain.', now(), now(), now() from account returning id"""  # noqa: S608


async def write(url: str, writer: str, first: int, until: float, begin: str | None, commit: str | None) -> int:
    """Save entries until that moment; return how many."""
    connection = await asyncpg.connect(url)
    saved = 0
    while time.monotonic() < until:
        if begin is None:
            await connection.fetchrow(f"{AT_ONCE}, {UNFLUSHED}" if commit else AT_ONCE, writer, first + saved)
        else:
            await connection.execute(begin)
            await connection.fetchval(LOCK, writer)
            await connection.execute(ENTRY, writer, first + saved)
        if commit is not None:
            await connection.execute(commit)
        saved += 1
    await connection.close()
    return saved


async def bench(url: str, writers: int, seconds: float, rounds: int) -> None:
    """Measure, and print a line for each."""
    names = [f"writer {number}" for number in range(writers)]
    await migrations.migrate(url)
    own = await asyncpg.connect(url)
    await own.executemany(ACCOUNT, [(name,) for name in names])
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    first = 0
    for _ in range(rounds):
        for name, (triggers, begin, commit) in WAYS.items():
            await own.execute(f"alter table diaries {triggers} trigger user")
            until = time.monotonic() + seconds
            work = [write(url, each, first, until, begin, commit) for each in names]
            saved = sum(await asyncio.gather(*work))
            first += saved
            found[name].append(saved / seconds)
    await own.close()
    for name, rates in found.items():
        print(f"{name:45} {median(rates):7,.0f} commits/s")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with machine.postgres("commits") as (postgres, _):
        print(machine.line())
        asyncio.run(bench(postgres.url, options.writers, options.seconds, options.rounds))


if __name__ == "__main__":
    main()
