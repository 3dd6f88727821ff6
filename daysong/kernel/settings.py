"""Settings: typed, grouped by subject, read once at start and passed in.

Every setting is an environment variable; `NAME_FILE` may name a file that holds the value instead (secrets on disk).
A secret has no default. In development the sandbox may stand in for the vendors and fill in their addresses and keys.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from daysong.kernel.errors import DaysongError
from daysong.kernel.limits import declarations, rates
from daysong.kernel.limits.prices import ALL, VENDORS, Costs
from daysong.kernel.limits.rates import Rate

# Where Suno's files have been seen to come from; a name that starts with `*.` stands for all below it.
# Parameters of a chat completion that compatible servers may not know.
OPENAI_FEATURES = ("max_completion_tokens", "max_tokens", "store", "safety_identifier", "json_schema")
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

MIN_SECRET = 16
YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"", "0", "false", "no", "off"})
# Connections of one process, or of all processes of one `serve`: with `work` and those for notifications, two releases
# side by side fit into PostgreSQL's usual 100.
DATABASE_POOL = 16
STATEMENT_CACHE = 100
# Days that rows are kept, and the fewest that may be chosen; workflows/retention.py says which rows.
RETENTION_DAYS = {
    "jobs": (8, 8),
    "dead_jobs": (90, 8),
    "queue_log": (1, 1),
    "webhook_events": (30, 1),
    "unhandled_webhook_events": (90, 1),
    "answered_mutations": (14, 1),
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
    "tombstones": (366, 62),
}
MOST_DAYS = 36_500
# Read elsewhere: by tests, and by a vendor's library.
OTHERWISE_KNOWN = frozenset({"DAYSONG_POSTGRES_BINS", "DAYSONG_CLIENTS_REQUIRED", "DAYSONG_PYTEST_FOLDER"})
SIMILAR, VERY_SIMILAR = 0.6, 0.9
TIERS = ("free", "weekly", "monthly", "yearly")


class Problem(msgspec.Struct, frozen=True):
    """A setting that is missing or wrong, and what it is for."""

    name: str
    what: str


class SettingsError(DaysongError):
    """Settings that keep a process from starting; names each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{problem.name}: {problem.what}" for problem in problems))
        self.problems = problems


class OpenAISettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes the lyrics; `features` are the optional parameters its server takes."""

    api_key: str
    base_url: str = "https://api.openai.com/v1"
    model: str = "gpt-5.4-mini"
    features: tuple[str, ...] = OPENAI_FEATURES


class SunoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes the tracks; `file_hosts` are the only places its audio and covers are fetched from."""

    api_key: str
    base_url: str = "https://api.sunoapi.org"
    model: str = "V5"
    file_hosts: tuple[str, ...] = SUNO_FILE_HOSTS


class ClerkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs people in."""

    issuer: str
    jwks_file: Path | None = None
    secret_key: str | None = None
    base_url: str = "https://api.clerk.com"
    webhook_signing_secret: str | None = None


class RevenueCatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who knows what people have bought. Without a key it is never asked, and its webhooks alone are believed.

    webhook_secret        the Authorization value it sends with webhooks
    webhook_hmac_secret   what it signs them with, if it does
    products              products and the plans they are, besides those known already
    """

    api_key: str | None = None
    base_url: str = "https://api.revenuecat.com"
    project_id: str | None = None
    webhook_secret: str | None = None
    webhook_hmac_secret: str | None = None
    accept_sandbox: bool = False
    products: dict[str, Literal["free", "weekly", "monthly", "yearly"]] = {}


class VapiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who rings people up. Without a key, or without a line to call from, nobody is called.

    phone_number_id        the line calls go out from
    webhook_secret         what it sends with webhooks to prove that they are its own
    credential_id          the name of that secret at VAPI: with it, VAPI sends the secret
    max_concurrent_calls   calls in flight at once, over all processes
    max_call_minutes       after which a talk is ended
    latest_minutes         how late a call may be; a later one is missed
    countries              where numbers may be called that are not proved yet; None for the country of the line
    numbers_allowed        prefixes of numbers that libphonenumber does not know yet
    minutes                of talk that a plan grants in each period, where it is not what the plan says
    calls_a_day            over all accounts
    """

    api_key: str | None = None
    base_url: str = "https://api.vapi.ai"
    phone_number_id: str | None = None
    webhook_secret: str | None = None
    credential_id: str | None = None
    max_concurrent_calls: int = 10
    max_call_minutes: int = 10
    latest_minutes: int = 30
    countries: tuple[str, ...] | None = None
    numbers_allowed: tuple[str, ...] = ()
    minutes: dict[Literal["free", "weekly", "monthly", "yearly"], int] = {}
    calls_a_day: int = 2000


class LimitsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of `kernel/limits/declarations.py`, as set here; what is off is not there.

    enabled   whether any holds: in test mode none does, unless it is asked for
    rates     by name
    sockets_at_once   of one address, in one process
    metrics_from      networks from which metrics may be read without the admin key
    """

    enabled: bool = True
    rates: dict[str, Rate] = msgspec.field(default_factory=lambda: declarations.OUTBOUND | declarations.INBOUND)
    sockets_at_once: int = declarations.SOCKETS_AT_ONCE
    metrics_from: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a process is told at start."""

    environment: Literal["development", "production"]
    test_mode: bool
    test_functions: str | None = None
    data_dir: Path
    database_url: str | None
    database_direct_url: str | None = None
    database_pool: int = DATABASE_POOL
    database_statement_cache: int = STATEMENT_CACHE
    site_url: str
    share_base_url: str
    storage_url: str
    admin_key: str
    # Networks of reverse proxies, whose word for the client's address is taken.
    trusted_proxies: tuple[str, ...] = ()
    # Keys the hashes of people who have deleted their account; another key forgets them.
    hash_key: str
    retention_days: dict[str, int] = msgspec.field(
        default_factory=lambda: {name: days for name, (days, _) in RETENTION_DAYS.items()}
    )
    openai: OpenAISettings
    suno: SunoSettings
    clerk: ClerkSettings
    revenuecat: RevenueCatSettings = RevenueCatSettings()
    vapi: VapiSettings = VapiSettings()
    # Time zone data, used where it is newer than that of the package tzdata.
    tzdata_dir: Path | None = None
    limits: LimitsSettings = LimitsSettings()
    costs: Costs = msgspec.field(default_factory=Costs)

    @property
    def listen_url(self) -> str:
        """The database by a connection of its own, for what a pooler in transaction mode cannot do: LISTEN, locks."""
        return self.database_direct_url or self.database_url or ""

    @property
    def production(self) -> bool:
        """Whether this is the real thing: no sandbox, no test mode, no error texts for strangers."""
        return self.environment == "production"

    @property
    def trusted_origins(self) -> tuple[str, ...]:
        """Origins files may be fetched from although they are not public: a vendor's stand-in, in development."""
        if self.production:
            return ()
        address = urlsplit(self.suno.base_url)
        return (f"{address.scheme}://{address.netloc}",)


