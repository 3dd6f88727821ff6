"""Pictures drawn with Pillow: the preview of a shared song, and the icon. Pillow is imported by the first one.

A preview shows cover, title and name. Titles need a font with their characters: those of Debian's fonts-dejavu and
fonts-noto are found; Pillow's own has the letters of English. A title that no font can show is left out, since the page
that shows the preview has it as text.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

WIDTH, HEIGHT = 1200, 630
PAPER, INK, SOFT, PLUM, AMBER = "#faf5ee", "#2b2130", "#685d70", "#86305f", "#e0a03c"
SKY, HILL = ((125, 58, 104), (234, 176, 124)), "#241d4a"
MARGIN = 56
MOST_PIXELS = 25_000_000
MOST_LINES = 4
TITLE_SIZES = (64, 54, 46, 40)
FORMATS = ("JPEG", "PNG", "WEBP")

FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "/System/Library/Fonts")
# Those that are tried first; then any other Noto font.
PREFERRED = (
    "NotoSerif-SemiBold.ttf", "NotoSerif-Bold.ttf", "DejaVuSerif-Bold.ttf", "LiberationSerif-Bold.ttf",
    "NotoSerifCJK-Bold.ttc", "NotoSansCJK-Bold.ttc", "NotoNaskhArabic-Bold.ttf", "DejaVuSans-Bold.ttf",
)  # fmt: skip
MOST_FONTS = 400
# Letters that are only right when they are joined or reordered, for which Pillow needs Raqm and FriBiDi.
SHAPED = frozenset({"R", "AL"})


def preview(title: str, name: str | None, cover: bytes | None) -> bytes:
    """Return the PNG, 1200 × 630, for links to a shared song; an unusable cover is replaced by a landscape."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - Pillow

    picture = _cover(cover) if cover else None
    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    canvas.paste(picture or _landscape(HEIGHT), (0, 0))
    draw = ImageDraw.Draw(canvas)
    left, right = HEIGHT + MARGIN, WIDTH - MARGIN
    top = _write(draw, title, (left, right), MARGIN + 30)
    if name and (font := font_for(name, 30)):
        draw.text((left, top + 18), "a song by ", font=font_for("a", 30), fill=SOFT)
        shift = font_for("a", 30).getlength("a song by ")  # type: ignore[union-attr]
        draw.text((left + shift, top + 18), _cut(name, font, right - left - shift), font=font, fill=SOFT)
    _bars(draw, left, HEIGHT - MARGIN - 36)
    draw.text((right, HEIGHT - MARGIN), "daysong", font=font_for("a", 34), fill=PLUM, anchor="rb")
    kept = io.BytesIO()
    # A palette makes a photograph half as large; apps show no previews of more than some hundred kilobytes. The words
    # have colours of their own in it: few pixels have them, so the cover's would replace them.
    palette = Image.new("P", (1, 1))
    halves = ((0, 0, HEIGHT, HEIGHT), 192), ((HEIGHT, 0, WIDTH, HEIGHT), 64)
    colours = (canvas.crop(box).quantize(most, method=Image.Quantize.MEDIANCUT) for box, most in halves)
    palette.putpalette([part for half in colours for part in half.getpalette() or ()])
    canvas.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(kept, "PNG", compress_level=7)
    return kept.getvalue()


def _cover(content: bytes) -> Image | None:
    from PIL import Image, ImageOps  # noqa: PLC0415 - Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                # Known from the header, before anything is decoded.
                if picture.width * picture.height > MOST_PIXELS:
                    return None
                picture.draft("RGB", (HEIGHT, HEIGHT))
                return ImageOps.fit(picture.convert("RGB"), (HEIGHT, HEIGHT))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _landscape(size: int) -> Image:
    from PIL import Image, ImageDraw  # noqa: PLC0415 - Pillow

    # Twice as large first, so that edges are smooth.
    size *= 2
    (top, bottom), canvas = SKY, Image.new("RGB", (size, size))
    draw = ImageDraw.Draw(canvas)
    for row in range(size):
        share = row / size
        colour = tuple(round(one + (other - one) * share) for one, other in zip(top, bottom, strict=True))
        draw.line((0, row, size, row), fill=colour)
    draw.ellipse((size * 0.58, size * 0.18, size * 0.78, size * 0.38), fill="#f8d79a")
    draw.ellipse((-size * 0.5, size * 0.68, size * 0.95, size * 1.7), fill=HILL)
    draw.ellipse((size * 0.35, size * 0.76, size * 1.6, size * 1.7), fill="#3b2a63")
    return canvas.reduce(2)


