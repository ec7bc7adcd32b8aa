// Tests of the console with the fake server.

import assert from "node:assert/strict";
import axe from "axe-core";
import { after, afterEach, before, beforeEach, test } from "node:test";

import {
    openEmpty, openFull, ORGANIZATION, PROFILE, richSession, RUN, SESSION, WEBHOOK, WORKFLOW,
} from "./console-fixtures.mjs";
import { KEY, startFake, TICKET } from "./fake-server.mjs";
import { eventually, launch, leave, open } from "./support.mjs";

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

async function console_(hash = "", options = {}) {
    const page = await open(browser, options);
    await page.addInitScript((key) => {
        if (window.top === window && !sessionStorage.getItem("signed-out")) sessionStorage.setItem("greenroom.key", key);
    }, KEY);
    await page.goto(`${fake.base}/${hash}`);
    return page;
}

const heading = (page, name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor();

/** The view of a session within its page. */
const framed = (page) => page.frameLocator("iframe");

test("a wrong key is refused with a reason, and a right one is kept for this tab, without a cookie", async () => {
    openEmpty(fake);
    const page = await open(browser);
    await page.goto(`${fake.base}/`);
    const field = page.getByLabel("API key or link");
    await field.waitFor();
    assert.equal(await field.evaluate((element) => document.activeElement === element), true);
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "does not know this key" }).waitFor();
    await field.fill(KEY);
    await page.keyboard.press("Enter");
    await heading(page, "Sessions");
    await page.reload();
    await heading(page, "Sessions");
    assert.deepEqual(await page.context().cookies(), []);
    assert.equal(await page.evaluate((key) => JSON.stringify(localStorage).includes(key), KEY), false);

    await page.getByRole("button", { name: "Sign out" }).click();
    await field.waitFor();
    await page.reload();
    await field.waitFor();
    assert.equal(await page.evaluate((key) => JSON.stringify(sessionStorage).includes(key), KEY), false);

    // A key in the fragment is taken out of the address.
    await page.goto(`${fake.base}/console#apikey=${KEY}`);
    await page.reload();
    await heading(page, "Sessions");
    assert.equal(page.url().includes(KEY), false);
    await leave(page);
});

test("a key is kept while the server cannot check it, and over a reload in the middle of the check", async () => {
    openEmpty(fake);
    const answered = fake.routes.get("GET /v1/quotas");
    fake.routes.set("GET /v1/quotas", () => [503, { code: "draining", message: "The server is stopping." }]);
    const page = await console_("");
    await page.getByText("Your key is kept").waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.getItem("greenroom.key")), KEY);
    fake.routes.set("GET /v1/quotas", answered);
    await heading(page, "Sessions");

    // A request that a reload aborts is no word of the server.
    let asked;
    const asking = new Promise((resolve) => (asked = resolve));
    await page.route("**/v1/quotas", () => asked());
    await page.addInitScript(() => sessionStorage.setItem("signed-out", "the key of the fixture is not set again"));
    await page.reload();
    await asking;
    await page.unroute("**/v1/quotas");
    await page.reload();
    await heading(page, "Sessions");
    await leave(page);
});

test("empty pages explain what they are for, and lead on", async () => {
    openEmpty(fake);
    const page = await console_("");
    for (const [hash, title] of [
        ["#/sessions", "No browser runs yet"],
        ["#/sessions?show=ended", "No session has ended yet"],
        ["#/runs", "Nothing has run yet"],
        ["#/workflows", "There are no workflows yet"],
        ["#/profiles", "There are no profiles yet"],
        ["#/webhooks", "There are no webhooks yet"],
    ]) {
        await page.goto(`${fake.base}/console${hash}`);
        await page.getByRole("heading", { name: title }).waitFor();
    }
    await page.goto(`${fake.base}/console#/nothing`);
    await heading(page, "There is no such page");
    // The pages of operators are not for this key.
    await page.goto(`${fake.base}/console#/messages`);
    await heading(page, "Not permitted");
    await leave(page);
});