class _Reader:
    """Reads named values, and collects what is missing or wrong instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        self._environ = environ
        self._defaults = defaults
        self.problems: list[Problem] = []
        self.known: set[str] = set()

    def optional(self, name: str) -> str | None:
        """The value of `name`, of the file `NAME_FILE` names, or of the defaults; None without any."""
        self.known.add(name)
        if value := self._environ.get(name, "").strip():
            return value
        if file := self._environ.get(f"{name}_FILE", "").strip():
            try:
                return Path(file).read_text(encoding="utf-8").strip() or None
            except (OSError, UnicodeDecodeError) as error:
                self.problems.append(Problem(f"{name}_FILE", f"cannot be read: {type(error).__name__}"))
        return self._defaults.get(name)

    def choices(self, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """Some of the known words, by commas; all of them without a value, none of them by `none`."""
        value = self.optional(name)
        if value is None:
            return known
        chosen = tuple(word.strip() for word in value.split(",") if word.strip() and word.strip() != "none")
        if unknown := [word for word in chosen if word not in known]:
            self.problems.append(Problem(name, f"does not know {unknown[0]!r}; it knows {', '.join(known)}"))
        return chosen

    def required(self, name: str, what: str) -> str:
        """The value of `name`; a problem when there is none."""
        value = self.optional(name)
        if value is None:
            self._missing(name, what)
        return value or ""

    def _missing(self, name: str, what: str) -> None:
        if not any(problem.name == f"{name}_FILE" for problem in self.problems):
            self.problems.append(Problem(name, f"missing: {what}"))

    def url(self, name: str, default: str | None, what: str) -> str:
        """An http(s) address without a slash at its end."""
        value = self.optional(name)
        if value is None and default is None:
            self._missing(name, what)
        if value is not None and not _is_web_address(value):
            self.problems.append(Problem(name, "must start with https:// or http://"))
        return (value or default or "").rstrip("/")

    def signing_secret(self, name: str) -> str | None:
        """The secret of an endpoint as Svix shows it: base64, perhaps after `whsec_`."""
        value = self.optional(name)
        if value is not None:
            encoded = value.removeprefix("whsec_").rstrip("=")
            try:
                key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if not key:
                self.problems.append(Problem(name, "must be the endpoint's signing secret, whsec_…"))
        return value

    def products(self, name: str) -> dict[str, Any]:
        """Products and their plans: `product=plan`, with commas between them."""
        found: dict[str, Any] = {}
        for entry in (self.optional(name) or "").split(","):
            product, _, tier = (part.strip() for part in entry.rpartition("="))
            if product and tier in TIERS:
                found[product] = tier
            elif entry.strip():
                self.problems.append(Problem(name, f"must be product=plan,…, a plan being one of {', '.join(TIERS)}"))
                break
        return found

    def zone_folder(self, name: str) -> Path | None:
        """A folder of compiled time zones."""
        value = self.optional(name)
        if value is None:
            return None
        folder = Path(value).absolute()
        if not (folder / "UTC").is_file():
            self.problems.append(Problem(name, "must be a folder of compiled time zones, such as /usr/share/zoneinfo"))
            return None
        return folder

    def _listed(self, name: str) -> tuple[str, ...]:
        return tuple(entry.strip() for entry in (self.optional(name) or "").split(",") if entry.strip())

    def countries(self, name: str) -> tuple[str, ...] | None:
        """Countries by their two letters, or `*` for all; None when it is not set."""
        found = tuple(entry.upper() for entry in self._listed(name))
        if not all(re.fullmatch(r"[A-Z]{2}|\*", entry) for entry in found):
            self.problems.append(Problem(name, "must be countries by their two letters, such as US,CA, or *"))
        return found or None

    def minutes(self, name: str) -> dict[Any, int]:
        """Minutes of plans: `plan=minutes`, with commas between them."""
        found: dict[Any, int] = {}
        for entry in self._listed(name):
            tier, _, text = (part.strip() for part in entry.partition("="))
            if tier not in TIERS or not re.fullmatch(r"[0-9]{1,5}", text):
                self.problems.append(Problem(name, f"must be plan=minutes,…, a plan being one of {', '.join(TIERS)}"))
                break
            found[tier] = int(text)
        return found

    def prefixes(self, name: str) -> tuple[str, ...]:
        """Beginnings of phone numbers, each with its plus and country code."""
        found = self._listed(name)
        if not all(re.fullmatch(r"\+[1-9][0-9]{1,14}", entry) for entry in found):
            self.problems.append(Problem(name, "must be beginnings of phone numbers, such as +1983"))
            return ()
        return found

    def retention(self, name: str) -> dict[str, int]:
        """Days that rows are kept: `rows=days`, with commas between them; what is not named has its default."""
        found = {rows: days for rows, (days, _) in RETENTION_DAYS.items()}
        for entry in filter(str.strip, (self.optional(name) or "").split(",")):
            rows, _, text = (part.strip() for part in entry.partition("="))
            if rows not in RETENTION_DAYS:
                self.problems.append(Problem(name, f"must be rows=days,…, rows being of {', '.join(RETENTION_DAYS)}"))
            elif not text.isascii() or not text.isdecimal() or not RETENTION_DAYS[rows][1] <= int(text) <= MOST_DAYS:
                least = RETENTION_DAYS[rows][1]
                self.problems.append(Problem(name, f"{rows} must be a whole number from {least} to {MOST_DAYS}"))
            else:
                found[rows] = int(text)
        return found

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number within bounds."""
        text = self.optional(name) or str(default)
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            self.problems.append(Problem(name, f"must be a whole number from {least} to {most}"))
            return default
        return int(text)

    def rates(self, declared: Mapping[str, Rate]) -> dict[str, Rate]:
        """The declared rates, but for those that `LIMIT_<NAME>` sets otherwise or turns off."""
        found: dict[str, Rate] = {}
        for name, rate in declared.items():
            setting = f"LIMIT_{name.upper()}"
            text, given = self.optional(setting), None
            try:
                given = rates.parse(text, strict=rate.strict) if text else rate
            except ValueError:
                self.problems.append(Problem(setting, "must be a rate such as 20/10s, or off"))
            if given is not None:
                found[name] = given
        return found

    def costs(self) -> Costs:
        """The price table, `COST_…` in micro-dollars, and the caps of a day, `LIMIT_COST_…` in dollars or off."""
        usual = Costs()
        names = ("openai_input", "openai_output", "suno_song", "vapi_minute", "kie_video")
        prices = {name: self.whole(f"COST_{name.upper()}", getattr(usual, name), least=0, most=10**9) for name in names}
        caps = {}
        for name in ("account", *VENDORS, ALL):
            setting = f"LIMIT_COST_{'DAY' if name == ALL else name.upper()}"
            text = (self.optional(setting) or "").lower()
            try:
                cap = usual.caps[name] if not text else round(Decimal(text) * 1_000_000) if text != "off" else None
            except (ArithmeticError, ValueError):
                cap = -1
            if cap is not None and not 0 <= cap < 10**15:
                self.problems.append(Problem(setting, "must be dollars a day, such as 12.50, or off"))
            elif cap is not None:
                caps[name] = cap
        minutes = self.whole("VAPI_MAX_CALL_MINUTES", 10, least=1, most=60)
        return Costs(**prices, call_minutes=minutes, caps=caps)

    def networks(self, name: str, default: str) -> tuple[str, ...]:
        """Networks in CIDR notation, or single addresses, with commas between them."""
        found = tuple(filter(None, (part.strip() for part in (self.optional(name) or default).split(","))))
        for text in found:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                self.problems.append(Problem(name, "must be networks such as 10.0.0.0/8, with commas between them"))
                return ()
        return found

    def flag(self, name: str) -> bool:
        """A yes or no."""
        value = (self.optional(name) or "").lower()
        if value not in YES | NO:
            self.problems.append(Problem(name, "must be 1 or 0"))
        return value in YES


