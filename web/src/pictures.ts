// Fetches the pictures of the tiles that can be seen, a few at a time.

import type { Api } from "./api";
import type { Tile } from "./tile";

const EVERY_MS = 2_000;
/** Browsers open six connections to a server: two stay free for the list and the next page. */
const AT_ONCE = 4;

export class Pictures {
    /** The visible tiles, with the time at which each is due. */
    readonly #due = new Map<Tile, number>();
    readonly #tiles = new Map<Element, Tile>();
    readonly #underWay = new Set<Tile>();
    readonly #observer = new IntersectionObserver((entries) => this.#onSeen(entries), {
        rootMargin: "80px",
    });
    #timer: number | undefined;

    constructor(private readonly api: Api) {
        document.addEventListener("visibilitychange", () => this.#pump());
    }

    add(tile: Tile): void {
        this.#tiles.set(tile.root, tile);
        this.#observer.observe(tile.root);
    }

    drop(tile: Tile): void {
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
            if (this.#underWay.size >= AT_ONCE) return; // The end of one of them pumps again.
            if (due > now) {
                this.#timer = window.setTimeout(() => this.#pump(), due - now);
                return;
            }
            void this.#fetch(tile);
        }
    }

    async #fetch(tile: Tile): Promise<void> {
        this.#underWay.add(tile);
        try {
            if (tile.running) {
                const picture = await createImageBitmap(await this.api.screenshot(tile.id));
                tile.draw(picture);
                picture.close();
            }
        } catch {
            // The last picture stays; the lamp and the list tell how the session stands.
        } finally {
            this.#underWay.delete(tile);
            if (this.#due.has(tile)) this.#due.set(tile, Date.now() + EVERY_MS);
            this.#pump();
        }
    }
}
