"""The server of HTTP and sockets that stands in front of an ASGI app: uvicorn, with limits of our own.

What it does with a connection is in `http_connection.py` and `socket_connection.py`.
"""

from __future__ import annotations

import errno
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import uvicorn

from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.arguments import LARGEST
from daysong.transport.http.functions_api import ENVELOPE
from daysong.transport.server.http_connection import Http
from daysong.transport.server.socket_connection import Socket

# Longer than proxies keep an idle connection (nginx: 60 s): who closes first may cross a request.
KEEP_ALIVE = 75  # seconds
# For requests under way when the server stops.
LAST_REQUESTS = 10  # seconds
BACKLOG = 2048
# Of what a client says on a socket; in bytes.
MESSAGE = LARGEST + ENVELOPE
# Of silence, after which a socket is asked whether anybody is there, and how long the answer may take.
PING = 30.0
PONG = 60.0

CloseSockets = Callable[[], Awaitable[None]]


class PortTaken(DaysongError):
    """Another program listens on the port."""


class HostUnknown(DaysongError):
    """The host to listen on is no address of this machine."""


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket for a Server; port 0 is any free one. PortTaken when it is not to be had.

    With `shared`, other processes may bind the same port so, and each gets its share of the connections.
    """
    with ExitStack() as stack:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
        except socket.gaierror as error:
            raise HostUnknown(f"Cannot listen on {host}: this machine has no such address. Check --host.") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise HostUnknown(
                    f"Cannot listen on {host}: this machine has no such address. Check --host."
                ) from error
            raise PortTaken(f"Cannot listen on port {port} of {host}. Choose another with --port.") from error
        stack.pop_all()
        return listener


def keep_what_is_there() -> None:
    """Spare the garbage collector what lasts as long as the process: a look through it would hold the loop."""
    gc.collect()
    gc.freeze()


class Server(uvicorn.Server):
    """Serves `app` until it is asked to stop: `await server.serve(sockets=[listen(host, port)])`.

    lifespan  whether the app gets lifespan events
    close_sockets   awaited once new connections are refused, while the others are still open
    message   the largest message on a socket that the app is given whole, in bytes
    """

    def __init__(self, app: Any, *, lifespan: bool, close_sockets: CloseSockets, message: int = MESSAGE) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                lifespan="on" if lifespan else "off",
                http=Http,
                ws=Socket,
                ws_max_size=message,
                # A compressor for each socket would take more memory than all the rest of it.
                ws_per_message_deflate=False,
                ws_ping_interval=PING,
                ws_ping_timeout=PONG,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=LAST_REQUESTS,
                backlog=BACKLOG,
                # Addresses that a stranger could make up.
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                log_level=logging.ERROR,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_ours)
        self._close_sockets = close_sockets

    def stop(self) -> None:
        """Say close_sockets, finish what is under way, and stop. May be told more than once."""
        self.should_exit = True

    def stop_at_once(self) -> None:
        """Stop without finishing anything."""
        self.should_exit = self.force_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What `serve` does at the end."""
        # First of all, so that who is sent away and comes back at once comes to another server.
        for listening in self.servers:
            listening.close()
        if not self.force_exit:
            await self._close_sockets()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command that runs a server."""
        yield


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a log line is about the server itself, and not about a client that sent invalid UTF-8."""
    return not record.getMessage().startswith("Invalid UTF-8")
