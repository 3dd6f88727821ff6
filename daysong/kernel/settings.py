"""Settings: typed, grouped by subject, read once at start and passed in.

Every setting is an environment variable; `NAME_FILE` may name a file that holds the value instead (secrets on disk).
A secret has no default. In development the sandbox stands in for the vendors and fills in their addresses and keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from daysong.kernel.errors import DaysongError


class SettingsError(DaysongError):
    """A setting is missing or wrong; the text says which, and what it is for."""


class OpenAISettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes the lyrics."""

    api_key: str
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-5.4-mini"


class SunoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes the tracks; `file_hosts` are the only places its audio and covers are fetched from."""

    api_key: str
    base_url: str = "https://api.sunoapi.org"
    model: str = "V5"
    file_hosts: tuple[str, ...] = ()


class ClerkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs people in."""

    issuer: str
    jwks_file: Path | None = None
    secret_key: str | None = None
    base_url: str = "https://api.clerk.com"
    webhook_signing_secret: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a process is told at start."""

    environment: Literal["development", "production"]
    test_mode: bool
    data_dir: Path
    database_url: str | None
    site_url: str
    share_base_url: str
    storage_url: str
    admin_key: str
    openai: OpenAISettings
    suno: SunoSettings
    clerk: ClerkSettings

    @property
    def production(self) -> bool:
        """Whether this is the real thing: no sandbox, no test mode, no error texts for strangers."""
        return self.environment == "production"
