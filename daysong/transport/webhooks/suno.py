"""Suno's callbacks. Suno signs nothing: each generation's callback address holds a secret of its own instead."""

from __future__ import annotations

import hmac
from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from daysong.kernel import inbox, logs
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import MAX_BODY, Event
from daysong.vendors.suno.answers import MalformedCallback, parse_callback
from daysong.workflows import song_delivery
from daysong.workflows.song_delivery import OneGeneration
from daysong.workflows.vendor_events import handle_suno_event

log = logs.get_logger("webhooks")

MAX_ID = 64
MAX_TASK_ID = 200


def routes(runtime: Runtime) -> list[HTTPRouteHandler]:
    """The routes Suno calls."""

    @post("/http/suno-webhook", status_code=200, include_in_schema=False)
    async def without_secret() -> Response[dict[str, str]]:
        return _answer(401, "Unauthorized", "The callback address is incomplete")

    @post(
        "/http/suno-webhook/{generation_id:str}/{secret:str}",
        status_code=200,
        request_max_body_size=MAX_BODY,
        include_in_schema=False,
    )
    async def callback(
        request: Request[Any, Any, Any], generation_id: FromPath[str], secret: FromPath[str]
    ) -> Response[dict[str, str]]:
        expected = None
        if len(generation_id) <= MAX_ID and "\0" not in generation_id:
            expected = await runtime.run_query(
                song_delivery.callback_secret, OneGeneration(generation_id=generation_id), SYSTEM, runtime.clock
            )
        # Compared also when there is no such generation, so that the time taken tells nothing.
        if not hmac.compare_digest((expected or "no such generation").encode(), secret.encode()) or expected is None:
            return _answer(401, "Unauthorized", "The callback address is not one of ours")
        body = await request.body()
        try:
            parsed = parse_callback(body)
            text = body.decode()
        except MalformedCallback as error:
            return _answer(400, "MalformedCallback", error.message)
        except UnicodeDecodeError:
            return _answer(400, "MalformedCallback", "The body is not UTF-8")
        if len(parsed.task_id) > MAX_TASK_ID:
            return _answer(400, "MalformedCallback", "`data.task_id` is too long")
        # Suno's events have no id, and a repeated one differs in its createTime: the stage of a task is what repeats.
        event = Event(
            vendor="suno",
            event_id=f"{generation_id}:{parsed.task_id}:{parsed.stage}",
            type=parsed.stage,
            body=text,
            subject=generation_id,
        )
        new = await inbox.receive(runtime, event, handle_suno_event)
        log.info("suno called back", generation=generation_id, stage=parsed.stage, code=parsed.code, new=new)
        return _answer(200, "OK", "Thank you")

    return [without_secret, callback]


def _answer(status: int, code: str, message: str) -> Response[dict[str, str]]:
    return Response({"code": code, "message": message}, status_code=status)
