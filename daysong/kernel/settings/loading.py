"""Builds the settings from environment variables, and checks what production requires."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from daysong.kernel.limits import declarations
from daysong.kernel.monitoring.error_reports import target_of
from daysong.kernel.parts import PARTS, Part
from daysong.kernel.settings.environment import Environment, Problem, SettingsError
from daysong.kernel.settings.groups import (
    DATABASE_POOL,
    KIE_FILE_HOSTS,
    OPENAI_FEATURES,
    REPLICA_MAX_LAG,
    STATEMENT_CACHE,
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

MIN_SECRET = 16
# Variables that are read elsewhere: by tests, and by a vendor's library.
OTHERWISE_KNOWN = frozenset({"DAYSONG_POSTGRES_BINS", "DAYSONG_CLIENTS_REQUIRED", "DAYSONG_PYTEST_FOLDER"})
# How similar a name must be to a setting's to be reported as a typo; less with the same first word.
SIMILAR, VERY_SIMILAR = 0.6, 0.9


def read(environ: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> tuple[Settings, list[Problem]]:
    """Return the settings and their problems. Settings with problems are only for a report."""
    variables = Environment(environ, defaults or {})
    return _read(variables), variables.problems


def unknown(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return variables that look like misspelled settings, each with the most similar setting."""
    variables = Environment({}, {})
    _read(variables)
    known = variables.known | {f"{name}_FILE" for name in variables.known} | OTHERWISE_KNOWN
    beginnings = tuple({f"{name.partition('_')[0]}_" for name in variables.known})
    found = []
    for name in sorted(environ.keys() - known):
        least = SIMILAR if name.startswith(beginnings) else VERY_SIMILAR
        if nearest := difflib.get_close_matches(name, known, 1, least):
            found.append((name, nearest[0]))
    return found


