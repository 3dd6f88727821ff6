"""The socket of the Convex clients: `/api/sync` and `/api/<version>/sync`.

What is said there stands in `messages.py`, one connection's state in `session.py`, its requests in
`requests.py`, and what all connections share in `hub.py`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from daysong.kernel import logs
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.hub import BROKEN, Hub
from daysong.transport.sync.messages import Authenticate, Connect, Event, Malformed, ModifyQuerySet
from daysong.transport.sync.requests import Requests
from daysong.transport.sync.session import ProtocolError, Session
from daysong.transport.sync.wire import TooLarge, Wire

PATH = re.compile(r"/api/(?:[^/]{1,64}/)?sync")
# The socket is closed normally (1000): the client must not take it for a failure to retry.
DONE = 1000
# Of a message that is too large, what is looked at.
HEAD = 4096

log = logs.get_logger("sync")


class Sockets:
    """ASGI middleware: takes the sockets of the sync protocol, and hands on all else."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection until its end."""
        if scope["type"] == ScopeType.WEBSOCKET and PATH.fullmatch(scope["path"]):
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = self._hub
        gate, client = hub.gate, cast("Any", scope.get("client"))
        address: str = client[0] if client else ""
        viewer = "" if gate is None else gate.viewer(scope)
        if not await self._accepted(viewer, receive, send):
            return
        wire = Wire(send, lambda: session.kick(), address)  # noqa: PLW0108 - there is no session yet
        session = Session(hub, wire, address=address, is_python=_is_python(scope))
        # While a socket is open, its first request is not needed any more.
        cast("dict[str, Any]", scope).clear()
        hub.enter(session)
        if gate is not None:
            gate.opened(viewer)
        try:
            await _converse(session, receive)
        finally:
            if gate is not None:
                gate.closed(viewer)
            session.end()
            hub.leave(session)

    async def _accepted(self, viewer: str, receive: Receive, send: Send) -> bool:
        refusal = self._hub.refusal()
        if refusal is None and self._hub.gate is not None:
            refusal = await self._hub.gate.socket(viewer)
        accept: Any = {"type": "websocket.accept"}
        try:
            await receive()
            await send(accept)
            if refusal is not None:
                close: Any = {"type": "websocket.close", "code": refusal.code, "reason": refusal.reason}
                await send(close)
        except Exception:  # noqa: BLE001 - however the server says that the client has gone already
            return False
        return refusal is None


def _is_python(scope: Scope) -> bool:
    """Whether the client's library takes only so much in one frame."""
    client = next((value for name, value in scope["headers"] if name.lower() == b"convex-client"), b"")
    return not client.startswith(b"npm-") and scope["path"] == "/api/sync"


async def _converse(session: Session, receive: Receive) -> None:
    wire, limits, requests = session.wire, session.hub.limits, Requests(session)
    most = session.hub.largest_message

    def ready() -> bool:
        return requests.open < limits.pending and requests.size < most and wire.waiting < limits.backlog

    try:
        while wire.closing is None:
            text = await wire.listen(receive, ready)
            if text is None:
                break
            # Messages that wait already are no reason to keep others waiting.
            await asyncio.sleep(0)
            await _hear(session, requests, text)
    except (ProtocolError, Malformed) as error:
        wire.say(sync_messages.fatal_error(str(error)[:500]))
        wire.close(DONE, "FatalError")
    except asyncio.CancelledError:
        if wire.closing is None:
            raise
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this runs in one
        task.uncancel()
    except Exception:
        # One client's socket, and it comes back.
        log.exception("socket failed")
        wire.close(*BROKEN)
    finally:
        await wire.hang_up()


async def _hear(session: Session, requests: Requests, text: str | TooLarge) -> None:
    if isinstance(text, TooLarge) or len(text) > session.hub.largest_message:
        request = sync_messages.beginning(text.head if isinstance(text, TooLarge) else text[:HEAD].encode())
        if request is None:
            raise ProtocolError("Received a message that is too large")
        requests.take(request, 0, too_large=True)
        return
    said = sync_messages.decode(text)
    if isinstance(said, Connect):
        session.connect(said)
    elif isinstance(said, Authenticate):
        await session.authenticate(said)
    elif isinstance(said, ModifyQuerySet):
        session.modify(said)
    elif not isinstance(said, Event):
        requests.take(said, len(text))
