// Drives a session with one of the Node clients, and prints what it observed.
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

const home = process.env.GREENROOM_CLIENTS;
const require = createRequire(join(home, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const run = promisify(execFile);

const [client, address, key, site, only] = process.argv.slice(2);
const headers = key === "-" ? undefined : { "x-api-key": key };
const acts = only !== "look";
const isHttp = address.startsWith("http");
const found = "#products li:not([hidden])";
const read = `document.title + " " + document.querySelectorAll("h1").length`;
const shop = `${site}/products.html`;

async function playwright() {
    const { chromium } = require("playwright-core");
    const browser = await chromium.connectOverCDP(address, { headers });
    const page = browser.contexts()[0].pages()[0];
    const seen = { read: await page.evaluate(read), picture: (await page.screenshot()).length > 500 };
    await page.locator("body").innerText();
    if (acts) {
        await page.goto(shop);
        await page.fill("#query", "lamp");
        await page.click("#go");
        await page.waitForSelector("body[data-found]");
        seen.typed = await page.inputValue("#query");
        seen.title = await page.title();
    }
    await browser.close();
    return seen;
}

async function puppeteer() {
    const { default: library } = await load("puppeteer-core");
    const endpoint = isHttp ? { browserURL: address } : { browserWSEndpoint: address };
    const browser = await library.connect({ ...endpoint, headers, defaultViewport: null });
    const [page] = await browser.pages();
    const seen = { read: await page.evaluate(read), picture: (await page.screenshot()).length > 500 };
    await page.$eval("body", (body) => body.innerText);
    if (acts) {
        await page.goto(shop);
        await page.type("#query", "lamp");
        await page.click("#go");
        await page.waitForSelector("body[data-found]");
        seen.typed = await page.$eval("#query", (field) => field.value);
        seen.title = await page.title();
        // The end of most scripts, which must not end the session.
        await browser.close();
    } else {
        await browser.disconnect();
    }
    return seen;
}

/** A server of the Model Context Protocol as a child process. */
async function protocol(program, options) {
    const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
    const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
    const transport = new StdioClientTransport({
        command: process.execPath,
        args: [join(home, "node_modules", program), ...options],
        env: { PATH: process.env.PATH, HOME: home, CI: "1" },
        stderr: "ignore",
    });
    const peer = new Client({ name: "greenroom-tests", version: "1" });
    await peer.connect(transport);
    const tool = async (name, given = {}) => {
        const answer = await peer.callTool({ name, arguments: given });
        const text = answer.content.map((part) => part.text ?? `[${part.type}]`).join("\n");
        assert.ok(!answer.isError, `${name}: ${text}`);
        return text;
    };
    return { tool, close: () => peer.close() };
}

/** The reference of the line with this text in a snapshot. */
function reference(snapshot, text) {
    const line = snapshot.split("\n").find((line) => text.test(line));
    const named = line?.match(/\[ref=(\w+)\]|uid=(\w+)/);
    assert.ok(named, `no ${text} in ${snapshot}`);
    return named[1] ?? named[2];
}

async function playwrightMcp() {
    const by = headers ? ["--cdp-header", `x-api-key: ${key}`] : [];
    const { tool, close } = await protocol("@playwright/mcp/cli.js", ["--cdp-endpoint", address, ...by]);
    const seen = { read: await tool("browser_evaluate", { function: `() => ${read}` }) };
    seen.picture = (await tool("browser_take_screenshot")).includes("[image]");
    await tool("browser_snapshot");
    if (acts) {
        await tool("browser_navigate", { url: shop });
        const field = reference(await tool("browser_snapshot"), /searchbox/);
        await tool("browser_type", { target: field, element: "the search", text: "lamp", submit: true });
        seen.typed = await tool("browser_evaluate", { function: `() => document.querySelector("#query").value` });
        seen.title = await tool("browser_evaluate", { function: "() => document.title" });
        await tool("browser_close");
    }
    await close();
    return seen;
}

async function chromeDevtoolsMcp() {
    const by = isHttp ? ["--browserUrl", address] : ["--wsEndpoint", address];
    const header = headers ? ["--wsHeaders", JSON.stringify(headers)] : [];
    const program = "chrome-devtools-mcp/build/src/bin/chrome-devtools-mcp.js";
    const { tool, close } = await protocol(program, [...by, ...header, "--no-page-id-routing"]);
    const pages = await tool("list_pages");
    const seen = { read: pages, picture: (await tool("take_screenshot")).includes("[image]") };
    await tool("take_snapshot");
    if (acts) {
        await tool("navigate_page", { url: shop });
        const field = reference(await tool("take_snapshot"), /searchbox/);
        await tool("fill", { uid: field, value: "lamp" });
        const button = reference(await tool("take_snapshot"), /button "Search"/);
        await tool("click", { uid: button });
        seen.typed = await tool("evaluate_script", { function: `() => document.querySelector("#query").value` });
        seen.title = await tool("evaluate_script", { function: "() => document.title" });
    }
    await close();
    return seen;
}

async function stagehand() {
    const { Stagehand } = await load("@browserbasehq/stagehand");
    const options = { cdpUrl: address, cdpHeaders: headers };
    const hand = new Stagehand({ env: "LOCAL", localBrowserLaunchOptions: options, verbose: 0, disablePino: true });
    await hand.init();
    const page = hand.context.pages()[0];
    const seen = { read: await page.evaluate(read), picture: (await page.screenshot()).length > 500 };
    if (acts) {
        await page.goto(shop);
        await page.locator("#query").fill("lamp");
        await page.locator("#go").click();
        await page.waitForSelector("body[data-found]");
        seen.typed = await page.evaluate(`document.querySelector("#query").value`);
        seen.title = await page.title();
    }
    await hand.close();
    return seen;
}

async function agentBrowser() {
    const name = `greenroom-${process.pid}`;
    const env = { PATH: process.env.PATH, HOME: home, AGENT_BROWSER_SESSION: name };
    const program = join(home, "node_modules/agent-browser/bin/agent-browser.js");
    const say = async (...words) => {
        const { stdout } = await run(process.execPath, [program, ...words], { env, timeout: 60_000 });
        return stdout.trim();
    };
    try {
        await say("connect", address);
        const seen = { read: await say("eval", read) };
        seen.picture = (await say("screenshot", join(home, `${name}.png`))) !== "";
        await say("snapshot");
        if (acts) {
            await say("open", shop);
            await say("fill", "#query", "lamp");
            await say("click", "#go");
            seen.typed = await say("get", "value", "#query");
            seen.title = await say("get", "title");
        }
        return seen;
    } finally {
        await say("close");
    }
}

const clients = {
    playwright,
    puppeteer,
    "playwright-mcp": playwrightMcp,
    "chrome-devtools-mcp": chromeDevtoolsMcp,
    stagehand,
    "agent-browser": agentBrowser,
};

const seen = await clients[client]();
console.log(JSON.stringify(seen));
process.exit(0);
