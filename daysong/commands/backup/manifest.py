"""What is in a backup: `manifest.json`, which is written last, and `SHA256SUMS`, which `sha256sum -c` reads too."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import msgspec

from daysong.kernel.errors import DaysongError

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
DATABASE = "database.dump"
FILES = "files"
JOURNAL = "journal"
FORMAT = 1
CHUNK = 2**20
# What a backup may name: nothing outside its folder, or outside the file storage.
NAMES = re.compile(rf"{re.escape(DATABASE)}|(?:{FILES}|{JOURNAL})/[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class BackupInvalid(DaysongError):
    """The folder is no backup, or it is damaged; the message names the file."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A backup.

    snapshot_at    the moment of the database's state, in ms, by its clock
    hash_keys      fingerprints of DAYSONG_HASH_KEY and its earlier values
    files_in       where files are that were not copied; None when they were
    gone           files that were deleted while they were being copied
    damaged        files that were missing although the database has them
    sums           the SHA-256 of SHA256SUMS
    """

    format: int
    version: str
    snapshot_at: float
    postgres: int
    migrations: list[str]
    hash_keys: list[str]
    rows: dict[str, int]
    files: int = 0
    files_in: str | None = None
    gone: list[str] = []
    damaged: list[str] = []
    sums: str = ""


def read(folder: Path) -> Manifest:
    """Return the manifest of a backup. Errors: BackupInvalid."""
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupInvalid(f"{folder} has no {MANIFEST}: it is no backup, or one that was not finished.") from None
    except (msgspec.DecodeError, OSError):
        raise BackupInvalid(f"{folder / MANIFEST} cannot be read.") from None
    if found.format != FORMAT:
        raise BackupInvalid(f"{folder} has format {found.format}; this release reads {FORMAT}.")
    return found


async def verify(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Compare every file with its sum; return the sums by path. Errors: BackupInvalid, naming the first wrong."""
    try:
        text = (folder / SUMS).read_bytes()
    except OSError:
        raise BackupInvalid(f"{folder / SUMS} is missing.") from None
    if hashlib.sha256(text).hexdigest() != manifest.sums:
        raise BackupInvalid(f"{folder / SUMS} was changed.")
    lines = (line.partition("  ") for line in text.decode(errors="replace").splitlines())
    sums = {name: digest for digest, _, name in lines}
    if DATABASE not in sums:
        raise BackupInvalid(f"{folder / SUMS} does not have {DATABASE}.")
    for name, digest in sums.items():
        if not NAMES.fullmatch(name):
            raise BackupInvalid(f"{folder / SUMS} names {name[:100]!r}, which no backup has.")
        if not (folder / name).is_file():
            raise BackupInvalid(f"{folder / name} is missing.")
        if await asyncio.to_thread(sha256, folder / name) != digest:
            raise BackupInvalid(f"{folder / name} is damaged: its SHA-256 differs.")
    return sums


def write(folder: Path, sums: dict[str, str], manifest: Manifest) -> None:
    """Write the sums, then the manifest, whose existence says that the backup is complete."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()
    (folder / SUMS).write_bytes(text)
    done = msgspec.structs.replace(manifest, sums=hashlib.sha256(text).hexdigest())
    fresh = folder / f"{MANIFEST}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n")
    fresh.rename(folder / MANIFEST)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
