// The form for an API key, on a page that was opened without a valid key, and the notice of a link that has ended.

import type { Credentials } from "./credentials";
import { element, setText, show } from "./dom";

/**
 * Reports that the link of a ticket is no longer valid. A view that another page frames shows that alone: its
 * visitors have no key, and must not learn to enter keys into frames.
 */
export function renderEndedLink(framed: boolean): void {
    setText(element("gate-title"), "This link is no longer valid");
    const way = framed ? "Ask the owner of this page for a new link." : "Ask the person who sent it for a new link.";
    setText(element("gate-about"), framed ? way : `${way} An API key of your organization opens the session too.`);
    show(element("gate-form"), !framed);
    show(element("gate"), true);
    document.body.dataset["gate"] = "shut";
}

/** Shows the form. Resolves with the key that was entered. */
export function askForKey(reason: string | null): Promise<Credentials> {
    const gate = element("gate");
    const form = element<HTMLFormElement>("gate-form");
    const field = element<HTMLInputElement>("gate-key");
    const complaint = element("gate-complaint");

    setText(complaint, reason ?? "");
    show(complaint, reason !== null);
    field.setAttribute("aria-invalid", String(reason !== null));
    field.value = "";
    show(gate, true);
    document.body.dataset["gate"] = "shut";
    field.focus();

    return new Promise((resolve) => {
        const onSubmit = (event: SubmitEvent) => {
            event.preventDefault();
            const value = field.value.trim();
            if (!value) {
                field.focus();
                return;
            }
            form.removeEventListener("submit", onSubmit);
            field.value = "";
            show(gate, false);
            delete document.body.dataset["gate"];
            resolve({ kind: "key", value });
        };
        form.addEventListener("submit", onSubmit);
    });
}
