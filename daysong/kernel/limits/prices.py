"""The price table in micro-dollars: list prices of late 2026, which `COST_…` in the environment overrides."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

VENDORS = ("openai", "suno", "vapi", "kie")
ALL = "all"


class Purchase(enum.Enum):
    """A kind of paid work."""

    SONG = "song"
    CALL = "call"
    VIDEO = "video"
    ANSWER = "answer"
    READING = "reading"
    HIGHLIGHT = "highlight"


# Tokens of a typical upper bound for lyrics: input is the entry and instructions, output the song and reasoning.
LYRICS_TOKENS = (3_000, 2_500)
# Tokens of a video's prompt: input is song, entry and instructions.
PROMPT_TOKENS = (4_000, 1_500)
# Tokens to read from a transcript whether the user agreed.
ANSWER_TOKENS = (4_000, 500)
# Tokens to read the events of an entry, and to sum up events with a person.
READING_TOKENS = (4_000, 2_000)
HIGHLIGHT_TOKENS = (3_000, 600)


@dataclass(frozen=True)
class Costs:
    """Prices and daily caps. A missing cap means no limit.

    openai_input, openai_output   per million tokens
    suno_song                     per request, which makes two tracks
    vapi_minute                   of a call whose report has no cost, and to estimate others
    kie_video                     per clip
    call_minutes                  longest duration of a call
    caps                          for one `account`, for each vendor, and for `all` together
    """

    openai_input: int = 750_000
    openai_output: int = 4_500_000
    suno_song: int = 60_000
    vapi_minute: int = 130_000
    kie_video: int = 300_000
    call_minutes: int = 10
    caps: dict[str, int] = field(
        default_factory=lambda: {
            "account": 10_000_000,
            "openai": 100_000_000,
            "suno": 300_000_000,
            "vapi": 200_000_000,
            "kie": 100_000_000,
            ALL: 500_000_000,
        }
    )

    def tokens(self, given: float, written: float) -> int:
        """Return the cost of OpenAI tokens, input and output."""
        return round((max(0.0, given) * self.openai_input + max(0.0, written) * self.openai_output) / 1e6)

    def minutes(self, seconds: float) -> int:
        """Return the cost of a VAPI call of that length."""
        return round(max(0.0, seconds) / 60 * self.vapi_minute)

    def prices(self, purchase: Purchase) -> dict[str, int]:
        """Return the expected cost of a purchase by vendor."""
        match purchase:
            case Purchase.SONG:
                return {"openai": self.tokens(*LYRICS_TOKENS), "suno": self.suno_song}
            case Purchase.CALL:
                return {"vapi": self.call_minutes * self.vapi_minute}
            case Purchase.VIDEO:
                return {"openai": self.tokens(*PROMPT_TOKENS), "kie": self.kie_video}
            case Purchase.ANSWER:
                return {"openai": self.tokens(*ANSWER_TOKENS)}
            case Purchase.READING:
                return {"openai": self.tokens(*READING_TOKENS)}
            case Purchase.HIGHLIGHT:
                return {"openai": self.tokens(*HIGHLIGHT_TOKENS)}
