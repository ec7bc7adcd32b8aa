// The view page: one session, live. This file connects the parts. `render.ts` has the rendering, and
// `control.ts` the state of control.

import { Api, ApiError, type Run, type RunBlock, type Session } from "./api";
import { Cast } from "./cast";
import { Channel, clientId, type Incoming } from "./channel";
import { Clipboard } from "./clipboard";
import {
    after,
    type Control,
    type ControlEvent,
    type ControlMessage,
    initial,
    isAsking,
    mayType,
} from "./control";
import { type Credentials, forget, keep, load } from "./credentials";
import { element } from "./dom";
import { Expiry } from "./expiry";
import { clearDraining, renderDraining } from "./draining";
import { renderRefused } from "./refused";
import { Files, type Place } from "./files";
import { isFramedElsewhere, markFramed, reportToConsole } from "./framed";
import { askForKey, renderEndedLink } from "./gate";
import { PageInput, type Size } from "./input";
import { KEYS, relay } from "./keyboard";
import { ProfilePanel } from "./profile";
import { type Link, Screen } from "./screen";
import { Stills } from "./stills";
import { renderControl, renderEnd, renderLink, renderPage, renderSession, renderTime } from "./render";
import { isFinal, occupant } from "./text";

/** The number of failed connections after which other pictures replace the live picture. */
const TRIES_BEFORE_STILLS = 2;
/** The time after which other pictures replace a connection that is not live yet. */
const SLOW_MS = 4_000;
/** The time for which the server reserves control for a disconnected viewer. */
const GRACE_MS = 30_000;

class View {
    readonly #api: Api;
    readonly #screen: Screen;
    readonly #cast: Cast;
    readonly #input: PageInput;
    readonly #stills: Stills;
    readonly #profile: ProfilePanel;
    readonly #channel: Channel;
    readonly #clipboard: Clipboard;
    readonly #files: Files;
    readonly #expiry: Expiry;
    #control: Control = initial;
    #session: Session | null = null;
    #run: Run | null = null;
    /** True if the server sends the run by itself. */
    #runPushed = false;
    /** The run that this viewer may not read; it is requested only once. */
    #runRefused: string | null = null;
    #stillShown = false;
    /** The size of the page in the screencast; null without a screencast. */
    #casting: Size | null = null;
    #ended = false;
    #timer: number | undefined;
    #slow: number | undefined;

