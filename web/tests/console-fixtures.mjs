// The answers of a server with something of everything, for the tests of the console.

import { session } from "./fake-server.mjs";
import { openOperator, ORGANIZATION, RUN, SESSION } from "./operator-fixtures.mjs";

export { ORGANIZATION, RUN, SESSION };
export const WORKFLOW = "wpid_0193af2c7e1b77ab8d1003";
export const PROFILE = "bp_0193af2c7e1b77ab8d1004";
export const WEBHOOK = "wh_0193af2c7e1b77ab8d1005";
export const MESSAGE = "wm_0193af2c7e1b77ab8d1006";

const AT = "2026-01-01T10:00:00Z";

export function richSession(fields = {}) {
    return session(SESSION, {
        name: "Price check",
        tags: ["prices"],
        version: 4,
        width: 1280,
        height: 800,
        viewers: 1,
        settings: {},
        browser_address: "ws://127.0.0.1/v1/browser_sessions/x/cdp",
        control: { by: "agent", label: null, since: null },
        egress: { allow: [], deny: [], upstream: null, refused: [] },
        occupancy: {
            state: "held",
            runnable_type: "external",
            runnable_id: "nightly-42",
            generation: 2,
            since: AT,
            expires_at: new Date(Date.now() + 60_000).toISOString(),
            waiters: [{ place: 1, runnable_type: "external", runnable_id: "waiter-7", until: new Date(Date.now() + 60_000).toISOString() }],
        },
        ...fields,
    });
}

const summary = {
    run_id: RUN,
    status: "failed",
    title: "Lamps",
    created_at: AT,
    started_at: AT,
    finished_at: "2026-01-01T10:00:09Z",
    workflow_permanent_id: WORKFLOW,
    browser_session_id: SESSION,
};

const block = (id, label, second, seconds, status, failure = null) => ({
    block: {
        workflow_run_block_id: id,
        block_type: "fill",
        label,
        status,
        output: status === "completed" ? { success: true, errors: [] } : null,
        failure_reason: failure,
        error_codes: failure ? ["element_not_ready"] : [],
        duration: seconds,
        created_at: `2026-01-01T10:00:0${second}Z`,
        modified_at: `2026-01-01T10:00:0${second}Z`,
    },
    children: [],
});

export const workflow = {
    workflow_permanent_id: WORKFLOW,
    workflow_id: "w_1",
    title: "Lamps",
    description: "Searches for lamps.",
    version: 2,
    tags: [],
    created_at: AT,
    modified_at: AT,
    workflow_definition: {
        parameters: [
            { parameter_type: "workflow", key: "site_url", workflow_parameter_type: "string", default_value: null, description: "The site." },
            { parameter_type: "workflow", key: "count", workflow_parameter_type: "integer", default_value: 3 },
        ],
        blocks: [{ block_type: "goto_url", label: "open", url: "{{ site_url }}" }],
    },
};

const artifact = {
    artifact_id: "a_1",
    artifact_type: "screenshot_action",
    signed_url: "http://elsewhere.example/green/v1/artifacts/a_1/content?signature=s",
    run_id: RUN,
    workflow_run_block_id: "wrb_2",
    browser_session_id: SESSION,
    file_name: "fill_name.jpg",
    media_type: "image/jpeg",
    file_size: 2048,
    created_at: AT,
};

const message = {
    message_id: MESSAGE,
    kind: "run.ended",
    status: "failed",
    attempts: 3,
    created_at: AT,
    finished_at: AT,
    next_attempt_at: null,
    error: "it answered with status 500",
    payload: '{"type":"run.ended"}',
    deliveries: [{ at: AT, attempt: 1, error: null, latency_ms: 12, response_body: "no", status_code: 500 }],
    url: "https://app.example/in",
};

const quota = { limit: null, used: 1, resets_at: null };
const organization = {
    organization_id: ORGANIZATION,
    name: "Team red",
    created_at: AT,
    suspended_at: null,
    deleted_at: null,
    live_sessions: 1,
    quotas: { sessions: { limit: 10, used: 3, resets_at: null }, viewers: quota },
};
const key = {
    api_key_id: "oat_1",
    label: "ci",
    role: "drive",
    sessions: null,
    status: "valid",
    is_bootstrap: false,
    created_at: AT,
    expires_at: null,
    last_used_at: AT,
    last_used_from: "127.0.0.1",
};
const profile = {
    browser_profile_id: PROFILE,
    name: "Shop",
    description: null,
    tags: [],
    version: 2,
    size: 40_000,
    browser_version: "150",
    is_managed: false,
    workflow_permanent_id: null,
    created_at: AT,
    modified_at: AT,
    writer: null,
    warning: null,
};
const version = (number, current) => ({
    version: number,
    is_current: current,
    origin: "request",
    browser_session_id: SESSION,
    size: 40_000,
    created_at: AT,
    browser_version: "150",
});

