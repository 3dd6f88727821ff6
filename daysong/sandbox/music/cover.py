"""A song's cover: hills under a sky, in the colours of its mood, as PNG."""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from colorsys import hls_to_rgb
from random import Random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from daysong.sandbox.music.mood import Character, character_of

SIZE = 600  # pixels
Pixels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.float32]


class Colour(NamedTuple):
    """Red, green and blue, each from 0 to 255."""

    red: float
    green: float
    blue: float


WHITE = Colour(255, 255, 255)


def draw_cover(*, title: str, style: str, seed: str) -> bytes:
    """A square PNG; the same bytes for the same request."""
    request = f"{title}\0{style}\0{seed}".encode("utf-8", "surrogatepass")
    dice = Random(int.from_bytes(hashlib.sha256(request).digest()[:8], "big"))
    character = character_of(style)
    (sky, haze, horizon), land = _colours(character, dice)
    canvas = _sky(sky, haze, horizon)
    _light(canvas, character, horizon, dice)
    _hills(canvas, character, land, dice)
    return _png(canvas)


# Where each pixel is, from 0 to 1: down, and across.
DOWN = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
ACROSS = np.linspace(0, 1, SIZE, dtype=np.float32)[None, :]


def _paint(canvas: Pixels, where: Mask, colour: Colour, opacity: float = 1.0) -> None:
    """Cover the canvas with a colour, as far as `where` (0 to 1 for each pixel) says."""
    share = (where * opacity)[:, :, None]
    canvas += share * (np.array(colour, dtype=np.float32) - canvas)


def _sky(top: Colour, middle: Colour, bottom: Colour) -> Pixels:
    """A gradient from top to horizon."""
    stops = [0.0, 0.45, 0.7]
    column = np.stack(
        [np.interp(DOWN[:, 0], stops, [top[part], middle[part], bottom[part]]) for part in range(3)], axis=1
    ).astype(np.float32)
    canvas = np.empty((SIZE, SIZE, 3), dtype=np.float32)
    canvas[:] = column[:, None, :]
    return canvas


def _disc(x: float, y: float, radius: float) -> Mask:
    """A circle with a soft edge of a pixel or two."""
    away = np.hypot(ACROSS - x, DOWN - y)
    edge: Mask = np.clip((radius - away) * SIZE / 2 + 0.5, 0, 1).astype(np.float32)
    return edge


def _light(canvas: Pixels, character: Character, horizon: Colour, dice: Random) -> None:
    """The sun or the moon, and what else is in the air."""
    x, y = dice.uniform(0.28, 0.72), dice.uniform(0.23, 0.38)
    radius = 0.08 + 0.06 * character.energy
    sad = character.valence < -0.3
    if character.valence > 0.5:  # rays
        angle = np.arctan2(DOWN - y, ACROSS - x) + dice.uniform(0, 1)
        away = np.hypot(ACROSS - x, DOWN - y)
        beams = (np.cos(angle * 16) > 0.6) & (away > radius * 1.25) & (away < radius * 1.75)
        _paint(canvas, beams.astype(np.float32), Colour(255, 244, 214), 0.7)
    for halo in (2.6, 1.9, 1.4):
        _paint(canvas, _disc(x, y, radius * halo), WHITE, 0.07)
    moon = Colour(255, 217, 176) if character.energy > 0.6 else Colour(238, 241, 250)
    _paint(canvas, _disc(x, y, radius), moon if sad else Colour(255, 244, 214), 0.92)
    if sad and character.energy < 0.6:
        for _ in range(70):  # rain
            column, row = int(dice.uniform(0, SIZE - 6)), int(dice.uniform(0, 0.74 * SIZE))
            opacity = dice.uniform(0.12, 0.35)
            for step in range(20):
                pixel = canvas[row + step, column + 4 - step // 5]
                pixel += opacity * (255 - pixel)
    elif character.valence <= 0.5:
        for _ in range(3):  # long clouds
            left, top, width = dice.uniform(-0.1, 0.6), dice.uniform(0.12, 0.46), dice.uniform(0.32, 0.56)
            cloud = (abs(DOWN - top) < 0.013) & (left < ACROSS) & (left + width > ACROSS)
            _paint(canvas, cloud.astype(np.float32), horizon, 0.5)


def _hills(canvas: Pixels, character: Character, land: tuple[float, float, float], dice: Random) -> None:
    """Three ridges, each nearer, darker and, in a lively song, steeper; and a shade over the foot."""
    hue, saturation, lightness = land
    for ridge in range(3):
        base, height = 0.56 + 0.12 * ridge, 0.03 + 0.09 * character.energy
        line = np.full(SIZE, base)
        for wave in (1, 2, 3):
            turn, size = dice.uniform(0, 2 * math.pi), dice.uniform(0.3, 1.0) * height / wave
            line += size * np.sin(ACROSS[0] * math.pi * (wave + 0.7) + turn)
        below = np.clip((DOWN - line[None, :]) * SIZE + 0.5, 0, 1).astype(np.float32)
        _paint(canvas, below, _hsl(hue, saturation, lightness * (1 - 0.28 * ridge)))
    shade = np.repeat(np.clip((DOWN - 0.6) / 0.4, 0, 1), SIZE, axis=1)
    _paint(canvas, shade, Colour(0, 0, 0), 0.55)


def _colours(character: Character, dice: Random) -> tuple[tuple[Colour, Colour, Colour], tuple[float, float, float]]:
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


def _hsl(hue: float, saturation: float, lightness: float) -> Colour:
    mixed = hls_to_rgb(hue % 360 / 360, min(max(lightness / 100, 0.0), 1.0), min(saturation / 100, 1.0))
    return Colour(*(255 * part for part in mixed))


def _png(canvas: Pixels) -> bytes:
    """Eight bits a channel; each row as its difference from the one above, which compresses gradients well."""
    pixels = np.clip(canvas + 0.5, 0, 255).astype(np.uint8).reshape(SIZE, SIZE * 3)
    above = np.vstack([np.zeros((1, SIZE * 3), np.uint8), pixels[:-1]])
    rows = np.hstack([np.full((SIZE, 1), 2, np.uint8), pixels - above])
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 3)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