test("sessions are pictures and a table, and filters find them", async () => {
    openFull(fake);
    const other = "pbs_0193af2c7e1b77ab8d1999";
    fake.sessions.set(other, richSession({ browser_session_id: other, name: "Second", tags: [], occupancy: { state: "vacant" } }));
    const asked = [];
    fake.routes.set("GET /v1/browser_sessions", (url) => {
        asked.push(url.searchParams.getAll("tags"));
        return [200, [...fake.sessions.values()]];
    });
    const page = await console_("#/sessions");
    await page.waitForSelector(".tile[data-picture] >> nth=1");
    await page.getByText("external nightly-42, 1 waiting").waitFor();
    await page.getByText("2 sessions, 1 in use").waitFor();

    await page.getByRole("button", { name: "Table" }).click();
    await page.getByRole("row", { name: /Price check .* In use external nightly-42/ }).waitFor();
    await page.getByLabel("State").selectOption("queue");
    await page.getByText("1 session, 1 in use").waitFor();
    await page.getByLabel("State").selectOption("");
    await page.getByLabel("Filter by name, id or holder").fill("seco");
    await page.getByText("1 session, 0 in use").waitFor();
    await page.getByLabel("Filter by name, id or holder").fill("nobody");
    await page.getByRole("button", { name: "Remove the filters" }).click();
    const cleared = () => page.getByLabel("Filter by name, id or holder").inputValue();
    await eventually(async () => assert.equal(await cleared(), ""));
    await page.getByLabel("Tags, separated by commas").fill("prices, red");
    await eventually(() => assert.deepEqual(asked.at(-1), ["prices", "red"]));
    await page.waitForURL(/tags=prices/);
    await leave(page);
});

test("a session's page has the live view, its holder and queue, and the tabs of the browser", async () => {
    openFull(fake);
    const page = await console_(`#/sessions/${SESSION}`);
    await heading(page, "Price check");
    await framed(page).locator('body[data-link="live"]').waitFor();
    await page.getByText("external nightly-42").waitFor();
    await page.getByText("external …").or(page.getByText("waiter-7")).first().waitFor();
    await page.getByRole("region", { name: "Explanation" }).getByText("1 caller waits").waitFor();
    await page.getByRole("heading", { name: "Tabs" }).waitFor();
    await page.getByText("http://127.0.0.1:9000/products.html", { exact: true }).waitFor();
    await framed(page).getByRole("button", { name: "Take control" }).click();
    await framed(page).locator('body[data-holder="you"]').waitFor();
    assert.equal(await framed(page).locator(".brand").isVisible(), false);

    await page.getByRole("tab", { name: "Recordings" }).click();
    await page.getByRole("button", { name: "Play recording.mp4" }).click();
    const source = await page.locator("video").getAttribute("src");
    // The server's own base address is elsewhere: the film comes from the page's origin.
    assert.equal(source, `${fake.base}/v1/artifacts/a_1/content?signature=s`);
    page.complaints.splice(0, page.complaints.length, ...page.complaints.filter((text) => !/media|video/i.test(text)));
    await leave(page);
});