    constructor(
        private readonly id: string,
        credentials: Credentials,
        /** The server rejected the credentials. The page is stopped until `start`. */
        private readonly onRefused: (refused: Credentials, cause: ApiError) => void,
    ) {
        const client = clientId();
        const still = element<HTMLCanvasElement>("still");
        this.#api = new Api(credentials);
        this.#screen = new Screen(
            element("screen"),
            still,
            () => this.#api.socket("vnc", id, client),
            {
                onLink: (link) => this.#onLink(link),
                onSize: setRatio,
                // The session has the reason: it is loaded now, so that an end is shown without a delay.
                onClosed: () => this.#ask(0),
            },
        );
        const onStill = (width: number, height: number) => {
            setRatio(width, height);
            this.#stillShown = true;
            this.#renderLink();
        };
        this.#cast = new Cast(() => this.#api.screencast(id, client), still, {
            onCast: (picture, page) => {
                this.#stills.stop();
                this.#casting = page;
                onStill(picture.width, picture.height);
            },
            onCastFailed: () => {
                this.#casting = null;
                this.#renderLink();
                this.#stills.start();
            },
        });
        this.#input = new PageInput(() => this.#api.input(id, client), still, () => this.#renderLink());
        this.#stills = new Stills(this.#api, id, still, {
            onStill,
            onStillFailed: () => {
                this.#stillShown = false;
                this.#renderLink();
            },
        });
        this.#channel = new Channel(() => this.#api.socket("messages", id, client), {
            onOpen: (away) => this.#onChannelOpen(away),
            onLost: () => this.#change({ kind: "lost" }),
            onAbsent: () => this.#change({ kind: "absent" }),
            onShutOut: () => this.#screen.refuse(),
            onSilent: () => this.#screen.redial(),
            onMessage: (message) => this.#onMessage(message),
        });
        this.#clipboard = new Clipboard(this.#channel, this.#screen);
        this.#files = new Files(this.#api, id, this.#channel, (event) => this.#place(event));
        this.#expiry = new Expiry(this.#api, id, () => this.#mayKeep(), (session) => {
            this.#session = session;
            this.#renderTime();
        });
        this.#profile = new ProfilePanel(this.#api, id);
        this.#wireControls();
        window.setInterval(() => this.#renderTime(), 500);
        this.#change({ kind: "cede" });
    }

    start(credentials: Credentials): void {
        this.#api.credentials = credentials;
        this.#ended = false;
        this.#screen.start();
        this.#channel.start();
        this.#ask(0);
    }

    stop(): void {
        window.clearTimeout(this.#timer);
        window.clearTimeout(this.#slow);
        this.#ended = true;
        this.#screen.stop();
        this.#stopCast();
        this.#stills.stop();
        this.#channel.stop();
    }

    // The session.

    #ask(wait: number): void {
        window.clearTimeout(this.#timer);
        if (!this.#ended) this.#timer = window.setTimeout(() => void this.#look(), wait);
    }

    async #look(): Promise<void> {
        try {
            const session = await this.#api.session(this.id);
            if (this.#ended) return;
            this.#session = session;
            await this.#lookAtRun(session);
        } catch (cause) {
            if (this.#ended) return;
            if (cause instanceof ApiError && cause.refused) {
                this.stop();
                this.onRefused(this.#api.credentials, cause);
                return;
            }
            if (cause instanceof ApiError && cause.status === 404) {
                this.#end({ title: "No such session", text: cause.message, hint: null, log: [] });
                return;
            }
            // A temporary failure: the page stays as it is, and the request is repeated.
        }
        if (this.#ended) return;
        if (this.#session) {
            renderSession(this.#session, this.#run);
            this.#renderControl();
            if (isFinal(this.#session)) {
                this.#end(null);
                return;
            }
        }
        this.#ask(this.#session?.status === "running" ? 5_000 : 1_000);
    }

    async #lookAtRun(session: Session): Promise<void> {
        if (this.#runPushed) return;
        const { occupancy } = session;
        const run = occupancy?.runnable_type === "workflow_run" ? occupancy.runnable_id : null;
        if (!run || run === this.#runRefused) {
            this.#run = null;
            return;
        }
        try {
            this.#run = await this.#api.run(run);
        } catch (cause) {
            this.#run = null;
            if (cause instanceof ApiError && (cause.refused || cause.status === 404)) {
                this.#runRefused = run;
            }
        }
    }

    #end(ending: Parameters<typeof renderEnd>[1] | null): void {
        this.stop();
        this.#expiry.hide();
        renderEnd(this.id, ending, this.#session);
    }

    #renderTime(): void {
        if (this.#session && !this.#ended) {
            renderTime(this.#session, this.#api.now());
            this.#expiry.render(this.#session);
        }
        if (this.#screen.link.state === "waiting") this.#renderLink();
    }

    /** True for viewers with a key, or with a ticket that permits control. */
    #mayKeep(): boolean {
        return this.#api.credentials.kind === "key" || this.#control.role === "control";
    }

    // The picture.

    #onLink(link: Link): void {
        window.clearTimeout(this.#slow);
        if (this.#ended) return;
        if (link.state === "live") {
            this.#stopCast();
            this.#stills.stop();
            this.#stillShown = false;
            if (mayType(this.#control)) this.#screen.focus();
        } else if (link.state === "waiting" && link.tries >= TRIES_BEFORE_STILLS) {
            this.#cast.start();
        } else if (link.state === "connecting") {
            this.#slow = window.setTimeout(() => this.#cast.start(), SLOW_MS);
        } else if (link.state === "refused") {
            this.#onShutOut();
        }
        this.#renderLink();
    }

    /** Stops all sockets: the server rejects the viewer, not a single socket. */
    #onShutOut(): void {
        this.#stopCast();
        this.#stills.stop();
        this.#stillShown = false;
        this.#channel.stop();
        this.#change({ kind: "shut" });
    }

    /** Connects at once, on a person's request. */
    #retry(): void {
        if (this.#screen.link.state === "refused") this.start(this.#api.credentials);
        else this.#screen.retry();
    }

    #stopCast(): void {
        this.#cast.stop();
        this.#casting = null;
        this.#input.use(false);
    }

    #renderLink(): void {
        const casting = this.#casting !== null;
        this.#input.use(casting && this.#control.holder === "you", this.#casting ?? undefined);
        const pictures = !this.#stillShown ? "none" : casting ? "cast" : "stills";
        renderLink(this.#screen.link, pictures, this.#input.ready, this.#session?.status ?? null);
    }

    #renderControl(): void {
        this.#profile.render(this.#session, this.#control.role);
        renderControl(this.#control, this.#session && occupant(this.#session) !== null);
    }

    #place(event: MouseEvent): Place | null {
        if (this.#casting) return { ...this.#input.place(event), in: "page" };
        const at = this.#screen.place(event);
        return at && { ...at, in: "display" };
    }

    /** Presses and releases a key, by its X keysym. */
    #press(keysym: number): void {
        if (this.#input.ready) this.#input.press(keysym);
        else this.#screen.press(keysym);
    }

    // Control, and messages of the channel.

    #change(event: ControlEvent): void {
        const before = this.#control;
        this.#control = after(before, event);
        this.#screen.viewOnly = !mayType(this.#control);
        const got = mayType(this.#control) && !mayType(before);
        if (got && this.#control.holder === "you") this.#screen.focus();
        this.#renderControl();
        this.#renderLink();
        this.#files.allow(mayType(this.#control) && this.#control.channel === "open");
        this.#clipboard.allow(mayType(this.#control), this.#control.channel === "open");
    }

    #onChannelOpen(away: number): void {
        clearDraining();
        this.#change({ kind: "opened" });
        if (away > GRACE_MS) this.#change({ kind: "forget" });
        // The server may have restarted, so the request for control is repeated.
        if (this.#control.wanted) this.#channel.send({ kind: "take-control" });
        this.#channel.send({ kind: "handle-file-choosers" });
        this.#channel.send({ kind: "get-browser-url" });
    }

    #onMessage(message: Incoming): void {
        switch (message.kind) {
            case "control":
                this.#change({ kind: "reported", message: controlFrom(message) });
                break;
            case "error":
                if (message["failed_kind"] === "take-control") {
                    const why = message["message"];
                    this.#change({
                        kind: "refused",
                        why: typeof why === "string" ? why : "The server refused control.",
                    });
                } else if (!this.#files.failed(message)) {
                    this.#clipboard.failed(message);
                }
                break;
            case "ask-for-clipboard":
                void this.#clipboard.answer();
                break;
            case "copied-text":
                if (typeof message["text"] === "string") {
                    this.#clipboard.received(message["text"]);
                }
                break;
            case "file-chooser":
                this.#files.asked(message);
                break;
            case "files-given":
                this.#files.given(message);
                break;
            case "run":
                this.#runPushed = true;
                this.#run = runFrom(message["run"]);
                if (this.#session) renderSession(this.#session, this.#run);
                // The occupant of the session has changed too.
                this.#ask(0);
                break;
            case "browser-url":
                renderPage(message);
                break;
            case "browser-tabs":
                renderPage(message);
                reportToConsole(message);
                break;
            case "server-draining":
                renderDraining(message);
                break;
            case "egress-refused":
                renderRefused(message);
                break;
            default:
                break; // A newer server may send unknown messages.
        }
    }

    #toggleControl(): void {
        const ceding = this.#control.holder === "you" || isAsking(this.#control);
        this.#channel.send({ kind: ceding ? "cede-control" : "take-control" });
        this.#change({ kind: ceding ? "cede" : "take" });
    }

    #wireControls(): void {
        element("take").addEventListener("click", () => this.#toggleControl());
        element("veil-retry").addEventListener("click", () => this.#retry());

        const full = element("full-button");
        full.hidden = !document.fullscreenEnabled;
        full.addEventListener("click", () => {
            const done = document.fullscreenElement
                ? document.exitFullscreen()
                : element("app").requestFullscreen();
            done.catch(() => undefined); // The browser has shown the reason.
        });
        document.addEventListener("fullscreenchange", () => {
            full.setAttribute("aria-pressed", String(document.fullscreenElement !== null));
        });

        // noVNC captures every key that is pressed in the picture; one shortcut must leave it.
        window.addEventListener(
            "keydown",
            (event) => {
                if (event.key !== "F6" || !event.shiftKey) return;
                event.preventDefault();
                event.stopPropagation();
                this.#screen.blur();
                const take = element("take");
                (take.hidden ? element("clipboard-button") : take).focus();
            },
            { capture: true },
        );

        const typing = element<HTMLTextAreaElement>("typing");
        const keyboard = element("keyboard-button");
        const keys = element("keys");
        relay(typing, (keysym) => this.#press(keysym));
        // On press, not on click: a click would first move the focus and close the keyboard.
        keyboard.addEventListener("pointerdown", (event) => event.preventDefault());
        keyboard.addEventListener("click", () => {
            if (document.activeElement === typing) typing.blur();
            else typing.focus();
        });
        const onTyping = () => {
            const shown = document.activeElement === typing;
            keyboard.setAttribute("aria-pressed", String(shown));
            keys.hidden = !shown;
        };
        typing.addEventListener("focus", onTyping);
        typing.addEventListener("blur", onTyping);
        keys.addEventListener("pointerdown", (event) => event.preventDefault());
        keys.addEventListener("click", ({ target }) => {
            const key = target instanceof HTMLElement ? target.dataset["key"] : undefined;
            const keysym = key === undefined ? undefined : KEYS[key];
            if (keysym !== undefined) this.#press(keysym);
        });
    }
}

/** A run from a message of the channel, with its current block only. */
function runFrom(value: unknown): Run | null {
    if (typeof value !== "object" || value === null) return null;
    const { run_id, title, status, block } = value as Partial<Run> & { readonly block?: RunBlock | null };
    const blocks = block ? [{ ...block, status: "running" }] : [];
    return { run_id: run_id ?? "", title: title ?? null, status: status ?? null, blocks };
}

function controlFrom(message: Incoming): ControlMessage {
    const text = (value: unknown) => (typeof value === "string" ? value : null);
    return {
        by: text(message["by"]),
        you: message["you"] === true,
        label: text(message["label"]),
        role: text(message["role"]),
    };
}

function setRatio(width: number, height: number): void {
    if (width > 0 && height > 0) {
        element("frame").style.setProperty("--ratio", String(width / height));
    }
}

function sessionInAddress(): string {
    const [, id] = /\/view\/([^/]+)/.exec(location.pathname) ?? [];
    return decodeURIComponent(id ?? "");
}

async function open(): Promise<void> {
    markFramed();
    const id = sessionInAddress();
    element("session-id").textContent = id;
    const ask = async (reason: string | null) => {
        const credentials = await askForKey(reason);
        keep(credentials, id);
        return credentials;
    };
    const loaded = load(id);
    if (loaded === null && isFramedElsewhere()) {
        renderEndedLink(true);
        return;
    }
    const credentials = loaded ?? (await ask(null));
    const view = new View(id, credentials, (refused, cause) => {
        forget(refused, id);
        const framed = isFramedElsewhere();
        if (framed || refused.kind === "ticket") renderEndedLink(framed);
        if (framed) return;
        void ask(refused.kind === "ticket" ? null : cause.message).then((given) => view.start(given));
    });
    view.start(credentials);
}

void open();
