"""Kie's callbacks. Each video's callback URL has a secret of its own; with KIE_WEBHOOK_HMAC_KEY, the signature of task
and time is checked as well. What a callback says is read from Kie again before it is believed.
"""

from __future__ import annotations

from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import Received
from daysong.vendors.kie.answers import MalformedCallback, parse_callback, verify
from daysong.workflows.vendor_events import handle_kie_event

MAX_TASK_ID = 200


def routes(runtime: Runtime) -> list[Route]:
    """Return the routes Kie calls."""

    def parse(video_id: str, body: bytes, request: Request) -> Received:
        kie = runtime.settings.kie
        if kie.webhook_hmac_key is not None:
            verify(request.headers, body, runtime.clock.now(), kie.webhook_hmac_key, *kie.webhook_hmac_keys_old)
        parsed = parse_callback(body)
        if len(parsed.task_id) > MAX_TASK_ID:
            raise MalformedCallback("`data.taskId` is too long")
        # Kie's callbacks have no id; a repeated one has the same task and state.
        event = Event(
            vendor="kie",
            event_id=f"{video_id}:{parsed.task_id}:{parsed.state}",
            type=parsed.state,
            body=body.decode(),
            subject=video_id,
        )
        return Received(event, handle_kie_event, {"video": video_id, "state": parsed.state}, order=video_id)

    path = "/http/kie-webhook/{video_id}/{secret}"
    return receiving.callback_routes(runtime, "kie", "music_videos", parse, path=path)
