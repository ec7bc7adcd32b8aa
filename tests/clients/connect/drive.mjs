// Drives a session with one of the Node clients, and prints what it read from the page.
//
//     drive.mjs CLIENT ADDRESS KEY SITE [look]
//
// KEY goes into the header `x-api-key`; `-` sends none. `look` attaches and reads, and does not act.
// GREENROOM_CLIENTS names the directory in which the clients are installed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import { reference, toolServer } from "./protocol.mjs";

const home = process.env.GREENROOM_CLIENTS;
const require = createRequire(join(home, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const loadModule = (path) => import(pathToFileURL(join(home, "node_modules", path)));
const run = promisify(execFile);

const [client, address, key, site, only] = process.argv.slice(2);
const headers = key === "-" ? undefined : { "x-api-key": key };
const isHttp = address.startsWith("http");

/** The longest wait for a page, in milliseconds. */
const PATIENCE = 15_000;

/** Waits until an expression of the page has this value. */
async function until(browser, expression, wanted) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
        const seen = await browser.read(expression).catch((cause) => cause.message);
        if (seen.includes(wanted)) return;
        assert.ok(Date.now() < deadline, `${expression} is ${seen}, not ${wanted}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

const TEXT = (selector) => `String(document.querySelector("${selector}")?.textContent)`;

/** Signs in on the sample site, and reads one of its products. */
async function visit(browser) {
    await browser.goto(`${site}/login.html`);
    await until(browser, "document.readyState + location.pathname", "complete/login.html");
    await browser.fill("#username", "Ann");
    await browser.fill("#password", "curtain");
    await browser.click("#sign-in");
    await until(browser, TEXT("#who"), "Signed in as Ann");
    await browser.goto(`${site}/products.html`);
    await until(browser, "document.readyState + location.pathname", "complete/products.html");
    await browser.fill("#query", "ghost");
    await browser.click("#go");
    await until(browser, `"found " + document.body.dataset.found`, "found 1");
    return {
        who: await browser.read(TEXT("#who")),
        product: await browser.read(TEXT("#products .name")),
        price: await browser.read(TEXT("#products .price")),
    };
}

async function playwright() {
    const { chromium } = require("playwright-core");
    const browser = await chromium.connectOverCDP(address, { headers });
    const page = browser.contexts()[0].pages()[0];
    return {
        read: (expression) => page.evaluate(expression),
        picture: async () => (await page.screenshot()).length > 500,
        goto: (url) => page.goto(url),
        fill: (selector, text) => page.fill(selector, text),
        click: (selector) => page.click(selector),
        close: () => browser.close(),
    };
}

async function puppeteer() {
    const { default: library } = await load("puppeteer-core");
    const endpoint = isHttp ? { browserURL: address } : { browserWSEndpoint: address };
    const browser = await library.connect({ ...endpoint, headers, defaultViewport: null });
    const [page] = await browser.pages();
    return {
        read: (expression) => page.evaluate(expression),
        picture: async () => (await page.screenshot()).length > 500,
        goto: (url) => page.goto(url),
        fill: async (selector, text) => {
            await page.$eval(selector, (field) => field.select());
            await page.type(selector, text);
        },
        click: (selector) => page.click(selector),
        // The end of most scripts, which must not end the session.
        close: () => (only === "look" ? browser.disconnect() : browser.close()),
    };
}

/** Selectors of the sample site, as a line of a snapshot shows them. */
const SHOWN = {
    "#username": /textbox "Name"/,
    "#password": /textbox "Password"/,
    "#sign-in": /button "Sign in"/,
    "#query": /searchbox/,
    "#go": /button "Search"/,
};

async function playwrightMcp() {
    const by = headers ? ["--cdp-header", `x-api-key: ${key}`] : [];
    const { tool, close } = await toolServer("@playwright/mcp/cli.js", ["--cdp-endpoint", address, ...by]);
    const named = async (selector) => reference(await tool("browser_snapshot"), SHOWN[selector]);
    return {
        read: (expression) => tool("browser_evaluate", { function: `() => ${expression}` }).then(result),
        picture: async () => (await tool("browser_take_screenshot")).includes("[image]"),
        goto: (url) => tool("browser_navigate", { url }),
        fill: async (selector, text) =>
            tool("browser_type", { target: await named(selector), element: selector, text }),
        click: async (selector) => tool("browser_click", { target: await named(selector), element: selector }),
        close: async () => {
            if (only !== "look") await tool("browser_close");
            await close();
        },
    };
}

/** The text that an evaluation of @playwright/mcp returned. */
function result(answer) {
    const [, json] = /### Result\n(.*)/.exec(answer) ?? [];
    return json === undefined ? answer : String(JSON.parse(json));
}

async function chromeDevtoolsMcp() {
    const by = isHttp ? ["--browserUrl", address] : ["--wsEndpoint", address];
    const header = headers ? ["--wsHeaders", JSON.stringify(headers)] : [];
    const program = "chrome-devtools-mcp/build/src/bin/chrome-devtools-mcp.js";
    const { tool, close } = await toolServer(program, [...by, ...header, "--no-page-id-routing"]);
    const named = async (selector) => reference(await tool("take_snapshot"), SHOWN[selector]);
    return {
        read: async (expression) => {
            const answer = await tool("evaluate_script", { function: `() => ${expression}` });
            const [, json] = /```json\n([\s\S]*?)\n```/.exec(answer) ?? [];
            return json === undefined ? answer : String(JSON.parse(json));
        },
        picture: async () => (await tool("take_screenshot")).includes("[image]"),
        goto: (url) => tool("navigate_page", { url }),
        fill: async (selector, text) => tool("fill", { uid: await named(selector), value: text }),
        click: async (selector) => tool("click", { uid: await named(selector) }),
        close,
    };
}

/** Stagehand 3 speaks DevTools itself. */
async function stagehand3() {
    const { Stagehand } = await load("stagehand-3");
    const options = { cdpUrl: address, cdpHeaders: headers };
    const hand = new Stagehand({ env: "LOCAL", localBrowserLaunchOptions: options, verbose: 0, disablePino: true });
    await hand.init();
    const page = hand.context.pages()[0];
    return {
        read: (expression) => page.evaluate(expression),
        picture: async () => (await page.screenshot()).length > 500,
        goto: (url) => page.goto(url),
        fill: (selector, text) => page.locator(selector).fill(text),
        click: (selector) => page.locator(selector).click(),
        close: () => hand.close(),
    };
}

/** Stagehand 4 acts through an extension, which it loads into the browser over DevTools. */
async function stagehand() {
    const { Stagehand, localBrowser } = await loadModule("@browserbasehq/stagehand/dist/index.mjs");
    const browser = await localBrowser.connect({ cdpUrl: address, headers });
    const hand = await Stagehand.create({ browser });
    const [page] = await browser.context.pages();
    return {
        read: (expression) => page.evaluate(expression),
        picture: async () => (await page.screenshot()).length > 500,
        goto: (url) => page.goto(url),
        fill: (selector, text) => page.locator(selector).fill(text),
        click: (selector) => page.locator(selector).click(),
        close: async () => {
            await hand.close();
            await browser.disconnect();
        },
    };
}

async function agentBrowser() {
    const name = `greenroom-${process.pid}`;
    const env = { PATH: process.env.PATH, HOME: home, AGENT_BROWSER_SESSION: name, AGENT_BROWSER_NO_VERSION_CHECK: "1" };
    const program = join(home, "node_modules/agent-browser/bin/agent-browser.js");
    const say = async (...words) => {
        const { stdout } = await run(process.execPath, [program, ...words], { env, timeout: 60_000 });
        return stdout.trim();
    };
    const by = headers ? ["--cdp-headers", JSON.stringify(headers)] : [];
    try {
        await say(...by, "--cdp", address, "get", "title");
    } catch (cause) {
        // Its background process stays for an hour.
        await say("close").catch(() => {});
        throw cause;
    }
    return {
        read: async (expression) => {
            const answer = await say("eval", expression);
            return answer.startsWith('"') ? JSON.parse(answer) : answer;
        },
        picture: async () => (await say("screenshot", join(home, `${name}.png`))) !== "",
        goto: (url) => say("open", url),
        fill: (selector, text) => say("fill", selector, text),
        click: (selector) => say("click", selector),
        close: () => say("close"),
    };
}

const clients = {
    playwright,
    puppeteer,
    "playwright-mcp": playwrightMcp,
    "chrome-devtools-mcp": chromeDevtoolsMcp,
    stagehand,
    "stagehand-3": stagehand3,
    "agent-browser": agentBrowser,
};

const browser = await clients[client]();
try {
    const seen = { read: await browser.read(`"title: " + document.title`), picture: await browser.picture() };
    if (only !== "look") Object.assign(seen, await visit(browser));
    console.log(JSON.stringify(seen));
} finally {
    await browser.close();
}
process.exit(0);
