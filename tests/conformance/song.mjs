// A song in the official client, while a real worker makes it: what a live list shows, and when. Prints one line of JSON.
//   DAYSONG_TOKEN  the session token of whoever asks for the song
import { fn, follow, overSocket, signIn, until } from "./people.mjs";

const cleanups = [];
const client = overSocket({ after: (done) => cleanups.push(done) });
await signIn(client, () => process.env.DAYSONG_TOKEN);
const one = (song) => (song ? { status: song.status, reason: song.reason ?? null } : null);
const playlist = follow(client, "music:listPlaylistMusic", {}, ([song]) => one(song));
const diary = follow(client, "diaries:listDiaries", {}, ([entry]) => one(entry?.primaryMusic));
await Promise.all([playlist.first(), diary.first()]);
await client.action(fn("music:startDiaryMusicGeneration"), { content: "I walked home in the rain." });
const started = Date.now();
const ended = (list) => ["failed", "ready"].includes(list.last?.status);
await until(() => ended(playlist) && ended(diary), "the end of the song");
const took = Date.now() - started;
const statuses = (list) => list.seen.filter(Boolean).map((song) => song.status).filter((status, place, all) => status !== all[place - 1]);
console.log(JSON.stringify({ took, playlist: statuses(playlist), diary: statuses(diary), last: [playlist.last, diary.last] }));
await Promise.all(cleanups.map((done) => done()));
process.exit(0);
