"""Flags and posts, changed by operators: as by their own functions, and in the audit log."""

from __future__ import annotations

from typing import Literal

import msgspec

from daysong.features.blog import writing
from daysong.features.feature_flags import settings as flags
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import mutation
from daysong.workflows.support import audit
from daysong.workflows.support.audit import Outcome, Reason


class ChangeFlag(flags.SetFlag):
    """What to change of a flag, and why."""

    reason: Reason | msgspec.UnsetType = msgspec.UNSET


class DropFlag(flags.OneFlag):
    """Which flag is removed, and why."""

    reason: Reason | msgspec.UnsetType = msgspec.UNSET


class ChangePost(writing.OnePost):
    """Which post is published, archived or deleted, and why."""

    to: Literal["published", "archived", "deleted"]
    reason: Reason | msgspec.UnsetType = msgspec.UNSET


class ChangedPost(Outcome):
    """What was done, and the post after it; none when it was deleted."""

    post: writing.PostState | msgspec.UnsetType = msgspec.UNSET


@mutation
async def change_flag(ctx: MutationContext, args: ChangeFlag) -> Outcome:
    """Create or change a flag. Errors as for featureFlags:setFlag."""
    await flags.set_flag(ctx, args)
    numbers = {name: len(getattr(args, name)) for name in ("allow", "deny", "unlist") if getattr(args, name)}
    percent = {} if args.percent is msgspec.UNSET else {"percent": args.percent}
    return await audit.record(ctx, "flags set", target=args.key, reason=args.reason, details=percent | numbers)


@mutation
async def drop_flag(ctx: MutationContext, args: DropFlag) -> Outcome:
    """Remove a flag with its lists. Errors: FlagNotFound."""
    await flags.remove_flag(ctx, args)
    return await audit.record(ctx, "flags remove", target=args.key, reason=args.reason)


@mutation
async def change_post(ctx: MutationContext, args: ChangePost) -> ChangedPost:
    """Publish, archive or delete a post; the outcome `unchanged` when it is so. Errors: PostNotFound, InvalidPost."""
    former = await writing.locked(ctx.db, args.post_id)
    post_id, outcome = former["id"], "unchanged" if former["status"] == args.to else audit.DONE
    post: writing.PostState | msgspec.UnsetType = msgspec.UNSET
    if args.to == "published":
        post = await writing.publish(ctx, writing.Publish(post_id=post_id))
    elif args.to == "archived":
        post = await writing.archive(ctx, args)
    else:
        await writing.delete_post(ctx, args)
    await audit.record(ctx, f"blog {args.to}", target=post_id, reason=args.reason, outcome=outcome)
    return ChangedPost(outcome=outcome, post=post)
