"""Rules of the sync protocol that every connection's messages must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rehearsal.sync_socket import Message, SyncSocket, moment

Results = dict[int, Any]


def check_messages(
    heard: list[Message], *, shows: Callable[[Results, Message], bool] | None = None
) -> tuple[Results, dict[str, Any]]:
    """Check the messages of one connection, in order; return its last results and their version.

    Each Transition starts at the version the last one ended with, and no component decreases. Between a mutation's
    response and the first Transition at or after its timestamp there is no Transition at or after it. If `shows`
    recognizes a mutation's effect in results, that Transition contains it, and none before the response does.
    """
    results: Results = {}
    version: dict[str, Any] = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
    owed: list[Message] = []
    responses = [m for m in heard if m["type"] == "MutationResponse" and m["success"]]
    seen = 0
    for message in heard:
        if message["type"] == "MutationResponse" and message["success"]:
            assert not (shows and shows(results, message)), "shown before its response"
            assert moment(message["ts"]) > moment(version["ts"]), "not after the last Transition"
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
            assert shows is None or shows(results, response), "a Transition lacks a mutation before its timestamp"
        for response in responses[seen:]:
            assert moment(response["ts"]) > moment(end["ts"]), "a Transition is newer than a response still to come"
            assert not (shows and shows(results, response)), "shown before its response"
    assert not owed, "a response without a Transition at or after it"
    return results, version


async def settled(socket: SyncSocket, requests: int) -> None:
    """Receive until this many mutations have responses and a Transition covers them all."""
    while True:
        responses = [m for m in socket.received if m["type"] == "MutationResponse"]
        ends = [moment(m["endVersion"]["ts"]) for m in socket.received if m["type"] == "Transition"]
        last = max((moment(m["ts"]) for m in responses if m["success"]), default=0)
        if len(responses) >= requests and ends and ends[-1] >= last:
            return
        await socket.receive()
