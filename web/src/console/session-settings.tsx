// The settings of a session: its labels, what pages see, permitted targets, clearing.

import { useState } from "preact/hooks";

import { fileSize } from "../text";
import { Action, Facts, Field, JsonView } from "./parts";
import { tagsOf } from "./session-form";
import { api, notify } from "./state";
import type { Session } from "./types";

/** Clearing restarts the browser. */
const CLEAR_MS = 60_000;

function lines(list: readonly string[] | undefined): string {
    return (list ?? []).join("\n");
}

export function SettingsPanel({ session, path, reload }: { session: Session; path: string; reload: () => void }) {
    const [fault, setFault] = useState<string | null>(null);
    const onSubmit = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const text = (name: string) => String(form.get(name) ?? "").trim();
        const allow = text("allow").split("\n").map((rule) => rule.trim()).filter(Boolean);
        const deny = text("deny").split("\n").map((rule) => rule.trim()).filter(Boolean);
        const settings = {
            ...(text("locale") ? { locale: text("locale") } : {}),
            ...(text("timezone") ? { timezone: text("timezone") } : {}),
            ...(text("color_scheme") ? { color_scheme: text("color_scheme") } : {}),
        };
        const changed = lines(session.egress?.allow) !== allow.join("\n") || lines(session.egress?.deny) !== deny.join("\n");
        const body = {
            name: text("name") || null,
            tags: tagsOf(text("tags")),
            sanitize_on_release: form.has("sanitize"),
            ...(Object.keys(settings).length > 0 ? { settings } : {}),
            ...(changed ? { egress: { allow, deny } } : {}),
        };
        try {
            await api().call("PATCH", path, body);
            setFault(null);
            notify("Saved.");
            reload();
        } catch (cause) {
            setFault(cause instanceof Error ? cause.message : String(cause));
        }
    };
    const setting = (name: string) => String(session.settings?.[name] ?? "");
    const usage = session.usage as Record<string, number | undefined> | null | undefined;
    return (
        <>
            <form class="form" onSubmit={(event) => void onSubmit(event)}>
                <div class="field-row">
                    <Field label="Name">{(field) => <input {...field} name="name" maxLength={100} defaultValue={session.name ?? ""} />}</Field>
                    <Field label="Tags">{(field) => <input {...field} name="tags" defaultValue={(session.tags ?? []).join(", ")} />}</Field>
                </div>
                <div class="field-row">
                    <Field label="Language">{(field) => <input {...field} name="locale" placeholder="de-DE" defaultValue={setting("locale")} />}</Field>
                    <Field label="Time zone">{(field) => <input {...field} name="timezone" placeholder="Europe/Berlin" defaultValue={setting("timezone")} />}</Field>
                    <Field label="Color scheme">
                        {(field) => (
                            <select {...field} name="color_scheme" defaultValue={setting("color_scheme")}>
                                <option value="">As is</option>
                                <option value="light">light</option>
                                <option value="dark">dark</option>
                            </select>
                        )}
                    </Field>
                </div>
                <div class="field-row">
                    <Field label="Permitted targets" hint="One rule a line.">
                        {(field) => <textarea {...field} name="allow" rows={3} spellcheck={false} defaultValue={lines(session.egress?.allow)} />}
                    </Field>
                    <Field label="Refused targets">
                        {(field) => <textarea {...field} name="deny" rows={3} spellcheck={false} defaultValue={lines(session.egress?.deny)} />}
                    </Field>
                </div>
                <label class="check"><input type="checkbox" name="sanitize" defaultChecked={session.sanitize_on_release ?? false} /> Clear the browser after each release</label>
                {fault && <p class="complaint" role="alert">{fault}</p>}
                <div class="row-actions">
                    <button class="button button-main" type="submit">Save settings</button>
                    <Action
                        run={() => api().call("POST", `${path}/sanitize`, {}, CLEAR_MS)}
                        done="The browser is as new."
                        confirm="Cookies, storage, history, files and tabs of this browser are removed, and it restarts."
                    >
                        Clear the browser
                    </Action>
                    <Action
                        run={() => api().call("POST", `${path}/rotate`)}
                        done="All tickets, leases and links are revoked."
                        confirm="Every ticket, lease and signed link of this session ends, and so does its VNC password. Connections with keys stay."
                    >
                        Revoke access
                    </Action>
                </div>
            </form>
            <h2>Facts</h2>
            <Facts
                of={[
                    ["Screen", `${session.width} × ${session.height}`],
                    ["First page", session.start_url],
                    ["Take-over", session.on_takeover],
                    ["Profile", session.browser_profile_id && `${session.browser_profile_id} (${session.browser_profile_access ?? "write"})`],
                    ["Isolation", session.isolation && `files ${session.isolation.files ?? "none"}, network ${session.isolation.network ?? "none"}`],
                    ["Display", session.display_number != null && `:${session.display_number}`],
                    ["VNC port", session.vnc_port],
                    ["Sent", usage?.["egress_bytes_sent"] !== undefined && fileSize(usage["egress_bytes_sent"])],
                    ["Received", usage?.["egress_bytes_received"] !== undefined && fileSize(usage["egress_bytes_received"])],
                    ["Node", session.node_id],
                ]}
            />
            {session.settings && Object.keys(session.settings).length > 0 && (
                <>
                    <h2>All settings</h2>
                    <JsonView value={session.settings} label="Settings" />
                </>
            )}
        </>
    );
}
