"""The sandbox's lyricist: a real, if modest, song out of any diary entry, without a model and without the network.

The verses are the diary's own phrases, in its own language. In English the chorus adds rhymed couplets about an image
taken from the entry; other languages sing their strongest phrase instead. The same entry always gives the same song.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from daysong.sandbox.openai.feelings import FEELINGS, NEGATIONS, NEUTRAL, OPPOSITES, PICTURED, PLAIN

LINES_PER_VERSE = 4
LONGEST_LINE = 9  # words
LONGEST_UNSPACED = 14  # characters, for scripts written without spaces
LONGEST_WORD = 30
LONGEST_TITLE = 48
WORDLESS = ["La la la", "Oh oh oh"]  # sung in every language

# Private addresses and numbers are not sung.
PRIVATE = re.compile(r"https?://\S*[^\s.,;:!?)]|[^\s@]+@[^\s@]+\.\w+|\+?\d[\d\s().-]{6,}\d")
_REMOVED = "\x00"
_SENTENCE_ENDS = re.compile(r"[.!?…;:\n\r\t。！？；：।؟•*#\"“”„«»()\[\]{}<>|=_~`^\\/]+|\s[-–—]+\s")
_BREATHS = re.compile(r"[,，、،]\s*|\s+(?=(?:and|but|because|then|while|when|until|so)\s)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_IMAGE = re.compile(r"\b(the|a|an|my|our|his|her|their)\s+([a-z]{3,})(?:\s+([a-z]{3,}))?", re.IGNORECASE)
_UNSUNG = re.compile(r"[^\w\s',&%-]")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


class Song(msgspec.Struct, frozen=True):
    """A finished text, in the shape the structured output asks for."""

    lyric: str
    mood: str
    style: str
    title: str


def write_song(diary: str, style_hint: str | None = None) -> Song:
    """A song out of `diary`; its style begins with `style_hint`."""
    text = PRIVATE.sub(_REMOVED, diary).replace("’", "'")
    seed = int.from_bytes(hashlib.sha256(diary.encode("utf-8", "replace")).digest()[:8], "big")
    mood = feeling_of(text)
    lines = _lines(text) or WORDLESS
    english = _is_english(text)
    hook = _hook(lines, mood)
    chorus = _english_chorus(text, hook, mood, seed) if english else _own_chorus(lines, hook)
    first, second = _verses(lines)
    parts = [
        ("Verse 1", first),
        ("Chorus", chorus),
        ("Verse 2", second),
        ("Chorus", chorus),
        ("Outro", [hook, chorus[-1], hook] if english else [hook, hook]),
    ]
    styles = FEELINGS[mood].styles
    style = styles[seed % len(styles)]
    hint = (style_hint or "").strip()
    return Song(
        lyric="\n\n".join("\n".join([f"[{name}]", *sung]) for name, sung in parts),
        mood=mood,
        style=f"{hint}, {style}" if hint else style,
        title=_english_title(text, hook) if english else _own_title(hook),
    )


def feeling_of(text: str) -> str:
    """The mood a text speaks of: the one with most words and emoji; a negated bright word counts for its opposite."""
    scores = dict.fromkeys(FEELINGS, 0)
    words = [word.lower() for word in _WORD.findall(text)]
    for place, word in enumerate(words):
        negated = any(before in NEGATIONS for before in words[max(0, place - 2) : place])
        for mood, feeling in FEELINGS.items():
            if word not in feeling.words:
                continue
            if not negated:
                scores[mood] += 1
            elif mood in OPPOSITES:
                scores[OPPOSITES[mood]] += 1
    for mood, feeling in FEELINGS.items():
        scores[mood] += 2 * sum(text.count(sign) for sign in feeling.emoji)
    best = max(scores, key=lambda mood: scores[mood])
    return best if scores[best] else NEUTRAL


def _is_english(text: str) -> bool:
    words = [word.lower() for word in _WORD.findall(text)]
    return bool(words) and sum(word in PLAIN for word in words) >= len(words) / 4


def _lines(text: str) -> list[str]:
    """The entry's phrases as lines that can be sung in one breath, in their order, none twice."""
    lines: list[str] = []
    for sentence in _SENTENCE_ENDS.split(text):
        short = ""
        for piece in _BREATHS.split(sentence):
            words = [word[:LONGEST_WORD] for word in _UNSUNG.sub(" ", piece).split()]
            if _REMOVED in piece or not _WORD.search(piece):
                continue
            # A breath of one or two words is no line: it is sung together with the next, where that fits.
            if short and len(short.split()) + len(words) > LONGEST_LINE:
                lines.append(short)
                short = ""
            short = f"{short}, {' '.join(words)}" if short else " ".join(words)
            if len(short.split()) > 2 or _UNSPACED.search(short):
                lines += _wrapped(short)
                short = ""
        lines += [short] if short else []
    return list(dict.fromkeys(_capital(line) for line in (line.strip(" ,'-") for line in lines) if line))


