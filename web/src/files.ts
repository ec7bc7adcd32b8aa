// Files for the remote page: dropped on the picture, or chosen when the page asks for some. Each is uploaded
// into the session first, and then given to the page.

import { type Api, ApiError } from "./api";
import type { Channel, Incoming } from "./channel";
import { element, icon, setText, show } from "./dom";
import { fileSize } from "./text";

/** The most files that are taken at once. */
const MOST_FILES = 20;
/** The most files that are listed. */
const MOST_LISTED = 30;

/** The time for which the panel stays once the page has the files. */
const SHOWN_MS = 6_000;

/** A place in the remote picture, in its own pixels. */
export interface Place {
    readonly x: number;
    readonly y: number;
    readonly in: "display" | "page";
}

/** A file on its way, with its row of the panel. */
interface Transfer {
    readonly file: File;
    readonly row: HTMLLIElement;
    readonly bar: HTMLProgressElement;
    readonly word: HTMLElement;
    readonly cancel: AbortController;
}

export class Files {
    readonly #frame = element("frame");
    readonly #veil = element("drop");
    readonly #panel = element("files");
    readonly #list = element("files-list");
    readonly #note = element("files-note");
    readonly #chooser = element("chooser");
    readonly #input = element<HTMLInputElement>("chooser-input");
    #may = false;
    #hiding: number | undefined;
    /** True if the page has asked for files and waits for them. */
    #asked = false;

    constructor(
        private readonly api: Api,
        private readonly id: string,
        private readonly channel: Channel,
        /** The place in the remote picture under the pointer; null without a picture. */
        private readonly place: (event: MouseEvent) => Place | null,
    ) {
        // A file that misses the picture must not replace this page.
        for (const kind of ["dragover", "drop"] as const) {
            window.addEventListener(kind, (event) => {
                if (hasFiles(event)) event.preventDefault();
            });
        }
        this.#frame.addEventListener("dragover", (event) => {
            if (!hasFiles(event)) return;
            if (event.dataTransfer) event.dataTransfer.dropEffect = this.#may ? "copy" : "none";
            setText(element("drop-word"), this.#may ? "Drop to give the files to the page" : "Take control to give files to the page");
            show(this.#veil, true);
        });
        this.#frame.addEventListener("dragleave", (event) => {
            const { relatedTarget } = event;
            if (!(relatedTarget instanceof Node && this.#frame.contains(relatedTarget))) show(this.#veil, false);
        });
        this.#frame.addEventListener("drop", (event) => {
            show(this.#veil, false);
            if (this.#may && hasFiles(event)) void this.#give([...(event.dataTransfer?.files ?? [])], this.place(event));
        });
        element("files-close").addEventListener("click", () => show(this.#panel, false));
        element("chooser-pick").addEventListener("click", () => this.#input.click());
        element("chooser-cancel").addEventListener("click", () => {
            this.channel.send({ kind: "cancel-file-chooser" });
            this.#ask(false);
        });
        this.#input.addEventListener("change", () => {
            const chosen = [...(this.#input.files ?? [])];
            this.#input.value = "";
            if (chosen.length > 0) void this.#give(chosen, null);
        });
    }

    /** Sets if this viewer may give files to the page. */
    allow(may: boolean): void {
        this.#may = may;
        if (!may) this.#ask(false);
    }

    /** The page has opened or closed a file chooser. */
    asked(message: Incoming): void {
        this.#input.multiple = message["multiple"] === true;
        const some = this.#input.multiple ? "files" : "a file";
        setText(element("chooser-word"), `The page asks for ${some}. Choose here, or drop on the picture.`);
        this.#ask(message["open"] === true && this.#may);
    }

    /** The page has the files. */
    given(message: Incoming): void {
        const names = Array.isArray(message["names"]) ? message["names"] : [];
        this.#say(names.length === 1 ? "The page has the file." : `The page has ${names.length} files.`);
        this.#hiding = window.setTimeout(() => {
            if (!this.#panel.contains(document.activeElement)) show(this.#panel, false);
        }, SHOWN_MS);
    }

    /** True if the message is about files. */
    failed(message: Incoming): boolean {
        const about = String(message["failed_kind"] ?? "");
        if (about !== "give-files" && !about.includes("file-chooser")) return false;
        this.#say(`${sentence(String(message["message"] ?? "the server refused the request"))} The files stay among the session's uploads.`);
        window.clearTimeout(this.#hiding);
        show(this.#panel, true);
        return true;
    }

    #ask(asked: boolean): void {
        this.#asked = asked;
        show(this.#chooser, asked);
    }

    async #give(files: readonly File[], at: Place | null): Promise<void> {
        window.clearTimeout(this.#hiding);
        show(this.#panel, true);
        if (!this.#asked && !at) {
            this.#say("The picture is not live. Drop the files again when it is.");
            return;
        }
        if (files.length === 0 || files.length > MOST_FILES) {
            this.#say(files.length === 0 ? "Folders cannot be given to a page." : `Drop at most ${MOST_FILES} files at once.`);
            return;
        }
        this.#say("");
        const names: string[] = [];
        // One after the other: the server takes a few at once only.
        for (const transfer of files.map((file) => this.#add(file))) {
            const name = await this.#upload(transfer);
            if (name !== null) names.push(name);
        }
        if (names.length === 0) return;
        if (!this.#may) {
            this.#say("You no longer have control. The files stay among the session's uploads.");
            return;
        }
        const sent = this.channel.send({ kind: "give-files", names, ...(at ?? {}) });
        this.#say(sent ? "Giving the files to the page." : "The server cannot be reached. Drop the files again.");
        this.#ask(false);
    }

    /** Uploads a file. Returns its name in the session; null if it failed or was canceled. */
    async #upload({ file, row, bar, word, cancel }: Transfer): Promise<string | null> {
        const end = (state: string, text: string) => {
            row.dataset["state"] = state;
            setText(word, text);
            show(bar, false);
            row.querySelector("button")?.remove();
        };
        try {
            const stored = await this.api.upload(this.id, file, cancel.signal, (part) => {
                bar.value = part;
            });
            end("done", fileSize(file.size));
            return stored.name;
        } catch (cause) {
            const canceled = cancel.signal.aborted;
            const why = cause instanceof ApiError ? cause.message : "The file could not be read.";
            end(canceled ? "canceled" : "failed", canceled ? "Canceled" : why);
            return null;
        }
    }

    #add(file: File): Transfer {
        const row = document.createElement("li");
        const name = document.createElement("span");
        name.className = "files-name";
        name.textContent = file.name;
        const word = document.createElement("span");
        word.className = "files-word";
        const bar = document.createElement("progress");
        bar.max = 1;
        bar.value = 0;
        bar.setAttribute("aria-label", `Upload of ${file.name}`);
        const cancel = new AbortController();
        const button = document.createElement("button");
        button.type = "button";
        button.className = "icon-button";
        button.setAttribute("aria-label", `Cancel the upload of ${file.name}`);
        button.append(icon("close"));
        button.addEventListener("click", () => cancel.abort());
        row.dataset["state"] = "waiting";
        row.append(name, word, button, bar);
        this.#list.prepend(row);
        while (this.#list.children.length > MOST_LISTED) this.#list.lastElementChild?.remove();
        return { file, row, bar, word, cancel };
    }

    #say(text: string): void {
        setText(this.#note, text);
    }
}

function hasFiles(event: DragEvent): boolean {
    return event.dataTransfer?.types.includes("Files") ?? false;
}

/** A message of the server as a sentence. */
function sentence(text: string): string {
    return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}
