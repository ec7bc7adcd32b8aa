// Tests of the pages of operators, with the fake server: the message inspector, the audit trail, the health of the
// server; and the comments of a workflow.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { openFull, RUN, SESSION, WORKFLOW } from "./console-fixtures.mjs";
import { KEY, startFake } from "./fake-server.mjs";
import { actorMessage, auditEvent, journal } from "./operator-fixtures.mjs";
import { eventually, launch, leave, open } from "./support.mjs";

const STREAM = "/admin/messages/stream";

let browser;
let fake;
/** The queries of the lists and exports that were asked for. */
let asked;

before(async () => {
    browser = await launch();
});

after(async () => {
    await browser.close();
});

beforeEach(async () => {
    fake = await startFake();
    openFull(fake);
    asked = [];
});

afterEach(() => fake.stop());

async function console_(hash) {
    const page = await open(browser);
    await page.addInitScript((key) => {
        if (window.top === window) sessionStorage.setItem("greenroom.key", key);
    }, KEY);
    await page.goto(`${fake.base}/${hash}`);
    return page;
}

/** Lets the server answer with a journal, as it would: by the cursor, at most `limit`. */
function serveJournal(messages) {
    fake.routes.set("GET /admin/messages", (url) => {
        const query = Object.fromEntries(url.searchParams);
        asked.push(query);
        if (query.format === "jsonl") return [200, messages.map((message) => `${JSON.stringify(message)}\n`).join("")];
        const found = messages.filter(({ id }) => !query.cursor || id < Number(query.cursor)).slice(0, Number(query.limit));
        return [200, { messages: found, next_cursor: found.length === Number(query.limit) ? found.at(-1).id : null }];
    });
}

const row = (page, id) => page.getByRole("row", { name: new RegExp(`^${id} `) });
const state = (page, text) => page.getByRole("status").filter({ hasText: text }).waitFor();
const streams = () => fake.feeds.get(STREAM).size;

