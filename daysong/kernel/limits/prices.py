"""The price table, in micro-dollars, with the list prices of late 2026; `COST_…` in the environment sets others."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

VENDORS = ("openai", "suno", "vapi", "kie")
ALL = "all"


class Purchase(enum.Enum):
    """What may be begun that vendors are paid for."""

    SONG = "song"
    CALL = "call"
    VIDEO = "video"
    ANSWER = "answer"


# What lyrics take at most as a rule: an entry and the instructions in, a song and some thinking out.
LYRICS_TOKENS = (3_000, 2_500)
# What it takes to read in the words of a call whether its person agreed.
ANSWER_TOKENS = (4_000, 500)


@dataclass(frozen=True)
class Costs:
    """Prices, and the caps of a day. A cap that is not there does not hold.

    openai_input, openai_output   of a million tokens
    suno_song                     of one request, which makes two tracks
    vapi_minute                   of a call whose report tells no cost, and what is expected of others
    kie_video                     of one clip
    call_minutes                  that a call may last
    caps                          of an `account`, of each vendor, and of `all` together
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
        """What that many tokens of OpenAI's cost."""
        return round((max(0.0, given) * self.openai_input + max(0.0, written) * self.openai_output) / 1e6)

    def minutes(self, seconds: float) -> int:
        """What a call of that length costs at VAPI."""
        return round(max(0.0, seconds) / 60 * self.vapi_minute)

    def prices(self, purchase: Purchase) -> dict[str, int]:
        """What a purchase is expected to cost at each vendor."""
        match purchase:
            case Purchase.SONG:
                return {"openai": self.tokens(*LYRICS_TOKENS), "suno": self.suno_song}
            case Purchase.CALL:
                return {"vapi": self.call_minutes * self.vapi_minute}
            case Purchase.VIDEO:
                return {"kie": self.kie_video}
            case Purchase.ANSWER:
                return {"openai": self.tokens(*ANSWER_TOKENS)}
