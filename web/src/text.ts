// Visible texts: durations, names of states, short ids.

import type { Failure, Session } from "./api";

/** A duration as text: `2 h 05 min`, `41:09`, `0:07`. */
export function remaining(milliseconds: number): string {
    const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(minutes / 60);
    const two = (number: number) => String(number).padStart(2, "0");
    if (hours > 0) return `${hours} h ${two(minutes % 60)} min`;
    return `${minutes}:${two(seconds % 60)}`;
}

/** The time at which a session ends by itself, in milliseconds since 1970. */
export function endOf(session: Session): number | null {
    const idle = isOccupied(session) ? null : session.idle_expires_at;
    const ends = [session.expires_at, idle]
        .map((at) => Date.parse(at ?? ""))
        .filter((at) => !Number.isNaN(at));
    return ends.length > 0 ? Math.min(...ends) : null;
}

/**
* The end of one of the server's ids. Ids are ordered by time, so their beginnings are alike. Names that
 * clients have chosen are not shortened.
 */
export function shortId(id: string): string {
    return /^[a-z]{1,6}_[0-9A-Za-z]{10,}$/.test(id) ? `…${id.slice(-6)}` : id;
}

export function isFinal(session: Session): boolean {
    if (session.completed_at) return true;
    const { status } = session;
    return status === "completed" || status === "failed" || status === "timeout";
}

export function isOccupied(session: Session): boolean {
    const occupancy = session.occupancy;
    return Boolean(occupancy?.runnable_id) && occupancy?.state !== "vacant";
}

/** The occupant as text: `workflow run …4f2a9c`. */
export function occupant(session: Session): string | null {
    const { occupancy } = session;
    if (!occupancy?.runnable_id || !isOccupied(session)) return null;
    const kind = (occupancy.runnable_type ?? "occupant").replaceAll("_", " ");
    return `${kind} ${shortId(occupancy.runnable_id)}`;
}

/** A size as text: `12 kB`, `3.4 MB`. */
export function fileSize(bytes: number): string {
    if (bytes < 1000) return `${bytes} B`;
    const units = ["kB", "MB", "GB"];
    let size = bytes / 1000;
    let unit = 0;
    while (size >= 999.5 && unit < units.length - 1) {
        size /= 1000;
        unit += 1;
    }
    return `${size < 9.95 ? size.toFixed(1) : size.toFixed(0)} ${units[unit]}`;
}

export type Tone = "live" | "busy" | "wait" | "over" | "bad";

export interface Standing {
    readonly tone: Tone;
    readonly word: string;
}

/** A session's state as a colour and a word. */
export function standing(session: Session): Standing {
    switch (session.status) {
        case "failed":
            return { tone: "bad", word: "Failed" };
        case "timeout":
            return { tone: "over", word: "Timed out" };
        case "completed":
            return { tone: "over", word: "Closed" };
        default:
            break;
    }
    if (session.completed_at) return { tone: "over", word: "Closed" };
    if (session.status === "retry") return { tone: "wait", word: "Recovering" };
    if (session.status === "created") return { tone: "wait", word: "Starting" };
    return isOccupied(session) ? { tone: "busy", word: "In use" } : { tone: "live", word: "Ready" };
}

export interface Ending {
    readonly title: string;
    readonly text: string;
    readonly hint: string | null;
    readonly log: readonly string[];
}

/** The texts of the end screen. */
export function ending(session: Session): Ending {
    const failure: Failure | null = session.failure ?? null;
    const log = failure?.log_tail ?? [];
    const hint = failure?.hint ?? null;
    if (session.status === "failed") {
        const exit = failure?.exit ? `: ${failure.exit}` : "";
        const text = failure?.message
            ? `${failure.message.replace(/\.$/, "")}${exit}.`
            : "The browser stopped working. No cause was recorded.";
        return { title: "The session failed", text, hint, log };
    }
    if (session.status === "timeout") {
        const text = failure?.message ?? "It reached the end of its lifetime.";
        return { title: "The session timed out", text, hint, log };
    }
    const text = failure?.message ?? "It was closed, and its browser has stopped.";
    return { title: "The session has ended", text, hint, log };
}

/** The most characters of a profile's name. */
const LONGEST_NAME = 100;

/** The name of a profile for the login of a page: its host, or the date for a page without one. */
export function proposedName(address: string, now: Date): string {
    let host = "";
    try {
        const { protocol, hostname } = new URL(address);
        if (protocol === "https:" || protocol === "http:") host = hostname.replace(/^www\./, "");
    } catch {
        // The address is not known yet.
    }
    const two = (number: number) => String(number).padStart(2, "0");
    const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
    return host ? host.slice(0, LONGEST_NAME) : `Login of ${date}`;
}
