// The clock of Playwright's driver, which stands still while a person has control of the browser: what an
// action waits for, and until when, is counted by `setTimeout` and `performance.now`. Loaded before the
// driver. A signal says that the file beside this one has come or gone.
"use strict";

const { existsSync } = require("node:fs");
const { join } = require("node:path");

const held = join(__dirname, "held");
const realNow = performance.now.bind(performance);
const realSet = globalThis.setTimeout;
const realClear = globalThis.clearTimeout;

/** Since when the clock stands still, if it does, and for how long it has in all, in milliseconds. */
let since = null;
let stood = 0;
/** Timers that came while it stood still. */
const waiting = new Set();
/** What is known of each handle. */
const timers = new WeakMap();

const now = () => (since ?? realNow()) - stood;

function look() {
    if (existsSync(held) === (since !== null)) return;
    if (since === null) {
        since = realNow();
        return;
    }
    stood += realNow() - since;
    since = null;
    for (const timer of waiting) arm(timer);
    waiting.clear();
}

/** Looks at a timer again when it is due. */
function arm(timer) {
    timer.stop = realSet(come, Math.max(timer.due - now(), 0), timer);
}

function come(timer) {
    if (since !== null) waiting.add(timer);
    else if (timer.due - now() >= 1) arm(timer);
    else timer.call();
}

function setTimer(callback, delay, ...given) {
    const timer = { due: now() + Math.max(Number(delay) || 0, 0), call: () => callback(...given) };
    const handle = realSet(come, delay, timer);
    timers.set(handle, timer);
    return handle;
}

function clearTimer(handle) {
    realClear(handle);
    const timer = typeof handle === "object" && handle ? timers.get(handle) : undefined;
    if (!timer) return;
    realClear(timer.stop);
    waiting.delete(timer);
}

Object.setPrototypeOf(setTimer, realSet); // For what hangs on it, such as its promise.
Object.defineProperty(globalThis, "setTimeout", { value: setTimer, writable: true, configurable: true });
Object.defineProperty(globalThis, "clearTimeout", { value: clearTimer, writable: true, configurable: true });
Object.defineProperty(performance, "now", { value: now, writable: true, configurable: true });
process.on("SIGWINCH", look);
look();
