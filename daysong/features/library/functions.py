"""Songs of others: kept from a share link, and removed; an own track put out of sight."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.library.rules import (
    MOST_SHARED,
    LibraryFull,
    MusicNotAvailable,
    NotAPrimaryTrack,
    Ownership,
    ShareLinkNotFound,
    UserSongNotFound,
)
from daysong.features.music import playback
from daysong.features.music.playback import OneMusic
from daysong.features.music.rules import MusicNotFound
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import CALLERS_ID
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, mutation, query
from daysong.kernel.ids import UserSongId


class OneShareLink(Args):
    """The id from the link."""

    share_id: Annotated[str, msgspec.Meta(max_length=64)]


class OneUserSong(Args):
    """Which song of the library, by its `userSongId`."""

    user_song_id: IdText


class LinkUserToMusic(Args):
    """A track, and the account whose library it goes into. Whether it is the account's own is read from the track."""

    user_id: IdText
    music_id: IdText
    music_index: int | UnsetType = UNSET
    ownership_type: Ownership | UnsetType = UNSET


class Added(Result):
    """The song is in the library; `already_added` when it was before, or is the caller's own."""

    success: bool
    already_added: bool | UnsetType = UNSET


@mutation
async def add_from_share(ctx: MutationContext, args: OneShareLink) -> Added:
    """Keep the song behind a link in the caller's library. Adding it again, or one's own, changes nothing.

    A song that was added by a link that is revoked since is available again by the new one.
    Errors: ShareLinkNotFound, MusicNotAvailable, LibraryFull.
    """
    owner = await accounts.of_caller(ctx)
    # Locked, so that the link is not revoked before the row refers to it.
    share = await ctx.db.fetchrow(
        """select s.id, s.user_id, s.is_private, s.music_id, m.music_index,
                  m.deleted_at is null and m.status = 'ready' as is_ready
           from shared_music s join music m on m.id = s.music_id join users u on u.id = s.user_id
           where s.share_id = $1 and u.deleted_at is null for key share of s, m""",
        args.share_id,
    )
    if share is None or share["is_private"]:
        raise ShareLinkNotFound
    if not share["is_ready"]:
        raise MusicNotAvailable
    if share["user_id"] == owner:
        return Added(success=True, already_added=True)
    known = await ctx.db.fetchval(
        """update user_songs set shared_music_id = $3,
             updated_at = case when shared_music_id is distinct from $3 then $4 else updated_at end
           where user_id = $1 and music_id = $2 returning true""",
        owner, share["music_id"], share["id"], ctx.now,
    )  # fmt: skip
    if known:
        return Added(success=True, already_added=True)
    kept = await ctx.db.fetchval(
        "select count(*) from user_songs where user_id = $1 and ownership_type = 'shared'", owner
    )
    if kept >= MOST_SHARED:
        raise LibraryFull
    await ctx.db.execute(
        """insert into user_songs (id, user_id, ownership_type, music_id, shared_music_id, linked_from_music_index,
                                   created_at, updated_at)
           values ($1, $2, 'shared', $3, $4, $5, $6, $6)""",
        UserSongId.new(ctx.now), owner, share["music_id"], share["id"], share["music_index"], ctx.now,
    )  # fmt: skip
    return Added(success=True)


@query(reads=("user_songs", "shared_music", "users"))
async def is_share_in_library(ctx: QueryContext, args: OneShareLink) -> bool:
    """Return whether the song behind a link is the caller's own, or in their library; false to an anonymous caller."""
    if ctx.caller.subject is None:
        return False
    ctx.depends_on(args.share_id)
    found: bool = await ctx.db.fetchval(
        f"""select exists (
              select from shared_music s
              where s.share_id = $2
                and (exists (select from user_songs l where l.music_id = s.music_id and l.user_id = {CALLERS_ID})
                     or s.user_id = {CALLERS_ID}))""",  # noqa: S608 - a constant
        ctx.caller.subject, args.share_id,
    )  # fmt: skip
    return found


@mutation
async def remove_from_library(ctx: MutationContext, args: OneUserSong) -> None:
    """Remove a song of another's from the caller's library. UserSongNotFound also for one's own, and for another's."""
    owner = await accounts.of_caller(ctx)
    if not await _remove(ctx, owner, args.user_song_id):
        raise UserSongNotFound


@mutation
async def soft_delete_music(ctx: MutationContext, args: OneMusic) -> None:
    """Hide a track from playlist, diary and share page; a song of another's is removed from the library.

    MusicNotFound also for another's that is not there. Deleting a pending track cancels its song, and deleting any
    track the video in progress; the charge is refunded only while the vendor was not requested.
    """
    owner = await accounts.of_caller(ctx)
    if not await _remove(ctx, owner, args.music_id):
        await playback.hide_track(ctx, owner, args.music_id)


async def _remove(ctx: MutationContext, owner: str, song: str) -> bool:
    """Remove a song of another's, by its id in the library or the track's; return whether it was there."""
    removed = await ctx.db.fetchval(
        """delete from user_songs where user_id = $1 and ownership_type = 'shared' and (id = $2 or music_id = $2)
           returning true""",
        owner, song,
    )  # fmt: skip
    return removed is not None


@mutation
async def link_user_to_music(ctx: MutationContext, args: LinkUserToMusic) -> str:
    """Put a first track into an account's library; return the id there, the same each time.

    Errors: NotAPrimaryTrack, MusicNotFound.
    """
    if args.music_index not in {0, UNSET}:
        raise NotAPrimaryTrack
    track = await ctx.db.fetchrow(
        """select m.music_index, m.user_id = $2 as is_own, m.deleted_at, s.id as share
           from music m left join shared_music s on s.music_id = m.id where m.id = $1 for key share of m""",
        args.music_id, args.user_id,
    )  # fmt: skip
    known = await ctx.db.fetchval("select true from users where id = $1 and deleted_at is null", args.user_id)
    if track is None or track["deleted_at"] is not None or not known:
        raise MusicNotFound
    if track["music_index"] != 0:
        raise NotAPrimaryTrack
    await ctx.db.execute(
        """insert into user_songs (id, user_id, ownership_type, music_id, shared_music_id, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $6, $6) on conflict do nothing""",
        UserSongId.new(ctx.now), args.user_id, "owned" if track["is_own"] else "shared", args.music_id,
        None if track["is_own"] else track["share"], ctx.now,
    )  # fmt: skip
    found: str = await ctx.db.fetchval(
        "select id from user_songs where user_id = $1 and music_id = $2", args.user_id, args.music_id
    )
    return found
