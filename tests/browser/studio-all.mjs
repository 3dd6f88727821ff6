// Every file of the studio's tests, in one process.

import { readdirSync } from "node:fs";
import { after } from "node:test";
import { chromium } from "./studio.mjs";

after(async () => (await chromium()).close());

for (const name of readdirSync(import.meta.dirname ?? new URL(".", import.meta.url).pathname).sort()) {
  const wanted = process.env.DAYSONG_ONLY ?? "";
  if (/^studio-.*\.test\.mjs$/.test(name) && name.includes(wanted)) await import(`./${name}`);
}
