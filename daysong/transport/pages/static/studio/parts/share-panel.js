// Sharing a song: its link, who may open it, and how often that was done.

import { h, icon, replace } from "../dom.js";

/** Opens the dialog that shares an own track. */
export function openShare(ctx, track) {
  const { live, ask, say, inWords, openDialog } = ctx;
  const content = h("div", { class: "share-panel", "aria-busy": "true" }, h("p", { class: "lead" }, "…"));
  const opened = openDialog({ title: `Share “${track.title}”`, content, name: "share" });
  let [share, made] = [undefined, null];

  async function run(path, args, done) {
    content.inert = true;
    try {
      await live.mutation(path, args);
      if (done) say(done);
    } catch (error) {
      say(inWords(error));
      show();
    } finally {
      content.inert = false;
    }
  }

  const create = () => run("sharing:createShareLink", { musicId: track.key }).then(() => content.querySelector("input")?.focus());

  async function revoke() {
    const sure = await ask({
      title: "Take this link back?",
      text: "It will never work again, also for those who keep the song in their own playlist. You can make a new link later.",
      confirm: "Take it back",
      danger: true,
    });
    if (sure) await run("sharing:revokeShare", { sharedMusicId: share._id }, "The link works no more.");
  }

  async function copy() {
    const field = content.querySelector(".share-link input");
    try {
      await navigator.clipboard.writeText(field.value);
      say("The link is copied.");
    } catch {
      field.select();
      say("Press Ctrl+C to copy the link.");
    }
  }

  function toggle(label, hint, on, change) {
    const input = h("input", { type: "checkbox", role: "switch", checked: on, on: { change: ({ target }) => change(target.checked) } });
    return h("label", { class: "switch" }, h("span", {}, label, h("small", {}, hint)), input);
  }

  const options = (changed) => run("sharing:setShareOptions", { sharedMusicId: share._id, ...changed });

  function show() {
    content.removeAttribute("aria-busy");
    if (!share) {
      made = null;
      return replace(
        content,
        h("p", {}, "With a link, anyone can hear this song and read its words. They never see your diary."),
        h("div", { class: "answers" }, h("button", { class: "button", type: "button", on: { click: create } }, icon("link"), "Make a link")),
      );
    }
    if (made === share._id) {
      const states = [!share.isPrivate, share.allowDownload, share.listed];
      [...content.querySelectorAll("[role=switch]")].forEach((input, number) => (input.checked = states[number]));
    } else fill();
    content.classList.toggle("is-private", share.isPrivate);
    content.querySelector(".share-state").textContent = stateOf(share);
  }

  function fill() {
    made = share._id;
    replace(
      content,
      h(
        "div",
        { class: "share-link" },
        h("input", { type: "text", readonly: true, value: share.shareUrl, "aria-label": "Link", on: { focus: ({ target }) => target.select() } }),
        h("button", { class: "button", type: "button", on: { click: copy } }, "Copy"),
      ),
      h("p", { class: "share-state", role: "status" }),
      toggle("The link works", "Switched off, it leads to a friendly page without the song.", !share.isPrivate, (on) =>
        run("sharing:setSharePrivacy", { sharedMusicId: share._id, isPrivate: !on }),
      ),
      toggle("The song may be saved", "Adds a button that saves the recording.", share.allowDownload, (on) => options({ allowDownload: on })),
      toggle("Search engines may list it", "Else only those with the link find it.", share.listed, (on) => options({ listed: on })),
      h(
        "div",
        { class: "answers" },
        h("button", { class: "button soft danger", type: "button", on: { click: revoke } }, "Take the link back"),
        h("a", { class: "button soft", href: share.shareUrl, target: "_blank", rel: "noopener" }, "Open the page"),
        navigator.share &&
          h("button", { class: "button", type: "button", on: { click: () => navigator.share({ title: track.title, url: share.shareUrl }).catch(() => {}) } }, "Send"),
      ),
    );
  }

  const stop = live.watch("sharing:listSharedMusic", {}, {
    value(shares) {
      share = shares.find(({ musicId }) => musicId === track.key) ?? null;
      show();
    },
    error: (error) => replace(content, h("p", { class: "trouble" }, inWords(error))),
  });
  opened.closed.then(stop);
}

/** Says how a share is, and how often it was opened. */
export function stateOf({ isPrivate, viewCount }) {
  const seen = viewCount === 0 ? "not opened yet" : `opened ${viewCount === 1 ? "once" : `${viewCount.toLocaleString()} times`}`;
  return isPrivate ? `Private; ${seen}` : `Anyone with the link can open it; ${seen}`;
}
