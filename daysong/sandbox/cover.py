"""A song's cover: hills under a sky, in the colours of its mood, as SVG."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from colorsys import hls_to_rgb
from html import escape
from random import Random

from daysong.sandbox.mood import Character, character_of

SIZE = 1000
WIDEST = 24  # columns of a line of the title; a wide character takes two
MOST_LINES = 4


def draw_cover(*, title: str, style: str, seed: str) -> bytes:
    """A square SVG that asks for nothing outside itself; the same bytes for the same request."""
    request = f"{title}\0{style}\0{seed}".encode("utf-8", "surrogatepass")
    dice = Random(int.from_bytes(hashlib.sha256(request).digest()[:8], "big"))
    character = character_of(style)
    (sky, haze, horizon), land = _colours(character, dice)
    shapes = "\n".join([*_light(character, horizon, dice), *_hills(character, land, dice)])
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" width="{SIZE}" height="{SIZE}">
<title>{_text(title)}</title>
<defs>
<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">
<stop offset="0" stop-color="{sky}"/><stop offset="0.45" stop-color="{haze}"/>
<stop offset="0.7" stop-color="{horizon}"/>
</linearGradient>
<linearGradient id="shade" x1="0" y1="0" x2="0" y2="1">
<stop offset="0.6" stop-color="#000" stop-opacity="0"/><stop offset="1" stop-color="#000" stop-opacity="0.55"/>
</linearGradient>
</defs>
<rect width="{SIZE}" height="{SIZE}" fill="url(#sky)"/>
{shapes}
<rect width="{SIZE}" height="{SIZE}" fill="url(#shade)"/>
{_lettering(title)}
</svg>
""".encode()


def _colours(character: Character, dice: Random) -> tuple[tuple[str, str, str], tuple[float, float, float]]:
    """Three colours of the sky, top down, and the hills' hue, saturation and lightness: blue sorrow, golden joy."""
    joy = (character.valence + 1) / 2
    hue = 232 - 50 * joy + dice.uniform(-14, 14)
    warm = 335 + 70 * joy + dice.uniform(-12, 12)  # past 360: from rose over red to gold
    vivid = 28 + 45 * character.energy
    anger = character.valence < -0.4 and character.energy > 0.6
    if anger:
        hue, warm, vivid = 348 + dice.uniform(-8, 8), 18.0, 70
    sky = _hsl(hue, vivid, 16 + 44 * joy)
    # Blue fades to gold through something paler than both, or it would turn grey on the way.
    haze = _hsl(warm - 25 * (1 - joy), vivid * 0.7, 30 + 54 * joy)
    horizon = _hsl(warm, vivid + 16, 38 + 36 * joy)
    return (sky, haze, horizon), (hue + (30 if anger else -20 - 30 * joy), vivid * 0.8, 22 + 24 * joy)


def _hsl(hue: float, saturation: float, lightness: float) -> str:
    # Written as hex: not every SVG reader on a phone knows hsl().
    mixed = hls_to_rgb(hue % 360 / 360, min(max(lightness / 100, 0.0), 1.0), min(saturation / 100, 1.0))
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)


def _light(character: Character, horizon: str, dice: Random) -> Iterator[str]:
    """The sun or the moon, and what else is in the air."""
    x, y = dice.uniform(280, 720), dice.uniform(230, 380)
    radius = 80 + 60 * character.energy
    sad = character.valence < -0.3
    for halo in (2.6, 1.9, 1.4):
        yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius * halo:.0f}" fill="#fff" opacity="0.07"/>'
    colour = "#fff4d6" if not sad else "#ffd9b0" if character.energy > 0.6 else "#eef1fa"
    yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.0f}" fill="{colour}" opacity="0.92"/>'
    if sad and character.energy < 0.6:
        for _ in range(70):  # rain
            left, top = dice.uniform(0, SIZE), dice.uniform(0, 760)
            yield (
                f'<path d="M{left:.0f} {top:.0f}l-7 34" stroke="#fff" stroke-width="2.5" '
                f'stroke-linecap="round" opacity="{dice.uniform(0.12, 0.35):.2f}"/>'
            )
    elif character.valence > 0.5:
        for ray in range(16):
            angle = ray * math.pi / 8
            near, far = radius * 1.25, radius * (1.6 + 0.25 * (ray % 2))
            yield (
                f'<path d="M{x + near * math.cos(angle):.0f} {y + near * math.sin(angle):.0f}'
                f'L{x + far * math.cos(angle):.0f} {y + far * math.sin(angle):.0f}" stroke="#fff4d6" '
                f'stroke-width="9" stroke-linecap="round" opacity="0.75"/>'
            )
    else:
        for _ in range(3):  # long clouds
            left, top = dice.uniform(-100, 600), dice.uniform(120, 460)
            yield (
                f'<rect x="{left:.0f}" y="{top:.0f}" width="{dice.uniform(320, 560):.0f}" height="26" rx="13" '
                f'fill="{horizon}" opacity="0.5"/>'
            )


def _hills(character: Character, land: tuple[float, float, float], dice: Random) -> Iterator[str]:
    """Three ridges, each nearer, darker and, in a lively song, steeper."""
    hue, saturation, lightness = land
    for ridge in range(3):
        base = 560 + 120 * ridge
        height = 30 + 90 * character.energy
        points = [base + dice.uniform(-height, height) for _ in range(5)]
        curve = f"M0 {points[0]:.0f}"
        for place in range(1, 5):
            x, y, bend = place * SIZE / 4, points[place], place * SIZE / 4 - SIZE / 8
            curve += f"C{bend:.0f} {points[place - 1]:.0f} {bend:.0f} {y:.0f} {x:.0f} {y:.0f}"
        colour = _hsl(hue, saturation, lightness * (1 - 0.28 * ridge))
        yield f'<path d="{curve}V{SIZE}H0Z" fill="{colour}"/>'


def _lettering(title: str) -> str:
    """The title along the foot, as large as its longest line allows."""
    lines = wrapped(title)
    longest = max((_columns(line) for line in lines), default=1)
    size = min(96, int(860 / (max(longest, 8) * 0.6)))
    top = 925 - size * 1.15 * (len(lines) - 1)
    rows = "".join(
        f'<text x="{SIZE // 2}" y="{top + number * size * 1.15:.0f}">{_text(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<g font-family="Georgia, \'Noto Serif\', serif" font-size="{size}" font-weight="600" fill="#fff" '
        f'text-anchor="middle">{rows}</g>'
    )


def wrapped(title: str) -> list[str]:
    """The title in at most MOST_LINES lines of WIDEST columns; what does not fit ends in an ellipsis."""
    lines = [""]
    for word in title.split():
        for piece in _pieces(word):
            joined = f"{lines[-1]} {piece}".strip()
            if _columns(joined) <= WIDEST:
                lines[-1] = joined
            else:
                lines.append(piece)
    lines = [line for line in lines if line]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], lines[MOST_LINES - 1][: WIDEST - 1].rstrip() + "…"]
    return lines


def _pieces(word: str) -> Iterator[str]:
    piece = ""
    for letter in word:
        if _columns(piece + letter) > WIDEST:
            yield piece
            piece = ""
        piece += letter
    yield piece


def _columns(text: str) -> int:
    return sum(2 if ord(letter) >= 0x1100 and not 0x2000 <= ord(letter) < 0x2E80 else 1 for letter in text)


def _text(text: str) -> str:
    # XML has no way to write control characters, lone surrogates and the two non-characters.
    allowed = (letter for letter in text if letter in "\t\n" or _allowed(ord(letter)))
    return escape("".join(allowed))


def _allowed(code: int) -> bool:
    return 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
