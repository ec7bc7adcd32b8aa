// The answers of a server to operators: its journal of messages, its audit trail, its figures and settings.

export const SESSION = "pbs_0193af2c7e1b77ab8d1001";
export const RUN = "wr_0193af2c7e1b77ab8d1002";
export const ORGANIZATION = "o_0193af2c7e1b77ab8d1007";

const AT = "2026-01-01T10:00:00Z";

/** A message between actors, sent some milliseconds after ten o'clock. */
export function actorMessage(id, fields = {}, ms = 0) {
    const { wait_us = 264, handling_us = 1500, outcome = "done" } = fields;
    const at = (us) => new Date(Date.parse(AT) + ms + us / 1000).toISOString();
    return {
        id,
        kind: "begin",
        sender: "http",
        receiver: "registry",
        organization_id: ORGANIZATION,
        browser_session_id: SESSION,
        run_id: null,
        cause: null,
        enqueued_at: at(0),
        started_at: wait_us === null ? null : at(wait_us),
        ended_at: outcome === null ? null : at(wait_us + handling_us),
        wait_us,
        handling_us,
        outcome,
        note: null,
        summary: { occupant: { runnable_type: "external", runnable_id: "nightly-42" }, ttl_seconds: 30 },
        ...fields,
    };
}

/** The messages of a run, the newest first: a start, and ten heartbeats that the registry passes on. */
export function journal() {
    const run = { run_id: RUN, sender: RUN };
    const passed = { run_id: RUN, sender: "registry", receiver: SESSION };
    const messages = [
        actorMessage(1, { kind: "create", browser_session_id: null, summary: { size: "1280x800", lifetime_seconds: 3600 } }),
        actorMessage(2, { kind: "start_run", run_id: RUN, handling_us: 93_000 }, 2000),
        actorMessage(3, { ...run, cause: 2, handling_us: 60_000 }, 2010),
        actorMessage(4, { ...passed, cause: 3, wait_us: 1900, handling_us: 55_000 }, 2012),
        actorMessage(5, { ...run, kind: "begin_block", receiver: RUN, summary: { label: "open", block_type: "goto_url" } }, 2100),
    ];
    for (let beat = 0; beat < 10; beat += 1) {
        const id = 6 + beat * 2;
        const ms = 12_000 + beat * 10_000;
        messages.push(actorMessage(id, { ...run, kind: "heartbeat", summary: { generation: 1 } }, ms));
        messages.push(actorMessage(id + 1, { ...passed, kind: "heartbeat", cause: id, handling_us: 900, summary: { generation: 1 } }, ms + 0.4));
    }
    messages.push(actorMessage(26, { ...run, kind: "end_block", receiver: RUN, wait_us: 140_000, summary: { status: "failed" } }, 113_000));
    messages.push(actorMessage(27, { kind: "begin", outcome: "refused", note: "the session is held by run …8d1002 for 111 s" }, 114_000));
    messages.push(actorMessage(28, { sender: "registry", receiver: SESSION, cause: 27, outcome: "refused", note: "the session is held by run …8d1002 for 111 s" }, 114_001));
    messages.push(actorMessage(29, { sender: RUN, kind: "release", run_id: RUN, outcome: null, handling_us: null }, 115_000));
    return messages.reverse();
}

/** The tree of a start: 2 led to 3, which led to 4. */
export function lineage() {
    const of = (id) => journal().find((message) => message.id === id);
    return {
        message: of(2),
        causes: [of(1)],
        consequences: [
            { ...of(3), consequences: [{ ...of(4), consequences: [] }] },
            { ...of(5), consequences: [] },
        ],
        truncated: true,
    };
}

export function auditEvent(number, fields = {}) {
    return {
        audit_event_id: `ae_${number}`,
        at: AT,
        kind: "begin",
        outcome: "done",
        sender: "http",
        receiver: "registry",
        key_id: "oat_0193af2c7e1b77ab8d1009",
        client_address: "192.0.2.7",
        request_id: "c4a3a39dfff213d9126f68469bc6029c",
        organization_id: ORGANIZATION,
        browser_session_id: SESSION,
        run_id: null,
        message_id: 2,
        cause: null,
        summary: { ttl_seconds: 30 },
        ...fields,
    };
}

