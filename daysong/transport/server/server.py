"""The HTTP and WebSocket server for an ASGI app: uvicorn, with additional limits.

The connections are in `http_connection.py` and `socket_connection.py`.
"""

from __future__ import annotations

import asyncio
import errno
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

# Longer than proxies keep an idle connection (nginx: 60 s), since the side that closes first may lose a request.
KEEP_ALIVE = 75  # seconds
# For running requests when the server stops.
SHUTDOWN_TIMEOUT = 10  # seconds
BACKLOG = 2048
# Largest message of a client on a socket, in bytes.
LARGEST_MESSAGE = LARGEST + ENVELOPE
# Seconds between pings on a socket, and until the pong must arrive.
PING_INTERVAL = 30.0
PONG_TIMEOUT = 60.0

CloseSockets = Callable[[], Awaitable[None]]


class PortTaken(DaysongError):
    """Another program uses the port."""


class HostUnknown(DaysongError):
    """The host to listen on is not an address of this machine."""


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a bound socket for a Server; port 0 means any free port. Errors: PortTaken, HostUnknown.

    With `shared`, other processes may bind the same port, and the kernel distributes the connections.
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


# Turns of the event loop in which waiting connections are accepted before a server stops listening.
ACCEPT_ROUNDS = 3


class Server(uvicorn.Server):
    """Serves `app` until `stop` is called: `await server.serve(sockets=[listen(host, port)])`.

    lifespan       whether the app gets lifespan events
    close_sockets  awaited once new connections are refused, while the others are still open
    message        the largest message on a socket, in bytes; larger ones are dropped except for their first bytes
    """

    def __init__(
        self, app: Any, *, lifespan: bool, close_sockets: CloseSockets, message: int = LARGEST_MESSAGE
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                lifespan="on" if lifespan else "off",
                http=Http,
                ws=Socket,
                ws_max_size=message,
                # A compressor takes more memory than the rest of a socket.
                ws_per_message_deflate=False,
                ws_ping_interval=PING_INTERVAL,
                ws_ping_timeout=PONG_TIMEOUT,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
                backlog=BACKLOG,
                # Clients could forge these headers; see proxies.py.
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                log_level=logging.ERROR,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_keep_record)
        self._close_sockets = close_sockets

    def stop(self) -> None:
        """Start a graceful shutdown: close sockets, finish running requests, stop. Idempotent."""
        self.should_exit = True

    def stop_immediately(self) -> None:
        """Stop without waiting for requests."""
        self.should_exit = self.force_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; called by `serve`."""
        # Connections that the kernel has accepted for us would be reset: take them first.
        for _ in range(ACCEPT_ROUNDS):
            await asyncio.sleep(0)
        # First, so that clients that reconnect at once reach another server.
        for listening in self.servers:
            listening.close()
        if not self.force_exit:
            await self._close_sockets()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: the command that runs the server does."""
        yield


def _keep_record(record: logging.LogRecord) -> bool:
    """Whether to keep a log record; records about invalid UTF-8 of clients are dropped."""
    return not record.getMessage().startswith("Invalid UTF-8")
