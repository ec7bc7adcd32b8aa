// The keys of the organization, and its quotas.

import { useState } from "preact/hooks";

import { ApiError } from "../api";
import { useLoad } from "./load";
import { Action, Await, Copy, Dialog, Fault, Field, Head, Icon, Pill, Status, Table } from "./parts";
import { access, api } from "./state";
import type { ApiKey, Quota } from "./types";
import { moment } from "./words";

export function KeysPage() {
    const quotas = useLoad(() => api().call<Record<string, Quota>>("GET", "v1/quotas"), [], 5000);
    return (
        <>
            <KeyTable path="v1/api_keys" heading />
            <h2>Quotas</h2>
            <p class="quiet">The operator sets limits. Without a limit, only the machine's resources count.</p>
            <Await of={quotas}>{(data) => <QuotaList of={data} />}</Await>
        </>
    );
}

/** The keys at a path: those of the own organization, or of another one for operators. */
export function KeyTable({ path, heading }: { path: string; heading?: boolean }) {
    const keys = useLoad(() => api().call<ApiKey[]>("GET", path), [path]);
    const [creating, setCreating] = useState(false);
    const [fresh, setFresh] = useState<ApiKey | null>(null);
    const at = (key: ApiKey) => `${path}/${encodeURIComponent(key.api_key_id)}`;
    const button = (
        <button class="button button-main" type="button" onClick={() => setCreating(true)}><Icon name="plus" /> New key</button>
    );
    return (
        <>
            {heading ? <Head title="Keys and quotas" lead="Each program and person should have a key of their own, with the least role that does.">{button}</Head> : <p class="row-actions">{button}</p>}
            {fresh?.key && (
                <div class="hint-box" role="status">
                    <p>The key “{fresh.label}” is shown once:</p>
                    <Copy text={fresh.key} label="Copy the key" block />
                </div>
            )}
            <Await of={keys}>
                {(rows) => (
                    <Table label="Keys" columns={["Key", "Role", "State", "Expires", "Last use", ""]}>
                        {rows.map((key) => (
                            <tr key={key.api_key_id}>
                                <td>
                                    <span class="cell-main">{key.label}</span>
                                    <code class="id">{key.api_key_id}</code>
                                </td>
                                <td>{key.role}{key.sessions && <span class="cell-note">{key.sessions.length} sessions</span>}</td>
                                <td><Status of={key.status} /></td>
                                <td class="number">{key.expires_at ? moment(key.expires_at) : <span class="quiet">never</span>}</td>
                                <td class="number">{key.last_used_at ? `${moment(key.last_used_at)}, ${key.last_used_from ?? ""}` : <span class="quiet">never</span>}</td>
                                <td class="row-actions">
                                    {key.status === "valid" && !key.is_bootstrap && (
                                        <>
                                            <Action kind="button-small" label={`Rotate ${key.label}`} confirm="A new key is made. The former ends at once." run={async () => { setFresh(await api().call<ApiKey>("POST", `${at(key)}/rotate`, {})); keys.reload(); }}>Rotate</Action>
                                            <Action kind="button-small" label={`Revoke ${key.label}`} confirm="Everything that the key has opened ends within a second." run={async () => { await api().call("DELETE", at(key)); keys.reload(); }} done="The key is revoked.">Revoke</Action>
                                        </>
                                    )}
                                    {key.is_bootstrap && <span class="quiet">from the settings</span>}
                                </td>
                            </tr>
                        ))}
                    </Table>
                )}
            </Await>
            {creating && <NewKey path={path} onClose={() => setCreating(false)} onMade={(key) => { setFresh(key); setCreating(false); keys.reload(); }} />}
        </>
    );
}

const ROLES = [
    ["organization", "organization: everything, including keys"],
    ["drive", "drive: hold and drive sessions"],
    ["watch", "watch: see sessions"],
    ["operator", "operator: also the pages of operators"],
] as const;

/** True if the present key opens the pages of operators, which a key that makes operators must. */
function mayMakeOperators(): boolean {
    const present = access();
    return present.kind === "operator" || (present.kind === "organization" && present.admin);
}

function NewKey({ path, onClose, onMade }: { path: string; onClose: () => void; onMade: (key: ApiKey) => void }) {
    const [failure, setFailure] = useState<ApiError | null>(null);
    const onSubmit = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const days = Number(form.get("days"));
        const sessions = String(form.get("sessions") ?? "").split(",").map((id) => id.trim()).filter(Boolean);
        try {
            onMade(await api().call<ApiKey>("POST", path, {
                label: String(form.get("label")).trim(),
                role: form.get("role"),
                ...(days > 0 ? { expires_in_seconds: Math.round(days * 86_400) } : {}),
                ...(sessions.length > 0 ? { sessions } : {}),
            }));
        } catch (cause) {
            setFailure(cause instanceof ApiError ? cause : new ApiError(0, null, String(cause)));
        }
    };
    return (
        <Dialog title="New key" onClose={onClose}>
            <form class="form" onSubmit={(event) => void onSubmit(event)}>
                {failure && <Fault of={failure} />}
                <Field label="Name" hint="The program or person that uses it.">{(field) => <input {...field} name="label" required maxLength={100} autofocus />}</Field>
                <Field label="Role">{(field) => <select {...field} name="role">{ROLES.filter(([role]) => role !== "operator" || mayMakeOperators()).map(([role, text]) => <option key={role} value={role}>{text}</option>)}</select>}</Field>
                <Field label="Expires after days" hint="Empty: never.">{(field) => <input {...field} name="days" type="number" min="1" />}</Field>
                <Field label="Only for sessions" hint="Ids separated by commas, for the roles watch and drive.">{(field) => <input {...field} name="sessions" placeholder="pbs_…" />}</Field>
                <div class="dialog-actions">
                    <button class="button" type="button" onClick={onClose}>Cancel</button>
                    <button class="button button-main" type="submit">Create</button>
                </div>
            </form>
        </Dialog>
    );
}

/** The name of a quota as text. */
export function quotaName(name: string): string {
    return name.replaceAll("_", " ").replace("mib", "MiB").replace("devtools", "DevTools");
}

export function QuotaList({ of }: { of: Readonly<Record<string, Quota>> }) {
    return (
        <ul class="quotas">
            {Object.entries(of).map(([name, { used, limit, resets_at }]) => {
                const words = quotaName(name);
                return (
                    <li key={name}>
                        <span class="quota-name">{words}</span>
                        <span class="number">{used}{limit === null ? "" : ` of ${limit}`}</span>
                        {limit === null ? <Pill>no limit</Pill> : <meter value={used} max={Math.max(limit, 1)} high={limit * 0.8} low={limit * 0.6} optimum={0} aria-label={`${words}: ${used} of ${limit}`} />}
                        {resets_at && limit !== null && <span class="quiet">until {moment(resets_at)}</span>}
                    </li>
                );
            })}
        </ul>
    );
}
