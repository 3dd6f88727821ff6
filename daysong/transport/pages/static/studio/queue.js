// The queue of the player: which tracks, in which order, and which comes next. It knows nothing of sound.

export const MOST = 500; // tracks in a queue

/** A queue: `tracks` in their own order, each with a `key`, and `order`, the places in which they are played. */
export class Queue {
  tracks = [];
  order = [];
  at = -1; // a place in `order`
  shuffled = false;
  repeat = "off"; // "all", "one"

  get current() {
    return this.tracks[this.order[this.at]] ?? null;
  }

  /** The tracks after the current one, as they will be played. */
  get upcoming() {
    return this.order.slice(this.at + 1).map((place) => this.tracks[place]);
  }

  set(tracks, index = 0) {
    const first = Math.max(0, Math.min(index, tracks.length - 1) - MOST / 2);
    this.tracks = tracks.slice(first, first + MOST);
    this.order = this.tracks.map((_, place) => place);
    this.at = this.tracks.length ? Math.min(index - first, this.tracks.length - 1) : -1;
    if (this.shuffled) this.#shuffle();
  }

  /** Adds tracks that are not there yet, at the end or after the current one. */
  add(tracks, { next = false } = {}) {
    for (const track of tracks) {
      const known = this.tracks.findIndex(({ key }) => key === track.key);
      if (known >= 0 && (!next || known === this.order[this.at])) continue;
      if (known >= 0) this.#drop(this.order.indexOf(known));
      if (this.tracks.length >= MOST) return;
      this.tracks.push(track);
      const place = this.tracks.length - 1;
      if (next && this.at >= 0) this.order.splice(this.at + 1, 0, place);
      else if (this.shuffled) this.order.splice(this.at + 1 + random(this.order.length - this.at), 0, place);
      else this.order.push(place);
      if (this.at < 0) this.at = 0;
    }
  }

  /** Moves on and returns whether there was a track; `ended` when the current one came to its end by itself. */
  next({ ended = false } = {}) {
    if (!this.current) return false;
    if (ended && this.repeat === "one") return true;
    if (this.at + 1 < this.order.length) this.at += 1;
    else if (this.repeat === "off") return false;
    else {
      this.at = 0;
      if (this.shuffled && this.order.length > 2) this.#reorder();
    }
    return true;
  }

  previous() {
    if (this.at > 0) this.at -= 1;
    else if (this.repeat !== "off" && this.order.length) this.at = this.order.length - 1;
  }

  /** Goes to the track with that key; returns whether it is there. */
  jump(key) {
    const at = this.order.findIndex((place) => this.tracks[place].key === key);
    if (at >= 0) this.at = at;
    return at >= 0;
  }

  /** Takes a track out. If it is the current one, the next one becomes that. */
  remove(key) {
    const at = this.order.findIndex((place) => this.tracks[place].key === key);
    if (at < 0) return;
    this.#drop(at);
    this.at = Math.min(this.at, this.order.length - 1);
  }

  #drop(at) {
    const place = this.order[at];
    this.tracks.splice(place, 1);
    this.order = this.order.filter((other) => other !== place).map((other) => (other > place ? other - 1 : other));
    if (at < this.at) this.at -= 1;
  }

  /** Puts another track, such as the other version of the song, in the place of the current one. */
  exchange(track) {
    if (this.current) this.tracks[this.order[this.at]] = track;
  }

  shuffle(on) {
    const place = this.order[this.at];
    this.shuffled = on;
    if (on) this.#shuffle();
    else {
      this.order = this.tracks.map((_, number) => number);
      this.at = place ?? -1;
    }
  }

  #shuffle() {
    const place = this.order[this.at];
    this.#reorder();
    this.order = [place, ...this.order.filter((other) => other !== place)].filter((other) => other !== undefined);
    this.at = this.order.length ? 0 : -1;
  }

  #reorder() {
    for (let last = this.order.length - 1; last > 0; last--) {
      const other = random(last + 1);
      [this.order[last], this.order[other]] = [this.order[other], this.order[last]];
    }
  }

  /** What is kept over a reload, and back. */
  kept() {
    const { tracks, order, at, shuffled, repeat } = this;
    return { tracks, order, at, shuffled, repeat };
  }

  restore({ tracks, order, at, shuffled, repeat }) {
    const usable =
      Array.isArray(tracks) &&
      tracks.length <= MOST &&
      tracks.every((track) => typeof track?.key === "string") &&
      Array.isArray(order) &&
      order.length === tracks.length &&
      new Set(order).size === tracks.length &&
      order.every((place) => Number.isInteger(place) && place >= 0 && place < tracks.length);
    if (!usable) return;
    Object.assign(this, { tracks, order, at: Math.max(-1, Math.min(Math.trunc(Number(at) || 0), tracks.length - 1)) });
    this.shuffled = shuffled === true;
    this.repeat = ["all", "one"].includes(repeat) ? repeat : "off";
  }
}

const random = (below) => Math.floor(Math.random() * below);
