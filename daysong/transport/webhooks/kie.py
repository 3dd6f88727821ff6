"""Kie's callbacks. Each video's callback URL has a secret of its own; with KIE_WEBHOOK_HMAC_KEY, the signature of task
and time is checked as well. What a callback says is read from Kie again before it is believed.
"""

from __future__ import annotations

from daysong.features.music.videos import OneVideo
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import may_be_id
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import Received
from daysong.vendors.kie.answers import MalformedCallback, parse_callback, verify
from daysong.vendors.webhooks import UnsignedEvent
from daysong.workflows.vendor_events import handle_kie_event
from daysong.workflows.videos import video_delivery

MAX_TASK_ID = 200


def routes(runtime: Runtime) -> list[Route]:
    """Return the routes Kie calls."""

    async def without_secret(_: Request) -> Received:
        raise UnsignedEvent("The callback URL has no secret")

    async def callback(request: Request) -> Received:
        video_id, secret = request.parameters["video_id"], request.parameters["secret"]
        expected = None
        if may_be_id(video_id):
            expected = await runtime.run_query(
                video_delivery.video_callback_secret, OneVideo(video_id=video_id), SYSTEM
            )
        receiving.check_secret(secret, expected)
        body = await request.body()
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

    return [
        receiving.route(runtime, "kie", without_secret, path="/http/kie-webhook"),
        receiving.route(runtime, "kie", callback, path="/http/kie-webhook/{video_id}/{secret}"),
    ]
