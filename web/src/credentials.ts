// The credentials of the page. A key or ticket arrives in the address, preferably in its fragment, which
// no server and no log receives. It is removed from the address at once and stored for this tab only.

export type Credentials =
    | { readonly kind: "ticket"; readonly value: string }
    | { readonly kind: "key"; readonly value: string };

const KEY = "greenroom.key";
const TICKET = "greenroom.ticket:";

/** The store of a page without `sessionStorage`, such as an embedded page. */
const memory = new Map<string, string>();

function remember(name: string, value: string): boolean {
    memory.set(name, value);
    try {
        sessionStorage.setItem(name, value);
        return true;
    } catch {
        return false;
    }
}

function recall(name: string): string | null {
    const held = memory.get(name);
    if (held !== undefined) return held;
    try {
        return sessionStorage.getItem(name);
    } catch {
        return null;
    }
}

function forgetOne(name: string): void {
    memory.delete(name);
    try {
        sessionStorage.removeItem(name);
    } catch {
        // Without a store there is nothing to remove.
    }
}

interface Found {
    readonly credentials: Credentials;
    /** The address without the credentials. */
    readonly rest: string;
}

/** The credentials in an address: the fragment comes before the query, a ticket before a key. */
export function inAddress(address: string): Found | null {
    const url = new URL(address);
    const fragment = new URLSearchParams(url.hash.slice(1));
    for (const params of [fragment, url.searchParams]) {
        const ticket = params.get("ticket");
        const key = params.get("apikey");
        if (!ticket && !key) continue;
        for (const from of [fragment, url.searchParams]) {
            from.delete("ticket");
            from.delete("apikey");
        }
        url.hash = fragment.toString();
        const credentials: Credentials = ticket
            ? { kind: "ticket", value: ticket }
            : { kind: "key", value: key ?? "" };
        return { credentials, rest: url.toString() };
    }
    return null;
}

/** The credentials of this page. A ticket is valid for one session only. */
export function load(session: string | null): Credentials | null {
    const found = inAddress(location.href);
    if (found && (found.credentials.kind === "key" || session !== null)) {
        const stored = keep(found.credentials, session);
        // Without a store, a reload finds the credentials in the address only.
        if (stored) history.replaceState(history.state, "", found.rest);
        return found.credentials;
    }
    const ticket = session === null ? null : recall(TICKET + session);
    if (ticket) return { kind: "ticket", value: ticket };
    const key = recall(KEY);
    return key ? { kind: "key", value: key } : null;
}

export function keep(credentials: Credentials, session: string | null): boolean {
    return credentials.kind === "key"
        ? remember(KEY, credentials.value)
        : remember(TICKET + (session ?? ""), credentials.value);
}

/** Removes credentials that the server has rejected. */
export function forget(credentials: Credentials, session: string | null): void {
    forgetOne(credentials.kind === "key" ? KEY : TICKET + (session ?? ""));
}

/** The header of an HTTP request. */
export function header({ kind, value }: Credentials): Record<string, string> {
    return kind === "key" ? { "x-api-key": value } : { "x-greenroom-ticket": value };
}

/**
 * The credentials as a subprotocol of a WebSocket, the only header of its handshake that a page can set. In
 * the query they would be in the logs of proxies.
 */
export function subprotocol({ kind, value }: Credentials): string {
    const bytes = String.fromCharCode(...new TextEncoder().encode(value));
    const encoded = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    return `greenroom.${kind === "key" ? "apikey" : "ticket"}.${encoded}`;
}
