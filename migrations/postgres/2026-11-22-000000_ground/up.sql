-- Tenants. Every resource belongs to exactly one.
CREATE TABLE organizations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL
);

-- Only the hash of a key is stored.
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    hash TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    revoked_at TIMESTAMP
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_organization ON api_keys (organization_id, created_at);

CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    hostname TEXT NOT NULL,
    address TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    started_at TIMESTAMP NOT NULL,
    seen_at TIMESTAMP NOT NULL
);

CREATE TABLE browser_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    node_id TEXT NOT NULL REFERENCES nodes (id),
    status TEXT NOT NULL CHECK (status IN ('created', 'running', 'retry', 'completed', 'failed', 'timeout')),
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    start_url TEXT,
    lifetime_seconds BIGINT NOT NULL,
    proxy TEXT,
    echo JSON NOT NULL,
    display_number INTEGER,
    vnc_port INTEGER,
    desktop JSON,
    occupancy_state TEXT NOT NULL CHECK (occupancy_state IN ('vacant', 'held', 'closed')),
    runnable_type TEXT,
    runnable_id TEXT,
    generation BIGINT NOT NULL,
    lease_hash TEXT,
    occupied_since TIMESTAMP,
    heartbeat_at TIMESTAMP,
    occupancy_expires_at TIMESTAMP,
    expires_at TIMESTAMP,
    idle_expires_at TIMESTAMP,
    failure JSON,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    completed_at TIMESTAMP,
    modified_at TIMESTAMP NOT NULL
);
CREATE INDEX browser_sessions_organization ON browser_sessions (organization_id, created_at);
CREATE INDEX browser_sessions_live ON browser_sessions (node_id)
    WHERE status IN ('created', 'running', 'retry');
CREATE INDEX browser_sessions_active ON browser_sessions (organization_id)
    WHERE status IN ('created', 'running', 'retry');

-- One row for each version.
CREATE TABLE workflows (
    id TEXT NOT NULL PRIMARY KEY,
    permanent_id TEXT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    version INTEGER NOT NULL,
    title TEXT NOT NULL,
    description TEXT,
    status TEXT NOT NULL,
    definition JSON NOT NULL,
    settings JSON NOT NULL,
    created_at TIMESTAMP NOT NULL,
    modified_at TIMESTAMP NOT NULL,
    deleted_at TIMESTAMP
);
CREATE UNIQUE INDEX workflows_version ON workflows (organization_id, permanent_id, version);
CREATE INDEX workflows_created ON workflows (organization_id, created_at);

CREATE TABLE workflow_runs (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    node_id TEXT NOT NULL REFERENCES nodes (id),
    workflow_id TEXT NOT NULL REFERENCES workflows (id),
    workflow_permanent_id TEXT NOT NULL,
    session_id TEXT,
    owns_session BOOLEAN NOT NULL,
    debug_session_id TEXT,
    title TEXT,
    status TEXT NOT NULL CHECK (status IN ('created', 'queued', 'running', 'paused', 'completed',
        'failed', 'terminated', 'canceled', 'timed_out')),
    parameters JSON NOT NULL,
    request JSON NOT NULL,
    outputs JSON NOT NULL,
    failure JSON,
    created_at TIMESTAMP NOT NULL,
    queued_at TIMESTAMP,
    started_at TIMESTAMP,
    finished_at TIMESTAMP,
    modified_at TIMESTAMP NOT NULL
);
CREATE INDEX workflow_runs_organization ON workflow_runs (organization_id, created_at);
CREATE INDEX workflow_runs_workflow ON workflow_runs (workflow_permanent_id, created_at);
CREATE INDEX workflow_runs_workflow_version ON workflow_runs (workflow_id);
CREATE INDEX workflow_runs_session ON workflow_runs (session_id, created_at);
CREATE INDEX workflow_runs_debug_session ON workflow_runs (debug_session_id, created_at);
CREATE INDEX workflow_runs_unfinished ON workflow_runs (node_id)
    WHERE status IN ('created', 'queued', 'running', 'paused');

CREATE TABLE workflow_run_blocks (
    id TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES workflow_runs (id),
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    parent_id TEXT,
    position INTEGER NOT NULL,
    label TEXT NOT NULL,
    block_type TEXT NOT NULL,
    status TEXT NOT NULL,
    output JSON,
    failure JSON,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);
CREATE INDEX workflow_run_blocks_run ON workflow_run_blocks (run_id, position);

CREATE TABLE debug_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    user_id TEXT NOT NULL,
    workflow_permanent_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('created', 'completed')),
    expires_at TIMESTAMP NOT NULL,
    created_at TIMESTAMP NOT NULL,
    modified_at TIMESTAMP NOT NULL
);
-- At most one live debug session for an organization, a user and a workflow.
CREATE UNIQUE INDEX debug_sessions_live
    ON debug_sessions (organization_id, user_id, workflow_permanent_id) WHERE status = 'created';
CREATE INDEX debug_sessions_session ON debug_sessions (session_id);

CREATE TABLE artifacts (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    session_id TEXT,
    run_id TEXT,
    block_id TEXT,
    artifact_type TEXT NOT NULL,
    path TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    checksum TEXT,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX artifacts_run ON artifacts (run_id, created_at);
CREATE INDEX artifacts_session ON artifacts (session_id, created_at);

-- Without foreign keys, so that none prevents the record of an event.
CREATE TABLE audit_events (
    id TEXT NOT NULL PRIMARY KEY,
    message_id BIGINT NOT NULL,
    cause_id BIGINT,
    kind TEXT NOT NULL,
    sender TEXT NOT NULL,
    receiver TEXT NOT NULL,
    organization_id TEXT,
    session_id TEXT,
    run_id TEXT,
    outcome TEXT NOT NULL,
    summary JSON NOT NULL,
    sent_at TIMESTAMP NOT NULL
);
CREATE INDEX audit_events_sent ON audit_events (sent_at);
CREATE INDEX audit_events_organization ON audit_events (organization_id, sent_at);
CREATE INDEX audit_events_session ON audit_events (session_id, sent_at);
CREATE INDEX audit_events_run ON audit_events (run_id, sent_at);

CREATE TABLE idempotency_keys (
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    response_status INTEGER,
    response JSON,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (organization_id, scope, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    run_id TEXT,
    session_id TEXT,
    url TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    status_code INTEGER,
    error TEXT,
    latency_milliseconds BIGINT NOT NULL,
    payload JSON NOT NULL,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX webhook_deliveries_run ON webhook_deliveries (run_id, created_at);
CREATE INDEX webhook_deliveries_session ON webhook_deliveries (session_id, created_at);
