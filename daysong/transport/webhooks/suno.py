"""Suno's callbacks. Suno signs nothing: each generation's callback address holds a secret of its own instead."""

from __future__ import annotations

import hmac

from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import Received
from daysong.vendors.suno.answers import MalformedCallback, parse_callback
from daysong.vendors.webhooks import UnsignedEvent
from daysong.workflows.songs import song_delivery
from daysong.workflows.songs.song_delivery import OneGeneration
from daysong.workflows.vendor_events import handle_suno_event

MAX_ID = 64
MAX_TASK_ID = 200


def routes(runtime: Runtime) -> list[Route]:
    """The routes Suno calls."""

    async def without_secret(_: Request) -> Received:
        raise UnsignedEvent("The callback address is incomplete")

    async def callback(request: Request) -> Received:
        generation_id, secret = request.parameters["generation_id"], request.parameters["secret"]
        expected = None
        if len(generation_id) <= MAX_ID and "\0" not in generation_id:
            expected = await runtime.run_query(
                song_delivery.callback_secret, OneGeneration(generation_id=generation_id), SYSTEM
            )
        # Compared also when there is no such generation, so that the time taken tells nothing.
        if not hmac.compare_digest((expected or "no such generation").encode(), secret.encode()) or expected is None:
            raise UnsignedEvent("The callback address is not one of ours")
        body = await request.body()
        parsed = parse_callback(body)
        if len(parsed.task_id) > MAX_TASK_ID:
            raise MalformedCallback("`data.task_id` is too long")
        # Suno's events have no id, and a repeated one differs in its createTime: the stage of a task is what repeats.
        event = Event(
            vendor="suno",
            event_id=f"{generation_id}:{parsed.task_id}:{parsed.stage}",
            type=parsed.stage,
            body=body.decode(),
            subject=generation_id,
        )
        noted = {"generation": generation_id, "stage": parsed.stage, "code": parsed.code}
        return Received(event, handle_suno_event, noted)

    return [
        receiving.route(runtime, "suno", without_secret, path="/http/suno-webhook"),
        receiving.route(runtime, "suno", callback, path="/http/suno-webhook/{generation_id}/{secret}"),
    ]
