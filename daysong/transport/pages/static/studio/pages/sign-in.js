// Where people sign in: in development with a name, in production with Clerk's own component.

import { h, replace } from "../dom.js";
import { nextOf } from "../session.js";

export async function showSignIn(main, { session, base }) {
  const asked = new URLSearchParams(location.search);
  const leave = () => location.replace(nextOf(base, location.search));
  document.title = "Sign in · daysong";
  if (session.signedIn) return leave();
  const ended = asked.has("ended") && h("p", { class: "notice-line", role: "status" }, "You were signed out. What you wrote is kept on this device.");
  // A new person's zone is the one of the device.
  sessionStorage.setItem("daysong.fresh", "1");
  main.removeAttribute("aria-busy");

  if (session.kind === "clerk") {
    const place = h("div", { class: "clerk" });
    replace(main, h("h1", {}, "Sign in"), ended, place);
    return session.signIn(place);
  }

  const trouble = h("p", { class: "trouble", role: "alert" });
  async function enter(name) {
    trouble.textContent = "";
    if (!/[a-z0-9]/i.test(name)) {
      trouble.textContent = "Please type a name with letters.";
      return;
    }
    try {
      await session.signIn(name);
      leave();
    } catch {
      trouble.textContent = "That did not work. Is the server running?";
    }
  }
  const field = h("input", { id: "name", type: "text", name: "name", autocomplete: "off", maxlength: "40", placeholder: "bob" });
  replace(
    main,
    h("h1", {}, "Sign in"),
    ended,
    h("button", { class: "button wide", type: "button", on: { click: () => enter("alice") } }, "Continue as alice"),
    h(
      "form",
      { class: "by-name", on: { submit: (event) => (event.preventDefault(), enter(field.value)) } },
      h("label", { htmlFor: "name" }, "or as somebody else"),
      h("div", { class: "pair" }, field, h("button", { class: "button soft", type: "submit" }, "Continue")),
    ),
    trouble,
    h("p", { class: "fine" }, "This is a development server: the sandbox's Clerk asks for no password."),
  );
}