def _read(variables: Environment) -> Settings:
    environment = variables.optional("DAYSONG_ENV") or "development"
    if environment not in {"development", "production"}:
        variables.problems.append(Problem("DAYSONG_ENV", "must be development or production"))
    production = environment == "production"
    site_url = variables.url("SITE_URL", None, "the public address of this server, which vendors call back")
    data_dir = Path(variables.optional("DAYSONG_DATA_DIR") or ".daysong").absolute()
    jwks_file = variables.optional("CLERK_JWKS_FILE")
    settings = Settings(
        environment="production" if production else "development",
        test_mode=variables.flag("DAYSONG_TEST"),
        test_functions=variables.optional("DAYSONG_TEST_FUNCTIONS"),
        data_dir=data_dir,
        database_url=variables.optional("DATABASE_URL"),
        database_direct_url=(direct := variables.optional("DATABASE_DIRECT_URL")),
        database_replica_url=variables.optional("DATABASE_REPLICA_URL"),
        database_replica_max_lag=variables.whole("DATABASE_REPLICA_MAX_LAG", REPLICA_MAX_LAG, least=1, most=60),
        database_pool=variables.whole("DATABASE_POOL", DATABASE_POOL, least=2, most=1000),
        # A pooler in transaction mode loses prepared statements, unless configured to keep them.
        database_statement_cache=variables.whole(
            "DATABASE_STATEMENT_CACHE", 0 if direct else STATEMENT_CACHE, least=0, most=10_000
        ),
        site_url=site_url,
        share_base_url=variables.url("SHARE_BASE_URL", site_url, "the base address of share links"),
        storage_url=variables.optional("STORAGE_URL") or str(data_dir / "files"),
        media_accel=_accel(variables),
        media_redirect=variables.flag("MEDIA_REDIRECT"),
        media_redirect_endpoint=variables.url("MEDIA_REDIRECT_ENDPOINT", "", "") or None,
        admin_key=variables.required("DAYSONG_ADMIN_KEY", "the key for internal functions; any long random text"),
        admin_keys_old=variables.earlier("DAYSONG_ADMIN_KEY"),
        trusted_proxies=variables.networks("TRUSTED_PROXIES", ""),
        console=variables.flag("CONSOLE") or not production,
        tzdata_dir=variables.zone_folder("TZDATA_DIR"),
        hash_key=variables.required("DAYSONG_HASH_KEY", "keys the hashes of deleted accounts; any long random text"),
        hash_keys_old=variables.earlier("DAYSONG_HASH_KEY"),
        retention_days=variables.retention("RETENTION_DAYS"),
        openai=OpenAISettings(
            api_key=variables.required("OPENAI_API_KEY", "writes the lyrics"),
            base_url=variables.url("OPENAI_BASE_URL", "https://api.openai.com/v1", ""),
            model=variables.optional("OPENAI_MODEL") or "gpt-5.4-mini",
            features=variables.choices("OPENAI_FEATURES", OPENAI_FEATURES),
        ),
        suno=SunoSettings(
            api_key=variables.required("SUNO_API_KEY", "makes the tracks"),
            base_url=variables.url("SUNO_BASE_URL", "https://api.sunoapi.org", ""),
            model=variables.optional("SUNO_MODEL") or "V5",
            file_hosts=SUNO_FILE_HOSTS + variables.hosts("SUNO_FILE_HOSTS"),
        ),
        kie=KieSettings(
            api_key=variables.optional("KIE_API_KEY"),
            base_url=variables.url("KIE_BASE_URL", "https://api.kie.ai", ""),
            webhook_hmac_key=variables.optional("KIE_WEBHOOK_HMAC_KEY"),
            webhook_hmac_keys_old=variables.earlier("KIE_WEBHOOK_HMAC_KEY"),
            file_hosts=KIE_FILE_HOSTS + variables.hosts("KIE_FILE_HOSTS"),
        ),
        clerk=ClerkSettings(
            issuer=variables.url("CLERK_FRONTEND_API_URL", None, "the issuer of sign-in tokens"),
            publishable_key=variables.optional("CLERK_PUBLISHABLE_KEY"),
            jwks_file=Path(jwks_file) if jwks_file else None,
            secret_key=variables.optional("CLERK_SECRET_KEY"),
            base_url=variables.url("CLERK_BASE_URL", "https://api.clerk.com", ""),
            webhook_signing_secret=variables.signing_secret("CLERK_WEBHOOK_SIGNING_SECRET"),
            webhook_signing_secrets_old=variables.earlier_signing_secrets("CLERK_WEBHOOK_SIGNING_SECRET"),
        ),
        revenuecat=RevenueCatSettings(
            api_key=variables.optional("REVENUECAT_API_KEY"),
            base_url=variables.url("REVENUECAT_BASE_URL", "https://api.revenuecat.com", ""),
            project_id=variables.optional("REVENUECAT_PROJECT_ID"),
            webhook_secret=variables.optional("REVENUECAT_WEBHOOK_SECRET"),
            webhook_secrets_old=variables.earlier("REVENUECAT_WEBHOOK_SECRET"),
            webhook_hmac_secret=variables.optional("REVENUECAT_WEBHOOK_HMAC_SECRET"),
            webhook_hmac_secrets_old=variables.earlier("REVENUECAT_WEBHOOK_HMAC_SECRET"),
            accept_sandbox=variables.flag("ACCEPT_SANDBOX"),
            products=variables.products("REVENUECAT_PRODUCTS"),
        ),
        vapi=VapiSettings(
            api_key=variables.optional("VAPI_API_KEY"),
            base_url=variables.url("VAPI_BASE_URL", "https://api.vapi.ai", ""),
            phone_number_id=variables.optional("VAPI_PHONE_NUMBER_ID"),
            webhook_secret=variables.optional("VAPI_WEBHOOK_SECRET"),
            webhook_secrets_old=variables.earlier("VAPI_WEBHOOK_SECRET"),
            credential_id=variables.optional("VAPI_CREDENTIAL_ID"),
            max_concurrent_calls=variables.whole("VAPI_MAX_CONCURRENT_CALLS", 10, least=1, most=10_000),
            max_call_minutes=variables.whole("VAPI_MAX_CALL_MINUTES", 10, least=1, most=60),
            latest_minutes=variables.whole("CALL_LATEST_MINUTES", 30, least=1, most=180),
            countries=variables.countries("CALL_COUNTRIES"),
            numbers_allowed=variables.prefixes("CALL_NUMBERS_ALLOWED"),
            minutes=variables.by_plan("CALL_MINUTES", "minutes"),
            calls_a_day=variables.whole("CALL_DAILY_LIMIT", 2000, least=0, most=10_000_000),
        ),
        expo=ExpoSettings(
            access_token=variables.optional("EXPO_ACCESS_TOKEN"),
            base_url=variables.url("EXPO_BASE_URL", "https://exp.host", ""),
        ),
        studio=StudioSettings(
            featured_share_id=variables.optional("FEATURED_SHARE_ID"),
            upgrade_links=variables.links("UPGRADE_LINKS"),
        ),
        media_storage=variables.by_plan("MEDIA_STORAGE", "MiB"),
        limits=LimitsSettings(
            enabled=variables.flag("DAYSONG_TEST_LIMITS") or not variables.flag("DAYSONG_TEST"),
            rates=variables.rates(declarations.OUTBOUND | declarations.INBOUND),
            sockets_at_once=variables.whole("LIMIT_SOCKETS_AT_ONCE", declarations.SOCKETS_AT_ONCE, least=1, most=10**6),
            metrics_from=variables.networks("METRICS_FROM", "" if production else "127.0.0.0/8,::1"),
        ),
        costs=variables.costs(),
        sentry_dsn=_dsn(variables),
        parts=cast("tuple[Part, ...]", variables.choices("MODULES", PARTS)),
    )
    if not settings.offers("billing"):
        # Purchases are neither read nor believed; those of before count until they end.
        settings = msgspec.structs.replace(
            settings, revenuecat=msgspec.structs.replace(settings.revenuecat, api_key=None)
        )
    if settings.test_functions is not None and not settings.test_mode:
        variables.problems.append(Problem("DAYSONG_TEST_FUNCTIONS", "needs test mode: set DAYSONG_TEST=1"))
    _check_redirects(settings, variables.problems)
    if production:
        _check_production(settings, variables.problems)
    return settings


