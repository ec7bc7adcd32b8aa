DROP TABLE webhook_deliveries;
CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL,
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
DROP TABLE webhook_messages;
DROP TABLE webhooks;
ALTER TABLE workflow_runs DROP COLUMN api_key_id;
ALTER TABLE api_keys DROP COLUMN signer;
