"""What the sandboxed VAPI makes of a call that is over: artifact, analysis, costs, and the report about it all."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from daysong.kernel.time.clock import to_ms
from daysong.sandbox.faults import VapiFaults
from daysong.sandbox.vapi.calls import LINE, LINE_NUMBER, ORG, PhoneCall, stamp
from daysong.sandbox.vapi.talks import Talk, Turn, asks_for_consent

STORAGE = "https://storage.vapi.example"
PRESIGNED_FOR = timedelta(hours=1)
FROM_SYSTEM = 0.4  # seconds before picking up at which the prompt is noted
MINUTE_COSTS = 0.05
# A line brought along from Twilio: its secrets are shown in every webhook.
AUTH_TOKEN = "made-up-twilio-token-0123456789abcdef"  # noqa: S105 - worth nothing anywhere

LINE_SHOWN = {
    "id": LINE,
    "orgId": ORG,
    "number": LINE_NUMBER,
    "createdAt": "2026-08-22T08:00:00.000Z",
    "updatedAt": "2026-09-01T08:00:00.000Z",
    "name": "Diary line",
    "provider": "twilio",
    "status": "active",
    "providerResourceId": "PN00000000000000000000000000000001",
    "twilioAccountSid": "AC00000000000000000000000000000001",
    "twilioAuthToken": AUTH_TOKEN,
}


def around(call: PhoneCall, status: str = "queued") -> dict[str, Any]:
    """Return the fields common to all webhooks about a call."""
    shown = {"call": call.as_asked(status), "phoneNumber": LINE_SHOWN, "customer": call.customer}
    return shown | ({"assistant": call.asked["assistant"]} if "assistant" in call.asked else {})


def report(call: PhoneCall, faults: VapiFaults) -> dict[str, Any]:
    """The end-of-call-report, but for its type and time; presigned links are added as it is sent."""
    talk = call.fate.talk
    analysis = {} if faults.analysis in {"missing", "late"} else analysis_of(call, faults)
    artifact = artifact_of(call)
    started, ended = call.at("in-progress"), call.at("ended")
    seconds = talk.seconds if talk else 0.0
    told: dict[str, Any] = {"analysis": analysis, "artifact": artifact}
    if started is not None:
        told["startedAt"] = stamp(started)
    if ended is not None:
        told["endedAt"] = stamp(ended)
    told |= {"endedReason": call.fate.reason, **costs_of(call)}
    told |= {
        "durationMs": round(seconds * 1000),
        "durationSeconds": round(seconds, 3),
        "durationMinutes": round(seconds / 60, 4),
        "transcript": artifact["transcript"],
        "messages": artifact["messages"],
    }
    if "summary" in analysis:
        told["summary"] = analysis["summary"]
    for name in ("recordingUrl", "stereoRecordingUrl"):
        if name in artifact:
            told[name] = artifact[name]
    return _spoilt(told, faults) | around(call)


def analysis_of(call: PhoneCall, faults: VapiFaults) -> dict[str, Any]:
    """Summary, success and structured data, as far as the assistant requests them and the person spoke."""
    talk, plan = call.fate.talk, call.assistant.get("analysisPlan") or {}
    found: dict[str, Any] = {}
    if talk is None or faults.analysis == "missing":
        return found
    detected = call.fate.reason == "voicemail"
    if not talk.heard and not detected:
        return found
    if talk.summary and _wanted(plan, "summaryPlan", usual=True) and faults.analysis != "no_summary":
        found["summary"] = talk.summary
    structured = plan.get("structuredDataPlan") or {}
    if talk.heard and _wanted(plan, "structuredDataPlan", usual=False) and structured.get("schema"):
        found["structuredData"] = _extracted(talk, structured["schema"])
    if _wanted(plan, "successEvaluationPlan", usual=True) and faults.analysis != "no_evaluation":
        good = _went_well(call, talk) and faults.analysis != "negative"
        found["successEvaluation"] = "true" if good else "false"
    return found


def _wanted(plan: dict[str, Any], name: str, *, usual: bool) -> bool:
    return bool((plan.get(name) or {}).get("enabled", usual))


def _went_well(call: PhoneCall, talk: Talk) -> bool:
    """Return whether the person told something, beyond answering whether they may be called."""
    said = sum(turn.role == "user" for turn in talk.turns)
    return (
        talk.summary is not None
        and talk.consent != "refused"
        and not talk.stop
        and (said > 1 or not asks_for_consent(call.assistant))
    )


def _extracted(talk: Talk, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the structured data the schema asks for, as far as the talk contains it."""
    known = {"consent": talk.consent, "stopCalling": talk.stop}
    wanted = schema.get("properties") or {}
    return {name: value for name, value in known.items() if name in wanted}


