// Fetches the pictures of the visible tiles, a few at a time.

import type { Api } from "./api";

/** A place that shows the picture of a session. */
export interface PictureTarget {
    readonly root: Element;
    /** The id of the session whose display is shown. */
    readonly id: string;
    /** True if the session may have a picture. */
    readonly running: boolean;
    draw(picture: ImageBitmap): void;
}

const EVERY_MS = 2_000;
/** The number of simultaneous requests. Of a browser's six connections to a server, two stay free. */
const AT_ONCE = 4;

export class Pictures {
    /** The visible tiles, with the time at which each is due. */
    readonly #due = new Map<PictureTarget, number>();
    readonly #tiles = new Map<Element, PictureTarget>();
    readonly #underWay = new Set<PictureTarget>();
    readonly #observer = new IntersectionObserver((entries) => this.#onSeen(entries), {
        rootMargin: "80px",
    });
    #timer: number | undefined;

    readonly #onVisible = () => this.#pump();

    constructor(private readonly api: Api) {
        document.addEventListener("visibilitychange", this.#onVisible);
    }

    /** Ends all requests to come. */
    stop(): void {
        document.removeEventListener("visibilitychange", this.#onVisible);
        window.clearTimeout(this.#timer);
        this.#observer.disconnect();
        this.#due.clear();
    }

    add(tile: PictureTarget): void {
        this.#tiles.set(tile.root, tile);
        this.#observer.observe(tile.root);
    }

    drop(tile: PictureTarget): void {
        this.#observer.unobserve(tile.root);
        this.#tiles.delete(tile.root);
        this.#due.delete(tile);
    }

    #onSeen(entries: readonly IntersectionObserverEntry[]): void {
        for (const { target, isIntersecting } of entries) {
            const tile = this.#tiles.get(target);
            if (!tile) continue;
            if (!isIntersecting) this.#due.delete(tile);
            else if (!this.#due.has(tile)) this.#due.set(tile, 0);
        }
        this.#pump();
    }

    #pump(): void {
        window.clearTimeout(this.#timer);
        if (document.hidden) return;
        const now = Date.now();
        const waiting = [...this.#due]
            .filter(([tile]) => !this.#underWay.has(tile))
            .sort(([, one], [, other]) => one - other);
        for (const [tile, due] of waiting) {
            if (this.#underWay.size >= AT_ONCE) return; // The end of a request calls this again.
            if (due > now) {
                this.#timer = window.setTimeout(() => this.#pump(), due - now);
                return;
            }
            void this.#fetch(tile);
        }
    }

    async #fetch(tile: PictureTarget): Promise<void> {
        this.#underWay.add(tile);
        try {
            if (tile.running) {
                const picture = await createImageBitmap(await this.api.screenshot(tile.id));
                tile.draw(picture);
                picture.close();
            }
        } catch {
            // The last picture stays; the lamp and the list show the session's status.
        } finally {
            this.#underWay.delete(tile);
            if (this.#due.has(tile)) this.#due.set(tile, Date.now() + EVERY_MS);
            this.#pump();
        }
    }
}
