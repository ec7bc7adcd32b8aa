// The panel that saves the login of this browser as a profile, for people with a key of the organization.

import { type Api, ApiError, type Profile, type Session } from "./api";
import { element, setText, show } from "./dom";
import { isFinal, proposedName } from "./text";

const SAVING = "The browser stands still for a moment.";

type Tone = "plain" | "good" | "bad";

export class ProfilePanel {
    readonly #panel = element("profile");
    readonly #button = element<HTMLButtonElement>("profile-button");
    readonly #form = element<HTMLFormElement>("profile-form");
    readonly #choice = element("profile-choice");
    readonly #own = element<HTMLInputElement>("profile-own");
    readonly #new = element<HTMLInputElement>("profile-new");
    readonly #naming = element("profile-naming");
    readonly #name = element<HTMLInputElement>("profile-name");
    readonly #save = element<HTMLButtonElement>("profile-save");
    readonly #note = element("profile-note");
    readonly #saved = element("profile-saved");
    readonly #savedId = element("profile-saved-id");
    /** True if the session may write to a profile of its own. */
    #writes = false;
    #saving = false;
    /** The name that the panel proposed. Another one is the person's, and stays. */
    #proposed = "";

    constructor(
        private readonly api: Api,
        private readonly id: string,
    ) {
        this.#button.addEventListener("click", () => this.#toggle(Boolean(this.#panel.hidden)));
        element("profile-close").addEventListener("click", () => this.#toggle(false));
        this.#panel.addEventListener("keydown", (event) => {
            if (event.key === "Escape") this.#toggle(false);
        });
        // Both panels have the same place.
        element("clipboard-button").addEventListener("click", () => this.#hide());
        this.#form.addEventListener("change", () => this.#renderChoice());
        this.#name.addEventListener("input", () => this.#markName(false));
        this.#form.addEventListener("submit", (event) => {
            event.preventDefault();
            void this.#send();
        });
        element("profile-copy").addEventListener("click", () => void this.#copy());
    }

    /** Shows the button to people with a key that may do more than watch, as far as the page knows. */
    render(session: Session | null, role: string | null): void {
        const mayAsk = this.api.credentials.kind === "key" && role !== "watch";
        const may = mayAsk && session !== null && !isFinal(session);
        show(this.#button, may);
        if (!may) this.#hide();
        const own = session?.browser_profile_access === "write" ? (session.browser_profile_id ?? null) : null;
        if (own !== null && !this.#writes) this.#own.checked = true;
        this.#writes = own !== null;
        setText(element("profile-own-id"), own ?? "");
        this.#renderChoice();
    }

    #renderChoice(): void {
        show(this.#choice, this.#writes);
        show(this.#naming, this.#isNew());
    }

    #isNew(): boolean {
        return !this.#writes || this.#new.checked;
    }

    #toggle(open: boolean): void {
        if (!open) {
            this.#hide();
            this.#button.focus();
            return;
        }
        if (!element("clipboard").hidden) element("clipboard-close").click();
        show(this.#panel, true);
        this.#button.setAttribute("aria-expanded", "true");
        delete this.#button.dataset["fresh"];
        this.#propose();
        if (!this.#isNew()) (this.#own.checked ? this.#own : this.#new).focus();
        else this.#name.select();
    }

    #hide(): void {
        show(this.#panel, false);
        this.#button.setAttribute("aria-expanded", "false");
    }

    /** Fills in a name after the page in view, unless a person has written one. */
    #propose(): void {
        if (this.#name.value !== this.#proposed) return;
        this.#proposed = proposedName(element("page").title, new Date());
        this.#name.value = this.#proposed;
    }

    async #send(): Promise<void> {
        if (this.#saving) return;
        const name = this.#isNew() ? this.#name.value.trim() : null;
        if (name === "") {
            this.#markName(true);
            this.#say("Enter a name.", "bad");
            return;
        }
        this.#markName(false);
        this.#wait(true);
        show(this.#saved, false);
        this.#say(SAVING, "plain");
        try {
            this.#onSaved(await this.api.saveProfile(this.id, name));
        } catch (cause) {
            const taken = cause instanceof ApiError && cause.code === "name_taken";
            if (taken && !this.#panel.hidden) this.#markName(true);
            this.#say(cause instanceof ApiError ? asSentence(cause.message) : "The login could not be saved.", "bad");
        } finally {
            this.#wait(false);
        }
    }

    #onSaved({ browser_profile_id, name, version }: Profile): void {
        setText(this.#savedId, browser_profile_id);
        show(this.#saved, true);
        this.#say(`Saved as ${name}, version ${version ?? 1}.`, "good");
    }

    /** The button keeps the focus while it has no effect: a disabled button would lose it. */
    #wait(saving: boolean): void {
        this.#saving = saving;
        this.#save.setAttribute("aria-disabled", String(saving));
        setText(this.#save, saving ? "Saving" : "Save");
        this.#name.readOnly = saving;
    }

    /** Marks the name as wrong, for correction. */
    #markName(wrong: boolean): void {
        this.#name.setAttribute("aria-invalid", String(wrong));
        if (wrong) this.#name.select();
    }

    async #copy(): Promise<void> {
        const id = this.#savedId.textContent ?? "";
        try {
            await navigator.clipboard.writeText(id);
            this.#say("The id is on your clipboard.", "good");
        } catch {
            // Missing over plain HTTP, and refused without permission.
            getSelection()?.selectAllChildren(this.#savedId);
            this.#say("The id is selected: copy it with the keyboard or the menu.", "plain");
        }
    }

    #say(text: string, tone: Tone): void {
        this.#note.dataset["tone"] = tone;
        setText(this.#note, text);
        if (!this.#panel.hidden) {
            (this.#saved.hidden ? this.#note : this.#saved).scrollIntoView({ block: "nearest" });
            return;
        }
        setText(element("said"), text);
        this.#button.dataset["fresh"] = "true";
    }
}

/** A message of the server as a sentence. */
function asSentence(text: string): string {
    return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
