"""Songs that a client fetches from the bucket, by a signed address: who is redirected, and what it is good for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from conftest import NOW
from daysong.features.links import media_url
from daysong.kernel.settings import read
from daysong.transport.pages.assets import Assets
from daysong.vendors import signed_addresses
from daysong.vendors.signed_addresses import SignedAddresses
from rehearsal import library, photos
from rehearsal.library import Song
from rehearsal.processes import bucket
from rehearsal.processes.bucket import Bucket
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio

SOUND = bytes(range(256)) * 100


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket on this machine, whose credentials are in the environment."""
    with bucket.running(tmp_path / "bucket") as running:
        for name, value in running.settings.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
async def world(database_url: str, data_dir: Path, stored: Bucket) -> AsyncIterator[World]:
    """A world whose songs are in the bucket, served on a port."""
    environ = {"STORAGE_URL": stored.settings["STORAGE_URL"], "MEDIA_REDIRECT": "1"}
    async with World(database_url, data_dir, NOW, environ, port=free_port()) as world:
        yield world


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """A client on the network, as a player is."""
    async with httpx2.AsyncClient(base_url=world.origin, trust_env=False) as http:
        yield http


@pytest.fixture
async def song(world: World, alice: Person) -> Song:
    """A song of Alice's in the bucket."""
    assert alice
    [song] = await library.fill(world, "alice", 1)
    await world.app.files.put(song.file_id, SOUND, "audio/mpeg")
    await world.db.pool.execute("update files set size = $1", len(SOUND))
    return song


def address_of(world: World, file_id: str) -> str:
    """Return the address that the owner's app has of a song's file."""
    address = media_url(world.settings, file_id, None)
    assert address is not None
    return urlsplit(address).path


async def test_a_player_fetches_parts_of_a_song_from_the_bucket(
    world: World, alice: Person, song: Song, http: httpx2.AsyncClient
) -> None:
    """By its owner's address and by that of a share; the signed address is good for further ranges, for GET alone."""
    link = await alice.mutation("sharing:createShareLink", musicId=song.music_id)
    paths = [address_of(world, song.file_id), f"/media/shared/{link['shareId']}/audio"]
    found = [await http.get(path, headers={"Range": "bytes=5-9"}, follow_redirects=True) for path in paths]
    assert [(one.status_code, one.content) for one in found] == [(206, SOUND[5:10])] * 2
    own, shared = (one.history[0] for one in found)
    assert (own.status_code, own.headers["cache-control"]) == (302, "private, max-age=300")
    assert shared.headers["cache-control"] == "no-store"
    assert {one.headers["referrer-policy"] for one in (own, shared)} == {"no-referrer"}
    signed = own.headers["location"]
    assert parse_qs(urlsplit(signed).query)["X-Amz-Expires"] == ["1800"]
    assert shared.headers["location"] == signed
    assert (await http.get(signed, headers={"Range": "bytes=9-11"})).content == SOUND[9:12]
    for refused in (http.head(signed), http.get(signed.replace("X-Amz-Expires=1800", "X-Amz-Expires=1801"))):
        assert (await refused).status_code == 403
    assert (await http.get(signed.partition("?")[0])).status_code == 403


