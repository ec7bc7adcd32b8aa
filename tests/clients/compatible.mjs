// Uses sessions and workflows with the requests of the compatible API's TypeScript client: the same paths,
// header names and retries.
//
//     compatible.mjs SERVER KEY SITE

import assert from "node:assert/strict";

const [server, key, site] = process.argv.slice(2);
const headers = {
    "x-api-key": key,
    "User-Agent": "@skyvern/client/1.0.46",
    "X-Fern-Language": "JavaScript",
    "X-Fern-SDK-Name": "@skyvern/client",
    "X-Fern-SDK-Version": "1.0.46",
    "X-Fern-Runtime": "node",
    "X-Fern-Runtime-Version": process.version,
};

// After 408, 429, and 500 and above, a request is repeated, with any method.
async function ask(method, path, { body, query, tries = 3 } = {}) {
    const url = new URL(`/v1/${path}`, server);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.append(name, value);
    const type = body === undefined ? {} : { "Content-Type": "application/json" };
    const answer = await fetch(url, { method, headers: { ...headers, ...type }, body: JSON.stringify(body) });
    if ((answer.status === 408 || answer.status === 429 || answer.status >= 500) && tries > 1) {
        return ask(method, path, { body, query, tries: tries - 1 });
    }
    const text = await answer.text();
    assert.notEqual(text, "", `${method} ${path}: an empty body`);
    return { status: answer.status, body: JSON.parse(text) };
}

async function ok(...request) {
    const { status, body } = await ask(...request);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
}

async function refused(expected, ...request) {
    const { status, body } = await ask(...request);
    assert.equal(status, expected, JSON.stringify(body));
    assert.ok(body.detail);
    return body.code;
}

async function until(id, ...statuses) {
    const deadline = Date.now() + 60_000;
    for (;;) {
        const run = await ok("GET", `runs/${id}`);
        if (statuses.includes(run.status)) return run;
        assert.ok(Date.now() < deadline, JSON.stringify(run));
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

const session = await ok("POST", "browser_sessions", { body: { timeout: 10, url: `${site}/products.html` } });
const id = session.browser_session_id;
assert.ok(session.browser_address && session.organization_id && session.created_at && session.modified_at);

const blocks = [
    { block_type: "goto_url", label: "open", url: "{{ site }}/products.html" },
    { block_type: "extract", label: "read", fields: { count: "#count" } },
];
const parameters = [{ parameter_type: "workflow", key: "site", workflow_parameter_type: "string" }];
const workflow = await ok("POST", "agents", {
    body: { json_definition: { title: "Shop", workflow_definition: { parameters, blocks } } },
});
const known = workflow.workflow_definition.blocks.map((block) => block.block_type);
const workflow_id = workflow.workflow_permanent_id;
const yaml = "title: Long\nworkflow_definition:\n  blocks:\n    - {block_type: wait, label: rest, wait_sec: 600}\n";
const long = await ok("POST", "agents", { body: { yaml_definition: yaml } });

const start = (agent_id, given) =>
    ok("POST", "run/agents", { body: { agent_id, browser_session_id: id, parameters: given } });
const run = await until((await start(workflow_id, { site })).run_id, "completed", "failed");
assert.equal(run.status, "completed", JSON.stringify(run));
assert.deepEqual([run.run_type, run.browser_session_id], ["workflow_run", id]);

const other = await start(long.workflow_permanent_id, {});
await until(other.run_id, "running");
await ok("POST", `runs/${other.run_id}/cancel`);
const canceled = await until(other.run_id, "canceled");

const runs = await ok("GET", "runs", { query: { page: 1, page_size: 10 } });
const agents = await ok("GET", "agents", { query: { page: 1, page_size: 10 } });
const refusals = [
    await refused(400, "POST", "run/agents", { body: { agent_id: workflow_id } }),
    await refused(404, "GET", "runs/wr_1"),
    await refused(422, "POST", "agents", { body: {} }),
    await refused(404, "POST", "run/tasks", { body: { prompt: "buy a lamp" } }),
];
await ok("POST", `browser_sessions/${id}/close`);
assert.deepEqual(await ok("GET", "browser_sessions"), []);
refusals.push(await refused(410, "POST", "run/agents", {
    body: { agent_id: workflow_id, browser_session_id: id, parameters: { site } },
}));

console.log(JSON.stringify({
    known,
    output: run.output,
    canceled: canceled.status,
    runs: runs.map((one) => one.status),
    agents: agents.map((one) => one.title).sort(),
    refusals,
}));
