// The panels of a session's present state: holder, queue, control, tabs; its events; its runs.

import { isOccupied, occupant, remaining, shortId } from "../text";
import { useEvents } from "./events";
import { EventList } from "./events-page";
import { useList, useLoad } from "./load";
import { Action, Await, Copy, Empty, Facts, More, Pill, Prose, Status, Table, useClock } from "./parts";
import { link } from "./router";
import { api, isWhole } from "./state";
import type { Session, Workflow } from "./types";
import { between, moment } from "./words";

export interface BrowserTab {
    readonly title?: string;
    readonly url?: string;
    readonly active?: boolean;
}

export function NowPanel({ session, path, tabs }: { session: Session; path: string; tabs: readonly BrowserTab[] }) {
    useClock();
    const { occupancy, control, egress } = session;
    const now = api().now();
    const held = isOccupied(session);
    const waiters = occupancy?.waiters ?? [];
    const holder = occupancy?.runnable_id ?? "";
    const expiry = Date.parse(occupancy?.expires_at ?? "");
    return (
        <>
            <h2>Holder</h2>
            {held ? (
                <>
                    <Facts
                        of={[
                            ["Held by", holder.startsWith("wr_") ? <a href={link(["runs", holder])}>{occupant(session)}</a> : occupant(session)],
                            ["Since", `${moment(occupancy?.since)} (${between(occupancy?.since, null, now)})`],
                            ["Lease ends", Number.isNaN(expiry) ? null : `in ${remaining(expiry - now)} without a heartbeat`],
                            ["Generation", occupancy?.generation],
                        ]}
                    />
                    {isWhole() && (
                        <Action
                            run={() => api().call("POST", `${path}/rotate`)}
                            done="The lease has ended, and all tickets and links are revoked."
                            confirm="The holder loses its lease, and every ticket, signed link and the VNC password of this session end. Connections with keys stay."
                            kind="button-small"
                        >
                            End the lease
                        </Action>
                    )}
                </>
            ) : (
                <p class="quiet">Nobody holds this session. A program that calls <code>begin</code>, or a run, takes it at once.</p>
            )}
            <h2>Queue</h2>
            {waiters.length > 0 ? (
                <ol class="queue">
                    {waiters.map((waiter) => (
                        <li key={`${waiter.place}-${waiter.runnable_id}`}>
                            <span>{waiter.runnable_type.replaceAll("_", " ")} {shortId(waiter.runnable_id)}</span>
                            <span class="quiet">waits {remaining(Date.parse(waiter.until) - now)} more</span>
                        </li>
                    ))}
                </ol>
            ) : (
                <p class="quiet">Nobody waits.</p>
            )}
            <h2>Control</h2>
            <p>
                {control?.by === "user" ? (
                    <><Pill tone="busy">A person</Pill> {control.label ?? ""} since {moment(control.since)}. The automation waits.</>
                ) : (
                    <><Pill tone="live">The automation</Pill> Use “Take control” in the view to act yourself.</>
                )}
            </p>
            {tabs.length > 0 && (
                <>
                    <h2>Tabs</h2>
                    <ul class="plain">
                        {tabs.map((tab, index) => (
                            <li key={index} aria-current={tab.active ? "page" : undefined} class="browser-tab">
                                <span>{tab.title || "New tab"}</span>
                                <code class="id">{tab.url}</code>
                            </li>
                        ))}
                    </ul>
                </>
            )}
            {(egress?.refused.length ?? 0) > 0 && (
                <>
                    <h2>Refused requests</h2>
                    <ul class="plain">
                        {egress?.refused.map((refused) => (
                            <li key={`${refused.target}${refused.message}`} class="hint-box"><Prose of={refused.message} /> ({refused.count} ×)</li>
                        ))}
                    </ul>
                </>
            )}
            {session.browser_address && isWhole() && (
                <>
                    <h2>Drive it</h2>
                    <p class="quiet">Any DevTools client connects here, with the key in the header <code>x-api-key</code>. “Connect” has it for each client:</p>
                    <Copy text={session.browser_address} label="Copy the address for DevTools clients" block />
                </>
            )}
        </>
    );
}

export function EventsPanel({ path }: { path: string }) {
    const stream = useEvents(path);
    return <EventList stream={stream} label="Events of the session" />;
}

interface SessionRun {
    readonly workflow_run_id: string;
    readonly status: string;
    readonly workflow_title: string | null;
    readonly created_at: string;
    readonly started_at: string | null;
    readonly finished_at: string | null;
}

export function RunsPanel({ path, id, over }: { path: string; id: string; over: boolean }) {
    const runs = useList<SessionRun>(`${path}/workflow_runs?page_size=50`, 4000);
    return (
        <>
            <Await of={runs}>
                {(rows) =>
                    rows.length === 0 ? (
                        <Empty title="No workflow has run here" />
                    ) : (
                        <Table label="Runs in this session" columns={["Run", "Status", "Began", "Duration"]}>
                            {rows.map((run) => (
                                <tr key={run.workflow_run_id}>
                                    <td><a class="cell-main" href={link(["runs", run.workflow_run_id])}>{run.workflow_title ?? shortId(run.workflow_run_id)}</a></td>
                                    <td><Status of={run.status} /></td>
                                    <td class="number">{moment(run.created_at)}</td>
                                    <td class="number">{between(run.started_at, run.finished_at, api().now())}</td>
                                </tr>
                            ))}
                        </Table>
                    )
                }
            </Await>
            <More of={runs} />
            {!over && <RunHere id={id} />}
        </>
    );
}

/** Links to the run forms of the workflows, with this session chosen. */
function RunHere({ id }: { id: string }) {
    const workflows = useLoad(() => api().list<Workflow>("v1/workflows?page_size=50"), []);
    return (
        <>
            <h2>Run a workflow here</h2>
            <Await of={workflows}>
                {({ rows }) =>
                    rows.length === 0 ? (
                        <p class="quiet">There are no workflows yet. <a href={link(["workflows", "new"])}>Write the first.</a></p>
                    ) : (
                        <ul class="plain links">
                            {rows.map(({ workflow_permanent_id, title }) => (
                                <li key={workflow_permanent_id}>
                                    <a href={link(["workflows", workflow_permanent_id], { tab: "run", session: id })}>{title}</a>
                                </li>
                            ))}
                        </ul>
                    )
                }
            </Await>
        </>
    );
}
