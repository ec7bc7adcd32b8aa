// Tests of the sample site: its pages work as the demo and the other tests expect, and load nothing from
// other origins.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readdir, readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { colourAt, launch, leave, near, open } from "./support.mjs";

const folder = fileURLToPath(new URL("../../demo/site/", import.meta.url));
const MEDIA = { html: "text/html", js: "text/javascript", css: "text/css", csv: "text/csv" };

let browser;
let server;
let base;

before(async () => {
    server = createServer(async (request, response) => {
        const { pathname } = new URL(request.url, "http://site");
        const body = /^\/[\w./-]+$/.test(pathname) && !pathname.includes("..")
            ? await readFile(folder + pathname.slice(1)).catch(() => null)
            : null;
        if (!body) return response.writeHead(404).end();
        response.writeHead(200, { "content-type": MEDIA[pathname.split(".").at(-1)] ?? "text/plain" });
        return response.end(body);
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    base = `http://127.0.0.1:${server.address().port}`;
    browser = await launch();
});

after(async () => {
    await browser.close();
    server.closeAllConnections();
    server.close();
});

test("every page stands by itself, without a fault and without the world outside", async () => {
    const page = await open(browser);
    const outside = [];
    const missing = [];
    page.on("request", (request) => {
        if (/^(https?|wss?):/.test(request.url()) && !request.url().startsWith(base)) outside.push(request.url());
    });
    page.on("response", (response) => {
        if (response.status() >= 400) missing.push(response.url());
    });
    const pages = (await readdir(folder)).filter((name) => name.endsWith(".html"));
    assert.ok(pages.length >= 12);
    for (const name of pages) await page.goto(`${base}/${name}`);
    assert.deepEqual({ outside, missing }, { outside: [], missing: [] });
    await leave(page);
});

test("what the sample workflow does can be done", async () => {
    const workflow = await readFile(new URL("../../demo/workflow.yaml", import.meta.url), "utf8");
    const page = await open(browser);
    const selector = (label) => {
        const [, found] = new RegExp(`label: ${label}\\n\\s+selector: "(.*)"`).exec(workflow) ?? [];
        assert.ok(found, `the workflow has no block ${label} with a selector`);
        return found;
    };
    await page.goto(`${base}/login.html`);
    await page.fill(selector("fill_name"), "Ann");
    await page.fill(selector("fill_password"), "curtain");
    await page.click(selector("sign_in"));
    await page.goto(`${base}/products.html`);
    await page.fill(selector("fill_search"), "lamp");
    await page.click(selector("search"));
    assert.equal(await page.textContent("#who"), "Signed in as Ann");
    assert.equal(await page.textContent("#count"), "3 articles for “lamp”");
    const products = await page.locator(".product").evaluateAll((items) =>
        items.map((item) => [".sku", ".name", ".price", ".stock"].map((part) => item.querySelector(part).textContent)),
    );
    assert.deepEqual(products[0], ["FL-101", "Follow spot lamp", "€ 489.00", "4 in stock"]);
    assert.equal(products.length, 3);
    await leave(page);
});

test("a wrong password signs nobody in, and signing out forgets", async () => {
    const page = await open(browser);
    await page.goto(`${base}/login.html`);
    await page.fill("#username", "Ann");
    await page.fill("#password", "wrong");
    await page.click("#sign-in");
    assert.equal(await page.textContent("#message"), "That is not the password.");
    assert.equal(await page.textContent("#who"), "Not signed in");
    await page.fill("#password", "curtain");
    await page.click("#sign-in");
    await page.click("#sign-out");
    await page.waitForFunction(() => document.querySelector("#who")?.textContent === "Not signed in");
    assert.equal(await page.evaluate(() => document.cookie), "");
    await leave(page);
});

test("colours are exact, and clicks leave theirs", async () => {
    const page = await open(browser);
    await page.goto(`${base}/colour.html?c=12ab9f`);
    near(await colourAt(page, 0.5, 0.5, "html"), [0x12, 0xab, 0x9f], 0);
    await page.goto(`${base}/click.html`);
    await page.mouse.click(200, 300);
    await page.mouse.click(600, 300);
    assert.equal(await page.title(), "2 clicks");
    near(await colourAt(page, 200 / 1280, 300 / 800, "html"), [255, 0, 0], 0);
    near(await colourAt(page, 600 / 1280, 300 / 800, "html"), [0, 255, 0], 0);
    await leave(page);
});

test("the form, the slow page, tabs, frames, dialogs and downloads do theirs", async () => {
    const page = await open(browser);
    await page.goto(`${base}/form.html`);
    await page.fill("#theatre", "Globe");
    await page.selectOption("#delivery", "night");
    await page.setInputFiles("#plan", { name: "plan.txt", mimeType: "text/plain", buffer: Buffer.from("x") });
    await page.check("#terms");
    await page.click("#send");
    const given = JSON.parse(await page.textContent("#result"));
    assert.deepEqual([given.theatre, given.delivery, given.plan.name, given.terms], ["Globe", "night", "plan.txt", "on"]);

    await page.goto(`${base}/slow.html?ms=300`);
    assert.equal(await page.locator("#ready").count(), 0);
    await page.click("#ready");

    await page.goto(`${base}/tab.html`);
    for (const opener of ["#link", "#script"]) {
        const [tab] = await Promise.all([page.context().waitForEvent("page"), page.click(opener)]);
        await tab.close();
    }

    await page.goto(`${base}/frame.html`);
    const inner = page.frameLocator("#inner");
    await inner.locator("#word").fill("break a leg");
    await inner.locator("#say").click();
    assert.equal(await inner.locator("#echo").textContent(), "You said: break a leg");

    await page.goto(`${base}/dialog.html`);
    page.once("dialog", (dialog) => dialog.accept("Bea"));
    await page.click("#prompt");
    assert.equal(await page.textContent("#answer"), "prompt: Bea");

    await page.goto(`${base}/download.html`);
    for (const [button, name] of [["#file", "programme.csv"], ["#made", "ticket.txt"]]) {
        const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
        assert.equal(download.suggestedFilename(), name);
    }
    await leave(page);
});
