// The parts that the pages of the console share.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";

import type { ApiError } from "../api";
import type { Listed, Loaded } from "./load";
import { notify } from "./state";
import { toneOf } from "./words";
import type { Json } from "./types";

export function Icon({ name }: { name: string }) {
    return (
        <svg class="icon" aria-hidden="true">
            <use href={`#i-${name}`} />
        </svg>
    );
}

/** A state as a lamp and a word. */
export function Pill({ tone, children }: { tone?: string | undefined; children: ComponentChildren }) {
    return (
        <span class="pill" data-tone={tone}>
            <i class="lamp" />
            <span>{children}</span>
        </span>
    );
}

/** The state of a run, block, message or key, in its own word. A message without an outcome is pending. */
export function Status({ of }: { of: string | null | undefined }) {
    const word = of ?? "pending";
    return <Pill tone={toneOf(word)}>{word.replaceAll("_", " ")}</Pill>;
}

/** The heading of a page. It receives the focus when the page opens, so that screen readers announce it. */
export function Head({ title, lead, back, children }: {
    title: ComponentChildren;
    lead?: ComponentChildren;
    back?: { readonly href: string; readonly text: string };
    children?: ComponentChildren;
}) {
    const heading = useRef<HTMLHeadingElement>(null);
    const text = typeof title === "string" ? title : null;
    useEffect(() => {
        heading.current?.focus({ preventScroll: true });
    }, []);
    useEffect(() => {
        if (text !== null) document.title = `${text} · Greenroom`;
    }, [text]);
    return (
        <header class="head">
            <div class="head-text">
                {back && (
                    <a class="back" href={back.href}>
                        ← {back.text}
                    </a>
                )}
                <h1 ref={heading} tabIndex={-1}>{title}</h1>
                {lead && <p class="lead">{lead}</p>}
            </div>
            <div class="head-actions">{children}</div>
        </header>
    );
}

/** A message of the server, with the names in it that stand between backticks as code. */
export function Prose({ of }: { of: string }) {
    return <>{of.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}</>;
}

/** A failed request, with what to do next. */
export function Fault({ of, retry }: { of: ApiError; retry?: (() => void) | undefined }) {
    const advice =
        of.code === "key_insufficient"
            ? "Another key may permit it: sign out, and sign in with that one."
            : of.status === 0
              ? "Check that the server runs; the page tries again."
              : null;
    return (
        <div class="fault" role="alert">
            <Icon name="warning" />
            <div>
                <p><Prose of={of.message} /></p>
                {advice && <p class="quiet">{advice}</p>}
            </div>
            {retry && (
                <button class="button button-small" type="button" onClick={retry}>
                    Try again
                </button>
            )}
        </div>
    );
}

/** An empty place that explains what would be here, and how to make the first. */
export function Empty({ title, children, command }: { title: string; children?: ComponentChildren; command?: string }) {
    return (
        <div class="empty">
            <h2>{title}</h2>
            {children}
            {command && <Copy text={command} label="Copy the command" block />}
        </div>
    );
}

/** Shows loaded data, or that it is loading, or the failure. */
export function Await<T>({ of, children }: { of: Loaded<T>; children: (data: T) => ComponentChildren }) {
    if (of.data !== null) {
        return (
            <>
                {of.failure && <Fault of={of.failure} retry={of.reload} />}
                {children(of.data)}
            </>
        );
    }
    if (of.failure) return <Fault of={of.failure} retry={of.reload} />;
    return <p class="loading" role="status">Loading…</p>;
}

export function More<T>({ of }: { of: Listed<T> }) {
    if (!of.more) return null;
    return (
        <p class="more">
            <button class="button" type="button" onClick={of.more}>Show more</button>
        </p>
    );
}

/** A text that can be copied, such as an id or a link. */
export function Copy({ text, label, shown, block }: { text: string; label?: string; shown?: string; block?: boolean }) {
    const copy = async () => {
        try {
            await navigator.clipboard.writeText(text);
            notify("Copied.");
        } catch {
            notify("The browser did not permit copying. Select the text instead.", true);
        }
    };
    return (
        <span class={block ? "copy copy-block" : "copy"}>
            <code>{shown ?? text}</code>
            <button class="icon-button icon-small" type="button" aria-label={label ?? `Copy ${text}`} title="Copy" onClick={() => void copy()}>
                <Icon name="clipboard" />
            </button>
        </span>
    );
}

/** A modal dialog. The browser keeps the focus in it, and Escape closes it. */
export function Dialog({ title, onClose, children, wide }: {
    title: string;
    onClose: () => void;
    children: ComponentChildren;
    wide?: boolean;
}) {
    const dialog = useRef<HTMLDialogElement>(null);
    const id = useId();
    useEffect(() => {
        const shown = dialog.current;
        if (shown && !shown.open) shown.showModal();
        return () => shown?.close();
    }, []);
    return (
        <dialog ref={dialog} class={wide ? "dialog dialog-wide" : "dialog"} aria-labelledby={id} onCancel={onClose} onClose={onClose}>
            <div class="dialog-head">
                <h2 id={id}>{title}</h2>
                <button class="icon-button" type="button" aria-label="Close" onClick={onClose}>
                    <Icon name="close" />
                </button>
            </div>
            {children}
        </dialog>
    );
}