def _capital(line: str) -> str:
    return line[:1].upper() + line[1:]


def _wrapped(phrase: str) -> list[str]:
    """A long phrase in lines of about equal length."""
    if _UNSPACED.search(phrase) and len(phrase) > LONGEST_UNSPACED:
        count = -(-len(phrase) // LONGEST_UNSPACED)
        size = -(-len(phrase) // count)
        return [phrase[start : start + size] for start in range(0, len(phrase), size)]
    words = phrase.split()
    count = max(1, -(-len(words) // LONGEST_LINE))
    size = -(-len(words) // count)
    return [" ".join(words[start : start + size]) for start in range(0, len(words), size)]


def _verses(lines: list[str]) -> tuple[list[str], list[str]]:
    """Two verses that follow the entry from its beginning to its end; a long one is sampled evenly."""
    wanted = 2 * LINES_PER_VERSE
    if len(lines) > wanted:
        lines = [lines[place * len(lines) // wanted] for place in range(wanted)]
    half = -(-len(lines) // 2)
    first, second = lines[:half], lines[half:] or lines[:half]
    return _filled(first), _filled(second)


def _filled(lines: list[str]) -> list[str]:
    """At least two lines: what there is too little of is sung again, as an echo."""
    return lines if len(lines) > 1 else [lines[0], f"{lines[0]}, {_echo(lines[0])}"]


def _echo(line: str) -> str:
    tail = line.rsplit(maxsplit=1)[-1]
    return tail[:1].lower() + tail[1:] if tail.isascii() and tail != "I" else tail


def _hook(lines: list[str], mood: str) -> str:
    """The line worth repeating: short, and full of the mood."""

    def worth(line: str) -> float:
        words = [word.lower() for word in _WORD.findall(line)]
        strong = sum(word in FEELINGS[mood].words for word in words)
        pictured = sum(word not in PLAIN for word in words) / max(1, len(words))
        return 2 * strong + pictured - abs(len(words) - 5) / 4

    return max(lines, key=worth)


def _english_chorus(text: str, hook: str, mood: str, seed: int) -> list[str]:
    images = _images(text)
    couplets = FEELINGS[mood].couplets
    first = couplets[seed // 7 % len(couplets)]
    second = couplets[(seed // 7 + 1) % len(couplets)]
    chorus = [hook]
    for number, couplet in enumerate((first, second)):
        image = images[(seed // 11 + number) % len(images)]
        chorus += [_capital(line.format(image=image)) for line in couplet]
    return chorus


def _own_chorus(lines: list[str], hook: str) -> list[str]:
    others = [line for line in lines if line != hook]
    return [hook, others[0], hook, others[-1]] if others else [hook, hook]


def _images(text: str) -> list[str]:
    """Things in the entry to sing about, such as "the quiet street"; "today" when it names none."""
    found: list[str] = []
    for owner, first, second in _IMAGE.findall(text):
        noun = first.lower()
        if noun in PICTURED and second and second.lower() not in PLAIN:
            noun = f"{noun} {second.lower()}"
        elif noun in PLAIN or noun in PICTURED:
            continue
        article = "the" if owner.lower() in {"a", "an"} else owner.lower()
        found.append(f"{article} {noun}")
    return list(dict.fromkeys(found)) or ["today"]


def _english_title(text: str, hook: str) -> str:
    """The entry's most pictured thing, else the hook's main words."""
    images = [image for image in _images(text) if image != "today"]
    words = max(images, key=lambda image: len(image.split())).split() if images else []
    if not words:
        sung = hook.replace(",", "").split()
        words = [word for word in sung if word.lower() not in PLAIN][:4] or sung[:4]
    return " ".join(map(_capital, words))[:LONGEST_TITLE].rstrip()


def _own_title(hook: str) -> str:
    title = " ".join(hook.replace(",", "").split()[:6])
    return title[: LONGEST_UNSPACED if _UNSPACED.search(title) else LONGEST_TITLE].rstrip()
