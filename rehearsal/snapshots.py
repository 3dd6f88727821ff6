"""A made-up snapshot export of Convex, with every oddity that an import has to bear."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from daysong.kernel.time.clock import to_ms

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
Tables = Mapping[str, Sequence[Any]]

DAY = 86_400_000.0
AT = to_ms(NOW) - 20 * DAY
WORDS = {"alignedWords": [{"word": "Rain ", "startS": 1, "endS": 1.5, "palign": 0}], "waveformData": [0.1, 0.5]}


def document(name: str, /, **fields: Any) -> dict[str, Any]:
    """Return a document as Convex exports it."""
    return {"_id": name, "_creationTime": AT + 0.25, **fields}


def song(name: str, user: str, diary: str | None, index: int = 0, /, **fields: Any) -> dict[str, Any]:
    """Return a track."""
    given = {"taskId": f"task-{user}-{diary}", "musicIndex": index, "status": "ready", "title": "Rain", "lyric": "Rain"}
    given |= {} if diary is None else {"diaryId": diary}
    return document(name, userId=user, createdAt=AT, updatedAt=AT, **(given | fields))


ODDITIES: Tables = {
    "_tables": [{"name": "users", "id": 10001}],
    "users": [
        document("j57alice", clerkId="user_alice", email="alice@example.test", name="Alice A", tags=["early"],
                 activeSubscriptionId="sub_new", createdAt=AT, updatedAt=AT + DAY),
        # The same Clerk id twice: the oldest is kept.
        {**document("j57bob2", clerkId="user_bob", email="bob@example.test"), "_creationTime": AT + DAY},
        {**document("j57bob1", clerkId="user_bob", email="bob@example.test"), "_creationTime": AT - DAY},
        document("j57none", email="nobody@example.test"),
        "this is not JSON",
        ["nor", "a", "document"],
    ],
    "subscriptionStatuses": [
        document("sub_old", userId="j57alice", productId="x", status="active", subscriptionTier="weekly",
                 lastResetAt=AT, musicGenerationsUsed=9),
        document("sub_new", userId="j57alice", platform="app_store", productId="daysong_monthly", status="active",
                 subscriptionTier="monthly", lastResetAt=AT, musicGenerationsUsed={"$integer": "AwAAAAAAAAA="},
                 autoRenewStatus=1, expiresAt=to_ms(NOW) + 5 * DAY),
        document("sub_lost", userId="j57nobody", productId="free-tier", status="active", subscriptionTier="free"),
    ],
    "subscriptionLog": [document("log1", userId="j57alice", eventType="RENEWAL", raw={"price": 3.5})],
    "diaries": [
        document("d_rain", userId="j57alice", title="Rain", content="It rained.", date=AT, primaryMusicId="m_rain",
                 originalText="It rained, and I cried.", version=3),
        document("d_bob", userId="j57bob2", content="Sun.", date=AT),
        document("d_empty", userId="j57alice", content="   ", date=AT),
        document("d_wait", userId="j57alice", content="Wait.", date=AT),
        document("d_orphan", userId="j57gone", content="Lost.", date=AT),
    ],
    "music": [
        song("m_rain", "j57alice", "d_rain", primaryVideoId="w_1", lyricWithTime=WORDS, duration=93.5,
             metadata={"model": "V4"}),
        song("m_rain1", "j57alice", "d_rain", 1),
        song("m_alone", "j57alice", None, title="Alone"),
        song("m_wait", "j57alice", "d_wait", status="pending"),
        song("m_lost", "j57alice", "d_orphan"),
        song("m_gone", "j57alice", "d_rain", taskId="task-2", deletedAt=AT + DAY, lyricWithTime="[00:01] Rain"),
        song("m_theirs", "j57bob1", "d_rain"),
    ],
    "sharedMusic": [
        document("s_rain", musicId="m_rain", userId="j57alice", shareId="l0Il-_share", viewCount=41, isActive=True),
        document("s_dead", musicId="m_alone", userId="j57alice", shareId="deadlink12", viewCount=1, isActive=False),
        document("s_bad", musicId="m_alone", userId="j57alice", shareId="../etc", isActive=True),
    ],
    "userSongs": [
        document("k_own", userId="j57alice", musicId="m_rain", ownershipType="owned", linkedFromMusicIndex=0),
        document("k_kept", userId="j57bob1", musicId="m_rain", ownershipType="shared", sharedMusicId="s_rain"),
        document("k_lost", userId="j57bob1", musicId="m_none", ownershipType="shared"),
    ],
    "callSettings": [
        document("c_alice", userId="j57alice", phoneE164="+12025550123", timezone="Mars/Olympus", localMinutes=1170,
                 cadence="daily", bydayMask=127, active=True, nextRunAtUTC=AT),
        document("c_bob", userId="j57bob1", phoneE164="12", timezone="UTC", localMinutes=1, cadence="daily",
                 active=True),
    ],
    "callJobs": [
        document("job_done", userId="j57alice", callSettingsId="c_alice", scheduledForUTC=AT, status="completed"),
        document("job_open", userId="j57alice", callSettingsId="c_alice", scheduledForUTC=AT + DAY, status="queued"),
    ],
    "callSessions": [
        document("t_1", userId="j57alice", callJobId="job_done", vapiCallId="vapi-1", durationSec=61.5,
                 state="completed",
                 transcript=[{"role": "user", "content": "It rained."}], endOfCallReport={"cost": 0.2}),
    ],
    "diaryMedia": [
        document("p_1", userId="j57alice", diaryId="d_rain", storageId="kg2photo", mediaType="photo",
                 contentType="text/html", fileSize=1),
        document("p_2", userId="j57alice", diaryId="d_rain", storageId="kg2page", mediaType="photo"),
        document("p_3", userId="j57alice", diaryId="d_rain", storageId="kg2damaged", mediaType="photo"),
        document("p_4", userId="j57alice", diaryId="d_rain", storageId="kg2missing", mediaType="photo"),
        document("p_5", userId="j57bob1", diaryId="d_rain", storageId="kg2photo", mediaType="photo"),
    ],
    "people": [
        document("a_1", userId="j57alice", primaryName="Anna", altNames=["Annie", 3], relationshipLabel="sister",
                 interactionCount=99, highlights={"summary": "Your sister.", "lastGeneratedAt": AT}),
        document("a_2", userId="j57alice", primaryName=" ANNA "),
        document("a_3", userId="j57alice", primaryName=" "),
    ],
    "userTags": [
        document("u_1", userId="j57alice", name="rain", displayName="Rain", eventCount=99),
        document("u_2", userId="j57alice", name="RAIN"),
    ],
    "events": [
        document("o_1", userId="j57alice", diaryId="d_rain", happenedAt=AT, title="Rain", summary="It rained.", mood=-7,
                 personIds=["a_1", "a_2", "a_9"], tagIds=["u_1", "u_2"]),
        document("o_2", userId="j57alice", diaryId="d_bob", happenedAt=AT, title="Sun"),
    ],
    "musicVideos": [
        document("w_1", userId="j57alice", musicId="m_rain", scriptPrompt="Rain", status="ready", duration=10,
                 videoStorageId="kg2video", kieTaskId="kie-1"),
        document("w_2", userId="j57alice", musicId="m_rain", scriptPrompt="Sun", status="pending", kieTaskId="kie-2"),
        document("w_3", userId="j57alice", musicId="m_rain", scriptPrompt="Fog", status="pending", kieTaskId="kie-3"),
        document("w_4", userId="j57alice", musicId="m_none", status="pending"),
    ],
    "pushTokens": [
        document("e_1", userId="j57alice", platform="ios", token="ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]"),  # noqa: S106 - no secret
        document("e_2", userId="j57alice", platform="ios", token="a token"),  # noqa: S106 - no secret
    ],
    "emailNotify": [document("i_1", email="Charlie@Example.test", isAndroidInvite=True), document("i_2", email="?")],
    "featureFlags": [document("g_1", key="new-player", enabled=True, allowList=["j57bob2"]), document("g_2", key="!")],
    "blogPosts": [
        document("b_1", slug="first-song", title="First song", bodyMarkdown="# La", author="Alice", tags=["News"],
                 publishedAt=AT, redirectFrom=["song-one"], status="published"),
    ],
    "blogPostRevisions": [
        document("h_1", postId="b_1", title="First", bodyMarkdown="La", createdAt=AT),
        document("h_2", postId="b_none", title="First", bodyMarkdown="La"),
    ],
    "blogPostAnalytics": [document("v_1", postId="b_1", date="2026-01-02", views=7)],
    "feedback": [document("f1", text="unknown table")],
}  # fmt: skip


PHOTO = b"\xff\xd8\xff\xe0" + b"\0" * 60
FILM = b"\0\0\0\x18ftypisom" + b"\0\0\2\0isommp41" + b"\0" * 40
FILES = {
    "kg2photo": (PHOTO, base64.b64encode(sha256(PHOTO).digest()).decode()),
    "kg2video": (FILM, sha256(FILM).hexdigest()),
    "kg2page": (b"<html>", sha256(b"<html>").hexdigest()),
    "kg2damaged": (PHOTO, sha256(b"").hexdigest()),
    "kg2spare": (PHOTO, sha256(PHOTO).hexdigest()),
}
STORED = [document(name, sha256=digest, size=len(content)) for name, (content, digest) in FILES.items()]


def as_lines(documents: Sequence[Any]) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in documents)


def folder(tmp_path: Path, tables: Tables) -> Path:
    """Write a snapshot as a folder."""
    for table, documents in tables.items():
        (tmp_path / "snapshot" / table).mkdir(parents=True)
        (tmp_path / "snapshot" / table / "documents.jsonl").write_text(as_lines(documents))
    (tmp_path / "snapshot" / "_storage").mkdir()
    (tmp_path / "snapshot" / "_storage" / "documents.jsonl").write_text(as_lines(STORED))
    for name, (content, _) in FILES.items():
        (tmp_path / "snapshot" / "_storage" / f"{name}.jpeg").write_bytes(content)
    return tmp_path / "snapshot"


def archive(tmp_path: Path, tables: Tables) -> Path:
    """Write a snapshot as a ZIP archive, its members in no order."""
    path = tmp_path / "snapshot.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("README.md", "A snapshot.")
        for name, (content, _) in FILES.items():
            out.writestr(f"_storage/{name}", content)
        for table, documents in reversed([("_storage", STORED), *tables.items()]):
            out.writestr(f"{table}/documents.jsonl", as_lines(documents))
            out.writestr(f"{table}/generated_schema.jsonl", '"uniform"')
    return path
