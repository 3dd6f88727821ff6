// The player, Songs and People. `selma` has 2,000 songs and people in her days, `bob` has a song; rehearsal/playlists.py.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { ORIGIN, assertWordsInTime, faults, findings, launch, visit } from "./browser.mjs";
import { DESK, PATIENCE, PHONE, assertQuick, call, chromium, turn, worked } from "./studio.mjs";

const FIRST = "The Long Way Home";
const STILL = { reducedMotion: "reduce" };

let browser;
before(async () => (browser = await chromium()));

const audio = (page) =>
  page.evaluate(() => {
    const { currentTime: time, paused, playbackRate: speed, currentSrc: address } = document.querySelector("#player audio");
    return { time, paused, speed, address };
  });
const playing = (page) =>
  page.waitForFunction(() => {
    const element = document.querySelector("#player audio");
    return !element.paused && element.currentTime > 0;
  }, null, { polling: "raf" });
// Signed in before: without the sign-in page, and Today after it.
const session = { name: "daysong.session", value: JSON.stringify({ sub: "user_selma", name: "Selma" }) };
const storageState = { cookies: [], origins: [{ origin: ORIGIN, localStorage: [session] }] };
const asSelma = (path, options, act) =>
  visit(browser, `${ORIGIN}${path}`, { storageState, ...options }, (page) => {
    page.setDefaultTimeout(PATIENCE);
    return act(page);
  });
const song = (page, name) => page.locator(".song", { has: page.getByText(name, { exact: true }) });
const choose = async (page, name, item) => {
  await page.getByRole("button", { name: `More about ${name}`, exact: true }).click();
  await page.getByRole("menuitem", { name: item }).click();
};

test("a song plays, with its words in time, is shared, opened by a stranger, and closed again", () =>
  asSelma("/songs", DESK, async (page) => {
    await page.getByRole("button", { name: /^Play The Long Way Home ?,/ }).click();
    await playing(page);
    await page.getByRole("button", { name: /^Now playing/ }).click();
    const view = page.getByRole("dialog", { name: FIRST });
    await view.locator(".line").first().waitFor();
    await assertWordsInTime(page, { player: "#player audio", words: ".now-playing .line.now .word" });
    // The other version of the song.
    await view.getByRole("button", { name: "Version 2" }).click();
    await page.waitForFunction(() => document.querySelector(".versions [aria-pressed=true]").textContent === "Version 2");
    await playing(page);
    await view.getByRole("button", { name: "Version 1" }).click();

    await view.getByRole("button", { name: "Share" }).click();
    const panel = page.getByRole("dialog", { name: `Share “${FIRST}”` });
    await panel.getByRole("button", { name: "Make a link" }).click();
    const link = await panel.getByLabel("Link", { exact: true }).inputValue();
    await visit(browser, link, PHONE, (stranger, { answer }) => {
      assert.equal(answer.status(), 200);
      return stranger.getByRole("heading", { name: FIRST }).waitFor();
    });
    // The count arrives by itself.
    await panel.getByText("opened once").waitFor();
    await panel.getByLabel("The link works").uncheck();
    await panel.getByText("Private").waitFor();
    assert.equal((await fetch(link)).status, 404);
    await panel.getByLabel("The link works").check();
    await panel.getByText("Anyone with the link").waitFor();
    assert.equal((await fetch(link)).status, 200);
    await panel.getByRole("button", { name: "Take the link back" }).click();
    await page.getByRole("button", { name: "Take it back" }).click();
    await panel.getByRole("button", { name: "Make a link" }).waitFor();
    assert.equal((await fetch(link)).status, 404);
  }));

test("the player survives navigation and a reload", () =>
  asSelma("/songs", DESK, async (page) => {
    await page.getByRole("button", { name: /^Play Kettle Song ?,/ }).click();
    await playing(page);
    await page.evaluate(() => (document.querySelector("#player audio").currentTime = 21));
    await page.getByRole("button", { name: "Speed: 1×" }).click();
    await page.getByRole("link", { name: "People" }).click();
    await page.getByRole("heading", { name: "People" }).waitFor();
    await playing(page);
    const before = await audio(page);
    assert.ok(before.time >= 21 && !before.paused);
    assert.equal(await page.evaluate(() => navigator.mediaSession.metadata.title), "Kettle Song");

    await page.reload();
    await page.getByRole("button", { name: /^Now playing: Kettle Song/ }).waitFor();
    await page.waitForFunction(() => document.querySelector("#player audio").readyState > 0);
    const after = await audio(page);
    assert.ok(after.paused && Math.abs(after.time - before.time) < 3, `${before.time} became ${after.time}`);
    assert.equal(after.speed, 1.25);
    await page.keyboard.press("Space");
    await playing(page);
    assert.ok((await audio(page)).time >= after.time - 0.1);
  }));

