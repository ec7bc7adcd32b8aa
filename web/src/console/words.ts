// Visible texts of the console: times, tones of states, sentences about events.

import type { Event } from "./types";

/** A moment as text: the time today, else the date too. */
export function moment(at: string | null | undefined): string {
    const time = Date.parse(at ?? "");
    if (Number.isNaN(time)) return "–";
    const date = new Date(time);
    const two = (number: number) => String(number).padStart(2, "0");
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
    if (date.toDateString() === new Date().toDateString()) return clock;
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock}`;
}

/** A duration in seconds as text: `0.12 s`, `41 s`, `3 min 05 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
    if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    const two = (number: number) => String(number).padStart(2, "0");
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
    return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** The duration between two moments; until now without an end. */
export function between(start: string | null | undefined, end: string | null | undefined, now: number): string {
    const from = Date.parse(start ?? "");
    if (Number.isNaN(from)) return "–";
    const to = Date.parse(end ?? "");
    return duration(Math.max(0, ((Number.isNaN(to) ? now : to) - from) / 1000));
}

/** A duration in microseconds as text. */
export function micros(value: number | null): string {
    if (value === null) return "–";
    if (value < 1000) return `${value} µs`;
    if (value < 1_000_000) return `${(value / 1000).toFixed(value < 9950 ? 1 : 0)} ms`;
    return duration(value / 1_000_000);
}

const TONES: Readonly<Record<string, string>> = {
    running: "busy", recording: "busy", delivering: "busy",
    completed: "live", done: "live", delivered: "live", valid: "live", open: "live", ready: "live", succeeded: "live",
    created: "wait", queued: "wait", paused: "wait", pending: "wait", retrying: "wait", draining: "wait", ending: "wait",
    failed: "bad", terminated: "bad", timed_out: "bad", refused: "bad", unanswered: "bad", given_up: "bad", exhausted: "bad",
};

/** The colour of a state's lamp. */
export function toneOf(status: string): string {
    return TONES[status] ?? "over";
}

export function isFinalRun(status: string): boolean {
    return ["completed", "failed", "terminated", "canceled", "timed_out"].includes(status);
}

const KINDS: Readonly<Record<string, string>> = {
    "session.created": "Session created",
    "session.started": "Browser started",
    "session.recovering": "Recovering",
    "session.recovered": "Recovered",
    "session.out_of_memory": "A process ran out of memory",
    "session.expiring": "Ends soon",
    "session.download_started": "Download started",
    "session.download": "Downloaded",
    "session.file_uploaded": "File uploaded",
    "session.file_deleted": "File deleted",
    "session.egress_refused": "Request refused",
    "session.egress_changed": "Permitted targets changed",
    "session.sanitized": "Cleared",
    "session.rotated": "Credentials revoked",
    "profile.stored": "Profile stored",
    "profile.not_stored": "Profile not stored",
    "session.renewed": "Renewed",
    "session.closing": "Closing",
    "session.ended": "Ended",
    "occupancy.begun": "Occupied",
    "occupancy.released": "Released",
    "occupancy.lapsed": "Lease expired",
    "control.taken": "A person took control",
    "control.ceded": "Control returned",
    "viewer.joined": "Viewer joined",
    "viewer.left": "Viewer left",
    "run.queued": "Run queued",
    "run.started": "Run started",
    "run.paused": "Run paused",
    "run.resumed": "Run resumed",
    "run.ended": "Run ended",
    "block.started": "Block started",
    "block.ended": "Block ended",
    gap: "Events are missing here",
};

export const EVENT_KINDS = Object.keys(KINDS);

export function eventTitle(kind: string): string {
    return KINDS[kind] ?? kind;
}

/** The tone of an event: failures stand out. */
export function eventTone(event: Event): string {
    const data = (typeof event.data === "object" && event.data !== null ? event.data : {}) as Record<string, unknown>;
    const failed = ["failed", "terminated", "timed_out", "timeout"].includes(String(data["status"] ?? ""));
    if (failed || /recovering|out_of_memory|not_stored|lapsed|refused|^gap$/.test(event.kind)) return "bad";
    if (/^control|expiring|closing|paused/.test(event.kind)) return "wait";
    if (/begun|started/.test(event.kind)) return "busy";
    return /ended|left|released/.test(event.kind) ? "over" : "live";
}

/** The fields of an event that people look for. */
export function eventText(event: Event): string {
    if (typeof event.data !== "object" || event.data === null) return "";
    const data = event.data as Record<string, unknown>;
    const parts: string[] = [];
    for (const name of ["label", "block_type", "runnable_id", "status", "reason", "cause", "by", "name", "target", "message", "failure"]) {
        const value = data[name];
        if (typeof value === "string" && value !== "") parts.push(value);
        else if (typeof value === "object" && value !== null && "message" in value) parts.push(String(value.message));
    }
    return parts.join(" · ");
}
