// The form for a key or for the link of a ticket.

import { useState } from "preact/hooks";

import { Icon } from "./parts";
import { go, link } from "./router";
import { pasted, rejection, rememberTicket, signedIn, signIn, unchecked } from "./state";

export function SignIn() {
    const [busy, setBusy] = useState(false);
    const [text, setText] = useState("");
    const onSubmit = async (event: Event) => {
        event.preventDefault();
        const given = pasted(text);
        if (typeof given === "string") {
            rejection.value = given;
            return;
        }
        setBusy(true);
        const outcome = await signIn(given.credentials, given.session);
        setBusy(false);
        rejection.value = outcome?.reason ?? null;
        if (outcome !== null || given.session === null) return;
        rememberTicket(given.credentials.kind === "ticket" ? given.session : null);
        go(link(["sessions", given.session]));
    };
    const complaint = rejection.value;
    return (
        <main class="door">
            <section class="card gate" aria-labelledby="gate-title">
                <svg class="mark mark-large" aria-hidden="true"><use href="#i-mark" /></svg>
                <h1 id="gate-title">Greenroom</h1>
                <p>Sign in with an API key, or paste the link of a ticket. It is stored for this tab only.</p>
                <form onSubmit={(event) => void onSubmit(event)}>
                    <label for="gate-key">API key or link</label>
                    <input
                        id="gate-key"
                        type="password"
                        autocomplete="current-password"
                        spellcheck={false}
                        autocapitalize="off"
                        value={text}
                        aria-invalid={complaint !== null}
                        aria-describedby="gate-complaint"
                        ref={(field) => field?.focus()}
                        onInput={({ currentTarget }) => setText(currentTarget.value)}
                    />
                    <p id="gate-complaint" class="complaint" role="alert">{complaint}</p>
                    <button class="button button-main" type="submit" disabled={busy}>
                        {busy ? "Checking…" : "Sign in"}
                    </button>
                </form>
                <details class="gate-help">
                    <summary>Where is my key?</summary>
                    <p>
                        The server prints the first key once, when it starts with an empty database, or takes it from{" "}
                        <code>GREENROOM_BOOTSTRAP_KEY</code>. Its operator makes further keys:
                    </p>
                    <pre>greenroom keys create ann</pre>
                </details>
                <p class="gate-links">
                    <a href="wall"><Icon name="grid" /> The wall</a>
                    <a href="openapi.json"><Icon name="list" /> The API</a>
                </p>
            </section>
        </main>
    );
}

/** The page while stored credentials are being checked. */
export function Checking() {
    const reason = unchecked.value;
    if (reason === null) return <main class="door" aria-busy="true" />;
    return (
        <main class="door" aria-busy="true">
            <section class="card gate" aria-labelledby="gate-title">
                <svg class="mark mark-large" aria-hidden="true"><use href="#i-mark" /></svg>
                <h1 id="gate-title">Greenroom</h1>
                <p role="status">{reason} Your key is kept, and is checked again in a few seconds.</p>
                <button class="button" type="button" onClick={() => (signedIn.value = null)}>
                    Use another key
                </button>
            </section>
        </main>
    );
}
