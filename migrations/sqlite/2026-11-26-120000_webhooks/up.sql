-- The material to sign with a key, stored at the first use of the key.
ALTER TABLE api_keys ADD COLUMN signer TEXT;

-- The key that started the run: it signs the run's webhook.
ALTER TABLE workflow_runs ADD COLUMN api_key_id TEXT;

-- The webhooks of an organization. Only the signers of their secrets are stored.
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    url TEXT NOT NULL,
    description TEXT,
    kinds TEXT NOT NULL CHECK (json_valid(kinds)),
    signer TEXT NOT NULL,
    former_signer TEXT,
    former_until TIMESTAMP,
    paused BOOLEAN NOT NULL,
    created_at TIMESTAMP NOT NULL,
    modified_at TIMESTAMP NOT NULL
);
CREATE INDEX webhooks_organization ON webhooks (organization_id, created_at);

-- The messages of webhooks: pending, and then as the log of deliveries.
CREATE TABLE webhook_messages (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL,
    webhook_id TEXT,
    run_id TEXT,
    session_id TEXT,
    event_seq BIGINT,
    kind TEXT NOT NULL,
    url TEXT NOT NULL,
    body TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL,
    error TEXT,
    due_at TIMESTAMP NOT NULL,
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);
CREATE INDEX webhook_messages_pending ON webhook_messages (due_at, id) WHERE status = 'pending';
CREATE INDEX webhook_messages_webhook ON webhook_messages (webhook_id, id);
CREATE INDEX webhook_messages_run ON webhook_messages (run_id, id);
CREATE INDEX webhook_messages_created ON webhook_messages (created_at);

DROP TABLE webhook_deliveries;
CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    message_id TEXT NOT NULL REFERENCES webhook_messages (id) ON DELETE CASCADE,
    organization_id TEXT NOT NULL,
    url TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    status_code INTEGER,
    response TEXT,
    error TEXT,
    latency_milliseconds BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX webhook_deliveries_message ON webhook_deliveries (message_id, id);
