// Runs examples/react_app.mjs in a page: signs in, writes an entry, and waits for its song. Prints its title.
import { JSDOM } from "jsdom";
import { WebSocket } from "ws";

const page = new JSDOM("<!doctype html><div id=app></div>", { url: "https://app.example.test/" });
Object.assign(globalThis, { window: page.window, document: page.window.document });
globalThis.navigator ??= page.window.navigator;
globalThis.WebSocket = WebSocket;

const { mount } = await import("./react_app.mjs");
const useAuth = () => ({ isLoading: false, isAuthenticated: true, fetchAccessToken });
const fetchAccessToken = async () => process.env.DAYSONG_TOKEN;
const element = page.window.document.getElementById("app");
const unmount = mount(element, process.env.DAYSONG_URL, useAuth);

const until = async (found) => {
  for (;;) {
    const value = found();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};
const text = await until(() => element.querySelector("textarea"));
// React listens for the setter of the prototype.
Object.getOwnPropertyDescriptor(page.window.HTMLTextAreaElement.prototype, "value").set.call(text, process.argv[2]);
text.dispatchEvent(new page.window.Event("input", { bubbles: true }));
await until(() => text.value === process.argv[2]);
element.querySelector("form").dispatchEvent(new page.window.Event("submit", { bubbles: true, cancelable: true }));
const song = await until(() => element.querySelector("li[data-status=ready]"));
console.log(song.firstChild.textContent, song.querySelector("audio").src);
await unmount();
process.exit(0);