test("whatever is done with the queue, each track is in it once, and the one that plays goes on", () =>
  visit(browser, `${ORIGIN}/sign-in`, DESK, async (page) => {
    const wrong = await page.evaluate(async () => {
      const { MOST, Queue } = await import(document.querySelector("script[type=module]").src.replace("app.js", "queue.js"));
      const track = (key) => ({ key: `track ${key}` });
      const some = (below) => Math.floor(Math.random() * below);
      const acts = [
        (queue) => queue.set(Array.from({ length: some(9) }, (_, key) => track(key)), some(9)),
        (queue) => queue.add([track(some(30)), track(some(30))], { next: some(2) === 1 }),
        (queue) => queue.next({ ended: some(2) === 1 }),
        (queue) => queue.previous(),
        (queue) => queue.jump(`track ${some(30)}`),
        (queue) => queue.remove(`track ${some(30)}`),
        (queue) => queue.shuffle(some(2) === 1),
        (queue) => (queue.repeat = ["off", "all", "one"][some(3)]),
        (queue) => queue.restore(JSON.parse(JSON.stringify(queue.kept()))),
      ];
      const keeps = new Set([1, 6, 7, 8]); // acts after which the same track plays
      for (let round = 0; round < 3000; round++) {
        const queue = new Queue();
        for (let step = 0; step < 12; step++) {
          const [act, before] = [some(acts.length), queue.current?.key];
          acts[act](queue);
          const keys = queue.tracks.map(({ key }) => key);
          const sound =
            new Set(keys).size === keys.length &&
            [...queue.order].sort((one, other) => one - other).every((place, number) => place === number) &&
            queue.order.length === keys.length &&
            (keys.length ? queue.at >= 0 && queue.at < keys.length : queue.at === -1);
          if (!sound) return `${act}: ${JSON.stringify(queue.kept())}`;
          if (keeps.has(act) && before && queue.current.key !== before) return `${act} moved on from ${before}`;
        }
      }
      const queue = new Queue();
      queue.set(Array.from({ length: 3000 }, (_, key) => track(key)), 2900);
      return queue.tracks.length <= MOST && queue.current.key === "track 2900" ? null : "a long list";
    });
    assert.equal(wrong, null);
  }));

test("songs are played with the keyboard alone", () =>
  asSelma("/songs", DESK, async (page) => {
    await page.locator(".song").first().waitFor();
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim());
    const tabTo = async (wanted) => {
      for (let n = 0; n < 25; n++) {
        await page.keyboard.press("Tab");
        if (wanted.test(await focused())) return;
      }
      assert.fail(`nothing called ${wanted} has the focus`);
    };
    await tabTo(/^Play Bob’s Harbour/);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowRight");
    assert.match(await focused(), /^Play The Long Way Home,/);
    await page.keyboard.press("Enter");
    await playing(page);
    await page.keyboard.press("Tab");
    assert.match(await focused(), /^More about The Long Way Home$/);
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Play next");
    await page.keyboard.press("ArrowUp");
    assert.equal(await focused(), "Delete…");
    await page.keyboard.press("Escape");
    assert.match(await focused(), /^More about The Long Way Home$/);
    await tabTo(/^Now playing/);
    await page.keyboard.press("Enter");
    await page.locator(".now-playing .line[tabindex='0']").waitFor();
    await tabTo(/^I walked home/);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("#player audio").currentTime >= 6.5, null, { polling: "raf" });
    await page.keyboard.press("k");
    assert.equal((await audio(page)).paused, true);
    await page.keyboard.press("Escape");
    assert.match(await focused(), /^Now playing/);
  }));

