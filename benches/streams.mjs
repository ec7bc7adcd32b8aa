// Compares the bridge with websockify, with a VNC server that only moves bytes. See scripts/bench-streams.

import { cpu, children, memory } from "./processes.mjs";
import { percentile, Viewer } from "./rfb.mjs";

const [, , url, key, serverPid, sidePort, sidePid, gigabytes = "1"] = process.argv;
const BLOCKS = 4;
const PIECES = Math.round((Number(gigabytes) * 1e9) / (BLOCKS * 65536));
const ROUNDS = 3000;
/** The blocks of a request: less than a megabyte, so that the viewer does not count as slow. */
const WINDOW = 3;
const IDLE = 50;
/** The requests of a message, and the messages. */
const [MANY, BATCHES] = [100, 2000];

const asked = async (path, body) => {
    const headers = { "x-api-key": key, "content-type": "application/json" };
    const answer = await fetch(url + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
};

const session = (await asked("/v1/browser_sessions", {})).browser_session_id;
const { port, password } = await asked(`/v1/browser_sessions/${session}/vnc`);
const bridge = `${url.replace("http", "ws")}/v1/stream/vnc/browser_session/${session}?apikey=${key}`;
const kinds = {
    direct: { target: port, spent: () => 0 },
    bridge: { target: bridge, spent: () => cpu(serverPid) },
    // The time of a process that it has started for a connection counts when that process has ended.
    websockify: { target: `ws://127.0.0.1:${sidePort}/`, spent: () => cpu(sidePid) + children(sidePid).reduce((sum, pid) => sum + cpu(pid), 0) },
};
const greeted = (kind) => new Viewer(kinds[kind].target).greet({ password, encodings: [] });

function request(blocks) {
    const bytes = Buffer.from([3, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    bytes.writeUInt16BE(blocks, 2);
    return bytes;
}

async function latency(kind) {
    const viewer = await greeted(kind);
    const times = [];
    for (let round = 0; round < ROUNDS; round += 1) {
        const began = performance.now();
        viewer.send(request(0));
        await viewer.read(1);
        times.push((performance.now() - began) * 1000);
    }
    viewer.close();
    return [50, 99].map((part) => `${percentile(times, part).toFixed(0)} us`);
}

/** Seconds of processor time per gigabyte, and megabytes per second. */
async function pull(kind) {
    const viewer = await greeted(kind);
    const [spent, began] = [kinds[kind].spent(), performance.now()];
    for (let wanted = 0; wanted < WINDOW; wanted += 1) viewer.send(request(BLOCKS));
    for (let got = 0; got < PIECES; got += 1) {
        await viewer.skip(BLOCKS * 65536);
        if (got + WINDOW < PIECES) viewer.send(request(BLOCKS));
    }
    return ended(kind, viewer, spent, began, PIECES * BLOCKS * 65536);
}

/** Seconds of processor time for a million requests, and requests per second: all that viewers send to the VNC server, because
 * keys, clicks and texts go to the display. */
async function push(kind) {
    const viewer = await greeted(kind);
    const [spent, began] = [kinds[kind].spent(), performance.now()];
    const many = Buffer.concat(Array.from({ length: MANY }, () => request(0)));
    for (let batch = 0; batch < BATCHES; batch += 1) {
        viewer.send(many);
        await viewer.read(MANY);
    }
    const took = (performance.now() - began) / 1000;
    const used = kinds[kind].spent() - spent;
    viewer.close();
    return { perMillion: used / ((BATCHES * MANY) / 1e6), rate: (BATCHES * MANY) / took };
}

function ended(kind, viewer, spent, began, bytes) {
    const took = (performance.now() - began) / 1000;
    const used = kinds[kind].spent() - spent;
    viewer.close();
    return { perGigabyte: used / (bytes / 1e9), rate: bytes / 1e6 / took };
}

/** Kilobytes per viewer, for many idle viewers. */
async function stay(kind) {
    const whole = () => kind === "bridge" ? memory(serverPid) : [Number(sidePid), ...children(sidePid)].reduce((sum, pid) => sum + memory(pid), 0);
    const before = whole();
    const viewers = [];
    for (let count = 0; count < IDLE; count += 1) viewers.push(await greeted(kind));
    const each = (whole() - before) / IDLE;
    viewers.forEach((viewer) => viewer.close());
    return each;
}

for (const kind of ["direct", "bridge", "websockify"]) {
    const [half, most] = await latency(kind);
    console.log(`${kind.padEnd(11)} an answer of one byte   p50 ${half}   p99 ${most}`);
}
function compared(direction, bridge, websockify) {
    const part = ((bridge / websockify) * 100).toFixed(0);
    console.log(`            ${direction.padEnd(19)} the bridge needs ${part} % of websockify's time`);
}
const pulled = [];
for (const kind of ["bridge", "websockify"]) {
    const { perGigabyte, rate } = await pull(kind);
    pulled.push(perGigabyte);
    console.log(`${kind.padEnd(11)} towards the viewer  ${perGigabyte.toFixed(2)} CPU-s/GB   ${rate.toFixed(0)} MB/s`);
}
compared("towards the viewer", ...pulled);
const pushed = [];
for (const kind of ["bridge", "websockify"]) {
    const { perMillion, rate } = await push(kind);
    pushed.push(perMillion);
    console.log(`${kind.padEnd(11)} from the viewer     ${perMillion.toFixed(2)} CPU-s/million requests   ${rate.toFixed(0)} requests/s`);
}
compared("from the viewer", ...pushed);
for (const kind of ["bridge", "websockify"]) {
    console.log(`${kind.padEnd(11)} memory of a viewer   ${(await stay(kind)).toFixed(0)} kB`);
}
