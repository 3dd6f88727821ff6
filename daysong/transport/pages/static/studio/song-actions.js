// What can be done with a song: the same in every menu.

import { openShare } from "./parts/share-panel.js";
import { trackOf } from "./tracks.js";

/** Returns the items of a song's menu. `song` is one of the playlist, or what `music:getMusic` returns. */
export function songMenu(ctx, song, { onPage = false, deleted } = {}) {
  const track = trackOf(song);
  const plays = track !== null;
  const isOwn = song.ownershipType !== "shared";
  return [
    plays && { label: "Play next", icon: "next", act: () => add(ctx, song, true) },
    plays && { label: "Add to the queue", icon: "queue", act: () => add(ctx, song, false) },
    plays && null,
    isOwn && plays && !onPage && { label: "Show the song", icon: "note", act: () => ctx.go(`/songs/${song._id}`) },
    isOwn && song.diaryId && { label: "Read the entry", icon: "book", act: () => ctx.go(`/diary/${song.diaryId}`) },
    isOwn && plays && { label: "Share…", icon: "share", act: () => openShare(ctx, track) },
    isOwn && plays && null,
    isOwn
      ? { label: song.status === "pending" ? "Stop and delete…" : "Delete…", icon: "bin", danger: true, act: () => remove(ctx, song).then((gone) => gone && deleted?.()) }
      : { label: "Remove from my songs…", icon: "bin", danger: true, act: () => removeKept(ctx, song).then((gone) => gone && deleted?.()) },
  ];
}

function add(ctx, song, next) {
  ctx.player.add([song], { next });
  ctx.say(next ? "It is played next." : "It was added to the queue.");
}

/** Deletes an own track after a question; resolves to whether it was. */
export async function remove(ctx, song) {
  const isPending = song.status === "pending";
  const sure = await ctx.ask({
    title: isPending ? "Stop making this song?" : `Delete “${song.title || "Untitled"}”?`,
    text: isPending
      ? "The song is not finished. Your entry stays."
      : "It disappears from your songs, and its shared link stops working. Your entry stays.",
    confirm: isPending ? "Stop and delete" : "Delete the song",
    danger: true,
  });
  if (!sure || !(await run(ctx, "music:softDeleteMusic", { musicId: song._id }, "The song is deleted."))) return false;
  ctx.player.remove(song._id);
  return true;
}

async function removeKept(ctx, song) {
  const sure = await ctx.ask({
    title: `Remove “${song.title || "Untitled"}”?`,
    text: "It stays with the person who made it. With their link you can add it again.",
    confirm: "Remove it",
  });
  if (!sure || !(await run(ctx, "userSongs:removeFromLibrary", { userSongId: song.userSongId }, "The song is removed."))) return false;
  if (song.addedViaShareId) ctx.player.remove(song.addedViaShareId);
  return true;
}

async function run(ctx, path, args, done) {
  try {
    await ctx.live.mutation(path, args);
    ctx.say(done);
    return true;
  } catch (error) {
    ctx.say(ctx.inWords(error));
    return false;
  }
}