def _is_web_address(text: str) -> bool:
    try:
        address = urlsplit(text)
    except ValueError:
        return False
    return address.scheme in {"http", "https"} and bool(address.hostname)


def read(environ: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> tuple[Settings, list[Problem]]:
    """The settings, and all that is missing or wrong with them. Settings with problems are good only for a report."""
    reader = _Reader(environ, defaults or {})
    return _read(reader), reader.problems


def unknown(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the variables that look like settings of ours and are none, each with the nearest setting's name."""
    reader = _Reader({}, {})
    _read(reader)
    known = reader.known | {f"{name}_FILE" for name in reader.known} | OTHERWISE_KNOWN
    beginnings = tuple({f"{name.partition('_')[0]}_" for name in reader.known})
    found = []
    for name in sorted(environ):
        least = SIMILAR if name.startswith(beginnings) else VERY_SIMILAR
        nearest = difflib.get_close_matches(name, known, 1, least)
        if name not in known and nearest:
            found.append((name, nearest[0]))
    return found


def _read(reader: _Reader) -> Settings:
    environment = reader.optional("DAYSONG_ENV") or "development"
    if environment not in {"development", "production"}:
        reader.problems.append(Problem("DAYSONG_ENV", "must be development or production"))
    production = environment == "production"
    site_url = reader.url("SITE_URL", None, "the public address of this server, which vendors call back")
    data_dir = Path(reader.optional("DAYSONG_DATA_DIR") or ".daysong").absolute()
    jwks_file = reader.optional("CLERK_JWKS_FILE")
    hosts = tuple(name.strip() for name in (reader.optional("SUNO_FILE_HOSTS") or "").split(",") if name.strip())
    settings = Settings(
        environment="production" if production else "development",
        test_mode=reader.flag("DAYSONG_TEST"),
        test_functions=reader.optional("DAYSONG_TEST_FUNCTIONS"),
        data_dir=data_dir,
        database_url=reader.optional("DATABASE_URL"),
        database_direct_url=(direct := reader.optional("DATABASE_DIRECT_URL")),
        database_pool=reader.whole("DATABASE_POOL", DATABASE_POOL, least=2, most=1000),
        # A pooler in transaction mode loses named statements, unless it has been told to carry them over.
        database_statement_cache=reader.whole(
            "DATABASE_STATEMENT_CACHE", 0 if direct else STATEMENT_CACHE, least=0, most=10_000
        ),
        site_url=site_url,
        share_base_url=reader.url("SHARE_BASE_URL", site_url, "the address share links start with"),
        storage_url=reader.optional("STORAGE_URL") or str(data_dir / "files"),
        admin_key=reader.required("DAYSONG_ADMIN_KEY", "the key for internal functions; any long random text"),
        trusted_proxies=reader.networks("TRUSTED_PROXIES", ""),
        tzdata_dir=reader.zone_folder("TZDATA_DIR"),
        hash_key=reader.required("DAYSONG_HASH_KEY", "keys the hashes of deleted accounts; any long random text"),
        retention_days=reader.retention("RETENTION_DAYS"),
        openai=OpenAISettings(
            api_key=reader.required("OPENAI_API_KEY", "writes the lyrics"),
            base_url=reader.url("OPENAI_BASE_URL", "https://api.openai.com/v1", ""),
            model=reader.optional("OPENAI_MODEL") or "gpt-5.4-mini",
            features=reader.choices("OPENAI_FEATURES", OPENAI_FEATURES),
        ),
        suno=SunoSettings(
            api_key=reader.required("SUNO_API_KEY", "makes the tracks"),
            base_url=reader.url("SUNO_BASE_URL", "https://api.sunoapi.org", ""),
            model=reader.optional("SUNO_MODEL") or "V5",
            file_hosts=SUNO_FILE_HOSTS + hosts,
        ),
        clerk=ClerkSettings(
            issuer=reader.url("CLERK_FRONTEND_API_URL", None, "who signs people in: the issuer of their tokens"),
            jwks_file=Path(jwks_file) if jwks_file else None,
            secret_key=reader.optional("CLERK_SECRET_KEY"),
            base_url=reader.url("CLERK_BASE_URL", "https://api.clerk.com", ""),
            webhook_signing_secret=reader.signing_secret("CLERK_WEBHOOK_SIGNING_SECRET"),
        ),
        revenuecat=RevenueCatSettings(
            api_key=reader.optional("REVENUECAT_API_KEY"),
            base_url=reader.url("REVENUECAT_BASE_URL", "https://api.revenuecat.com", ""),
            project_id=reader.optional("REVENUECAT_PROJECT_ID"),
            webhook_secret=reader.optional("REVENUECAT_WEBHOOK_SECRET"),
            webhook_hmac_secret=reader.optional("REVENUECAT_WEBHOOK_HMAC_SECRET"),
            accept_sandbox=reader.flag("ACCEPT_SANDBOX"),
            products=reader.products("REVENUECAT_PRODUCTS"),
        ),
        vapi=VapiSettings(
            api_key=reader.optional("VAPI_API_KEY"),
            base_url=reader.url("VAPI_BASE_URL", "https://api.vapi.ai", ""),
            phone_number_id=reader.optional("VAPI_PHONE_NUMBER_ID"),
            webhook_secret=reader.optional("VAPI_WEBHOOK_SECRET"),
            credential_id=reader.optional("VAPI_CREDENTIAL_ID"),
            max_concurrent_calls=reader.whole("VAPI_MAX_CONCURRENT_CALLS", 10, least=1, most=10_000),
            max_call_minutes=reader.whole("VAPI_MAX_CALL_MINUTES", 10, least=1, most=60),
            latest_minutes=reader.whole("CALL_LATEST_MINUTES", 30, least=1, most=180),
            countries=reader.countries("CALL_COUNTRIES"),
            numbers_allowed=reader.prefixes("CALL_NUMBERS_ALLOWED"),
            minutes=reader.minutes("CALL_MINUTES"),
            calls_a_day=reader.whole("CALL_DAILY_LIMIT", 2000, least=0, most=10_000_000),
        ),
        limits=LimitsSettings(
            enabled=not reader.flag("DAYSONG_TEST") or reader.flag("DAYSONG_TEST_LIMITS"),
            rates=reader.rates(declarations.OUTBOUND | declarations.INBOUND),
            sockets_at_once=reader.whole("LIMIT_SOCKETS_AT_ONCE", declarations.SOCKETS_AT_ONCE, least=1, most=10**6),
            metrics_from=reader.networks("METRICS_FROM", "" if production else "127.0.0.0/8,::1"),
        ),
        costs=reader.costs(),
    )
    if settings.test_functions is not None and not settings.test_mode:
        reader.problems.append(Problem("DAYSONG_TEST_FUNCTIONS", "needs test mode: set DAYSONG_TEST=1"))
    if production:
        _check_production(settings, reader.problems)
    return settings


def _check_production(settings: Settings, problems: list[Problem]) -> None:
    if settings.database_url is None:
        problems.append(Problem("DATABASE_URL", "missing: production does not run on the embedded PostgreSQL"))
    if settings.test_mode:
        problems.append(Problem("DAYSONG_TEST", "is not for production"))
    if settings.test_functions is not None:
        problems.append(Problem("DAYSONG_TEST_FUNCTIONS", "is not for production"))
    for name, secret in (("DAYSONG_ADMIN_KEY", settings.admin_key), ("DAYSONG_HASH_KEY", settings.hash_key)):
        if secret and len(secret) < MIN_SECRET:
            problems.append(Problem(name, f"must have at least {MIN_SECRET} characters"))
    for name, value, what in (
        ("CLERK_SECRET_KEY", settings.clerk.secret_key, "deletes people's sign-ins with their accounts"),
        ("CLERK_WEBHOOK_SIGNING_SECRET", settings.clerk.webhook_signing_secret, "proves that a webhook is Clerk's"),
        ("REVENUECAT_API_KEY", settings.revenuecat.api_key, "asks what people have bought"),
        ("REVENUECAT_PROJECT_ID", settings.revenuecat.project_id, "names the project at RevenueCat"),
        ("REVENUECAT_WEBHOOK_SECRET", settings.revenuecat.webhook_secret, "proves that a webhook is RevenueCat's"),
        ("VAPI_API_KEY", settings.vapi.api_key, "rings people up"),
        ("VAPI_PHONE_NUMBER_ID", settings.vapi.phone_number_id, "the line people are called from"),
        ("VAPI_WEBHOOK_SECRET", settings.vapi.webhook_secret, "proves that a webhook is VAPI's"),
        ("VAPI_CREDENTIAL_ID", settings.vapi.credential_id, "makes VAPI send its secret with webhooks"),
    ):
        if value is None:
            problems.append(Problem(name, f"missing: {what}"))
    for name, url in (("SITE_URL", settings.site_url), ("SHARE_BASE_URL", settings.share_base_url)):
        if url and not url.startswith("https://"):
            problems.append(Problem(name, "must be https in production"))


def load(environ: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> Settings:
    """The settings; SettingsError naming all that is missing or wrong."""
    settings, problems = read(environ, defaults)
    if problems:
        raise SettingsError(problems)
    return settings