/** The text of `/metrics` after `count` readings of a server that has done ten messages for each. */
export function metrics(count) {
    return [
        "# HELP greenroom_sessions Sessions on this node by status",
        "# TYPE greenroom_sessions gauge",
        'greenroom_sessions{status="created"} 0',
        `greenroom_sessions{status="running"} ${1 + (count % 3)}`,
        "greenroom_sessions_held 1",
        "greenroom_viewers 0",
        `greenroom_messages_total{kind="begin",outcome="done"} ${count * 9}`,
        `greenroom_messages_total{kind="begin",outcome="refused"} ${count}`,
        `greenroom_message_wait_seconds_bucket{kind="begin",le="0.001"} ${count * 9}`,
        `greenroom_message_wait_seconds_bucket{kind="begin",le="0.01"} ${count * 10}`,
        `greenroom_message_wait_seconds_bucket{kind="begin",le="+Inf"} ${count * 10}`,
        `greenroom_message_wait_seconds_sum{kind="begin"} ${count * 0.02}`,
        `greenroom_message_wait_seconds_count{kind="begin"} ${count * 10}`,
        `greenroom_http_requests_total{method="GET",route="/v1/runs",class="2xx"} ${count * 25}`,
        `greenroom_http_requests_total{method="GET",route="/v1/runs",class="4xx"} ${count * 2}`,
        'greenroom_database_connections{state="in_use"} 1',
        'greenroom_database_connections{state="most"} 4',
        "greenroom_database_waiting_queries 0",
        "greenroom_database_writer_queue 2",
        `greenroom_database_commit_seconds_sum ${count * 0.01}`,
        `greenroom_database_commit_seconds_count ${count * 4}`,
        "",
    ].join("\n");
}

export const config = {
    settings: {
        data: "/srv/greenroom",
        keys: { operator: "********", metrics: null },
        http: { listen: "127.0.0.1:8787", cors_origins: ["*"] },
        sessions: { max_sessions: 20 },
    },
    origins: {
        data: "--data",
        "keys.operator": "GREENROOM_OPERATOR_KEY",
        "keys.metrics": "default",
        "http.listen": "default",
        "http.cors_origins": "default",
        "sessions.max_sessions": "/etc/greenroom/greenroom.toml",
    },
};

/** Lets a key open the pages of operators, with something of everything in them. */
export function openOperator(fake) {
    let read = 0;
    fake.feeds.set("/admin/messages/stream", new Set());
    const routes = {
        "GET /readyz": { status: "ready" },
        "GET /metrics": () => [200, metrics((read += 1))],
        "GET /admin/drain": { state: "open", since: null, deadline: null, drained: false, left: { sessions: 1 } },
        "GET /admin/leaks": { healthy: true, leaks: [] },
        "GET /admin/actors": { actors: [{ name: "registry", kind: "registry", phase: "open", mailbox_depth: 0, oldest_waiting: null, in_progress: [actorMessage(7, { outcome: null })], last_error: null, next_timer: null, messages: 12, started_at: AT }] },
        "GET /admin/messages": { messages: journal(), next_cursor: null },
        "GET /admin/messages/2": lineage(),
        "GET /admin/audit": { events: [auditEvent(2), auditEvent(1, { kind: "close", key_id: null, client_address: null, request_id: null, message_id: null })], next_cursor: null },
        "GET /admin/nodes": {
            nodes: [
                { node_id: "n_0193af2c7e1b77ab8d1010", hostname: "stage-1", address: "10.0.0.4:8787", boot_id: "b", started_at: AT, seen_at: new Date().toISOString(), this: true, alive: true },
                { node_id: "n_0193af2c7e1b77ab8d1011", hostname: "stage-2", address: null, boot_id: "c", started_at: AT, seen_at: AT, this: false, alive: false },
            ],
        },
        "GET /admin/pressure": {
            accepts: false,
            reason: "20 sessions are live, which is the limit (sessions.max_sessions)",
            capacity: { sessions: 20, most_sessions: 20, dormant_sessions: 2, runs: 3, most_runs: 200 },
            queued: { occupancy_waiters: 4, database_changes: 0 },
            rejected: 7,
        },
        "GET /admin/pool": {
            shapes: [{ name: "default", width: 1280, height: 800, executable: null, wanted: 3, ready: 2, oldest_since: AT }],
            starting: 1, paused_until: null, warm: 12, cold: { other_shape: 2 }, started: 15, adopted: 0, failed: 1, died: 0, aged: 0, yielded: 0,
            last_failure: "the browser did not start within 30 s",
        },
        "GET /admin/config": config,
    };
    for (const [route, body] of Object.entries(routes)) fake.routes.set(route, body);
}
