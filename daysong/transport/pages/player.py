"""The player as HTML: the browser's own, which works without scripts, and ours, which static/player.js turns on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

MODULES = ("player.js", "deck.js", "lyrics.js")
STYLES = ("player.css",)
# Bars of the drawn waveform, and its height; the page scales them.
BARS = 90
HEIGHT = 40
# Part of the height that silence has.
SILENCE = 0.06
# Far beyond any level; NaN is not below it.
LOUDEST = 1e9


def player_html(audio: str, title: str, *, duration: float | None, timed: Any, download: bool) -> str:
    """Return the player of `audio`; `timed` is the vendor's `lyricWithTime`, `download` offers the file."""
    wave = waveform(timed.get("waveformData") if isinstance(timed, dict) else None)
    drawn = "".join(
        f'<svg class="{name}" viewBox="0 0 {BARS * 4} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
        for name, path in (("wave", wave), ("wave played", wave))
        if wave
    ) or '<span class="bar"></span><span class="bar played"></span>'  # fmt: skip
    save = (
        f'<a class="quiet" href="{escape(audio)}?download=1" download>{_icon(SAVE)}<span>Save the song</span></a>'
        if download
        else ""
    )
    seconds = duration or 0
    play = f"{_icon(PLAY, 'to-play')}{_icon(PAUSE, 'to-pause')}"
    sound = f"{_icon(LOUD, 'loud')}{_icon(SILENT, 'silent')}"
    return f"""<section class="player" aria-label="Player" data-duration="{seconds:.2f}">
<audio controls preload="metadata" src="{escape(audio)}" aria-label="{escape(title)}"></audio>
<div class="deck" hidden>
<button class="play" type="button" aria-label="Play" aria-keyshortcuts="Space K">{play}</button>
<div class="seek">{drawn}
<input type="range" min="0" max="{seconds:.2f}" step="0.1" value="0"
 aria-label="Position" aria-valuetext="0:00 of {clock(seconds)}"></div>
<p class="times"><span class="elapsed">0:00</span><span class="total">{clock(seconds)}</span></p>
</div>
<div class="extras" hidden>
<button class="quiet speed" type="button" aria-label="Speed: 1×">1×</button>
{save}
<span class="volume">
<button class="quiet mute" type="button" aria-label="Mute" aria-keyshortcuts="M" aria-pressed="false">{sound}</button>
<input type="range" min="0" max="1" step="0.05" value="1" aria-label="Volume">
</span>
</div>
<p class="trouble" role="status"></p>
</section>"""


def waveform(levels: Any) -> str:
    """Return the path of the waveform's bars, or "" without usable levels."""
    usable = [abs(level) for level in levels if _is_level(level)] if isinstance(levels, list | tuple) else []
    loudest = max(usable, default=0)
    if len(usable) < BARS // 3 or not loudest:
        return ""
    middle = HEIGHT / 2
    path = ""
    for number, level in enumerate(_fitted(usable)):
        half = (SILENCE + (1 - SILENCE) * level / loudest) * (middle - 1)
        path += f"M{number * 4 + 2} {middle - half:.1f}V{middle + half:.1f}"
    return path


def _is_level(level: Any) -> bool:
    return isinstance(level, int | float) and abs(level) < LOUDEST


def _fitted(levels: Sequence[float]) -> list[float]:
    """Return BARS levels: of each bar's share of the song the loudest one."""
    count = len(levels)
    return [max(levels[n * count // BARS : max(n * count // BARS + 1, (n + 1) * count // BARS)]) for n in range(BARS)]


def clock(seconds: float) -> str:
    """Return minutes and seconds, rounded down as players do."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def _icon(path: str, name: str = "") -> str:
    return f'<svg class="icon {name}" viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'


PLAY = "M8 5.2v13.6a.8.8 0 0 0 1.2.7l10.6-6.8a.8.8 0 0 0 0-1.4L9.2 4.5a.8.8 0 0 0-1.2.7z"
PAUSE = "M7 5h3.4v14H7zM13.6 5H17v14h-3.4z"
SAVE = "M11 4h2v8.2l2.6-2.6 1.4 1.4-5 5-5-5 1.4-1.4 2.6 2.6zM5 18h14v2H5z"
LOUD = (
    "M4 9.5v5h3.2L12 19V5L7.2 9.5zM14.5 8.4v7.2a4 4 0 0 0 0-7.2z"
    "M14.5 4.6v1.9a5.9 5.9 0 0 1 0 11v1.9a7.7 7.7 0 0 0 0-14.8z"
)
SILENT = (
    "M4 9.5v5h3.2L12 19V5L7.2 9.5zM20.6 9.3l-1.3-1.3-2.3 2.4L14.7 8l-1.3 1.3 2.4 2.3-2.4 2.4 1.3 1.3 2.3-2.4 2.3 2.4 "
    "1.3-1.3-2.4-2.4z"
)
