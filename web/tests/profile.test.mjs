// Tests of the panel that saves a login as a profile, with the fake server.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { KEY, profile, session, startFake, TICKET } from "./fake-server.mjs";
import { eventually, launch, leave, link, open } from "./support.mjs";

const ID = "pbs_0193af2c7e1b77ab8d10e1";
const OWN = { browser_profile_id: "bp_0193af2c7e1b77ab8d10e9", browser_profile_access: "write" };

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
    fake.sessions.set(ID, session(ID));
});

afterEach(() => fake.stop());

async function view(credentials = `#apikey=${KEY}`, options = {}) {
    const page = await open(browser, options);
    await page.goto(`${fake.base}/view/${ID}${credentials}`);
    await link(page, "live");
    await page.waitForSelector("#page:not([hidden])", { state: "attached" });
    return page;
}

/** True if the element is within the screen. */
async function seen(page, selector) {
    const { x, y, width, height } = await page.locator(selector).boundingBox();
    const screen = page.viewportSize();
    return x >= 0 && y >= 0 && x + width <= screen.width && y + height <= screen.height;
}

const dockButton = (page) => page.getByRole("button", { name: "Save this login", exact: true });
const shows = (page, selector, text) =>
    eventually(async () => assert.equal(await page.textContent(selector), text));

test("the login is saved by the keyboard, under the name of the page's host", async () => {
    let finish;
    const finished = new Promise((resolve) => {
        finish = resolve;
    });
    fake.onSave = async ({ name }) => {
        await finished;
        return [200, profile({ name })];
    };
    const page = await view(undefined, { permissions: ["clipboard-read", "clipboard-write"] });
    await dockButton(page).focus();
    await page.keyboard.press("Enter");
    const panel = page.getByRole("complementary", { name: "Save this login" });
    await panel.waitFor();
    assert.equal(await panel.getByRole("textbox", { name: "Name" }).inputValue(), "127.0.0.1");
    assert.equal(await page.isVisible("#profile-choice"), false);
    await page.keyboard.type("Footlights of Ann");
    await page.keyboard.press("Enter");
    await shows(page, "#profile-note", "The browser stands still for a moment.");
    assert.equal(await page.getAttribute("#profile-save", "aria-disabled"), "true");
    await page.keyboard.press("Enter");
    finish();
    await shows(page, "#profile-note", "Saved as Footlights of Ann, version 1.");
    assert.deepEqual(fake.saves, [{ name: "Footlights of Ann" }], "Enter saved it twice");
    assert.equal(await page.textContent("#profile-saved-id"), profile().browser_profile_id);
    await page.click("#profile-copy");
    await shows(page, "#profile-note", "The id is on your clipboard.");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), profile().browser_profile_id);
    await page.keyboard.press("Escape");
    await panel.waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "profile-button");
    await leave(page);
});

test("a session with a profile of its own saves to that first, or to a new one", async () => {
    fake.sessions.set(ID, session(ID, OWN));
    const page = await view();
    await dockButton(page).click();
    const own = page.getByRole("radio", { name: "Save to its profile" });
    assert.equal(await own.isChecked(), true);
    assert.equal(await page.textContent("#profile-own-id"), OWN.browser_profile_id);
    assert.equal(await page.isVisible("#profile-name"), false);
    await page.click("#profile-save");
    await shows(page, "#profile-note", "Saved as Rehearsal, version 4.");
    await own.focus();
    await page.keyboard.press("ArrowDown");
    await page.fill("#profile-name", "Second");
    // A later answer of the server keeps the choice.
    await page.waitForResponse((response) => response.url().endsWith(`/v1/browser_sessions/${ID}`));
    await page.click("#profile-save");
    await shows(page, "#profile-note", "Saved as Second, version 1.");
    assert.deepEqual(fake.saves, [{}, { name: "Second" }]);
    await leave(page);
});

test("a copy of a profile is saved as a new one", async () => {
    fake.sessions.set(ID, session(ID, { ...OWN, browser_profile_access: "copy" }));
    const page = await view();
    await dockButton(page).click();
    assert.equal(await page.isVisible("#profile-choice"), false);
    await page.click("#profile-save");
    await shows(page, "#profile-note", "Saved as 127.0.0.1, version 1.");
    await leave(page);
});

