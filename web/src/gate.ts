// The form for an API key, on a page that was opened without a valid key.

import type { Credentials } from "./credentials";
import { element, setText, show } from "./dom";

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
