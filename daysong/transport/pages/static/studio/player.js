// The player of the studio: outside of the pages, so that it survives navigation.

/** Returns the player. It shows itself in `host`. */
export function createPlayer(host) {
  const audio = new Audio();
  const listeners = new Set();
  let [queue, index] = [[], -1];

  const tell = () => listeners.forEach((listener) => listener());
  for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, tell);

  return {
    get queue() {
      return queue;
    },
    get current() {
      return queue[index] ?? null;
    },
    get playing() {
      return !audio.paused;
    },
    play(tracks, at = 0) {
      [queue, index] = [tracks, at];
      audio.src = tracks[at].audioUrl;
      audio.play().catch(tell);
      tell();
    },
    toggle() {
      if (!queue[index]) return;
      if (audio.paused) audio.play().catch(tell);
      else audio.pause();
    },
    /** Forgets what it plays, as at sign-out. */
    clear() {
      audio.pause();
      audio.removeAttribute("src");
      [queue, index] = [[], -1];
      host.replaceChildren();
      tell();
    },
    onchange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
