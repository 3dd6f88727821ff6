// What is written and not saved yet, kept on this device: by person, until it is saved or they sign out.

const NAME = "daysong-drafts";
// In localStorage: drafts that a page has had when it went, since the database may not finish what such a page gives it.
const LATE = `${NAME} `;
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(NAME) : null;
const listeners = new Set();
const keepers = new Set();
const unwritten = new Map(); // key → what is on its way into the database; null removes a draft

// Another tab that keeps its drafts as the session ends must not do so after they were cleared.
let cleared = false;
channel?.addEventListener("message", ({ data }) => (data.cleared ? forget() : tell(data)));

function tell(news) {
  for (const listener of [...listeners]) listener(news);
}

function forget() {
  cleared = true;
  unwritten.clear();
  for (const key of Object.keys(localStorage)) if (key.startsWith(LATE)) localStorage.removeItem(key);
}

const leave = () => keepers.forEach((keep) => keep());
document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && leave());
addEventListener("pagehide", () => {
  leave();
  for (const [key, draft] of unwritten) localStorage.setItem(LATE + key, JSON.stringify(draft));
});

let opened = null;
function database() {
  opened ??= new Promise((done, failed) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("drafts");
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
  return opened;
}

async function use(mode, act) {
  const store = (await database()).transaction("drafts", mode).objectStore("drafts");
  const request = act(store);
  // At once, since the page may be about to go.
  store.transaction.commit?.();
  return new Promise((done, failed) => {
    store.transaction.oncomplete = () => done(request.result);
    store.transaction.onabort = () => failed(store.transaction.error);
  });
}

async function write(key, draft, act) {
  unwritten.set(key, draft);
  localStorage.removeItem(LATE + key);
  channel?.postMessage({ key, draft });
  await use("readwrite", (store) => act(store, key));
  if (unwritten.get(key) === draft) unwritten.delete(key);
}

/** The drafts of one person. */
export function createDrafts(subject) {
  const keyOf = (name) => `${subject} ${name}`;
  return {
    /** Returns what was kept under `name`; null without. */
    async get(name) {
      const late = localStorage.getItem(LATE + keyOf(name));
      if (late !== null) return JSON.parse(late);
      return (await use("readonly", (store) => store.get(keyOf(name)))) ?? null;
    },
    async set(name, draft) {
      if (!cleared) await write(keyOf(name), draft, (store, key) => store.put(draft, key));
    },
    async remove(name) {
      const key = keyOf(name);
      // This tab may show the draft on another page than the one that has saved it.
      tell({ key, draft: null });
      await write(key, null, (store) => store.delete(key));
    },
    /** Calls `changed` with a draft that another tab has changed; null when it is no more. */
    onchange(name, changed) {
      const listener = ({ key, draft }) => key === keyOf(name) && changed(draft);
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    /** Calls `keep` when the page is hidden or goes, so that it sets what it has not yet. */
    onleave(keep) {
      keepers.add(keep);
      return () => keepers.delete(keep);
    },
  };
}

/** Forgets all drafts on this device, and those of its other tabs; nothing is kept until a page is loaded anew. */
export async function clearDrafts() {
  forget();
  channel?.postMessage({ cleared });
  await use("readwrite", (store) => store.clear());
}
