// The things that a client needs to drive a session: a program or a configuration for each, with the session's address in it.

/** The values that a snippet shows. */
export interface Values {
    readonly id: string;
    /** The WebSocket address of the session. Without `ticket`, the client sends the key in a header. */
    readonly address: string;
    /** The endpoint of the server's own tools. */
    readonly tools: string;
    /** The address of a ticket, which needs no key. */
    readonly ticket: string | null;
}

export interface Snippet {
    readonly id: string;
    readonly name: string;
    /** The file or program that the text belongs into. */
    readonly where: string;
    /** True if the client takes an address with a credential in it, in place of the key. */
    readonly takesTicket: boolean;
    readonly text: (values: Values) => string;
}

/** The variable from which each snippet reads the key. */
export const KEY = "GREENROOM_API_KEY";

const lines = (...of: readonly (string | null)[]) => of.filter((line) => line !== null).join("\n");
/** A string of Python and JavaScript, and a word of a shell, as long as the text has no quotes of its own. */
const text = (of: string) => JSON.stringify(of);
const word = (of: string) => `'${of.replaceAll("'", "'\\''")}'`;
const target = ({ ticket, address }: Values) => ticket ?? address;
const json = (of: unknown) => JSON.stringify(of, null, 2);

export const SNIPPETS: readonly Snippet[] = [
    {
        id: "playwright-python",
        name: "Playwright, Python",
        where: "A program. Install: pip install playwright",
        takesTicket: true,
        text: (values) => lines(
            values.ticket ? null : "import os",
            "from playwright.sync_api import sync_playwright",
            "",
            "with sync_playwright() as playwright:",
            "    browser = playwright.chromium.connect_over_cdp(",
            `        ${text(target(values))},`,
            values.ticket ? null : `        headers={"x-api-key": os.environ["${KEY}"]},`,
            "    )",
            "    page = browser.contexts[0].pages[0]",
            "    print(page.title())",
            "    browser.close()  # disconnects; the session stays",
        ),
    },
    {
        id: "playwright-js",
        name: "Playwright, JavaScript",
        where: "A module. Install: npm install playwright-core",
        takesTicket: true,
        text: (values) => lines(
            `import { chromium } from "playwright-core";`,
            "",
            `const browser = await chromium.connectOverCDP(${text(target(values))}${values.ticket ? ");" : ", {"}`,
            values.ticket ? null : `    headers: { "x-api-key": process.env.${KEY} },`,
            values.ticket ? null : "});",
            "const page = browser.contexts()[0].pages()[0];",
            "console.log(await page.title());",
            "await browser.close(); // disconnects; the session stays",
        ),
    },
    {
        id: "puppeteer",
        name: "Puppeteer",
        where: "A module. Install: npm install puppeteer-core",
        takesTicket: true,
        text: (values) => lines(
            `import puppeteer from "puppeteer-core";`,
            "",
            "const browser = await puppeteer.connect({",
            `    browserWSEndpoint: ${text(target(values))},`,
            values.ticket ? null : `    headers: { "x-api-key": process.env.${KEY} },`,
            "    defaultViewport: null, // leave the page at the size of the display",
            "});",
            "const [page] = await browser.pages();",
            "console.log(await page.title());",
            "await browser.disconnect();",
        ),
    },
    {
        id: "claude",
        name: "Claude Code",
        where: `A shell in which ${KEY} is set`,
        takesTicket: false,
        text: ({ id, tools }) => lines(
            `claude mcp add --transport http greenroom ${word(tools)} \\`,
            `    --header "x-api-key: $${KEY}"`,
            `# Then name the session in your request: ${id}`,
        ),
    },
    {
        id: "mcp-json",
        name: "MCP, .mcp.json",
        where: "The file .mcp.json of a project",
        takesTicket: false,
        text: ({ tools }) =>
            json({ mcpServers: { greenroom: { type: "http", url: tools, headers: { "x-api-key": `\${${KEY}}` } } } }),
    },
    {
        id: "codex",
        name: "Codex",
        where: "The file ~/.codex/config.toml",
        takesTicket: false,
        text: ({ tools }) => lines(
            "[mcp_servers.greenroom]",
            `url = ${text(tools)}`,
            `env_http_headers = { "x-api-key" = "${KEY}" }`,
        ),
    },
    {
        id: "playwright-mcp",
        name: "Playwright MCP",
        where: "The file .mcp.json of a project",
        takesTicket: true,
        text: (values) => {
            const header = values.ticket ? [] : ["--cdp-header", `x-api-key: \${${KEY}}`];
            const args = ["@playwright/mcp", "--cdp-endpoint", target(values), ...header];
            return json({ mcpServers: { playwright: { command: "npx", args } } });
        },
    },
    {
        id: "chrome-devtools-mcp",
        name: "Chrome DevTools MCP",
        where: "The file .mcp.json of a project",
        takesTicket: true,
        text: (values) => {
            const header = values.ticket ? [] : ["--wsHeaders", `{"x-api-key": "\${${KEY}}"}`];
            const args = ["chrome-devtools-mcp", "--wsEndpoint", target(values), ...header];
            return json({ mcpServers: { "chrome-devtools": { command: "npx", args } } });
        },
    },
    {
        id: "browser-use",
        name: "browser-use",
        where: "A program. Install: pip install browser-use",
        takesTicket: true,
        text: (values) => lines(
            values.ticket ? null : "import os",
            "from browser_use import BrowserProfile, BrowserSession",
            "",
            "session = BrowserSession(browser_profile=BrowserProfile(",
            `    cdp_url=${text(target(values))},`,
            values.ticket ? null : `    headers={"x-api-key": os.environ["${KEY}"]},`,
            "))",
            "# agent = Agent(task=…, llm=…, browser_session=session)",
        ),
    },
    {
        id: "stagehand",
        name: "Stagehand 3",
        where: "A module. Install: npm install @browserbasehq/stagehand@3",
        takesTicket: true,
        text: (values) => lines(
            `import { Stagehand } from "@browserbasehq/stagehand";`,
            "",
            "const stagehand = new Stagehand({",
            `    env: "LOCAL",`,
            "    localBrowserLaunchOptions: {",
            `        cdpUrl: ${text(target(values))},`,
            values.ticket ? null : `        cdpHeaders: { "x-api-key": process.env.${KEY} },`,
            "    },",
            "});",
            "await stagehand.init();",
            "const page = stagehand.context.pages()[0];",
        ),
    },
    {
        id: "agent-browser",
        name: "agent-browser",
        where: "A shell. Install: npm install --global agent-browser",
        takesTicket: true,
        text: (values) => lines(
            values.ticket
                ? `agent-browser --cdp ${word(values.ticket)} snapshot`
                : `agent-browser --cdp ${word(values.address)} \\\n    --cdp-headers "{\\"x-api-key\\": \\"$${KEY}\\"}" snapshot`,
            "agent-browser close # disconnects; the session stays",
        ),
    },
    {
        id: "curl",
        name: "DevTools discovery",
        where: "A shell. For other clients of DevTools",
        takesTicket: true,
        text: (values) => {
            const [address = "", query] = target(values).replace(/^ws/, "http").split("?");
            const whole = `${address}/json/version${query === undefined ? "" : `?${query}`}`;
            return `curl -s${values.ticket ? "" : ` -H "x-api-key: $${KEY}"`} ${word(whole)}`;
        },
    },
];
