"""A music video from a picture, a title, lines of lyrics and a song's sound: a portrait H.264 MP4.

The picture is panned slowly; each line is shown for its share of the time. Text is drawn in Latin letters only, which
are those of Pillow's built-in font.
"""

from __future__ import annotations

import io
import tempfile
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 360, 640  # pixels
RATE = 12  # frames per second
SOUND_RATE = 44_100
MOST_LINES = 8
LONGEST_TEXT = 90
MARGIN = 24
LAST_LATIN = "\u024f"
PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})

Picture = npt.NDArray[np.uint8]
Overlay = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


class Scene(msgspec.Struct, frozen=True):
    """What a video shows, and the audio file it begins with."""

    seconds: float
    picture: bytes
    title: str = ""
    lines: tuple[str, ...] = ()
    sound: bytes | None = None


def film(scene: Scene) -> bytes:
    """Return the video as an MP4 file that can be played while it is loaded."""
    # In a file, since the index moves to the front by reading what was written.
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "video.mp4"
        _write(target, scene)
        return target.read_bytes()


def _write(target: Path, scene: Scene) -> None:
    with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "30"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="stereo") if scene.sound is not None else None
        frames = max(1, round(scene.seconds * RATE))
        background = _background(scene.picture)
        captions = [_overlay(scene.title, line) for line in scene.lines[:MOST_LINES] or ("",)]
        for place in range(frames):
            shown = _frame(background, captions[place * len(captions) // frames], place / frames)
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and scene.sound is not None:
            _add_sound(container, sound, scene.sound, scene.seconds)


def _background(content: bytes) -> Picture:
    """Return the picture as high as the video and wider than it, so that there is something to pan over."""
    with Image.open(io.BytesIO(content)) as picture:
        plain = picture.convert("RGB")
    width = max(WIDTH + WIDTH // 4, round(plain.width * HEIGHT / plain.height))
    found: Picture = np.asarray(plain.resize((width, HEIGHT)), dtype=np.uint8)
    return found


def _frame(background: Picture, caption: Overlay, progress: float) -> Picture:
    left = round((background.shape[1] - WIDTH) * progress)
    colour, opacity = caption
    blended = background[:, left : left + WIDTH] * (1 - opacity) + colour * opacity
    return np.ascontiguousarray(blended.astype(np.uint8))


def _overlay(title: str, line: str) -> Overlay:
    """Return the colours and the opacity of the text: the title above, a line of the lyrics below."""
    canvas = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    for text, size, top in ((title, 30, 48), (line, 24, HEIGHT - 170)):
        if not (shown := _drawable(text)):
            continue
        font = ImageFont.load_default(size)
        rows = "\n".join(textwrap.wrap(shown, width=round((WIDTH - 2 * MARGIN) / (size * 0.52)))[:3])
        draw.rectangle((0, top - 14, WIDTH, top + 14 + size * 1.3 * (rows.count("\n") + 1)), fill=(0, 0, 0, 110))
        draw.multiline_text((WIDTH / 2, top), rows, font=font, fill=(255, 255, 255, 255), anchor="ma", align="center")
    pixels = np.asarray(canvas, dtype=np.float32)
    return pixels[:, :, :3], pixels[:, :, 3:] / np.float32(255)


def _drawable(text: str) -> str:
    """Return the text if the font has all of its letters, else nothing."""
    text = " ".join(text.translate(PLAIN).split())[:LONGEST_TEXT]
    return text if all(letter <= LAST_LATIN for letter in text) else ""


def _add_sound(
    container: av.container.OutputContainer, stream: av.audio.stream.AudioStream, content: bytes, seconds: float
) -> None:
    """Encode the first seconds of an audio file."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE, frame_size=stream.frame_size or 1024)
    with av.open(io.BytesIO(content), "r") as source:
        done = 0
        for decoded in source.decode(audio=0):
            for frame in resampler.resample(decoded):
                if done >= seconds * SOUND_RATE:
                    break
                frame.pts, frame.time_base = done, Fraction(1, SOUND_RATE)
                done += frame.samples
                container.mux(stream.encode(frame))
            if done >= seconds * SOUND_RATE:
                break
    container.mux(stream.encode(None))
