"""What the sandbox's music promises, measured on the sound itself where it can be."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daysong.sandbox.music.composer import Recording, compose, write_score
from daysong.sandbox.music.cover import draw_cover
from daysong.sandbox.music.harmony import harmonise
from daysong.sandbox.music.melody import write_melody
from daysong.sandbox.music.mood import character_of
from daysong.sandbox.music.timing import Plan, plan_song

pytestmark = pytest.mark.slow

Samples = NDArray[np.float64]

LYRICS = (
    "[Verse 1]\nMorning light on a quiet street\nCoffee cooling by the window seat\n\n"
    "[Chorus]\nHold the day, hold it slow\nEvery little thing I know"
)
HOP = 512

# Any text, and texts that look like lyrics: tags, line ends, scripts without spaces, signs that cannot be sung.
scraps = st.sampled_from(
    ["[Verse]\n", "[Chorus] ", "[", "]", "[]", "\n", "\n\n", "\r\n", " ", "la ", "きゃっと、", "مرحبا ", "💔"]
)
any_lyrics = st.text(max_size=300) | st.lists(scraps, max_size=80).map("".join)


def song(style: str, take: int = 0, lyrics: str = LYRICS) -> Recording:
    """A track called Quiet Street."""
    return compose(title="Quiet Street", lyrics=lyrics, style=style, take=take, seed="task-1")


def planned(lyrics: str, style: str = "hopeful folk") -> Plan:
    """The timing alone, without a sound."""
    return plan_song(lyrics, character_of(style), Random(1))


def heard(recording: Recording) -> tuple[Samples, int]:
    """The file as a player decodes it: samples by channel, and their rate."""
    samples, rate = soundfile.read(BytesIO(recording.audio), always_2d=True)
    return samples, rate


def spectra(recording: Recording) -> tuple[Samples, Samples]:
    """Magnitudes by moment and frequency, and the frequencies."""
    samples, rate = heard(recording)
    mono = samples.mean(axis=1)
    frames = np.lib.stride_tricks.sliding_window_view(mono, 4 * HOP)[::HOP] * np.hanning(4 * HOP)
    return np.asarray(np.abs(np.fft.rfft(frames)), np.float64), np.asarray(np.fft.rfftfreq(4 * HOP, 1 / rate))


def brightness(recording: Recording) -> float:
    """The mean spectral centroid in Hz."""
    magnitudes, frequencies = spectra(recording)
    return float((magnitudes * frequencies).sum() / magnitudes.sum())


def onsets_a_second(recording: Recording) -> float:
    """How often something new is struck: peaks of the rise in log magnitude."""
    magnitudes, _ = spectra(recording)
    rise = np.maximum(np.diff(np.log1p(10 * magnitudes), axis=0), 0).sum(axis=1)
    peaks = (rise[1:-1] > rise[:-2]) & (rise[1:-1] >= rise[2:]) & (rise[1:-1] > 1.5 * rise.mean())
    return float(peaks.sum() / recording.duration)


def ends_in_minor(recording: Recording) -> bool:
    """Whether the last chord has a minor third over its bass, by the strength of both thirds."""
    samples, rate = heard(recording)
    chord = samples[int((recording.duration - 3.2) * rate) : int((recording.duration - 1.7) * rate)].mean(axis=1)
    magnitudes = np.abs(np.fft.rfft(chord * np.hanning(len(chord)), 8 * rate))
    frequencies = np.fft.rfftfreq(8 * rate, 1 / rate)
    low = (frequencies > 50) & (frequencies < 125)
    bass = float(frequencies[low][magnitudes[low].argmax()])

    def strength(semitones: int) -> float:
        octaves = [bass * 2 ** (semitones / 12 + octave) for octave in (1, 2)]
        return float(sum(magnitudes[np.abs(frequencies - octave) < 0.015 * octave].max() for octave in octaves))

    return strength(3) > strength(4)


@pytest.fixture(scope="module")
def sad() -> Recording:
    return song("sad, melancholic piano")


@pytest.fixture(scope="module")
def happy() -> Recording:
    return song("happy, joyful pop")


def test_the_file_plays_for_as_long_as_the_recording_says(sad: Recording, happy: Recording) -> None:
    """A player reads the promised duration from the file: between half a minute and 75 seconds for short lyrics."""
    for recording in (sad, happy):
        samples, rate = heard(recording)
        assert recording.content_type == "audio/mpeg"
        assert soundfile.info(BytesIO(recording.audio)).format == "MP3"
        assert len(samples) / rate == pytest.approx(recording.duration, abs=0.1)
        assert 30 <= recording.duration <= 75


def test_the_sound_is_neither_clipped_nor_silent(sad: Recording, happy: Recording) -> None:
    """Peaks stay below 0.9 after decoding, both ears hear music, and no second of the song is empty before its end."""
    for recording in (sad, happy):
        samples, rate = heard(recording)
        assert 0.3 < np.abs(samples).max() < 0.9
        assert np.all(np.sqrt(np.mean(samples**2, axis=0)) > 0.05)
        seconds = samples[: int(recording.duration - 3) * rate].reshape(-1, rate, 2)
        assert np.all(np.abs(seconds).max(axis=(1, 2)) > 0.01)


def test_a_sad_song_sounds_sad_and_a_happy_one_happy(sad: Recording, happy: Recording) -> None:
    """Measured on the files: sorrow is minor, sparser, darker and softer; joy is major, busier and brighter."""
    assert ends_in_minor(sad)
    assert not ends_in_minor(happy)
    assert onsets_a_second(sad) < 0.8 * onsets_a_second(happy)
    assert brightness(sad) < 0.6 * brightness(happy)
    assert np.std(heard(sad)[0]) < np.std(heard(happy)[0])


def test_the_two_takes_are_two_songs(sad: Recording) -> None:
    """The second take has its own tempo and its own notes on the same words."""
    other = song("sad, melancholic piano", take=1)
    first, second = spectra(sad)[0].sum(axis=0), spectra(other)[0].sum(axis=0)
    assert np.corrcoef(np.log(first[:200] + 1), np.log(second[:200] + 1))[0, 1] < 0.95
    assert [word.word for word in other.words] == [word.word for word in sad.words]
    assert abs(other.words[-1].end - sad.words[-1].end) > 1


def test_the_same_request_gives_the_same_bytes(happy: Recording) -> None:
    """A recording can be made again instead of being kept."""
    assert song("happy, joyful pop") == happy


def test_the_waveform_follows_the_peaks_of_the_file(happy: Recording) -> None:
    """A few hundred values between 0 and 1 that match what the file decodes to."""
    samples, _ = heard(happy)
    peaks = np.array([np.abs(part).max() for part in np.array_split(samples, len(happy.waveform))])
    assert 200 <= len(happy.waveform) <= 400
    assert min(happy.waveform) >= 0
    assert max(happy.waveform) == 1
    assert np.corrcoef(peaks, happy.waveform)[0, 1] > 0.95


def test_the_voice_is_heard_when_the_words_say_so(sad: Recording) -> None:
    """The first word comes after the intro, and the music grows louder with it."""
    samples, rate = heard(sad)
    first = int(sad.words[0].start * rate)
    before, after = samples[first - 2 * rate : first], samples[first : first + 2 * rate]
    assert sad.words[0].start > 3
    assert np.std(after) > 1.5 * np.std(before)


def test_words_are_written_as_suno_writes_them() -> None:
    """A section tag is glued to the word it precedes; a line's last word keeps the line's end."""
    words = [word.word for word in planned(LYRICS).sung()]
    assert words[:6] == ["[Verse 1]\nMorning ", "light ", "on ", "a ", "quiet ", "street\n"]
    assert "seat\n\n" in words
    assert "[Chorus]\nHold " in words
    assert words[-1] == "know"


def test_japanese_is_timed_by_the_character() -> None:
    """Where no spaces are written, each character has its moment, with its small kana and its comma."""
    assert [word.word for word in planned("きょうは、雨。").sung()] == ["きょ", "う", "は、", "雨。"]


@pytest.mark.parametrize("lyrics", ["", " \n\n ", "[Instrumental]", "[Intro]\n\n[Outro]\n"])
def test_without_words_the_song_is_an_instrumental(lyrics: str) -> None:
    """No words are sung, and the band still plays for half a minute or more."""
    assert list(planned(lyrics).sung()) == []
    assert 30 <= planned(lyrics).duration <= 75


@settings(max_examples=150)
@given(
    lyrics=any_lyrics, style=st.sampled_from(["", "sad", "happy pop", "jazz waltz", "angry punk", "50 bpm", "180 bpm"])
)
def test_every_word_has_its_own_moment(lyrics: str, style: str) -> None:
    """Words joined are the lyrics' words, tags included; their times rise, never overlap and stay inside the song."""
    plan = planned(lyrics, style)
    words = list(plan.sung())
    if words:
        assert "".join(word.word for word in words).split() == lyrics.split()
    assert all(0 < word.start < word.end < plan.duration for word in words)
    assert all(word.end <= following.start for word, following in pairwise(words))
    assert 30 <= plan.duration <= 180


