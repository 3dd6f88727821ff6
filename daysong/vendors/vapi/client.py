"""VAPI's client: phone calls.

There is no idempotency key: a repeated request rings twice. So nothing is retried here; a request whose answer was lost
raises an ambiguous error, and `find` looks up its call by job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import VapiSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.http import client, retry_after
from daysong.vendors.vapi.reports import Call, call_of

TIMEOUT = 20.0
PAGE = 100
MAX_PAGES = 10
# VAPI's clock may be this far behind ours.
CLOCKS_APART = timedelta(minutes=5)
# Seconds; VAPI does not say when a line will be free.
LINES_BUSY_PAUSE = 30.0

NOT_CONFIGURED = "not_configured"
NUMBER_REFUSED = "number_refused"
LINES_BUSY = "lines_busy"

NUMBER_REASON = "This phone number cannot be called. Please check it in your settings."
BUSY_REASON = "All our phone lines are in use at the moment."
CALL_REASON = "The call could not be made this time."

# An operator must act: key, balance, permissions, line.
_ALARMS = frozenset({401, 402, 403, 404})
_RETRYABLE = frozenset({425, 429})
_FIRST_SERVER_ERROR = 500
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
# Field names in an error message; the rest of the message may quote their values.
_FIELD = re.compile(r"\b(?:assistant|customer|phoneNumberId)(?:\.\w+)*(?: \w+ should not exist)?")
_NUMBER_ERROR = re.compile(r"customer\.number|e\.164|valid phone number", re.IGNORECASE)

_log = logs.get_logger("vapi")


class Telephone(Protocol):
    """Places phone calls."""

    @property
    def configured(self) -> bool: ...

    @property
    def is_available(self) -> bool: ...

    async def call(self, *, number: str, assistant: Mapping[str, Any], job_id: str) -> str: ...

    async def get(self, call_id: str) -> Call | None: ...

    async def find(self, job_id: str, *, since: datetime) -> Call | None: ...

    async def delete(self, call_id: str) -> None: ...

    async def line_number(self) -> str | None: ...


class Vapi:
    """VAPI, or its sandbox."""

    def __init__(
        self,
        settings: VapiSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
        line: Line | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._key = settings.api_key
        self._line = settings.phone_number_id
        self._line_number: str | None = None
        self._http = client(
            "vapi",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
            breaker=breaker,
        )

    @property
    def configured(self) -> bool:
        """Whether an API key and a phone line are set."""
        return self._key is not None and self._line is not None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def is_available(self) -> bool:
        """Whether a request would be sent now; False while VAPI has not answered lately."""
        return self._http.is_available

    async def call(self, *, number: str, assistant: Mapping[str, Any], job_id: str) -> str:
        """Call a number (E.164) with `assistant`; return the call's id, before it is answered.

        `job_id` comes back with every message about the call. After a VendorError that is not ambiguous, no call was
        placed; after an ambiguous one, `find` looks it up.
        """
        if self._line is None:
            raise _not_configured("VAPI_PHONE_NUMBER_ID")
        answer = await self._send(
            "POST",
            "/call",
            json={
                "assistant": dict(assistant),
                "phoneNumberId": self._line,
                "customer": {"number": number, "numberE164CheckEnabled": True, "externalId": job_id},
            },
        )
        found = _decoded(answer)
        if not answer.is_success:
            raise self._error(answer, found, is_order=True)
        if (placed := _placed_call(found)) is not None:
            if _is_blocked(found):
                raise _no_free_line(None)
            return placed.id
        if isinstance(found, dict) and found.get("results") == [] and (message := _first_error(found.get("errors"))):
            raise self._bad_request(message, status=answer.status_code, wait=None)
        raise VendorError("vapi", "unreadable answer", permanent=False, ambiguous=True, code="unreadable_answer")

    async def get(self, call_id: str) -> Call | None:
        """Return a call; None when VAPI does not have it, or has deleted it."""
        if not _CALL_ID.fullmatch(call_id):
            return None
        answer = await self._send("GET", f"/call/{call_id}")
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return None
        found = self._read(answer)
        call = call_of(found)
        if call is None or call.id != call_id:
            raise _unreadable()
        return call

    async def find(self, job_id: str, *, since: datetime) -> Call | None:
        """Return the call requested for a job at `since` or later; None if there is certainly none.

        VAPI lists a call as soon as the request is accepted.
        """
        window = {"createdAtGe": _iso(since - CLOCKS_APART), "limit": str(PAGE)}
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page = self._read(await self._send("GET", "/call", params=window))
            if not isinstance(page, list):
                raise _unreadable()
            calls = [call for entry in page if (call := call_of(entry)) is not None]
            for call in calls:
                if call.job_id == job_id:
                    return call
            if len(page) < PAGE:
                return None
            times = [call.created_at for call in calls if call.created_at is not None]
            fresh = {call.id for call in calls} - seen
            if not fresh or not times:
                break
            seen |= fresh
            # The next page includes the last time of this one, which several calls may share. Newest come first.
            name, last = ("createdAtLe", min(times)) if times[0] >= times[-1] else ("createdAtGe", max(times))
            window[name] = _iso(last)
        raise VendorError("vapi", "too many calls to search", permanent=False, code="too_many_calls")

    async def delete(self, call_id: str) -> None:
        """Delete a call with its transcript; an unknown one is no error."""
        if not _CALL_ID.fullmatch(call_id):
            return
        answer = await self._send("DELETE", f"/call/{call_id}")
        if not answer.is_success and answer.status_code != httpx2.codes.NOT_FOUND:
            raise self._error(answer, _decoded(answer), is_order=False)

    async def line_number(self) -> str | None:
        """Return the number (E.164) of the line for outgoing calls; None when it has none. Fetched once."""
        if self._line is None:
            raise _not_configured("VAPI_PHONE_NUMBER_ID")
        if self._line_number is None:
            found = self._read(await self._send("GET", f"/phone-number/{quote(self._line, safe='')}"))
            number = found.get("number") if isinstance(found, dict) else None
            self._line_number = number if isinstance(number, str) else None
        return self._line_number

    async def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        if self._key is None:
            raise _not_configured("VAPI_API_KEY")
        try:
            return await self._http.request(method, path, **request)
        except VendorError as error:
            # Only the request for a call is not idempotent.
            error.ambiguous = error.ambiguous and method == "POST"
            error.reason = CALL_REASON
            raise

    def _read(self, answer: httpx2.Response) -> Any:
        found = _decoded(answer)
        if not answer.is_success:
            raise self._error(answer, found, is_order=False)
        if found is None:
            raise _unreadable()
        return found

    def _error(self, answer: httpx2.Response, found: Any, *, is_order: bool) -> VendorError:
        """Return the error for an unsuccessful answer; `is_order` for the request of a call."""
        status = answer.status_code
        wait = retry_after(answer.headers, self._clock.now())
        message = _text(found.get("message")) if isinstance(found, dict) else ""
        if status == httpx2.codes.BAD_REQUEST and is_order:
            return self._bad_request(message, status=status, wait=wait)
        if status in _ALARMS:
            _log.error("VAPI needs attention", status=status, fields=_FIELD.findall(message))
        refused = httpx2.codes.BAD_REQUEST <= status < _FIRST_SERVER_ERROR
        timed_out = status == httpx2.codes.REQUEST_TIMEOUT
        return VendorError(
            "vapi",
            f"answered {status}",
            permanent=refused and not timed_out and status not in _RETRYABLE,
            retry_after=wait,
            ambiguous=is_order and (timed_out or not refused),
            code=f"http_{status}",
            reason=BUSY_REASON if status == httpx2.codes.TOO_MANY_REQUESTS else CALL_REASON,
        )

    def _bad_request(self, message: str, *, status: int, wait: float | None) -> VendorError:
        """Return the error for a rejected call: no free line, an invalid number, or a faulty request."""
        if "concurren" in message.lower():
            return _no_free_line(wait)
        if _NUMBER_ERROR.search(message):
            return VendorError("vapi", "number refused", permanent=True, code=NUMBER_REFUSED, reason=NUMBER_REASON)
        _log.error("VAPI rejected a request", status=status, fields=_FIELD.findall(message))
        return VendorError("vapi", f"answered {status}", permanent=True, code=f"http_{status}", reason=CALL_REASON)


def _placed_call(found: Any) -> Call | None:
    """Return the placed call: the answer itself, or the first of `results`."""
    results = found.get("results") if isinstance(found, dict) else None
    if isinstance(results, list):
        return next((call for entry in results if (call := call_of(entry)) is not None), None)
    return call_of(found)


def _is_blocked(found: Any) -> bool:
    """Return whether an accepted call was dropped: above the account's limit, VAPI answers with success too."""
    limits = found.get("subscriptionLimits") if isinstance(found, dict) else None
    return isinstance(limits, dict) and limits.get("concurrencyBlocked") is True


def _no_free_line(wait: float | None) -> VendorError:
    return VendorError(
        "vapi",
        "no free line",
        permanent=False,
        retry_after=max(wait or 0.0, LINES_BUSY_PAUSE),
        code=LINES_BUSY,
        reason=BUSY_REASON,
    )


def _first_error(errors: Any) -> str:
    """Return the first error about a customer who could not be called; empty when there is none."""
    if not isinstance(errors, list) or not errors:
        return ""
    messages = (_text(entry.get("error")) for entry in errors if isinstance(entry, dict))
    return next(filter(None, messages), "unknown")


def _text(value: Any) -> str:
    """Return an error message, which is a string or a list of strings."""
    if isinstance(value, list):
        return " ".join(entry for entry in value if isinstance(entry, str))
    return value if isinstance(value, str) else ""


def _decoded(answer: httpx2.Response) -> Any:
    try:
        return msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _not_configured(name: str) -> VendorError:
    return VendorError("vapi", f"{name} is not set", permanent=True, code=NOT_CONFIGURED, reason=CALL_REASON)


def _unreadable() -> VendorError:
    return VendorError("vapi", "unreadable answer", permanent=False, code="unreadable_answer", reason=CALL_REASON)
