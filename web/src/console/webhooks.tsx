// Webhooks: the list, and the deliveries of one.

import { useState } from "preact/hooks";

import { useList, useLoad } from "./load";
import { Action, Await, Copy, Dialog, Empty, Fault, Field, Head, Icon, JsonView, More, Pill, Status, Table } from "./parts";
import { go, link } from "./router";
import { api, notify } from "./state";
import { ApiError } from "../api";
import type { Message, Webhook } from "./types";
import { EVENT_KINDS, eventTitle, moment } from "./words";

export function WebhooksPage() {
    const webhooks = useLoad(() => api().call<Webhook[]>("GET", "v1/webhooks"), []);
    const [creating, setCreating] = useState(false);
    return (
        <>
            <Head title="Webhooks" lead="Addresses of your programs that receive events, signed and with retries.">
                <button class="button button-main" type="button" onClick={() => setCreating(true)}><Icon name="plus" /> New webhook</button>
            </Head>
            <Await of={webhooks}>
                {(rows) =>
                    rows.length === 0 ? (
                        <Empty title="There are no webhooks yet">
                            <p>A webhook delivers events, such as the end of a run, to your server. Each message is signed as Standard Webhooks.</p>
                            <button class="button button-main" type="button" onClick={() => setCreating(true)}>Add the first webhook</button>
                        </Empty>
                    ) : (
                        <Table label="Webhooks" columns={["Address", "Events", "State", "Made"]}>
                            {rows.map((webhook) => (
                                <tr key={webhook.webhook_id}>
                                    <td>
                                        <a class="cell-main" href={link(["webhooks", webhook.webhook_id])}>{webhook.url}</a>
                                        <span class="cell-note">{webhook.description}</span>
                                    </td>
                                    <td>{webhook.kinds.length === 0 ? "all" : webhook.kinds.length}</td>
                                    <td><Pill tone={webhook.paused ? "wait" : "live"}>{webhook.paused ? "paused" : "active"}</Pill></td>
                                    <td class="number">{moment(webhook.created_at)}</td>
                                </tr>
                            ))}
                        </Table>
                    )
                }
            </Await>
            {creating && <NewWebhook onClose={() => { setCreating(false); webhooks.reload(); }} />}
        </>
    );
}

function NewWebhook({ onClose }: { onClose: () => void }) {
    const [made, setMade] = useState<Webhook | null>(null);
    const [failure, setFailure] = useState<ApiError | null>(null);
    const onSubmit = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const description = String(form.get("description") ?? "").trim();
        try {
            setMade(await api().call<Webhook>("POST", "v1/webhooks", {
                url: String(form.get("url")).trim(),
                kinds: form.getAll("kinds"),
                ...(description ? { description } : {}),
            }));
        } catch (cause) {
            setFailure(cause instanceof ApiError ? cause : new ApiError(0, null, String(cause)));
        }
    };
    if (made) {
        return (
            <Dialog title="The webhook is stored" onClose={onClose}>
                <p>Its secret is shown once. Your program verifies the signatures of messages with it.</p>
                <Copy text={made.secret ?? ""} label="Copy the secret" block />
                <div class="dialog-actions"><button class="button button-main" type="button" onClick={() => { onClose(); go(link(["webhooks", made.webhook_id])); }}>Open</button></div>
            </Dialog>
        );
    }
    return (
        <Dialog title="New webhook" onClose={onClose}>
            <form class="form" onSubmit={(event) => void onSubmit(event)}>
                {failure && <Fault of={failure} />}
                <Field label="Address" hint="Private addresses need an entry in the server's webhooks.allowed_hosts.">
                    {(field) => <input {...field} name="url" type="url" required placeholder="https://app.example.com/in" autofocus />}
                </Field>
                <Field label="Description">{(field) => <input {...field} name="description" />}</Field>
                <fieldset class="kinds">
                    <legend>Events (all, if none is chosen)</legend>
                    {EVENT_KINDS.filter((kind) => kind !== "gap").map((kind) => (
                        <label key={kind} class="check"><input type="checkbox" name="kinds" value={kind} /> {eventTitle(kind)}</label>
                    ))}
                </fieldset>
                <div class="dialog-actions">
                    <button class="button" type="button" onClick={onClose}>Cancel</button>
                    <button class="button button-main" type="submit">Create</button>
                </div>
            </form>
        </Dialog>
    );
}

