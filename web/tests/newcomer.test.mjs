// The path of a newcomer through the console, with a running server, which environment variables name: see
// `scripts/test-pages`.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { launch, leave, open } from "./support.mjs";

const { GREENROOM_URL: url, GREENROOM_KEY: key, GREENROOM_SESSION: known } = process.env;

let browser;
let site;

async function ask(method, path) {
    const answer = await fetch(`${url}${path}`, { method, headers: { "x-api-key": key, accept: "application/json" } });
    return answer.json();
}

before(async () => {
    browser = await launch();
    // The sample site serves the page of the known session.
    site = new URL((await ask("GET", `/v1/browser_sessions/${known}`)).start_url).origin;
});

after(async () => {
    await browser.close();
});

test("a newcomer signs in, creates a session, takes control, runs a workflow, saves a profile and closes", async () => {
    const page = await open(browser);
    page.setDefaultTimeout(60_000);
    const outside = [];
    page.on("request", (request) => {
        if (/^https?:/.test(request.url()) && !request.url().startsWith(url)) outside.push(request.url());
    });
    // Names of live sessions are unique.
    const name = `First steps ${Date.now()}`;
    const heading = (title) => page.getByRole("heading", { level: 1, name: title, exact: true }).waitFor();

    await page.goto(`${url}/`);
    await page.getByLabel("API key or link").fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await heading("Sessions");

    await page.getByRole("button", { name: "New session" }).first().click();
    const form = page.getByRole("dialog", { name: "New session" });
    await form.getByLabel("First page").fill(`${site}/click.html`);
    await form.getByLabel("Name", { exact: true }).fill(name);
    await form.getByLabel("Tags").fill("newcomer");
    await form.getByRole("button", { name: "Create" }).click();
    await heading(name);
    const id = /sessions\/(pbs_\w+)/.exec(page.url())?.[1];
    assert.ok(id, page.url());

    // Watch, and take control.
    const view = page.frameLocator("iframe");
    await view.locator('body[data-link="live"]').waitFor();
    await page.getByText(`${site}/click.html`, { exact: true }).waitFor();
    await view.getByRole("button", { name: "Take control" }).click();
    await view.locator('body[data-holder="you"]').waitFor();
    await page.getByText("The automation waits.").waitFor();
    await view.getByRole("button", { name: "Release control" }).click();
    await page.getByText("Use “Take control” in the view").waitFor();

    // Write a workflow, with a fault first.
    const yaml = await readFile(new URL("../../demo/workflow.yaml", import.meta.url), "utf8");
    await page.getByRole("link", { name: "Workflows" }).click();
    await page.getByRole("link", { name: /new workflow|first workflow/i }).first().click();
    await heading("New workflow");
    const editor = page.getByLabel("The workflow in YAML");
    await editor.fill(yaml.replace("block_type: goto_url", "block_type: goto_ur"));
    await page.getByRole("button", { name: /line \d+: block open_sign_in: there is no block type goto_ur/ }).waitFor();
    await editor.fill(yaml);
    await page.getByText("No faults.").waitFor();
    await page.getByRole("button", { name: "Create" }).click();
    await heading("Lamps at Footlights");

    // The text from the server is the same workflow again, and as right.
    await page.getByRole("tab", { name: "Edit" }).click();
    await page.getByText("No faults.").waitFor();
    await page.getByRole("tab", { name: "Run" }).click();

    // Run it in the session, and see its blocks.
    await page.getByLabel("site_url").fill(site);
    await page.getByLabel("Session", { exact: true }).selectOption(id);
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.waitForURL(/#\/runs\/wr_/);
    await page.locator(".head").getByText("completed", { exact: true }).waitFor();
    await page.getByRole("button", { name: /^read_products extract .* completed$/ }).click();
    await page.locator(".block-detail").getByText("Follow spot lamp").waitFor();
    const picture = page.getByRole("img", { name: "The page after the block" });
    await page.getByRole("button", { name: /^open_sign_in goto_url .* completed$/ }).click();
    await page.waitForFunction((image) => image.complete && image.naturalWidth > 0, await picture.elementHandle());

    // Its begin and release are events of the session.
    await page.getByRole("link", { name: "Session", exact: true }).click();
    await heading(name);
    await page.getByRole("tab", { name: "Events" }).click();
    const events = page.getByRole("list", { name: "Events of the session" });
    for (const title of ["Occupied", "Run ended", "Released"]) {
        await events.getByRole("button", { name: title }).first().waitFor();
    }

    // Keep the login, and end.
    const login = `Ann of ${id}`;
    await page.getByRole("button", { name: "Save profile" }).click();
    await page.getByRole("dialog").getByLabel("Name").fill(login);
    await page.getByRole("button", { name: "Save as new profile" }).click();
    await page.getByText(`Saved as “${login}”.`).waitFor();
    await page.getByRole("button", { name: "Close", exact: true }).click();
    await page.getByRole("dialog", { name: "Please confirm" }).getByRole("button", { name: "Close" }).last().click();
    await page.getByRole("heading", { name: "The session has ended" }).waitFor();
    assert.equal((await ask("GET", `/v1/browser_sessions/${id}`)).status, "completed");

    await page.getByRole("link", { name: "Profiles" }).click();
    await page.getByRole("row", { name: login }).waitFor();
    assert.deepEqual(outside, []);
    await leave(page);
});
