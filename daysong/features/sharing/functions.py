"""Share links: make one, and what a stranger sees behind it. What owners do with theirs: own_shares.py."""

from __future__ import annotations

from typing import Annotated, Any

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.links import media_url, share_url
from daysong.features.music.rules import MusicNotFound
from daysong.features.sharing.rules import DeletedMusic, MusicNotReady, NotYoursToShare, new_share_id
from daysong.features.subscriptions import accounts
from daysong.kernel.clock import to_ms
from daysong.kernel.context import MutationContext, QueryContext
from daysong.kernel.ids import ShareRowId, UserId
from daysong.kernel.registry import Args, IdText, Result, Room, given

room = Room("sharing")

UNTITLED = "Untitled Track"


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
    """What a stranger sees: the song, never the diary, nor who its owner is to us."""

    found: bool
    title: str
    created_at: float
    is_owner: bool
    image_url: str | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    lyric_with_time: Any = UNSET
    duration: float | UnsetType = UNSET


@room.mutation(public=True)
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


@room.query(public=True, reads=("shared_music", "music", "users"))
async def get_shared_music(ctx: QueryContext, args: GetSharedMusic) -> SharedMusic | NothingShared:
    """The song behind a link, for anybody."""
    ctx.depends_on(args.share_id)
    row = await ctx.db.fetchrow(
        """select m.*, case when u.suspension is null then u.clerk_id else '' end as clerk_id, s.user_id as sharer,
                  not s.is_private and m.deleted_at is null and m.status = 'ready' and u.deleted_at is null as is_open
           from shared_music s
           join music m on m.id = s.music_id
           join users u on u.id = s.user_id
           where s.share_id = $1""",
        args.share_id,
    )
    if row is None:
        return NothingShared()
    # What is closed may be opened again.
    ctx.depends_on(row["sharer"])
    if not row["is_open"]:
        return NothingShared()
    return SharedMusic(
        found=True,
        title=row["title"] or UNTITLED,
        created_at=to_ms(row["created_at"]),
        is_owner=ctx.caller.subject == row["clerk_id"],
        image_url=given(media_url(ctx.settings, row["image_file_id"], row["image_url"])),
        audio_url=given(media_url(ctx.settings, row["audio_file_id"], row["audio_url"])),
        lyric=given(row["lyric"]),
        lyric_with_time=given(row["lyric_with_time"]),
        duration=given(row["duration"]),
    )
