// Takes the pictures of docs/screens as PNG: argument 1 is the folder, 2 the list [{name, url, width, height, dark, at}].

import { launch } from "./browser.mjs";

const [folder, list] = process.argv.slice(2);
const browser = await launch();
for (const { name, url, width, height, dark, at } of JSON.parse(list)) {
  const page = await browser.newPage({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
    deviceScaleFactor: width < 500 ? 2 : 1,
  });
  await page.goto(url, { waitUntil: "networkidle" });
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
  await page.screenshot({ path: `${folder}/${name}.png` });
  await page.close();
}
await browser.close();
