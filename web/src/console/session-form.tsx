// The form that creates a session.

import { useState } from "preact/hooks";

import { ApiError } from "../api";
import { useLoad } from "./load";
import { Dialog, Fault, Field } from "./parts";
import { go, link } from "./router";
import { api, notify } from "./state";
import type { Profile, Session } from "./types";

/** The server starts a browser within two minutes. */
const START_MS = 130_000;

/** Tags as a list, from text with commas. */
export function tagsOf(text: string): string[] {
    return text.split(",").map((tag) => tag.trim()).filter(Boolean);
}

const SIZES = ["1280 × 800", "1440 × 900", "1920 × 1080", "1024 × 768", "800 × 600"];

export function NewSession({ onClose, profile }: { onClose: () => void; profile?: string }) {
    const [busy, setBusy] = useState(false);
    const [failure, setFailure] = useState<ApiError | null>(null);
    const profiles = useLoad(() => api().list<Profile>("v1/browser_profiles?page_size=100"), []);
    const fault = (field: string) => failure?.faults.find(({ loc }) => loc.includes(field))?.msg ?? null;

    const onSubmit = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const text = (name: string) => String(form.get(name) ?? "").trim();
        const [width, height] = text("size").split("×").map(Number);
        const profileChoice = text("profile");
        const body = {
            width,
            height,
            timeout_seconds: Math.round(Number(text("minutes")) * 60),
            ...(text("name") ? { name: text("name") } : {}),
            ...(text("start_url") ? { start_url: text("start_url") } : {}),
            ...(text("tags") ? { tags: tagsOf(text("tags")) } : {}),
            ...(profileChoice === "new" ? { generate_browser_profile: true } : {}),
            ...(profileChoice.startsWith("bp_") ? { browser_profile_id: profileChoice } : {}),
            ...(form.has("record") ? { record: true } : {}),
            ...(form.has("sanitize") ? { sanitize_on_release: true } : {}),
            ...(text("allow") ? { egress: { allow: tagsOf(text("allow")) } } : {}),
            ...(text("locale") || text("timezone") ? {
                settings: {
                    ...(text("locale") ? { locale: text("locale") } : {}),
                    ...(text("timezone") ? { timezone: text("timezone") } : {}),
                },
            } : {}),
        };
        setBusy(true);
        setFailure(null);
        try {
            const made = await api().call<Session>("POST", "v1/browser_sessions", body, START_MS);
            if (made.warning) notify(made.warning, true);
            onClose();
            go(link(["sessions", made.browser_session_id]));
        } catch (cause) {
            setFailure(cause instanceof ApiError ? cause : new ApiError(0, null, String(cause)));
            setBusy(false);
        }
    };

    return (
        <Dialog title="New session" onClose={onClose}>
            <form class="form" onSubmit={(event) => void onSubmit(event)}>
                {failure && <Fault of={failure} />}
                <Field label="First page" hint="The address that the browser opens, if any." fault={fault("start_url")}>
                    {(field) => <input {...field} name="start_url" type="url" placeholder="https://example.com" autofocus />}
                </Field>
                <div class="field-row">
                    <Field label="Name" hint="Of one live session at a time." fault={fault("name")}>
                        {(field) => <input {...field} name="name" maxLength={100} placeholder="Price check" />}
                    </Field>
                    <Field label="Tags" hint="Separated by commas." fault={fault("tags")}>
                        {(field) => <input {...field} name="tags" placeholder="team-red, prices" />}
                    </Field>
                </div>
                <div class="field-row">
                    <Field label="Lifetime in minutes" fault={fault("timeout_seconds")}>
                        {(field) => <input {...field} name="minutes" type="number" min="1" step="1" defaultValue="60" required />}
                    </Field>
                    <Field label="Size of the screen" fault={fault("width") ?? fault("height")}>
                        {(field) => (
                            <select {...field} name="size">
                                {SIZES.map((size) => <option key={size}>{size}</option>)}
                            </select>
                        )}
                    </Field>
                </div>
                <Field label="Profile" hint="A profile keeps logins between sessions." fault={fault("browser_profile_id")}>
                    {(field) => (
                        <select key={profiles.data ? "loaded" : "loading"} {...field} name="profile" defaultValue={profile ?? ""}>
                            <option value="">None: an empty browser</option>
                            <option value="new">A new profile, stored at the end</option>
                            {(profiles.data?.rows ?? []).map(({ browser_profile_id, name }) => (
                                <option key={browser_profile_id} value={browser_profile_id} selected={browser_profile_id === profile}>{name}</option>
                            ))}
                        </select>
                    )}
                </Field>
                <label class="check">
                    <input type="checkbox" name="record" /> Record a film from the start
                </label>
                <label class="check">
                    <input type="checkbox" name="sanitize" /> Clear the browser after each release
                </label>
                <details class="further">
                    <summary>Network and language</summary>
                    <Field label="Permitted targets beyond the public internet" hint="Hosts or networks, separated by commas. The server must permit them too." fault={fault("egress")}>
                        {(field) => <input {...field} name="allow" placeholder="*.intra.example, 10.1.0.0/16:443" />}
                    </Field>
                    <div class="field-row">
                        <Field label="Language" fault={fault("locale")}>
                            {(field) => <input {...field} name="locale" placeholder="de-DE" />}
                        </Field>
                        <Field label="Time zone" fault={fault("timezone")}>
                            {(field) => <input {...field} name="timezone" placeholder="Europe/Berlin" />}
                        </Field>
                    </div>
                </details>
                <div class="dialog-actions">
                    <button class="button" type="button" onClick={onClose}>Cancel</button>
                    <button class="button button-main" type="submit" disabled={busy}>
                        {busy ? "Starting the browser…" : "Create"}
                    </button>
                </div>
            </form>
        </Dialog>
    );
}
