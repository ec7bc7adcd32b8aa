// Files and addresses with Playwright in a session: permitted and refused operations.

import { createRequire } from "node:module";
import { readFileSync, rmSync } from "node:fs";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [address, key, site] = process.argv.slice(2);
const browser = await chromium.connectOverCDP(address, { headers: { "x-api-key": key } });
const page = await browser.contexts()[0].newPage();
const refusal = async (does) => {
  try {
    await does();
    return "passed";
  } catch (cause) {
    return cause.message;
  }
};
const result = {};

await page.goto(`${site}/download.html`);
const [download] = await Promise.all([page.waitForEvent("download"), page.click("#made")]);
const target = `${process.env.TMPDIR ?? "/tmp"}/rules-${process.pid}.txt`;
process.on("exit", () => rmSync(target, { force: true }));
await download.saveAs(target);
result.saved = readFileSync(target, "utf8");
result.name = download.suggestedFilename();

await page.goto(`${site}/form.html`);
const chosen = () => page.evaluate(async () => {
  const [file] = document.querySelector("#plan").files;
  return file ? `${file.name} ${file.size} ${(await file.text()).slice(0, 5)}` : "none";
});
await page.setInputFiles("#plan", { name: "plan.txt", mimeType: "text/plain", buffer: Buffer.from("hello") });
result.buffer = await chosen();
const large = { name: "large.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(2 << 20, "x") };
await page.setInputFiles("#plan", large, { timeout: 60_000 });
result.large = await chosen();
// For a path, Playwright sends the content of the file.
await page.setInputFiles("#plan", target);
result.path = await chosen();

const devtools = await page.context().newCDPSession(page);
const { root } = await devtools.send("DOM.getDocument");
const { nodeId } = await devtools.send("DOM.querySelector", { nodeId: root.nodeId, selector: "#plan" });
result.host = await refusal(() => devtools.send("DOM.setFileInputFiles", { nodeId, files: ["/etc/passwd"] }));
result.goto = await refusal(() => page.goto("file:///etc/passwd"));
result.source = await refusal(() => page.goto("view-source:file:///etc/passwd"));
result.settings = await refusal(() => page.goto("chrome://settings"));
result.unlisted = await refusal(() => devtools.send("Nobody.knows"));
const whole = await browser.newBrowserCDPSession();
result.tab = await refusal(() => whole.send("Target.createTarget", { url: "file:///etc/passwd" }));
result.proxy = await refusal(() => browser.newContext({ proxy: { server: "http://127.0.0.1:1" } }));
result.info = await refusal(() => whole.send("SystemInfo.getInfo"));
result.sandbox = await refusal(() => page.goto("chrome://sandbox"));
result.newtab = await refusal(() => whole.send("Target.createTarget", { url: "chrome://newtab/" }));

const context = await browser.newContext();
const other = await context.newPage();
await other.goto(`${site}/form.html`);
result.context = await other.title();
await context.close();
await page.close();
await browser.close();

// A client on another machine finds its files among the session's, not in its own folder.
const headers = { "x-api-key": key, "x-forwarded-for": "198.51.100.7" };
const remote = await chromium.connectOverCDP(address, { headers });
const far = await remote.contexts()[0].newPage();
await far.goto(`${site}/download.html`);
const [taken] = await Promise.all([far.waitForEvent("download"), far.click("#file")]);
result.forwarded = await refusal(() => taken.saveAs(`${target}.far`));
await far.close();
await remote.close();
console.log(JSON.stringify(result));