test("a refusal is shown in the server's words, and can be answered", async () => {
    const page = await view();
    await dockButton(page).click();
    const refusals = [
        [409, "session_starting", "the session is still starting", "The session is still starting."],
        [409, "profile_under_way", "the profile of the session is being stored already: try again when it is done",
            "The profile of the session is being stored already: try again when it is done."],
        [424, "profile_not_packed", "The profile could not be packed.", "The profile could not be packed."],
        [503, "storage_unavailable", "the profile could not be stored: the bucket is away",
            "The profile could not be stored: the bucket is away."],
        [409, "name_taken", "another profile has the name `127.0.0.1`: choose another name",
            "Another profile has the name `127.0.0.1`: choose another name."],
    ];
    for (const [status, code, detail, shown] of refusals) {
        fake.onSave = () => [status, { detail, code }];
        await page.click("#profile-save");
        await shows(page, "#profile-note", shown);
        assert.equal(await page.getAttribute("#profile-note", "data-tone"), "bad");
        assert.equal(await page.isVisible("#profile-saved"), false);
        assert.equal(await page.getAttribute("#profile-name", "aria-invalid"), String(code === "name_taken"));
    }
    // The name is selected for correction.
    fake.onSave = ({ name }) => [200, profile({ name })];
    await page.keyboard.type("Another");
    await page.keyboard.press("Enter");
    await shows(page, "#profile-note", "Saved as Another, version 1.");
    fake.saves.length = 0;
    await page.fill("#profile-name", " ");
    await page.click("#profile-save");
    await shows(page, "#profile-note", "Enter a name.");
    assert.deepEqual(fake.saves, []);
    await leave(page);
});

test("tickets, watchers and ended sessions have no such button", async () => {
    const visitor = await view(`#ticket=${TICKET}`);
    await visitor.waitForSelector("#take:enabled");
    assert.equal(await dockButton(visitor).isVisible(), false);
    await leave(visitor);

    fake.role = "watch";
    const watcher = await view();
    await watcher.waitForSelector("#role:not([hidden])");
    assert.equal(await dockButton(watcher).isVisible(), false);
    await leave(watcher);

    fake.role = "control";
    const page = await view();
    await dockButton(page).click();
    fake.sessions.set(ID, session(ID, { status: "completed", completed_at: new Date().toISOString() }));
    fake.cut("vnc");
    await page.waitForSelector("#end:not([hidden])");
    assert.equal(await page.isVisible("#profile"), false);
    assert.equal(await dockButton(page).isVisible(), false);
    await leave(page);
});

test("one panel is open at a time, and a result behind a closed one is marked", async () => {
    let finish;
    fake.onSave = () => new Promise((resolve) => {
        finish = () => resolve([200, profile()]);
    });
    const page = await view();
    await page.click("#clipboard-button");
    await dockButton(page).click();
    assert.equal(await page.isVisible("#clipboard"), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), "profile-name");
    await page.click("#profile-save");
    await eventually(() => assert.ok(finish));
    await page.click("#clipboard-button");
    assert.equal(await page.isVisible("#profile"), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), "clipboard-text");
    finish();
    await page.waitForSelector('#profile-button[data-fresh="true"]');
    assert.equal(await page.textContent("#said"), "Saved as 127.0.0.1, version 1.");
    await leave(page);
});

test("on a phone the panel and its button are within reach", async () => {
    fake.sessions.set(ID, session(ID, OWN));
    for (const viewport of [{ width: 360, height: 740 }, { width: 740, height: 360 }]) {
        const page = await view(undefined, { viewport, hasTouch: true, isMobile: true });
        await page.tap("#profile-button");
        await page.tap("#profile-new");
        await page.tap("#profile-save");
        await shows(page, "#profile-note", "Saved as 127.0.0.1, version 1.");
        await eventually(async () => assert.ok(await seen(page, "#profile-saved")));
        for (const part of ["#profile-close", "#profile-name", "#profile-save", "#profile-copy"]) {
            await page.locator(part).scrollIntoViewIfNeeded();
            assert.ok(await seen(page, part), `${part} is cut off`);
        }
        await leave(page);
    }
});
