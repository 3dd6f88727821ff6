"""What owners do with their shares: see them, close and open them, take them back."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.links import media_url, share_url
from daysong.features.music.rules import TrackStatus
from daysong.features.pages import LARGEST_LIST, LONGEST_LIST, json_bytes
from daysong.features.sharing.rules import ShareNotFound
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, given, mutation, query
from daysong.kernel.time.clock import to_ms


class OneShare(Args):
    """Which share: its row, not the id in the link."""

    shared_music_id: IdText


class SetSharePrivacy(OneShare):
    """Which share, and how it is to be."""

    is_private: bool


class SetShareOptions(OneShare):
    """Which share, and the options to change; those omitted stay.

    allow_download  whether the share page offers the recording as a file
    listed          whether search engines may index the share page
    """

    allow_download: bool | UnsetType = UNSET
    listed: bool | UnsetType = UNSET


class ShareOptions(Result):
    """The options of the share; both are off at first."""

    allow_download: bool
    listed: bool


class Privacy(Result):
    """How the share is now."""

    is_private: bool


class OwnSharedTrack(Result, kw_only=True):
    """The track behind a share, with its entry: of that, the first 2,000 characters."""

    id: str = msgspec.field(name="_id")
    status: TrackStatus
    title: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    created_at: float
    diary_id: str | UnsetType = UNSET
    diary_date: float | UnsetType = UNSET
    diary_content: str | UnsetType = UNSET
    diary_title: str | UnsetType = UNSET


class OwnShare(Result):
    """A share as its owner sees it; `view_count` counts each viewer once a day."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    music_id: str
    share_id: str
    share_url: str
    is_private: bool
    allow_download: bool
    listed: bool
    view_count: int
    created_at: float
    updated_at: float
    music: OwnSharedTrack


SHOWN_CONTENT = 2_000
BYTES = json_bytes("m.title", "m.lyric", "m.image_url", "m.audio_url", "d.title", f"left(d.content, {SHOWN_CONTENT})")

LIST_SQL = f"""
    select listed.*,
           coalesce(v.views, 0) + (select count(*) from share_viewers w where w.share_row_id = listed.id) as views
    from (select s.id, s.share_id, s.is_private, s.allow_download, s.listed, s.created_at, s.updated_at,
                 m.id as music_id, m.status, m.title, m.image_url, m.image_file_id, m.audio_url, m.audio_file_id,
                 m.duration, m.lyric, m.created_at as music_created_at, m.diary_id,
                 d.date as diary_date, left(d.content, {SHOWN_CONTENT}) as diary_content, d.title as diary_title,
                 sum({BYTES}) over (order by s.created_at desc, s.id desc rows unbounded preceding) as bytes_so_far
          from shared_music s
          join users u on u.id = s.user_id and {IS_CALLER}
          join music m on m.id = s.music_id and m.deleted_at is null
          left join diaries d on d.id = m.diary_id
          order by s.created_at desc, s.id desc limit {LONGEST_LIST}) listed
    left join share_views v on v.share_row_id = listed.id
    where bytes_so_far <= {LARGEST_LIST}
    order by listed.created_at desc, listed.id desc"""  # noqa: S608 - constants


@query(reads=("shared_music", "share_views", "share_viewers", "music", "diaries", "users"))
async def list_shared_music(ctx: QueryContext, args: NoArgs) -> list[OwnShare]:  # noqa: ARG001
    """Return the caller's shares, newest first, private ones too; without those of deleted songs.

    At most the newest 500, and at most 4 MiB of them. An anonymous caller has none.
    """
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(LIST_SQL, ctx.caller.subject)
    return [
        OwnShare(
            id=row["id"],
            creation_time=to_ms(row["created_at"]),
            music_id=row["music_id"],
            share_id=row["share_id"],
            share_url=share_url(ctx.settings, row["share_id"]),
            is_private=row["is_private"],
            allow_download=row["allow_download"],
            listed=row["listed"],
            view_count=row["views"],
            created_at=to_ms(row["created_at"]),
            updated_at=to_ms(row["updated_at"]),
            music=OwnSharedTrack(
                id=row["music_id"],
                status=row["status"],
                title=given(row["title"]),
                image_url=given(media_url(ctx.settings, row["image_file_id"], row["image_url"])),
                audio_url=given(media_url(ctx.settings, row["audio_file_id"], row["audio_url"])),
                duration=given(row["duration"]),
                lyric=given(row["lyric"]),
                created_at=to_ms(row["music_created_at"]),
                diary_id=given(row["diary_id"]),
                diary_date=UNSET if row["diary_date"] is None else to_ms(row["diary_date"]),
                diary_content=given(row["diary_content"]),
                diary_title=given(row["diary_title"]),
            ),
        )
        for row in rows
    ]


@mutation
async def set_share_privacy(ctx: MutationContext, args: SetSharePrivacy) -> Privacy:
    """Close a link, or open it again; the same however often it is asked. ShareNotFound also for another's."""
    await _check_owner(ctx, args)
    await ctx.db.execute(
        "update shared_music set is_private = $2, updated_at = $3 where id = $1 and is_private <> $2",
        args.shared_music_id, args.is_private, ctx.now,
    )  # fmt: skip
    return Privacy(is_private=args.is_private)


@mutation
async def toggle_share_privacy(ctx: MutationContext, args: OneShare) -> Privacy:
    """Close an open link or open a closed one. Asked once more it turns back: setSharePrivacy does not."""
    await _check_owner(ctx, args)
    is_private = await ctx.db.fetchval(
        "update shared_music set is_private = not is_private, updated_at = $2 where id = $1 returning is_private",
        args.shared_music_id, ctx.now,
    )  # fmt: skip
    return Privacy(is_private=is_private)


@mutation
async def set_share_options(ctx: MutationContext, args: SetShareOptions) -> ShareOptions:
    """Set the options of a share and return them. Errors: ShareNotFound, also for another user's share."""
    await _check_owner(ctx, args)
    # The account's lock is held, so the row cannot go between the two statements.
    await ctx.db.execute(
        """update shared_music set allow_download = coalesce($2, allow_download), listed = coalesce($3, listed),
                                   updated_at = $4
           where id = $1 and (allow_download <> coalesce($2, allow_download) or listed <> coalesce($3, listed))""",
        args.shared_music_id, _or_none(args.allow_download), _or_none(args.listed), ctx.now,
    )  # fmt: skip
    row = await ctx.db.fetchrow("select allow_download, listed from shared_music where id = $1", args.shared_music_id)
    if row is None:
        raise ShareNotFound
    return ShareOptions(allow_download=row["allow_download"], listed=row["listed"])


def _or_none(value: bool | UnsetType) -> bool | None:
    return None if value is UNSET else value


@mutation
async def revoke_share(ctx: MutationContext, args: OneShare) -> None:
    """Take a link back for good; gone already is fine. Sharing the song again makes another link, counted from 0."""
    owner = await accounts.of_caller(ctx)
    # The id is deleted with the row, and will not be drawn again: there are 5 × 10^17.
    found = await ctx.db.fetchval("select user_id from shared_music where id = $1", args.shared_music_id)
    if found not in {None, owner}:
        raise ShareNotFound
    await ctx.db.execute("delete from shared_music where id = $1", args.shared_music_id)


async def _check_owner(ctx: MutationContext, args: OneShare) -> None:
    owner = await accounts.of_caller(ctx)
    if await ctx.db.fetchval("select user_id from shared_music where id = $1", args.shared_music_id) != owner:
        raise ShareNotFound
