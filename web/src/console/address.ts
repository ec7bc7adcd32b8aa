// The address of a page of the console: a path and a query in the fragment, such as `#/runs?status=failed`.
// No server and no log receives the fragment.

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

/** The link to a page. Parts of the path are encoded, and empty parameters are left out. */
export function link(path: readonly string[], query: Readonly<Record<string, string>> = {}): string {
    const params = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
    const text = params.toString();
    return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}
