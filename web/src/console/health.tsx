// The state of the server, for operators: readiness, capacity, draining, leaks; its figures over time, the work of each
// actor, and the settings in force.

import { NodesPanel, PoolPanel, PressurePanel } from "./capacity";
import { Charts, useReadings } from "./charts";
import { useLoad } from "./load";
import { Action, Await, Empty, Facts, Head, JsonView, Pill, Table, TabPanel, Tabs } from "./parts";
import { link, route, setQuery } from "./router";
import { ConfigPanel } from "./settings-panel";
import { api } from "./state";
import type { Actor, Json } from "./types";
import { moment } from "./words";

interface Drain {
    readonly state: string;
    readonly since: string | null;
    readonly deadline: string | null;
    readonly drained: boolean;
    readonly left: Readonly<Record<string, number>>;
}

interface Leaks {
    readonly healthy: boolean;
    readonly leaks: readonly { readonly kind?: string; readonly name?: string; readonly owner?: Json; readonly reason?: string; readonly [field: string]: Json | undefined }[];
}

const TABS = [["state", "State"], ["charts", "Charts"], ["actors", "Actors"], ["settings", "Settings"]] as const;

export function HealthPage() {
    const asked = route.value.query.get("tab") ?? "state";
    const tab = TABS.some(([name]) => name === asked) ? asked : "state";
    const readings = useReadings();
    return (
        <>
            <Head title="Health" lead="This server: its capacity, its figures, its actors, and what was left behind." />
            <Tabs label="Health" tabs={TABS} chosen={tab} choose={(next) => setQuery({ tab: next === "state" ? "" : next, q: "", source: "" })} />
            <TabPanel id={tab}>
                {tab === "state" && <StatePanel />}
                {tab === "charts" && <Charts of={readings} />}
                {tab === "actors" && <ActorsPanel />}
                {tab === "settings" && <ConfigPanel />}
            </TabPanel>
        </>
    );
}

function StatePanel() {
    const ready = useLoad(
        // An answer of 503 has the reason, and is the state that this page is for.
        () => api().call<{ status: string }>("GET", "readyz").catch((cause: Error) => ({ status: cause.message })),
        [],
        5000,
    );
    const drain = useLoad(() => api().call<Drain>("GET", "admin/drain"), [], 3000);
    const leaks = useLoad(() => api().call<Leaks>("GET", "admin/leaks"), [], 30_000);
    const act = (method: string) => async () => {
        await api().call(method, "admin/drain", method === "POST" ? {} : undefined);
        drain.reload();
    };
    return (
        <>
            <div class="columns">
                <section>
                    <h2>Readiness</h2>
                    <Await of={ready}>{({ status }) => <p><Pill tone={status === "ready" ? "live" : "bad"}>{status}</Pill></p>}</Await>
                    <h2>Leaks</h2>
                    <Await of={leaks}>
                        {(data) =>
                            data.healthy || data.leaks.length === 0 ? (
                                <p><Pill tone="live">none</Pill> Every process, display, port and file has an owner.</p>
                            ) : (
                                <>
                                    <p><Pill tone="bad">{data.leaks.length} leaks</Pill></p>
                                    <JsonView value={data.leaks} label="Leaks" />
                                    <Action run={async () => { await api().call("POST", "admin/leaks/fix", undefined, 60_000); leaks.reload(); }} confirm="What provably belongs to this server is removed.">Remove them</Action>
                                </>
                            )
                        }
                    </Await>
                </section>
                <section>
                    <PressurePanel />
                </section>
                <section>
                    <PoolPanel />
                </section>
                <section>
                    <h2>Admission</h2>
                    <Await of={drain}>
                        {(data) => (
                            <>
                                <p>
                                    <Pill tone={data.state === "open" ? "live" : "wait"}>{data.state}</Pill>{" "}
                                    {data.state === "open" ? "New sessions and runs are admitted." : "New sessions, runs and begins are refused; nothing is ended."}
                                </p>
                                <Facts of={[["Since", data.since && moment(data.since)], ["Deadline", data.deadline && moment(data.deadline)], ...Object.entries(data.left ?? {}).map(([name, count]) => [name, count] as const)]} />
                                {data.state === "open" ? (
                                    <Action run={act("POST")} confirm="New sessions, runs and begins are refused until draining ends. Everything that runs goes on.">Drain</Action>
                                ) : (
                                    <Action run={act("DELETE")} kind="button-main">Admit again</Action>
                                )}
                            </>
                        )}
                    </Await>
                </section>
            </div>
            <NodesPanel />
        </>
    );
}

function ActorsPanel() {
    const actors = useLoad(() => api().call<{ actors: Actor[] }>("GET", "admin/actors"), [], 2000);
    return (
        <Await of={actors}>
            {({ actors: rows }) =>
                rows.length === 0 ? <Empty title="No actor runs" /> : (
                    <Table label="Actors" columns={["Actor", "Kind", "Phase", "Mailbox", "At work on", "Next timer", "Messages", "Last error"]}>
                        {rows.map((actor) => (
                            <tr key={actor.name}>
                                <td><a class="cell-main" href={link(["messages"], { actor: actor.name })}>{actor.name}</a></td>
                                <td>{actor.kind}</td>
                                <td><Pill tone={actor.last_error ? "bad" : "live"}>{actor.phase}</Pill></td>
                                <td class="number">{actor.mailbox_depth}</td>
                                <td class="cell-text">{actor.in_progress.map(({ kind, enqueued_at }) => `${kind.replaceAll("_", " ")} since ${moment(enqueued_at)}`).join(", ") || "–"}</td>
                                <td class="number">{actor.next_timer ? `${actor.next_timer.kind}, ${moment(actor.next_timer.at)}` : "–"}</td>
                                <td class="number">{actor.messages}</td>
                                <td class="cell-text">{actor.last_error ? JSON.stringify(actor.last_error) : "–"}</td>
                            </tr>
                        ))}
                    </Table>
                )
            }
        </Await>
    );
}
