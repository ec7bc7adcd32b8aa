// The ways in which programs and agents connect to a session: a snippet for each client, with the session's address in it.

import { useState } from "preact/hooks";

import { root } from "../root";
import { Field, Icon } from "./parts";
import { KEY, SNIPPETS } from "./snippets";
import { api, notify } from "./state";
import type { Session, Ticket } from "./types";
import { moment } from "./words";

/** Tickets of snippets are for trying: an hour. */
const TICKET_SECONDS = 3600;

export function ConnectPanel({ session, path }: { session: Session; path: string }) {
    const [chosen, setChosen] = useState(SNIPPETS[0]?.id);
    const [ticket, setTicket] = useState<Ticket | null>(null);
    const [fault, setFault] = useState<string | null>(null);
    const [busy, setBusy] = useState(false);
    const snippet = SNIPPETS.find(({ id }) => id === chosen) ?? SNIPPETS[0];
    const address = session.browser_address;
    if (!snippet || !address) return <p class="quiet">The session has no address yet.</p>;

    const makeTicket = async () => {
        setBusy(true);
        try {
            const body = { role: "drive", ttl_seconds: TICKET_SECONDS, label: "Snippet of the console" };
            setTicket(await api().call<Ticket>("POST", `${path}/viewers`, body));
            setFault(null);
        } catch (cause) {
            setFault(cause instanceof Error ? cause.message : String(cause));
        } finally {
            setBusy(false);
        }
    };
    const shown = snippet.text({
        id: session.browser_session_id,
        address,
        tools: new URL("mcp", root(location.href)).toString(),
        ticket: snippet.takesTicket ? (ticket?.cdp_url ?? null) : null,
    });
    const copy = async () => {
        try {
            await navigator.clipboard.writeText(shown);
            notify("Copied.");
        } catch {
            notify("The browser did not permit copying. Select the text instead.", true);
        }
    };
    return (
        <>
            <Field label="Client" hint={snippet.where}>
                {(field) => (
                    <select {...field} value={snippet.id} onChange={(event) => setChosen((event.currentTarget as HTMLSelectElement).value)}>
                        {SNIPPETS.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
                    </select>
                )}
            </Field>
            <div class="snippet">
                <pre tabIndex={0} role="region" aria-label={`Snippet for ${snippet.name}`}>{shown}</pre>
                <button class="button button-small" type="button" onClick={() => void copy()}>
                    <Icon name="clipboard" /> Copy
                </button>
            </div>
            {ticket && snippet.takesTicket ? (
                <p class="hint-box" role="status">
                    The address has a ticket in it, which drives this session until {moment(ticket.expires_at)}. Revoke it under “Hand off”.
                </p>
            ) : (
                <p class="quiet">The client reads the key from the variable <code>{KEY}</code>. The snippet has no secret.</p>
            )}
            {snippet.takesTicket && !ticket && (
                <p class="row-actions">
                    <button class="button" type="button" disabled={busy} onClick={() => void makeTicket()}>
                        {busy ? "Making a ticket…" : "Put a ticket into the address"}
                    </button>
                </p>
            )}
            {fault && <p class="complaint" role="alert">{fault}</p>}
        </>
    );
}
