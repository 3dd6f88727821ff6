"""The vendors of a cluster: the sandbox as a process of its own, with songs of a hum.

    python -m rehearsal.cluster.vendors PORT FOLDER

Besides the sandbox's own addresses, GET /orders is how often Suno was asked for each callback address.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import httpx2

from daysong.kernel import logs
from daysong.sandbox.app import Pace, Sandbox
from daysong.sandbox.music.hum import hum
from daysong.sandbox.vendor import Answer, Receive, Scope, Send, send_answer
from daysong.transport.server.server import Server, listen

HOST = "127.0.0.1"
PACE = Pace(text=0.3, first=1.0, complete=2.0)


async def _no_sockets() -> None:
    return


async def main(port: int, folder: Path) -> None:
    """Serve until the process is ended."""
    logs.configure(readable=True, quiet=True)
    async with httpx2.AsyncClient(timeout=15, trust_env=False) as callbacks:
        sandbox = Sandbox(f"http://{HOST}:{port}", data_dir=folder, pace=PACE, http=callbacks, compose=hum)

        async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == "/orders":
                asked = Counter(task.order.callback_url for task in sandbox.suno.tasks.values())
                await send_answer(send, Answer(200, json.dumps(asked).encode()))
                return
            await sandbox.asgi(scope, receive, send)

        await Server(asgi, lifespan=False, close_sockets=_no_sockets).serve(sockets=[listen(HOST, port)])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
