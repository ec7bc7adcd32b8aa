// Measures viewing with real desktops: the first picture, the latency of a click, many viewers, a stalled
// viewer, and the idle load. See scripts/bench-viewing.

import { createRequire } from "node:module";
import { createServer } from "node:http";
import { cpu, memory, named, wakeups } from "./processes.mjs";
import { percentile, RAW, TIGHT, Viewer } from "./rfb.mjs";

const { chromium } = createRequire(new URL("../web/", import.meta.url))("playwright-core");
const [, , url, key, serverPid, what = "all"] = process.argv;
const ROUNDS = 100;
const SECONDS = 12;
const SIZE = { width: 1280, height: 800 };

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const asked = async (path, body) => {
    const headers = { "x-api-key": key, "content-type": "application/json" };
    const answer = await fetch(url + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
};
const stream = (id) => `${url.replace("http", "ws")}/v1/stream/vnc/browser_session/${id}?apikey=${key}`;
const close = (id) => asked(`/v1/browser_sessions/${id}/close`, {});

// Pages: one that changes its colour on a click, and one with an animation.
const PAGES = {
    "/click": `<title>click</title><body style="margin:0;background:#102030"><script>
        let on = false;
        addEventListener("pointerdown", () => { document.body.style.background = (on = !on) ? "#f0f0f0" : "#102030"; });
        </script>`,
    "/moving": `<title>moving</title><body style="margin:0;background:#223"><canvas width=640 height=360></canvas><script>
        const context = document.querySelector("canvas").getContext("2d");
        let step = 0, drawn = 0;
        setInterval(() => {
            step += 1;
            requestAnimationFrame(() => (drawn += 1));
            for (let x = 0; x < 640; x += 20) for (let y = 0; y < 360; y += 20) {
                context.fillStyle = "hsl(" + ((x * 3 + y * 5 + step * 17) % 360) + " 70% " + (30 + (x * y + step * 7) % 40) + "%)";
                context.fillRect(x, y, 20, 20);
            }
        }, 100);
        setInterval(() => navigator.sendBeacon("/drawn" + location.search, JSON.stringify([drawn, performance.now()])), 500);
        </script>`,
};
/** The number of pictures that each page had drawn at its last report, and the page's time of it. */
const drawn = new Map();
const site = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url, "http://site");
    if (pathname === "/drawn") {
        let body = "";
        for await (const part of request) body += part;
        drawn.set(search, JSON.parse(body));
    }
    response.writeHead(200, { "content-type": "text/html" });
    response.end(`<!doctype html>${PAGES[pathname] ?? "<title>empty</title>"}`);
});
await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
const page = (name) => `http://127.0.0.1:${site.address().port}/${name}`;
const session = async (name) =>
    (await asked("/v1/browser_sessions", { ...SIZE, start_url: page(name) })).browser_session_id;

/** The time from opening the view to the colour of the session's page on its canvas. */
async function firstPixels() {
    const id = await session("click");
    const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
    const browser = await chromium.launch({ executablePath: process.env.GREENROOM_CHROMIUM ?? "/usr/bin/chromium", args });
    const times = [];
    for (let round = 0; round < 6; round += 1) {
        const tab = await (await browser.newContext({ viewport: SIZE })).newPage();
        await tab.goto(`${url}/view/${id}#apikey=${key}`, { waitUntil: "commit" });
        const time = await tab.evaluate(() => new Promise((seen) => {
            const look = () => {
                const canvas = document.querySelector("#screen canvas");
                const pixel = canvas?.width > 300 &&
                    canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
                if (pixel && pixel[0] === 0x10 && pixel[1] === 0x20) seen(performance.now());
                else requestAnimationFrame(look);
            };
            look();
        }));
        times.push(time);
        await tab.context().close();
    }
    await browser.close();
    await close(id);
    const [cold, ...warm] = times;
    console.log(`first pixels after opening the view: ${cold.toFixed(0)} ms with the VNC server to start, then p50 ${percentile(warm, 50).toFixed(0)} ms`);
}

/** The time from a click to the picture that shows it, over both ways, alternating. */
async function clicks() {
    const id = await session("click");
    const { port, password } = await asked(`/v1/browser_sessions/${id}/vnc`);
    const ways = {
        direct: await new Viewer(port).greet({ password, encodings: RAW }),
        bridged: await new Viewer(stream(id)).greet({ encodings: RAW }),
    };
    // Both request pictures continuously, so that neither is behind at its turn.
    const shown = {};
    for (const [name, viewer] of Object.entries(ways)) {
        viewer.ask(false);
        (async () => {
            for (;;) {
                const rectangles = await viewer.update();
                viewer.ask(true);
                if (rectangles.some(({ y, h }) => y < 400 && y + h > 400)) shown[name]?.(performance.now());
            }
        })().catch(() => undefined);
    }
    await sleep(2000);
    const times = { direct: [], bridged: [] };
    for (let round = 0; round < ROUNDS * 2; round += 1) {
        const name = round % 2 === 0 ? "direct" : "bridged";
        const seen = new Promise((done) => (shown[name] = done));
        const began = performance.now();
        ways[name].pointer(1, 640, 400);
        ways[name].pointer(0, 640, 400);
        const at = await Promise.race([seen, sleep(3000).then(() => null)]);
        shown[name] = undefined;
        if (at !== null) times[name].push(at - began);
        await sleep(150 + Math.random() * 100);
    }
    for (const name of ["direct", "bridged"]) {
        ways[name].close();
        const [half, most] = [50, 99].map((part) => percentile(times[name], part).toFixed(1));
        console.log(`a click's way to the picture, ${name.padEnd(7)}: p50 ${half} ms, p99 ${most} ms, of ${times[name].length}`);
    }
    await close(id);
}

