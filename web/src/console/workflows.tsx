// The list of workflows, and the page of one: its editor, its run form, its runs and its versions.

import { useState } from "preact/hooks";

import { useList, useLoad } from "./load";
import { Action, Await, Copy, Empty, Head, Icon, More, Search, Table, TabPanel, Tabs } from "./parts";
import { Editor, SAMPLE } from "./editor";
import { go, link, route, setQuery } from "./router";
import { RunForm } from "./run-form";
import { RunTable } from "./runs";
import { TagList } from "./sessions";
import { api, notify } from "./state";
import type { RunSummary, Workflow } from "./types";
import { moment } from "./words";
import { sourceOf, toYaml } from "./yaml";

export function WorkflowsPage() {
    const search = route.value.query.get("q") ?? "";
    const params = new URLSearchParams({ page_size: "50", ...(search ? { search_key: search } : {}) });
    const workflows = useList<Workflow>(`v1/workflows?${params}`);
    return (
        <>
            <Head title="Workflows" lead="Steps that the server executes in a session: open, fill, click, extract.">
                <a class="button button-main" href={link(["workflows", "new"])}><Icon name="plus" /> New workflow</a>
            </Head>
            <div class="toolbar"><Search label="Search the title or id" value={search} onChange={(q) => setQuery({ q })} /></div>
            <Await of={workflows}>
                {(rows) =>
                    rows.length > 0 ? (
                        <Table label="Workflows" columns={["Workflow", "Blocks", "Version", "Changed", "Tags", ""]}>
                            {rows.map((workflow) => {
                                const id = workflow.workflow_permanent_id;
                                return (
                                    <tr key={id}>
                                        <td>
                                            <a class="cell-main" href={link(["workflows", id])}>{workflow.title}</a>
                                            <span class="cell-note">{workflow.description}</span>
                                        </td>
                                        <td class="number">{workflow.workflow_definition.blocks.length}</td>
                                        <td class="number">{workflow.version}</td>
                                        <td class="number">{moment(workflow.modified_at)}</td>
                                        <td><TagList of={workflow.tags ?? []} /></td>
                                        <td class="row-actions"><a class="button button-small" href={link(["workflows", id], { tab: "run" })} aria-label={`Run ${workflow.title}`}>Run</a></td>
                                    </tr>
                                );
                            })}
                        </Table>
                    ) : search ? (
                        <Empty title="No workflow has this text" />
                    ) : (
                        <Empty title="There are no workflows yet">
                            <p>A workflow is a list of blocks in YAML. Start from a sample: it opens a page and extracts its heading.</p>
                            <a class="button button-main" href={link(["workflows", "new"])}>Write the first workflow</a>
                        </Empty>
                    )
                }
            </Await>
            <More of={workflows} />
        </>
    );
}

export function NewWorkflowPage() {
    const save = async (yaml: string) => {
        const made = await api().call<Workflow>("POST", "v1/workflows", { yaml_definition: yaml });
        notify("The workflow is stored.");
        go(link(["workflows", made.workflow_permanent_id], { tab: "run" }));
    };
    return (
        <>
            <Head title="New workflow" back={{ href: link(["workflows"]), text: "Workflows" }} lead="The server checks the text as you type." />
            <Editor initial={SAMPLE} save={save} action="Create" />
        </>
    );
}

const TABS = [["edit", "Edit"], ["run", "Run"], ["history", "History"], ["versions", "Versions"]] as const;

export function WorkflowPage({ id }: { id: string }) {
    const path = `v1/workflows/${encodeURIComponent(id)}`;
    const { query } = route.value;
    const version = query.get("version") ?? "";
    const workflow = useLoad(() => api().call<Workflow>("GET", `${path}${version ? `?version=${version}` : ""}`), [path, version]);
    if (workflow.failure?.status === 404) {
        return <Head title="There is no such workflow" back={{ href: link(["workflows"]), text: "Workflows" }} />;
    }
    return (
        <Await of={workflow}>
            {(data) => <Shown workflow={data} path={path} version={version} reload={workflow.reload} />}
        </Await>
    );
}

