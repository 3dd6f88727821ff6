"""What a conversation on a socket must be like, whatever was said: the rules a client holds a server to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rehearsal.sync_socket import Message, SyncSocket, moment

Results = dict[int, Any]


def check_messages(
    heard: list[Message], *, shows: Callable[[Results, Message], bool] | None = None
) -> tuple[Results, dict[str, Any]]:
    """Check the messages of one connection, in order; the results at their end, and the version they are of.

    Each Transition begins where the last one ended, and nothing goes back. Between a mutation's response and the first
    Transition that is not older there is nothing that claims to be; and if `shows` says so of results and a response,
    that Transition shows what the mutation did, and none before the response does.
    """
    results: Results = {}
    version: dict[str, Any] = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
    owed: list[Message] = []
    responses = [m for m in heard if m["type"] == "MutationResponse" and m["success"]]
    seen = 0
    for message in heard:
        if message["type"] == "MutationResponse" and message["success"]:
            assert not (shows and shows(results, message)), "shown before it was answered"
            assert moment(message["ts"]) > moment(version["ts"]), "an older moment than what was shown"
            owed.append(message)
            seen += 1
        if message["type"] != "Transition":
            continue
        start, end = message["startVersion"], message["endVersion"]
        assert start == version, f"{start} does not follow {version}"
        assert end["querySet"] >= start["querySet"]
        assert end["identity"] >= start["identity"]
        assert moment(start["ts"]) <= moment(end["ts"]) < 2**63
        version = end
        for change in message["modifications"]:
            if change["type"] == "QueryRemoved":
                results.pop(change["queryId"], None)
            else:
                results[change["queryId"]] = change.get("value", change)
        for response in [one for one in owed if moment(one["ts"]) <= moment(end["ts"])]:
            owed.remove(response)
            assert shows is None or shows(results, response), "a moment without what was done by then"
        for response in responses[seen:]:
            assert moment(response["ts"]) > moment(end["ts"]), "a moment before its response"
            assert not (shows and shows(results, response)), "shown before it was answered"
    assert not owed, "answered, and never shown"
    return results, version


async def settled(socket: SyncSocket, requests: int) -> None:
    """Listen until that many mutations are answered and a Transition covers them all."""
    while True:
        told = [m for m in socket.received if m["type"] == "MutationResponse"]
        ends = [moment(m["endVersion"]["ts"]) for m in socket.received if m["type"] == "Transition"]
        last = max((moment(m["ts"]) for m in told if m["success"]), default=0)
        if len(told) >= requests and ends and ends[-1] >= last:
            return
        await socket.receive()
