// Searches the sample site's shop in a session.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [address, key, site] = process.argv.slice(2);
const browser = await chromium.connectOverCDP(address, { headers: { "x-api-key": key } });
const page = await browser.contexts()[0].newPage();
await page.goto(`${site}/products.html`);
await page.fill("#query", "lamp");
await page.click("#go");
await page.waitForSelector("body[data-found]");
const result = { who: await page.innerText("#who"), products: await page.locator(".product:visible").count() };
await page.close();
await browser.close();
console.log(JSON.stringify(result));