function Shown({ workflow, path, version, reload }: { workflow: Workflow; path: string; version: string; reload: () => void }) {
    const id = workflow.workflow_permanent_id;
    const asked = route.value.query.get("tab") ?? "edit";
    const tab = TABS.some(([name]) => name === asked) ? asked : "edit";
    const save = async (yaml: string) => {
        const stored = await api().call<Workflow>("POST", path, { yaml_definition: yaml });
        notify(`Stored as version ${stored.version}.`);
        if (version) setQuery({ version: "" });
        else reload();
    };
    return (
        <>
            <Head
                title={workflow.title}
                back={{ href: link(["workflows"]), text: "Workflows" }}
                lead={<span class="head-facts"><Copy text={id} label="Copy the id of the workflow" /><span>Version {workflow.version}</span><TagList of={workflow.tags ?? []} /></span>}
            >
                <a class="button" href={link(["workflows", id, "debug"])}>Debug</a>
                <Action
                    run={async () => { await api().call("POST", `${path}/delete`); go(link(["workflows"])); }}
                    done="The workflow is deleted."
                    confirm="The workflow is deleted with all its versions. Its runs stay."
                >
                    Delete
                </Action>
            </Head>
            <Tabs label="Workflow" tabs={TABS} chosen={tab} choose={(next) => setQuery({ tab: next === "edit" ? "" : next })} />
            <TabPanel id={tab}>
                {tab === "edit" && (
                    <>
                        {version && <p class="hint-box">This is version {version}. Saving makes it the newest again. <a href={link(["workflows", id])}>Open the newest</a></p>}
                        <Editor key={workflow.workflow_id} initial={`${toYaml(sourceOf(workflow))}\n`} save={save} action="Save as a new version" />
                    </>
                )}
                {tab === "run" && <RunForm workflow={workflow} />}
                {tab === "history" && <History path={path} />}
                {tab === "versions" && <Versions path={path} id={id} present={workflow.version} />}
            </TabPanel>
        </>
    );
}

function History({ path }: { path: string }) {
    const runs = useList<RunSummary & { workflow_run_id?: string; workflow_title?: string | null }>(`${path}/runs?page_size=50`, 4000);
    return (
        <>
            <Await of={runs}>
                {(rows) =>
                    rows.length === 0 ? (
                        <Empty title="It has not run yet" />
                    ) : (
                        <RunTable runs={rows.map((run) => ({ ...run, run_id: run.run_id ?? run.workflow_run_id ?? "", title: run.title ?? run.workflow_title ?? null }))} />
                    )
                }
            </Await>
            <More of={runs} />
        </>
    );
}

function Versions({ path, id, present }: { path: string; id: string; present: number }) {
    const versions = useLoad(() => api().call<Workflow[]>("GET", `${path}/versions`), [path, present]);
    const [shown, setShown] = useState<number | null>(null);
    return (
        <Await of={versions}>
            {(rows) => {
                const open = rows.find(({ version }) => version === shown);
                return (
                    <>
                        <Table label="Versions" columns={["Version", "Title", "Stored", "Blocks", ""]}>
                            {rows.map((row) => (
                                <tr key={row.version}>
                                    <td class="number">{row.version}{row.version === present && <span class="quiet"> (open)</span>}</td>
                                    <td class="cell-main">{row.title}</td>
                                    <td class="number">{moment(row.created_at)}</td>
                                    <td class="number">{row.workflow_definition.blocks.length}</td>
                                    <td class="row-actions">
                                        <button class="button button-small" type="button" aria-expanded={shown === row.version} aria-label={`Show version ${row.version}`} onClick={() => setShown(shown === row.version ? null : row.version)}>Show</button>
                                        <a class="button button-small" href={link(["workflows", id], { version: String(row.version) })} aria-label={`Edit version ${row.version}`}>Edit</a>
                                    </td>
                                </tr>
                            ))}
                        </Table>
                        {open && <pre class="json" tabIndex={0} aria-label={`Version ${open.version}`}>{toYaml(sourceOf(open))}</pre>}
                    </>
                );
            }}
        </Await>
    );
}
