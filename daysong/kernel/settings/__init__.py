"""Settings: typed, grouped by subject, read once at start and passed in.

    groups.py        the settings and their defaults
    environment.py   reading and parsing environment variables
    loading.py       which variable sets what, and what production requires

Every setting is an environment variable; `NAME_FILE` may name a file that holds its value instead, for secrets. Secrets
have no default. In development the sandbox may provide the addresses and keys of vendors.
"""

from daysong.kernel.settings.environment import Problem, SettingsError
from daysong.kernel.settings.groups import (
    KIE_FILE_HOSTS,
    OPENAI_FEATURES,
    RETENTION_DAYS,
    SUNO_FILE_HOSTS,
    ClerkSettings,
    ExpoSettings,
    KieSettings,
    LimitsSettings,
    OpenAISettings,
    RevenueCatSettings,
    Settings,
    StudioSettings,
    SunoSettings,
    VapiSettings,
)
from daysong.kernel.settings.loading import load, read, unknown

__all__ = [
    "KIE_FILE_HOSTS",
    "OPENAI_FEATURES",
    "RETENTION_DAYS",
    "SUNO_FILE_HOSTS",
    "ClerkSettings",
    "ExpoSettings",
    "KieSettings",
    "LimitsSettings",
    "OpenAISettings",
    "Problem",
    "RevenueCatSettings",
    "Settings",
    "SettingsError",
    "StudioSettings",
    "SunoSettings",
    "VapiSettings",
    "load",
    "read",
    "unknown",
]
