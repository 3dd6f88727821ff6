// Search over the functions, and calling them.

const main = document.getElementById("main");
const { api, clerk } = main.dataset;
const functions = [...main.querySelectorAll("article")];
const KEPT = "daysong.session"; // where the studio keeps who is signed in, in development

const make = (tag, props = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
};

/* Search */

const search = document.getElementById("search");
const found = make("p");
found.setAttribute("role", "status");
const input = make("input", { type: "search", placeholder: "Search  ( / )" });
input.setAttribute("aria-label", "Search functions and types");
search.append(input, found);
search.hidden = false;

const texts = new Map(functions.map((article) => [article, article.textContent.toLowerCase()]));
const links = [...document.querySelectorAll("nav dd a")];

function filter() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = new Set();
  for (const [article, text] of texts) {
    const shown = words.every((word) => text.includes(word));
    article.hidden = !shown;
    if (shown) kept.add(article.id);
  }
  for (const link of links) link.hidden = !kept.has(decodeURIComponent(link.hash.slice(1)));
  for (const entry of document.querySelectorAll("nav dd")) {
    const empty = [...entry.children].every((link) => link.hidden);
    entry.hidden = entry.previousElementSibling.hidden = empty;
  }
  for (const heading of main.querySelectorAll("h2")) {
    let next = heading.nextElementSibling;
    let any = next?.tagName !== "ARTICLE";
    for (; next?.tagName === "ARTICLE" && !any; next = next.nextElementSibling) any = !next.hidden;
    heading.hidden = !any;
  }
  found.textContent = words.length ? `${kept.size} of ${functions.length}` : "";
}
input.addEventListener("input", filter);
addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    input.focus();
  } else if (event.key === "Escape" && event.target === input && input.value) {
    input.value = "";
    filter();
  }
});

/* Trying */

let token = ""; // pasted; kept while the page is open, and nowhere else

const signedIn = () => {
  try {
    return clerk ? JSON.parse(localStorage.getItem(KEPT)) : null;
  } catch {
    return null;
  }
};

async function bearer() {
  if (token) return token;
  const who = signedIn();
  if (!who) return null;
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${clerk}/token`, { method: "POST", headers, body: JSON.stringify({ sub: who.sub }) });
  return answer.ok ? (await answer.json()).jwt : null;
}

async function call(path, kind, args) {
  const jwt = await bearer();
  const begun = performance.now();
  const answer = await fetch(`${api}/${kind}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(jwt ? { Authorization: `Bearer ${jwt}` } : {}) },
    body: JSON.stringify({ path, args, format: "json" }),
  });
  const text = await answer.text();
  const took = Math.round(performance.now() - begun);
  try {
    return { status: answer.status, took, value: JSON.parse(text) };
  } catch {
    return { status: answer.status, took, value: text };
  }
}

function panel(article) {
  const name = article.id;
  const args = make("textarea", { spellcheck: false, value: JSON.stringify(JSON.parse(article.dataset.args), null, 2) });
  args.rows = Math.min(10, args.value.split("\n").length + 1);
  const pasted = make("input", { type: "password", autocomplete: "off", value: token, placeholder: "eyJ…" });
  pasted.addEventListener("input", () => (token = pasted.value.trim().replace(/^Bearer /i, "")));
  const who = signedIn();
  const as = who ? `A token, if not as ${who.name}` : "A token of yours; without one you are a caller who is not signed in";
  const said = make("span", { className: "said" });
  said.setAttribute("role", "status");
  const result = make("pre", { hidden: true, tabIndex: 0 });
  result.setAttribute("aria-label", "Result");
  const run = make("button", { type: "submit", textContent: "Run" });
  const form = make(
    "form",
    { className: "try" },
    make("label", {}, "Arguments", args),
    make("label", {}, as, pasted),
    make("div", { className: "row" }, run, said),
    result,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let given;
    try {
      given = JSON.parse(args.value);
    } catch (error) {
      said.textContent = `The arguments are not JSON: ${error.message}`;
      return;
    }
    run.disabled = true;
    said.textContent = "…";
    try {
      const { status, took, value } = await call(name, article.dataset.kind, given);
      said.textContent = `${value?.status ?? "answer"} · ${status} · ${took} ms`;
      result.textContent = typeof value === "string" ? value : JSON.stringify(value.value ?? value, null, 2);
      result.hidden = false;
    } catch {
      said.textContent = "The server cannot be reached.";
    }
    run.disabled = false;
  });
  return form;
}

for (const article of functions.filter(({ dataset }) => dataset.kind)) {
  const button = make("button", { type: "button", className: "try-button", textContent: "Try it" });
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-label", `Try it: ${article.id}`);
  let form;
  button.addEventListener("click", () => {
    if (!form) article.append((form = panel(article)));
    else form.hidden = !form.hidden;
    button.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) form.querySelector("textarea").focus();
  });
  article.append(button);
}
