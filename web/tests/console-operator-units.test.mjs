// Tests of the rules of the operators' pages, without a browser.

import assert from "node:assert/strict";
import { build } from "esbuild";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { actorMessage, config, journal, lineage, metrics } from "./operator-fixtures.mjs";

async function load(module) {
    const { outputFiles } = await build({
        entryPoints: [fileURLToPath(new URL(`../src/console/${module}.ts`, import.meta.url))],
        bundle: true,
        format: "esm",
        write: false,
    });
    return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

const { filtersOf, isUnderWay, merge, treeRows } = await load("journal");
const { evenScale, instant, isCrowded, lanesOf, shortenedScale, ticksOf, tickText, timesOf, within, zoomed } = await load("lanes");
const { buckets, parseMetrics, quantile, sum, sumsBy } = await load("prometheus");
const { chartsOf, figure, MOST_READINGS, readingOf, withReading } = await load("figures");
const { matching, settingRows } = await load("settings");
const { commentLines } = await load("yaml-comments");

test("the window of messages is bounded, sorted, and takes a message's later state", () => {
    const pending = actorMessage(7, { outcome: null });
    const window = { rows: [actorMessage(9), pending, actorMessage(5)], older: false };
    const merged = merge(window, [actorMessage(7), actorMessage(12), actorMessage(11)], 4);
    assert.deepEqual(merged.rows.map(({ id }) => id), [12, 11, 9, 7]);
    assert.equal(merged.rows.at(-1).outcome, "done");
    assert.equal(merged.older, true, "the last row fell out");
    // Message 5 ends later: there would be a gap between it and the rows.
    assert.deepEqual(merge(merged, [actorMessage(5)], 4).rows.map(({ id }) => id), [12, 11, 9, 7]);
    // As long as nothing was left out, an older one has its place.
    assert.deepEqual(merge(window, [actorMessage(3)], 4).rows.map(({ id }) => id), [9, 7, 5, 3]);
    assert.equal(merge(window, [], 4), window);
});

test("the tree has the place of each message, and hides what is folded", () => {
    const { consequences } = lineage();
    const rows = (closed) => treeRows(consequences, new Set(closed)).map(({ message: { id }, level, place, siblings, parent, open }) => [id, level, place, siblings, parent, open]);
    assert.deepEqual(rows([]), [[3, 1, 1, 2, null, true], [4, 2, 1, 1, 3, null], [5, 1, 2, 2, null, null]]);
    assert.deepEqual(rows([3]), [[3, 1, 1, 2, null, false], [5, 1, 2, 2, null, null]]);
    assert.equal(isUnderWay(actorMessage(1), consequences), false);
    assert.equal(isUnderWay(actorMessage(1), [{ ...actorMessage(2), consequences: [{ ...actorMessage(3, { outcome: null }), consequences: [] }] }]), true);
});

test("the filters for the server are those of the address, without blanks and others", () => {
    const query = new URLSearchParams({ actor: " registry ", session: "", view: "lanes", slower_than_ms: "5", cursor: "3" });
    assert.equal(filtersOf(query).toString(), "actor=registry&slower_than_ms=5");
});

test("times keep their microseconds", () => {
    assert.equal(instant("2026-11-30T09:38:47Z"), Date.parse("2026-11-30T09:38:47Z"));
    assert.ok(Math.abs(instant("2026-11-30T09:38:47.461239808Z") - Date.parse("2026-11-30T09:38:47Z") - 461.239808) < 0.001);
    assert.ok(Math.abs(instant("2026-11-30T10:38:47.5+01:00") - Date.parse("2026-11-30T09:38:47.500Z")) < 0.001);
    assert.ok(Number.isNaN(instant("never")));
    const at = Date.parse("2026-01-01T10:00:00Z");
    const round = ({ sent, started, ended }) => [sent - at, started - at, ended - at].map((ms) => Math.round(ms * 1000));
    assert.deepEqual(round(timesOf(actorMessage(1), at)), [0, 264, 1764]);
    // Under way: until now, in the mailbox or in its handling.
    assert.deepEqual(round(timesOf(actorMessage(1, { handling_us: null, outcome: null }), at + 9)), [0, 264, 9000]);
    assert.deepEqual(round(timesOf(actorMessage(1, { wait_us: null, handling_us: null, outcome: null }), at + 9)), [0, 9000, 9000]);
    // Nobody took it up, and nobody will.
    assert.deepEqual(round(timesOf(actorMessage(1, { wait_us: null, handling_us: null, outcome: "unanswered", ended_at: "2026-01-01T10:00:00.004Z" }), at + 9)), [0, 4000, 4000]);
});

test("each actor has a lane, and messages at the same time are below each other", () => {
    const now = Date.parse("2026-01-01T10:02:00Z");
    const { lanes, items, span } = lanesOf(journal(), now);
    assert.deepEqual(lanes.map(({ name, rows }) => [name.slice(0, 8), rows]), [["http", 1], ["registry", 2], ["wr_0193a", 1], ["pbs_0193", 1]]);
    assert.deepEqual(items.map(({ message }) => message.id), Array.from({ length: 29 }, (_, index) => index + 1));
    // Message 3 is handled while 2 is: another row of the same lane.
    assert.deepEqual(items.slice(1, 4).map(({ lane, row }) => [lane, row]), [[1, 0], [1, 1], [3, 0]]);
    assert.equal(span.from, Date.parse("2026-01-01T10:00:00Z"));
    assert.equal(span.to, now, "a message is under way");
    assert.deepEqual(within(items, { from: span.from + 2005, to: span.from + 2020 }).map(({ message }) => message.id), [2, 3, 4]);
    const many = Array.from({ length: 40 }, (_, id) => actorMessage(id, { handling_us: 1e6 }));
    assert.equal(lanesOf(many, now).lanes[1].rows, 8, "a lane is not endless");
    assert.deepEqual(lanesOf([], 5), { lanes: [], items: [], span: { from: 5, to: 6 } });
});

test("a range is halved, doubled and moved within the whole", () => {
    const whole = { from: 0, to: 100 };
    assert.deepEqual(zoomed(whole, whole, 0.5), { from: 25, to: 75 });
    assert.deepEqual(zoomed({ from: 25, to: 75 }, whole, 1, 1), { from: 50, to: 100 });
    assert.deepEqual(zoomed({ from: 60, to: 100 }, whole, 10), whole);
    const { from, to } = zoomed({ from: 50, to: 50.01 }, whole, 0.5);
    assert.ok(Math.abs(to - from - 0.05) < 1e-9, "not below what the clock can tell");
});

test("a shortened scale keeps the order, the ends and the way back", () => {
    const { items, span } = lanesOf(journal(), Date.parse("2026-01-01T10:02:00Z"));
    const scale = shortenedScale(items, span);
    assert.equal(scale.place(span.from), 0);
    assert.equal(scale.place(span.to), 1);
    const places = items.map(({ sent }) => scale.place(sent));
    assert.deepEqual([...places].sort((one, other) => one - other), places);
    for (const { started } of items) assert.ok(Math.abs(scale.time(scale.place(started)) - started) < 0.01);
    // Message 4 takes 57 ms of two minutes, and can be seen.
    const even = evenScale(span);
    const width = (scale) => scale.place(items[3].ended) - scale.place(items[3].sent);
    assert.ok(width(even) < 0.001 && width(scale) > 0.02, `${width(even)} ${width(scale)}`);
    assert.equal(isCrowded(items, span, 0.004), true);
    assert.equal(isCrowded(items.slice(1, 4), { from: items[1].sent, to: items[1].ended }, 0.004), false);
});

test("ticks are round times, as exact as the range", () => {
    const from = new Date(2026, 0, 1, 10, 0, 0).getTime();
    const texts = (length, count) => {
        const span = { from, to: from + length };
        return ticksOf(span, count).map((tick) => tickText(tick, span));
    };
    assert.deepEqual(texts(60_000, 4), ["10:00:00", "10:00:15", "10:00:30", "10:00:45", "10:01:00"]);
    assert.deepEqual(texts(1, 2), ["10:00:00.00000", "10:00:00.00050", "10:00:00.00100"]);
    assert.deepEqual(texts(7_200_000, 2), ["10:00", "11:00", "12:00"]);
    assert.deepEqual(texts(200, 2), ["10:00:00.000", "10:00:00.100", "10:00:00.200"]);
    assert.ok(ticksOf({ from, to: from + 1e10 }, 3).length <= 5);
});

test("the text of metrics is read with its labels, its escapes and its infinities", () => {
    const text = [
        "# HELP a_total Things {x=\"1\"} 2",
        'a_total{kind="x",route="/v1/{id}",note="a \\"b\\" \\\\ \\n c"} 2',
        'a_total{kind="y"} 3.5 1700000000',
        "b +Inf",
        "c NaN",
        "no number",
        "",
    ].join("\n");
    const samples = parseMetrics(text);
    assert.deepEqual(samples, [
        { name: "a_total", labels: { kind: "x", route: "/v1/{id}", note: 'a "b" \\ \n c' }, value: 2 },
        { name: "a_total", labels: { kind: "y" }, value: 3.5 },
        { name: "b", labels: {}, value: Infinity },
    ]);
    assert.equal(sum(samples, "a_total"), 5.5);
    assert.equal(sum(samples, "a_total", { kind: "y" }), 3.5);
    assert.equal(sum(samples, "a"), null);
    assert.deepEqual(sumsBy(samples, "a_total", "kind"), { x: 2, y: 3.5 });
});

test("a quantile is that of the observations between two readings", () => {
    const before = [[0.001, 100], [0.01, 100], [Infinity, 100]];
    const after = [[0.001, 150], [0.01, 200], [Infinity, 200]];
    assert.ok(Math.abs(quantile(0.75, before, after) - 0.0055) < 1e-9);
    assert.equal(quantile(0.5, before, after), 0.001);
    assert.equal(quantile(0.99, [], [[0.001, 1], [Infinity, 100]]), 0.001, "beyond the last bound, that bound");
    assert.equal(quantile(0.5, after, after), null);
    const samples = parseMetrics(metrics(3));
    assert.deepEqual(buckets(samples, "greenroom_message_wait_seconds"), [[0.001, 27], [0.01, 30], [Infinity, 30]]);
});

test("charts have gauges, rates and waits, and no rate over a restart", () => {
    const readings = [1, 2, 3, 1].map((count, index) => readingOf(metrics(count), index * 5000));
    const charts = Object.fromEntries(chartsOf(readings).map((chart) => [chart.title, chart]));
    const of = (title, name) => charts[title].series.find((series) => series.name === name).values.map((value) => value && Number(value.toFixed(5)));
    assert.deepEqual(charts["Sessions by status"].series.map(({ name }) => name), ["running", "held"]);
    assert.deepEqual(of("Sessions by status", "running"), [2, 3, 1, 2]);
    assert.deepEqual(of("Messages between actors", "all"), [null, 2, 2, null]);
    assert.deepEqual(of("Messages between actors", "not done"), [null, 0.2, 0.2, null]);
    assert.deepEqual(of("Wait in mailboxes", "mean"), [null, 0.002, 0.002, null]);
    assert.deepEqual(of("HTTP requests", "2xx"), [null, 5, 5, null]);
    assert.deepEqual(of("Database", "waiting changes"), [2, 2, 2, 2]);
    assert.deepEqual(of("Database commits", "mean"), [null, 0.0025, 0.0025, null]);
    assert.match(charts["Memory of all sessions"].absent, /does not count/);
    const counted = readingOf(`${metrics(1)}\ngreenroom_sessions_memory_bytes 3221225472\n`, 0);
    assert.equal(chartsOf([counted]).at(-1).absent, null);
    assert.deepEqual(
        [figure(3221225472, "B"), figure(0.00034, "s"), figure(0.2, "/s"), figure(0, "/s"), figure(3, ""), figure(null, "s")],
        ["3.0 GiB", "340 µs", "0.20/s", "0/s", "3", "–"],
    );
    let kept = [];
    for (let count = 0; count < MOST_READINGS + 5; count += 1) kept = withReading(kept, readings[0]);
    assert.equal(kept.length, MOST_READINGS);
});

test("the settings are rows with their sources, and are found by name, value and source", () => {
    const rows = settingRows(config);
    assert.deepEqual(rows[1], { name: "keys.operator", value: "********", source: "GREENROOM_OPERATOR_KEY" });
    assert.deepEqual(rows.find(({ name }) => name === "http.cors_origins").value, '["*"]');
    assert.equal(rows.find(({ name }) => name === "keys.metrics").value, "–");
    const names = (text, changed) => matching(rows, text, changed).map(({ name }) => name);
    assert.deepEqual(names("TOML", false), ["sessions.max_sessions"]);
    assert.deepEqual(names("8787", false), ["http.listen"]);
    assert.deepEqual(names("", true), ["data", "keys.operator", "sessions.max_sessions"]);
});

test("comments of YAML are found, and no other number signs", () => {
    const lines = (...text) => commentLines(text.join("\n"));
    assert.deepEqual(lines("# first", "title: a # second", "", "  # third"), [1, 2, 4]);
    assert.deepEqual(lines('selector: "#id"', "other: '#id' # yes", "plain: a#b", "url: http://x/#top", "quote: it's # yes"), [2, 5]);
    assert.deepEqual(lines('text: "a \\" # no"', "text: 'it''s # no'", 'two: "a', '  # no"', "# yes"), [5]);
    assert.deepEqual(lines("code: |", "  # no", "", "  x = 1 # no", "next: 1 # yes"), [5]);
    // The fields after a block in a list's item are no part of the block.
    assert.deepEqual(lines("- code: >-", "    # no", "  label: x # yes", "- |", "  # no", "- a # yes"), [3, 6]);
    assert.deepEqual(lines("code: | # yes", "  # no"), [1]);
    assert.deepEqual(lines("a: [x, '#no'] # yes", "b: {c: \"#no\"}", "pipe: a | b", "  # yes"), [1, 4]);
});