test("two thousand songs scroll with few elements, without a frame over 100 ms, and none is missing", () =>
  asSelma("/songs", { ...PHONE, ...STILL }, async (page) => {
    await page.locator(".song").first().waitFor();
    const work = await worked(page);
    await work();
    let seen = { from: 0 };
    const works = [];
    // To the end of what is there, until that is the oldest song; then up again, through songs that are all loaded.
    for (let count = 0; count < 45 && !(seen.oldest && seen.from > 12); count += 1) {
      seen = await page.evaluate(async (before) => {
        const frame = () => new Promise((next) => requestAnimationFrame(next));
        const list = document.querySelector(".virtual");
        const height = list.clientHeight;
        if (before.oldest) scrollBy(0, -1800);
        else scrollTo(0, document.documentElement.scrollHeight);
        for (let n = 0; n < 2; n += 1) await frame();
        const songs = [...document.querySelectorAll(".song")];
        const oldest = before.oldest || songs.some(({ entry }) => entry.song.title === "Song 2000");
        for (let n = 0; n < 40 && !oldest && list.clientHeight === height; n += 1) await frame();
        return { oldest, height, elements: songs.length, from: oldest ? before.from + 1 : 0 };
      }, seen);
      works.push(await work());
      assert.ok(seen.elements < 60, `${seen.elements} elements`);
    }
    assert.ok(seen.oldest, "the oldest song was not reached");
    // All have their place: a row for each song, and a head for each month.
    assert.ok([3, 4].includes((seen.height - 2001 * 76) / 52), `${seen.height} pixels`);
    assertQuick(works);
    if (process.env.DAYSONG_FRAMES) console.log(`longest ${Math.max(...works)} ms`);
  }));

test("pages that the browser has kept go on: live, with what was written, and the song where it was", async (t) => {
  const keeping = await launch({ keepsPages: true });
  t.after(() => keeping.close());
  const [share] = await call("bob", "query", "sharing:listSharedMusic");
  await visit(keeping, `${ORIGIN}/songs`, { ...DESK, ...STILL, storageState }, async (page) => {
    /** Goes back (-1) or forward (1) to a page that is as it was left. */
    async function through(by, path) {
      await page.evaluate((where) => history.go(where), by);
      await page.waitForFunction((where) => globalThis.isKept && location.pathname.startsWith(where), path);
    }
    const paused = (player) => page.waitForFunction((one) => document.querySelector(`${one} audio`).paused, player);
    await page.getByRole("button", { name: /^Play Kettle Song ?,/ }).click();
    await playing(page);
    await page.evaluate(() => (document.querySelector("#player audio").currentTime = 21));
    await page.getByRole("link", { name: "Today" }).click();
    const editor = page.getByRole("textbox", { name: "What happened today?" });
    await editor.fill("Half a thought");
    await page.evaluate(() => (globalThis.isKept = true));

    await page.goto(share.shareUrl);
    await page.getByRole("button", { name: "Play", exact: true }).click();
    await page.waitForFunction(() => document.querySelector("audio").currentTime > 0);
    await page.evaluate(() => (globalThis.isKept = true));
    await through(-1, "/today");
    assert.equal(await editor.inputValue(), "Half a thought");
    await call("selma", "mutation", "diaries:createDiary", { content: "From a phone." });
    await page.locator(".entry-words", { hasText: "From a phone." }).waitFor();
    await paused("#player");
    assert.ok((await audio(page)).time >= 21);
    await page.locator("#player").getByRole("button", { name: "Play", exact: true }).click();
    await playing(page);
    assert.ok((await audio(page)).time >= 21);

    await through(1, "/share/");
    await paused(".player");
    await page.getByRole("button", { name: "Play", exact: true }).click();
    await page.getByRole("button", { name: "Pause" }).waitFor();
    // Another user has signed in, in another tab.
    await page.evaluate(() => localStorage.setItem("daysong.session", JSON.stringify({ sub: "user_bob", name: "Bob" })));
    await page.evaluate(() => history.back());
    await page.waitForFunction(() => !globalThis.isKept && document.querySelector("textarea")?.value === "");
  });
});

