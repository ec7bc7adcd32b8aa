// Organizations, for operators: the list, and the limits and keys of one.

import { useState } from "preact/hooks";

import { useLoad } from "./load";
import { Action, Await, Copy, Dialog, Field, Head, Icon, Pill, Table } from "./parts";
import { KeyTable, QuotaList, quotaName } from "./keys";
import { go, link } from "./router";
import { api, notify } from "./state";
import type { Organization } from "./types";
import { moment } from "./words";

function standingOf({ deleted_at, suspended_at }: Organization): readonly [tone: string, word: string] {
    if (deleted_at) return ["over", "deleted"];
    return suspended_at ? ["bad", "suspended"] : ["live", "active"];
}

export function OrganizationsPage() {
    const organizations = useLoad(() => api().call<Organization[]>("GET", "admin/organizations"), [], 8000);
    const [creating, setCreating] = useState(false);
    const [fault, setFault] = useState<string | null>(null);
    const create = async (event: SubmitEvent) => {
        event.preventDefault();
        const name = String(new FormData(event.currentTarget as HTMLFormElement).get("name")).trim();
        try {
            const made = await api().call<Organization>("POST", "admin/organizations", { name });
            go(link(["organizations", made.organization_id]));
        } catch (cause) {
            setFault(cause instanceof Error ? cause.message : String(cause));
        }
    };
    return (
        <>
            <Head title="Organizations" lead="Tenants of this server, isolated from each other.">
                <button class="button button-main" type="button" onClick={() => setCreating(true)}><Icon name="plus" /> New organization</button>
            </Head>
            <Await of={organizations}>
                {(rows) => (
                    <Table label="Organizations" columns={["Organization", "State", "Live sessions", "Made"]}>
                        {rows.map((row) => {
                            const [tone, word] = standingOf(row);
                            return (
                                <tr key={row.organization_id}>
                                    <td>
                                        <a class="cell-main" href={link(["organizations", row.organization_id])}>{row.name}</a>
                                        <code class="id">{row.organization_id}</code>
                                    </td>
                                    <td><Pill tone={tone}>{word}</Pill></td>
                                    <td class="number">{row.live_sessions}</td>
                                    <td class="number">{moment(row.created_at)}</td>
                                </tr>
                            );
                        })}
                    </Table>
                )}
            </Await>
            {creating && (
                <Dialog title="New organization" onClose={() => setCreating(false)}>
                    <form class="form" onSubmit={(event) => void create(event)}>
                        <Field label="Name" fault={fault}>{(field) => <input {...field} name="name" required maxLength={100} autofocus />}</Field>
                        <div class="dialog-actions"><button class="button button-main" type="submit">Create</button></div>
                    </form>
                </Dialog>
            )}
        </>
    );
}

const QUOTAS = ["sessions", "creates_per_minute", "runs", "waiters", "viewers", "devtools_connections", "event_streams", "storage_mib", "egress_mib_per_day", "requests"];

export function OrganizationPage({ id }: { id: string }) {
    const path = `admin/organizations/${encodeURIComponent(id)}`;
    const organization = useLoad(() => api().call<Organization>("GET", path), [path], 8000);
    const setLimits = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const quotas: Record<string, number | null> = {};
        for (const name of QUOTAS) {
            const text = String(form.get(name) ?? "").trim();
            quotas[name] = text === "" ? null : Number(text);
        }
        try {
            await api().call("PATCH", path, { quotas });
            notify("The limits apply to new requests at once.");
            organization.reload();
        } catch (cause) {
            notify(cause instanceof Error ? cause.message : String(cause), true);
        }
    };
    return (
        <Await of={organization}>
            {(data) => {
                const [tone, word] = standingOf(data);
                return (
                    <>
                        <Head title={data.name} back={{ href: link(["organizations"]), text: "Organizations" }} lead={<span class="head-facts"><Pill tone={tone}>{word}</Pill><Copy text={id} label="Copy the id of the organization" /></span>}>
                            {!data.deleted_at && (
                                <>
                                    <Action
                                        run={async () => { await api().call("PATCH", path, { suspended: !data.suspended_at }); organization.reload(); }}
                                        {...(data.suspended_at ? {} : { confirm: "Its runs and sessions end, and its keys are refused, until it is resumed." })}
                                    >
                                        {data.suspended_at ? "Resume" : "Suspend"}
                                    </Action>
                                    <Action run={async () => { await api().call("DELETE", path); organization.reload(); }} confirm={`${data.name} is deleted with all its data, for good.`} done="The organization is being deleted.">Delete</Action>
                                </>
                            )}
                        </Head>
                        <h2>Keys</h2>
                        <KeyTable path={`${path}/api_keys`} />
                        <h2>Use</h2>
                        {data.quotas ? <QuotaList of={data.quotas} /> : <p class="quiet">No figures.</p>}
                        <h2>Limits</h2>
                        <form class="form limits" onSubmit={(event) => void setLimits(event)}>
                            {QUOTAS.map((name) => (
                                <Field key={name} label={quotaName(name)}>
                                    {(field) => <input {...field} name={name} type="number" min="0" placeholder="default" defaultValue={data.quotas?.[name]?.limit ?? ""} />}
                                </Field>
                            ))}
                            <div><button class="button" type="submit">Set the limits</button></div>
                        </form>
                    </>
                );
            }}
        </Await>
    );
}
