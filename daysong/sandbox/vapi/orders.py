"""What the sandboxed VAPI takes as an order for a call: which fields there are, and what it says to any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from daysong.sandbox.vapi.calls import LINE

E164 = re.compile(r"\+[1-9]\d{1,14}")
NOT_E164 = (
    "customer.number must be a valid phone number in the E.164 format. "
    "Hot tip, you may be missing the country code (Eg. US: +1)."
)

# The fields of a part; None for one that is not looked into.
Shape = dict[str, "Shape | None"]


def _fields(names: str, **parts: Shape) -> Shape:
    return {**dict.fromkeys(names.split()), **parts}


_ANALYSIS_STEP = _fields("messages enabled timeoutSeconds rubric schema")
_SERVER = _fields(
    "url timeoutSeconds credentialId headers staticIpAddressesEnabled encryptedPaths",
    backoffPlan=_fields("type maxRetries baseDelaySeconds excludedStatusCodes"),
)
# As the schema of August 2026 has it: silenceTimeoutSeconds, endCallFunctionEnabled and others are there no more.
ASSISTANT = _fields(
    "transcriber model voice firstMessage firstMessageInterruptionsEnabled firstMessageMode voicemailDetection "
    "clientMessages serverMessages maxDurationSeconds backgroundSound modelOutputInMessagesEnabled "
    "transportConfigurations observabilityPlan credentials hooks name voicemailMessage endCallMessage endCallPhrases "
    "compliancePlan metadata backgroundSpeechDenoisingPlan startSpeakingPlan stopSpeakingPlan credentialIds "
    "keypadInputPlan",
    server=_SERVER,
    analysisPlan=_fields(
        "minMessagesThreshold structuredDataMultiPlan outcomeIds",
        summaryPlan=_ANALYSIS_STEP,
        structuredDataPlan=_ANALYSIS_STEP,
        successEvaluationPlan=_ANALYSIS_STEP,
    ),
    artifactPlan=_fields(
        "recordingEnabled recordingFormat recordingUseCustomStorageEnabled videoRecordingEnabled "
        "fullMessageHistoryEnabled pcapEnabled pcapS3PathPrefix pcapUseCustomStorageEnabled loggingEnabled "
        "loggingUseCustomStorageEnabled transcriptPlan recordingPath structuredOutputIds structuredOutputs "
        "scorecardIds scorecards loggingPath"
    ),
    monitorPlan=_fields(
        "listenEnabled listenAuthenticationEnabled controlEnabled controlAuthenticationEnabled monitorIds"
    ),
)
ORDER = _fields(
    "assistantId assistantVersion phoneNumberId phoneNumber customerId customers name transport squadId squad "
    "squadOverrides workflowId workflow workflowOverrides",
    assistant=ASSISTANT,
    assistantOverrides={**ASSISTANT, "variableValues": None, "tools:append": None},
    customer=_fields("number numberE164CheckEnabled extension name email externalId sipUri assistantOverrides"),
    schedulePlan=_fields("earliestAt latestAt"),
)
SERVER_MESSAGES = set(
    _fields(
        "assistant.started assistant.speechStarted conversation-update end-of-call-report function-call hang "
        "language-changed language-change-detected model-output phone-call-control speech-update status-update "
        'transcript transcript[transcriptType="final"] tool-calls transfer-destination-request '
        "handoff-destination-request transfer-update user-interrupted voice-input chat.created chat.deleted "
        "session.created session.updated session.deleted call.deleted call.delete.failed call.artifact.upload"
    )
)
FIRST_MESSAGE_MODES = frozenset(
    {
        "assistant-speaks-first",
        "assistant-speaks-first-with-model-generated-message",
        "assistant-waits-for-user",
    }
)


def complaints(order: dict[str, Any]) -> list[str]:
    """What VAPI would say against the order, line by line; nothing when it takes it."""
    found = list(_unknown(order, ORDER, ""))
    assistant = order.get("assistant")
    if not isinstance(assistant, dict) and not isinstance(order.get("assistantId"), str):
        found.append("Need one of `assistant`, `assistantId`, `squad`, `squadId`, `workflow` or `workflowId`.")
    if order.get("phoneNumberId") != LINE:
        found.append("Couldn't Find Phone Number." if order.get("phoneNumberId") else "Need a `phoneNumberId`.")
    customer = order.get("customer")
    if not isinstance(customer, dict):
        found.append("Need one of `customer` or `customerId`.")
    else:
        found += _about(customer, _CUSTOMER)
    if isinstance(assistant, dict):
        found += about_assistant(assistant)
    found += _about(order, _WHOLE)
    return found


def about_assistant(assistant: dict[str, Any]) -> list[str]:
    """What is wrong with the values of an assistant; its fields are not looked at."""
    return _about(assistant, _ASSISTANT)


def unknown_in_assistant(assistant: dict[str, Any]) -> list[str]:
    """The fields an assistant may not have."""
    return list(_unknown(assistant, ASSISTANT, "assistant"))


def _unknown(value: Any, shape: Shape, place: str) -> list[str]:
    found: list[str] = []
    if not isinstance(value, dict):
        return [f"{place} must be an object"] if value is not None else []
    for name, entry in value.items():
        if name not in shape:
            found.append(f"{place}.property {name} should not exist" if place else f"property {name} should not exist")
            continue
        inner = shape[name]
        if inner is not None:
            found += _unknown(entry, inner, f"{place}.{name}" if place else name)
    return found


Check = tuple[Callable[[dict[str, Any]], bool], str]


def _about(value: dict[str, Any], checks: list[Check]) -> list[str]:
    return [message for is_wrong, message in checks if is_wrong(value)]


def _longer(name: str, most: int) -> Callable[[dict[str, Any]], bool]:
    return lambda value: name in value and not (isinstance(value[name], str) and len(value[name]) <= most)


def _outside(least: float, most: float, *names: str) -> Callable[[dict[str, Any]], bool]:
    def is_outside(value: dict[str, Any]) -> bool:
        found: Any = value
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            return False
        return isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most

    return is_outside


def _without(part: str, *names: str) -> Callable[[dict[str, Any]], bool]:
    return lambda value: (
        part in value
        and not (isinstance(value[part], dict) and all(isinstance(value[part].get(name), str) for name in names))
    )


def _bad_number(customer: dict[str, Any]) -> bool:
    number = customer.get("number")
    return customer.get("numberE164CheckEnabled", True) is not False and not (
        isinstance(number, str) and E164.fullmatch(number)
    )


def _bad_url(assistant: dict[str, Any]) -> bool:
    server = assistant.get("server")
    if not isinstance(server, dict) or server.get("url") is None:
        return False
    url = urlsplit(str(server["url"]))
    return url.scheme not in {"http", "https"} or not url.hostname


def _bad_messages(assistant: dict[str, Any]) -> bool:
    wanted = assistant.get("serverMessages")
    return wanted is not None and not (isinstance(wanted, list) and SERVER_MESSAGES.issuperset(map(str, wanted)))


def _no_time(order: dict[str, Any]) -> bool:
    plan = order.get("schedulePlan")
    return plan is not None and begins_at(order) is None


def begins_at(order: dict[str, Any]) -> datetime | None:
    """When the call is to be made; None for now."""
    plan = order.get("schedulePlan")
    if not isinstance(plan, dict):
        return None
    try:
        moment = datetime.fromisoformat(str(plan.get("earliestAt")))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


_WHOLE: list[Check] = [
    (_longer("name", 40), "name must be shorter than or equal to 40 characters"),
    (_no_time, "schedulePlan.earliestAt must be a valid ISO 8601 date string"),
    (lambda order: "customers" in order, "The sandbox calls one `customer` at a time."),
]
_CUSTOMER: list[Check] = [
    (_bad_number, NOT_E164),
    (_longer("name", 40), "customer.name must be shorter than or equal to 40 characters"),
]
_ASSISTANT: list[Check] = [
    (_longer("name", 40), "assistant.name must be shorter than or equal to 40 characters"),
    (_outside(10, 43_200, "maxDurationSeconds"), "assistant.maxDurationSeconds must be between 10 and 43200"),
    (_without("model", "provider", "model"), "assistant.model must have a provider and a model"),
    (_without("voice", "provider"), "assistant.voice must have a provider"),
    (_without("transcriber", "provider"), "assistant.transcriber must have a provider"),
    (_bad_url, "assistant.server.url must be a URL address"),
    (_outside(1, 300, "server", "timeoutSeconds"), "assistant.server.timeoutSeconds must be between 1 and 300"),
    (
        _outside(0, 10, "server", "backoffPlan", "maxRetries"),
        "assistant.server.backoffPlan.maxRetries must be between 0 and 10",
    ),
    (
        _outside(0, 10, "server", "backoffPlan", "baseDelaySeconds"),
        "assistant.server.backoffPlan.baseDelaySeconds must be between 0 and 10",
    ),
    (_bad_messages, "each value in assistant.serverMessages must be one of the known messages"),
    (
        lambda assistant: assistant.get("firstMessageMode", "assistant-speaks-first") not in FIRST_MESSAGE_MODES,
        f"assistant.firstMessageMode must be one of the following values: {', '.join(sorted(FIRST_MESSAGE_MODES))}",
    ),
]