test("the snippets of a session are chosen and copied with the keyboard, and show a ticket only when asked", async () => {
    openFull(fake);
    const asked = [];
    fake.routes.set(`POST /v1/browser_sessions/${SESSION}/viewers`, (_, body) => {
        asked.push(body);
        return [200, {
            viewer_id: "vw_2", role: "drive", label: body.label, used: false, single_use: false,
            expires_at: "2026-01-01T11:00:00Z", cdp_url: "ws://127.0.0.1/v1/browser_sessions/x/cdp?ticket=vt_secret",
        }];
    });
    const page = await console_(`#/sessions/${SESSION}`);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await heading(page, "Price check");
    await page.getByRole("tab", { name: "Now" }).press("ArrowRight");
    const client = page.getByLabel("Client");
    const snippet = (name) => page.getByRole("region", { name: `Snippet for ${name}` });
    assert.match(await snippet("Playwright, Python").innerText(), /connect_over_cdp\(\s+"ws:\/\/127\.0\.0\.1\/v1\/browser_sessions\/x\/cdp"/);
    const names = await client.locator("option").allInnerTexts();
    for (const name of names) {
        await client.selectOption({ label: name });
        const text = await snippet(name).innerText();
        assert.ok(text.includes("GREENROOM_API_KEY") && !text.includes(KEY) && !text.includes("vt_"), `${name}: ${text}`);
    }
    await client.selectOption({ label: "Claude Code" });
    assert.ok((await snippet("Claude Code").innerText()).includes(`${fake.base}/mcp`));
    assert.equal(await page.getByRole("button", { name: "Put a ticket into the address" }).count(), 0);

    await client.selectOption({ label: "Puppeteer" });
    assert.deepEqual(asked, []);
    await page.getByRole("button", { name: "Put a ticket into the address" }).press("Enter");
    await snippet("Puppeteer").getByText("ticket=vt_secret").waitFor();
    assert.deepEqual(asked.map(({ role, ttl_seconds }) => [role, ttl_seconds]), [["drive", 3600]]);
    await page.getByRole("button", { name: "Copy", exact: true }).press("Enter");
    await page.getByText("Copied.").waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(copied.includes("browserWSEndpoint") && copied.includes("ticket=vt_secret"), copied);
    await leave(page);
});

test("tabs are moved with arrow keys, a dialog with Escape, and the content is a jump away", async () => {
    openFull(fake);
    const page = await console_("#/sessions");
    await heading(page, "Sessions");
    await page.getByText("Skip to the content").press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement?.id), "main");

    await page.getByRole("button", { name: "New session" }).press("Enter");
    await page.getByRole("dialog", { name: "New session" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("name")), "start_url");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });

    await page.goto(`${fake.base}/#/workflows/${WORKFLOW}`);
    await page.getByRole("tab", { name: "Edit" }).press("ArrowRight");
    assert.equal(await page.getByRole("tab", { name: "Run" }).getAttribute("aria-selected"), "true");
    await page.getByLabel("site_url").waitFor();
    await leave(page);
});

test("a new session is what the form says, and a fault is shown at its field", async () => {
    openFull(fake);
    const sent = [];
    fake.routes.set("POST /v1/browser_sessions", (_, body) => {
        sent.push(body);
        if (body.timeout_seconds < 300) {
            const fault = { type: "range", loc: ["body", "timeout_seconds"], msg: "expected 300 to 14400", input: 60 };
            return [422, { detail: [fault], code: "invalid_request" }];
        }
        return [200, richSession()];
    });
    const page = await console_("#/sessions");
    await page.getByRole("button", { name: "New session" }).click();
    const form = page.getByRole("dialog");
    await form.getByLabel("First page").fill("https://example.com");
    await form.getByLabel("Name", { exact: true }).fill("Mine");
    await form.getByLabel("Tags").fill("a, b");
    await form.getByLabel("Lifetime in minutes").fill("1");
    await form.getByRole("button", { name: "Create" }).click();
    await form.locator(".complaint").filter({ hasText: "expected 300 to 14400" }).waitFor();
    assert.equal(await form.getByLabel("Lifetime in minutes").getAttribute("aria-invalid"), "true");
    await form.getByLabel("Lifetime in minutes").fill("30");
    await form.getByRole("button", { name: "Create" }).click();
    await heading(page, "Price check");
    assert.deepEqual(sent.at(-1), {
        width: 1280, height: 800, timeout_seconds: 1800, name: "Mine", start_url: "https://example.com", tags: ["a", "b"],
    });
    await leave(page);
});

