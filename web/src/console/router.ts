// The address of a page of the console: a path and a query in the fragment, such as `#/runs?status=failed`.
// No server and no log receives the fragment.

import { computed, signal } from "@preact/signals";

export interface Route {
    readonly path: readonly string[];
    readonly query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
    const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
    const parts = path.split("/").filter((part) => part !== "");
    return { path: parts.map(decoded), query: new URLSearchParams(query) };
}

function decoded(part: string): string {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}

const hash = signal(location.hash);
window.addEventListener("hashchange", () => {
    hash.value = location.hash;
});

export const route = computed(() => parseRoute(hash.value));

/** The link to a page. Parts of the path are encoded, and empty parameters are left out. */
export function link(path: readonly string[], query: Readonly<Record<string, string>> = {}): string {
    const params = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
    const text = params.toString();
    return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(to: string): void {
    location.hash = to;
}

/** Changes parameters of the present page without a new entry in the history. */
export function setQuery(changes: Readonly<Record<string, string>>): void {
    const { path, query } = route.peek();
    const next = { ...Object.fromEntries(query), ...changes };
    history.replaceState(history.state, "", link(path, next));
    hash.value = location.hash;
}