/** Lets the page believe that its tab is hidden, or seen again. */
function setHidden(page, hidden) {
    return page.evaluate((hidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
}

test("messages appear as they end, replace what was under way, and stop with a pause", async () => {
    serveJournal(journal());
    const page = await console_("#/messages");
    await state(page, "Live");
    await row(page, 29).getByText("pending").waitFor();
    fake.feed(STREAM, "message", actorMessage(29, { kind: "release", sender: RUN }));
    fake.feed(STREAM, "message", actorMessage(31, { kind: "close" }));
    await row(page, 31).getByText("close").waitFor();
    await row(page, 29).getByText("done").waitFor();
    assert.equal(asked.length, 1, "the stream alone brought them");

    await page.getByRole("button", { name: "Pause" }).click();
    await state(page, "Paused");
    await eventually(() => assert.equal(streams(), 0));
    assert.equal(asked.length, 1);
    serveJournal([actorMessage(40), ...journal()]);
    await page.getByRole("button", { name: "Continue" }).click();
    await row(page, 40).waitFor();
    await state(page, "Live");
    await leave(page);
});

test("a stream that was too fast says how many messages it left out, and the list is read again", async () => {
    serveJournal(journal());
    const page = await console_("#/messages");
    await state(page, "Live");
    serveJournal([actorMessage(33, { kind: "close" }), ...journal()]);
    // The list is slow, and a message ends meanwhile: both are shown.
    let answer;
    await page.route("**/admin/messages?*", async (route) => {
        const response = await route.fetch();
        await new Promise((resolve) => (answer = resolve));
        await route.fulfill({ response });
    });
    fake.feed(STREAM, "gap", { missed: 2048 });
    await page.getByText("2048 messages were left out").waitFor();
    await eventually(() => assert.ok(answer));
    fake.feed(STREAM, "message", actorMessage(34, { kind: "renew" }));
    await row(page, 34).waitFor();
    assert.equal(await row(page, 33).count(), 0);
    answer();
    await row(page, 33).waitFor();
    await row(page, 34).waitFor();
    await leave(page);
});

test("a broken stream is opened again, and what was missed meanwhile is there", async () => {
    serveJournal(journal());
    const page = await console_("#/messages?kind=begin");
    await state(page, "Live");
    serveJournal([actorMessage(30), ...journal()]);
    fake.breakFeeds(STREAM);
    await state(page, "Connecting again");
    await row(page, 30).waitFor();
    await state(page, "Live");
    assert.equal(streams(), 1);
    assert.deepEqual(asked, [{ limit: "200", kind: "begin" }, { limit: "200", kind: "begin" }]);

    // A server that has no stream left says so, and is asked again.
    fake.feeds.delete(STREAM);
    let refusals = 0;
    fake.routes.set(`GET ${STREAM}`, () => {
        refusals += 1;
        return [429, { code: "too_many_streams", detail: "the limit of open event streams is reached" }];
    });
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("alert").filter({ hasText: "limit of open event streams" }).waitFor();
    await eventually(() => assert.ok(refusals > 1));
    fake.feeds.set(STREAM, new Set());
    await state(page, "Live");
    await page.getByRole("alert").waitFor({ state: "detached" });
    await leave(page);
});

test("a hidden tab asks for nothing, and goes on when it is seen", async () => {
    serveJournal(journal());
    const page = await console_("#/messages");
    await state(page, "Live");
    await setHidden(page, true);
    await eventually(() => assert.equal(streams(), 0));
    await state(page, "Waiting until the page is visible");
    const before = asked.length;
    await page.waitForTimeout(2500); // Longer than the first delay of a reconnect.
    assert.equal(asked.length, before);
    assert.equal(streams(), 0);
    await setHidden(page, false);
    await state(page, "Live");
    assert.equal(streams(), 1);
    await leave(page);
});

test("the rows are bounded, and older ones come by the cursor until there are none", async () => {
    const all = Array.from({ length: 450 }, (_, index) => actorMessage(1000 - index));
    serveJournal(all);
    const page = await console_("#/messages");
    await page.getByText("200 newest messages").waitFor();
    for (let id = 1001; id <= 1700; id += 1) fake.feed(STREAM, "message", actorMessage(id));
    await row(page, 1700).waitFor();
    await page.getByText("500 newest messages").waitFor();
    assert.equal(await page.locator("tbody tr").count(), 500);

    // Reading on stops the tail: rows do not move away below the eyes.
    const more = page.getByRole("button", { name: "Show older messages" });
    await more.click();
    await eventually(async () => assert.equal(await page.locator("tbody tr").count(), 700));
    assert.equal(asked.at(-1).cursor, "1201");
    await state(page, "Paused");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByText("200 newest messages").waitFor();
    for (const rows of [400, 450]) {
        await more.click();
        await eventually(async () => assert.equal(await page.locator("tbody tr").count(), rows));
    }
    assert.equal(await more.count(), 0);
    await leave(page);
});

test("the server filters, in the list and in the stream, and its refusal of a filter is shown", async () => {
    serveJournal(journal());
    const page = await console_("#/messages");
    const expect = async (query) => {
        await eventually(() => assert.deepEqual(asked.at(-1), { limit: "200", ...query }));
        await eventually(() => {
            const [open] = [...fake.feeds.get(STREAM)];
            assert.deepEqual(Object.fromEntries(open.url.searchParams), query);
        });
    };
    await expect({});
    await page.getByLabel("Outcome").selectOption("refused");
    await expect({ outcome: "refused" });
    await row(page, 28).getByRole("link", { name: "…8d1001" }).click();
    await expect({ actor: SESSION });
    await eventually(async () => assert.equal(await page.getByLabel("Actor").inputValue(), SESSION));
    // A field keeps the focus while its text is a filter already.
    await page.getByLabel("Kind").pressSequentially("be", { delay: 400 });
    await expect({ actor: SESSION, kind: "be" });
    await page.getByRole("link", { name: "Remove the filters" }).click();
    await page.getByLabel("Slower than, in milliseconds").fill("20");
    await page.getByLabel("Text in names").fill("nightly");
    await page.getByText("More filters").click();
    await page.getByLabel("Session", { exact: true }).fill(SESSION);
    await page.getByLabel("Run", { exact: true }).fill(RUN);
    await page.getByLabel("Organization", { exact: true }).fill("o_1");
    await page.getByLabel("Not before").fill("2026-01-01T10:00:30");
    const since = await page.evaluate(() => new Date("2026-01-01T10:00:30").toISOString());
    await expect({ slower_than_ms: "20", text: "nightly", session: SESSION, run: RUN, organization: "o_1", since });

    // Messages under way are not in the stream: they are listed again and again.
    await page.goto(`${fake.base}/#/messages?outcome=pending`);
    await eventually(() => assert.ok(asked.filter(({ outcome }) => outcome === "pending").length > 1));
    assert.equal(streams(), 0);

    fake.routes.set("GET /admin/messages", () => [422, { detail: [{ loc: ["query", "session"], msg: "expected an id: `pbs_` and a decimal number" }], code: "invalid_request" }]);
    await page.goto(`${fake.base}/#/messages?session=x`);
    await page.getByRole("alert").filter({ hasText: "session: expected an id" }).waitFor();
    await state(page, "Stopped");
    assert.equal(streams(), 0);
    await leave(page);
});

test("an export has one message in each line, for the same filters, and no key in its address", async () => {
    serveJournal(journal());
    const page = await console_("#/messages?kind=begin");
    await state(page, "Live");
    const addresses = [];
    page.on("request", (request) => addresses.push(request.url()));
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export JSONL" }).click();
    const download = await saving;
    assert.match(download.suggestedFilename(), /^messages-\d{4}-.*\.jsonl$/);
    const lines = (await readFile(await download.path(), "utf8")).trim().split("\n");
    assert.deepEqual(lines.map((line) => JSON.parse(line).id), journal().map(({ id }) => id));
    assert.deepEqual(asked.at(-1), { format: "jsonl", kind: "begin" });
    assert.deepEqual(addresses.filter((address) => address.includes(KEY)), []);
    await leave(page);
});

test("a message has its causes, and the tree of its consequences by keyboard", async () => {
    const page = await console_("#/messages/2");
    await page.getByRole("heading", { level: 1, name: "Message 2: start run" }).waitFor();
    await page.getByRole("region", { name: "Causes, the outermost first" }).getByRole("row", { name: /^1 .* create http registry/ }).waitFor();
    await page.getByText('"ttl_seconds": 30').first().waitFor();
    await page.getByText("There are more consequences than").waitFor();

    const tree = page.getByRole("tree", { name: "Consequences" });
    const item = (name) => tree.getByRole("treeitem", { name });
    assert.deepEqual(
        await tree.getByRole("treeitem").evaluateAll((items) => items.map((each) => [each.getAttribute("aria-level"), each.getAttribute("aria-expanded"), each.tabIndex])),
        [["1", "true", 0], ["2", null, -1], ["1", null, -1]],
    );
    await item(/^3 begin …8d1002 → registry waited 264 µs, handled 60 ms done$/).focus();
    await page.keyboard.press("ArrowRight");
    assert.equal(await item(/^4 /).evaluate((element) => element === document.activeElement), true);
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    await item(/^4 /).waitFor({ state: "detached" });
    assert.equal(await item(/^3 /).getAttribute("aria-expanded"), "false");
    await page.keyboard.press("ArrowDown");
    assert.equal(await item(/^5 /).evaluate((element) => element === document.activeElement), true);
    await page.keyboard.press("Enter");
    // The fake server does not keep message 5.
    await page.getByRole("heading", { level: 1, name: "This message is not kept" }).waitFor();
    assert.match(page.url(), /#\/messages\/5$/);

    // A number of the audit trail may be that of a former server.
    await page.goto(`${fake.base}/#/messages/2?at=${encodeURIComponent("2025-12-31T10:00:00Z")}`);
    await page.getByText("The server has started anew since").waitFor();
    await page.goto(`${fake.base}/#/messages/2?at=${encodeURIComponent(journal().find(({ id }) => id === 2).enqueued_at)}`);
    await page.getByRole("heading", { level: 1, name: "Message 2: start run" }).waitFor();
    await page.getByText("The server has started anew since").waitFor({ state: "detached" });
    await page.getByRole("link", { name: "Swim lanes" }).first().click();
    await page.getByRole("region", { name: "Swim lanes" }).waitFor();
    assert.match(page.url(), new RegExp(`session=${SESSION}&view=lanes`));
    await leave(page);
});

test("swim lanes show each message where it was handled, are zoomed, and have a table beside them", async () => {
    serveJournal(journal());
    const page = await console_(`#/sessions/${SESSION}`);
    await page.locator(".head-actions").getByRole("link", { name: "Messages" }).click();
    await eventually(() => assert.deepEqual(asked.at(-1), { limit: "200", session: SESSION }));
    const items = page.locator(".lane-item");
    await eventually(async () => assert.equal(await items.count(), 29));
    assert.deepEqual(await page.locator(".lane-title").allTextContents(), ["http", "registry", RUN, SESSION]);
    assert.equal(await page.locator('[data-outcome="refused"].lane-item').count(), 2);
    // A line from each cause to its consequence, and from the sender of what has no cause.
    assert.equal(await page.locator('.lane-line[data-caused="true"]').count(), 13);
    const table = page.getByRole("region", { name: "Messages of the range" });
    assert.equal(await table.getByRole("row").count(), 30);

    // One stop for the Tab key; arrows move in time and between lanes.
    assert.equal(await page.locator('.lane-item[tabindex="0"]').count(), 1);
    await page.getByRole("link", { name: /^Message 1, create/ }).focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
    assert.match(await focused(), /^Message 3, begin from …8d1002 to registry, waited 264 µs, handled in 60 ms, done$/);
    await page.locator(".lanes-note").filter({ hasText: "begin …8d1002 → registry, waited 264 µs, handled 60 ms, done" }).waitFor();
    // Its causes and consequences stand out: 2, 3 and 4.
    assert.equal(await page.locator('.lane-item[data-far="false"]').count(), 3);
    await page.keyboard.press("ArrowDown");
    assert.match(await focused(), /^Message 5, begin block/);

    // Zoomed to its second half, by the buttons and by dragging.
    await page.getByRole("button", { name: "Zoom in" }).click();
    await eventually(async () => assert.ok((await items.count()) < 29));
    assert.equal(await table.getByRole("row").count(), (await items.count()) + 1);
    await page.getByRole("button", { name: "Whole" }).click();
    await eventually(async () => assert.equal(await items.count(), 29));
    const box = await page.locator(".lanes-chart").boundingBox();
    await page.mouse.move(box.x + 2, box.y + 4);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 4, box.y + 4, { steps: 3 });
    await page.mouse.up();
    await eventually(async () => assert.ok((await items.count()) < 20));
    assert.ok((await items.count()) > 3);
    await page.getByRole("button", { name: "Shorten pauses" }).click();
    await page.getByRole("link", { name: /^Message 2, start run/ }).click();
    await page.getByRole("heading", { level: 1, name: "Message 2: start run" }).waitFor();

    // From the page of a run; and only a part of very many.
    serveJournal(Array.from({ length: 450 }, (_, index) => actorMessage(1000 - index, {}, -index)));
    await page.goto(`${fake.base}/#/runs/${RUN}`);
    await page.locator(".head-actions").getByRole("link", { name: "Messages" }).click();
    await page.getByText("Only the newest 200 messages are drawn").waitFor();
    assert.deepEqual(asked.at(-1), { limit: "200", run: RUN });
    await page.getByRole("button", { name: "Show older messages" }).click();
    await eventually(async () => assert.equal(await items.count(), 400));
    await leave(page);
});

test("without the role operator, sessions and runs have no link to messages", async () => {
    const refused = { detail: "this key does not permit the request: its role is `organization`", code: "key_insufficient" };
    fake.routes.set("GET /admin/drain", () => [403, refused]);
    const page = await console_(`#/runs/${RUN}`);
    await page.getByRole("heading", { level: 1, name: "Lamps" }).waitFor();
    assert.equal(await page.locator(".head-actions").getByRole("link", { name: "Messages" }).count(), 0);
    await page.goto(`${fake.base}/#/audit`);
    await page.getByRole("heading", { level: 1, name: "Not permitted" }).waitFor();
    await leave(page);
});

test("the audit trail names the key, the client and the request of each change, and is filtered by them", async () => {
    const events = Array.from({ length: 150 }, (_, index) => auditEvent(150 - index, index === 1 ? { kind: "close", outcome: "refused" } : {}));
    fake.routes.set("GET /admin/audit", (url) => {
        const query = Object.fromEntries(url.searchParams);
        asked.push(query);
        const from = Number(query.cursor ?? 0);
        const part = events.slice(from, from + Number(query.limit));
        return [200, { events: part, next_cursor: from + part.length < events.length ? String(from + part.length) : null }];
    });
    const page = await console_("#/audit");
    const rows = page.getByRole("region", { name: "Audit trail" }).locator("tbody tr");
    await page.getByRole("row", { name: /begin done session …8d1001 …8d1009 192\.0\.2\.7 c4a3a39d… 2$/ }).first().waitFor();
    await page.getByRole("button", { name: "close" }).click();
    await page.locator(".row-detail").getByText("c4a3a39dfff213d9126f68469bc6029c").waitFor();
    await page.locator(".row-detail").getByText('"ttl_seconds": 30').waitFor();
    await page.getByRole("button", { name: "close" }).click();
    await page.getByRole("button", { name: "Show more" }).click();
    await eventually(async () => assert.equal(await rows.count(), 150));
    assert.deepEqual(asked.at(-1), { limit: "100", cursor: "100" });
    assert.equal(await page.getByRole("button", { name: "Show more" }).count(), 0);

    const expect = (query) => eventually(() => assert.deepEqual(asked.at(-1), { limit: "100", ...query }));
    await rows.first().getByRole("link", { name: "…8d1009" }).click();
    await expect({ key: "oat_0193af2c7e1b77ab8d1009" });
    await rows.first().getByRole("link", { name: "c4a3a39d…" }).click();
    await expect({ request: "c4a3a39dfff213d9126f68469bc6029c" });
    await page.getByLabel("Outcome").selectOption("refused");
    await page.getByLabel("Kind").fill("close");
    await page.getByText("More filters").click();
    await page.getByLabel("Session", { exact: true }).fill(SESSION);
    await expect({ request: "c4a3a39dfff213d9126f68469bc6029c", outcome: "refused", kind: "close", session: SESSION });
    await page.getByRole("link", { name: "Remove the filters" }).click();
    await expect({});
    await rows.first().getByRole("link", { name: "2", exact: true }).click();
    await page.getByRole("heading", { level: 1, name: "Message 2: start run" }).waitFor();
    assert.match(page.url(), /at=2026-01-01/);
    await leave(page);
});

test("the health page has the capacity, the pool and the servers", async () => {
    const page = await console_("#/health");
    await page.getByText("20 sessions are live, which is the limit (sessions.max_sessions).").waitFor();
    assert.equal(await page.getByRole("meter", { name: "Sessions" }).evaluate((meter) => meter.value / meter.max), 1);
    await page.getByText("7 since the start").waitFor();
    await page.getByText("2 of 3 ready").waitFor();
    await page.getByText("2 other shape").waitFor();
    await page.getByText("Last failure: the browser did not start within 30 s").waitFor();
    await page.getByRole("row", { name: /stage-1 10\.0\.0\.4:8787 this server/ }).waitFor();
    await page.getByRole("row", { name: /stage-2 – away/ }).waitFor();
    fake.routes.set("GET /admin/pool", () => [200, { shapes: [], cold: {} }]);
    await page.getByText("No browser is kept ready.").waitFor();
    await leave(page);
});

test("charts show what metrics have, from one reading to the next, also after another page", async () => {
    const page = await open(browser);
    await page.addInitScript((key) => sessionStorage.setItem("greenroom.key", key), KEY);
    await page.clock.install();
    await page.goto(`${fake.base}/#/health?tab=charts`);
    await page.getByText("Rates need two readings.").waitFor();
    const chart = (name) => page.getByRole("img", { name });
    await chart(/^Sessions by status: running 2, held 1$/).waitFor();
    await page.clock.runFor(5100);
    // Ten messages and 27 requests in about five seconds.
    await chart(/^Messages between actors: all (2\.0|1\.\d)\/s, not done 0\.(1\d|20)\/s$/).waitFor();
    await chart(/^Wait in mailboxes: mean 2\.0 ms, 95 % below 5\.5 ms$/).waitFor();
    await chart(/^HTTP requests: 2xx (5\.0|4\.\d)\/s, 4xx 0\.(3\d|40)\/s$/).waitFor();
    await page.getByText("The machine does not count the memory").waitFor();
    const points = async () => (await page.locator('.chart-line[data-series="0"]').first().getAttribute("d")).split("L").length;
    const before = await points();
    assert.ok(before >= 2);

    await page.goto(`${fake.base}/#/audit`);
    await page.getByRole("heading", { level: 1, name: "Audit" }).waitFor();
    await page.goto(`${fake.base}/#/health?tab=charts`);
    await page.getByText("Since ").waitFor();
    assert.ok((await points()) > before);
    await leave(page);
});

test("the settings in force are a table with the source of each", async () => {
    const page = await console_("#/health?tab=settings");
    await page.getByRole("row", { name: "sessions.max_sessions 20 /etc/greenroom/greenroom.toml" }).waitFor();
    await page.getByText("6 of 6 settings").waitFor();
    await page.getByLabel("Source", { exact: true }).selectOption("set");
    await page.getByText("3 of 6 settings").waitFor();
    await page.getByLabel("Filter by name, value or source").fill("operator");
    await page.getByText("1 of 6 settings").waitFor();
    await page.getByRole("row", { name: "keys.operator ******** GREENROOM_OPERATOR_KEY" }).waitFor();
    await page.getByLabel("Filter by name, value or source").fill("nothing");
    await page.getByRole("heading", { name: "No setting matches the filters" }).waitFor();
    await leave(page);
});

test("the editor warns of comments before they are lost, and only if there are any", async () => {
    const page = await console_(`#/workflows/${WORKFLOW}`);
    const editor = page.getByLabel("The workflow in YAML");
    const text = await editor.inputValue();
    const warning = page.getByRole("status").filter({ hasText: "not stored" });
    await editor.fill(`${text}extra: "#anchor"\n`);
    assert.equal(await warning.count(), 0);
    await editor.fill(`# Ann's, do not touch\n${text}# to do\n`);
    await warning.filter({ hasText: `comments in lines 1, ${text.split("\n").length + 1} are` }).waitFor();
    const described = await page.getByRole("button", { name: "Save as a new version" }).getAttribute("aria-describedby");
    assert.match(await page.locator(`#${described}`).textContent(), /comments in lines/);
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save the text as a file" }).click();
    assert.match(await readFile(await (await saving).path(), "utf8"), /^# Ann's, do not touch\n/);
    await editor.fill(text);
    await warning.waitFor({ state: "detached" });
    await leave(page);
});
