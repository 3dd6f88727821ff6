import { h, replace } from "../dom.js";

export const title = "Songs";

export function show(root) {
  replace(root, h("h1", {}, title));
}
