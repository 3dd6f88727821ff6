"""The time zone data that calls are planned with: the package tzdata, or a folder with newer data.

A process chooses its data when the app is built (`use`). Time zone laws change several times a year at short notice,
and outdated data makes calls an hour early or late: so its age is logged and shown by `daysong doctor`.
"""

from __future__ import annotations

import importlib.resources
import re
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import whenever

from daysong.features.phone_calls.schedule import calendar
from daysong.kernel import logs

OLD = timedelta(days=120)
# Publication dates of versions whose data does not contain one.
RELEASED = {"2026d": date(2026, 9, 12), "2026f": date(2026, 10, 28)}
PACKAGE = "package tzdata"
UNKNOWN = "unknown"
FIRST_BYTES = 200

log = logs.get_logger("calls")


class ZoneData(NamedTuple):
    """Time zone data: its IANA version, the earliest date it can have been published, and its source."""

    version: str
    released: date | None
    source: str

    def age(self, today: date) -> timedelta | None:
        """Return its greatest possible age; None when the date is unknown."""
        return None if self.released is None else today - self.released

    def is_old(self, today: date) -> bool:
        """Return whether it should be updated: it is older than 120 days, or of unknown age."""
        age = self.age(today)
        return age is None or age > OLD

    def description(self, today: date) -> str:
        """Return version, age and source as text."""
        age = self.age(today)
        return f"{self.version}, {'of unknown age' if age is None else f'{age.days} days old'}, {self.source}"


def read(folder: Path) -> str:
    """Return the version of the data in a folder, from `tzdata.zi` or `+VERSION`; "unknown" without either."""
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="ascii", errors="replace") as file:
                found = re.match(r"(?:# version )?(\d{4}[a-z]{1,2})\b", file.read(FIRST_BYTES))
        except OSError:
            continue
        if found is not None:
            return found[1]
    return UNKNOWN


def released(version: str, folder: Path) -> date | None:
    """Return when data was published: a listed date, else the later of its year's start and its leap seconds' date."""
    if version in RELEASED or version == UNKNOWN:
        return RELEASED.get(version)
    earliest = date(int(version[:4]), 1, 1)
    try:
        text = (folder / "leapseconds").read_text(encoding="ascii", errors="replace")
    except OSError:
        return earliest
    found = re.search(r"^#updated \d+ \((\d{4}-\d\d-\d\d)", text, re.MULTILINE)
    return max(earliest, date.fromisoformat(found[1])) if found else earliest


def of_package() -> ZoneData:
    """Return the data of the package tzdata."""
    folder = Path(str(importlib.resources.files("tzdata").joinpath("zoneinfo")))
    return of_folder(folder)._replace(source=PACKAGE)


def of_folder(folder: Path) -> ZoneData:
    """Return the data in a folder, such as TZDATA_DIR."""
    version = read(folder)
    return ZoneData(version, released(version, folder), str(folder))


def chosen(folder: Path | None) -> ZoneData:
    """Return the newer of the folder's and the package's data; the folder's when its version is unknown."""
    package = of_package()
    if folder is None:
        return package
    other = of_folder(folder)
    return other if other.version == UNKNOWN or other.version >= package.version else package


_current = of_package()


def current() -> ZoneData:
    """Return the data this process plans calls with."""
    return _current


def use(folder: Path | None) -> ZoneData:
    """Make this process plan calls with the newer of the folder's and the package's data."""
    global _current  # noqa: PLW0603 - whenever's search path is global to the process, too
    data = chosen(folder)
    if data != _current:
        whenever.reset_tzpath(() if data.source == PACKAGE else (data.source,))
        whenever.clear_tzcache()
        calendar.forget_zones()
        _current = data
    return data


def report(today: date) -> None:
    """Log the version and age of the data."""
    age = _current.age(today)
    days = None if age is None else age.days
    if _current.is_old(today):
        log.warning("time zone data is old: install a newer tzdata, or set TZDATA_DIR",
                    version=_current.version, days=days, source=_current.source)  # fmt: skip
    else:
        log.info("time zone data", version=_current.version, days=days, source=_current.source)
