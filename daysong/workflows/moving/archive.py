"""A snapshot export of Convex, read as a stranger's file: a ZIP archive or the folder it was unpacked to.

    _tables/documents.jsonl           one {"name", "id"} a line
    <table>/documents.jsonl           one document a line
    _storage/documents.jsonl          one {_id, contentType, sha256, size} a line
    _storage/<_id>[.ext]              a stored file

Only members of these names are opened. Nothing is unpacked to a path that the archive names, links are refused, and
lines, members and their expansion are bounded, so that memory stays flat whatever the archive holds.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from daysong.kernel import values
from daysong.kernel.errors import DaysongError

LONGEST_LINE = 4 * 1024 * 1024
LONGEST_ID = 64
MOST_MEMBERS = 2_000_000
LARGEST_DOCUMENTS = 64 * 1024**3
# Tables of documents that repeat each other compress fiftyfold (bench/moving.py). Small members may do better.
MOST_EXPANSION = 200
SMALL = 1024 * 1024
CHUNK = 256 * 1024

DOCUMENTS = re.compile(r"(?P<table>[A-Za-z_][A-Za-z0-9_]{0,63})/documents\.jsonl")
STORED = re.compile(r"_storage/(?P<id>[A-Za-z0-9_-]{1,64})(\.[A-Za-z0-9]{1,10})?")
SYSTEM = frozenset({"_tables", "_storage", "_components"})


class MalformedArchive(DaysongError):
    """The archive is no snapshot export, or is not safe to read; the message says why."""


class Line(NamedTuple):
    """A line of a table; `document` is None when the line is malformed, for the `reason`."""

    number: int
    document: dict[str, Any] | None
    reason: str = ""


class Archive:
    """A snapshot export. `tables` has the names of its tables of documents; `stored` that of each file by its id."""

    def __init__(self, path: Path) -> None:
        """Open the archive. Errors: MalformedArchive."""
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        names = list(self._names_of_folder() if path.is_dir() else self._names_of_zip())
        self.tables = {found["table"]: name for name in names if (found := DOCUMENTS.fullmatch(name))}
        self.stored = {found["id"]: name for name in names if (found := STORED.fullmatch(name))}
        for name in ("documents", "generated_schema"):
            self.stored.pop(name, None)
        if not self.tables.keys() - SYSTEM:
            raise MalformedArchive(f"{path.name} has no <table>/documents.jsonl: it is no snapshot export of Convex.")

    def close(self) -> None:
        """Close the file."""
        if self._zip is not None:
            self._zip.close()

    def digest(self) -> str:
        """Return what identifies the archive: a hash over its members' names, sizes and checksums.

        Of a folder, times of change stand for checksums.
        """
        summed = sha256()
        for name in sorted({*self.tables.values(), *self.stored.values()}):
            if self._zip is not None:
                info = self._zip.getinfo(name)
                summed.update(f"{name} {info.file_size} {info.CRC}\n".encode())
            else:
                found = (self._path / name).stat()
                summed.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
        return summed.hexdigest()

    def lines(self, table: str, after: int = 0) -> Iterator[Line]:
        """Yield the lines of a table after line number `after`; nothing when the archive does not have the table.

        Empty lines are passed over. Special values are decoded (`kernel/values.py`).
        """
        name = self.tables.get(table)
        if name is None:
            return
        with self.open(name) as file:
            for number, raw in enumerate(_bounded_lines(file), 1):
                if number > after and raw != b"":
                    yield _line(number, raw)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a member whose name `tables` or `stored` has."""
        if self._zip is not None:
            with self._zip.open(name) as member:
                yield member
        else:
            # The folder was checked when its names were read; a file may have been replaced by a link since.
            descriptor = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                yield file

    def size(self, name: str) -> int:
        """Return the unpacked size of a member in bytes."""
        return self._zip.getinfo(name).file_size if self._zip is not None else (self._path / name).stat().st_size

    def _names_of_folder(self) -> Iterator[str]:
        for path in self._path.glob("*/*"):
            if path.is_symlink() or path.parent.is_symlink():
                raise MalformedArchive(f"{path.relative_to(self._path)} is a link")
            if path.is_file():
                yield path.relative_to(self._path).as_posix()

    def _names_of_zip(self) -> Iterator[str]:
        try:
            self._zip = zipfile.ZipFile(self._path)
        except (OSError, zipfile.BadZipFile) as error:
            raise MalformedArchive(f"{self._path.name} is no ZIP archive and no folder") from error
        members = self._zip.infolist()
        if len(members) > MOST_MEMBERS:
            raise MalformedArchive(f"more than {MOST_MEMBERS} members")
        names = set()
        for member in members:
            _check(member)
            if member.filename in names:
                raise MalformedArchive(f"{member.filename[:80]!r} is there twice")
            names.add(member.filename)
        yield from names


def _check(member: zipfile.ZipInfo) -> None:
    """Refuse members that no export has. Errors: MalformedArchive."""
    shown = repr(member.filename[:80])
    if stat.S_ISLNK(member.external_attr >> 16):
        raise MalformedArchive(f"{shown} is a link")
    if member.filename.startswith("/") or "\\" in member.filename or ".." in member.filename.split("/"):
        raise MalformedArchive(f"{shown} leads out of the archive")
    if member.flag_bits & 1:
        raise MalformedArchive(f"{shown} is encrypted")
    if member.file_size > LARGEST_DOCUMENTS:
        raise MalformedArchive(f"{shown} is larger than {LARGEST_DOCUMENTS} bytes")
    if member.file_size > SMALL and member.file_size > MOST_EXPANSION * max(1, member.compress_size):
        raise MalformedArchive(f"{shown} expands more than {MOST_EXPANSION}-fold")


def _bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines without their ends; of one longer than LONGEST_LINE only the beginning, with one byte too many."""
    reader = file if isinstance(file, BufferedReader) else BufferedReader(file, CHUNK)  # type: ignore[type-var]
    while line := reader.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = reader.readline(CHUNK)
            yield line[: LONGEST_LINE + 1]
        else:
            yield line.strip()


def _line(number: int, raw: bytes) -> Line:
    if len(raw) > LONGEST_LINE:
        return Line(number, None, f"longer than {LONGEST_LINE} bytes")
    try:
        document = msgspec.json.decode(raw)
        document = values.decode(_without_nul(document) if b"\\u0000" in raw else document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Line(number, None, "not JSON")
    except values.MalformedValue as error:
        return Line(number, None, str(error))
    if not isinstance(document, dict) or not isinstance(document.get("_id"), str):
        return Line(number, None, "not a document with an _id")
    if not 1 <= len(document["_id"]) <= LONGEST_ID:
        return Line(number, None, "an _id of no acceptable length")
    return Line(number, document)


def _without_nul(value: Any) -> Any:
    """Return JSON without the character NUL, which PostgreSQL cannot store."""
    match value:
        case str():
            return value.replace("\0", "")
        case list():
            return [_without_nul(one) for one in value]
        case dict():
            return {_without_nul(name): _without_nul(one) for name, one in value.items()}
    return value
