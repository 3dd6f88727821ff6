"""The people of a cluster: each writes entries over HTTP and over a live socket, and asks for songs now and then.

What was answered, and when, is kept: `Observations`. A call that got no answer, or one that leaves it open, may have
been carried out or not; it is not repeated, except on a socket, where the session's request is sent again as the
official clients do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from rehearsal.sync_socket import Message, SocketClosed, SyncSocket

WAITS = 15.0  # seconds for an answer
LONGEST_BACKOFF = 16.0  # as the official client has it
FIRST_BACKOFF = 1.0
ASKS_AGAIN = 20.0  # seconds until a silent socket is given up
SONGS_EACH = 4  # of a free account's five
UNAVAILABLE = 503


@dataclass
class Observations:
    """What clients observed, over all people. Times are those of time.monotonic().

    acked      when an entry's call was answered with success, by the entry's content
    refused    entries whose call was answered with "the database is not available": nothing was done
    sent       when each entry was sent first
    songs      entries of songs that were started, by their content
    failed     calls without success, by what was answered
    pushes     for each person, when an entry reached their socket, and when that entry was sent
    closed     when sockets were closed, by the server or on the way
    """

    acked: dict[str, float] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    sent: dict[str, float] = field(default_factory=dict)
    songs: dict[str, float] = field(default_factory=dict)
    failed: list[tuple[float, str]] = field(default_factory=list)
    pushes: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    closed: list[tuple[float, int]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)

    def failures(self, since: float, until: float) -> Counter[str]:
        """Return the failed calls of a time, by what was answered."""
        return Counter(what for at, what in self.failed if since <= at < until)


class Person:
    """A person with an app: HTTP calls, and one live socket."""

    def __init__(self, number: int, origin: str, http: httpx2.AsyncClient, token: str, observed: Observations) -> None:
        self.number = number
        self._origin = origin
        self._http = http
        self._token = token
        self._observed = observed
        self._stopping = False
        self._count = 0
        self._requests: dict[int, str] = {}
        self._request = 0
        self._session: str | None = None
        observed.pushes[number] = []

    def stop(self) -> None:
        """Send no more."""
        self._stopping = True

    def _content(self, of: str) -> str:
        self._count += 1
        return f"{of} {self.number}-{self._count}"

    # Over HTTP

    async def call(self, kind: str, path: str, content: str) -> bool:
        """Call a function that saves an entry; return whether that was answered with success."""
        observed = self._observed
        observed.sent[content] = began = time.monotonic()
        try:
            answer = await self._http.post(
                f"/api/{kind}",
                json={"path": path, "args": {"content": content}, "format": "json"},
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "X-Forwarded-For": f"198.18.0.{self.number + 1}",
                },
            )
            said = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
        except (httpx2.HTTPError, ValueError) as error:
            observed.failed.append((time.monotonic(), type(error).__name__))
            return False
        now = time.monotonic()
        if answer.status_code == UNAVAILABLE:
            observed.refused.add(content)
        elif said.get("status") == "success" and said["value"]["success" if kind == "action" else "_id"]:
            observed.acked[content] = now
            observed.waits.append((began, now - began))
            return True
        data = said.get("errorData") or {}
        what = said.get("code") or data.get("code") or _told(said.get("errorMessage", ""))
        observed.failed.append((now, f"{answer.status_code} {what}".strip()))
        return False

    async def write(self, pause: float) -> None:
        """Write entries over HTTP, one after another, until stopped."""
        while not self._stopping:
            if not await self.call("mutation", "diaries:createDiary", self._content("Rain")):
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311

    async def sing(self, pause: float) -> None:
        """Ask for songs, until stopped or the account has no more."""
        for _ in range(SONGS_EACH):
            await asyncio.sleep(random.uniform(0.2, 1.8) * pause)  # noqa: S311
            if self._stopping:
                return
            content = self._content("I walked home in the rain")
            if await self.call("action", "music:startDiaryMusicGeneration", content):
                self._observed.songs[content] = self._observed.acked[content]

    # Over a socket

    async def live(self, pause: float) -> None:
        """Keep a socket open, with a subscription to the newest entry, and write over it too, until stopped."""
        failures = connections = 0
        while True:
            began = time.monotonic()
            try:
                async with SyncSocket(self._origin, session=self._session, connections=connections) as socket:
                    self._session = socket.session
                    await self._on(socket, pause)
            except (SocketClosed, TimeoutError) as error:
                code = error.code if isinstance(error, SocketClosed) else 0
                self._observed.closed.append((time.monotonic(), code))
            connections += 1
            if self._stopping:
                return
            failures = 0 if time.monotonic() - began > LONGEST_BACKOFF else failures + 1
            backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** max(0, failures - 1))
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311

    async def _on(self, socket: SyncSocket, pause: float) -> None:
        await socket.connect()
        await socket.authenticate(0, self._token)
        await socket.subscribe(0, q0=("diaries:pageDiaries", {"limit": 1}))
        for number, content in sorted(self._requests.items()):
            await socket.mutate(number, "diaries:createDiary", {"content": content})
        writing = asyncio.create_task(self._write_on(socket, pause))
        try:
            while not (self._stopping and not self._requests):
                self._observe(await socket.receive(within=ASKS_AGAIN))
                socket.received.clear()
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    async def _write_on(self, socket: SyncSocket, pause: float) -> None:
        while not self._stopping:
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311
            if self._stopping or self._requests:
                continue
            self._request += 1
            content = self._content("Sun")
            self._requests[self._request] = content
            self._observed.sent[content] = time.monotonic()
            await socket.mutate(self._request, "diaries:createDiary", {"content": content})

    def _observe(self, message: Message) -> None:
        observed, now = self._observed, time.monotonic()
        if message["type"] == "MutationResponse":
            content = self._requests.pop(message["requestId"], None)
            if content is None:
                return
            if message["success"]:
                observed.acked[content] = now
            else:
                observed.failed.append((now, f"socket: {_told(message['result'])}"))
        elif message["type"] == "Transition":
            for content in _contents(message):
                if content in observed.sent:
                    observed.pushes[self.number].append((now, observed.sent[content]))


def _told(message: str) -> str:
    """Return the first line of an error message, without the id of the request."""
    return message.partition("\n")[0].rpartition("] ")[2]


def _contents(transition: Message) -> list[str]:
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("content"), str):
                found.append(value["content"])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(transition["modifications"])
    return found
