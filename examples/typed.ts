// The same calls with types: names, arguments, results and error codes are checked by the compiler.
//   daysong functions --typescript > api.d.ts
import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { ConvexError } from "convex/values";
import type { Api, ErrorCode } from "./api";

const api = anyApi as unknown as Api;

export async function firstSong(url: string, token: string, content: string): Promise<string> {
  const client = new ConvexHttpClient(url, { skipConvexDeploymentUrlCheck: true });
  client.setAuth(token);
  try {
    const { diaryId } = await client.action(api.music.startDiaryMusicGeneration, { content });
    const songs = await client.query(api.music.listPlaylistMusic, {});
    const song = songs.find((one) => one.diaryId === diaryId);
    return song?.status ?? "gone";
  } catch (error) {
    if (error instanceof ConvexError) {
      const code: ErrorCode = error.data.code;
      return code;
    }
    throw error;
  }
}
