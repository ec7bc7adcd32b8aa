// A client of the Model Context Protocol by its official TypeScript SDK, as an agent would use it.
//
// The names of the server's tools and parameters are in `tools.json` alone, see `agent.py`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { caller, load, reference } from "./protocol.mjs";

const NAMES = JSON.parse(readFileSync(new URL("tools.json", import.meta.url), "utf8"));

/** One connection. `heard` has the name and the text of each answer, in their order. */
export class Agent {
    heard = [];
    handle = null;

    /** Connects to the endpoint at a URL. */
    static async byHttp(url, key) {
        const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
        const requestInit = { headers: { "x-api-key": key } };
        return new Agent().connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
    }

    /** Starts a program, and connects to it by its standard input and output. */
    static async byStdio(command, args, env) {
        const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
        return new Agent().connect(new StdioClientTransport({ command, args, env, stderr: "inherit" }));
    }

    async connect(transport) {
        const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
        this.client = new Client({ name: "greenroom-tests", version: "1" });
        await this.client.connect(transport);
        const { tools } = await this.client.listTools();
        this.schemas = new Map(tools.map((tool) => [tool.name, tool.inputSchema]));
        this.tool = caller(this.client, (name, text) => this.heard.push([name, text]));
        return this;
    }

    /** Calls the tool with this meaning, in the agent's session if it has one. */
    async call(meaning, given = {}) {
        const name = NAMES.tools[meaning];
        const schema = this.schemas.get(name);
        assert.ok(schema, `the server has no tool ${name}, but ${[...this.schemas.keys()].join(", ")}`);
        const known = schema.properties ?? {};
        const holds = this.handle && NAMES.parameters.session in known;
        const meant = { ...(holds ? { session: this.handle } : {}), ...given };
        const named = Object.fromEntries(Object.entries(meant).map(([word, value]) => [NAMES.parameters[word], value]));
        for (const word of Object.keys(named)) {
            assert.ok(word in known, `${name} has no parameter ${word}, but ${Object.keys(known).join(", ")}`);
        }
        return this.tool(name, named);
    }

    /** Creates a session, and holds it for the later calls. */
    async create(given = {}) {
        const text = await this.call("create", given);
        const [handle] = /\bpbs_\w+\.\w+/.exec(text) ?? [];
        assert.ok(handle, `no handle of a session in the answer: ${text}`);
        this.handle = handle;
        return text;
    }

    /** The reference of the first line of a snapshot that matches. */
    async element(shown) {
        return reference(await this.call("snapshot"), shown);
    }

    close() {
        return this.client.close();
    }
}
