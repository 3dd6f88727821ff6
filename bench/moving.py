"""How long it takes to import a snapshot export, and how much memory.

script/bench moving [--documents 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from daysong.workflows.moving.archive import Archive
from daysong.workflows.moving.run import Import
from rehearsal import databases
from rehearsal.world import World

AT = 1_790_000_000_000.0
# Documents of one user: the user, a plan, and as many entries, tracks and shares as fill the rest.
SONGS = 12
OF_A_USER = 2 + 4 * SONGS


def _document(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"_id": name, "_creationTime": AT, **fields}


def _documents(table: str, users: int) -> Iterator[dict[str, Any]]:
    for number in range(users):
        user = f"j57user{number}"
        match table:
            case "users":
                yield _document(user, clerkId=f"user_{number}", email=f"{number}@example.test", name=f"Name {number}")
            case "subscriptionStatuses":
                yield _document(f"sub{number}", userId=user, productId="free-tier", status="active",
                                subscriptionTier="free", lastResetAt=AT, musicGenerationsUsed=2)  # fmt: skip
            case _:
                yield from _songs(table, number, user)


def _songs(table: str, number: int, user: str) -> Iterator[dict[str, Any]]:
    for place in range(SONGS):
        name = f"{number}x{place}"
        match table:
            case "diaries":
                yield _document(
                    f"d{name}", userId=user, content="It rained. " * 60, date=AT, primaryMusicId=f"m{name}y0"
                )
            case "music":
                for index in (0, 1):
                    yield _document(f"m{name}y{index}", userId=user, diaryId=f"d{name}", taskId=f"t{name}",
                                    musicIndex=index, status="ready", title="Rain", lyric="Rain, rain " * 60,
                                    duration=120.5)  # fmt: skip
            case "sharedMusic":
                yield _document(f"s{name}", userId=user, musicId=f"m{name}y0", shareId=f"share{name}", isActive=True,
                                viewCount=3)  # fmt: skip


def _write(file: IO[bytes], documents: int) -> int:
    users, written = max(1, documents // OF_A_USER), 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for table in ("users", "subscriptionStatuses", "diaries", "music", "sharedMusic"):
            with out.open(f"{table}/documents.jsonl", "w", force_zip64=True) as member:
                for one in _documents(table, users):
                    member.write(json.dumps(one).encode() + b"\n")
                    written += 1
    return written


def _memory() -> float:
    """Return the largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _measure(documents: int) -> None:
    with tempfile.TemporaryDirectory() as folder, databases.server() as server:
        path = Path(folder) / "snapshot.zip"
        with path.open("wb") as file:
            written = _write(file, documents)
        url = await databases.create_database(server, "daysong_moving", migrated=True)
        async with World(url, Path(folder), datetime.now(UTC)) as world:
            before = _memory()
            for turn in ("imported", "when all is there"):
                archive = Archive(path)
                began = time.perf_counter()
                app = world.app
                importing = Import(archive, world.db, app.runtime.queue, app.files, world.settings, world.clock.now())
                report = await importing.run(apply=True)
                archive.close()
                took = time.perf_counter() - began
                rows = sum(tally.imported for tally in report.tables.values())
                print(
                    f"{written} documents, {rows} rows {turn}: {took:.1f} s, memory {before:.0f} -> {_memory():.0f} MiB"
                )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=100_000)
    documents = parser.parse_args().documents
    databases.begin_run()
    try:
        asyncio.run(_measure(documents))
    finally:
        databases.end_run()


if __name__ == "__main__":
    main()
