// The first song with the npm client "convex", live over a WebSocket. Node 22 or newer, or any bundler.
//   npm install convex
//   DAYSONG_URL=http://127.0.0.1:8000 DAYSONG_TOKEN=… node examples/first_song.mjs "I walked home in the rain"
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";

// The check is for addresses of Convex's own cloud.
const client = new ConvexClient(process.env.DAYSONG_URL, { skipConvexDeploymentUrlCheck: true });
// Called again whenever a token is about to expire: with Clerk, `() => clerk.session.getToken({ template: "convex" })`.
client.setAuth(async () => process.env.DAYSONG_TOKEN);

try {
  const started = await client.action(api.music.startDiaryMusicGeneration, {
    content: process.argv[2] ?? "I walked home in the rain",
  });
  const song = await new Promise((resolve, reject) => {
    // Called with the first result, and each time it changes.
    client.onUpdate(api.music.listPlaylistMusic, {}, (songs) => {
      const song = songs.find((one) => one.diaryId === started.diaryId);
      if (song?.status === "ready") resolve(song);
      if (song?.status === "failed") reject(new Error(song.reason));
    }, reject);
  });
  console.log(song.title, song.audioUrl);
} catch (error) {
  // What a user can act on has a code; see docs/FUNCTIONS.md for those of each function.
  console.error(error instanceof ConvexError ? `${error.data.code}: ${error.data.message}` : error);
  process.exitCode = 1;
} finally {
  await client.close();
}
