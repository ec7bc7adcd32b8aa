// The present page of the console, and the way to another one.

import { computed, signal } from "@preact/signals";

import { link, parseRoute } from "./address";

export { link };

const hash = signal(location.hash);
window.addEventListener("hashchange", readAddress);

/** Reads the present page from the address, after a change without an event. */
export function readAddress(): void {
    hash.value = location.hash;
}

export const route = computed(() => parseRoute(hash.value));

export function go(to: string): void {
    location.hash = to;
}

/** Changes parameters of the present page without a new entry in the history. */
export function setQuery(changes: Readonly<Record<string, string>>): void {
    const { path, query } = route.peek();
    const next = { ...Object.fromEntries(query), ...changes };
    history.replaceState(history.state, "", link(path, next));
    readAddress();
}
