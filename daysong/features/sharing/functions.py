"""Share links: make one, and what a stranger sees behind it. What owners do with theirs: own_shares.py."""

from __future__ import annotations

from typing import Annotated

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.links import share_url, shared_media_url
from daysong.features.music.rules import MusicNotFound
from daysong.features.sharing.rules import (
    OPEN_SQL,
    DeletedMusic,
    MusicNotReady,
    NotYoursToShare,
    new_share_id,
    shown_name,
    shown_title,
)
from daysong.features.subscriptions import accounts
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, mutation, query, stored
from daysong.kernel.ids import ShareRowId, UserId
from daysong.kernel.time.clock import to_ms
from daysong.kernel.values import StoredJson


class CreateShareLink(Args):
    """Which track."""

    music_id: IdText


class ShareLink(Result):
    """The link's id and its address."""

    share_id: str
    share_url: str


class GetSharedMusic(Args):
    """The id from the link."""

    share_id: Annotated[str, msgspec.Meta(max_length=64)]


class NothingShared(Result):
    """There is nothing behind this link, or not any more."""

    found: bool = False


class SharedMusic(Result):
    """What a stranger sees: the song, never the diary, nor who its owner is to us.

    created_at            when it was shared
    image_url, audio_url  good for as long as the share is open
    user_name             the first word of the owner's name, unless they switched that off
    owner_clerk_id        only for the owner
    allow_download        true when the owner offers the recording as a file; otherwise omitted
    listed                true when search engines may index the page; otherwise omitted
    """

    found: bool
    title: str
    created_at: float
    is_owner: bool
    image_url: str | UnsetType = UNSET
    image_width: int | UnsetType = UNSET
    image_height: int | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    lyric_with_time: StoredJson | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    user_name: str | UnsetType = UNSET
    owner_clerk_id: str | UnsetType = UNSET
    allow_download: bool | UnsetType = UNSET
    listed: bool | UnsetType = UNSET


@mutation
async def create_share_link(ctx: MutationContext, args: CreateShareLink) -> ShareLink:
    """A link to a finished track of the caller's: the same one each time, made public again if it was private.

    Once revoked, a new one is made.
    """
    owner = await accounts.of_caller(ctx)
    track = await ctx.db.fetchrow("select user_id, status, deleted_at from music where id = $1", args.music_id)
    _check_shareable(track, owner)
    share_id = await ctx.db.fetchval(
        "update shared_music set is_private = false, updated_at = $2 where music_id = $1 returning share_id",
        args.music_id, ctx.now,
    )  # fmt: skip
    while share_id is None:
        # Nothing is inserted when the id is taken; then another is drawn. That the track has no link stays so: the
        # owner's lock is held.
        share_id = await ctx.db.fetchval(
            """insert into shared_music (id, share_id, user_id, music_id, created_at, updated_at)
               values ($1, $2, $3, $4, $5, $5) on conflict do nothing returning share_id""",
            ShareRowId.new(ctx.now), new_share_id(), owner, args.music_id, ctx.now,
        )  # fmt: skip
    return ShareLink(share_id=share_id, share_url=share_url(ctx.settings, share_id))


def _check_shareable(track: asyncpg.Record | None, owner: UserId) -> None:
    if track is None:
        raise MusicNotFound
    if track["user_id"] != owner:
        raise NotYoursToShare
    if track["deleted_at"] is not None:
        raise DeletedMusic
    if track["status"] != "ready":
        raise MusicNotReady


@query(reads=("shared_music", "music", "users"), replica="current")
async def get_shared_music(ctx: QueryContext, args: GetSharedMusic) -> SharedMusic | NothingShared:
    """Return the song behind a link to any caller, or `found: false`."""
    ctx.depends_on(args.share_id)
    row = await ctx.db.fetchrow(
        f"""select m.title, m.lyric, m.lyric_with_time::text, m.duration, s.created_at, s.user_id as sharer,
                   case when u.suspension is null then u.clerk_id else '' end as clerk_id,
                   coalesce(m.audio_file_id, m.audio_url) <> '' as has_audio,
                   coalesce(m.image_file_id, m.image_url) <> '' as has_cover,
                   m.image_width, m.image_height, s.allow_download, s.listed,
                   case when u.show_name_on_shares then u.name end as name, {OPEN_SQL} as is_open
            from shared_music s
            join music m on m.id = s.music_id
            join users u on u.id = s.user_id
            where s.share_id = $1""",  # noqa: S608 - a constant
        args.share_id,
    )
    if row is None:
        return NothingShared()
    # What is closed may be opened again.
    ctx.depends_on(row["sharer"])
    if not row["is_open"]:
        return NothingShared()
    is_owner = ctx.caller.subject == row["clerk_id"]
    settings, share_id = ctx.settings, args.share_id
    return SharedMusic(
        found=True,
        title=shown_title(row["title"]),
        created_at=to_ms(row["created_at"]),
        is_owner=is_owner,
        image_url=shared_media_url(settings, share_id, "cover") if row["has_cover"] else UNSET,
        image_width=given(row["image_width"]),
        image_height=given(row["image_height"]),
        audio_url=shared_media_url(settings, share_id, "audio") if row["has_audio"] else UNSET,
        lyric=given(row["lyric"]),
        lyric_with_time=stored(row["lyric_with_time"]),
        duration=given(row["duration"]),
        user_name=given(shown_name(row["name"])),
        owner_clerk_id=row["clerk_id"] if is_owner else UNSET,
        allow_download=row["allow_download"] or UNSET,
        listed=row["listed"] or UNSET,
    )
