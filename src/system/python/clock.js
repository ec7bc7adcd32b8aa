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
/** What is due as soon as it goes on. */
const waiting = new Set();
/** What stands in for a timer that came too early. */
const later = new WeakMap();

const now = () => (since ?? realNow()) - stood;

function look() {
    if (existsSync(held) === (since !== null)) return;
    if (since === null) {
        since = realNow();
        return;
    }
    stood += realNow() - since;
    since = null;
    for (const go of [...waiting]) go();
}

function setTimer(callback, delay, ...given) {
    const due = now() + Math.max(Number(delay) || 0, 0);
    const go = () => {
        waiting.delete(go);
        if (since !== null) {
            waiting.add(go);
            return;
        }
        const left = due - now();
        if (left >= 1) later.set(timer, { stop: realSet(go, left), go });
        else callback(...given);
    };
    const timer = realSet(go, delay);
    later.set(timer, { go });
    return timer;
}

function clearTimer(timer) {
    realClear(timer);
    const { stop, go } = (typeof timer === "object" && timer && later.get(timer)) || {};
    realClear(stop);
    waiting.delete(go);
}

Object.setPrototypeOf(setTimer, realSet); // For what hangs on it, such as its promise.
Object.defineProperty(globalThis, "setTimeout", { value: setTimer, writable: true, configurable: true });
Object.defineProperty(globalThis, "clearTimeout", { value: clearTimer, writable: true, configurable: true });
Object.defineProperty(performance, "now", { value: now, writable: true, configurable: true });
process.on("SIGWINCH", look);
look();
