// The capacity of the server for operators: what it holds and may hold, its pool of browsers, and the other servers on
// its database.

import { shortId } from "../text";
import { useLoad } from "./load";
import { Await, Copy, Empty, Facts, Pill, Table } from "./parts";
import { api } from "./state";
import type { PoolStatus, Pressure, ServerNode } from "./types";
import { moment } from "./words";

export function PressurePanel() {
    const pressure = useLoad(() => api().call<Pressure>("GET", "admin/pressure"), [], 3000);
    return (
        <>
            <h2>Capacity</h2>
            <Await of={pressure}>
                {({ accepts, reason, capacity, queued, rejected }) => (
                    <>
                        <p>
                            <Pill tone={accepts ? "live" : "bad"}>{accepts ? "takes new sessions" : "takes no new session"}</Pill>{" "}
                            {reason && <span>{reason}.</span>}
                        </p>
                        <Used label="Sessions" used={capacity.sessions} most={capacity.most_sessions} />
                        <Used label="Runs" used={capacity.runs} most={capacity.most_runs} />
                        <Facts
                            of={[
                                ["Dormant sessions", String(capacity.dormant_sessions)],
                                ["Waiting callers", String(queued.occupancy_waiters)],
                                ["Waiting changes", queued.database_changes === null ? null : String(queued.database_changes)],
                                ["Refused requests", `${rejected} since the start`],
                            ]}
                        />
                    </>
                )}
            </Await>
        </>
    );
}

function Used({ label, used, most }: { label: string; used: number; most: number }) {
    return (
        <p class="used">
            <span>{label}</span>
            <meter aria-label={label} min={0} max={Math.max(1, most)} high={most * 0.9} value={used} />
            <span class="number">{used} of {most}</span>
        </p>
    );
}

export function PoolPanel() {
    const pool = useLoad(() => api().call<PoolStatus>("GET", "admin/pool"), [], 5000);
    return (
        <>
            <h2>Browsers that are ready</h2>
            <Await of={pool}>
                {(data) =>
                    data.shapes.length === 0 ? (
                        <p class="quiet">No browser is kept ready. The setting <code>pool.ready</code> starts them before they are needed.</p>
                    ) : (
                        <>
                            {data.paused_until && <p class="hint-box">No browser is started before {moment(data.paused_until)}.</p>}
                            {data.last_failure && <p class="hint-box">Last failure: {data.last_failure}</p>}
                            <ul class="plain">
                                {data.shapes.map((shape) => (
                                    <li key={shape.name}>
                                        <Pill tone={shape.ready >= shape.wanted ? "live" : "wait"}>{shape.ready} of {shape.wanted} ready</Pill>{" "}
                                        {shape.name}, {shape.width} × {shape.height}{shape.executable && `, ${shape.executable}`}
                                        {shape.oldest_since && <span class="quiet">, the oldest since {moment(shape.oldest_since)}</span>}
                                    </li>
                                ))}
                            </ul>
                            <Facts
                                of={[
                                    ["Being started", String(data.starting)],
                                    ["Warm starts", String(data.warm)],
                                    ["Cold starts", Object.entries(data.cold).map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`).join(", ") || "0"],
                                    ["Started", `${data.started}, adopted ${data.adopted}`],
                                    ["Lost", `${data.failed} failed, ${data.died} died, ${data.aged} too old, ${data.yielded} made room`],
                                ]}
                            />
                        </>
                    )
                }
            </Await>
        </>
    );
}

export function NodesPanel() {
    const nodes = useLoad(() => api().call<{ nodes: ServerNode[] }>("GET", "admin/nodes"), [], 10_000);
    return (
        <>
            <h2>Servers on the database</h2>
            <Await of={nodes}>
                {({ nodes: rows }) =>
                    rows.length === 0 ? <Empty title="No server has used the database" /> : (
                        <Table label="Servers" columns={["Server", "Host", "Address", "State", "Started", "Last sign of life"]}>
                            {rows.map((node) => (
                                <tr key={node.node_id}>
                                    <td class="number"><Copy text={node.node_id} shown={shortId(node.node_id)} label={`Copy the id ${node.node_id}`} /></td>
                                    <td class="cell-main number">{node.hostname}</td>
                                    <td class="number">{node.address ?? "–"}</td>
                                    <td><Pill tone={node.alive ? "live" : "over"}>{node.this ? "this server" : node.alive ? "alive" : "away"}</Pill></td>
                                    <td class="number">{moment(node.started_at)}</td>
                                    <td class="number">{node.this ? "now" : moment(node.seen_at)}</td>
                                </tr>
                            ))}
                        </Table>
                    )
                }
            </Await>
        </>
    );
}
