// The message channel of a session: JSON in text frames, each with a `kind`.

import { Backoff, shutsOut } from "./backoff";

export type Outgoing =
    | { readonly kind: "take-control" | "cede-control" | "get-browser-url" | "clipboard-copy" | "ping" }
    | { readonly kind: "handle-file-choosers" | "cancel-file-chooser" }
    | { readonly kind: "give-files"; readonly names: readonly string[]; readonly x?: number; readonly y?: number; readonly in?: "display" | "page" }
    | { readonly kind: "ask-for-clipboard-response" | "clipboard-paste"; readonly text: string };

export interface Incoming {
    readonly kind: string;
    readonly [field: string]: unknown;
}

export interface ChannelEvents {
    /** `away` is the time since the last message, in milliseconds; 0 for the first connection. */
    onOpen(away: number): void;
    /** The channel was open and is reconnecting. */
    onLost(): void;
    /** The channel has never opened, so the server may have none. It continues to reconnect. */
    onAbsent(): void;
    /** The server rejected this viewer. The channel does not reconnect. */
    onShutOut(): void;
    /** An open socket was dead, and the page's other sockets may be dead too. Follows `onLost`. */
    onSilent(): void;
    onMessage(message: Incoming): void;
}

/** The number of failures since the start of the page, after which the channel counts as absent. */
const TRIES_BEFORE_ABSENT = 4;
/** The timeout for opening a socket. */
const PATIENCE_MS = 12_000;
/** The time after which an open connection resets the back-off. */
const STEADY_MS = 5_000;
/** The delay between two pings, which the server answers. */
const BEAT_MS = 20_000;
/** The timeout for any message after a ping. */
const ANSWER_MS = 10_000;

export class Channel {
    #socket: WebSocket | null = null;
    /** True if it has ever opened, so the server has a channel. */
    #opened = false;
    #heardAt: number | null = null;
    /** The timer of the next connection attempt, if one is scheduled. */
    #timer: number | undefined;
    #beat: number | undefined;
    /** Expires if no message follows a ping. */
    #doubt: number | undefined;
    readonly #backoff = new Backoff({ first: 500, most: 15_000 });

    constructor(
        private readonly dial: () => WebSocket,
        private readonly events: ChannelEvents,
    ) {
        // A change of network, or a sleeping machine, breaks sockets without an event.
        window.addEventListener("online", () => this.#check());
        document.addEventListener("visibilitychange", () => {
            if (!document.hidden) this.#check();
        });
    }

    start(): void {
        this.stop();
        this.#backoff.reset();
        this.#dial();
    }

    stop(): void {
        window.clearTimeout(this.#timer);
        this.#timer = undefined;
        this.#drop();
    }

    /** Sends a message. Returns false if the channel is not open. */
    send(message: Outgoing): boolean {
        if (this.#socket?.readyState !== WebSocket.OPEN) return false;
        this.#socket.send(JSON.stringify(message));
        return true;
    }

    #dial(): void {
        this.#timer = undefined;
        const socket = this.dial();
        this.#socket = socket;
        let open = false;
        let steady: number | undefined;
        const patience = window.setTimeout(() => socket.close(), PATIENCE_MS);
        socket.addEventListener("open", () => {
            window.clearTimeout(patience);
            if (this.#socket !== socket) return;
            open = true;
            this.#opened = true;
            steady = window.setTimeout(() => this.#backoff.reset(), STEADY_MS);
            this.#beat = window.setInterval(() => this.#check(), BEAT_MS);
            this.events.onOpen(this.#heardAt === null ? 0 : Date.now() - this.#heardAt);
        });
        socket.addEventListener("message", ({ data }) => {
            if (this.#socket !== socket) return;
            this.#heardAt = Date.now();
            window.clearTimeout(this.#doubt);
            this.#doubt = undefined;
            this.#onFrame(data);
        });
        socket.addEventListener("close", (close) => {
            window.clearTimeout(patience);
            window.clearTimeout(steady);
            if (this.#socket !== socket) return;
            this.#drop();
            if (shutsOut(close)) {
                this.events.onShutOut();
                return;
            }
            this.#timer = window.setTimeout(() => this.#dial(), this.#backoff.next());
            if (open) this.events.onLost();
            else if (!this.#opened && this.#backoff.tries === TRIES_BEFORE_ABSENT) this.events.onAbsent();
        });
    }

    /** Sends a ping, or makes a scheduled connection attempt at once. */
    #check(): void {
        if (this.#timer !== undefined) {
            window.clearTimeout(this.#timer);
            this.#dial();
        } else if (this.send({ kind: "ping" })) {
            this.#doubt ??= window.setTimeout(() => this.#onSilence(), ANSWER_MS);
        }
    }

    #onSilence(): void {
        this.#drop();
        this.events.onLost();
        this.events.onSilent();
        this.#dial();
    }

    /** Closes the socket without waiting for its end: a dead socket takes long to close. */
    #drop(): void {
        window.clearInterval(this.#beat);
        window.clearTimeout(this.#doubt);
        this.#doubt = undefined;
        const socket = this.#socket;
        this.#socket = null;
        socket?.close(1000);
    }

    #onFrame(data: unknown): void {
        if (typeof data !== "string") return;
        let message: unknown;
        try {
            message = JSON.parse(data);
        } catch {
            return; // An invalid message is ignored.
        }
        if (typeof message === "object" && message !== null && "kind" in message) {
            if (typeof message.kind === "string") this.events.onMessage(message as Incoming);
        }
    }
}

/**
* A name for this tab, the same on all of its sockets and after a reload. The part before the dot is
 * the same in all tabs of this browser, so that a closed and reopened tab is recognized.
 */
export function clientId(): string {
    client ??= named();
    return client;
}

let client: string | undefined;

function named(): string {
    const name = "greenroom.client";
    const [entry] = performance.getEntriesByType("navigation");
    const reloaded = (entry as PerformanceNavigationTiming | undefined)?.type === "reload";
    try {
        // A duplicated tab starts with a copy of the storage, and must not use the same name.
        const kept = reloaded ? sessionStorage.getItem(name) : null;
        if (kept) return kept;
        const made = `${person()}.${uuid()}`;
        sessionStorage.setItem(name, made);
        return made;
    } catch {
        return uuid();
    }
}

/** Shown only to clients that may disconnect viewers. */
function person(): string {
    const name = "greenroom.person";
    const kept = localStorage.getItem(name);
    if (kept) return kept;
    const made = uuid();
    localStorage.setItem(name, made);
    return made;
}

/** `crypto.randomUUID` is missing in pages over plain HTTP from another machine. */
function uuid(): string {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
