// The filters that the lists of operators share: by session, run, organization and time. Most searches do not need
// them, so they are folded until one is set.

import { useRef } from "preact/hooks";

import { Field, Search } from "./parts";
import { setQuery } from "./router";

const SUBJECTS = [
    ["session", "Session", "pbs_…"],
    ["run", "Run", "wr_…"],
    ["organization", "Organization", "o_…"],
] as const;

export function SubjectFilters({ query }: { query: URLSearchParams }) {
    // Once open, they stay: a field must not vanish while its text is removed.
    const opened = useRef(false);
    if (query.has("since") || SUBJECTS.some(([name]) => query.has(name))) opened.current = true;
    return (
        <details class="further" open={opened.current}>
            <summary>More filters</summary>
            <div class="field-row">
                {SUBJECTS.map(([name, label, form]) => (
                    <Field key={name} label={label}>
                        {({ id }) => <Search id={id} label={label} placeholder={form} value={query.get(name) ?? ""} onChange={(text) => setQuery({ [name]: text })} />}
                    </Field>
                ))}
                <Since value={query.get("since") ?? ""} set={(since) => setQuery({ since })} />
            </div>
        </details>
    );
}

/** The earliest time, in the time zone of the reader. */
function Since({ value, set }: { value: string; set: (iso: string) => void }) {
    const at = new Date(value);
    const isKnown = !Number.isNaN(at.getTime());
    const local = isKnown ? new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19) : "";
    return (
        <Field label="Not before">
            {(field) => (
                <input
                    {...field}
                    type="datetime-local"
                    step={1}
                    value={local}
                    onChange={({ currentTarget }) => {
                        const chosen = new Date(currentTarget.value);
                        set(Number.isNaN(chosen.getTime()) ? "" : chosen.toISOString());
                    }}
                />
            )}
        </Field>
    );
}
