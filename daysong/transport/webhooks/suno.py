"""Suno's callbacks. Suno does not sign them, so each generation's callback URL contains a secret."""

from __future__ import annotations

from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import Received
from daysong.vendors.suno.answers import MalformedCallback, parse_callback
from daysong.workflows.vendor_events import handle_suno_event

MAX_TASK_ID = 200


def routes(runtime: Runtime) -> list[Route]:
    """Return the routes of Suno's callbacks."""

    def parse(generation_id: str, body: bytes, _: Request) -> Received:
        parsed = parse_callback(body, with_tracks=False)
        if len(parsed.task_id) > MAX_TASK_ID:
            raise MalformedCallback("`data.task_id` is too long")
        # Suno's events have no id, and a redelivery has another createTime; task and stage identify the event.
        event = Event(
            vendor="suno",
            event_id=f"{generation_id}:{parsed.task_id}:{parsed.stage}",
            type=parsed.stage,
            body=body.decode(),
            subject=generation_id,
        )
        log_fields = {"generation": generation_id, "stage": parsed.stage, "code": parsed.code}
        return Received(event, handle_suno_event, log_fields, order=generation_id)

    path = "/http/suno-webhook/{generation_id}/{secret}"
    return receiving.callback_routes(runtime, "suno", "generations", parse, path=path)