test("a key that only watches sees sessions, and a ticket sees its own", async () => {
    openFull(fake);
    const insufficient = { detail: "this key does not permit the request: its role is `watch`", code: "key_insufficient" };
    fake.routes.set("GET /v1/quotas", () => [403, insufficient]);
    fake.routes.set("GET /admin/drain", () => [403, insufficient]);
    const page = await console_(`#/sessions/${SESSION}`);
    await heading(page, "Price check");
    assert.equal(await page.getByRole("button", { name: "Close" }).count(), 0);
    assert.deepEqual(await page.getByRole("navigation").getByRole("link").allTextContents(), [" Sessions"]);
    assert.deepEqual(await page.getByRole("tab").allTextContents(), ["Now"]);
    await leave(page);

    const visitor = await open(browser);
    await visitor.goto(`${fake.base}/`);
    await visitor.getByLabel("API key or link").fill("vt_without_its_link");
    await visitor.keyboard.press("Enter");
    await visitor.getByRole("alert").filter({ hasText: "Paste its whole link" }).waitFor();
    await visitor.getByLabel("API key or link").fill(`${fake.base}/view/${SESSION}#ticket=${TICKET}`);
    await visitor.keyboard.press("Enter");
    await heading(visitor, "Price check");
    await framed(visitor).locator('body[data-link="live"]').waitFor();
    await visitor.reload();
    await heading(visitor, "Price check");
    assert.equal(await visitor.getByRole("navigation").getByRole("link").count(), 0);
    await leave(visitor);
});

test("the editor marks the line that the server names, and stores what is right", async () => {
    openFull(fake);
    const stored = [];
    fake.routes.set("POST /v1/workflows/wpid_1", (_, { yaml_definition: text }) => {
        const line = text.split("\n").findIndex((each) => each.includes("goto_ur\n") || each.endsWith("goto_ur")) + 1;
        if (line === 0) return [404, { detail: "Workflow wpid_1 not found", code: "workflow_unknown" }];
        const msg = `line ${line}: block \`open\`: there is no block type \`goto_ur\``;
        return [422, { detail: [{ type: "x", loc: ["body", "yaml_definition"], msg, ctx: { line } }], code: "invalid_request" }];
    });
    fake.routes.set("POST /v1/workflows", (_, { yaml_definition: text }) => {
        stored.push(text);
        return [200, { workflow_permanent_id: WORKFLOW, version: 1 }];
    });
    const page = await console_("#/workflows/new");
    await page.getByText("No faults.").waitFor();
    const editor = page.getByLabel("The workflow in YAML");
    const text = await editor.inputValue();
    await editor.fill(text.replace("goto_url", "goto_ur"));
    await page.getByText("1 fault", { exact: true }).waitFor();
    const line = text.split("\n").findIndex((each) => each.includes("goto_url")) + 1;
    assert.equal(await page.locator('.editor-lines [data-faulty="true"]').textContent(), String(line));
    await page.getByRole("button", { name: /there is no block type/ }).click();
    const selected = await editor.evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd));
    assert.equal(selected.trim(), "- block_type: goto_ur");
    await editor.fill(text);
    await page.getByText("No faults.").waitFor();
    await page.getByRole("button", { name: "Create" }).click();
    await heading(page, "Lamps");
    assert.deepEqual(stored, [text]);
    await leave(page);
});

