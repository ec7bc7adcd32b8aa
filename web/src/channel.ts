// The message channel of a session: JSON in text frames, each with a `kind`.

import { Backoff } from "./backoff";

export type Outgoing =
    | { readonly kind: "take-control" | "cede-control" | "get-browser-url" | "clipboard-copy" }
    | { readonly kind: "ask-for-clipboard-response" | "clipboard-paste"; readonly text: string };

export interface Incoming {
    readonly kind: string;
    readonly [field: string]: unknown;
}

export interface ChannelEvents {
    onOpen(): void;
    /** It was open, and is being dialled again. */
    onLost(): void;
    /** It never opened; the server has none, or not for this viewer. */
    onAbsent(): void;
    onMessage(message: Incoming): void;
}

/** Failures to open at all, after which a server is taken to have no such channel. */
const TRIES = 2;

export class Channel {
    #socket: WebSocket | null = null;
    #opened = false;
    #stopped = false;
    #timer: number | undefined;
    readonly #backoff = new Backoff({ first: 500, most: 15_000 });

    constructor(
        private readonly address: () => string,
        private readonly events: ChannelEvents,
    ) {}

    start(): void {
        this.#stopped = false;
        window.clearTimeout(this.#timer);
        const socket = new WebSocket(this.address());
        let open = false;
        let held: number | undefined;
        socket.addEventListener("open", () => {
            open = true;
            this.#opened = true;
            held = window.setTimeout(() => this.#backoff.reset(), 5_000);
            this.events.onOpen();
        });
        socket.addEventListener("message", ({ data }) => this.#onFrame(data));
        socket.addEventListener("close", ({ code }) => {
            window.clearTimeout(held);
            if (this.#stopped || this.#socket !== socket) return;
            this.#socket = null;
            // 1002 and 1013 are refusals by a server that accepts first and closes then.
            const refused = !open || code === 1002 || code === 1013;
            const wait = this.#backoff.next();
            if (refused && (!this.#opened || code !== 1006) && this.#backoff.tries >= TRIES) {
                this.events.onAbsent();
                return;
            }
            if (open) this.events.onLost();
            this.#timer = window.setTimeout(() => this.start(), wait);
        });
        this.#socket = socket;
    }

    stop(): void {
        this.#stopped = true;
        window.clearTimeout(this.#timer);
        this.#socket?.close(1000);
        this.#socket = null;
    }

    /** Whether it went out. */
    send(message: Outgoing): boolean {
        if (this.#socket?.readyState !== WebSocket.OPEN) return false;
        this.#socket.send(JSON.stringify(message));
        return true;
    }

    #onFrame(data: unknown): void {
        if (typeof data !== "string") return;
        let message: unknown;
        try {
            message = JSON.parse(data);
        } catch {
            return; // Not ours to repair; the next message stands by itself.
        }
        if (typeof message === "object" && message !== null && "kind" in message) {
            if (typeof message.kind === "string") this.events.onMessage(message as Incoming);
        }
    }
}

/** A name for this tab, the same on all of its sockets and after a reload. */
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
        // A duplicated tab is born with a copy of the storage, and must not take the name over.
        const kept = reloaded ? sessionStorage.getItem(name) : null;
        if (kept) return kept;
        const made = uuid();
        sessionStorage.setItem(name, made);
        return made;
    } catch {
        return uuid();
    }
}

/** `crypto.randomUUID` is missing where the page came over plain HTTP from another machine. */
function uuid(): string {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
