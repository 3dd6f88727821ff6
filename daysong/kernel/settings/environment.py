"""Reads settings from environment variables, and collects all problems instead of stopping at the first."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from daysong.kernel.errors import DaysongError
from daysong.kernel.limits import rates
from daysong.kernel.limits.prices import ALL, VENDORS, Costs
from daysong.kernel.limits.rates import Rate
from daysong.kernel.settings.groups import RETENTION_DAYS, TIERS

YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"", "0", "false", "no", "off"})
MOST_DAYS = 36_500


class Problem(msgspec.Struct, frozen=True):
    """A setting that is missing or invalid, and why."""

    name: str
    what: str


class SettingsError(DaysongError):
    """The process cannot start: the message lists every missing or invalid setting."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{problem.name}: {problem.what}" for problem in problems))
        self.problems = problems


class Environment:
    """Environment variables, read by name and type. `problems` collects missing and invalid ones, `known` all names."""

    def __init__(self, environ: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        self._environ = environ
        self._defaults = defaults
        self.problems: list[Problem] = []
        self.known: set[str] = set()

    def optional(self, name: str) -> str | None:
        """Return the value of `name`, the content of the file `NAME_FILE`, or the default; None without any."""
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
        """Return a comma-separated selection of `known`: all without a value, none for `none`."""
        value = self.optional(name)
        if value is None:
            return known
        chosen = tuple(word.strip() for word in value.split(",") if word.strip() and word.strip() != "none")
        if unknown := [word for word in chosen if word not in known]:
            self.problems.append(Problem(name, f"has no choice {unknown[0]!r}; use {', '.join(known)}"))
        return chosen

    def required(self, name: str, what: str) -> str:
        """Return the value of `name`; without one, report a problem and return an empty string."""
        value = self.optional(name)
        if value is None:
            self._missing(name, what)
        return value or ""

    def _missing(self, name: str, what: str) -> None:
        if not any(problem.name == f"{name}_FILE" for problem in self.problems):
            self.problems.append(Problem(name, f"missing: {what}"))

    def url(self, name: str, default: str | None, what: str) -> str:
        """Return an http(s) URL without a trailing slash."""
        value = self.optional(name)
        if value is None and default is None:
            self._missing(name, what)
        if value is not None and not _is_web_address(value):
            self.problems.append(Problem(name, "must start with https:// or http://"))
        return (value or default or "").rstrip("/")

    def earlier(self, name: str) -> tuple[str, ...]:
        """Return other values of a secret that are valid as well, from `NAME_OLD`: a line for each, or by commas."""
        text = self.optional(f"{name}_OLD")
        if text is None:
            return ()
        if self.optional(name) is None:
            self.problems.append(Problem(f"{name}_OLD", f"is of no use without {name}"))
        found = [part.strip() for part in (text.splitlines() if "\n" in text else text.split(","))]
        return tuple(dict.fromkeys(part for part in found if part and part != self.optional(name)))

    def earlier_signing_secrets(self, name: str) -> tuple[str, ...]:
        """Return other Svix signing secrets that are valid as well."""
        found = self.earlier(name)
        for value in found:
            self._check_signing_secret(f"{name}_OLD", value)
        return found

    def signing_secret(self, name: str) -> str | None:
        """Return a Svix signing secret: base64, optionally after `whsec_`."""
        value = self.optional(name)
        self._check_signing_secret(name, value)
        return value

    def _check_signing_secret(self, name: str, value: str | None) -> None:
        if value is not None:
            encoded = value.removeprefix("whsec_").rstrip("=")
            try:
                key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if not key:
                self.problems.append(Problem(name, "must be the endpoint's signing secret, whsec_…"))

    def products(self, name: str) -> dict[str, Any]:
        """Return plans by product, from comma-separated `product=plan`."""
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
        """Return a folder of compiled time zones."""
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
        """Return ISO country codes, or `*` for all; None when not set."""
        found = tuple(entry.upper() for entry in self._listed(name))
        if not all(re.fullmatch(r"[A-Z]{2}|\*", entry) for entry in found):
            self.problems.append(Problem(name, "must be two-letter country codes, such as US,CA, or *"))
        return found or None

    def by_plan(self, name: str, unit: str) -> dict[Any, int]:
        """Return whole numbers by plan, such as minutes, from comma-separated `plan=minutes`."""
        found: dict[Any, int] = {}
        for entry in self._listed(name):
            tier, _, text = (part.strip() for part in entry.partition("="))
            if tier not in TIERS or not re.fullmatch(r"[0-9]{1,8}", text):
                self.problems.append(Problem(name, f"must be plan={unit},…, a plan being one of {', '.join(TIERS)}"))
                break
            found[tier] = int(text)
        return found

    def links(self, name: str) -> dict[Any, str]:
        """Return https addresses by plan, from comma-separated `plan=address`."""
        found: dict[Any, str] = {}
        for entry in self._listed(name):
            tier, _, address = (part.strip() for part in entry.partition("="))
            if tier not in TIERS or not (_is_web_address(address) and address.startswith("https://")):
                self.problems.append(Problem(name, f"must be plan=https://…,…, a plan being one of {', '.join(TIERS)}"))
                break
            found[tier] = address
        return found

    def hosts(self, name: str) -> tuple[str, ...]:
        """Return comma-separated host names."""
        return tuple(filter(None, (part.strip() for part in (self.optional(name) or "").split(","))))

    def prefixes(self, name: str) -> tuple[str, ...]:
        """Return prefixes of phone numbers, each with a plus and a country code."""
        found = self._listed(name)
        if not all(re.fullmatch(r"\+[1-9][0-9]{1,14}", entry) for entry in found):
            self.problems.append(Problem(name, "must be prefixes of phone numbers, such as +1983"))
            return ()
        return found

    def retention(self, name: str) -> dict[str, int]:
        """Return days of retention by kind of row: the defaults, overridden by comma-separated `rows=days`."""
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
        """Return a whole number within bounds."""
        text = self.optional(name) or str(default)
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            self.problems.append(Problem(name, f"must be a whole number from {least} to {most}"))
            return default
        return int(text)

    def rates(self, declared: Mapping[str, Rate]) -> dict[str, Rate]:
        """Return the declared rates, with those that `LIMIT_<NAME>` overrides or turns off."""
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
        """Return the price table (`COST_…` in micro-dollars) and daily caps (`LIMIT_COST_…` in dollars, or off)."""
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
                self.problems.append(Problem(setting, "must be dollars per day, such as 12.50, or off"))
            elif cap is not None:
                caps[name] = cap
        minutes = self.whole("VAPI_MAX_CALL_MINUTES", 10, least=1, most=60)
        return Costs(**prices, call_minutes=minutes, caps=caps)

    def networks(self, name: str, default: str) -> tuple[str, ...]:
        """Return networks in CIDR notation or single addresses, comma-separated."""
        found = tuple(filter(None, (part.strip() for part in (self.optional(name) or default).split(","))))
        for text in found:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                self.problems.append(Problem(name, "must be comma-separated networks, such as 10.0.0.0/8"))
                return ()
        return found

    def flag(self, name: str) -> bool:
        """Return a boolean."""
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
