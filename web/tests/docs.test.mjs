// Tests of the API reference with the fake server.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import axe from "axe-core";
import { startFake } from "./fake-server.mjs";
import { launch, leave, open } from "./support.mjs";

let browser;
let fake;

before(async () => {
    browser = await launch();
});

after(async () => {
    await browser.close();
});

const DOCUMENT = {
    openapi: "3.1.0",
    tags: [{ name: "Things", description: "Useful ones" }],
    info: { title: "Greenroom", version: "7.8.9", description: "Every error has a `code`." },
    paths: {
        "/v1/things/{id}": {
            get: {
                tags: ["Things"], summary: "Returns a `thing`.", operationId: "get_thing",
                parameters: [{ name: "id", in: "path", required: true, description: "Its id", schema: { type: "string" } }],
                responses: { 200: { description: "The thing", content: { "application/json": { schema: { $ref: "#/components/schemas/Thing" } } } } },
            },
        },
        "/v1/things": {
            post: {
                tags: ["Things"], summary: "Makes one.", operationId: "post_things",
                requestBody: { content: { "application/json": { schema: { oneOf: [{ $ref: "#/components/schemas/Request" }, { type: "null" }] } } } },
                responses: { 422: { description: "<b>Fields</b> are invalid", content: { "application/json": { schema: { $ref: "#/components/schemas/Problem" } } } } },
            },
        },
        "/v1/other": { delete: { tags: ["Others"], summary: "Removes it.", operationId: "delete_other", responses: {} } },
    },
    components: {
        schemas: {
            Thing: { type: "object", required: ["id"], properties: { id: { type: "string" }, parts: { type: "array", items: { $ref: "#/components/schemas/Thing" } } } },
            Request: { type: "object", required: ["width"], properties: { width: { type: "integer", minimum: 64, maximum: 4096, description: "In pixels" }, name: { type: ["string", "null"] } } },
            Problem: { type: "object", properties: { code: { type: "string" } } },
        },
    },
};

let page;
let requests;

beforeEach(async () => {
    fake = await startFake();
    fake.openapi = DOCUMENT;
    page = await open(browser);
    requests = [];
    page.on("request", (request) => requests.push(request.url()));
});

afterEach(async () => {
    await leave(page);
    await fake.stop();
});

test("each request is shown with its parameters, body, example and answers", async () => {
    await page.goto(`${fake.base}/docs`);
    await page.waitForSelector(".operation >> nth=2");
    assert.equal(await page.textContent("#version"), "API 7.8.9");
    assert.deepEqual(await page.locator(".subject h2").allTextContents(), ["Others", "Things"]);
    assert.equal(await page.textContent("#things .about"), "Useful ones");
    await page.click("#post_things summary");
    const text = await page.innerText("#post_things");
    assert.match(text, /width\s+integer, 64 to 4096\s+required/);
    assert.match(text, /-X POST -d '{"width":64}'/);
    assert.ok(text.includes(`"${fake.base}/v1/things"`), text);
    // Text of the document is no markup.
    assert.match(text, /422 <b>Fields<\/b> are invalid/);
    await page.click("#get_thing > summary");
    await page.click("#get_thing .answers summary");
    assert.match(await page.innerText("#get_thing .answers pre"), /"id": "…"/);
});

test("the filter leaves what has all its words, and a link opens its request", async () => {
    await page.goto(`${fake.base}/docs#delete_other`);
    await page.waitForSelector("#delete_other[open]");
    await page.fill("#filter", "things get");
    assert.deepEqual(await page.locator(".operation:visible .path").allTextContents(), ["/v1/things/{id}"]);
    await page.fill("#filter", "nothing like it");
    await page.waitForSelector("#none:visible");
});

test("it sends no key, and asks no other host", async () => {
    await page.goto(`${fake.base}/docs`);
    await page.waitForSelector(".operation");
    for (const url of requests) assert.ok(url.startsWith(fake.base) || url.startsWith("data:"), url);
});

test("a description that cannot be loaded is reported", async () => {
    fake.openapi = null;
    await page.goto(`${fake.base}/docs`);
    await page.waitForSelector("#failure:visible");
    assert.match(await page.textContent("#failure"), /503/);
});

test("it follows the theme of the system, and each text can be read in both", async () => {
    for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.goto(`${fake.base}/docs`);
        await page.waitForSelector(".operation");
        await page.click("#post_things summary");
        await page.click("#get_thing > summary");
        const background = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
        const [red] = background.match(/\d+/g).map(Number);
        assert.equal(red > 200, colorScheme === "light", `${colorScheme}: ${background}`);
        await page.evaluate(axe.source);
        const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["color-contrast"] }));
        const places = violations.flatMap(({ nodes }) => nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`));
        assert.deepEqual(places, [], colorScheme);
    }
});
