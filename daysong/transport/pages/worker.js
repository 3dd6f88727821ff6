// The service worker of the studio: pages open without a connection, with the scripts and styles of this release. Nothing
// that belongs to a person is kept here. The server puts the names RELEASE, SHELL and FILES above.

const NAME = `daysong-${RELEASE}`;
const PATIENCE = 4000; // ms that a page may take to load before the kept one is shown

self.addEventListener("install", (event) => {
  const requests = [SHELL, ...FILES].map((url) => new Request(url, { cache: url === SHELL ? "reload" : "default", credentials: "omit" }));
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(requests)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const others = (names) => names.filter((name) => name.startsWith("daysong-") && name !== NAME);
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(others(names).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const { origin, pathname } = new URL(request.url);
  if (origin !== location.origin) return;
  if (request.mode === "navigate") {
    if (PAGES.test(pathname)) event.respondWith(page(request));
  } else if (pathname.includes("/static/")) {
    // The responses vary by Origin, which module scripts send and what was kept at installation did not.
    event.respondWith(caches.match(request, { ignoreVary: true }).then((kept) => kept ?? fetch(request)));
  }
});

async function page(request) {
  const cache = await caches.open(NAME);
  const kept = await cache.match(SHELL);
  if (!kept) return fetch(request);
  const loaded = fetch(request);
  loaded.catch(() => {});
  try {
    return await Promise.race([loaded, new Promise((_, late) => setTimeout(late, PATIENCE, new Error("late")))]);
  } catch {
    return kept;
  }
}
