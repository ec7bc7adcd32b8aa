// Tests of the view's notices with the fake server: of a server that drains, and of a link that has ended.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { KEY, session, startFake, TICKET } from "./fake-server.mjs";
import { launch, leave, link, open } from "./support.mjs";

const ID = "pbs_0193af2c7e1b77ab8d10e1";
const DRAINING = { kind: "server-draining", draining: true, stopping: true, deadline: "2026-01-01T00:00:00Z" };

let browser;
let fake;
let outer;

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

afterEach(async () => {
    outer?.closeAllConnections();
    outer?.close();
    outer = undefined;
    await fake.stop();
});

const address = (credentials) => `${fake.base}/view/${ID}${credentials}`;

/** Opens a page of another origin that frames the view. Returns it and the frame. */
async function framing(credentials) {
    outer = createServer((_, response) => {
        response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
        const frame = `<iframe width="1000" height="700" src="${address(credentials)}"></iframe>`;
        response.end(`<!doctype html><html lang="en"><title>Outer</title><link rel="icon" href="data:,">${frame}`);
    });
    await new Promise((listening) => outer.listen(0, "127.0.0.1", listening));
    const page = await open(browser);
    await page.goto(`http://127.0.0.1:${outer.address().port}/`);
    return { page, frame: page.frameLocator("iframe") };
}

/** Ends the ticket: its sockets are closed, and nothing accepts it any more. */
function endTicket() {
    const refusal = { detail: "This ticket has ended.", code: "ticket_ended" };
    fake.routes.set(`GET /v1/browser_sessions/${ID}`, () => [403, refusal]);
    fake.vnc = fake.messages = [1008, "ticket-expired"];
    fake.close("vnc", 1008, "ticket-expired");
    fake.close("messages", 1008, "ticket-expired");
}

test("the warning of a drain is gone when the next server has the view", async () => {
    const page = await open(browser);
    await page.goto(address(`#apikey=${KEY}`));
    await link(page, "live");
    await page.waitForSelector("#take:enabled");
    fake.say(DRAINING);
    const warning = page.locator("#draining");
    await warning.waitFor();
    assert.match(await warning.textContent(), /^The server is restarting or stopping\. .* This page reconnects by itself\.$/);
    fake.messages = "refused";
    fake.cut("messages");
    fake.cut("vnc");
    await page.waitForSelector("#take:disabled");
    assert.equal(await warning.isVisible(), true, "it explains the loss of the connection");
    fake.messages = "on";
    await page.waitForSelector("#take:enabled", { timeout: 20_000 });
    await warning.waitFor({ state: "detached" });
    fake.say(DRAINING);
    await warning.waitFor();
    fake.say({ ...DRAINING, draining: false });
    await warning.waitFor({ state: "detached" });
    await leave(page);
});

test("a framed view whose ticket has ended refers to the page's owner, and asks for no key", async () => {
    const { page, frame } = await framing(`#ticket=${TICKET}`);
    await frame.locator('body[data-link="live"]').waitFor();
    endTicket();
    await frame.locator("#gate").waitFor();
    const expected = "This link is no longer valid\n\nAsk the owner of this page for a new link.";
    assert.equal((await frame.locator("#gate").innerText()).trim(), expected);
    assert.equal(await frame.locator("input:visible").count(), 0);
    // The frame alone is loaded again: its address and its store have no ticket any more.
    await page.frames()[1].evaluate(() => location.reload());
    await frame.locator("#gate").waitFor();
    assert.equal((await frame.locator("#gate").innerText()).trim(), expected);
    await leave(page);
});

test("a framed view without a valid key asks for none", async () => {
    for (const credentials of ["", "#apikey=wrong"]) {
        const { page, frame } = await framing(credentials);
        await frame.getByText("This link is no longer valid").waitFor();
        assert.equal(await frame.locator("input:visible").count(), 0);
        await leave(page);
        outer.close();
    }
});

test("a view of its own whose ticket has ended can be opened with a key", async () => {
    const page = await open(browser);
    await page.goto(address(`#ticket=${TICKET}`));
    await link(page, "live");
    endTicket();
    await page.waitForSelector("#gate:visible");
    assert.equal(await page.textContent("#gate-title"), "This link is no longer valid");
    assert.match(await page.textContent("#gate-about"), /^Ask the person who sent it for a new link\. /);
    fake.routes.clear();
    fake.vnc = fake.messages = "on";
    await page.fill("#gate-key", KEY);
    await page.keyboard.press("Enter");
    await link(page, "live");
    await leave(page);
});
