// Songs as the player has them, made from what the functions return.

/** Returns the track of a song of the playlist, or of `music:getMusic`; null for one that cannot be played. */
export function trackOf(song) {
  if (song.status !== "ready" || song.isUnavailable || !song.audioUrl) return null;
  const shareId = song.ownershipType === "shared" ? song.addedViaShareId : undefined;
  if (song.ownershipType === "shared" && !shareId) return null;
  return {
    key: shareId ?? song._id,
    shareId,
    title: song.title || "Untitled",
    imageUrl: song.imageUrl,
    audioUrl: song.audioUrl,
    duration: song.duration ?? 0,
    by: song.ownerName,
    diaryId: song.diaryId,
    date: song.diaryDate ?? (shareId ? undefined : song.createdAt),
  };
}

export const tracksOf = (songs) => songs.map(trackOf).filter(Boolean);

/**
 * Watches all there is to a track, with its words. `tell` gets {track, lyric, timed}, or null once it is gone or no longer
 * shared. Returns a function that stops it.
 */
export function watchTrack(live, track, tell) {
  const error = () => {};
  if (track.shareId) {
    return live.watch("sharing:getSharedMusic", { shareId: track.shareId }, {
      value(song) {
        if (!song.found || !song.audioUrl) return tell(null);
        const { title, imageUrl, audioUrl, duration = track.duration, userName: by } = song;
        tell({ track: { ...track, title, imageUrl, audioUrl, duration, by }, lyric: song.lyric, timed: song.lyricWithTime });
      },
      error,
    });
  }
  return live.watch("music:getMusic", { musicId: track.key }, {
    value(song) {
      const found = song && trackOf(song);
      tell(found ? { track: found, lyric: song.lyric, timed: song.lyricWithTime } : null);
    },
    error,
  });
}

/** Names of a song's tracks: the vendor makes two of each. */
export const versionName = (number) => `Version ${number + 1}`;
