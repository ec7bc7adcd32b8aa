// Keys, clicks and the wheel on the screencast, which go to the page over DevTools: how whoever has
// control goes on while the live picture cannot be had.

import { Backoff } from "./backoff";

export interface Size {
    readonly width: number;
    readonly height: number;
}

/** As `MouseEvent.button` counts them. */
const BUTTONS = ["left", "middle", "right", "back", "forward"];

/** Keys that a phone's keyboard sends, by their X keysyms: `KeyboardEvent.key`, and a key code. */
const NAMED: Readonly<Record<number, readonly [name: string, code: number]>> = {
    0xff08: ["Backspace", 8],
    0xff09: ["Tab", 9],
    0xff0d: ["Enter", 13],
    0xff1b: ["Escape", 27],
    0xff51: ["ArrowLeft", 37],
    0xff52: ["ArrowUp", 38],
    0xff53: ["ArrowRight", 39],
    0xff54: ["ArrowDown", 40],
};

/** A line of a wheel that counts lines, in pixels. */
const LINE = 40;

export class Hand {
    #active = false;
    #ready = false;
    #page: Size = { width: 0, height: 0 };
    #socket: WebSocket | null = null;
    #timer: number | undefined;
    #movement: MouseEvent | null = null;
    readonly #backoff = new Backoff({ first: 500, most: 15_000 });

    constructor(
        private readonly address: () => string,
        private readonly surface: HTMLCanvasElement,
        /** `ready` has changed. */
        private readonly onReady: () => void,
    ) {
        surface.addEventListener("mousedown", (event) => {
            if (!this.#active) return;
            event.preventDefault();
            surface.focus({ preventScroll: true });
            this.#mouse("mousePressed", event);
        });
        // What was pressed in the picture may be let go beside it.
        window.addEventListener("mouseup", (event) => {
            if (this.#active) this.#mouse("mouseReleased", event);
        });
        surface.addEventListener("mousemove", (event) => this.#moved(event));
        surface.addEventListener("contextmenu", (event) => {
            if (this.#active) event.preventDefault();
        });
        surface.addEventListener(
            "wheel",
            (event) => {
                if (!this.#active) return;
                event.preventDefault();
                const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE;
                const turned = { deltaX: event.deltaX * unit, deltaY: event.deltaY * unit };
                this.#send({ type: "wheelEvent", ...this.#place(event), ...turned, ...held(event) });
            },
            { passive: false },
        );
        for (const kind of ["keydown", "keyup"] as const) {
            surface.addEventListener(kind, (event) => {
                if (!this.#active || event.isComposing) return;
                event.preventDefault();
                const { key, code, keyCode } = event;
                // AltGr is Control and Alt on some systems, and what it gives is a character.
                const third = event.getModifierState("AltGraph");
                const shortcut = event.metaKey || (!third && (event.ctrlKey || event.altKey));
                const text = key.length === 1 && !shortcut ? key : null;
                this.#key(kind === "keydown", { key, code, keyCode }, text, third ? null : event);
            });
        }
    }

    /** Whether what is done to the picture reaches the page, of this size in its own pixels. */
    use(active: boolean, page: Size = this.#page): void {
        this.#page = page;
        if (this.#active === active) return;
        this.#active = active;
        const { surface } = this;
        surface.tabIndex = active ? 0 : -1;
        if (active) {
            surface.removeAttribute("aria-hidden");
            surface.focus({ preventScroll: true });
            this.#dial();
        } else {
            surface.setAttribute("aria-hidden", "true");
            window.clearTimeout(this.#timer);
            this.#socket?.close(1000);
            this.#socket = null;
            this.#ready = false;
        }
    }

    /** Whether it is used, and the server listens. */
    get ready(): boolean {
        return this.#ready;
    }

    /** Presses and lets go of one key. */
    press(keysym: number): void {
        const [key, keyCode] = NAMED[keysym] ?? [String.fromCodePoint(keysym & 0xffffff), 0];
        const text = keysym in NAMED ? null : key;
        const code = keysym in NAMED ? key : "";
        for (const down of [true, false]) this.#key(down, { key, code, keyCode }, text, null);
    }

    #dial(): void {
        const socket = new WebSocket(this.address());
        this.#socket = socket;
        // The first message says so; later ones are about addresses, which are not gone to from here.
        socket.addEventListener("message", () => {
            if (this.#socket !== socket || this.#ready) return;
            this.#backoff.reset();
            this.#ready = true;
            this.onReady();
        });
        socket.addEventListener("close", () => {
            if (this.#socket !== socket) return;
            this.#socket = null;
            this.#ready = false;
            this.onReady();
            this.#timer = window.setTimeout(() => this.#dial(), this.#backoff.next());
        });
    }

    #send(event: object): void {
        if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
    }

    /** Of many movements between two frames, the last one says all. */
    #moved(event: MouseEvent): void {
        if (!this.#active) return;
        if (!this.#movement) requestAnimationFrame(() => this.#flushMovement());
        this.#movement = event;
    }

    #flushMovement(): void {
        const event = this.#movement;
        this.#movement = null;
        if (!event) return;
        const pressed = ["left", "right", "middle"].find((_, bit) => event.buttons & (1 << bit));
        const button = pressed ?? "none";
        const moved = { type: "mouseEvent", eventType: "mouseMoved", button };
        this.#send({ ...moved, ...this.#place(event), ...held(event) });
    }

    #mouse(eventType: "mousePressed" | "mouseReleased", event: MouseEvent): void {
        this.#flushMovement();
        const button = BUTTONS[event.button] ?? "none";
        const clickCount = Math.max(1, event.detail);
        const pressed = { type: "mouseEvent", eventType, button, clickCount };
        this.#send({ ...pressed, ...this.#place(event), ...held(event) });
    }

    #key(
        down: boolean,
        { key, code, keyCode }: { key: string; code: string; keyCode: number },
        text: string | null,
        event: KeyboardEvent | null,
    ): void {
        const written = key === "Enter" ? "\r" : text;
        const eventType = !down ? "keyUp" : written === null ? "rawKeyDown" : "keyDown";
        const named = { type: "keyEvent", eventType, key, code, windowsVirtualKeyCode: keyCode };
        const more = down && written !== null ? { text: written } : {};
        this.#send({ ...named, ...more, ...(event ? held(event) : {}) });
    }

    /** Where in the page it was: the picture is as large as fits, and in the middle. */
    #place(event: MouseEvent): { x: number; y: number } {
        const box = this.surface.getBoundingClientRect();
        const scale = Math.min(box.width / this.#page.width, box.height / this.#page.height);
        const at = (from: number, length: number, size: number) =>
            (from - (length - size * scale) / 2) / scale;
        return {
            x: at(event.clientX - box.left, box.width, this.#page.width),
            y: at(event.clientY - box.top, box.height, this.#page.height),
        };
    }
}

/** As `Input.dispatchMouseEvent` counts them. */
function held(event: MouseEvent | KeyboardEvent): { modifiers: number } {
    const bits = [event.altKey, event.ctrlKey, event.metaKey, event.shiftKey];
    return { modifiers: bits.reduce((sum, down, bit) => sum | (down ? 1 << bit : 0), 0) };
}
