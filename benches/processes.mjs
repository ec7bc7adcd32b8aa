// The cost of processes, from /proc.

import { readdirSync, readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";

const TICKS = Number(execFileSync("getconf", ["CLK_TCK"]).toString());

/** Seconds of processor time, with those of children that have ended. */
export function cpu(pid) {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0) / TICKS;
}

/** The proportional set size, in kB. */
export function memory(pid) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return Number(/^Pss:\s+(\d+)/m.exec(rollup)[1]);
}

/** The number of voluntary context switches of its threads. */
export function wakeups(pid) {
    let count = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
        const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
        count += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)[1]);
    }
    return count;
}

/** The processes whose parent is this one. */
export function children(pid) {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

/** The processes whose command line holds all these texts. */
export function named(...texts) {
    return readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
        .filter((name) => {
            try {
                const line = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
                return texts.every((text) => line.includes(text));
            } catch {
                return false;
            }
        })
        .map(Number);
}
