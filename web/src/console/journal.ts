// The rows of the message inspector: a bounded window of the newest messages, and the visible part of the tree of
// consequences.

import type { ActorMessage, Consequence } from "./types";

/** The newest messages, by falling number. */
export interface JournalWindow {
    readonly rows: readonly ActorMessage[];
    /** True if the server has older messages than the last row. */
    readonly older: boolean;
}

/**
 * The window with messages that arrived later, at most `most`. A message replaces its former state. One that is older
 * than the window is left out: there would be a gap between it and the last row.
 */
export function merge(window: JournalWindow, fresh: readonly ActorMessage[], most: number): JournalWindow {
    if (fresh.length === 0) return window;
    const floor = window.older ? (window.rows.at(-1)?.id ?? -Infinity) : -Infinity;
    const known = new Map(window.rows.map((row) => [row.id, row]));
    for (const message of fresh) if (message.id >= floor) known.set(message.id, message);
    const rows = [...known.values()].sort((one, other) => other.id - one.id);
    return { rows: rows.slice(0, most), older: window.older || rows.length > most };
}

/** A row of the tree of consequences. */
export interface TreeRow {
    readonly message: Consequence;
    /** The depth in the tree; the root has 1. */
    readonly level: number;
    /** Its place among its siblings, from 1, and their number. */
    readonly place: number;
    readonly siblings: number;
    readonly parent: number | null;
    /** Null without consequences of its own. */
    readonly open: boolean | null;
}

/** The rows of the tree that are visible while those of `closed` are folded. */
export function treeRows(
    consequences: readonly Consequence[],
    closed: ReadonlySet<number>,
    level = 1,
    parent: number | null = null,
): TreeRow[] {
    return consequences.flatMap((message, index) => {
        const open = message.consequences.length === 0 ? null : !closed.has(message.id);
        const row = { message, level, place: index + 1, siblings: consequences.length, parent, open };
        return open ? [row, ...treeRows(message.consequences, closed, level + 1, message.id)] : [row];
    });
}

/** True if a message, or one that it caused, is still under way. */
export function isUnderWay(message: ActorMessage, consequences: readonly Consequence[]): boolean {
    return message.outcome === null || consequences.some((each) => isUnderWay(each, each.consequences));
}

/** The filters of the server, by the parameter. */
export const FILTERS = [
    "actor", "kind", "outcome", "slower_than_ms", "text", "session", "run", "organization", "since",
] as const;

/** The filters in a page's address, as parameters for the server. */
export function filtersOf(query: URLSearchParams, names: readonly string[] = FILTERS): URLSearchParams {
    const params = new URLSearchParams();
    for (const name of names) {
        const value = query.get(name)?.trim() ?? "";
        if (value !== "") params.set(name, value);
    }
    return params;
}
