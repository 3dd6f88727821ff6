"""The WebSocket endpoint of the Convex clients: `/api/sync` and `/api/<version>/sync`.

`messages.py` defines the messages, `session.py` the state of a connection, `requests.py` its mutations and actions, and
`hub.py` the state shared by all connections.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from daysong.kernel import logs
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.hub import INTERNAL_ERROR, Hub
from daysong.transport.sync.messages import Authenticate, Connect, Event, MalformedMessage, ModifyQuerySet
from daysong.transport.sync.requests import Requests
from daysong.transport.sync.session import ProtocolError, Session
from daysong.transport.sync.wire import TooLarge, Wire

PATH = re.compile(r"/api/(?:[^/]{1,64}/)?sync")
# With the normal close code the client does not retry.
NORMAL_CLOSURE = 1000
# Bytes that are parsed of a message that is too large.
HEAD = 4096

log = logs.get_logger("sync")


class SyncEndpoint:
    """ASGI middleware: serves sockets of the sync protocol, and passes on all other requests."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a connection until it ends."""
        if scope["type"] == ScopeType.WEBSOCKET and PATH.fullmatch(scope["path"]):
            return self._serve(scope, receive, send)
        return self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        hub = self._hub
        gate, client = hub.gate, cast("Any", scope.get("client"))
        address: str = client[0] if client else ""
        viewer = "" if gate is None else gate.viewer(scope)
        if not await self._accept(viewer, receive, send):
            return
        wire = Wire(send, lambda: session.schedule_transition(), address)  # noqa: PLW0108 - no session yet
        session = Session(hub, wire, address=address, is_python=_is_python(scope))
        # An open socket does not need its upgrade request any more; this saves memory.
        cast("dict[str, Any]", scope).clear()
        hub.add(session)
        if gate is not None:
            gate.socket_opened(viewer)
        try:
            await _serve_messages(session, receive)
        finally:
            if gate is not None:
                gate.socket_closed(viewer)
            session.end()
            hub.remove(session)

    async def _accept(self, viewer: str, receive: Receive, send: Send) -> bool:
        refusal = self._hub.refusal()
        if refusal is None and self._hub.gate is not None:
            refusal = await self._hub.gate.socket_refusal(viewer)
        accept: Any = {"type": "websocket.accept"}
        try:
            await receive()
            await send(accept)
            if refusal is not None:
                close: Any = {"type": "websocket.close", "code": refusal.code, "reason": refusal.reason}
                await send(close)
        except Exception:  # noqa: BLE001 - any error means that the client has disconnected
            return False
        return refusal is None


def _is_python(scope: Scope) -> bool:
    """Whether the client is the Python library, which limits the size of a frame."""
    client = next((value for name, value in scope["headers"] if name.lower() == b"convex-client"), b"")
    return not client.startswith(b"npm-") and scope["path"] == "/api/sync"


async def _serve_messages(session: Session, receive: Receive) -> None:
    wire, limits, requests = session.wire, session.hub.limits, Requests(session)
    largest = session.hub.largest_message

    def ready() -> bool:
        return requests.open < limits.pending and requests.size < largest and wire.unsent < limits.backlog

    try:
        while wire.closing is None:
            text = await wire.receive(receive, ready)
            if text is None:
                break
            # Yield to other connections even when more messages are buffered.
            await asyncio.sleep(0)
            await _handle(session, requests, text)
    except (ProtocolError, MalformedMessage) as error:
        wire.send(sync_messages.fatal_error(str(error)[:500]))
        wire.close(NORMAL_CLOSURE, "FatalError")
    except asyncio.CancelledError:
        if wire.closing is None:
            raise
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a task
        task.uncancel()
    except Exception:
        # Only this socket is affected, and its client reconnects.
        log.exception("socket failed")
        wire.close(*INTERNAL_ERROR)
    finally:
        await wire.finish()


async def _handle(session: Session, requests: Requests, text: str | TooLarge) -> None:
    if isinstance(text, TooLarge) or len(text) > session.hub.largest_message:
        request = sync_messages.partial_request(text.head if isinstance(text, TooLarge) else text[:HEAD].encode())
        if request is None:
            raise ProtocolError("Received a message that is too large")
        requests.add(request, 0, too_large=True)
        return
    message = sync_messages.decode(text)
    if isinstance(message, Connect):
        session.connect(message)
    elif isinstance(message, Authenticate):
        await session.authenticate(message)
    elif isinstance(message, ModifyQuerySet):
        session.modify_queries(message)
    elif not isinstance(message, Event):
        requests.add(message, len(text))
