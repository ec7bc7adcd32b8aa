// Tests of the pages' rules, without a browser.

import assert from "node:assert/strict";
import { build } from "esbuild";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

async function load(module) {
    const { outputFiles } = await build({
        entryPoints: [fileURLToPath(new URL(`../src/${module}.ts`, import.meta.url))],
        bundle: true,
        format: "esm",
        write: false,
    });
    return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

const { Backoff, shutsOut } = await load("backoff");
const { after, initial, isAsking, mayType } = await load("control");
const { inAddress } = await load("credentials");
const { warning } = await load("draining");
const { sentence } = await load("refused");
const { keysymOf } = await load("keyboard");
const { root } = await load("root");
const { remaining, ending, endOf, occupant, proposedName, standing } = await load("text");

test("waits grow to a bound, vary, and start small again", () => {
    const middle = new Backoff({ first: 500, most: 15_000, random: () => 0.5 });
    assert.deepEqual(Array.from({ length: 7 }, () => middle.next()), [500, 1000, 2000, 4000, 8000, 15000, 15000]);
    middle.reset();
    assert.equal(middle.next(), 500);
    for (const random of [() => 0, () => 0.999]) {
        const wait = new Backoff({ first: 1000, most: 1000, random }).next();
        assert.ok(wait >= 800 && wait <= 1200);
        assert.notEqual(wait, 1000);
    }
});

test("what a server will not change its mind about is known by its close", () => {
    const final = [[1002, "client_id is missing"], [1008, "put-out"], [1008, "ticket-expired"]];
    const passing = [
        [1000, ""], [1006, ""], [1011, ""], [1013, "not ready"],
        [1002, "rfb-error"], [1002, "websocket-error"], [1008, "viewer-silent"],
    ];
    assert.ok(final.every(([code, reason]) => shutsOut({ code, reason })));
    assert.ok(!passing.some(([code, reason]) => shutsOut({ code, reason })));
});

test("credentials leave the address, and nothing else does", () => {
    const found = (address) => {
        const { credentials, rest } = inAddress(address);
        return `${credentials.kind} ${credentials.value} ${rest}`;
    };
    assert.equal(found("http://h/view/a#ticket=t"), "ticket t http://h/view/a");
    assert.equal(found("http://h/view/a?x=1&apikey=k"), "key k http://h/view/a?x=1");
    assert.equal(found("http://h/view/a?apikey=q#apikey=f&y=2"), "key f http://h/view/a#y=2");
    assert.equal(found("http://h/view/a?ticket=t&apikey=k"), "ticket t http://h/view/a");
    assert.equal(inAddress("http://h/view/a?x=1"), null);
});

function play(...events) {
    return events.reduce((control, event) => after(control, typeof event === "string" ? { kind: event } : event), initial);
}

const said = (by, you = false, role = "control") => ({ kind: "reported", message: { by, you, role, label: "Ann" } });

test("the server's word on control stands above what was asked for", () => {
    assert.equal(mayType(play()), false);
    assert.equal(mayType(play("absent")), true);
    assert.equal(mayType(play("opened", "take")), true, "a server that announces nothing obeys");
    const asking = play("opened", said("agent"), "take");
    assert.equal(mayType(asking), false);
    assert.equal(isAsking(asking), true);
    const yours = after(asking, said("user", true));
    assert.equal(mayType(yours), true);
    assert.equal(isAsking(yours), false);
    const taken = after(yours, said("agent"));
    assert.equal(taken.wanted, false);
    const other = after(asking, said("user"));
    assert.deepEqual([other.holder, other.wanted, other.name], ["other", false, "Ann"]);
    assert.equal(play("opened", said("agent", false, "watch"), "absent").role, "watch");
    assert.equal(mayType(play(said("agent", false, "watch"), "absent")), false);
    const refused = play("opened", "take", { kind: "refused", why: "No." });
    assert.deepEqual([refused.wanted, refused.holder, refused.refused], [false, "agent", "No."]);
});

test("control survives the loss of the channel, until the server says otherwise", () => {
    const lost = play("opened", said("agent"), "take", said("user", true), "lost");
    assert.equal(lost.wanted, true);
    const back = after(after(lost, { kind: "opened" }), said("agent"));
    assert.equal(back.wanted, true, "it is asked for again");
    const forgotten = after(lost, { kind: "forget" });
    assert.deepEqual([forgotten.wanted, forgotten.holder, mayType(forgotten)], [false, "agent", false]);
    assert.equal(mayType(play("absent", "opened")), false, "a channel that comes late counts");
    for (const control of [lost, play("absent"), play("opened", said("user"))]) {
        const shut = after(control, { kind: "shut" });
        assert.deepEqual([shut.wanted, shut.holder, shut.name, mayType(shut)], [false, "agent", null, false]);
    }
});

test("time, names and ends read as they should", () => {
    assert.deepEqual([-5, 0, 1, 7_000, 61_000, 3_599_000, 7_500_000].map(remaining), [
        "0:00", "0:00", "0:01", "0:07", "1:01", "59:59", "2 h 05 min",
    ]);
    const at = "2026-01-01T00:00:00Z";
    assert.equal(endOf({ expires_at: "2026-01-01T01:00:00Z", idle_expires_at: at }), Date.parse(at));
    assert.equal(endOf({}), null);
    const held = (runnable_id) => occupant({ occupancy: { state: "held", runnable_type: "workflow_run", runnable_id } });
    assert.equal(held("wr_0123456789abcdef"), "workflow run …abcdef");
    assert.equal(held("nightly-check-of-all"), "workflow run nightly-check-of-all");
    assert.equal(occupant({ occupancy: { state: "vacant" } }), null);
    assert.equal(standing({ status: "running", completed_at: at }).word, "Closed");
    assert.equal(ending({ status: "failed" }).text, "The browser stopped working. No cause was recorded.");
    assert.equal(ending({ status: "timeout" }).title, "The session timed out");
});

test("a profile is named after the host of the page, or the day", () => {
    const day = new Date(2026, 10, 9);
    for (const [address, name] of [
        ["https://www.shop.example:8443/account?x=1", "shop.example"],
        ["http://127.0.0.1/", "127.0.0.1"],
        ["about:blank", "Login of 2026-11-09"],
        ["data:text/html,x", "Login of 2026-11-09"],
        ["", "Login of 2026-11-09"],
        [`https://${"a.".repeat(60)}example/`, "a.".repeat(50)],
    ]) {
        assert.equal(proposedName(address, day), name);
    }
});

test("characters become keysyms", () => {
    assert.deepEqual(["a", " ", "ü", "€", "世", "😀"].map(keysymOf), [
        0x61, 0x20, 0xfc, 0x010020ac, 0x01004e16, 0x0101f600,
    ]);
});

test("a server that is to stop says until when, if it is known", () => {
    assert.equal(warning(false, null), "The server is about to restart or stop. This page reconnects by itself.");
    assert.equal(warning(true, "nonsense"), "The server is restarting or stopping. This page reconnects by itself.");
    assert.match(warning(false, "2026-01-01T00:00:00Z"), /^The server is about to restart or stop\. .* can finish until \S.*\. .*$/);
});

test("a refused request is one sentence with the way out", () => {
    assert.equal(sentence("intra:443 is not public; add it to `egress.allow`", 1),
        "Refused: intra:443 is not public; add it to `egress.allow`");
    assert.equal(sentence("x", 3), "Refused (3 times): x");
    assert.equal(sentence(undefined, 1), null);
    assert.equal(sentence("", 1), null);
});

test("the root of the server is found below any path of a proxy", () => {
    for (const [page, expected] of [
        ["http://h/", "http://h/"],
        ["http://h/console#/runs", "http://h/"],
        ["https://h/green/room/", "https://h/green/room/"],
        ["https://h/green/room/console", "https://h/green/room/"],
        ["http://h/wall", "http://h/"],
        ["http://h/view/pbs_1?x=/view/y#apikey=k", "http://h/"],
        ["https://h/green/room/wall", "https://h/green/room/"],
        ["https://h/green/room/view/pbs_1", "https://h/green/room/"],
        ["https://h/green/room/docs", "https://h/green/room/"],
        ["https://h/view/wall", "https://h/view/"],
        ["https://h/view/view/pbs_1", "https://h/view/"],
    ]) {
        assert.equal(root(page).href, expected, page);
    }
});