@pytest.mark.parametrize(
    "lyrics", ["a\n" * 2500, "word " * 1000, "x" * 5000, "歌" * 5000, "[Verse]\nla la la\n\n" * 300]
)
def test_a_very_long_text_is_squeezed_into_three_minutes(lyrics: str) -> None:
    """Five thousand characters keep all their words in order, in a song that still ends."""
    plan = planned(lyrics)
    words = list(plan.sung())
    assert "".join(word.word for word in words) == lyrics.strip()
    assert all(word.start < word.end <= following.start for word, following in pairwise(words))
    assert plan.duration <= 180


@pytest.mark.parametrize("style", ["sad", "happy pop", "dreamy", "nostalgic folk", "bittersweet jazz"])
def test_a_line_comes_to_rest_on_its_chord(style: str) -> None:
    """Every phrase ends on a chord tone, the song's last chord is home, and no step is too wide to sing."""
    character = character_of(style)
    plan = plan_song(LYRICS, character, Random(3))
    chords = harmonise(plan, character, 2, Random(4))
    tunes = write_melody(plan, chords, 62, Random(5))
    assert chords[-1].root == 2
    for passage, tune in zip(plan.passages, tunes, strict=True):
        ends = [max(note for note in range(len(tune)) if tune[note].start < phrase.end) for phrase in passage.phrases]
        for end in ends:
            assert tune[end].pitch % 12 in chords[int(tune[end].start // plan.meter)].tones
        assert all(abs(after.pitch - note.pitch) <= 12 for note, after in pairwise(tune))


def test_a_chorus_is_sung_higher_than_its_verse() -> None:
    """The voice rises for the chorus, and a second voice joins it."""
    score = write_score(title="", lyrics=LYRICS, style="hopeful pop", take=0, seed="task-1")
    verse, chorus = score.plan.passages[:2]
    lead, second = (line.notes for line in score.lines if line.player == "voice")
    border = chorus.first_bar * score.plan.meter
    low = [note.pitch for note in lead if note.start < border]
    high = [note.pitch for note in lead if note.start >= border]
    assert verse.kind == "verse"
    assert sum(high) / len(high) > sum(low) / len(low) + 2
    assert all(note.start >= border for note in second)


def test_a_style_may_name_tempo_meter_and_singer() -> None:
    """A style's own numbers and words win over the mood."""
    character = character_of("tender waltz, 92 bpm, male vocal, cello")
    assert (character.tempo, character.meter, character.voice) == (92, 3, "low")
    assert "strings" in character.instruments


@settings(max_examples=10)
@given(title=st.text(st.characters(), max_size=120), style=st.sampled_from(["sad", "happy", "angry rock", "calm", ""]))
def test_g68_a_cover_is_a_square_png_whatever_the_title(title: str, style: str) -> None:
    """Every reader of PNG can show it, and previews do."""
    cover = draw_cover(title=title, style=style, seed="task-1")
    assert cover[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", cover[16:24])
    assert width == height >= 600
    start = cover.index(b"IDAT") + 4
    length = int.from_bytes(cover[start - 8 : start - 4], "big")
    assert len(zlib.decompress(cover[start : start + length])) == height * (1 + 3 * width)


def test_covers_take_their_colours_from_the_mood() -> None:
    """The same title looks different sad and happy, and the same request looks the same."""
    sad, happy = (draw_cover(title="Rain", style=style, seed="1") for style in ("sad", "happy"))
    assert sad != happy
    assert sad == draw_cover(title="Rain", style="sad", seed="1")