/** The pictures that arrived in a period, and the longest gap. */
function watching(viewer) {
    const state = { count: 0, gap: 0, last: performance.now() };
    const note = () => {
        const now = performance.now();
        state.gap = Math.max(state.gap, now - state.last);
        state.last = now;
    };
    viewer.ask(false);
    (async () => {
        for (;;) {
            await viewer.update();
            viewer.ask(true);
            state.count += 1;
            note();
        }
    })().catch((cause) => (state.cause = cause));
    return {
        state,
        stall: () => viewer.socket.pause(),
        close: () => viewer.close(),
        begin: () => Object.assign(state, { count: 0, gap: 0, last: performance.now() }),
        end: () => (note(), state),
    };
}

const span = (numbers, digits = 1) => `${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)}`;

/** The pictures that viewers receive in a period, compared with those drawn, and the cost for each program. */
async function measured(label, viewers, programs) {
    const spent = () => programs.map(([, pids]) => pids.reduce((sum, pid) => sum + cpu(pid), 0));
    const pages = new Map(drawn);
    const before = spent();
    const began = performance.now();
    viewers.forEach((viewer) => viewer.begin());
    await sleep(SECONDS * 1000);
    const states = viewers.map((viewer) => viewer.end());
    const took = (performance.now() - began) / 1000;
    const after = spent();
    const own = [...pages].map(([page, [count, at]]) => {
        const [countNow, now] = drawn.get(page);
        return ((countNow - count) * 1000) / (now - at);
    });
    const cost = programs.map(([name], index) => `${name} ${(((after[index] - before[index]) / took) * 100).toFixed(0)} %`);
    console.log(`${label}: ${span(states.map(({ count }) => count / took))} pictures/s for each, of ${span(own)} that the pages draw; longest gap ${Math.max(...states.map(({ gap }) => gap)).toFixed(0)} ms; CPU: ${cost.join(", ")}`);
}

/** The processes of these sessions. The search takes time, so nothing is measured during it. */
const programs = (ids) => [
    ["server", [Number(serverPid)]],
    ["VNC servers", ids.flatMap((id) => named("x11vnc", id))],
    ["browsers", ids.flatMap((id) => named("chromium", id))],
];

/** The memory of the server per further viewer, beyond one for each session. */
async function greeted(ids, each) {
    const viewers = [];
    const watch = async (id) => viewers.push(watching(await new Viewer(stream(id)).greet()));
    for (const id of ids) await watch(id);
    await sleep(3000);
    const before = memory(serverPid);
    for (const id of ids) for (let count = 1; count < each; count += 1) await watch(id);
    await sleep(3000);
    const more = (memory(serverPid) - before) / (ids.length * (each - 1));
    console.log(`${ids.length} session(s) with ${each} viewers each: ${more.toFixed(0)} kB of the server's memory for each further viewer`);
    return viewers;
}

async function many() {
    const id = await session("moving");
    const viewers = await greeted([id], 20);
    await measured("20 viewers of one session", viewers, programs([id]));
    viewers[0].stall();
    await sleep(1000);
    await measured("the 19 others while one has stalled", viewers.slice(1), programs([id]));
    viewers.forEach((viewer) => viewer.close());
    await close(id);
    drawn.clear();
}

/** Over the bridge and over plain TCP, alternating, because ten browsers use most of a small machine. */
async function ten() {
    const ids = [];
    for (let count = 0; count < 10; count += 1) ids.push(await session(`moving?${count}`));
    const ways = {
        bridged: () => greeted(ids, 2),
        direct: async () => {
            const viewers = [];
            for (const id of [...ids, ...ids]) {
                const { port, password } = await asked(`/v1/browser_sessions/${id}/vnc`);
                viewers.push(watching(await new Viewer(port).greet({ password })));
            }
            await sleep(3000);
            return viewers;
        },
    };
    for (const way of ["bridged", "direct", "bridged", "direct"]) {
        const viewers = await ways[way]();
        await measured(`10 sessions with 2 viewers each, ${way}`, viewers, programs(ids));
        viewers.forEach((viewer) => viewer.close());
        await sleep(1000);
    }
    for (const id of ids) await close(id);
    drawn.clear();
}

/** The wake-ups of the server without viewers. */
async function idle() {
    const during = async () => {
        const [woken, spent] = [wakeups(serverPid), cpu(serverPid)];
        await sleep(20_000);
        return `${((wakeups(serverPid) - woken) / 20).toFixed(1)} wake-ups/s, ${(((cpu(serverPid) - spent) / 20) * 100).toFixed(2)} % CPU`;
    };
    // A worker that has served a request keeps a timer, independent of its load.
    await Promise.all(Array.from({ length: 32 }, () => asked("/v1/browser_sessions")));
    console.log(`the server without a session: ${await during()}`);
    const id = await session("moving");
    await sleep(8000);
    console.log(`with one session on which something moves, idle and unwatched: ${await during()}`);
    const running = named("x11vnc", id);
    console.log(`VNC servers that run for it: ${running.length}`);
    await close(id);
}

const parts = { first: firstPixels, clicks, many, ten, idle };
for (const [name, measure] of Object.entries(parts)) if (what === "all" || what === name) await measure();
site.close();
process.exit(0);