async def test_the_signed_address_is_for_who_may_hear_the_song_and_in_no_log(
    world: World, alice: Person, song: Song, http: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A revoked share and a deleted song redirect nowhere."""
    link = await alice.mutation("sharing:createShareLink", musicId=song.music_id)
    own, shared = address_of(world, song.file_id), f"/media/shared/{link['shareId']}/audio"
    capsys.readouterr()
    assert [(await http.get(path)).status_code for path in (own, shared)] == [302, 302]
    assert "/media/{file_id}" in (logged := "".join(capsys.readouterr()))
    assert "X-Amz" not in logged
    assert song.file_id not in logged
    [row] = await alice.query("sharing:listSharedMusic")
    await alice.mutation("sharing:revokeShare", sharedMusicId=row["_id"])
    assert [(await http.get(path)).status_code for path in (own, shared)] == [302, 404]
    await alice.mutation("music:softDeleteMusic", musicId=song.music_id)
    assert (await http.get(own)).status_code == 404


async def test_the_address_of_the_bucket_opens_nothing_once_the_share_is_revoked(
    world: World, alice: Person, song: Song, http: httpx2.AsyncClient
) -> None:
    """A listener finds the file's id in it: the id alone is not the owner's address, and a further part no redirect."""
    link = await alice.mutation("sharing:createShareLink", musicId=song.music_id)
    shared, middle = f"/media/shared/{link['shareId']}/audio", {"Range": "bytes=5-9"}
    assert song.file_id in (await http.get(shared, headers={"Range": "bytes=0-"})).headers["location"]
    [row] = await alice.query("sharing:listSharedMusic")
    await alice.mutation("sharing:revokeShare", sharedMusicId=row["_id"])
    own = (await alice.query("music:getMusic", musicId=song.music_id))["audioUrl"]
    guessed = (song.file_id, f"{song.file_id}.", f"{song.file_id}.x", own.rpartition("/")[2] + "x", "x." + own[-32:])
    assert {(await http.get(f"/media/{name}")).status_code for name in guessed} == {404}
    assert (await http.get(shared, headers=middle)).status_code == 404
    assert [(await http.get(urlsplit(own).path, headers=headers)).status_code for headers in ({}, middle)] == [302, 302]
    await alice.mutation("music:softDeleteMusic", musicId=song.music_id)
    assert (await http.get(urlsplit(own).path, headers=middle)).status_code == 404


async def test_what_the_bucket_would_answer_otherwise_comes_from_us(
    world: World, song: Song, http: httpx2.AsyncClient
) -> None:
    """HEAD, what the client has already, downloads with the song's title, and types that browsers must not display."""
    own = address_of(world, song.file_id)
    head = await http.head(own)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(SOUND)))
    assert (await http.get(own, headers={"If-None-Match": head.headers["etag"]})).status_code == 304
    saved = await http.get(f"{own}?download=1")
    assert (saved.status_code, saved.content) == (200, SOUND)
    assert saved.headers["content-disposition"] == 'attachment; filename="Song 1.mp3"'
    for kind in ("image/svg+xml", "text/html"):
        await world.db.pool.execute("update files set content_type = $1", kind)
        assert (await http.get(own)).status_code == 200


async def test_photos_of_entries_are_not_redirected(world: World, alice: Person, http: httpx2.AsyncClient) -> None:
    """They are private: no address of the bucket is given out."""
    diary = await alice.mutation("diaries:createDiary", content="A day")
    upload = urlsplit(await alice.action("diaryMedia:generateUploadUrl")).path
    kept = await http.post(upload, content=photos.png())
    args = {"mediaType": "photo", "contentType": "image/png", "fileSize": 1}
    await alice.mutation(
        "diaryMedia:createDiaryMedia", diaryId=diary["_id"], storageId=kept.json()["storageId"], **args
    )
    [media] = await alice.query("diaryMedia:getDiaryMedia", diaryId=diary["_id"])
    assert (await http.get(media["url"])).content == photos.png()


async def test_an_address_is_signed_anew_after_some_minutes(stored: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the same is returned, so that a browser finds what it has; only so many are kept."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(signed_addresses, "MOST_KEPT", 2)
    addresses = SignedAddresses(stored.settings["STORAGE_URL"], "https://s3.example.com")
    first = await addresses.address("file_1")
    assert first.startswith("https://s3.example.com/daysong-test/file_1?X-Amz-Algorithm=")
    now += 299
    assert await addresses.address("file_1") is first
    now += 1
    assert await addresses.address("file_1") is not first
    kept = [await addresses.address(f"file_{number}") for number in range(3)]
    assert [await addresses.address(f"file_{number}") is kept[number] for number in (0, 2, 1)] == [True, True, False]


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"MEDIA_REDIRECT": "1"}, "MEDIA_REDIRECT"),
        ({"MEDIA_REDIRECT": "1", "STORAGE_URL": "gs://songs"}, "MEDIA_REDIRECT"),
        ({"MEDIA_REDIRECT": "1", "STORAGE_URL": "s3://songs"}, None),
        ({"MEDIA_REDIRECT_ENDPOINT": "https://s3.example.com"}, "MEDIA_REDIRECT_ENDPOINT"),
        ({"MEDIA_REDIRECT": "1", "STORAGE_URL": "s3://a", "MEDIA_REDIRECT_ENDPOINT": "s3"}, "MEDIA_REDIRECT_ENDPOINT"),
    ],
)
def test_redirects_need_a_bucket(environ: dict[str, str], problem: str | None) -> None:
    """Of S3: other addresses cannot be signed."""
    _, problems = read(environ)
    assert [one.name for one in problems if one.name.startswith("MEDIA")] == [problem] * (problem is not None)


def test_pages_may_show_what_an_endpoint_without_tls_sends() -> None:
    """On one's own machine; https is allowed anyway."""
    settings, _ = read({"SITE_URL": "https://daysong.test", "MEDIA_REDIRECT_ENDPOINT": "http://127.0.0.1:9000"})
    assert Assets(settings).media == "'self' https://daysong.test https: http://127.0.0.1:9000"
