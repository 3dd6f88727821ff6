"""Faults of a sandboxed vendor: `POST /sandbox/<vendor>/faults` with one JSON object.

A new object replaces the one before; `{}` or DELETE clears the faults. Anything not in this table is refused
with 400, so that a misspelt fault never passes for a good vendor.

    every vendor
      path            only calls whose path contains this (default: every call of the vendor's API, no files)
      times           only the next so many of those calls; without it, until cleared
      latency         seconds to wait before answering
      status          answer with this HTTP status, in the vendor's own form, and do nothing
      code            the error code in the answer's body: "insufficient_quota" (OpenAI), 455 (Suno, by HTTP 200)
      retryAfter      a Retry-After header on that answer, in seconds
      hang            do what was asked, and never answer: only the caller's time limit ends it
      drop            do what was asked, and break the connection in place of an answer
      answer          answer with HTTP 200 in a way the caller cannot use:
                        every vendor  garbage (no JSON)
                        Expo          short (a ticket too few)
                        OpenAI        refusal, content_filter, truncated, empty, empty_choices, bad_json, wrong_shape,
                                      empty_lyric
    Suno, for songs that are delivered while the fault is on (`path` and `times` do not apply)
      callbacks       lost (none are sent), duplicated (each twice), reordered (last stage first),
                      malformed (no JSON), no_audio (complete without any audio link)
      callbackCode    the song fails with this code: an error callback, and a failed task
      tracks          only so many tracks, 1 or 2
      audio           of audio files, while the fault is on: page (an HTML page labelled audio), noise (random bytes
                      labelled audio), short (one second), empty, nameless (tracks name …/None.mp3, which is not there);
                      and of good ones: octet_stream, untyped (no media type), video_label, video (an MP4 with pictures)
      cover           of covers: page, octet_stream
      take            only the audio and cover of the first take (0) or the second (1)
    Clerk, for webhooks sent while the fault is on (`path` and `times` do not apply)
      webhooks        lost (none are sent), duplicated (each twice), reordered (the last first),
                      bad_signature (signed with another secret)
    RevenueCat, for webhooks that come up (lost) or are sent (the others) while the fault is on
      webhooks        lost (never sent), duplicated (each twice), shuffled (each twice, in any order),
                      bad_signature (signed with another secret)
    Kie, for videos that end while the fault is on (`path` and `times` do not apply)
      callbacks       lost (none are sent), duplicated (each twice), malformed (no JSON),
                      bad_signature (another key)
      failCode        the video fails with this code
      stuck           it never ends
      file            of videos, while the fault is on: page (an HTML page), noise (zeros), empty, missing (404),
                      foreign (the URL is that of another host, which must not be asked)
    VAPI, for calls and webhooks that come up while the fault is on (`path` and `times` do not apply)
      webhooks        lost (never sent), duplicated (each three times), reordered (the report of a call before all else
                      of it, and the rest backwards), early (a call is over and reported before POST /call is answered),
                      bad_signature (another secret), malformed (no JSON)
      analysis        of reports: missing (none, there or in GET /call), late (none there, but in GET /call),
                      no_summary, no_evaluation, negative (found to be no success)
      transcript      of reports: messages_only (no text, no summary), content_arrays (only messages, their words in
                      `content` lists), openai_only (only messagesOpenAIFormatted), text_only (no messages)
    Expo, for messages sent and receipts asked for while the fault is on (`path` and `times` do not apply)
      ticket          every message is answered with this error: DeviceNotRegistered, MessageTooBig,
                      MessageRateExceeded, MismatchSenderId, InvalidCredentials, DeveloperError, ExpoError,
                      ProviderError
      receipt         every message that is sent gets a receipt with this error, one of the same
      receipts        of all messages: missing
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
Count = Annotated[int, msgspec.Meta(ge=1)]
HttpError = Annotated[int, msgspec.Meta(ge=300, le=599)]


class Faults(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Faults of any vendor."""

    path: str | None = None
    times: Count | None = None
    latency: Seconds = 0.0
    status: HttpError | None = None
    code: int | str | None = None
    retry_after: Seconds | None = None
    hang: bool = False
    drop: bool = False
    answer: str | None = None

    @property
    def refuses(self) -> bool:
        """Return whether a call is answered with an error, and nothing done."""
        return self.status is not None or self.code is not None


class OpenAIFaults(Faults):
    """Faults of OpenAI."""

    code: str | None = None
    answer: (
        Literal[
            "garbage",
            "refusal",
            "content_filter",
            "truncated",
            "empty",
            "empty_choices",
            "bad_json",
            "wrong_shape",
            "empty_lyric",
        ]
        | None
    ) = None


class SunoFaults(Faults):
    """Faults of Suno."""

    code: int | None = None
    answer: Literal["garbage"] | None = None
    callbacks: Literal["lost", "duplicated", "reordered", "malformed", "no_audio"] | None = None
    callback_code: Annotated[int, msgspec.Meta(ge=201, le=599)] | None = None
    tracks: Literal[1, 2] = 2
    audio: (
        Literal["page", "noise", "short", "empty", "nameless", "octet_stream", "untyped", "video_label", "video"] | None
    ) = None
    cover: Literal["page", "octet_stream"] | None = None
    take: Literal[0, 1] | None = None

    def spoils(self, how: str, take: int) -> bool:
        """Return whether the audio of that take has this fault."""
        return self.audio == how and self.take in {None, take}


class KieFaults(Faults):
    """Faults of Kie."""

    code: int | None = None
    answer: Literal["garbage"] | None = None
    callbacks: Literal["lost", "duplicated", "malformed", "bad_signature"] | None = None
    fail_code: Annotated[int, msgspec.Meta(ge=201, le=599)] | None = None
    stuck: bool = False
    file: Literal["page", "noise", "empty", "missing", "foreign"] | None = None


class ClerkFaults(Faults):
    """Faults of Clerk."""

    code: str | None = None
    answer: Literal["garbage"] | None = None
    webhooks: Literal["lost", "duplicated", "reordered", "bad_signature"] | None = None


class RevenueCatFaults(Faults):
    """Faults of RevenueCat."""

    code: str | None = None
    answer: Literal["garbage"] | None = None
    webhooks: Literal["lost", "duplicated", "shuffled", "bad_signature"] | None = None


class VapiFaults(Faults):
    """Faults of VAPI."""

    code: str | None = None
    answer: Literal["garbage"] | None = None
    webhooks: Literal["lost", "duplicated", "reordered", "early", "bad_signature", "malformed"] | None = None
    analysis: Literal["missing", "late", "no_summary", "no_evaluation", "negative"] | None = None
    transcript: Literal["messages_only", "content_arrays", "openai_only", "text_only"] | None = None


ExpoError = Literal[
    "DeviceNotRegistered",
    "MessageTooBig",
    "MessageRateExceeded",
    "MismatchSenderId",
    "InvalidCredentials",
    "DeveloperError",
    "ExpoError",
    "ProviderError",
]


class ExpoFaults(Faults):
    """Faults of Expo."""

    code: str | None = None
    answer: Literal["garbage", "short"] | None = None
    ticket: ExpoError | None = None
    receipt: ExpoError | None = None
    receipts: Literal["missing"] | None = None
