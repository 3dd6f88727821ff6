// The photos and videos of an entry: shown, added and removed.

import { h, icon, keyed, replace } from "../dom.js";
import { openDialog } from "./dialog.js";

const TYPES = "image/jpeg,image/png,image/webp,image/gif,image/heic,image/heif,image/avif,video/mp4,video/quicktime,video/webm";
const STATUS = {
  413: "This file is too large: photos may have 25 MB, videos 250 MB.",
  415: "This is not a photo or a video that can be kept here.",
};
const kindOf = (file) => (file.type.startsWith("video/") ? "video" : "photo");

/** Returns the photos of an entry as `node`, `add(files)` and `stop`. */
export function createPhotos(ctx, diaryId) {
  const { live } = ctx;
  const grid = h("div", { class: "photos" });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const input = h("input", { class: "visually-hidden", type: "file", accept: TYPES, multiple: true, tabIndex: -1, "aria-hidden": "true", on: { change: () => (add([...input.files]), (input.value = "")) } });
  const button = h("button", { class: "quiet add-photos", type: "button", on: { click: () => input.click() } }, icon("photo"), "Add photos");
  const node = h("section", { class: "photo-place", "aria-label": "Photos" }, grid, input, trouble);
  let [media, sending, serial] = [[], [], 0];

  function draw() {
    const shown = [...media, ...sending];
    grid.className = `photos of-${Math.min(shown.length, 4)}`;
    grid.hidden = !shown.length;
    keyed(grid, shown, (one) => one._id, (one) => (one.file ? waiting(one) : tile(one)));
  }

  function tile(one) {
    const remove = h("button", { class: "remove", type: "button", "aria-label": one.mediaType === "video" ? "Remove this video" : "Remove this photo", on: { click: () => drop(one) } }, icon("close"));
    if (one.mediaType === "video") return h("figure", { class: "photo" }, h("video", { src: one.url, controls: true, preload: "metadata", playsinline: true }), remove);
    const picture = h("img", { src: one.url, alt: "", loading: "lazy", decoding: "async" });
    picture.addEventListener("error", () => picture.replaceWith(h("span", { class: "unseen" }, "This browser cannot show this photo.")), { once: true });
    return h("figure", { class: "photo" }, h("button", { class: "look", type: "button", "aria-label": "Show this photo large", on: { click: () => look(one) } }, picture), remove);
  }

  function waiting(one) {
    one.bar = h("progress", { max: 100, value: 0, "aria-label": `Sending ${one.file.name}` });
    const picture = one.preview && h("img", { src: one.preview, alt: "" });
    return h("figure", { class: "photo sending" }, picture, one.bar);
  }

  function look(one) {
    openDialog({ title: "Photo", content: h("img", { class: "large", src: one.url, alt: "A photo of this entry" }), name: "photo-dialog" });
  }

  async function drop(one) {
    const what = one.mediaType === "video" ? "video" : "photo";
    if (!(await ctx.ask({ title: `Remove this ${what}?`, text: "It is deleted for good.", confirm: "Remove", danger: true }))) return;
    await live.mutation("diaryMedia:deleteDiaryMedia", { mediaId: one._id }).catch((error) => (trouble.textContent = ctx.inWords(error)));
  }

  /** Sends files, one after the other, and attaches them. */
  async function add(files) {
    trouble.textContent = "";
    const wanted = files.map((file) => {
      const preview = file.type.startsWith("image/") ? URL.createObjectURL(file) : "";
      return { _id: `sending ${++serial}`, file, preview, mediaType: kindOf(file) };
    });
    sending = [...sending, ...wanted];
    draw();
    for (const one of wanted) {
      try {
        const address = await live.action("diaryMedia:generateUploadUrl", {});
        const storageId = await send(address, one);
        await live.mutation("diaryMedia:createDiaryMedia", { diaryId, storageId, mediaType: one.mediaType, contentType: one.file.type || "application/octet-stream", fileSize: one.file.size });
      } catch (error) {
        trouble.textContent = error.said ?? ctx.inWords(error);
      }
      sending = sending.filter((other) => other !== one);
      draw();
      if (one.preview) URL.revokeObjectURL(one.preview);
    }
  }

  // fetch() does not tell how much of a body is sent.
  function send(address, one) {
    return new Promise((done, failed) => {
      const request = new XMLHttpRequest();
      const fail = (said) => failed(Object.assign(new Error("upload"), { said }));
      request.open("POST", address);
      request.setRequestHeader("Content-Type", one.file.type || "application/octet-stream");
      request.responseType = "json";
      request.upload.onprogress = ({ loaded, total }) => (one.bar.value = (100 * loaded) / total);
      request.onload = () => (request.status === 200 ? done(request.response.storageId) : fail(STATUS[request.status] ?? "The file could not be sent. Please try again."));
      request.onerror = () => fail("The connection was lost while the file was sent. Please try again.");
      request.send(one.file);
    });
  }

  const over = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const stopWatching = live.watch("diaryMedia:getDiaryMedia", { diaryId }, {
    value(found) {
      // An address is signed anew each time; a picture that is there keeps the one it has.
      const before = new Map(media.map((one) => [one._id, one]));
      media = (found ?? []).map((one) => before.get(one._id) ?? one);
      draw();
    },
    error: () => {},
  });
  draw();
  return {
    node,
    button,
    add,
    /** Lets files be dropped on `place`. */
    dropOn(place) {
      place.addEventListener("dragover", (event) => over(event) && (event.preventDefault(), place.classList.add("is-over")));
      place.addEventListener("dragleave", () => place.classList.remove("is-over"));
      place.addEventListener("drop", (event) => {
        place.classList.remove("is-over");
        if (!over(event)) return;
        event.preventDefault();
        add([...event.dataTransfer.files].filter((file) => /^(image|video)\//.test(file.type)));
      });
    },
    stop: () => stopWatching(),
  };
}
