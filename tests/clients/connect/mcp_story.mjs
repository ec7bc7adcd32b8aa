// The story of an agent that needs a person, by the official TypeScript SDK of the Model Context Protocol.
//
//     mcp_story.mjs URL KEY SITE PYTHON
//
// Creates a session, signs in on the sample site with the help of a person, who types the password that the agent
// does not know, reads the products, records all of it, and closes the session. `person.py` plays the person, run by
// PYTHON, in a real browser. Prints the estimated tokens of each answer.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Agent } from "./agent.mjs";

const [url, key, site, python] = process.argv.slice(2);
const run = promisify(execFile);
const LINK = /https?:\/\/[^\s"')>\]]+\/view\/[^\s"')>\]]+/;
// A field's middle on the display, from 0 to 1.
const PLACE = `(() => {
    const field = document.querySelector("#password").getBoundingClientRect();
    const x = screenX + (outerWidth - innerWidth) / 2 + field.x + field.width / 2;
    const y = screenY + outerHeight - innerHeight + field.y + field.height / 2;
    return "place " + (x / screen.width).toFixed(4) + " " + (y / screen.height).toFixed(4);
})()`;

const agent = await Agent.byHttp(`${url}/mcp`, key);
const rows = [];

async function step(words, waiting) {
    const text = await waiting;
    rows.push([words, Math.round(text.length / 4)]);
    return text;
}

/** Asks a person, who follows the link of the answer, and waits until the person is done. */
async function help() {
    const [, x, y] = /place ([\d.]+) ([\d.]+)/.exec(await agent.call("evaluate", { script: PLACE }));
    const message = "Type the password of Ann, and press Enter.";
    const asked = await step("ask a person", agent.call("ask", { message }));
    const [link] = LINK.exec(asked);
    const [, request] = /request `(\w+)`/.exec(asked);
    const program = fileURLToPath(new URL("person.py", import.meta.url));
    const working = run(python, [program, link, x, y, "curtain"], { timeout: 90_000 });
    let answer;
    do {
        // The agent asks again for as long as the answer is `pending`.
        answer = await step("wait for the person", agent.call("ask", { request }));
    } while (answer.startsWith("pending"));
    assert.match(answer, /^returned/);
    const { stdout } = await working;
    assert.match(stdout.trim().split("\n").at(-1), /gave control back/);
}

await step("create", agent.create({ name: "A second story", agent: "the-teller" }));
await step("record", agent.call("record", { action: "start" }));
await step("navigate to the sign-in", agent.call("navigate", { url: `${site}/login.html` }));
assert.match(await step("snapshot of the sign-in", agent.call("snapshot")), /curtain/);
const name = await agent.element(/textbox "Name"/);
await step("type the name", agent.call("type", { element: name, text: "Ann" }));
await help();
assert.match(await step("snapshot, signed in", agent.call("snapshot")), /Signed in as Ann/);
await step("navigate to the shop", agent.call("navigate", { url: `${site}/products.html` }));
assert.match(await step("snapshot of the shop", agent.call("snapshot")), /Ghost lamp[\s\S]*€ 64\.00/);
await step("stop the record", agent.call("record", { action: "stop" }));
await step("close", agent.call("close"));
await agent.close();
console.log("| step | tokens |\n|---|---|");
for (const row of rows) console.log(`| ${row.join(" | ")} |`);
console.log("1 passed: the story");
