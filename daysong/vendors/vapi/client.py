"""VAPI: the phone calls.

There is no idempotency key: an order that is repeated rings twice. So nothing is ever repeated here, an order whose
answer was lost is reported as ambiguous, and `find` looks a call up by the job it was ordered for.
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
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import VapiSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.http import client, retry_after
from daysong.vendors.vapi.reports import Call, call_of

TIMEOUT = 20.0
PAGE = 100
MAX_PAGES = 10
# How far its clock may be behind ours.
CLOCKS_APART = timedelta(minutes=5)
# In seconds; it says that a call has to end first, not when.
LINES_BUSY_PAUSE = 30.0

NOT_CONFIGURED = "not_configured"
NUMBER_REFUSED = "number_refused"
LINES_BUSY = "lines_busy"

NUMBER_REASON = "This phone number cannot be called. Please check it in your settings."
BUSY_REASON = "Too many people are on the phone with us just now."
CALL_REASON = "The call could not be made this time."

# People have to do something: the key, the balance, the rights, the line.
_ALARMS = frozenset({401, 402, 403, 404})
_NOTHING_DONE = frozenset({425, 429})
_FIRST_SERVER_ERROR = 500
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
# Names of fields in a complaint about a request; the rest of it may repeat what was in them.
_FIELD = re.compile(r"\b(?:assistant|customer|phoneNumberId)(?:\.\w+)*(?: \w+ should not exist)?")
_NUMBERS_FAULT = re.compile(r"customer\.number|e\.164|valid phone number", re.IGNORECASE)

_log = logs.get_logger("vapi")


class Telephone(Protocol):
    """Places phone calls."""

    @property
    def configured(self) -> bool: ...

    async def call(self, *, number: str, assistant: Mapping[str, Any], job_id: str) -> str: ...

    async def get(self, call_id: str) -> Call | None: ...

    async def find(self, job_id: str, *, since: datetime) -> Call | None: ...

    async def delete(self, call_id: str) -> None: ...

    async def line_number(self) -> str | None: ...


class Vapi:
    """The real VAPI, or the sandbox that speaks like it."""

    def __init__(
        self,
        settings: VapiSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
        line: Line | None = None,
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
        )

    @property
    def configured(self) -> bool:
        """Whether there is a key to ask with, and a line to call from."""
        return self._key is not None and self._line is not None

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def call(self, *, number: str, assistant: Mapping[str, Any], job_id: str) -> str:
        """Ring a number (E.164) up and let `assistant` talk; the call's id, before anybody has answered.

        `job_id` comes back with every message about the call. A VendorError that is not ambiguous means that
        no call was placed; after an ambiguous one, `find` tells.
        """
        if self._line is None:
            raise _not_configured("VAPI_PHONE_NUMBER_ID")
        answer = await self._sent(
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
            raise self._refused(answer, found, ordered=True)
        if (made := _made(found)) is not None:
            if _is_blocked(found):
                raise _no_free_line(None)
            return made.id
        if isinstance(found, dict) and found.get("results") == [] and (complaint := _complaint(found.get("errors"))):
            raise self._complained(complaint, status=answer.status_code, wait=None)
        raise VendorError("vapi", "unreadable answer", permanent=False, ambiguous=True, code="unreadable_answer")

    async def get(self, call_id: str) -> Call | None:
        """A call as it stands now; None when VAPI knows none of that id (any more)."""
        if not _CALL_ID.fullmatch(call_id):
            return None
        answer = await self._sent("GET", f"/call/{call_id}")
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return None
        found = self._read(answer)
        call = call_of(found)
        if call is None or call.id != call_id:
            raise _unreadable()
        return call

    async def find(self, job_id: str, *, since: datetime) -> Call | None:
        """The call that was ordered for a job at `since` or later; None only if there is surely none.

        It is in VAPI's list as soon as it was taken, so that a lost answer can be made up for.
        """
        window = {"createdAtGe": _iso(since - CLOCKS_APART), "limit": str(PAGE)}
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            page = self._read(await self._sent("GET", "/call", params=window))
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
            # From the page's last moment on, and with it, since several calls may have begun in it. Newest come first.
            name, last = ("createdAtLe", min(times)) if times[0] >= times[-1] else ("createdAtGe", max(times))
            window[name] = _iso(last)
        raise VendorError("vapi", "too many calls to look through", permanent=False, code="too_many_calls")

    async def delete(self, call_id: str) -> None:
        """Have VAPI forget a call with all that was said in it; one it does not know is no error."""
        if not _CALL_ID.fullmatch(call_id):
            return
        answer = await self._sent("DELETE", f"/call/{call_id}")
        if not answer.is_success and answer.status_code != httpx2.codes.NOT_FOUND:
            raise self._refused(answer, _decoded(answer), ordered=False)

    async def line_number(self) -> str | None:
        """The number (E.164) of the line that calls go out from; None when it has none. It is asked for once."""
        if self._line is None:
            raise _not_configured("VAPI_PHONE_NUMBER_ID")
        if self._line_number is None:
            found = self._read(await self._sent("GET", f"/phone-number/{quote(self._line, safe='')}"))
            number = found.get("number") if isinstance(found, dict) else None
            self._line_number = number if isinstance(number, str) else None
        return self._line_number

    async def _sent(self, method: str, path: str, **request: Any) -> httpx2.Response:
        if self._key is None:
            raise _not_configured("VAPI_API_KEY")
        try:
            return await self._http.request(method, path, **request)
        except VendorError as error:
            # Nothing but an order is worse for being done twice.
            error.ambiguous = error.ambiguous and method == "POST"
            error.reason = CALL_REASON
            raise

    def _read(self, answer: httpx2.Response) -> Any:
        found = _decoded(answer)
        if not answer.is_success:
            raise self._refused(answer, found, ordered=False)
        if found is None:
            raise _unreadable()
        return found

    def _refused(self, answer: httpx2.Response, found: Any, *, ordered: bool) -> VendorError:
        """What an answer that is no success means; `ordered` when a call was asked for."""
        status = answer.status_code
        wait = retry_after(answer.headers, self._clock.now())
        complaint = _text(found.get("message")) if isinstance(found, dict) else ""
        if status == httpx2.codes.BAD_REQUEST and ordered:
            return self._complained(complaint, status=status, wait=wait)
        if status in _ALARMS:
            _log.error("VAPI needs attention", status=status, fields=_FIELD.findall(complaint))
        refused = httpx2.codes.BAD_REQUEST <= status < _FIRST_SERVER_ERROR
        timed_out = status == httpx2.codes.REQUEST_TIMEOUT
        return VendorError(
            "vapi",
            f"answered {status}",
            permanent=refused and not timed_out and status not in _NOTHING_DONE,
            retry_after=wait,
            ambiguous=ordered and (timed_out or not refused),
            code=f"http_{status}",
            reason=BUSY_REASON if status == httpx2.codes.TOO_MANY_REQUESTS else CALL_REASON,
        )

    def _complained(self, complaint: str, *, status: int, wait: float | None) -> VendorError:
        """A refused order: no free line, a number that cannot be called, or a request that we got wrong."""
        if "concurren" in complaint.lower():
            return _no_free_line(wait)
        if _NUMBERS_FAULT.search(complaint):
            return VendorError("vapi", "number refused", permanent=True, code=NUMBER_REFUSED, reason=NUMBER_REASON)
        _log.error("VAPI refused a request of ours", status=status, fields=_FIELD.findall(complaint))
        return VendorError("vapi", f"answered {status}", permanent=True, code=f"http_{status}", reason=CALL_REASON)


def _made(found: Any) -> Call | None:
    """The call an order was answered with: itself, or the first of `results`."""
    results = found.get("results") if isinstance(found, dict) else None
    if isinstance(results, list):
        return next((call for entry in results if (call := call_of(entry)) is not None), None)
    return call_of(found)


def _is_blocked(found: Any) -> bool:
    """Whether an order was taken only to be dropped: over the account's limit, VAPI answers as if all were well."""
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


def _complaint(errors: Any) -> str:
    """What is said of the customers who could not be called; empty when there are none."""
    if not isinstance(errors, list) or not errors:
        return ""
    told = (_text(entry.get("error")) for entry in errors if isinstance(entry, dict))
    return next(filter(None, told), "unknown")


def _text(value: Any) -> str:
    """A complaint, which is one text or a list of them."""
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
