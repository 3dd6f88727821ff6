// A React app in one file: sign-in, an entry, and a playlist that is live. No build step and no JSX, so that it runs as
// it is; with Vite or Expo, write the same with JSX.
//   npm install convex react react-dom
//   import { mount } from "./react_app.mjs";
//   mount(document.getElementById("app"), "https://api.example.com", useAuth);
//
// `useAuth` is a hook that returns { isLoading, isAuthenticated, fetchAccessToken }. With Clerk, ConvexProviderWithClerk
// of "convex/react-clerk" takes the place of ConvexProviderWithAuth and needs no such hook.
import { Authenticated, ConvexProviderWithAuth, ConvexReactClient, Unauthenticated, useAction, useQuery } from "convex/react";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";
import { createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";

function NewEntry() {
  const start = useAction(api.music.startDiaryMusicGeneration);
  const [content, setContent] = useState("");
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    try {
      await start({ content });
      setContent("");
    } catch (error) {
      setProblem(error instanceof ConvexError ? error.data.message : "That did not work. Please try again.");
    }
  };
  return h("form", { onSubmit: submit },
    h("textarea", { value: content, "aria-label": "Today", onChange: (event) => setContent(event.target.value) }),
    h("button", { type: "submit" }, "Make a song"),
    problem && h("p", { role: "alert" }, problem));
}

function Playlist() {
  // undefined while loading; rendered again whenever the server has news.
  const songs = useQuery(api.music.listPlaylistMusic, {});
  if (songs === undefined) return h("p", null, "…");
  return h("ol", null, songs.map((song) => h("li", { key: song._id, "data-status": song.status },
    song.title ?? "A new song",
    song.status === "ready" && h("audio", { controls: true, preload: "none", src: song.audioUrl }),
    song.status === "failed" && h("small", null, song.reason))));
}

/** Show the app in an element; returns a function that takes it away. */
export function mount(element, url, useAuth) {
  const client = new ConvexReactClient(url, { skipConvexDeploymentUrlCheck: true });
  const root = createRoot(element);
  root.render(h(ConvexProviderWithAuth, { client, useAuth },
    h(Authenticated, null, h(NewEntry), h(Playlist)),
    h(Unauthenticated, null, h("p", null, "Please sign in."))));
  return async () => {
    root.unmount();
    await client.close();
  };
}
