// Keys, clicks and the wheel on the screencast, sent to the page over DevTools. With them the holder of
// control can continue while the live picture is unavailable.

import { Backoff, shutsOut } from "./backoff";
import { isApple, placeOf, releaseUnseen } from "./keys";

export interface Size {
    readonly width: number;
    readonly height: number;
}

/** The names of buttons, by their number in `MouseEvent.button`. */
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

/** The pixels of a line, for wheels that count lines. */
const LINE = 40;
/** The largest movement of a tap, in pixels. */
const SLOP = 8;
/** The time after which an open connection resets the back-off. */
const STEADY_MS = 5_000;
/** The close code for a session that is unknown or has ended. */
const NOT_FOUND = 4404;

interface Key {
    readonly key: string;
    readonly code: string;
    readonly keyCode: number;
}

/** A finger on the picture. */
interface Finger {
    readonly id: number;
    readonly start: PointerEvent;
    last: PointerEvent;
    dragging: boolean;
}

export class PageInput {
    #active = false;
    #ready = false;
    #page: Size = { width: 0, height: 0 };
    #socket: WebSocket | null = null;
    #timer: number | undefined;
    #movement: MouseEvent | null = null;
    /** The pressed keys, by their place on the keyboard, and buttons. They must be released in the page. */
    readonly #keys = new Map<string, Key>();
    readonly #buttons = new Set<number>();
    #finger: Finger | null = null;
    readonly #backoff = new Backoff({ first: 500, most: 15_000 });

