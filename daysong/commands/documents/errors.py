"""`daysong errors`: every error code as Markdown (docs/ERRORS.md), with what a client should do."""

from __future__ import annotations

from daysong.commands.documents.error_advice import ADVICE, CLOSED, REFUSALS
from daysong.kernel.functions.descriptions import Description
from daysong.kernel.functions.raised import ANYWHERE

HEAD = """# Errors

Written by `daysong errors > docs/ERRORS.md`; a test fails when it is out of date.

Codes are stable; messages are for people and may change. A code that is not here is one of a newer release: show the
message. [Write an app](APPS.md#errors) says how each client gives them to an app.

## Errors of functions

A function that fails is answered with 200 and `"status": "error"`; a failure that a caller can act on has
`errorData: {code, message}`. Without `errorData` the arguments do not fit, which is a mistake of the app (the message
names the field), or the error is unexpected (`Server Error` with a request id, by which the log has it).
Which codes a function has is in [Functions](FUNCTIONS.md).

| code | message | what to do |
|---|---|---|
"""

REFUSED = """
## Refused requests

A request that no function has answered has another status, and `{code, message}` as its body. All with 503, and 429,
may be retried; what has no effect twice may always be.

| code | status | what to do |
|---|---|---|
"""

SOCKETS = """
## Closed sockets

A socket is closed with a code and one of these reasons. The official clients connect again by themselves, and send
mutations again that were under way; each takes effect once.

| reason | code | what to do |
|---|---|---|
"""

WEBHOOKS = """
## Webhooks

A vendor's webhook is answered with 200 once it is stored, with 401 `Unauthorized` when its signature is wrong, 400 when
it cannot be read, and 503 `NotConfigured` while its secret is not set. All but 200 are sent again by vendors;
`daysong_webhooks_total` counts them by outcome ([Metrics](METRICS.md)).
"""


def document(description: Description) -> str:
    """Return all codes, as Markdown."""
    messages: dict[str, list[str]] = {code: [] for code in ANYWHERE}
    for error in description.errors:
        messages.setdefault(error.code, []).append(error.message)
    functions = [
        f"| `{code}` | {'; '.join(messages[code]) or 'depends on the limit or part'} | {ADVICE.get(code, '')} |\n"
        for code in sorted(messages)
    ]
    refusals = [f"| `{code}` | {status} | {what} |\n" for code, (status, what) in sorted(REFUSALS.items())]
    sockets = [f"| `{reason}` | {code} | {what} |\n" for reason, (code, what) in CLOSED.items()]
    return "".join([HEAD, *functions, REFUSED, *refusals, SOCKETS, *sockets, WEBHOOKS])