def artifact_of(call: PhoneCall) -> dict[str, Any]:
    """Return messages, transcript and links of a call."""
    talk = call.fate.talk
    turns = talk.turns if talk else ()
    messages, formatted = _messages(call, turns)
    variables = {"customer": call.customer}
    made: dict[str, Any] = {
        "messages": messages,
        "messagesOpenAIFormatted": formatted,
        "transcript": "".join(f"{'AI' if turn.role == 'bot' else 'User'}: {turn.text}\n" for turn in turns),
    }
    if talk is not None:
        base, plan = f"{STORAGE}/{call.id}", call.assistant.get("artifactPlan") or {}
        if plan.get("recordingEnabled", True):
            made |= {
                "recordingUrl": f"{base}-mono.wav",
                "stereoRecordingUrl": f"{base}-stereo.wav",
                "recording": {
                    "stereoUrl": f"{base}-stereo.wav",
                    "mono": {
                        "combinedUrl": f"{base}-mono.wav",
                        "assistantUrl": f"{base}-assistant.wav",
                        "customerUrl": f"{base}-customer.wav",
                    },
                },
            }
        for wanted, name, ending in (("pcapEnabled", "pcapUrl", "pcap"), ("loggingEnabled", "logUrl", "jsonl.gz")):
            if plan.get(wanted, True):
                made[name] = f"{base}.{ending}"
        outputs = [each for each in plan.get("structuredOutputs") or [] if isinstance(each, dict)]
        if outputs and talk.heard:
            made["structuredOutputs"] = {
                f"{call.id[:-2]}{place:02d}": {"name": each.get("name"), "result": _extracted(talk, each["schema"])}
                for place, each in enumerate(outputs)
            }
    return made | {
        "nodes": [],
        "variables": variables,
        "variableValues": variables,
        "performanceMetrics": _latencies(turns),
        "scorecards": {},
        "transfers": [],
    }