test("a song of another has its owner's name until it is private, and can be removed; an own one is deleted in every tab", () =>
  asSelma("/songs", DESK, async (page) => {
    const kept = song(page, "Bob’s Harbour");
    await kept.getByText("by Bob").waitFor();
    const [share] = await call("bob", "query", "sharing:listSharedMusic");
    await call("bob", "mutation", "sharing:setSharePrivacy", { sharedMusicId: share._id, isPrivate: true });
    await kept.getByText("No longer shared").waitFor();
    await choose(page, "Bob’s Harbour", "Remove from my songs…");
    await page.getByRole("button", { name: "Remove it" }).click();
    await kept.waitFor({ state: "detached" });

    const other = await page.context().newPage();
    await other.goto(`${ORIGIN}/songs`);
    await song(other, "What the Sea Said").waitFor();
    // Chromium draws a tab in the background once a second.
    await page.bringToFront();
    await choose(page, "What the Sea Said", "Delete…");
    await page.getByRole("button", { name: "Delete the song" }).click();
    await song(other, "What the Sea Said").waitFor({ state: "detached" });
    await song(page, "What the Sea Said").waitFor({ state: "detached" });
    // The focus is on the song in its place.
    await page.waitForFunction(() => document.activeElement.className === "song-main");
  }));

test("people are renamed and made one, live in two tabs", () =>
  asSelma("/people", DESK, async (page) => {
    const other = await page.context().newPage();
    await other.goto(`${ORIGIN}/people`);
    await other.getByRole("link", { name: /Tom/ }).click();
    await other.getByRole("heading", { name: "Tom" }).waitFor();
    await page.bringToFront();
    await page.getByRole("link", { name: /Tom/ }).click();
    await page.getByText("A long call in the rain").first().waitFor();
    await choose(page, "Tom", "Edit names…");
    await page.getByLabel("Name", { exact: true }).fill("Anna");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("button", { name: "They are the same person" }).waitFor();
    await page.getByLabel("Name", { exact: true }).fill("Thomas");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("heading", { name: "Thomas" }).waitFor();
    await other.getByRole("heading", { name: "Thomas" }).waitFor();

    await choose(page, "Thomas", "Same as another person…");
    await page.getByLabel("Find a name").fill("anni");
    await page.getByRole("button", { name: /Annie/ }).click();
    await page.getByRole("button", { name: "Yes, the same person" }).click();
    await page.getByRole("heading", { name: "Annie" }).waitFor();
    await page.getByText("also Thomas").waitFor();
    await other.getByRole("heading", { name: "This person is no longer there" }).waitFor();
    await other.bringToFront();
    await other.getByRole("link", { name: "All people" }).click();
    await other.getByRole("link", { name: /Annie/ }).waitFor();
    assert.equal(await other.getByRole("link", { name: /Thomas/ }).count(), 0);
  }));

test("songs and people are accessible in both themes and sizes, and with a zoom of 200 %", () =>
  asSelma("/songs", { ...DESK, ...STILL }, async (page) => {
    const look = async (what, options) => assert.deepEqual(await faults(page, options), [], what);
    await page.getByRole("button", { name: /^Play The Long Way Home ?,/ }).click();
    await playing(page);
    await look("Songs");
    // While it plays, every frame is drawn, and looking takes twice as long.
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.querySelector("#player audio").paused);
    await choose(page, FIRST, "Show the song");
    await page.locator(".song-words .line").first().waitFor();
    await look("a song");
    await page.getByRole("button", { name: "More about The Long Way Home" }).click();
    // It closes when the window changes.
    assert.deepEqual(await findings(page, ".menu"), [], "a menu");
    await page.getByRole("menuitem", { name: "Share…" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Make a link" }).click();
    await page.getByLabel("The link works").waitFor();
    await look("sharing", { within: "dialog.share" });
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: /^Now playing/ }).click();
    await page.evaluate(() => {
      const audio = document.querySelector("#player audio");
      audio.currentTime = 6;
      return audio.play();
    });
    await page.locator(".now-playing .line.now").waitFor();
    await page.evaluate(() => document.querySelector("#player audio").pause());
    await look("now playing", { within: "dialog.now-playing" });
    await page.getByRole("button", { name: "Queue" }).last().click();
    await look("the queue", { within: "dialog.now-playing" });
    await page.keyboard.press("Escape");
    await turn(page, "/people");
    await page.locator(".person-card").first().waitFor();
    await look("People");
    await page.locator(".person-card").first().click();
    await page.getByText("Lately").waitFor();
    await look("a person");
  }));
