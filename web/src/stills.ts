// Screenshots in place of an unavailable live picture.

import { type Api, ApiError } from "./api";
import { copyFrame } from "./screen";

const EVERY_MS = 1_500;
const MOST_MS = 15_000;

export interface StillEvents {
    onStill(width: number, height: number): void;
    onStillFailed(cause: ApiError): void;
}

export class Stills {
    #running = false;
    #timer: number | undefined;
    #wait = EVERY_MS;

    constructor(
        private readonly api: Api,
        private readonly session: string,
        private readonly canvas: HTMLCanvasElement,
        private readonly events: StillEvents,
    ) {
        document.addEventListener("visibilitychange", () => {
            if (!document.hidden && this.#running) this.#again(0);
        });
    }

    start(): void {
        if (this.#running) return;
        this.#running = true;
        this.#wait = EVERY_MS;
        this.#again(0);
    }

    stop(): void {
        this.#running = false;
        window.clearTimeout(this.#timer);
    }

    #again(wait: number): void {
        window.clearTimeout(this.#timer);
        this.#timer = window.setTimeout(() => void this.#fetch(), wait);
    }

    async #fetch(): Promise<void> {
        if (document.hidden) return;
        try {
            const picture = await createImageBitmap(await this.api.screenshot(this.session));
            if (!this.#running) return;
            copyFrame(picture, this.canvas);
            this.events.onStill(picture.width, picture.height);
            picture.close();
            this.#wait = EVERY_MS;
        } catch (cause) {
            if (!this.#running) return;
            this.#wait = Math.min(MOST_MS, this.#wait * 2);
            this.events.onStillFailed(
                cause instanceof ApiError ? cause : new ApiError(0, null, "No screenshot could be loaded."),
            );
        }
        this.#again(this.#wait);
    }
}