def _dsn(variables: Environment) -> str | None:
    dsn = variables.optional("SENTRY_DSN")
    if dsn is not None:
        try:
            target_of(dsn)
        except ValueError:
            variables.problems.append(Problem("SENTRY_DSN", "must be https://KEY@HOST/PROJECT"))
            return None
    return dsn


def _accel(variables: Environment) -> str | None:
    path = variables.optional("MEDIA_ACCEL")
    if path is None:
        return None
    if not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path):
        variables.problems.append(Problem("MEDIA_ACCEL", "must be a path such as /stored"))
    if "://" in (variables.optional("STORAGE_URL") or ""):
        variables.problems.append(Problem("MEDIA_ACCEL", "needs files in a folder, not in a bucket"))
    return path


def _check_redirects(settings: Settings, problems: list[Problem]) -> None:
    if settings.media_redirect and not settings.storage_url.startswith(("s3://", "s3a://")):
        problems.append(Problem("MEDIA_REDIRECT", "needs files in a bucket: STORAGE_URL=s3://…"))
    if (endpoint := settings.media_redirect_endpoint) is not None:
        if not settings.media_redirect:
            problems.append(Problem("MEDIA_REDIRECT_ENDPOINT", "is of no use without MEDIA_REDIRECT"))
        elif settings.production and not endpoint.startswith("https://"):
            problems.append(Problem("MEDIA_REDIRECT_ENDPOINT", "must be https in production"))


def _check_production(settings: Settings, problems: list[Problem]) -> None:
    if settings.database_url is None:
        problems.append(Problem("DATABASE_URL", "missing: production needs a PostgreSQL of its own"))
    if settings.test_mode:
        problems.append(Problem("DAYSONG_TEST", "must be off in production"))
    if settings.test_functions is not None:
        problems.append(Problem("DAYSONG_TEST_FUNCTIONS", "must not be set in production"))
    for name, secret in (
        ("DAYSONG_ADMIN_KEY", settings.admin_key),
        ("DAYSONG_HASH_KEY", settings.hash_key),
        *(("DAYSONG_ADMIN_KEY_OLD", key) for key in settings.admin_keys_old),
    ):
        if secret and len(secret) < MIN_SECRET:
            problems.append(Problem(name, f"must have at least {MIN_SECRET} characters"))
    needed: tuple[tuple[Part | None, str, str | None, str], ...] = (
        (None, "CLERK_SECRET_KEY", settings.clerk.secret_key, "deletes users at Clerk with their accounts"),
        (None, "CLERK_WEBHOOK_SIGNING_SECRET", settings.clerk.webhook_signing_secret, "verifies Clerk's webhooks"),
        ("billing", "REVENUECAT_API_KEY", settings.revenuecat.api_key, "reads purchases"),
        ("billing", "REVENUECAT_PROJECT_ID", settings.revenuecat.project_id, "the project at RevenueCat"),
        ("billing", "REVENUECAT_WEBHOOK_SECRET", settings.revenuecat.webhook_secret, "verifies RevenueCat's webhooks"),
        ("phone", "VAPI_API_KEY", settings.vapi.api_key, "makes phone calls"),
        ("phone", "VAPI_PHONE_NUMBER_ID", settings.vapi.phone_number_id, "the number that calls are made from"),
        ("phone", "VAPI_WEBHOOK_SECRET", settings.vapi.webhook_secret, "verifies VAPI's webhooks"),
        ("phone", "VAPI_CREDENTIAL_ID", settings.vapi.credential_id, "makes VAPI send the secret with webhooks"),
    )
    for part, name, value, what in needed:
        if value is None and settings.offers(part):
            switched = f"; or switch the part {part} off by MODULES" if part else ""
            problems.append(Problem(name, f"missing: {what}{switched}"))
    for name, url in (("SITE_URL", settings.site_url), ("SHARE_BASE_URL", settings.share_base_url)):
        if url and not url.startswith("https://"):
            problems.append(Problem(name, "must be https in production"))


def load(environ: Mapping[str, str], defaults: Mapping[str, str] | None = None) -> Settings:
    """Return the settings. Errors: SettingsError, which lists all problems."""
    settings, problems = read(environ, defaults)
    if problems:
        raise SettingsError(problems)
    return settings
