// The message channel of a session: JSON in text frames, each with a `kind`.

import { Backoff, shutsOut } from "./backoff";

export type Outgoing =
    | { readonly kind: "take-control" | "cede-control" | "get-browser-url" | "clipboard-copy" | "ping" }
    | { readonly kind: "ask-for-clipboard-response" | "clipboard-paste"; readonly text: string };

export interface Incoming {
    readonly kind: string;
    readonly [field: string]: unknown;
}

export interface ChannelEvents {
    /** `away` is for how long nothing had come, in milliseconds; 0 at the first time. */
    onOpen(away: number): void;
    /** It was open, and is being dialled again. */
    onLost(): void;
    /** It has never opened so far: the server may have none. It is dialled all the same. */
    onAbsent(): void;
    /** The server wants no more of this viewer. It is not dialled again. */
    onShutOut(): void;
    /** An open socket was dead, and the page's other sockets may be as well. `onLost` came before. */
    onSilent(): void;
    onMessage(message: Incoming): void;
}

/** Failures from the page's beginning, after which a server is taken to have no such channel. */
const TRIES_BEFORE_ABSENT = 4;
/** A socket that has not opened by then never will. */
const PATIENCE_MS = 12_000;
/** A connection that held this long was a success: the next failure starts small again. */
const STEADY_MS = 5_000;
/** Between two questions that the server has to answer. */
const BEAT_MS = 20_000;
/** A socket over which nothing comes for so long after a question is dead. */
const ANSWER_MS = 10_000;

export class Channel {
    #socket: WebSocket | null = null;
    /** Whether it ever opened: then the server has one. */
    #opened = false;
    #heardAt: number | null = null;
    /** The next dial, while one is waited for. */
    #timer: number | undefined;
    #beat: number | undefined;
    /** Runs out when a question stays without any answer. */
    #doubt: number | undefined;
    readonly #backoff = new Backoff({ first: 500, most: 15_000 });

    constructor(
        private readonly address: () => string,
        private readonly events: ChannelEvents,
    ) {
        // A network that changed, or a machine that slept, kills sockets without a word.
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

    /** Whether it went out. */
    send(message: Outgoing): boolean {
        if (this.#socket?.readyState !== WebSocket.OPEN) return false;
        this.#socket.send(JSON.stringify(message));
        return true;
    }

    #dial(): void {
        this.#timer = undefined;
        const socket = new WebSocket(this.address());
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

    /** Asks for a sign of life; where a dial is waited for, that is made now. */
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

    /** Lets go of the socket without waiting for its end: a dead one takes long to close. */
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
            return; // Not ours to repair; the next message stands by itself.
        }
        if (typeof message === "object" && message !== null && "kind" in message) {
            if (typeof message.kind === "string") this.events.onMessage(message as Incoming);
        }
    }
}

/**
 * A name for this tab, the same on all of its sockets and after a reload. What stands before the dot is
 * the same in all tabs of this browser, so that one that was closed and opened again is known.
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
        // A duplicated tab is born with a copy of the storage, and must not take the name over.
        const kept = reloaded ? sessionStorage.getItem(name) : null;
        if (kept) return kept;
        const made = `${person()}.${uuid()}`;
        sessionStorage.setItem(name, made);
        return made;
    } catch {
        return uuid();
    }
}

/** Only who may put viewers out is told of it. */
function person(): string {
    const name = "greenroom.person";
    const kept = localStorage.getItem(name);
    if (kept) return kept;
    const made = uuid();
    localStorage.setItem(name, made);
    return made;
}

/** `crypto.randomUUID` is missing where the page came over plain HTTP from another machine. */
function uuid(): string {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
