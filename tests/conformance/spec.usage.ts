// What TypeScript accepts and refuses of the api that convex-helpers makes of `npx convex function-spec`.
import { ConvexHttpClient } from "convex/browser";
import { api, internal } from "./spec";

const client = new ConvexHttpClient("http://127.0.0.1:1");

export async function calls() {
  const created = await client.mutation(api.diaries.createDiary, { content: "Rain" });
  const id: string = created._id;
  const post = await client.query(api.blog.getBySlug, { slug: "a" });
  const title: string | undefined = post?.title;
  const flags: Record<string, boolean> = await client.query(api.featureFlags.getUserFlags, {});
  // @ts-expect-error an argument has another type
  await client.mutation(api.diaries.createDiary, { content: 5 });
  // @ts-expect-error a mutation is no query
  await client.query(api.diaries.createDiary, { content: "Rain" });
  // @ts-expect-error it is internal
  void api.blog.createDraft;
  void internal.blog.createDraft;
  return [id, title, flags];
}
