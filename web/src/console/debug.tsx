// The debugger of a workflow: a live session, the text of the workflow, and runs of single blocks in that session.

import { useState } from "preact/hooks";

import { Editor } from "./editor";
import { useLoad } from "./load";
import { Action, Await, Field, Head, JsonView, Status } from "./parts";
import { link } from "./router";
import { plainOutput } from "./run";
import { valueOf } from "./run-form";
import { api, notify } from "./state";
import type { DebugSession, Json, Run, Workflow, WorkflowBlock } from "./types";
import { isFinalRun } from "./words";
import { sourceOf, toYaml } from "./yaml";

/** A debug session starts its browser at the first use. */
const START_MS = 130_000;

export function DebugPage({ id }: { id: string }) {
    const path = `v1/workflows/${encodeURIComponent(id)}`;
    const debugPath = `v1/debug-session/${encodeURIComponent(id)}`;
    const workflow = useLoad(() => api().call<Workflow>("GET", path), [path]);
    const session = useLoad(() => api().call<DebugSession>("GET", debugPath, undefined, START_MS), [debugPath]);
    return (
        <>
            <Head
                title={workflow.data ? `Debug: ${workflow.data.title}` : "Debug"}
                back={{ href: link(["workflows", id]), text: "Workflow" }}
                lead="A browser of your own for this workflow. Run one block, look at the page, change the block, run it again."
            >
                <Action run={async () => { await api().call("POST", `${debugPath}/new`, undefined, START_MS); session.reload(); }} done="A new browser is ready.">New browser</Action>
                <Action run={async () => { await api().call("DELETE", debugPath); location.hash = link(["workflows", id]); }} done="The debug session is closed.">End</Action>
            </Head>
            <div class="session">
                <Await of={session}>
                    {(debug) => (
                        <div class="stage-frame">
                            {debug.replaced && <p class="hint-box">The former browser was replaced: {debug.replaced_reason?.replaceAll("_", " ")}.</p>}
                            <iframe key={debug.browser_session_id} title="Live view of the debug session" src={`view/${encodeURIComponent(debug.browser_session_id)}`} allow="clipboard-read; clipboard-write; fullscreen" />
                        </div>
                    )}
                </Await>
                <section class="session-side" aria-label="Blocks">
                    <Await of={workflow}>
                        {(data) => session.data ? <Blocks workflow={data} debug={session.data} path={path} reload={workflow.reload} /> : <p class="loading">The browser starts…</p>}
                    </Await>
                </section>
            </div>
        </>
    );
}

interface Result {
    readonly label: string;
    readonly run: Run | null;
}

function Blocks({ workflow, debug, path, reload }: { workflow: Workflow; debug: DebugSession; path: string; reload: () => void }) {
    const parameters = workflow.workflow_definition.parameters.filter(({ parameter_type }) => parameter_type === "workflow");
    const [texts, setTexts] = useState<Readonly<Record<string, string>>>({});
    const [result, setResult] = useState<Result | null>(null);
    const [editing, setEditing] = useState(false);

    const run = async (block: WorkflowBlock) => {
        const values: Record<string, Json> = {};
        for (const parameter of parameters) {
            const { key, default_value: value } = parameter;
            const text = texts[key] ?? (typeof value === "string" ? value : value == null ? "" : JSON.stringify(value));
            const given = valueOf(parameter, text);
            if (given !== undefined) values[key] = given;
        }
        setResult({ label: block.label, run: null });
        const made = await api().call<{ run_id?: string; workflow_run_id?: string }>("POST", "v1/run/workflows/blocks", {
            workflow_id: workflow.workflow_permanent_id,
            block_labels: [block.label],
            parameters: values,
            browser_session_id: debug.browser_session_id,
            debug_session_id: debug.debug_session_id,
        });
        const id = made.run_id ?? made.workflow_run_id ?? "";
        let after: number | null = null;
        for (;;) {
            const query: string = after === null ? "" : `?after=${after}`;
            const present: Run = await api().call<Run>("GET", `v1/runs/${encodeURIComponent(id)}${query}`, undefined, 40_000);
            setResult({ label: block.label, run: present });
            if (isFinalRun(present.status)) return;
            after = present.version;
        }
    };
    const save = async (yaml: string) => {
        const stored = await api().call<Workflow>("POST", path, { yaml_definition: yaml });
        notify(`Stored as version ${stored.version}.`);
        setEditing(false);
        reload();
    };
    if (editing) {
        return (
            <>
                <p class="row-actions"><button class="button button-small" type="button" onClick={() => setEditing(false)}>Back to the blocks</button></p>
                <Editor initial={`${toYaml(sourceOf(workflow))}\n`} save={save} action="Save" />
            </>
        );
    }
    return (
        <>
            <p class="row-actions"><button class="button button-small" type="button" onClick={() => setEditing(true)}>Edit the blocks</button></p>
            {parameters.map(({ key, default_value: value }) => (
                <Field key={key} label={key}>
                    {(field) => (
                        <input
                            {...field}
                            value={texts[key] ?? (typeof value === "string" ? value : value == null ? "" : JSON.stringify(value))}
                            onInput={({ currentTarget }) => setTexts({ ...texts, [key]: currentTarget.value })}
                        />
                    )}
                </Field>
            ))}
            <ol class="debug-blocks">
                {workflow.workflow_definition.blocks.map((block) => (
                    <li key={block.label} data-chosen={result?.label === block.label}>
                        <span class="cell-main">{block.label}</span>
                        <code class="id">{block.block_type}</code>
                        <Action kind="button-small" label={`Run the block ${block.label}`} run={() => run(block)}>Run</Action>
                    </li>
                ))}
            </ol>
            {result && (
                <div class="block-detail" aria-live="polite">
                    <h3>{result.label} <Status of={result.run?.status ?? "created"} /></h3>
                    {result.run?.failure_reason && <p class="complaint">{result.run.failure_reason}</p>}
                    {result.run?.output != null && <JsonView value={plainOutput(result.run.output)} label="Output of the block" />}
                    {result.run && <p><a href={link(["runs", result.run.run_id])}>The run</a></p>}
                </div>
            )}
        </>
    );
}
