// The page of one run: its blocks on a scale of time, with the picture, output and error of each; its files.

import { useState } from "preact/hooks";

import { shortId } from "../text";
import { Explained } from "./explained";
import { useFollow, useLoad } from "./load";
import { Action, Await, Copy, Empty, Facts, Head, JsonView, Prose, Status, useClock } from "./parts";
import { link, route, setQuery } from "./router";
import { artifactAddress } from "./saving";
import { ArtifactList } from "./session-files";
import { api, isOperator, notify } from "./state";
import { type Bar, barsOf } from "./timeline";
import type { Artifact, Json, Run, TimelineItem } from "./types";
import { between, duration, isFinalRun, moment } from "./words";

export function RunPage({ id }: { id: string }) {
    const path = `v1/runs/${encodeURIComponent(id)}`;
    const run = useFollow<Run>(path, (run) => isFinalRun(run.status));
    if (run.failure?.status === 404) {
        return <Head title="There is no such run" back={{ href: link(["runs"]), text: "Runs" }} lead={`The server knows no run ${id}.`} />;
    }
    return <Await of={run}>{(data) => <Shown run={data} path={path} />}</Await>;
}

function Shown({ run, path }: { run: Run; path: string }) {
    useClock();
    const over = isFinalRun(run.status);
    const id = run.run_id;
    const again = async () => {
        const made = await api().call<{ run_id: string }>("POST", `v1/workflows/runs/${encodeURIComponent(id)}/retry`);
        location.hash = link(["runs", made.run_id]);
    };
    return (
        <>
            <Head
                title={run.title ?? `Run ${shortId(id)}`}
                back={{ href: link(["runs"]), text: "Runs" }}
                lead={
                    <span class="head-facts">
                        <Status of={run.status} />
                        <Copy text={id} label="Copy the id of the run" />
                        <span class="time">{between(run.started_at, run.finished_at, api().now())}</span>
                    </span>
                }
            >
                {run.browser_session_id && <a class="button" href={link(["sessions", run.browser_session_id])}>{over ? "Session" : "Watch"}</a>}
                <a class="button" href={link(["workflows", run.workflow_permanent_id])}>Workflow</a>
                {isOperator() && <a class="button" href={link(["messages"], { run: id, view: "lanes" })}>Messages</a>}
                {over ? (
                    <Action run={again}>Run again</Action>
                ) : (
                    <Action run={() => api().call("POST", `${path}/cancel`)} done="The run is being canceled." confirm="The run ends after its present step. What it has extracted so far stays.">
                        Cancel
                    </Action>
                )}
                {run.status === "paused" && <Action kind="button-main" run={() => api().call("POST", `v1/workflows/runs/${encodeURIComponent(id)}/continue`)}>Continue</Action>}
            </Head>
            {run.warning && <p class="hint-box"><Prose of={run.warning} /></p>}
            {!over && <Explained path={path} version={run.version} over={over} />}
            {run.failure_reason && (
                <div class="fault" role="alert">
                    <svg class="icon" aria-hidden="true"><use href="#i-warning" /></svg>
                    <div>
                        <p><Prose of={run.failure_reason} /></p>
                        {run.failure?.hint && <p class="quiet">{run.failure.hint}</p>}
                    </div>
                </div>
            )}
            {run.egress_refused?.map((refused) => <p key={refused.message} class="hint-box"><Prose of={refused.message} /> ({refused.count} ×)</p>)}
            <Timeline run={run} path={path} />
            <div class="columns">
                <section>
                    <h2>Parameters</h2>
                    {Object.keys(run.run_request.parameters ?? {}).length > 0 ? (
                        <JsonView value={run.run_request.parameters} label="Parameters" />
                    ) : (
                        <p class="quiet">The run has none.</p>
                    )}
                    <h2>Facts</h2>
                    <Facts
                        of={[
                            ["Created", moment(run.created_at)],
                            ["Queued", run.queued_at && moment(run.queued_at)],
                            ["Began", run.started_at && moment(run.started_at)],
                            ["Ended", run.finished_at && moment(run.finished_at)],
                            ["Workflow version", run.workflow_version_id],
                            ["Film", run.recording_url && <a href={artifactAddress(run.recording_url)} target="_blank" rel="noopener">Play</a>],
                        ]}
                    />
                </section>
                <section>
                    <h2>Output</h2>
                    {run.output ? <JsonView value={plainOutput(run.output)} label="Output" /> : <p class="quiet">There is none yet.</p>}
                    {run.errors && run.errors.length > 0 && (
                        <>
                            <h2>Errors</h2>
                            <JsonView value={run.errors} label="Errors" />
                        </>
                    )}
                </section>
            </div>
            <h2>Artifacts</h2>
            <ArtifactList path={`${path}/artifacts`} every={over ? 0 : 5000} />
        </>
    );
}

/** Fields that the compatible API adds to the output of each block, empty for most. */
const FILLER = /^(task_|workflow_screenshot|downloaded_|failure_category$|errors$|error_codes$)/;

