// The form that starts a run, made from the parameters of the workflow.

import { useState } from "preact/hooks";

import { ApiError } from "../api";
import { isFinal, shortId, standing } from "../text";
import { useLoad } from "./load";
import { Await, Fault, Field } from "./parts";
import { route } from "./router";
import { startRun } from "./run";
import { api } from "./state";
import type { Json, Parameter, Session, Workflow } from "./types";

/** The value of a parameter from the text of its field. Throws a message if the text is no such value. */
export function valueOf(parameter: Parameter, text: string): Json | undefined {
    const kind = parameter.workflow_parameter_type ?? "string";
    if (text === "" && kind !== "string") return undefined;
    switch (kind) {
        case "integer":
        case "float": {
            const number = Number(text);
            if (!Number.isFinite(number) || (kind === "integer" && !Number.isInteger(number))) {
                throw new Error(`expected ${kind === "integer" ? "a whole number" : "a number"}`);
            }
            return number;
        }
        case "boolean":
            return text === "true";
        case "json":
            try {
                return JSON.parse(text) as Json;
            } catch {
                throw new Error("expected JSON, such as {\"name\": \"Ann\"}");
            }
        default:
            return text;
    }
}

function defaultText(value: Json | undefined): string {
    if (value === null || value === undefined) return "";
    return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

export function RunForm({ workflow }: { workflow: Workflow }) {
    const parameters = workflow.workflow_definition.parameters.filter(({ parameter_type }) => parameter_type === "workflow");
    const sessions = useLoad(() => api().call<Session[]>("GET", "v1/browser_sessions"), []);
    const [faults, setFaults] = useState<Readonly<Record<string, string>>>({});
    const [failure, setFailure] = useState<ApiError | null>(null);
    const [busy, setBusy] = useState(false);

    const onSubmit = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const values: Record<string, Json> = {};
        const wrong: Record<string, string> = {};
        for (const parameter of parameters) {
            const text = String(form.get(`p:${parameter.key}`) ?? "");
            try {
                const value = valueOf(parameter, text);
                if (value !== undefined) values[parameter.key] = value;
            } catch (cause) {
                wrong[parameter.key] = cause instanceof Error ? cause.message : String(cause);
            }
        }
        setFaults(wrong);
        if (Object.keys(wrong).length > 0) return;
        const session = String(form.get("session") ?? "");
        const title = String(form.get("title") ?? "").trim();
        setBusy(true);
        setFailure(null);
        try {
            await startRun({
                workflow_id: workflow.workflow_permanent_id,
                parameters: values,
                ...(session ? { browser_session_id: session } : {}),
                ...(title ? { title } : {}),
                ...(form.has("record") ? { record: true } : {}),
                ...(form.has("har") ? { record_har: true } : {}),
                ...(form.has("console") ? { record_console_log: true } : {}),
            });
        } catch (cause) {
            setFailure(cause instanceof ApiError ? cause : new ApiError(0, null, String(cause)));
            setBusy(false);
        }
    };

    const chosen = route.value.query.get("session") ?? "";
    return (
        <form class="form" onSubmit={(event) => void onSubmit(event)}>
            {failure && <Fault of={failure} />}
            {parameters.length === 0 && <p class="quiet">This workflow has no parameters.</p>}
            {parameters.map((parameter) => <ParameterField key={parameter.key} parameter={parameter} fault={faults[parameter.key]} />)}
            <Await of={sessions}>
                {(rows) => (
                    <Field label="Session" hint="A run waits in the queue of a session that is in use.">
                        {(field) => (
                            <select {...field} name="session" defaultValue={chosen}>
                                <option value="">A new one, closed at the end</option>
                                {rows.filter((session) => !isFinal(session)).map((session) => (
                                    <option key={session.browser_session_id} value={session.browser_session_id} selected={session.browser_session_id === chosen}>
                                        {session.name ?? shortId(session.browser_session_id)} ({standing(session).word.toLowerCase()})
                                    </option>
                                ))}
                            </select>
                        )}
                    </Field>
                )}
            </Await>
            <Field label="Title of the run">{(field) => <input {...field} name="title" maxLength={200} placeholder={workflow.title} />}</Field>
            <label class="check"><input type="checkbox" name="record" /> Record a film</label>
            <label class="check"><input type="checkbox" name="har" /> Record the network requests (HAR)</label>
            <label class="check"><input type="checkbox" name="console" /> Record the page's console</label>
            <div><button class="button button-main" type="submit" disabled={busy}>{busy ? "Starting…" : "Run"}</button></div>
        </form>
    );
}

function ParameterField({ parameter, fault }: { parameter: Parameter; fault: string | undefined }) {
    const { key, description, default_value: value } = parameter;
    const kind = parameter.workflow_parameter_type ?? "string";
    const name = `p:${key}`;
    const required = value === null || value === undefined;
    return (
        <Field label={kind === "string" ? key : `${key} (${kind})`} hint={description} fault={fault}>
            {(field) => {
                if (kind === "boolean") {
                    return (
                        <select {...field} name={name} defaultValue={String(value ?? "false")}>
                            <option value="true">true</option>
                            <option value="false">false</option>
                        </select>
                    );
                }
                if (kind === "json") {
                    return <textarea {...field} name={name} rows={4} spellcheck={false} required={required} defaultValue={defaultText(value)} />;
                }
                const given = { ...field, name, required, defaultValue: defaultText(value) };
                return kind === "integer" || kind === "float" ? (
                    <input {...given} type="number" step={kind === "float" ? "any" : "1"} />
                ) : (
                    <input {...given} type="text" />
                );
            }}
        </Field>
    );
}
