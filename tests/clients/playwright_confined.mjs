// The access of the browser to files of the machine, without the rules of the DevTools proxy.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [address, key, ...addresses] = process.argv.slice(2);
const browser = await chromium.connectOverCDP(address, { headers: { "x-api-key": key } });
const result = {};
for (const address of addresses) {
  // A separate page for each: an error page that still loads would end the next navigation.
  const page = await browser.contexts()[0].newPage();
  try {
    await page.goto(address);
    result[address] = await page.innerText("body");
  } catch (cause) {
    result[address] = /net::\w+/.exec(cause.message)?.[0] ?? cause.message;
  }
  await page.close();
}
await browser.close();
console.log(JSON.stringify(result));
