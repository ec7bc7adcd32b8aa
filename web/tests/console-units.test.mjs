// Tests of the console's rules, without a browser.

import assert from "node:assert/strict";
import { build } from "esbuild";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

async function load(module) {
    const { outputFiles } = await build({
        entryPoints: [fileURLToPath(new URL(`../src/console/${module}.ts`, import.meta.url))],
        bundle: true,
        format: "esm",
        write: false,
    });
    return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

const { link, parseRoute } = await load("address");
const { KEY, SNIPPETS } = await load("snippets");
const { parseEvents } = await load("sse");
const { barsOf } = await load("timeline");
const { between, duration, eventText, eventTone, micros } = await load("words");
const { sourceOf, toYaml } = await load("yaml");

test("a page's address has a path and a query, and survives every character", () => {
    const { path, query } = parseRoute(link(["runs", "a/b ?ä"], { q: "x&y=z", status: "" }));
    assert.deepEqual(path, ["runs", "a/b ?ä"]);
    assert.deepEqual([...query], [["q", "x&y=z"]]);
    assert.deepEqual(parseRoute("").path, []);
    assert.deepEqual(parseRoute("#/%E0%A4%A/x").path, ["%E0%A4%A", "x"]);
});

test("server-sent events are read as they arrive, in pieces", () => {
    const whole = 'retry: 2000\n\nid: 1\nevent: run.ended\ndata: {"seq":1,\ndata: "a":2}\n\n: beat\n\nid: 2\nda';
    const { events, rest } = parseEvents(whole);
    assert.deepEqual(events, [{ kind: "run.ended", data: '{"seq":1,\n"a":2}' }]);
    assert.equal(rest, "id: 2\nda");
    assert.deepEqual(parseEvents(`${rest}ta: x\r\n\r\n`).events, [{ kind: "message", data: "x" }]);
});

test("the blocks of a run are bars on one scale, children after their parent", () => {
    const block = (label, second, seconds, status = "completed") => ({
        block: {
            workflow_run_block_id: label,
            label,
            status,
            duration: seconds,
            created_at: `2026-01-01T00:00:0${second}Z`,
            modified_at: `2026-01-01T00:00:0${second}Z`,
        },
        children: [],
    });
    const loop = { ...block("loop", 2, 6), children: [block("inner", 3, 1)] };
    // The server lists the newest block first.
    const bars = barsOf([block("last", 8, null, "running"), loop, block("first", 0, 2)], Date.parse("2026-01-01T00:00:10Z"));
    assert.deepEqual(
        bars.map(({ block: { label }, depth, from, length }) => [label, depth, from, Number(length.toFixed(3))]),
        [["first", 0, 0, 0.2], ["loop", 0, 0.2, 0.6], ["inner", 1, 0.3, 0.1], ["last", 0, 0.8, 0.2]],
    );
});

test("durations have the unit that fits", () => {
    assert.deepEqual(
        [0.1234, 1, 9.96, 59.4, 185, 7860].map(duration),
        ["0.12 s", "1.0 s", "10 s", "59 s", "3 min 05 s", "2 h 11 min"],
    );
    assert.deepEqual([null, 12, 1234, 464_000, 2_500_000].map(micros), ["–", "12 µs", "1.2 ms", "464 ms", "2.5 s"]);
    assert.equal(between("2026-01-01T00:00:00Z", null, Date.parse("2026-01-01T00:01:05Z")), "1 min 05 s");
    assert.equal(between(null, null, 0), "–");
});

test("an event's failure stands out, with what it says", () => {
    const event = { kind: "run.ended", data: { status: "failed", failure: { message: "no element" } } };
    assert.deepEqual([eventTone(event), eventText(event)], ["bad", "failed · no element"]);
    assert.equal(eventTone({ kind: "run.ended", data: { status: "completed" } }), "over");
    assert.equal(eventText({ kind: "run.started", data: null }), "");
});

test("a workflow as YAML has what a person writes, and nothing that the server adds", () => {
    const added = { created_at: "2026-01-01T00:00:00Z", modified_at: "2026-01-01T00:00:00Z", deleted_at: null };
    const workflow = {
        title: "Read: a page",
        description: null,
        workflow_permanent_id: "wpid_1",
        workflow_id: "w_1",
        version: 3,
        persist_browser_session: true,
        ai_fallback: true,
        run_sequentially: false,
        tags: ["a", "b"],
        ...added,
        workflow_definition: {
            version: 1,
            parameters: [
                { parameter_type: "workflow", key: "ready", workflow_parameter_type: "boolean", default_value: false, workflow_parameter_id: "wp_1", ...added },
                { parameter_type: "output", key: "open_output", output_parameter_id: "op_1", ...added },
            ],
            blocks: [
                {
                    block_type: "code",
                    label: "count",
                    code: "x = 1\n\nreturn x\n",
                    parameters: [{ key: "ready" }],
                    output_parameter: { key: "count_output" },
                    continue_on_failure: false,
                },
                {
                    block_type: "for_loop",
                    label: "each",
                    loop_over: { parameter_type: "workflow", key: "ready" },
                    loop_blocks: [{ block_type: "wait", label: "pause", wait_sec: 1, next_block_label: null }],
                },
                { block_type: "wait", label: "7", wait_sec: 1.5, note: "yes", empty: "", path: "#id", parameters: [] },
            ],
        },
    };
    assert.equal(
        toYaml(sourceOf(workflow)),
        [
            'title: "Read: a page"',
            "persist_browser_session: true",
            "tags:",
            "  - a",
            "  - b",
            "workflow_definition:",
            "  parameters:",
            "    - parameter_type: workflow",
            "      key: ready",
            "      workflow_parameter_type: boolean",
            "      default_value: false",
            "  blocks:",
            "    - block_type: code",
            "      label: count",
            "      code: |",
            "        x = 1",
            "",
            "        return x",
            "      parameter_keys:",
            "        - ready",
            "    - block_type: for_loop",
            "      label: each",
            "      loop_over_parameter_key: ready",
            "      loop_blocks:",
            "        - block_type: wait",
            "          label: pause",
            "          wait_sec: 1",
            "    - block_type: wait",
            '      label: "7"',
            "      wait_sec: 1.5",
            '      note: "yes"',
            '      empty: ""',
            '      path: "#id"',
        ].join("\n"),
    );
});

test("each snippet has the session's address, and a credential only if it was asked for", () => {
    const values = { id: "pbs_1", address: "wss://h/v1/browser_sessions/pbs_1/cdp", tools: "https://h/mcp", ticket: null };
    const ticket = `${values.address}?ticket=vt_secret`;
    for (const { id, takesTicket, text } of SNIPPETS) {
        const plain = text(values);
        assert.ok(plain.includes(KEY), `${id} names the variable of the key`);
        assert.ok(!plain.includes("vt_"), `${id} has no ticket`);
        if (!takesTicket) {
            assert.ok(plain.includes(values.tools), `${id} has the endpoint of the tools`);
            continue;
        }
        const open = text({ ...values, ticket });
        assert.ok(open.includes("ticket=vt_secret") && !open.includes(KEY), `${id} has the ticket, and no key`);
    }
    assert.equal(new Set(SNIPPETS.map(({ id }) => id)).size, SNIPPETS.length);
    // The formats that their programs parse.
    for (const { id, text } of SNIPPETS.filter(({ where }) => where.includes(".mcp.json"))) {
        assert.ok(JSON.parse(text(values)).mcpServers, id);
        assert.ok(JSON.parse(text({ ...values, ticket })).mcpServers, id);
    }
    const curl = SNIPPETS.find(({ id }) => id === "curl");
    assert.equal(curl.text({ ...values, ticket }), "curl -s 'https://h/v1/browser_sessions/pbs_1/cdp/json/version?ticket=vt_secret'");
});
