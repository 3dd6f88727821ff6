"""Posts of the blog, written with the admin key."""

from __future__ import annotations

from typing import Any

from daysong.kernel import values
from daysong.kernel.functions.context import SYSTEM
from rehearsal.world import World


async def write_post(world: World, title: str = "A post", *, published: bool = True, **more: Any) -> Any:
    """Return a new post with its id, slug and former preview token."""
    args = {"title": title, "bodyMarkdown": "# Hello\n\nText.", "tags": ["News"], **more}
    post = values.encode(await world.app.call("blog:createDraft", args, caller=SYSTEM), "json")
    if published:
        await world.app.call("blog:publish", {"postId": post["_id"]}, caller=SYSTEM)
    return post
