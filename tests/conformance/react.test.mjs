// The React client in a page: hooks, optimistic updates, pages, sign-in, StrictMode, and rendering on a server.
import assert from "node:assert/strict";
import { JSDOM } from "jsdom";
import { WebSocket } from "ws";
import { Notebook, ORIGIN, corner, fn, overHttp, pause, test, tokenOf, unique, until } from "./people.mjs";
import { mustBeLawful, relay } from "./relay.mjs";

const page = new JSDOM("<!doctype html><div id=app></div>", { url: "https://app.example.test/" });
// React and the client look for these when they are loaded.
Object.assign(globalThis, { window: page.window, document: page.window.document });
globalThis.navigator ??= page.window.navigator;

const React = await import("react");
const { createRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");
const { ConvexProvider, ConvexProviderWithAuth, ConvexReactClient, Authenticated, Unauthenticated, useAction, useConvexAuth, useMutation, usePaginatedQuery, useQueries, useQuery } = await import("convex/react");
const { ConvexProviderWithClerk } = await import("convex/react-clerk");
const h = React.createElement;

function reactClient(t, url = ORIGIN, options = {}) {
  const client = new ConvexReactClient(url, { webSocketConstructor: WebSocket, logger: new Notebook(), skipConvexDeploymentUrlCheck: true, unsavedChangesWarning: false, ...options });
  t.after(() => client.close());
  return client;
}

/** Render into the page; what `show` is called with during rendering is kept. */
function shown(t, client, Body, wrap = (tree) => h(ConvexProvider, { client }, tree)) {
  const container = page.window.document.createElement("div");
  const it = { seen: [], container, get last() { return it.seen.at(-1); }, get text() { return container.textContent; } };
  const root = createRoot(container, { onUncaughtError: () => {}, onCaughtError: () => {} });
  root.render(wrap(h(Body, { show: (value) => it.seen.push(value) })));
  it.unmount = () => root.unmount();
  t.after(it.unmount);
  return it;
}

test("useQuery: undefined at first, then the value, then every change", async (t) => {
  const { count, raise } = corner();
  const view = shown(t, reactClient(t), ({ show }) => { show(useQuery(fn(count[0]), count[1])); return null; });
  await until(() => view.last === 0, "a first value");
  assert.equal(view.seen[0], undefined);
  await overHttp().mutation(...raise);
  await until(() => view.last === 1, "news");
});

test("useQuery with skip asks for nothing", async (t) => {
  const through = await relay(t);
  const view = shown(t, reactClient(t, through.url), ({ show }) => { show(useQuery(fn("counter:get"), "skip")); return null; });
  await until(() => view.seen.length, "a rendering");
  await pause(100);
  assert.deepEqual(view.seen.filter((value) => value !== undefined), []);
  assert.ok(through.said("client", "ModifyQuerySet").every((message) => message.modifications.length === 0));
});

test("useMutation with an optimistic update, and useAction", async (t) => {
  const { count, name } = corner();
  let raise, add;
  const view = shown(t, reactClient(t), ({ show }) => {
    show(useQuery(fn(count[0]), count[1]));
    raise = useMutation(fn("counter:increment")).withOptimisticUpdate((store, args) => {
      store.setQuery(fn(count[0]), count[1], store.getQuery(fn(count[0]), count[1]) + (args.by ?? 1));
    });
    add = useAction(fn("actions:add"));
    return null;
  });
  await until(() => view.last === 0, "a first value");
  const asked = raise({ key: name, by: 5 });
  await until(() => view.last === 5, "the optimistic value");
  assert.equal(await asked, 5);
  await pause(50);
  assert.deepEqual(view.seen.filter((value) => ![undefined, 0, 5].includes(value)), []);
  assert.equal(await add({ a: 2, b: 3 }), 5);
});

test("useQueries: several at once, failures beside values", async (t) => {
  const { count, list } = corner();
  const queries = { count: { query: fn(count[0]), args: count[1] }, list: { query: fn(list[0]), args: list[1] }, bad: { query: fn("errors:convex_query"), args: {} } };
  const view = shown(t, reactClient(t), ({ show }) => { show({ ...useQueries(queries) }); return null; });
  await until(() => view.last?.count === 0 && view.last.list && view.last.bad instanceof Error, "all three");
  assert.equal(view.last.bad.data.n, 7n);
});

test("a failing query reaches the error boundary", async (t) => {
  class Boundary extends React.Component {
    state = {};
    static getDerivedStateFromError(error) { return { error }; }
    render() { return this.state.error ? `caught ${this.state.error.data?.code}` : this.props.children; }
  }
  const client = reactClient(t);
  const view = shown(t, client, () => { useQuery(fn("errors:convex_query"), {}); return null; }, (tree) => h(ConvexProvider, { client }, h(Boundary, null, tree)));
  await until(() => view.text === "caught TEAPOT", "the boundary");
});

test("usePaginatedQuery: more on demand, news in place, all in order", async (t) => {
  const { name, add } = corner();
  for (let number = 0; number < 5; number += 1) await overHttp().mutation(...add(number));
  const view = shown(t, reactClient(t), ({ show }) => { show(usePaginatedQuery(fn("todos:page"), { channel: name }, { initialNumItems: 2 })); return null; });
  const texts = () => view.last.results.map((todo) => todo.text).join("");
  await until(() => view.last?.status === "CanLoadMore", "the first page");
  assert.equal(texts(), "01");
  view.last.loadMore(2);
  await until(() => view.last.status === "CanLoadMore" && texts() === "0123", "the second page");
  view.last.loadMore(2);
  await until(() => view.last.status === "Exhausted" && texts() === "01234", "the end");
  await overHttp().mutation(...add(5));
  await until(() => texts() === "012345", "a new line");
});

test("usePaginatedQuery over diaries: newest first, what is written meanwhile, and a page that grows is split", async (t) => {
  const token = tokenOf(unique("user"));
  const through = await relay(t);
  const client = reactClient(t, through.url);
  client.setAuth(async () => token);
  const http = overHttp(token);
  const write = (number) => http.mutation(fn("diaries:createDiary"), { content: `${number}` });
  for (let number = 1; number <= 5; number += 1) await write(number);
  const view = shown(t, client, ({ show }) => { show(usePaginatedQuery(fn("diaries:pageDiaries"), {}, { initialNumItems: 2 })); return null; });
  const contents = () => view.last.results.map((diary) => diary.content).join("");
  await until(() => view.last?.status === "CanLoadMore", "the first page");
  assert.equal(contents(), "54");
  view.last.loadMore(2);
  await until(() => contents() === "5432", "the second page");
  view.last.loadMore(2);
  await until(() => view.last.status === "Exhausted" && contents() === "54321", "the end");
  for (let number = 6; number <= 9; number += 1) await write(number);
  await until(() => contents() === "987654321", "what was written meanwhile, nothing twice and nothing missing");
  await until(() => through.said("client", "ModifyQuerySet").some((message) => JSON.stringify(message).includes("endCursor")), "a split");
  await until(() => view.last.status === "Exhausted" && contents() === "987654321", "the same after the split");
  mustBeLawful(through);
});

test("an auth provider: loading, then signed in, and back", async (t) => {
  const through = await relay(t);
  const who = unique("user");
  const client = reactClient(t, through.url);
  let setSession;
  const session = { signedIn: true };
  const useAuth = () => {
    const [signedIn, set] = React.useState(session.signedIn);
    setSession = set;
    const fetchAccessToken = React.useCallback(async () => tokenOf(who), []);
    return React.useMemo(() => ({ isLoading: false, isAuthenticated: signedIn, fetchAccessToken }), [signedIn, fetchAccessToken]);
  };
  const Me = ({ show }) => { const { isLoading, isAuthenticated } = useConvexAuth(); const me = useQuery(fn("auth:whoami"), isAuthenticated ? {} : "skip"); show([isLoading, isAuthenticated, me]); return h(React.Fragment, null, h(Authenticated, null, `hello ${me}`), h(Unauthenticated, null, "please sign in")); };
  const view = shown(t, client, Me, (tree) => h(ConvexProviderWithAuth, { client, useAuth }, tree));
  await until(() => view.text === `hello ${who}`, "signed in");
  assert.ok(view.seen.every(([, , me]) => me === undefined || me === who));
  setSession(false);
  await until(() => view.text === "please sign in", "signed out");
  mustBeLawful(through);
});

test("Clerk's provider in StrictMode: its token template, its cache, and a change of organisation", async (t) => {
  const through = await relay(t);
  const who = unique("user");
  const client = reactClient(t, through.url, { expectAuth: true });
  const asked = [];
  let setOrg;
  const useAuth = () => {
    const [orgId, set] = React.useState(null);
    setOrg = set;
    const getToken = React.useCallback(async (options) => { asked.push(options); return tokenOf(who); }, []);
    return { isLoaded: true, isSignedIn: true, getToken, orgId, orgRole: null, sessionId: "s1", sessionClaims: {} };
  };
  const Me = ({ show }) => { show(useQuery(fn("auth:whoami"), {})); return null; };
  const view = shown(t, client, Me, (tree) => h(React.StrictMode, null, h(ConvexProviderWithClerk, { client, useAuth }, tree)));
  await until(() => view.last === who, "signed in");
  assert.ok(asked.every((options) => options.template === "convex") && asked.some((options) => options.skipCache === true));
  const before = asked.length;
  setOrg("org_1");
  await until(() => asked.length > before, "a new token");
  await until(() => view.last === who, "signed in again");
  // Nobody's view is shown only where the client itself has signed out in between.
  const signedOut = through.said("client", "Authenticate").some((message) => message.tokenType === "None");
  assert.ok(signedOut || !view.seen.includes(null), "shown as nobody");
  mustBeLawful(through);
});

test("StrictMode mounts twice, and what unmounts is taken off", async (t) => {
  const through = await relay(t);
  const { count, raise } = corner();
  const client = reactClient(t, through.url);
  const view = shown(t, client, ({ show }) => { show(useQuery(fn(count[0]), count[1])); return null; }, (tree) => h(React.StrictMode, null, h(ConvexProvider, { client }, tree)));
  await until(() => view.last === 0, "a first value");
  view.unmount();
  await until(() => through.said("client", "ModifyQuerySet").some((message) => message.modifications.some((change) => change.type === "Remove")), "the query to be taken off");
  const before = view.seen.length;
  await overHttp().mutation(...raise);
  await pause(100);
  assert.equal(view.seen.length, before);
  mustBeLawful(through);
});

test("components that show the same thing change together", async (t) => {
  const { count, raise } = corner();
  const torn = [];
  const Number_ = ({ id, into }) => { into[id] = useQuery(fn(count[0]), count[1]); return null; };
  const view = shown(t, reactClient(t), ({ show }) => {
    const into = React.useRef({}).current;
    React.useEffect(() => { const { a, b } = into; if (a !== b) torn.push([a, b]); });
    show(useQuery(fn(count[0]), count[1]));
    return [h(Number_, { key: "a", id: "a", into }), h(Number_, { key: "b", id: "b", into })];
  });
  await until(() => view.last === 0, "a first value");
  for (let round = 0; round < 5; round += 1) await overHttp().mutation(...raise);
  await until(() => view.last === 5, "all of it");
  assert.deepEqual(torn, []);
});

test("rendering on a server shows what is loading, and opens no socket", async (t) => {
  const through = await relay(t);
  const client = reactClient(t, through.url);
  const Count = () => String(useQuery(fn("counter:get"), { key: "ssr" }) ?? "loading");
  assert.equal(renderToString(h(ConvexProvider, { client }, h(Count))), "loading");
  await pause(50);
  assert.equal(through.lines.length, 0);
});

test("the client itself: query, mutation, action, watchQuery, connectionState", async (t) => {
  const { count, raise } = corner();
  const client = reactClient(t);
  assert.equal(await client.query(fn(count[0]), count[1]), 0);
  const watch = client.watchQuery(fn(count[0]), count[1]);
  let changes = 0;
  t.after(watch.onUpdate(() => { changes += 1; }));
  await until(() => watch.localQueryResult() === 0, "a first value");
  assert.equal(await client.mutation(...raise), 1);
  // The value may be that of the query before, which the client forgets when the server confirms that it has ended.
  await until(() => watch.localQueryResult() === 1, "the news");
  assert.equal(await client.action(fn("actions:add"), { a: 1, b: 1 }), 2);
  assert.ok(changes >= 1);
  assert.equal(client.connectionState().isWebSocketConnected, true);
});