/** A labelled control, with an explanation and a fault. */
export function Field({ label, hint, fault, children }: {
    label: string;
    hint?: ComponentChildren;
    fault?: string | null | undefined;
    children: (attributes: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => JSX.Element;
}) {
    const id = useId();
    const described = `${id}-hint`;
    const attributes = {
        id,
        ...(hint || fault ? { "aria-describedby": described } : {}),
        ...(fault ? { "aria-invalid": true } : {}),
    };
    return (
        <div class="field">
            <label for={id}>{label}</label>
            {children(attributes)}
            {(hint || fault) && (
                <p id={described} class={fault ? "complaint" : "hint"}>
                    {fault ?? hint}
                </p>
            )}
        </div>
    );
}

/** A button that runs an action: disabled meanwhile, with the failure as a notice. */
export function Action({ run, done, children, kind = "", confirm, disabled, label }: {
    run: () => Promise<unknown>;
    done?: string;
    children: ComponentChildren;
    kind?: string;
    /** A question that must be answered first, for what cannot be undone. */
    confirm?: string;
    disabled?: boolean;
    label?: string;
}) {
    const [busy, setBusy] = useState(false);
    const [asking, setAsking] = useState(false);
    const act = async () => {
        setAsking(false);
        setBusy(true);
        try {
            await run();
            if (done) notify(done);
        } catch (cause) {
            notify(cause instanceof Error ? cause.message : String(cause), true);
        } finally {
            setBusy(false);
        }
    };
    return (
        <>
            <button
                class={`button ${kind}`}
                type="button"
                aria-label={label}
                aria-busy={busy}
                disabled={busy || disabled}
                onClick={() => (confirm ? setAsking(true) : void act())}
            >
                {children}
            </button>
            {asking && confirm && (
                <Dialog title="Please confirm" onClose={() => setAsking(false)}>
                    <p>{confirm}</p>
                    <div class="dialog-actions">
                        <button class="button" type="button" onClick={() => setAsking(false)}>Cancel</button>
                        <button class="button button-warm" type="button" onClick={() => void act()}>{children}</button>
                    </div>
                </Dialog>
            )}
        </>
    );
}

/** Facts as a list of terms and values. Empty values are left out. */
export function Facts({ of }: { of: readonly (readonly [string, ComponentChildren])[] }) {
    const shown = of.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
    return (
        <dl class="facts-list">
            {shown.map(([name, value]) => (
                <div key={name}>
                    <dt>{name}</dt>
                    <dd>{value}</dd>
                </div>
            ))}
        </dl>
    );
}

export function JsonView({ value, label }: { value: Json | unknown; label: string }) {
    return (
        <pre class="json" tabIndex={0} aria-label={label}>
            {typeof value === "string" ? value : JSON.stringify(value, null, 2)}
        </pre>
    );
}

/** A table that scrolls sideways on a narrow screen. */
export function Table({ label, columns, children }: { label: string; columns: readonly string[]; children: ComponentChildren }) {
    return (
        <div class="table" role="region" aria-label={label} tabIndex={0}>
            <table>
                <thead>
                    <tr>
                        {columns.map((column) => (
                            <th key={column} scope="col">
                                {column || <span class="sr">Actions</span>}
                            </th>
                        ))}
                    </tr>
                </thead>
                <tbody>{children}</tbody>
            </table>
        </div>
    );
}

/** Tabs within a page. Arrow keys move between them. */
export function Tabs({ label, tabs, chosen, choose }: {
    label: string;
    tabs: readonly (readonly [id: string, text: ComponentChildren])[];
    chosen: string;
    choose: (id: string) => void;
}) {
    const list = useRef<HTMLDivElement>(null);
    const onKey = (event: KeyboardEvent) => {
        const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
        if (step === 0) return;
        event.preventDefault();
        const at = tabs.findIndex(([id]) => id === chosen);
        const next = (at + step + tabs.length) % tabs.length;
        choose(tabs[next]?.[0] ?? chosen);
        (list.current?.children[next] as HTMLElement | undefined)?.focus();
    };
    return (
        <div ref={list} class="tablist" role="tablist" aria-label={label} onKeyDown={onKey}>
            {tabs.map(([id, text]) => (
                <button
                    key={id}
                    id={`tab-${id}`}
                    type="button"
                    role="tab"
                    aria-selected={id === chosen}
                    aria-controls={`panel-${id}`}
                    tabIndex={id === chosen ? 0 : -1}
                    onClick={() => choose(id)}
                >
                    {text}
                </button>
            ))}
        </div>
    );
}

export function TabPanel({ id, children }: { id: string; children: ComponentChildren }) {
    return (
        <div id={`panel-${id}`} class="tabpanel" role="tabpanel" aria-labelledby={`tab-${id}`} tabIndex={0}>
            {children}
        </div>
    );
}

/** Renders again each second, for texts of remaining time. */
export function useClock(): void {
    const [, tick] = useState(0);
    useEffect(() => {
        const timer = window.setInterval(() => tick((count) => count + 1), 1000);
        return () => window.clearInterval(timer);
    }, []);
}

/** A search field that reports its text a moment after the last key. */
export function Search({ label, value, onChange, placeholder, type = "search", id }: {
    label: string;
    value: string;
    onChange: (text: string) => void;
    placeholder?: string;
    type?: "search" | "number";
    id?: string;
}) {
    const timer = useRef<number | undefined>(undefined);
    const field = useRef<HTMLInputElement>(null);
    useEffect(() => {
        // A filter that was set elsewhere, or removed, is shown; a text that is being typed stays.
        const shown = field.current;
        if (shown && shown !== document.activeElement) shown.value = value;
    }, [value]);
    return (
        <input
            ref={field}
            id={id}
            class="search"
            // The types of Preact want one literal.
            type={type as "search"}
            min={type === "number" ? 0 : undefined}
            aria-label={label}
            placeholder={placeholder ?? label}
            defaultValue={value}
            spellcheck={false}
            onInput={({ currentTarget }) => {
                const text = currentTarget.value;
                window.clearTimeout(timer.current);
                timer.current = window.setTimeout(() => onChange(text.trim()), 250);
            }}
        />
    );
}
