// The clipboard panel. Browsers restrict a page's access to the real clipboard; the panel's text field
// always works.

import type { Channel, Incoming } from "./channel";
import { element, setText, show } from "./dom";
import type { Screen } from "./screen";

/** The largest text that the message channel accepts. */
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
            if (this.channel.send({ kind: "clipboard-copy" })) this.#say("Requested the selection.");
        });
    }

    /** Sets if this viewer may paste, and if the server can send the selection. */
    allow(input: boolean, channel: boolean): void {
        this.#paste.disabled = !input;
        this.#copy.disabled = !input;
        show(this.#copy, channel);
    }

    /** Text came from the remote browser. */
    received(text: string): void {
        this.#text.value = text;
        this.#button.dataset["fresh"] = String(this.#panel.hidden);
        const notice = "Copied in the remote browser.";
        this.#say(notice);
        // Missing over plain HTTP, and refused without the focus. The panel has the text in any case.
        navigator.clipboard?.writeText(text).then(
            () => this.#say(`${notice} It is on your clipboard.`),
            () => undefined,
        );
    }

    /** Sends the text of the clipboard, which the server requests for a paste of the remote page. */
    async answer(): Promise<void> {
        let text = this.#text.value;
        try {
            text = await navigator.clipboard.readText();
        } catch {
            // Without permission, the text of the panel is sent.
        }
        this.channel.send({ kind: "ask-for-clipboard-response", text });
    }

    failed(message: Incoming): void {
        const about = String(message["failed_kind"] ?? "");
        if (about.includes("clipboard")) {
            this.#say(String(message["message"] ?? "The server refused the request."));
        }
    }

    #send(): void {
        const text = this.#text.value;
        if (!text) {
            this.#text.focus();
            return;
        }
        if (new TextEncoder().encode(text).length > MOST_BYTES) {
            this.#say("The text is longer than 1 MiB, which is the limit.");
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
