// The warning that a session ends soon, with a button for viewers that may extend it.

import type { Api, Session } from "./api";
import { ApiError } from "./api";
import { element, setText, show } from "./dom";
import { endOf, isFinal, remaining } from "./text";

/** The remaining times at which the warning appears and becomes urgent, as in the server's warnings. */
const SOON_MS = 5 * 60_000;
const URGENT_MS = 60_000;

export class Expiry {
    readonly #banner = element("expiry");
    readonly #word = element("expiry-word");
    readonly #button = element<HTMLButtonElement>("expiry-keep");
    #failed: string | null = null;
    /** The last spoken text. A live region that changes every second would be spoken every second. */
    #spoken: string | null = null;

    constructor(
        private readonly api: Api,
        private readonly id: string,
        /** True if this viewer may extend the session, as far as it knows. */
        private readonly mayKeep: () => boolean,
        private readonly onKept: (session: Session) => void,
    ) {
        this.#button.addEventListener("click", () => void this.#keep());
    }

    render(session: Session | null): void {
        const end = session && !isFinal(session) && session.started_at ? endOf(session) : null;
        const left = end === null ? Infinity : end - this.api.now();
        const soon = left <= SOON_MS;
        show(this.#banner, soon);
        if (!soon) {
            this.#failed = null;
            this.#spoken = null;
            return;
        }
        const urgent = left <= URGENT_MS;
        this.#banner.dataset["urgent"] = String(urgent);
        setText(this.#word, this.#failed ?? `This session ends in ${remaining(left)}.`);
        const spoken = this.#failed ?? `This session ends in ${urgent ? "a minute" : "five minutes"} or less.`;
        if (spoken !== this.#spoken) {
            this.#spoken = spoken;
            setText(element("said"), spoken);
        }
        show(this.#button, this.mayKeep());
    }

    hide(): void {
        show(this.#banner, false);
    }

    async #keep(): Promise<void> {
        this.#button.disabled = true;
        try {
            const session = await this.api.renew(this.id);
            this.#failed = null;
            this.onKept(session);
        } catch (cause) {
            this.#failed = cause instanceof ApiError ? cause.message : "The session could not be extended.";
        } finally {
            this.#button.disabled = false;
        }
    }
}