    constructor(
        private readonly dial: () => WebSocket,
        private readonly surface: HTMLCanvasElement,
        /** `ready` has changed. */
        private readonly onReady: () => void,
    ) {
        surface.addEventListener("mousedown", (event) => {
            if (!this.#ready) return;
            event.preventDefault();
            surface.focus({ preventScroll: true });
            this.#buttons.add(event.button);
            this.#mouse("mousePressed", event);
        });
        // A button that was pressed on the picture may be released outside of it.
        window.addEventListener("mouseup", (event) => {
            if (this.#buttons.delete(event.button)) this.#mouse("mouseReleased", event);
        });
        window.addEventListener("mousemove", (event) => {
            if (event.target === surface || this.#buttons.size > 0) this.#moved(event);
        });
        surface.addEventListener("contextmenu", (event) => {
            if (this.#ready) event.preventDefault();
        });
        surface.addEventListener(
            "wheel",
            (event) => {
                if (!this.#ready) return;
                event.preventDefault();
                const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE;
                this.#wheel(event, event.deltaX * unit, event.deltaY * unit);
            },
            { passive: false },
        );
        // A tap also causes mouse events; a drag of a finger causes pointer events only.
        surface.addEventListener("pointerdown", (event) => {
            if (event.pointerType !== "touch") return;
            const one = this.#ready && event.isPrimary;
            this.#finger = one
                ? { id: event.pointerId, start: event, last: event, dragging: false }
                : null;
        });
        surface.addEventListener("pointermove", (event) => this.#drag(event));
        for (const kind of ["pointerup", "pointercancel"] as const) {
            surface.addEventListener(kind, ({ pointerId }) => {
                if (this.#finger?.id === pointerId) this.#finger = null;
            });
        }
        surface.addEventListener("keydown", (event) => this.#keyDown(event));
        surface.addEventListener("keyup", (event) => {
            if (!this.#ready || event.isComposing) return;
            event.preventDefault();
            if (this.#keys.delete(placeOf(event))) this.#key(false, event, null, keyModifiers(event));
        });
        releaseUnseen(surface, false); // The listeners below handle the loss of focus.
        // A release outside of this element causes no event here.
        surface.addEventListener("blur", () => this.#releaseKeys());
        window.addEventListener("blur", () => this.#releaseKeys());
    }

    /** Starts or stops the input to a page of the given size, in its own pixels. */
    use(active: boolean, page: Size = this.#page): void {
        this.#page = page;
        if (this.#active === active) return;
        this.#active = active;
        const { surface } = this;
        surface.tabIndex = active ? 0 : -1;
        if (active) {
            surface.removeAttribute("aria-hidden");
            // A focused text field keeps the focus; the button "Take control" does not.
            const focused = document.activeElement ?? document.body;
            const free =
                focused === document.body ||
                focused.id === "take" ||
                surface.closest("#frame")?.contains(focused);
            if (free) surface.focus({ preventScroll: true });
            this.#backoff.reset();
            this.#dial();
        } else {
            this.#releaseKeys();
            surface.blur();
            surface.setAttribute("aria-hidden", "true");
            window.clearTimeout(this.#timer);
            this.#socket?.close(1000);
            this.#onGone();
        }
    }

    /** True if the input is in use and the server accepts it. */
    get ready(): boolean {
        return this.#ready;
    }

    /** Presses and releases a key. */
    press(keysym: number): void {
        const [key, keyCode] = NAMED[keysym] ?? [String.fromCodePoint(keysym & 0xffffff), 0];
        const text = keysym in NAMED ? null : key;
        const code = keysym in NAMED ? key : "";
        for (const down of [true, false]) this.#key(down, { key, code, keyCode }, text, 0);
    }

    #dial(): void {
        const socket = this.dial();
        this.#socket = socket;
        let steady: number | undefined;
        socket.addEventListener("open", () => {
            steady = window.setTimeout(() => this.#backoff.reset(), STEADY_MS);
        });
        // The first message reports readiness. Later messages are about addresses and are ignored.
        socket.addEventListener("message", () => {
            if (this.#socket !== socket || this.#ready) return;
            this.#ready = true;
            this.onReady();
        });
        socket.addEventListener("close", (close) => {
            window.clearTimeout(steady);
            if (this.#socket !== socket) return;
            this.#onGone();
            this.onReady();
            if (shutsOut(close) || close.code === NOT_FOUND) return;
            this.#timer = window.setTimeout(() => this.#dial(), this.#backoff.next());
        });
    }

    /** Forgets the pressed keys and buttons: the server releases them when the socket ends. */
    #onGone(): void {
        this.#socket = null;
        this.#ready = false;
        this.#keys.clear();
        this.#buttons.clear();
        this.#finger = null;
    }

    #send(event: object): void {
        if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
    }

    /** Sends only the last of several movements between two frames. */
    #moved(event: MouseEvent): void {
        if (!this.#ready) return;
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
        this.#send({ ...moved, ...this.place(event), modifiers: modifiersOf(event) });
    }

    #wheel(at: MouseEvent, deltaX: number, deltaY: number): void {
        const turned = { type: "wheelEvent", deltaX, deltaY };
        this.#send({ ...turned, ...this.place(at), modifiers: modifiersOf(at) });
    }

    /** Scrolls the page with the finger, at the place where the drag began. */
    #drag(event: PointerEvent): void {
        const finger = this.#finger;
        if (!this.#ready || finger?.id !== event.pointerId) return;
        const { start, last } = finger;
        const far = Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY);
        finger.dragging ||= far >= SLOP;
        if (!finger.dragging) return;
        finger.last = event;
        const [from, to] = [this.place(last), this.place(event)];
        this.#wheel(start, from.x - to.x, from.y - to.y);
    }

    #mouse(eventType: "mousePressed" | "mouseReleased", event: MouseEvent): void {
        this.#flushMovement();
        const button = BUTTONS[event.button] ?? "none";
        const clickCount = Math.max(1, event.detail);
        const pressed = { type: "mouseEvent", eventType, button, clickCount };
        this.#send({ ...pressed, ...this.place(event), modifiers: modifiersOf(event) });
    }

    #keyDown(event: KeyboardEvent): void {
        if (!this.#ready || event.isComposing) return;
        event.preventDefault();
        const { key } = event;
        const shortcut = event.metaKey || (!isThird(event) && (event.ctrlKey || event.altKey));
        const text = key.length === 1 && !shortcut ? key : null;
        this.#key(true, event, text, keyModifiers(event));
        // macOS reports no release of a key while Command is pressed.
        if (event.metaKey && key !== "Meta") {
            this.#key(false, event, null, keyModifiers(event));
            this.#keys.delete(placeOf(event));
        } else {
            this.#keys.set(placeOf(event), { key, code: event.code, keyCode: event.keyCode });
        }
    }

    #releaseKeys(): void {
        for (const key of this.#keys.values()) this.#key(false, key, null, 0);
        this.#keys.clear();
    }

    #key(down: boolean, { key, code, keyCode }: Key, text: string | null, modifiers: number): void {
        const written = key === "Enter" ? "\r" : text;
        const eventType = !down ? "keyUp" : written === null ? "rawKeyDown" : "keyDown";
        const named = { type: "keyEvent", eventType, key, code, windowsVirtualKeyCode: keyCode };
        const more = down && written !== null ? { text: written } : {};
        this.#send({ ...named, ...more, modifiers });
    }

    /** The place of an event in the page. The picture is scaled to fit, and centred. */
    place(event: MouseEvent): { x: number; y: number } {
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

/** The modifiers as bits, as in `Input.dispatchMouseEvent`. */
function modifiersOf(event: MouseEvent | KeyboardEvent): number {
    const bits = [event.altKey, event.ctrlKey, event.metaKey, event.shiftKey];
    return bits.reduce((sum, down, bit) => sum | (down ? 1 << bit : 0), 0);
}

function keyModifiers(event: KeyboardEvent): number {
    return isThird(event) ? 0 : modifiersOf(event);
}

/**
 * True if the modifiers select a character instead of a shortcut: AltGr, which is Control and Alt on some systems,
 * and Option.
 */
function isThird(event: KeyboardEvent): boolean {
    const { key, altKey, ctrlKey, metaKey } = event;
    const option = isApple() && altKey && !ctrlKey && !metaKey && key.length === 1;
    return option || event.getModifierState("AltGraph");
}
