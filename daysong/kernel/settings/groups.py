"""The settings of a process, by subject, with their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from daysong.kernel.limits import declarations
from daysong.kernel.limits.prices import Costs
from daysong.kernel.limits.rates import Rate
from daysong.kernel.parts import PARTS, Part

# Optional parameters of a chat completion, which compatible servers may not support.
OPENAI_FEATURES = ("max_completion_tokens", "max_tokens", "store", "safety_identifier", "json_schema")
# Hosts that Suno's files are known to come from; a leading `*.` matches all subdomains.
SUNO_FILE_HOSTS = (
    "musicfile.api.box",
    "cdn1.suno.ai",
    "cdn2.suno.ai",
    "audiopipe.suno.ai",
    # The same engine through kie.ai.
    "musicfile.kie.ai",
    "audiostream.kie.ai",
    "tempfile.aiquickdraw.com",
    "file.aiquickdraw.com",
)
# Hosts that Kie's clips are known to come from.
KIE_FILE_HOSTS = (
    "tempfile.aiquickdraw.com",
    "file.aiquickdraw.com",
    "static.aiquickdraw.com",
    "tempfile.redpandaai.co",
)

# Connections per process; the processes of one `serve` share them. With `work` and those for notifications, two
# releases side by side fit into PostgreSQL's default of 100.
DATABASE_POOL = 16
REPLICA_MAX_LAG = 2  # seconds
STATEMENT_CACHE = 100
# Days that rows are kept: default and minimum. workflows/retention.py defines the rows.
RETENTION_DAYS = {
    "jobs": (8, 8),
    "dead_jobs": (90, 8),
    "queue_log": (1, 1),
    "webhook_events": (30, 1),
    "unhandled_webhook_events": (90, 1),
    "answered_mutations": (14, 1),
    "diary_uploads": (3, 2),
    "usage_charges": (400, 400),
    "mailbox_usage": (62, 31),
    "mailbox_minutes": (62, 31),
    "subscription_log": (730, 30),
    "parked_customers": (400, 30),
    "call_jobs": (400, 30),
    "call_days": (400, 2),
    "vendor_costs": (400, 2),
    "budget_reservations": (1, 1),
    "budget_days": (400, 2),
    "rate_limits": (2, 2),
    "invitations": (730, 1),
    "invitation_attempts": (1, 1),
    "push_occasions": (30, 2),
    "imports": (400, 1),
    "import_users": (7, 1),
    "import_files": (7, 1),
    "readings": (100, 2),
    "console_sessions": (1, 1),
    "usage_grants": (400, 62),
    "tombstones": (366, 62),
    "removals": (400, 30),
}
TIERS = ("free", "weekly", "monthly", "yearly")


class OpenAISettings(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI, or a compatible server, for lyrics; `features` are the optional parameters the server supports."""

    api_key: str
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-5.4-mini"
    features: tuple[str, ...] = OPENAI_FEATURES


class SunoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Suno, for tracks; audio and covers are fetched only from `file_hosts`."""

    api_key: str
    base_url: str = "https://api.sunoapi.org"
    model: str = "V5"
    file_hosts: tuple[str, ...] = SUNO_FILE_HOSTS


class KieSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Kie, for music videos; clips are fetched only from `file_hosts`. Without an API key no videos are made.

    webhook_hmac_key   the key of its callbacks' signatures, if it signs them; earlier ones are accepted as well
    """

    api_key: str | None = None
    base_url: str = "https://api.kie.ai"
    webhook_hmac_key: str | None = None
    webhook_hmac_keys_old: tuple[str, ...] = ()
    file_hosts: tuple[str, ...] = KIE_FILE_HOSTS


class ClerkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Clerk, for authentication; the studio loads Clerk's script with `publishable_key`, which the issuer implies."""

    issuer: str
    publishable_key: str | None = None
    jwks_file: Path | None = None
    secret_key: str | None = None
    base_url: str = "https://api.clerk.com"
    webhook_signing_secret: str | None = None
    webhook_signing_secrets_old: tuple[str, ...] = ()


class RevenueCatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """RevenueCat, for purchases. Without an API key, only its webhooks are used.

    webhook_secret        the Authorization header of its webhooks
    webhook_hmac_secret   the key of their signatures, if it signs them
    …_old                 earlier values, which are accepted as well
    products              maps products to plans, in addition to the built-in ones
    """

    api_key: str | None = None
    base_url: str = "https://api.revenuecat.com"
    project_id: str | None = None
    webhook_secret: str | None = None
    webhook_secrets_old: tuple[str, ...] = ()
    webhook_hmac_secret: str | None = None
    webhook_hmac_secrets_old: tuple[str, ...] = ()
    accept_sandbox: bool = False
    products: dict[str, Literal["free", "weekly", "monthly", "yearly"]] = {}


class VapiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """VAPI, for phone calls. Without an API key or a phone number no calls are made.

    phone_number_id        the number that calls are made from
    webhook_secret         the secret by which its webhooks are verified; earlier ones are accepted as well
    credential_id          the id of that secret at VAPI, which makes VAPI send it
    max_concurrent_calls   over all processes
    max_call_minutes       after which a call is ended
    latest_minutes         how late a call may start; a later one is missed
    countries              where unverified numbers may be called; None for the country of the phone number
    numbers_allowed        prefixes of numbers that libphonenumber does not know yet
    minutes                of calls per period and plan, where they differ from the plan's default
    calls_a_day            over all accounts
    """

    api_key: str | None = None
    base_url: str = "https://api.vapi.ai"
    phone_number_id: str | None = None
    webhook_secret: str | None = None
    webhook_secrets_old: tuple[str, ...] = ()
    credential_id: str | None = None
    max_concurrent_calls: int = 10
    max_call_minutes: int = 10
    latest_minutes: int = 30
    countries: tuple[str, ...] | None = None
    numbers_allowed: tuple[str, ...] = ()
    minutes: dict[Literal["free", "weekly", "monthly", "yearly"], int] = {}
    calls_a_day: int = 2000


class ExpoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Expo's push service; `access_token` is needed by projects with enhanced security alone."""

    access_token: str | None = None
    base_url: str = "https://exp.host"


class StudioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The studio.

    featured_share_id   the share whose song the front page plays
    upgrade_links       where a plan is bought, by plan
    """

    featured_share_id: str | None = None
    upgrade_links: dict[Literal["free", "weekly", "monthly", "yearly"], str] = {}


class LimitsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of `kernel/limits/declarations.py`, with overrides.

    enabled           whether limits apply; off in test mode by default
    rates             by name; limits that are off are missing
    sockets_at_once   open sockets per address, in one process
    metrics_from      networks that may read metrics without the admin key
    """

    enabled: bool = True
    rates: dict[str, Rate] = msgspec.field(default_factory=lambda: declarations.OUTBOUND | declarations.INBOUND)
    sockets_at_once: int = declarations.SOCKETS_AT_ONCE
    metrics_from: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process."""

    environment: Literal["development", "production"]
    test_mode: bool
    test_functions: str | None = None
    data_dir: Path
    database_url: str | None
    database_direct_url: str | None = None
    database_replica_url: str | None = None
    # Seconds that reads on the replica may be behind.
    database_replica_max_lag: int = REPLICA_MAX_LAG
    database_pool: int = DATABASE_POOL
    database_statement_cache: int = STATEMENT_CACHE
    site_url: str
    share_base_url: str
    storage_url: str
    # An internal location of nginx that has the stored files; without it we send them ourselves.
    media_accel: str | None = None
    # Whether songs are fetched from the bucket, by signed addresses, and where clients reach the bucket if elsewhere.
    media_redirect: bool = False
    media_redirect_endpoint: str | None = None
    admin_key: str
    admin_keys_old: tuple[str, ...] = ()
    # Networks of reverse proxies, whose forwarded client address is trusted.
    trusted_proxies: tuple[str, ...] = ()
    # Whether operators may sign in at /console.
    console: bool = True
    # The key of stored hashes, and its earlier values, by which rows are still found.
    hash_key: str
    hash_keys_old: tuple[str, ...] = ()
    retention_days: dict[str, int] = msgspec.field(
        default_factory=lambda: {name: days for name, (days, _) in RETENTION_DAYS.items()}
    )
    openai: OpenAISettings
    suno: SunoSettings
    kie: KieSettings = KieSettings()
    clerk: ClerkSettings
    revenuecat: RevenueCatSettings = RevenueCatSettings()
    vapi: VapiSettings = VapiSettings()
    expo: ExpoSettings = ExpoSettings()
    studio: StudioSettings = StudioSettings()
    # MiB of photos and videos per plan, where they differ from the default.
    media_storage: dict[Literal["free", "weekly", "monthly", "yearly"], int] = {}
    # Time zone data, used when it is newer than the package tzdata.
    tzdata_dir: Path | None = None
    limits: LimitsSettings = LimitsSettings()
    costs: Costs = msgspec.field(default_factory=Costs)
    # The parts that are on; see kernel/parts.py.
    parts: tuple[Part, ...] = PARTS
    # Where errors are reported, by Sentry's protocol.
    sentry_dsn: str | None = None
    # Whether vendors are played by the sandbox in a process that serves, for staging.
    sandboxed: bool = False

    def offers(self, part: Part | None) -> bool:
        """Return whether a part is on; True for what belongs to none."""
        return part is None or part in self.parts

    @property
    def off(self) -> frozenset[Part]:
        """The parts that are switched off."""
        return frozenset(PARTS) - frozenset(self.parts)

    @property
    def listen_url(self) -> str:
        """The database URL that bypasses a pooler in transaction mode, for LISTEN and session-level locks."""
        return self.database_direct_url or self.database_url or ""

    @property
    def admin_keys(self) -> tuple[str, ...]:
        """The admin key and its earlier values."""
        return (self.admin_key, *self.admin_keys_old)

    @property
    def hash_keys(self) -> tuple[str, ...]:
        """The hash key and its earlier values."""
        return (self.hash_key, *self.hash_keys_old)

    @property
    def production(self) -> bool:
        """Whether this is a production process: no sandbox, no test mode, no error details for clients."""
        return self.environment == "production"

    @property
    def trusted_origins(self) -> tuple[str, ...]:
        """Origins that files may be fetched from although they are not public: those of a sandbox."""
        if self.production and not self.sandboxed:
            return ()
        urls = [self.suno.base_url, *([self.kie.base_url] if self.kie.api_key else [])]
        addresses = (urlsplit(url) for url in urls)
        return tuple(dict.fromkeys(f"{address.scheme}://{address.netloc}" for address in addresses))
