// The clipboard panel. Browsers let a page touch the real clipboard only sometimes; the panel's
// text field works always.

import type { Channel, Incoming } from "./channel";
import { element, setText, show } from "./dom";
import type { Screen } from "./screen";

/** The most that the message channel takes. */
const MOST_BYTES = 1024 * 1024;

export class Clipboard {
    readonly #panel = element("clipboard");
    readonly #button = element<HTMLButtonElement>("clipboard-button");
    readonly #text = element<HTMLTextAreaElement>("clipboard-text");
    readonly #paste = element<HTMLButtonElement>("clipboard-paste");
    readonly #copy = element<HTMLButtonElement>("clipboard-copy");
    readonly #note = element("clipboard-note");

    constructor(
        private readonly channel: Channel,
        private readonly screen: Screen,
    ) {
        this.#button.addEventListener("click", () => this.#toggle(Boolean(this.#panel.hidden)));
        element("clipboard-close").addEventListener("click", () => this.#toggle(false));
        this.#panel.addEventListener("keydown", (event) => {
            if (event.key === "Escape") this.#toggle(false);
        });
        this.#paste.addEventListener("click", () => this.#send());
        this.#copy.addEventListener("click", () => {
            if (this.channel.send({ kind: "clipboard-copy" })) this.#say("Asked for the selection.");
        });
    }

    /** Whether this viewer may paste, and whether the server can be asked for the selection. */
    allow(input: boolean, channel: boolean): void {
        this.#paste.disabled = !input;
        this.#copy.disabled = !input;
        show(this.#copy, channel);
    }

    /** Text came from the remote browser. */
    received(text: string): void {
        this.#text.value = text;
        this.#button.dataset["fresh"] = String(this.#panel.hidden);
        const told = "Copied in the remote browser.";
        this.#say(told);
        // Missing over plain HTTP, refused without the focus; then it waits in the panel.
        navigator.clipboard?.writeText(text).then(
            () => this.#say(`${told} It is on your clipboard.`),
            () => undefined,
        );
    }

    /** The remote page is pasting, and the server asks for the text. */
    async answer(): Promise<void> {
        let text = this.#text.value;
        try {
            text = await navigator.clipboard.readText();
        } catch {
            // Not allowed here: what was typed into the panel is what there is.
        }
        this.channel.send({ kind: "ask-for-clipboard-response", text });
    }

    failed(message: Incoming): void {
        const about = String(message["failed_kind"] ?? "");
        if (about.includes("clipboard")) {
            this.#say(String(message["message"] ?? "The server refused."));
        }
    }

    #send(): void {
        const text = this.#text.value;
        if (!text) {
            this.#text.focus();
            return;
        }
        if (new TextEncoder().encode(text).length > MOST_BYTES) {
            this.#say("That is more than 1 MiB, which is the most.");
            return;
        }
        if (!this.channel.send({ kind: "clipboard-paste", text })) this.screen.paste(text);
        this.#say("Pasted.");
    }

    #toggle(open: boolean): void {
        show(this.#panel, open);
        this.#button.setAttribute("aria-expanded", String(open));
        delete this.#button.dataset["fresh"];
        if (open) this.#text.focus();
        else this.#button.focus();
    }

    #say(text: string): void {
        setText(this.#note, text);
        if (this.#panel.hidden) setText(element("said"), text);
    }
}
