// Servers of the Model Context Protocol as children, for the programs that drive them.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const home = process.env.GREENROOM_CLIENTS;
const require = createRequire(join(home, "package.json"));
export const load = (name) => import(pathToFileURL(require.resolve(name)));

/** The text of a tool's answer; pictures become `[image]`. */
export function textOf(answer) {
    return answer.content.map((part) => part.text ?? `[${part.type}]`).join("\n");
}

/** A function that calls a tool of the client, and fails with the tool's text. */
export function caller(client, heard = () => {}) {
    return async (name, given = {}) => {
        const answer = await client.callTool({ name, arguments: given }, undefined, { timeout: 60_000 });
        const text = textOf(answer);
        heard(name, text, answer);
        assert.ok(!answer.isError, `${name}: ${text}`);
        return text;
    };
}

/** Starts a program of the installed packages, and connects to it by its standard input and output. */
export async function toolServer(program, options, heard) {
    const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
    const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
    const transport = new StdioClientTransport({
        command: process.execPath,
        args: [join(home, "node_modules", program), ...options],
        env: { PATH: process.env.PATH, HOME: home, CI: "1", CHROME_DEVTOOLS_MCP_NO_USAGE_STATISTICS: "1" },
        cwd: home,
        stderr: "ignore",
    });
    const client = new Client({ name: "greenroom-tests", version: "1" });
    await client.connect(transport);
    return { tool: caller(client, heard), close: () => client.close(), client };
}

/** The reference of the first line of a snapshot that matches. */
export function reference(snapshot, shown) {
    const line = snapshot.split("\n").find((line) => shown.test(line));
    const named = line?.match(/\bref=(\w+)|uid=(\w+)/);
    assert.ok(named, `no ${shown} in ${snapshot}`);
    return named[1] ?? named[2];
}
