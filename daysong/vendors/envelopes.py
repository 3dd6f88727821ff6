"""Answers of Kie and Suno: an envelope {code, msg, data}. Errors come with HTTP 200, and the code decides.

The HTTP status counts only where there is no envelope, such as in a proxy's answer. Neither vendor has idempotency
keys: a repeated order is made, and charged, a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.time.clock import Clock
from daysong.vendors.alarms import alarm
from daysong.vendors.http import VendorClient, retry_after

OK = 200
# Seconds without requests after "too many requests": both vendors ask for at least as many.
TOO_MANY_PAUSE = 10.0

_FIRST_SERVER_ERROR = 500
_LONGEST = 9  # digits; no code or credit balance is longer

_log = logs.get_logger("vendors")


class Rule(msgspec.Struct, frozen=True):
    """How an error code is handled.

    ambiguous   the request may have been accepted
    alarm       an operator must act (key, credits)
    deferred    a rate limit: the job waits, which uses up no attempt
    """

    permanent: bool
    retry_after: float | None = None
    ambiguous: bool = False
    alarm: bool = False
    deferred: bool = False


class Envelopes:
    """Requests to one vendor whose answers are envelopes.

    rules   how each error code is handled; others by whether they are below 500
    reason  returns the sentence shown to the user for an error code
    code    returns the code to handle for an error's code, HTTP status and envelope
    """

    def __init__(
        self,
        vendor: str,
        http: VendorClient,
        clock: Clock,
        rules: Mapping[int, Rule],
        *,
        reason: Callable[[int | None], str],
        code: Callable[[int, int, dict[str, Any]], int] = lambda code, _status, _envelope: code,
    ) -> None:
        self._vendor = vendor
        self._http = http
        self._clock = clock
        self._rules = rules
        self._reason = reason
        self._code = code

    async def request(self, method: Literal["GET", "POST"], path: str, *, changes: bool = False, **request: Any) -> Any:
        """Return the `data` of an answer with code 200. VendorError, ambiguous only if the request has effects.

        Errors: Deferred for too many requests.
        """
        try:
            return await self._data(await self._http.request(method, path, **request))
        except VendorError as error:
            error.ambiguous = error.ambiguous and changes
            raise

    async def order(self, path: str, content: Any) -> str:
        """Send an order; return its task's id. After an ambiguous VendorError it may have been accepted."""
        data = await self.request("POST", path, changes=True, json=content)
        task_id = data.get("taskId") if isinstance(data, dict) else None
        if not isinstance(task_id, str) or not task_id:
            raise self._unreadable("no taskId", ambiguous=True)
        return task_id

    async def record(self, path: str, task_id: str) -> Any:
        """Return the record of a task; None for an id that the vendor does not know."""
        try:
            return await self.request("GET", path, params={"taskId": task_id})
        except VendorError as error:
            # The answer for an unknown id is 422 "recordInfo is null".
            if error.code != f"{self._vendor}_422":
                raise
            return None

    async def credits(self, path: str) -> int:
        """Return the remaining credits."""
        left = whole_number(await self.request("GET", path))
        if left is None:
            raise self._unreadable("credits are not a number")
        return left

    async def _data(self, answer: httpx2.Response) -> Any:
        status, wait = answer.status_code, retry_after(answer.headers, self._clock.now())
        try:
            envelope = msgspec.json.decode(answer.content)
            code = whole_number(envelope.get("code")) if isinstance(envelope, dict) else None
        except (msgspec.DecodeError, RecursionError):
            code = None
        if code is None:
            raise self._without_envelope(status, wait)
        if code == OK and status < httpx2.codes.BAD_REQUEST:
            return envelope.get("data")
        raise await self._refused(self._code(code if code != OK else status, status, envelope), wait)

    async def _refused(self, code: int, wait: float | None) -> VendorError:
        name = f"{self._vendor}_{code}"
        is_theirs = code >= _FIRST_SERVER_ERROR
        rule = self._rules.get(code) or Rule(permanent=not is_theirs, ambiguous=is_theirs)
        if rule.alarm:
            alarm(_log, self._vendor, name)
        pause = rule.retry_after if wait is None else max(wait, rule.retry_after or 0.0)
        if rule.deferred:
            pause = pause or TOO_MANY_PAUSE
            await self._http.hold(pause)
            return Deferred(self._vendor, pause, "too many requests", code=name)
        return VendorError(
            self._vendor,
            f"code {code}",
            permanent=rule.permanent,
            retry_after=pause,
            ambiguous=rule.ambiguous,
            code=name,
            reason=self._reason(code),
        )

    def _without_envelope(self, status: int, wait: float | None) -> VendorError:
        if status in {401, 403, 404}:
            alarm(_log, self._vendor, f"http_{status}")
        refused = httpx2.codes.BAD_REQUEST <= status < _FIRST_SERVER_ERROR
        return VendorError(
            self._vendor,
            f"unreadable answer with HTTP {status}",
            permanent=refused and status not in {408, 425, 429},
            retry_after=wait,
            ambiguous=not refused or status == httpx2.codes.REQUEST_TIMEOUT,
            code="unreadable_answer",
        )

    def _unreadable(self, message: str, *, ambiguous: bool = False) -> VendorError:
        return VendorError(self._vendor, message, permanent=False, ambiguous=ambiguous, code="unreadable_answer")


def whole_number(value: Any) -> int | None:
    """Return `value` as an int if it is whole, also when given as text or as a float; None otherwise."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _LONGEST else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**_LONGEST:
        return None
    return int(value) if value == int(value) else None