def _write(draw: object, title: str, across: tuple[int, int], top: int) -> int:
    """Draw the title as large as it fits, and return where it ends."""
    shown = "".join(letter for letter in title if unicodedata.category(letter) not in {"So", "Cs", "Cc", "Cf", "Mn"})
    shown = " ".join((shown if font_for(title, 10) is None else title).split())[:200]
    left, right = across
    is_rtl = next((kind in SHAPED for kind in map(unicodedata.bidirectional, shown) if kind in {"L", *SHAPED}), False)
    fitting = [each for size in TITLE_SIZES if shown and (each := font_for(shown, size))]
    if not fitting:
        return top
    for font in fitting:
        lines = list(_wrapped(shown, font, right - left))
        if len(lines) <= MOST_LINES:
            break
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], _cut(f"{lines[MOST_LINES - 1]} {lines[MOST_LINES]}", font, right - left)]
    for line in lines:
        place = (right, top) if is_rtl else (left, top)
        draw.text(place, line, font=font, fill=INK, anchor="ra" if is_rtl else "la")  # type: ignore[attr-defined]
        top += round(font.size * 1.25)
    return top


def _wrapped(text: str, font: FreeTypeFont, width: int) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        line = ""
        # A word that is too long for a line, or a text without spaces.
        for letter in word:
            if font.getlength(line + letter) > width:
                yield line
                line = ""
            line += letter
    yield line


def _cut(line: str, font: FreeTypeFont, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip(' ,.;:')}…"


def _bars(draw: object, left: int, middle: int) -> None:
    for number, height in enumerate((12, 26, 44, 30, 52, 38, 60, 34, 48, 22, 36, 14)):
        x = left + number * 15
        box = (x, middle - height / 2, x + 7, middle + height / 2)
        draw.rounded_rectangle(box, 3.5, fill=AMBER)  # type: ignore[attr-defined]


# Fonts


@lru_cache(256)
def font_for(text: str, size: int) -> FreeTypeFont | None:
    """Return a font that has every character of the text; None without one."""
    from PIL import ImageFont, features  # noqa: PLC0415 - Pillow

    letters = {letter for letter in text if not letter.isspace()}
    if any(unicodedata.category(letter) == "Cs" for letter in letters):
        return None
    is_shaped = any(unicodedata.bidirectional(letter) in SHAPED for letter in letters)
    if is_shaped and not (features.check("raqm") and features.check("fribidi")):
        return None
    for path in _fonts():
        try:
            font = ImageFont.truetype(str(path), size)
        except OSError:
            continue
        if _has(font, letters):
            return font
    built_in = ImageFont.load_default(size)
    return built_in if _has(built_in, letters) else None  # type: ignore[arg-type, return-value]


def _has(font: FreeTypeFont, letters: set[str]) -> bool:
    # The glyph for characters that a font does not have.
    missing = bytes(font.getmask("\uffff"))
    return not any(letter == "\uffff" or bytes(font.getmask(letter)) == missing for letter in letters)


@cache
def _fonts() -> list[Path]:
    found: dict[str, Path] = {}
    for folder in FONT_FOLDERS:
        for path in Path(folder).rglob("*.tt[fc]"):
            found.setdefault(path.name, path)
    preferred = [found[name] for name in PREFERRED if name in found]
    others = sorted(
        path for name, path in found.items() if name.startswith("Noto") and "Regular" in name and path not in preferred
    )
    return [*preferred, *others][:MOST_FONTS]


# The icon, as in static/icon.svg.


def icon(size: int, *, is_round: bool = True) -> Image:
    """Return the icon; phones round its corners themselves."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - Pillow

    unit = 8
    canvas = Image.new("RGBA", (64 * unit, 64 * unit))
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((0, 0, 64 * unit - 1, 64 * unit - 1), 14 * unit if is_round else 0, fill=PLUM)
    draw.ellipse(tuple(unit * edge for edge in (37, 13, 51, 27)), fill="#f5bd66")
    for x, top, bottom in ((14, 38, 44), (23, 30, 52), (32, 34, 48), (41, 36, 46), (50, 39, 43)):
        box = tuple(unit * edge for edge in (x - 2.5, top - 2.5, x + 2.5, bottom + 2.5))
        draw.rounded_rectangle(box, 2.5 * unit, fill="#fff8fc")
    return canvas.resize((size, size), Image.Resampling.LANCZOS)


@cache
def icon_png(size: int) -> bytes:
    """Return the icon as PNG."""
    kept = io.BytesIO()
    icon(size, is_round=False).convert("RGB").save(kept, "PNG", optimize=True)
    return kept.getvalue()


@cache
def favicon() -> bytes:
    """Return the icon as ICO, in the sizes of browsers' tabs."""
    kept = io.BytesIO()
    icon(48).save(kept, "ICO", sizes=[(16, 16), (32, 32), (48, 48)])
    return kept.getvalue()
