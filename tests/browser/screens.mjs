// Takes the pictures of docs/screens as PNG: argument 1 is the folder, 2 the list [{name, url, width, height, dark}], each
// with what is done before: `at` plays a song to that second, `as` is who has signed in, `wait` an element to wait for,
// `text` is typed into the editor, `click` lists buttons to press, by name or by selector; `cookie` is an operator's.

import { launch, ORIGIN } from "./browser.mjs";

const [folder, list] = process.argv.slice(2);
const browser = await launch();
for (const { name, url, width, height, dark, at, as, wait, text, cookie, click = [] } of JSON.parse(list)) {
  const kept = { name: "daysong.session", value: JSON.stringify({ sub: `user_${as}`, name: as }) };
  const page = await browser.newPage({
    ...(as && { storageState: { cookies: [], origins: [{ origin: ORIGIN, localStorage: [kept] }] } }),
    serviceWorkers: "block",
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
    deviceScaleFactor: width < 500 ? 2 : 1,
  });
  if (cookie) await page.context().addCookies([cookie]);
  await page.goto(url, { waitUntil: "networkidle" });
  if (wait) await page.locator(wait).first().waitFor();
  if (text) await page.locator(".editor textarea").fill(text);
  for (const what of click) {
    await (what.startsWith(".") ? page.locator(what) : page.getByRole("button", { name: what, exact: true }).first()).click();
  }
  if (text || click.length) await page.waitForTimeout(700);
  if (at) {
    await page.evaluate((seconds) => {
      const audio = document.querySelector("audio");
      audio.currentTime = seconds;
      return audio.play();
    }, at);
    await page.locator(".line.now .word").waitFor();
    await page.evaluate(() => document.querySelector("audio").pause());
    await page.mouse.move(1, 1);
  }
  // Covers in sight; those of what is hidden are not loaded.
  await page.waitForFunction(() => [...document.images].every((one) => one.complete || !(one.getClientRects()[0]?.top < innerHeight)));
  await page.screenshot({ path: `${folder}/${name}.png` });
  await page.close();
}
await browser.close();