export function WebhookPage({ id }: { id: string }) {
    const path = `v1/webhooks/${encodeURIComponent(id)}`;
    const webhook = useLoad(() => api().call<Webhook>("GET", path), [path]);
    const messages = useList<Message>(`${path}/messages?limit=50`, 4000);
    const [secret, setSecret] = useState<string | null>(null);
    const [shown, setShown] = useState<string | null>(null);
    if (webhook.failure?.status === 404) {
        return <Head title="There is no such webhook" back={{ href: link(["webhooks"]), text: "Webhooks" }} />;
    }
    const rotate = async () => {
        const { secret: fresh } = await api().call<Webhook>("POST", `${path}/rotate_secret`, {});
        setSecret(fresh ?? null);
    };
    return (
        <Await of={webhook}>
            {(data) => (
                <>
                    <Head title={data.url} back={{ href: link(["webhooks"]), text: "Webhooks" }} lead={<span class="head-facts"><Pill tone={data.paused ? "wait" : "live"}>{data.paused ? "paused" : "active"}</Pill><Copy text={id} label="Copy the id of the webhook" /><span>{data.kinds.length === 0 ? "all events" : data.kinds.map(eventTitle).join(", ")}</span></span>}>
                        <Action run={async () => { await api().call("PATCH", path, { paused: !data.paused }); webhook.reload(); }}>{data.paused ? "Resume" : "Pause"}</Action>
                        <Action run={rotate} confirm="A new secret is made. The former stays valid for a day.">New secret</Action>
                        <Action run={async () => { await api().call("DELETE", path); go(link(["webhooks"])); }} done="The webhook is deleted." confirm="No further events are delivered to this address.">Delete</Action>
                    </Head>
                    {secret && <div class="hint-box" role="status"><p>The new secret is shown once:</p><Copy text={secret} label="Copy the secret" block /></div>}
                    <h2>Deliveries</h2>
                    <Await of={messages}>
                        {(rows) =>
                            rows.length === 0 ? (
                                <Empty title="Nothing was delivered yet"><p>Messages appear here with each attempt when an event occurs.</p></Empty>
                            ) : (
                                <Table label="Messages" columns={["Event", "Status", "Attempts", "At", "Last error", ""]}>
                                    {rows.map((message) => (
                                        <tr key={message.message_id}>
                                            <td>
                                                <button class="cell-main linklike" type="button" aria-haspopup="dialog" onClick={() => setShown(message.message_id)}>{eventTitle(message.kind)}</button>
                                                <code class="id">{message.message_id}</code>
                                            </td>
                                            <td><Status of={message.status} /></td>
                                            <td class="number">{message.attempts}</td>
                                            <td class="number">{moment(message.created_at)}</td>
                                            <td class="cell-text">{message.error ?? "–"}</td>
                                            <td class="row-actions"><Replay id={message.message_id} kind={message.kind} done={messages.reload} /></td>
                                        </tr>
                                    ))}
                                </Table>
                            )
                        }
                    </Await>
                    <More of={messages} />
                    {shown && <MessageDetail id={shown} onClose={() => setShown(null)} onReplay={messages.reload} />}
                </>
            )}
        </Await>
    );
}

function Replay({ id, kind, done }: { id: string; kind: string; done: () => void }) {
    return (
        <Action kind="button-small" label={`Replay ${eventTitle(kind)}`} run={async () => { await api().call("POST", `v1/webhook_messages/${encodeURIComponent(id)}/replay`); notify("It is delivered again."); done(); }}>
            Replay
        </Action>
    );
}

function MessageDetail({ id, onClose, onReplay }: { id: string; onClose: () => void; onReplay: () => void }) {
    const message = useLoad(() => api().call<Message>("GET", `v1/webhook_messages/${encodeURIComponent(id)}`), [id], 2000);
    return (
        <Dialog title="Message" onClose={onClose} wide>
            <Await of={message}>
                {(data) => (
                    <>
                        <p class="head-facts"><Status of={data.status} /><code class="id">{data.message_id}</code><Replay id={id} kind={data.kind} done={() => { message.reload(); onReplay(); }} /></p>
                        <h3>Attempts</h3>
                        {(data.deliveries ?? []).length === 0 ? <p class="quiet">None yet.</p> : (
                            <Table label="Attempts" columns={["Attempt", "At", "Answer", "Took", "Body or error"]}>
                                {(data.deliveries ?? []).map((delivery) => (
                                    <tr key={delivery.attempt + delivery.at}>
                                        <td class="number">{delivery.attempt}</td>
                                        <td class="number">{moment(delivery.at)}</td>
                                        <td class="number">{delivery.status_code ?? "none"}</td>
                                        <td class="number">{delivery.latency_ms} ms</td>
                                        <td class="cell-text">{delivery.error ?? delivery.response_body ?? ""}</td>
                                    </tr>
                                ))}
                            </Table>
                        )}
                        <h3>Payload</h3>
                        <JsonView value={pretty(data.payload)} label="Payload" />
                    </>
                )}
            </Await>
        </Dialog>
    );
}

function pretty(payload: string | null): unknown {
    if (payload === null) return "The payload is not kept any more.";
    try {
        return JSON.parse(payload) as unknown;
    } catch {
        return payload;
    }
}
