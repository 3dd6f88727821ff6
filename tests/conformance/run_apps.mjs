// The journey with each version of the client over each transport, one after the other. Prints a line of JSON for each
// wish, and reads a line for each answer: { pass: minutes } is answered with { now, zone }; { done } ends a journey.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Apps } from "./apps.mjs";
import { journey } from "./journey.mjs";

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tell = (line) => console.log(JSON.stringify(line));
async function pass(minutes) {
  tell({ pass: minutes });
  return JSON.parse((await answers.next()).value);
}

let number = 120;
for (const client of JSON.parse(process.env.DAYSONG_CLIENTS)) {
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${client}/package.json`, import.meta.url)));
  const library = { browser: await import(`${client}/browser`), server: await import(`${client}/server`) };
  for (const transport of ["HTTP", "WebSocket"]) {
    const apps = new Apps(library, transport);
    const began = Date.now();
    let failure = null;
    try {
      await journey(apps, `alice_${client}_${transport}`.replaceAll("-", "_").toLowerCase(), `+12025550${number++}`, pass);
    } catch (problem) {
      failure = problem.stack;
    }
    await apps.close();
    tell({ done: `${version} over ${transport}`, failure, driven: [...apps.driven].sort(), took: Date.now() - began });
  }
}
process.exit(0);
