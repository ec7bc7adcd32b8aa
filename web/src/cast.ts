// The screencast: pictures of the page over a WebSocket, in place of an unavailable live picture. Reports
// its own failures, and retries.

import { Backoff } from "./backoff";
import type { Size } from "./input";
import { copyFrame } from "./screen";

export interface CastEvents {
    /** A picture of a page arrived. `page` is the size of the page in its own pixels. */
    onCast(picture: Size, page: Size): void;
    /** The screencast could not start, or has ended. */
    onCastFailed(): void;
}

/** The timeout for the first picture. */
const PATIENCE_MS = 6_000;

export class Cast {
    #running = false;
    #socket: WebSocket | null = null;
    #timer: number | undefined;
    readonly #backoff = new Backoff({ first: 2_000, most: 30_000 });

    constructor(
        private readonly dial: () => WebSocket,
        private readonly canvas: HTMLCanvasElement,
        private readonly events: CastEvents,
    ) {}

    start(): void {
        if (this.#running) return;
        this.#running = true;
        this.#backoff.reset();
        this.#dial();
    }

    stop(): void {
        this.#running = false;
        window.clearTimeout(this.#timer);
        this.#socket?.close(1000);
        this.#socket = null;
    }

    #dial(): void {
        const socket = this.dial();
        this.#socket = socket;
        let shown = false;
        const patience = window.setTimeout(() => {
            if (!shown) socket.close();
        }, PATIENCE_MS);
        // Pictures are decoded one by one, in the order of arrival.
        let drawn = Promise.resolve();
        socket.addEventListener("message", ({ data }) => {
            drawn = drawn.then(async () => {
                const frame = await decoded(data).catch(() => null);
                if (!frame || this.#socket !== socket) return;
                const { picture, page } = frame;
                copyFrame(picture, this.canvas);
                shown = true;
                this.#backoff.reset();
                this.events.onCast(picture, page);
                picture.close();
            });
        });
        socket.addEventListener("close", () => {
            window.clearTimeout(patience);
            if (this.#socket !== socket) return;
            this.#socket = null;
            if (!this.#running) return;
            this.events.onCastFailed();
            this.#timer = window.setTimeout(() => this.#dial(), this.#backoff.next());
        });
    }
}

/** The picture in a frame. Null for a frame that only has the session's status. */
async function decoded(data: unknown): Promise<{ picture: ImageBitmap; page: Size } | null> {
    const frame: unknown = typeof data === "string" ? JSON.parse(data) : null;
    if (typeof frame !== "object" || frame === null || !("screenshot" in frame)) return null;
    const { screenshot } = frame;
    if (typeof screenshot !== "string") return null;
    const bytes = Uint8Array.from(atob(screenshot), (character) => character.charCodeAt(0));
    const picture = await createImageBitmap(new Blob([bytes]));
    const size = (name: string, other: number) => {
        const given = (frame as Record<string, unknown>)[name];
        return typeof given === "number" && given > 0 ? given : other;
    };
    const width = size("viewport_width", picture.width);
    const height = size("viewport_height", picture.height);
    return { picture, page: { width, height } };
}
