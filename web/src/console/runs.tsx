// The list of runs, with filters.

import { shortId } from "../text";
import { useList } from "./load";
import { Await, Empty, Head, More, Search, Status, Table, useClock } from "./parts";
import { link, route, setQuery } from "./router";
import { api } from "./state";
import type { RunSummary } from "./types";
import { between, moment } from "./words";

const STATUSES = ["created", "queued", "running", "paused", "completed", "failed", "terminated", "canceled", "timed_out"];

export function RunsPage() {
    const { query } = route.value;
    const status = query.get("status") ?? "";
    const search = query.get("q") ?? "";
    const params = new URLSearchParams({ page_size: "50" });
    if (status) params.set("status", status);
    if (search) params.set("search_key", search);
    const runs = useList<RunSummary>(`v1/runs?${params}`, 4000);
    return (
        <>
            <Head title="Runs" lead="Executions of workflows, newest first." />
            <div class="toolbar" role="group" aria-label="Filters">
                <select aria-label="Status" value={status} onChange={({ currentTarget }) => setQuery({ status: currentTarget.value })}>
                    <option value="">All statuses</option>
                    {STATUSES.map((name) => <option key={name} value={name}>{name.replaceAll("_", " ")}</option>)}
                </select>
                <Search label="Search the title or id" value={search} onChange={(q) => setQuery({ q })} />
            </div>
            <Await of={runs}>
                {(rows) =>
                    rows.length > 0 ? (
                        <RunTable runs={rows} />
                    ) : status || search ? (
                        <Empty title="No run matches the filters" />
                    ) : (
                        <Empty title="Nothing has run yet">
                            <p>A run executes the blocks of a workflow in a session: it opens pages, fills forms and extracts data.</p>
                            <a class="button button-main" href={link(["workflows"])}>Choose a workflow</a>
                        </Empty>
                    )
                }
            </Await>
            <More of={runs} />
        </>
    );
}

export function RunTable({ runs }: { runs: readonly RunSummary[] }) {
    useClock();
    return (
        <Table label="Runs" columns={["Run", "Status", "Began", "Duration", "Session"]}>
            {runs.map((run) => (
                <tr key={run.run_id}>
                    <td>
                        <a class="cell-main" href={link(["runs", run.run_id])}>{run.title ?? "Untitled"}</a>
                        <code class="id">{run.run_id}</code>
                    </td>
                    <td><Status of={run.status} /></td>
                    <td class="number">{moment(run.started_at ?? run.created_at)}</td>
                    <td class="number">{between(run.started_at, run.finished_at, api().now())}</td>
                    <td>
                        {run.browser_session_id ? (
                            <a href={link(["sessions", run.browser_session_id])}>{shortId(run.browser_session_id)}</a>
                        ) : (
                            <span class="quiet">none</span>
                        )}
                    </td>
                </tr>
            ))}
        </Table>
    );
}
