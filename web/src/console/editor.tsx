// The editor of a workflow's YAML. The server checks the text while a person types, and its messages stand beside
// the lines that they name.

import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, type FieldFault } from "../api";
import { failureOf } from "./load";
import { Prose } from "./parts";
import { saveBlob } from "./saving";
import { api } from "./state";
import { commentLines } from "./yaml-comments";

export const SAMPLE = `title: Read a heading
description: Opens a page and extracts its heading.
workflow_definition:
  parameters:
    - parameter_type: workflow
      key: address
      workflow_parameter_type: string
      default_value: https://example.com
      description: The page to read.
  blocks:
    - block_type: goto_url
      label: open
      url: "{{ address }}"
    - block_type: extract
      label: read
      fields:
        heading: h1
    - block_type: screenshot
      label: picture
`;

/** The pause after the last key, before the server checks. */
const PAUSE_MS = 400;

/** An id that no workflow has: an update of it is checked completely, and then refused without storing anything. */
const NOBODY = "v1/workflows/wpid_1";

/** The faults of a text, by the server's own check. Null if the server could not check it. */
export async function check(yaml: string): Promise<readonly FieldFault[] | null> {
    try {
        await api().call("POST", NOBODY, { yaml_definition: yaml });
        return [];
    } catch (cause) {
        const failure = failureOf(cause);
        if (failure.status === 404) return [];
        if (failure.faults.length > 0) return failure.faults;
        if (failure.status === 422 || failure.status === 400) return [{ loc: [], msg: failure.message }];
        return null;
    }
}

/** The line that a fault names. */
export function lineOf(fault: FieldFault): number | null {
    if (typeof fault.ctx?.line === "number") return fault.ctx.line;
    const found = /^line (\d+)/.exec(fault.msg);
    return found ? Number(found[1]) : null;
}

type Checked = readonly FieldFault[] | null | "checking";

export function Editor({ initial, save, action, onChange }: {
    initial: string;
    save: (yaml: string) => Promise<void>;
    action: string;
    onChange?: (yaml: string) => void;
}) {
    const [text, setText] = useState(initial);
    const [checked, setChecked] = useState<Checked>("checking");
    const [busy, setBusy] = useState(false);
    const [refusal, setRefusal] = useState<string | null>(null);
    const area = useRef<HTMLTextAreaElement>(null);
    const gutter = useRef<HTMLDivElement>(null);

    useEffect(() => {
        let current = true;
        setChecked("checking");
        const timer = window.setTimeout(() => {
            void check(text).then((faults) => {
                if (current) setChecked(faults);
            });
        }, PAUSE_MS);
        return () => {
            current = false;
            window.clearTimeout(timer);
        };
    }, [text]);

    const change = (next: string) => {
        setText(next);
        setRefusal(null);
        onChange?.(next);
    };
    const faults = Array.isArray(checked) ? (checked as readonly FieldFault[]) : [];
    const faulty = new Set(faults.map(lineOf));
    const lines = text.split("\n");

    const onKey = (event: KeyboardEvent) => {
        const field = area.current;
        if (!field) return;
        if ((event.ctrlKey || event.metaKey) && event.key === "s") {
            event.preventDefault();
            void onSave();
        } else if (event.key === "Enter") {
            // A new line starts below the text of the former one, and below the field after a list's mark.
            event.preventDefault();
            const before = text.slice(0, field.selectionStart);
            const line = before.slice(before.lastIndexOf("\n") + 1);
            const indent = /^\s*/.exec(line)?.[0] ?? "";
            const deeper = /^\s*-\s+\S/.test(line) || /:\s*$/.test(line) ? "  " : "";
            field.setRangeText(`\n${indent}${deeper}`, field.selectionStart, field.selectionEnd, "end");
            change(field.value);
        }
    };
    const onSave = async () => {
        setBusy(true);
        try {
            await save(text);
        } catch (cause) {
            setRefusal(cause instanceof ApiError ? cause.message : String(cause));
            if (cause instanceof ApiError && cause.faults.length > 0) setChecked(cause.faults);
        }
        setBusy(false);
    };
    const jump = (line: number) => {
        const field = area.current;
        if (!field) return;
        const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
        field.focus();
        field.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
        field.scrollTop = Math.max(0, (line - 6) * 20);
    };
    const verdict =
        checked === "checking" ? "Checking…"
        : checked === null ? "The server could not check the text."
        : faults.length === 0 ? "No faults."
        : `${faults.length} ${faults.length === 1 ? "fault" : "faults"}`;

    return (
        <div class="editor">
            <div class="editor-body" data-faulty={faults.length > 0}>
                <div ref={gutter} class="editor-lines" aria-hidden="true">
                    {lines.map((_, index) => <div key={index} data-faulty={faulty.has(index + 1)}>{index + 1}</div>)}
                </div>
                <textarea
                    ref={area}
                    class="editor-text"
                    aria-label="The workflow in YAML"
                    aria-describedby="editor-verdict"
                    aria-invalid={faults.length > 0}
                    value={text}
                    spellcheck={false}
                    autocapitalize="off"
                    autocomplete="off"
                    wrap="off"
                    onInput={({ currentTarget }) => change(currentTarget.value)}
                    onKeyDown={onKey}
                    onScroll={({ currentTarget }) => {
                        if (gutter.current) gutter.current.scrollTop = currentTarget.scrollTop;
                    }}
                />
            </div>
            <div class="editor-foot">
                <p id="editor-verdict" class="editor-verdict" role="status" data-state={checked === "checking" ? "checking" : faults.length > 0 || checked === null ? "faulty" : "good"}>
                    {verdict}
                </p>
                <button class="button button-main" type="button" disabled={busy} aria-describedby="editor-comments" onClick={() => void onSave()}>
                    {busy ? "Storing…" : action}
                </button>
            </div>
            <Comments text={text} />
            {refusal && faults.length === 0 && <p class="complaint" role="alert">{refusal}</p>}
            {faults.length > 0 && (
                <ul class="editor-faults">
                    {faults.map((fault, index) => {
                        const line = lineOf(fault);
                        return (
                            <li key={index}>
                                {line === null ? <Prose of={fault.msg} /> : <button type="button" onClick={() => jump(line)}><Prose of={fault.msg} /></button>}
                            </li>
                        );
                    })}
                </ul>
            )}
        </div>
    );
}

/** The warning that comments are lost, while there are any. */
function Comments({ text }: { text: string }) {
    const lines = commentLines(text);
    const shown = lines.slice(0, 8).join(", ");
    return (
        <div id="editor-comments" role="status">
            {lines.length > 0 && (
                <div class="hint-box hint-action">
                    <p>
                        The {lines.length === 1 ? `comment in line ${shown} is` : `comments in lines ${shown}${lines.length > 8 ? " and further ones" : ""} are`} not
                        stored: the server keeps what the workflow says, and not its text. A <code>description</code> of a parameter, or of the workflow, is kept.
                    </p>
                    <button class="button button-small" type="button" onClick={() => saveBlob(new Blob([text], { type: "application/yaml" }), "workflow.yaml")}>
                        Save the text as a file
                    </button>
                </div>
            )}
        </div>
    );
}
