// What is written and not saved yet, kept on this device: by person, until it is saved or they sign out.

const NAME = "daysong-drafts";
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(NAME) : null;

// Another tab that keeps its drafts as the session ends must not do so after they were cleared.
let cleared = false;
channel?.addEventListener("message", ({ data }) => data.cleared && (cleared = true));

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

/** The drafts of one person. */
export function createDrafts(subject) {
  const key = (name) => `${subject} ${name}`;
  return {
    /** Returns what was kept under `name`; null without. */
    get: async (name) => (await use("readonly", (store) => store.get(key(name)))) ?? null,
    async set(name, draft) {
      if (cleared) return;
      channel?.postMessage({ key: key(name), draft });
      await use("readwrite", (store) => store.put(draft, key(name)));
    },
    async remove(name) {
      channel?.postMessage({ key: key(name), draft: null });
      await use("readwrite", (store) => store.delete(key(name)));
    },
    /** Calls `tell` with a draft that another tab has changed; null when it is no more. */
    onchange(name, tell) {
      const heard = ({ data }) => data.key === key(name) && tell(data.draft);
      channel?.addEventListener("message", heard);
      return () => channel?.removeEventListener("message", heard);
    },
  };
}

/** Forgets all drafts on this device, and those of its other tabs; nothing is kept until a page is loaded anew. */
export async function clearDrafts() {
  cleared = true;
  channel?.postMessage({ cleared });
  await use("readwrite", (store) => store.clear());
}
