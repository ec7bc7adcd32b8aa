// The wall: every session of the organization, as a small picture that is refreshed.

import { Api, ApiError, type Session } from "./api";
import { forget, keep, load } from "./credentials";
import { element, setText, show } from "./dom";
import { askForKey } from "./gate";
import { Pictures } from "./pictures";
import { isFinal, isOccupied } from "./text";
import { Tile } from "./tile";

const LIST_EVERY_MS = 4_000;

class Wall {
    readonly #tiles = new Map<string, Tile>();
    readonly #pictures: Pictures;
    #timer: number | undefined;

    constructor(
        private readonly api: Api,
        private readonly onRefused: (cause: ApiError) => void,
    ) {
        this.#pictures = new Pictures(api);
        window.setInterval(() => {
            for (const tile of this.#tiles.values()) tile.renderTime(api.now());
        }, 1000);
        document.addEventListener("visibilitychange", () => {
            if (!document.hidden) this.#again(0);
        });
    }

    start(): void {
        this.#again(0);
    }

    #again(wait: number): void {
        window.clearTimeout(this.#timer);
        this.#timer = window.setTimeout(() => void this.#look(), wait);
    }

    async #look(): Promise<void> {
        if (document.hidden) return; // The list is loaded when the page is visible again.
        try {
            this.#render(await this.api.sessions());
            show(element("stale"), false);
        } catch (cause) {
            if (cause instanceof ApiError && cause.refused) {
                this.#render([]);
                show(element("empty"), false);
                setText(element("summary"), "");
                this.onRefused(cause);
                return;
            }
            setText(element("stale"), cause instanceof ApiError ? cause.message : "The server did not answer.");
            show(element("stale"), true);
        }
        this.#again(LIST_EVERY_MS);
    }

    #render(listed: readonly Session[]): void {
        const sessions = listed.filter((session) => !isFinal(session)).sort(newestFirst);
        const here = new Set(sessions.map(({ browser_session_id }) => browser_session_id));
        for (const [id, tile] of this.#tiles) {
            if (here.has(id)) continue;
            this.#pictures.drop(tile);
            tile.root.remove();
            this.#tiles.delete(id);
        }

        const list = element("tiles");
        sessions.forEach((session, index) => {
            const id = session.browser_session_id;
            let tile = this.#tiles.get(id);
            if (!tile) {
                tile = new Tile(id);
                this.#tiles.set(id, tile);
                this.#pictures.add(tile);
            }
            tile.render(session, this.api.now());
            // Moving an element to its present place would remove its focus.
            if (list.children[index] !== tile.root) {
                list.insertBefore(tile.root, list.children[index] ?? null);
            }
        });

        show(element("empty"), sessions.length === 0);
        const occupied = sessions.filter(isOccupied).length;
        const word = sessions.length === 1 ? "session" : "sessions";
        setText(element("summary"), `${sessions.length} ${word}, ${occupied} in use`);
    }
}

function newestFirst(one: Session, other: Session): number {
    return (
        (other.created_at ?? "").localeCompare(one.created_at ?? "") ||
        other.browser_session_id.localeCompare(one.browser_session_id)
    );
}

async function open(): Promise<void> {
    const ask = async (reason: string | null) => {
        const credentials = await askForKey(reason);
        keep(credentials, null);
        return credentials;
    };
    const api = new Api(load(null) ?? (await ask(null)));
    const wall = new Wall(api, (cause) => {
        forget(api.credentials, null);
        void ask(cause.message).then((given) => {
            api.credentials = given;
            wall.start();
        });
    });
    wall.start();
}

void open();
