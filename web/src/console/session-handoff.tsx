// Handing a session to another person or program: tickets, and the list of viewers.

import { useState } from "preact/hooks";

import { useLoad } from "./load";
import { Action, Await, Copy, Field, Table } from "./parts";
import { api } from "./state";
import type { Session, Ticket } from "./types";
import { moment } from "./words";

interface Connected {
    readonly viewer_id: string;
    readonly role?: string | null;
    readonly label?: string | null;
    readonly kind?: string | null;
    readonly since?: string | null;
    readonly connected_at?: string | null;
}

const ROLES = [
    ["control", "A person who may take control"],
    ["watch", "A person who may watch"],
    ["drive", "A program that drives the browser"],
] as const;

export function HandOff({ path }: { path: string; session: Session }) {
    const viewers = useLoad(
        () => api().call<{ tickets: Ticket[]; connected: Connected[] }>("GET", `${path}/viewers`),
        [path],
        4000,
    );
    const [made, setMade] = useState<Ticket | null>(null);
    const [fault, setFault] = useState<string | null>(null);
    const onSubmit = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const label = String(form.get("label") ?? "").trim();
        const body = {
            role: form.get("role"),
            ttl_seconds: Math.round(Number(form.get("minutes")) * 60),
            single_use: form.has("single"),
            ...(label ? { label } : {}),
        };
        try {
            setMade(await api().call<Ticket>("POST", `${path}/viewers`, body));
            setFault(null);
            viewers.reload();
        } catch (cause) {
            setFault(cause instanceof Error ? cause.message : String(cause));
        }
    };
    const address = made?.link ?? made?.cdp_url;
    return (
        <>
            <p class="quiet">A ticket is valid for this session only, with one role and for a time. Give its link to somebody who has no key.</p>
            <form class="form" onSubmit={(event) => void onSubmit(event)}>
                <Field label="For">
                    {(field) => <select {...field} name="role">{ROLES.map(([role, text]) => <option key={role} value={role}>{text}</option>)}</select>}
                </Field>
                <div class="field-row">
                    <Field label="Name of the ticket">
                        {(field) => <input {...field} name="label" maxLength={100} placeholder="Ann, second factor" />}
                    </Field>
                    <Field label="Valid for minutes">
                        {(field) => <input {...field} name="minutes" type="number" min="1" defaultValue="60" required />}
                    </Field>
                </div>
                <label class="check"><input type="checkbox" name="single" /> For a single use</label>
                {fault && <p class="complaint" role="alert">{fault}</p>}
                <div><button class="button button-main" type="submit">Make a link</button></div>
            </form>
            {address && (
                <div class="hint-box" role="status">
                    <p>The link is shown once:</p>
                    <Copy text={address} label="Copy the link" block />
                </div>
            )}
            <Await of={viewers}>
                {({ tickets, connected }) => (
                    <>
                        <h2>Connected</h2>
                        {connected.length === 0 ? <p class="quiet">Nobody watches.</p> : (
                            <Table label="Connected viewers" columns={["Viewer", "Role", "Since", ""]}>
                                {connected.map((viewer) => (
                                    <tr key={viewer.viewer_id}>
                                        <td class="cell-main">{viewer.label ?? viewer.kind ?? viewer.viewer_id}</td>
                                        <td>{viewer.role ?? "key"}</td>
                                        <td class="number">{moment(viewer.since ?? viewer.connected_at)}</td>
                                        <td>
                                            <Action kind="button-small" label={`Disconnect ${viewer.label ?? viewer.viewer_id}`} run={async () => { await api().call("DELETE", `${path}/viewers/${encodeURIComponent(viewer.viewer_id)}`); viewers.reload(); }}>
                                                Disconnect
                                            </Action>
                                        </td>
                                    </tr>
                                ))}
                            </Table>
                        )}
                        <h2>Valid tickets</h2>
                        {tickets.length === 0 ? <p class="quiet">There are none.</p> : (
                            <Table label="Valid tickets" columns={["Ticket", "Role", "Ends", ""]}>
                                {tickets.map((ticket) => (
                                    <tr key={ticket.viewer_id}>
                                        <td class="cell-main">{ticket.label ?? ticket.viewer_id}</td>
                                        <td>{ticket.role}{ticket.single_use && (ticket.used ? ", used" : ", single use")}</td>
                                        <td class="number">{moment(ticket.expires_at)}</td>
                                        <td>
                                            <Action kind="button-small" label={`Revoke ${ticket.label ?? ticket.viewer_id}`} run={async () => { await api().call("DELETE", `${path}/viewers/${encodeURIComponent(ticket.viewer_id)}`); viewers.reload(); }}>
                                                Revoke
                                            </Action>
                                        </td>
                                    </tr>
                                ))}
                            </Table>
                        )}
                        <p class="row-actions">
                            <Action
                                kind="button-small"
                                confirm="All viewers are disconnected, and all tickets are revoked. Viewers with a key connect again."
                                run={async () => { await api().call("DELETE", `${path}/viewers`); viewers.reload(); }}
                            >
                                Revoke all
                            </Action>
                        </p>
                    </>
                )}
            </Await>
        </>
    );
}
