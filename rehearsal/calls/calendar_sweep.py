"""The whole sweep: every zone, every set of weekdays, every change of the clock from 2020 to 2035. See script/."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date

from rehearsal.calls.calendar_oracle import Disagreement, Tally, check, zones

FIRST, LAST = date(2020, 1, 1), date(2035, 12, 31)
EVERY_MASK = range(1, 128)
TIMES = (0, 150, 1170, 1395)
PROGRESS = 25


def sweep(names: list[str]) -> tuple[Tally, str | None]:
    """Compare one zone under all its names; return the tally and the first disagreement, if any."""
    try:
        return check(names, FIRST, LAST, masks=EVERY_MASK, times=TIMES), None
    except Disagreement as error:
        return Tally(len(names)), str(error)


def main() -> None:
    """Sweep on all cores, print progress, and exit with 1 if any zone disagrees."""
    every, started, total, wrong = zones(), time.monotonic(), Tally(), 0
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for done, (tally, error) in enumerate(processes.map(sweep, every), start=1):
            total = total.plus(tally)
            if error is not None:
                wrong += 1
                print(f"calendar: {error}", flush=True)
            if done % PROGRESS == 0 or done == len(every):
                print(f"calendar: {done} of {len(every)} zones, {time.monotonic() - started:.0f} s", flush=True)
    print(
        f"calendar: {len(every)} zones under {total.zones} names, {total.changes} changes of the clock,"
        f" {total.calls:,} next runs from {FIRST} to {LAST}: {wrong} zones disagree"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
