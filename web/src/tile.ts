// The tile of a session on the wall.

import type { Session } from "./api";
import { icon, setText, show } from "./dom";
import { endOf, occupant, remaining, shortId, standing } from "./text";

export class Tile {
    readonly root = document.createElement("li");
    readonly #link = document.createElement("a");
    readonly #picture = document.createElement("canvas");
    readonly #lamp = document.createElement("span");
    readonly #word = document.createElement("span");
    readonly #who = document.createElement("span");
    readonly #time = document.createElement("span");
    readonly #blank = document.createElement("span");
    #session: Session | null = null;

    constructor(readonly id: string) {
        this.root.className = "tile";
        this.#link.href = `view/${encodeURIComponent(id)}`;

        const frame = document.createElement("div");
        frame.className = "tile-frame";
        this.#picture.width = 0;
        this.#picture.setAttribute("aria-hidden", "true");
        this.#blank.className = "tile-blank";
        this.#blank.append(icon("eye"));
        frame.append(this.#blank, this.#picture);

        const head = document.createElement("div");
        head.className = "tile-head";
        const lamp = document.createElement("i");
        lamp.className = "lamp";
        this.#lamp.className = "pill";
        this.#lamp.append(lamp, this.#word);
        const name = document.createElement("code");
        name.className = "id";
        name.title = id;
        name.textContent = shortId(id);
        head.append(this.#lamp, name, this.#time);
        this.#time.className = "time";

        this.#who.className = "tile-who";
        this.#link.append(frame, head, this.#who);
        this.root.append(this.#link);
    }

    /** True if the session may have a picture. */
    get running(): boolean {
        return this.#session?.status === "running" || this.#session?.status === "retry";
    }

    render(session: Session, now: number): void {
        this.#session = session;
        const { tone, word } = standing(session);
        this.root.dataset["tone"] = tone;
        this.#lamp.dataset["tone"] = tone;
        setText(this.#word, word);
        setText(this.#who, occupant(session) ?? "No occupant");
        this.#who.classList.toggle("quiet", occupant(session) === null);
        this.#link.setAttribute("aria-label", `Watch session ${this.id}: ${word}`);
        this.renderTime(now);
    }

    renderTime(now: number): void {
        const end = this.#session ? endOf(this.#session) : null;
        show(this.#time, end !== null);
        if (end !== null) setText(this.#time, remaining(end - now));
    }

    draw(picture: ImageBitmap): void {
        drawTile(picture, this.#picture, this.root);
    }
}

/** Draws a picture into the canvas of a tile, and marks the tile as one with a picture. */
export function drawTile(picture: ImageBitmap, canvas: HTMLCanvasElement, tile: HTMLElement): void {
    // Scaled down to the size of the tile: many full frames would exhaust a phone's memory.
    const width = Math.min(picture.width, 640);
    const height = Math.round((picture.height * width) / picture.width);
    if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
    }
    const context = canvas.getContext("2d");
    if (context) {
        context.imageSmoothingQuality = "high";
        context.drawImage(picture, 0, 0, width, height);
    }
    tile.dataset["picture"] = "true";
}