test("a run form has the workflow's parameters, with their kinds", async () => {
    openFull(fake);
    const sent = [];
    fake.routes.set("POST /v1/run/workflows", (_, body) => {
        sent.push(body);
        return [200, { run_id: RUN }];
    });
    const page = await console_(`#/workflows/${WORKFLOW}?tab=run&session=${SESSION}`);
    await page.getByLabel("site_url").fill("http://site");
    await page.getByLabel("count (integer)").fill("5");
    await page.getByRole("combobox", { name: "Session" }).waitFor();
    await page.getByRole("button", { name: "Run", exact: true }).click();
    // The workflow's page has the same title.
    await page.waitForURL(/#\/runs\//);
    await heading(page, "Lamps");
    assert.deepEqual(sent, [
        { workflow_id: WORKFLOW, parameters: { site_url: "http://site", count: 5 }, browser_session_id: SESSION },
    ]);

    // The block that failed is open, with its reason; another is a key away.
    await page.getByRole("button", { name: /^fill_name .*6\.0 s failed$/, pressed: true }).waitFor();
    await page.locator(".block-detail").getByText("no element matches within 30 s").waitFor();
    await page.getByRole("button", { name: /^open .*2\.5 s completed$/ }).press("Enter");
    await page.locator(".block-detail").getByText('"success": true').waitFor();
    await leave(page);
});

test("a delivery is shown with its attempts, and replayed", async () => {
    openFull(fake);
    const replays = [];
    fake.routes.set("POST /v1/webhook_messages/wm_0193af2c7e1b77ab8d1006/replay", (url) => {
        replays.push(url.pathname);
        return [200, { message_id: "wm_2" }];
    });
    const page = await console_(`#/webhooks/${WEBHOOK}`);
    await page.getByRole("button", { name: "Run ended", exact: true }).click();
    await page.getByRole("dialog").getByRole("row", { name: /500 12 ms/ }).waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Replay Run ended" }).click();
    await page.getByText("It is delivered again.").waitFor();
    assert.equal(replays.length, 1);
    await leave(page);
});

const PAGES = [
    "#/sessions", "#/sessions?show=table", `#/sessions/${SESSION}`, `#/sessions/${SESSION}?tab=films`,
    `#/sessions/${SESSION}?tab=connect`, `#/sessions/${SESSION}?tab=access`, `#/sessions/${SESSION}?tab=settings`,
    `#/sessions/${SESSION}?tab=files`,
    "#/runs", `#/runs/${RUN}`, "#/workflows", "#/workflows/new", `#/workflows/${WORKFLOW}?tab=run`,
    `#/workflows/${WORKFLOW}?tab=versions`, `#/workflows/${WORKFLOW}/debug`, "#/profiles", `#/profiles/${PROFILE}`,
    "#/events", "#/webhooks", `#/webhooks/${WEBHOOK}`, "#/keys", "#/organizations",
    "#/health", "#/health?tab=charts", "#/health?tab=actors", "#/health?tab=settings", "#/messages",
    `#/messages?run=${RUN}&view=lanes`, "#/messages/2", "#/audit",
    `#/organizations/${ORGANIZATION}`,
];

for (const [name, options, rules] of [
    ["dark", { colorScheme: "dark" }, {}],
    // The structure of the pages is the same: only colours and sizes differ.
    [
        "light, on a phone",
        { colorScheme: "light", viewport: { width: 390, height: 844 } },
        { runOnly: ["color-contrast", "target-size", "scrollable-region-focusable"] },
    ],
]) {
    test(`every page is accessible, and fits its screen (${name})`, async () => {
        openFull(fake);
        const outside = [];
        const page = await console_("", options);
        page.on("request", (request) => {
            if (!request.url().startsWith(fake.base) && /^https?:/.test(request.url())) outside.push(request.url());
        });
        const found = [];
        await page.evaluate(axe.source);
        for (const hash of PAGES) {
            // The fragment alone changes, so that the document and the script in it stay.
            await page.evaluate((to) => (location.hash = to), hash);
            await page.waitForFunction(() => document.querySelector("h1") && !document.querySelector(".loading"));
            // Framed pages are not the console's: the tests of the view are about them.
            const { violations } = await page.evaluate(
                (options) => window.axe.run(document, options),
                { iframes: false, resultTypes: ["violations"], ...rules },
            );
            for (const { id, impact, nodes } of violations) {
                if (impact === "serious" || impact === "critical") found.push(`${hash}: ${id}: ${nodes[0].html} ${nodes[0].failureSummary}`);
            }
            const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
            if (over > 0) found.push(`${hash}: ${over} px too wide`);
        }
        assert.deepEqual(found, []);
        assert.deepEqual(outside, []);
        await leave(page);
    });
}
