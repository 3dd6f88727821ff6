"""The signals that ask a process to end. Light to import: every command begins here."""

from __future__ import annotations

import signal


def stops() -> list[signal.Signals]:
    """Return the signals that ask a process to end. One that was ignored at its start (nohup) stays ignored."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    return [number for number in wanted if signal.getsignal(number) != signal.SIG_IGN]


def end_as_by_ctrl_c() -> None:
    """Have every signal that asks for an end do what Ctrl-C does, so that nothing is left running behind a command."""
    for number in stops():
        if number != signal.SIGINT:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
