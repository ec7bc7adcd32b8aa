// Tests of the wall with the fake server.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { KEY, session, startFake } from "./fake-server.mjs";
import { colourAt, eventually, launch, leave, link, near, open } from "./support.mjs";

let browser;
let fake;

before(async () => {
    browser = await launch();
});

after(async () => {
    await browser.close();
});

beforeEach(async () => {
    fake = await startFake();
});

afterEach(() => fake.stop());

const id = (number) => `pbs_0193af2c7e1b77ab8d1${String(number).padStart(3, "0")}`;

async function wall() {
    const page = await open(browser);
    await page.goto(`${fake.base}/wall#apikey=${KEY}`);
    return page;
}

test("it shows each session's picture, follows the list, and leads to the view", async () => {
    const occupancy = { state: "held", runnable_type: "external", runnable_id: "nightly-check" };
    fake.sessions.set(id(1), session(id(1), { occupancy }));
    fake.sessions.set(id(2), session(id(2)));
    const page = await wall();
    await page.waitForSelector(".tile[data-picture] >> nth=1");
    assert.equal(await page.textContent("#summary"), "2 sessions, 1 in use");
    near(await colourAt(page, 0.5, 0.5, `.tile:has(a[href$="${id(1)}"]) .tile-frame`), [60, 170, 90]);
    assert.equal(
        await page.textContent(`.tile:has(a[href$="${id(1)}"]) .tile-who`),
        "external nightly-check",
    );

    fake.sessions.delete(id(2));
    await page.waitForFunction(() => document.querySelectorAll(".tile").length === 1);
    await page.click(".tile a");
    await link(page, "live");
    assert.equal(page.url(), `${fake.base}/view/${id(1)}`);
    await leave(page);
});

test("only what can be seen is fetched", async () => {
    for (let number = 0; number < 60; number += 1) fake.sessions.set(id(number), session(id(number)));
    fake.picture.width = 80;
    fake.picture.height = 50;
    const page = await wall();
    await page.waitForSelector(".tile >> nth=59");
    await page.waitForSelector(".tile[data-picture]");
    await page.waitForTimeout(2_500);
    const drawn = await page.locator(".tile[data-picture]").count();
    assert.ok(drawn < 30, `${drawn} of 60 tiles were fetched, and a dozen can be seen`);
    await page.locator(".tile").last().scrollIntoViewIfNeeded();
    await page.waitForSelector(".tile:last-child[data-picture]");
    await leave(page);
});

test("an empty wall says so, and a wrong key is asked for again", async () => {
    const page = await open(browser);
    await page.goto(`${fake.base}/wall#apikey=wrong`);
    await page.waitForSelector("#gate-complaint:not([hidden])");
    await page.fill("#gate-key", KEY);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#empty:not([hidden])");
    fake.sessions.set(id(1), session(id(1)));
    await eventually(async () => assert.equal(await page.locator(".tile").count(), 1));
    assert.equal(await page.isVisible("#empty"), false);
    await leave(page);
});
