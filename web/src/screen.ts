// The live picture: noVNC on a WebSocket that reconnects.

import RFB from "@novnc/novnc";

import { Backoff, shutsOut } from "./backoff";
import { releaseUnseen } from "./keys";

export type Link =
    | { readonly state: "idle" }
    | { readonly state: "connecting"; readonly tries: number }
    | { readonly state: "live" }
    | { readonly state: "waiting"; readonly tries: number; readonly until: number }
    /** The server rejected this viewer. It reconnects only on a person's request. */
    | { readonly state: "refused" };

export interface ScreenEvents {
    onLink(link: Link): void;
    /** The size of the remote picture is known or has changed. */
    onSize(width: number, height: number): void;
    /** The server ended the connection, with a reason. */
    onClosed(code: number, reason: string): void;
}

/** The timeout for opening a socket. */
const PATIENCE_MS = 12_000;
/** The time after which an open connection resets the back-off. */
const STEADY_MS = 5_000;

const KEY_CONTROL = 0xffe3;
const KEY_V = 0x76;

export class Screen {
    #rfb: RFB | null = null;
    /** The latest socket. */
    #socket: WebSocket | null = null;
    /** noVNC's canvas, with the last frame. noVNC removes it from the page when a connection ends. */
    #canvas: HTMLCanvasElement | null = null;
    #link: Link = { state: "idle" };
    #viewOnly = true;
    #timer: number | undefined;
    #steady: number | undefined;
    readonly #backoff = new Backoff({ first: 500, most: 15_000 });

    constructor(
        private readonly target: HTMLElement,
        /** Shows the last frame while there is no connection. */
        private readonly still: HTMLCanvasElement,
        private readonly dial: () => WebSocket,
        private readonly events: ScreenEvents,
    ) {
        window.addEventListener("online", () => this.retry());
        document.addEventListener("visibilitychange", () => {
            if (!document.hidden) this.retry();
        });
        releaseUnseen(target, true);
    }

    get link(): Link {
        return this.#link;
    }

    set viewOnly(viewOnly: boolean) {
        this.#viewOnly = viewOnly;
        if (this.#rfb) this.#rfb.viewOnly = viewOnly;
    }

    start(): void {
        if (!this.#atRest()) return;
        this.#backoff.reset();
        this.#dial();
    }

    /** Connects at once if it is waiting to reconnect. */
    retry(): void {
        if (this.#link.state !== "waiting") return;
        window.clearTimeout(this.#timer);
        this.#dial();
    }

    /** Replaces a connection that may be dead. */
    redial(): void {
        if (this.#atRest()) return;
        this.#drop();
        this.#dial();
    }

    /** Stops until `start`, because the server rejected this viewer, here or on another socket. */
    refuse(): void {
        if (this.#atRest()) return;
        this.#drop();
        this.#become({ state: "refused" });
    }

    stop(): void {
        this.#drop();
        this.#become({ state: "idle" });
    }

    focus(): void {
        this.#rfb?.focus({ preventScroll: true });
    }

    blur(): void {
        this.#rfb?.blur();
    }

    /** Presses and releases a key. */
    press(keysym: number): void {
        this.#rfb?.sendKey(keysym, null);
    }

    /** Writes a text to the remote clipboard, and pastes it. */
    paste(text: string): void {
        const rfb = this.#rfb;
        if (!rfb) return;
        rfb.clipboardPasteFrom(text);
        rfb.sendKey(KEY_CONTROL, "ControlLeft", true);
        rfb.sendKey(KEY_V, "KeyV");
        rfb.sendKey(KEY_CONTROL, "ControlLeft", false);
    }

    /** The place of an event in the remote picture, in its pixels; null without a live picture. */
    place(event: MouseEvent): { x: number; y: number } | null {
        const canvas = this.#canvas;
        const box = canvas?.getBoundingClientRect();
        if (!canvas || !box || box.width === 0 || box.height === 0) return null;
        const x = ((event.clientX - box.left) * canvas.width) / box.width;
        const y = ((event.clientY - box.top) * canvas.height) / box.height;
        return x >= 0 && y >= 0 && x < canvas.width && y < canvas.height ? { x, y } : null;
    }

    /** True if only `start` connects. */
    #atRest(): boolean {
        return this.#link.state === "idle" || this.#link.state === "refused";
    }

    #become(link: Link): void {
        this.#link = link;
        this.events.onLink(link);
    }

    #dial(): void {
        this.#become({ state: "connecting", tries: this.#backoff.tries });
        const socket = this.dial();
        const patience = window.setTimeout(() => socket.close(), PATIENCE_MS);
        socket.addEventListener("open", () => window.clearTimeout(patience));
        // noVNC reports the end too, but without its code.
        socket.addEventListener("close", (close) => {
            window.clearTimeout(patience);
            if (this.#socket === socket && shutsOut(close)) this.refuse();
            this.events.onClosed(close.code, close.reason);
        });
        this.#socket = socket;

        const rfb = new RFB(this.target, socket, { shared: true });
        rfb.background = "transparent";
        rfb.scaleViewport = true;
        rfb.qualityLevel = 7;
        rfb.compressionLevel = 2;
        rfb.viewOnly = this.#viewOnly;
        rfb.showDotCursor = false;
        rfb.addEventListener("connect", () => this.#onConnect(rfb));
        rfb.addEventListener("disconnect", () => this.#onDisconnect(rfb));
        this.#rfb = rfb;
    }

    #onConnect(rfb: RFB): void {
        if (rfb !== this.#rfb) return;
        this.#steady = window.setTimeout(() => this.#backoff.reset(), STEADY_MS);
        const canvas = this.target.querySelector("canvas");
        this.#canvas = canvas;
        if (canvas) {
            this.events.onSize(canvas.width, canvas.height);
            new MutationObserver(() => this.events.onSize(canvas.width, canvas.height)).observe(
                canvas,
                { attributes: true, attributeFilter: ["width", "height"] },
            );
        }
        performance.mark("greenroom:connected");
        this.#become({ state: "live" });
    }

    #onDisconnect(rfb: RFB): void {
        if (rfb !== this.#rfb) return;
        window.clearTimeout(this.#steady);
        this.#rfb = null;
        this.#keepFrame();
        const wait = this.#backoff.next();
        this.#timer = window.setTimeout(() => this.#dial(), wait);
        this.#become({
            state: "waiting",
            tries: this.#backoff.tries,
            until: Date.now() + wait,
        });
    }

    #drop(): void {
        window.clearTimeout(this.#timer);
        window.clearTimeout(this.#steady);
        const rfb = this.#rfb;
        this.#rfb = null;
        this.#socket = null;
        this.#keepFrame();
        rfb?.disconnect();
    }

    #keepFrame(): void {
        if (this.#canvas) copyFrame(this.#canvas, this.still);
        this.#canvas = null;
    }
}

/** Copies a picture, at its own size. */
export function copyFrame(from: HTMLCanvasElement | ImageBitmap, to: HTMLCanvasElement): void {
    if (from.width === 0 || from.height === 0) return;
    to.width = from.width;
    to.height = from.height;
    to.getContext("2d")?.drawImage(from, 0, 0);
}