/** Lets a key open everything of an organization, without anything in it. */
export function openEmpty(fake) {
    fake.routes.set("GET /v1/quotas", { sessions: quota });
    for (const path of ["runs", "workflows", "browser_profiles", "webhooks", "api_keys", "browser_sessions/history"]) {
        fake.routes.set(`GET /v1/${path}`, []);
    }
}

/** Lets a key open everything, with something of everything in it. */
export function openFull(fake) {
    openEmpty(fake);
    const session = richSession();
    fake.sessions.set(SESSION, session);
    const of = (path) => `GET /v1/browser_sessions/${SESSION}${path}`;
    const routes = {
        [of("/explain")]: {
            well: false,
            cause: "held",
            summary: "The session has been held by client nightly-42 for 40 s, and 1 caller waits.",
            details: ["The first caller has waited for 12 s."],
        },
        [of("/files")]: [],
        [of("/artifacts")]: [artifact],
        [of("/recordings")]: [{ recording_id: "a_2", status: "completed", began_at: AT, frame_rate: 5, media_type: "video/mp4", file: { artifact_id: "a_2", filename: "recording.mp4", file_size: 9000, url: artifact.signed_url, modified_at: AT } }],
        [of("/workflow_runs")]: [{ ...summary, workflow_run_id: RUN, workflow_title: "Lamps" }],
        [of("/viewers")]: { tickets: [{ viewer_id: "vw_1", role: "control", label: "Ann", used: false, single_use: false, expires_at: AT }], connected: [] },
        "GET /v1/runs": [summary],
        [`GET /v1/runs/${RUN}`]: {
            ...summary,
            version: 9,
            output: { open_output: { success: true } },
            failure_reason: "`#username`: no element matches within 30 s",
            failure: null,
            errors: null,
            run_request: { parameters: { site_url: "http://a" } },
            waiting_for: null,
            warning: null,
            workflow_version_id: "w_1",
            queued_at: AT,
            recording_url: null,
        },
        [`GET /v1/runs/${RUN}/timeline`]: [
            block("wrb_2", "fill_name", 3, 6, "failed", "`#username`: no element matches within 30 s"),
            block("wrb_1", "open", 0, 2.5, "completed"),
        ],
        [`GET /v1/runs/${RUN}/artifacts`]: [artifact],
        "GET /v1/workflows": [workflow],
        [`GET /v1/workflows/${WORKFLOW}`]: workflow,
        [`GET /v1/workflows/${WORKFLOW}/versions`]: [workflow, { ...workflow, version: 1 }],
        [`GET /v1/workflows/${WORKFLOW}/runs`]: [summary],
        [`GET /v1/debug-session/${WORKFLOW}`]: { debug_session_id: "ds_1", browser_session_id: SESSION, workflow_permanent_id: WORKFLOW, status: "created", expires_at: AT, replaced: false, replaced_reason: null },
        "GET /v1/browser_profiles": [profile],
        [`GET /v1/browser_profiles/${PROFILE}`]: profile,
        [`GET /v1/browser_profiles/${PROFILE}/versions`]: [version(2, true), version(1, false)],
        [`GET /v1/browser_profiles/${PROFILE}/usage`]: { sessions: [] },
        "GET /v1/webhooks": [{ webhook_id: WEBHOOK, url: "https://app.example/in", kinds: ["run.ended"], description: null, paused: false, created_at: AT }],
        [`GET /v1/webhooks/${WEBHOOK}`]: { webhook_id: WEBHOOK, url: "https://app.example/in", kinds: ["run.ended"], description: null, paused: false, created_at: AT },
        [`GET /v1/webhooks/${WEBHOOK}/messages`]: [message],
        [`GET /v1/webhook_messages/${MESSAGE}`]: message,
        "GET /v1/api_keys": [key],
        "GET /v1/quotas": organization.quotas,
        "GET /admin/organizations": [organization],
        [`GET /admin/organizations/${ORGANIZATION}`]: organization,
        [`GET /admin/organizations/${ORGANIZATION}/api_keys`]: [key],
    };
    for (const [route, body] of Object.entries(routes)) fake.routes.set(route, body);
    openOperator(fake);
}
