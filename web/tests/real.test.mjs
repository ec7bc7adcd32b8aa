// Tests of the pages with a running server, which environment variables name: see `scripts/test-pages`.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { colourAt, eventually, launch, leave, link, near, open } from "./support.mjs";

const { GREENROOM_URL: url, GREENROOM_KEY: key, GREENROOM_SESSION: id, GREENROOM_ENDED: ended } = process.env;

let browser;

before(async () => {
    browser = await launch();
});

after(async () => {
    await browser.close();
});

test("the view shows the session's page and follows a click made through it", async () => {
    const page = await open(browser);
    await page.goto(`${url}/view/${id}#apikey=${key}`);
    await link(page, "live");
    const place = [0.7, 0.6];
    await eventually(async () => near(await colourAt(page, ...place), [16, 24, 40]), 15_000);
    await page.waitForFunction(() => ["everyone", "agent", "you"].includes(document.body.dataset.holder));
    // Once: the next press would give it back.
    if (await page.isVisible("#take")) await page.click("#take");
    await page.waitForFunction(() => ["everyone", "you"].includes(document.body.dataset.holder));
    const box = await page.locator("#frame").boundingBox();
    await page.mouse.click(box.x + box.width * place[0], box.y + box.height * place[1]);
    // The first press makes that page pure red. Lossy encodings are close to it.
    await eventually(async () => near(await colourAt(page, ...place), [255, 0, 0], 40), 15_000);
    if (await page.isVisible("#take")) {
        await page.click("#take");
        await page.waitForFunction(() => document.body.dataset.holder === "agent");
    }
    await leave(page);
});

test("without the display, the page is cast and takes the input of who has control", async () => {
    const page = await open(browser);
    await page.addInitScript(() => {
        // A path without a route makes the display unavailable. noVNC checks the type of a socket, so
        // that it must be a real WebSocket.
        window.WebSocket = new Proxy(WebSocket, {
            construct: (Real, [url, ...more]) => new Real(url.replace("/stream/vnc/", "/stream/nothing/"), ...more),
        });
    });
    await page.goto(`${url}/view/${id}#apikey=${key}`);
    await page.waitForSelector('body[data-stills="true"]', { timeout: 20_000 });
    await page.click("#take");
    await page.waitForSelector('body[data-driven="true"]');
    const place = [0.3, 0.6];
    near(await colourAt(page, ...place), [16, 24, 40]);
    const box = await page.locator("#still").boundingBox();
    await page.mouse.click(box.x + box.width * place[0], box.y + box.height * place[1]);
    // The result of the second press on that page.
    await eventually(async () => near(await colourAt(page, ...place), [0, 255, 0], 40), 15_000);
    await page.click("#take");
    await page.waitForSelector('body[data-driven="false"]');
    await leave(page);
});

test("the wall shows the session", async () => {
    const page = await open(browser);
    await page.goto(`${url}/wall#apikey=${key}`);
    await page.waitForSelector(`.tile[data-picture] a[href$="view/${id}"]`, { timeout: 15_000 });
    await leave(page);
});

test("a wrong key opens nothing", async () => {
    const page = await open(browser);
    await page.goto(`${url}/view/${id}#apikey=wrong`);
    await page.waitForSelector("#gate:not([hidden])");
    await leave(page);
});

test("a session that has ended says so", async () => {
    const page = await open(browser);
    await page.goto(`${url}/view/${ended}#apikey=${key}`);
    await page.waitForSelector("#end:not([hidden])");
    await leave(page);
});
