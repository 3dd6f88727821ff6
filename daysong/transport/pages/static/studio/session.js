// Who is signed in. In production Clerk's own script knows; in development a name is enough for the sandbox's Clerk.

const HINT = "daysong_studio"; // a cookie: whether to show the studio or the front page at first
const KEPT = "daysong.session";

/** Returns the address to go to after signing in, as the page was asked to; /today when that leaves the studio. */
export function nextOf(base, search) {
  const home = `${base}/today`;
  const next = new URLSearchParams(search).get("next");
  if (!next?.startsWith("/") || !URL.canParse(base + next, location.origin)) return home;
  // As the browser reads it: it leaves out tabs and line ends, and takes a backslash for a slash.
  const target = new URL(base + next, location.origin);
  const isOurs = target.origin === location.origin && target.pathname.startsWith(`${base}/`);
  return isOurs ? target.href : home;
}

/** Returns the session of this browser. `how` is the data of the page: how people sign in here, and where. */
export function createSession(how) {
  const enders = new Set();
  let over = false;

  const signal = () => {
    if (over) return;
    over = true;
    hint(how.base, false);
    for (const tell of [...enders]) tell();
  };
  const own = how.auth === "clerk" ? clerk(how, signal) : sandbox(how, signal);

  return {
    /** Resolves once it is known whether a user is signed in. */
    async start() {
      await own.start();
      hint(how.base, own.signedIn);
    },
    get signedIn() {
      return own.signedIn;
    },
    /** Whether who is signed in is surely the same as when this page was loaded. */
    unchanged: () => own.unchanged(),
    /** The id of who is signed in, for what is kept on this device. */
    get subject() {
      return own.subject;
    },
    get name() {
      return own.name;
    },
    kind: how.auth,
    /** Returns a token; null when the session has ended. Rejected when it cannot be known now. */
    async token(force) {
      const token = await own.token(force);
      if (!token) signal();
      return token;
    },
    async signIn(given) {
      over = false;
      await own.signIn(given);
      hint(how.base, own.signedIn);
    },
    async signOut() {
      over = true;
      hint(how.base, false);
      await own.signOut();
    },
    /** Calls `tell` when the session ends otherwise than by `signOut`. */
    onend(tell) {
      enders.add(tell);
      return () => enders.delete(tell);
    },
  };
}

function hint(base, on) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${HINT}=${on ? 1 : ""}; Path=${base || "/"}; Max-Age=${on ? 31_536_000 : 0}; SameSite=Lax${secure}`;
}

function sandbox(how, signal) {
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(KEPT));
    } catch {
      return null;
    }
  };
  let person = read();
  let [token, until] = [null, 0];

  addEventListener("storage", ({ key }) => {
    if (key !== KEPT && key !== null) return;
    const other = read();
    if (person && other?.sub !== person.sub) {
      [person, token] = [null, null];
      signal();
    }
  });

  async function ask(what, body) {
    const headers = { "Content-Type": "application/json" };
    return fetch(`${how.clerk}/${what}`, { method: "POST", headers, body: JSON.stringify(body) });
  }

  return {
    async start() {},
    unchanged: () => read()?.sub === person?.sub,
    get signedIn() {
      return person !== null;
    },
    get subject() {
      return person?.sub ?? null;
    },
    get name() {
      return person?.name ?? null;
    },
    async token(force) {
      if (!person) return null;
      if (token && !force && Date.now() < until) return token;
      const asked = person.sub;
      const answer = await ask("token", { sub: asked });
      if (person?.sub !== asked) return null;
      if (answer.status === 401) {
        localStorage.removeItem(KEPT);
        [person, token] = [null, null];
        return null;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      ({ jwt: token } = await answer.json());
      until = Date.now() + 30_000;
      return token;
    },
    async signIn(name) {
      const plain = name.trim().toLowerCase().replace(/[^a-z0-9]+/g, "_").slice(0, 40);
      const shown = plain.charAt(0).toUpperCase() + plain.slice(1).replaceAll("_", " ");
      const who = { sub: `user_${plain}`, email: `${plain}@example.test`, name: shown };
      const answer = await ask("sign-in", who);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      ({ jwt: token } = await answer.json());
      until = Date.now() + 30_000;
      person = { sub: who.sub, name: shown };
      localStorage.setItem(KEPT, JSON.stringify(person));
    },
    async signOut() {
      const sub = person?.sub;
      localStorage.removeItem(KEPT);
      [person, token] = [null, null];
      if (sub) await ask("sign-out", { sub }).catch(() => {});
    },
  };
}

// Clerk's cookie with the time of the last sign-in or sign-out in this browser.
const clerkChanged = () => document.cookie.split("; ").filter((cookie) => cookie.startsWith("__client_uat")).sort().join();

function clerk(how, signal) {
  let [script, was, since] = [null, null, ""];

  function load(address, attributes = {}) {
    return new Promise((done, failed) => {
      const element = document.createElement("script");
      element.async = true;
      element.crossOrigin = "anonymous";
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      element.onload = done;
      element.onerror = () => failed(new Error("Clerk's script did not load"));
      element.src = address;
      document.head.append(element);
    });
  }

  return {
    async start() {
      // The components of the sign-in page set inline styles, which the policy of the other pages refuses.
      const signingIn = location.pathname === `${how.base}/sign-in`;
      if (signingIn) await load(`${how.clerk}/npm/@clerk/ui@1/dist/ui.browser.js`);
      await load(`${how.clerk}/npm/@clerk/clerk-js@6/dist/clerk.browser.js`, { "data-clerk-publishable-key": how.clerkKey });
      script = globalThis.Clerk;
      const pages = { signInUrl: `${how.base}/sign-in`, signUpUrl: `${how.base}/sign-in` };
      await script.load({ ...pages, ...(signingIn && { ui: { ClerkUI: globalThis.__internal_ClerkUICtor } }) });
      was = script.user?.id ?? null;
      since = clerkChanged();
      script.addListener(({ user }) => {
        if (was && user !== undefined && user?.id !== was) signal();
      });
    },
    unchanged: () => since !== "" && clerkChanged() === since,
    get signedIn() {
      return Boolean(script?.session);
    },
    get subject() {
      return script?.user?.id ?? null;
    },
    get name() {
      return script?.user?.firstName ?? null;
    },
    async token(force) {
      if (!script?.session) return null;
      const options = { template: "convex", skipCache: Boolean(force) };
      const over = (error) => {
        if (error?.status === 401 || error?.status === 404) return null;
        throw error;
      };
      // Installations without that template use the session's own token; a session that has ended has neither.
      return script.session.getToken(options).catch((error) => {
        if (error?.status === 404 && script.session) return script.session.getToken({ skipCache: Boolean(force) }).catch(over);
        return over(error);
      });
    },
    async signIn(place) {
      const target = nextOf(how.base, location.search);
      script.mountSignIn(place, { routing: "hash", forceRedirectUrl: target, signUpForceRedirectUrl: target, withSignUp: true });
    },
    async signOut() {
      was = null;
      await script?.signOut();
    },
  };
}
