// What TypeScript accepts and refuses of the types of `daysong functions --typescript`; compiled, never run.
import { anyApi, type FunctionArgs, type FunctionReturnType } from "convex/server";
import { ConvexHttpClient } from "convex/browser";
import { ConvexReactClient, useQuery, useMutation, useAction, usePaginatedQuery } from "convex/react";
import { ConvexError } from "convex/values";
import type { Api, PaginatedApi, ErrorCode, ErrorData, Errors, InternalApi } from "./api";

const api = anyApi as unknown as Api;
const internal = anyApi as unknown as InternalApi;
const pages = anyApi as unknown as PaginatedApi;
const client = new ConvexHttpClient("http://127.0.0.1:1");

export async function calls() {
  const created = await client.mutation(api.diaries.createDiary, { content: "Rain" });
  const id: string = created._id;
  const entries = await client.query(api.diaries.listDiaries, {});
  const also = await client.query(api.diaries.listDiaries);
  const text: string | undefined = entries[0]?.content ?? also[0]?.content;
  const post = await client.query(api.blog.getBySlug, { slug: "a" });
  const title: string | undefined = post?.title;
  const former: string[] | undefined = post?.redirectFrom;
  // @ts-expect-error a post may be null
  post.title;
  const recent = await client.query(api.blog.listRecent, { limit: 3 });
  const flags: Record<string, boolean> = await client.query(api.featureFlags.getUserFlags, {});
  const email: string = await client.mutation(api.emailNotify.addEmailNotification, { email: "a@x.org" });
  await client.action(api.music.startDiaryMusicGeneration, { content: "Rain" });
  return [id, text, title, former, recent.length, flags, email];
}

export async function mistakes() {
  // @ts-expect-error a mutation is no query
  await client.query(api.diaries.createDiary, { content: "Rain" });
  // @ts-expect-error an argument is missing
  await client.mutation(api.diaries.createDiary, {});
  // @ts-expect-error an argument has another type
  await client.mutation(api.diaries.createDiary, { content: 5 });
  // @ts-expect-error an argument is unknown
  await client.mutation(api.diaries.createDiary, { content: "Rain", mood: "wet" });
  // @ts-expect-error there is no such function
  await client.query(api.diaries.listAll, {});
  // @ts-expect-error it is internal
  await client.mutation(api.blog.createDraft, { title: "x", bodyMarkdown: "x" });
  // @ts-expect-error clients cannot call it
  await client.mutation(internal.blog.createDraft, { title: "x", bodyMarkdown: "x" });
}

export function component() {
  const entries = useQuery(api.diaries.listDiaries, {});
  const skipped = useQuery(api.diaries.getDiary, "skip");
  const paged = usePaginatedQuery(pages.diaries.pageDiaries, {}, { initialNumItems: 10 });
  const words: string[] = paged.results.map((entry) => entry.content);
  // @ts-expect-error an entry has no such field
  paged.results[0]?.mood;
  const create = useMutation(api.diaries.createDiary);
  const start = useAction(api.music.startDiaryMusicGeneration);
  void create({ content: "Rain" });
  void start({ content: "Rain" });
  const content: string | undefined = entries?.[0]?.content;
  return [content, skipped?._id, words];
}

export function failure(error: unknown): number | undefined {
  if (error instanceof ConvexError) {
    const data = error.data as ErrorData<"diaries:createDiary">;
    switch (data.code) {
      case "diary_is_empty":
      case "diary_too_long":
      case "unauthorized":
        return undefined;
      case "rate_limited":
        return data.retryAfter;
      // @ts-expect-error this function does not fail so
      case "post_not_found":
        return undefined;
    }
  }
  return undefined;
}

export const codes: ErrorCode[] = ["rate_limited", "diary_is_empty", "post_not_found"];
// @ts-expect-error there is no such code
export const wrong: ErrorCode = "no_such_code";
export type Draft = FunctionArgs<InternalApi["blog"]["createDraft"]>;
export type Created = FunctionReturnType<InternalApi["blog"]["createDraft"]>;
export const draft: Draft = { title: "x", bodyMarkdown: "x", tags: ["news"] };
export const token = (created: Created): string => created.previewToken;
export type Codes = Errors["blog:publish"];
export const live = new ConvexReactClient("http://127.0.0.1:1");
export const watched = live.watchQuery(api.blog.listPublished, {}).localQueryResult()?.[0]?.title;