/** An output without its empty fields, which hide what was extracted. */
export function plainOutput(output: Json): Json {
    if (Array.isArray(output) || typeof output !== "object" || output === null) return output;
    const kept = Object.entries(output as Record<string, Json>).filter(([name, value]) => {
        const empty = value === null || (Array.isArray(value) && value.length === 0);
        return !(empty && (FILLER.test(name) || ["extracted_information", "failure_reason"].includes(name)));
    });
    return Object.fromEntries(kept.map(([name, value]) => [name, plainOutput(value)]));
}

function Timeline({ run, path }: { run: Run; path: string }) {
    // The version of a run changes with each of its blocks.
    const timeline = useLoad(
        async () => {
            const [items, artifacts] = await Promise.all([
                api().call<TimelineItem[]>("GET", `${path}/timeline`),
                api().call<Artifact[]>("GET", `${path}/artifacts`),
            ]);
            return { items, artifacts };
        },
        [path],
        isFinalRun(run.status) ? 0 : 1500,
    );
    const [settled, setSettled] = useState(run.status);
    if (settled !== run.status) {
        setSettled(run.status);
        timeline.reload();
    }
    const asked = route.value.query.get("block") ?? "";
    return (
        <section aria-labelledby="blocks-title">
            <h2 id="blocks-title">Blocks</h2>
            <Await of={timeline}>
                {({ items, artifacts }) => {
                    if (items.length === 0) return <p class="quiet">No block has started.</p>;
                    const bars = barsOf(items, api().now());
                    const chosen = bars.find(({ block }) => block.workflow_run_block_id === asked) ?? firstOfInterest(bars);
                    return (
                        <div class="timeline">
                            <ol class="bars">
                                {bars.map((bar) => (
                                    <li key={bar.block.workflow_run_block_id}>
                                        <BlockBar bar={bar} chosen={bar === chosen} />
                                    </li>
                                ))}
                            </ol>
                            {chosen && <BlockDetail bar={chosen} artifacts={artifacts} />}
                        </div>
                    );
                }}
            </Await>
        </section>
    );
}

/** The block to show first: a failed one, else the last. */
function firstOfInterest(bars: readonly Bar[]): Bar | undefined {
    return bars.find(({ block }) => block.status === "failed") ?? bars.at(-1);
}

function BlockBar({ bar, chosen }: { bar: Bar; chosen: boolean }) {
    const { block } = bar;
    const took = block.duration === null ? "" : duration(block.duration);
    const name = block.label ?? block.block_type;
    return (
        <button
            type="button"
            class="bar-row"
            data-status={block.status}
            data-depth={Math.min(bar.depth, 5)}
            aria-pressed={chosen}
            onClick={() => setQuery({ block: block.workflow_run_block_id })}
        >
            <span class="bar-name">{name}</span>
            <span class="bar-type">{block.greenroom_block_type ?? block.block_type}</span>
            <span class="bar-track">
                <span class="bar-fill" style={{ left: `${bar.from * 100}%`, width: `${Math.max(bar.length * 100, 0.6)}%` }} />
            </span>
            <span class="bar-took">{took || block.status}</span>
            {took && <span class="sr">{block.status}</span>}
        </button>
    );
}

function BlockDetail({ bar, artifacts }: { bar: Bar; artifacts: readonly Artifact[] }) {
    const { block } = bar;
    const mine = artifacts.filter(({ workflow_run_block_id }) => workflow_run_block_id === block.workflow_run_block_id);
    const pictures = mine.filter(({ media_type }) => media_type.startsWith("image/"));
    const picture = pictures.at(-1);
    const output = plainOutput(block.output);
    return (
        <div class="block-detail" aria-live="polite">
            <h3>{block.label ?? block.block_type} <Status of={block.status} /></h3>
            {block.failure_reason && <p class="complaint"><Prose of={block.failure_reason} /></p>}
            {block.error_codes?.length > 0 && <p class="quiet">Codes: {block.error_codes.join(", ")}</p>}
            {picture && (
                <a href={artifactAddress(picture.signed_url)} target="_blank" rel="noopener">
                    <img class="block-picture" src={artifactAddress(picture.signed_url)} alt={`The page after the block ${block.label ?? ""}`} />
                </a>
            )}
            {output !== null && output !== undefined && (
                <details open={!picture} class="further">
                    <summary>Output</summary>
                    <JsonView value={output} label="Output of the block" />
                </details>
            )}
            {mine.length > 0 && (
                <p class="quiet">
                    {mine.map((artifact) => (
                        <a key={artifact.artifact_id} class="inline-link" href={artifactAddress(artifact.signed_url)} target="_blank" rel="noopener">{artifact.file_name}</a>
                    ))}
                </p>
            )}
            {!picture && !block.failure_reason && output === null && <Empty title="No output yet" />}
        </div>
    );
}

/** Starts a run and opens its page. */
export async function startRun(body: Readonly<Record<string, unknown>>): Promise<void> {
    const made = await api().call<{ run_id: string; warning?: string | null }>("POST", "v1/run/workflows", body);
    if (made.warning) notify(made.warning, true);
    location.hash = link(["runs", made.run_id]);
}
