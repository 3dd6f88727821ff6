"""Which time zone data calls are planned with: the package tzdata, or a folder where that is newer.

The data of a process is chosen when its app is built (`use`), and stays. Laws change several times a year, on short
notice: data that is not renewed lets phones ring an hour off, so its age is logged and shown by `daysong doctor`.
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
# When a version was published, where the data does not say so.
RELEASED = {"2026d": date(2026, 9, 12), "2026f": date(2026, 10, 28)}
PACKAGE = "package tzdata"
UNKNOWN = "unknown"
FIRST_BYTES = 200

log = logs.get_logger("calls")


class ZoneData(NamedTuple):
    """Time zone data: its version as IANA names it, when it was published at the latest known moment before, where."""

    version: str
    released: date | None
    source: str

    def age(self, today: date) -> timedelta | None:
        """How old it is, at most; None when nothing tells."""
        return None if self.released is None else today - self.released

    def is_old(self, today: date) -> bool:
        """Whether it should be renewed: older than 120 days, or of an age that nothing tells."""
        age = self.age(today)
        return age is None or age > OLD

    def told(self, today: date) -> str:
        """The same in words."""
        age = self.age(today)
        return f"{self.version}, {'of unknown age' if age is None else f'{age.days} days old'}, {self.source}"


def read(folder: Path) -> str:
    """The version of the data in a folder, as `tzdata.zi` or `+VERSION` says it; "unknown" without either."""
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
    """When data was published: known of a version, else not before its year and not before the leap seconds in it."""
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
    """The data that comes with our dependencies."""
    folder = Path(str(importlib.resources.files("tzdata").joinpath("zoneinfo")))
    return of_folder(folder)._replace(source=PACKAGE)


def of_folder(folder: Path) -> ZoneData:
    """The data in a folder, as TZDATA_DIR names one."""
    version = read(folder)
    return ZoneData(version, released(version, folder), str(folder))


def chosen(folder: Path | None) -> ZoneData:
    """The newer of the folder's and the package's data; the folder's when nothing tells its version."""
    package = of_package()
    if folder is None:
        return package
    other = of_folder(folder)
    return other if other.version == UNKNOWN or other.version >= package.version else package


_current = of_package()


def current() -> ZoneData:
    """The data this process plans calls with."""
    return _current


def use(folder: Path | None) -> ZoneData:
    """Plan calls with the newer of the folder's and the package's data, in this process, from now on."""
    global _current  # noqa: PLW0603 - whenever's search path is one of the process as well
    data = chosen(folder)
    if data != _current:
        whenever.reset_tzpath(() if data.source == PACKAGE else (data.source,))
        whenever.clear_tzcache()
        calendar.forget_zones()
        _current = data
    return data


def report(today: date) -> None:
    """Log which data is used, and how old it is."""
    age = _current.age(today)
    days = None if age is None else age.days
    if _current.is_old(today):
        log.warning("time zone data is old: install a newer tzdata, or set TZDATA_DIR",
                    version=_current.version, days=days, source=_current.source)  # fmt: skip
    else:
        log.info("time zone data", version=_current.version, days=days, source=_current.source)
