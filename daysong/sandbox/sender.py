"""Webhook delivery as vendors do it: signed anew for each attempt, retried until accepted."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, Protocol, TypeVar

import httpx2

from daysong.kernel.errors import VendorError

RETRY_PAUSE = 0.5


class Sent(Protocol):
    """A webhook; `status` is the response to the last attempt, None without one."""

    status: int | None


M = TypeVar("M", bound=Sent)


class Sender(ABC, Generic[M]):
    """Delivers webhooks to an address: immediately when `live`, otherwise when `settle` is called.

    tries     attempts in all
    deadline  seconds the address has to answer

    A vendor whose webhooks each carry their own address and retry plan overrides `_url_of`, `_tries_of`,
    `_deadline_of`.
    """

    tries: ClassVar[int]
    deadline: ClassVar[float]

    def __init__(self, http: httpx2.AsyncClient, url: str, *, live: bool) -> None:
        self._http = http
        self._url = url
        self._live = live
        self.messages: list[M] = []
        self._outstanding: list[M] = []
        self._sending: set[asyncio.Task[None]] = set()

    @abstractmethod
    def _signed(self, message: M) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of a webhook, as of now."""

    @abstractmethod
    def _deliveries(self, outstanding: list[M]) -> list[M]:
        """Return what is delivered for `outstanding`: with faults, twice or in another order."""

    @abstractmethod
    def _is_taken(self, status: int) -> bool:
        """Return whether the vendor accepts a response of that status."""

    def _url_of(self, message: M) -> str:  # noqa: ARG002
        return self._url

    def _tries_of(self, message: M) -> int:  # noqa: ARG002
        return self.tries

    def _deadline_of(self, message: M) -> float:  # noqa: ARG002
        return self.deadline

    def _gives_up(self, message: M) -> bool:  # noqa: ARG002
        """Return whether a webhook that was not accepted is not retried."""
        return False

    def _enqueue(self, message: M) -> None:
        if not self._live:
            self._outstanding.append(message)
            return
        for each in self._deliveries([message]):
            sending = asyncio.create_task(self._deliver(each))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def settle(self) -> None:
        """Deliver what is outstanding."""
        outstanding, self._outstanding = self._outstanding, []
        for message in self._deliveries(outstanding):
            await self._deliver(message)
        await asyncio.gather(*self._sending)

    async def close(self) -> None:
        """Stop sending."""
        for sending in list(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _deliver(self, message: M) -> None:
        for attempt in range(self._tries_of(message)):
            if attempt and self._live:
                await asyncio.sleep(RETRY_PAUSE)
            content, headers = self._signed(message)
            try:
                async with asyncio.timeout(self._deadline_of(message)):
                    answer = await self._http.post(self._url_of(message), content=content, headers=headers)
                message.status = answer.status_code
            except (httpx2.RequestError, httpx2.InvalidURL, VendorError, TimeoutError):
                message.status = None
            if message.status is not None and (self._is_taken(message.status) or self._gives_up(message)):
                return