def _messages(call: PhoneCall, turns: tuple[Turn, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    started = call.at("in-progress")
    if started is None:
        return [], []
    begin = int(to_ms(started))
    prompt = "\n".join(
        str(each.get("content") or "")
        for each in (call.assistant.get("model") or {}).get("messages") or []
        if each.get("role") == "system"
    )
    noted = begin - int(FROM_SYSTEM * 1000)
    messages: list[dict[str, Any]] = [{"role": "system", "message": prompt, "time": noted, "secondsFromStart": 0}]
    formatted: list[dict[str, Any]] = [{"role": "system", "content": prompt}]
    for turn in turns:
        message: dict[str, Any] = {
            "role": turn.role,
            "message": turn.text,
            "time": begin + round(turn.start * 1000),
            "endTime": begin + round(turn.end * 1000),
            "secondsFromStart": round(turn.start, 3),
            "duration": round((turn.end - turn.start) * 1000),
        }
        mark: dict[str, Any] = {"source": ""} if turn.role == "bot" else {"metadata": {}}
        messages.append(message | mark)
        formatted.append({"role": "assistant" if turn.role == "bot" else "user", "content": turn.text})
    return messages, formatted


def _latencies(turns: tuple[Turn, ...]) -> dict[str, Any]:
    usual = {
        "modelLatency": 193,
        "voiceLatency": 320,
        "transcriberLatency": 712,
        "endpointingLatency": 101,
        "turnLatency": 1326,
    }
    answers = sum(turn.role == "bot" for turn in turns)
    averages = {f"{name}Average": value for name, value in usual.items()}
    return {"turnLatencies": [usual] * max(answers - 1, 1), **averages, "numAssistantInterrupted": 0}


def costs_of(call: PhoneCall) -> dict[str, Any]:
    """Return cost, costBreakdown and costs: by the minute, and nothing when no person was reached."""
    talk = call.fate.talk
    if talk is None:
        return {"cost": 0, "costBreakdown": {"total": 0}, "costs": []}
    minutes = round(talk.seconds / 60, 4)
    hosting, hearing, thinking = (round(minutes * each, 4) for each in (MINUTE_COSTS, 0.01, 0.006))
    total = round(hosting + hearing + thinking, 4)
    spoken = sum(len(turn.text) for turn in talk.turns if turn.role == "bot")
    tokens = {"promptTokens": 900, "completionTokens": 60}
    analysis = {f"{each}{what}": 0 for each in ("summary", "structuredData", "successEvaluation", "structuredOutput")
                for what in ("", "PromptTokens", "CompletionTokens")}  # fmt: skip
    breakdown = {
        "stt": hearing,
        "llm": thinking,
        "tts": 0,
        "vapi": hosting,
        "chat": 0,
        "transport": 0,
        "total": total,
        "llmPromptTokens": 900,
        "llmCompletionTokens": 60,
        "ttsCharacters": spoken,
        "voicemailDetectionCost": 0,
        "knowledgeBaseCost": 0,
        "analysisCostBreakdown": analysis,
    }
    transcriber, model, voice = (_named(call, each) for each in ("transcriber", "model", "voice"))
    costs: list[dict[str, Any]] = [
        {"type": "transcriber", "transcriber": transcriber, "minutes": minutes, "cost": hearing},
        {"type": "model", "model": model, **tokens, "cost": thinking},
        {"type": "voice", "voice": voice, "characters": spoken, "cost": 0},
        {"type": "vapi", "subType": "normal", "minutes": minutes, "cost": hosting},
    ]
    extractor = {"provider": "google", "model": "gemini-2.5-flash"}
    costs += [
        {"type": "analysis", "analysisType": each, "model": extractor, **tokens, "cost": 0}
        for each in ("summary", "successEvaluation")
    ]
    return {"cost": total, "costBreakdown": breakdown, "costs": costs}


def _named(call: PhoneCall, part: str) -> dict[str, Any]:
    asked = call.assistant.get(part) or {}
    return {name: asked[name] for name in ("provider", "voiceId", "model") if name in asked}


def _spoilt(told: dict[str, Any], faults: VapiFaults) -> dict[str, Any]:
    """Return the report in another of the shapes that reports come in."""
    artifact = dict(told["artifact"])
    told = {**told, "artifact": artifact}
    if faults.transcript is None:
        return told
    kept = {
        "messages_only": {"messages"},
        "content_arrays": {"messages"},
        "openai_only": {"messagesOpenAIFormatted"},
        "text_only": {"transcript"},
    }[faults.transcript]
    for name in {"messages", "messagesOpenAIFormatted", "transcript"} - kept:
        artifact.pop(name, None)
        told.pop(name, None)
    told.pop("summary", None)
    told["analysis"] = {name: value for name, value in told["analysis"].items() if name != "summary"}
    if faults.transcript == "content_arrays":
        artifact["messages"] = [
            {name: value for name, value in each.items() if name != "message"}
            | {"content": [{"type": "text", "text": each["message"]}]}
            for each in artifact["messages"]
        ]
        told["messages"] = artifact["messages"]
    return told


def presigned(artifact: dict[str, Any], expires_at: str) -> dict[str, Any]:
    """The artifact with links that need no key, made anew each time it is shown."""
    links = {
        "recordingUrl": "presignedMonoUrl",
        "stereoRecordingUrl": "presignedStereoUrl",
        "logUrl": "presignedLogUrl",
    }
    made = {name: f"{artifact[raw]}?sig={secrets.token_hex(16)}" for raw, name in links.items() if raw in artifact}
    return artifact | made | ({"presignedUrlsExpiresAt": expires_at} if made else {})
