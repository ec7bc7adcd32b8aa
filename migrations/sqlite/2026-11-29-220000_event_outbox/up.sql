-- Events that are stored with the change that they report, and have no number yet.
CREATE TABLE event_outbox (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    session_id TEXT,
    run_id TEXT,
    data TEXT NOT NULL CHECK (json_valid(data)),
    happened_at TIMESTAMP NOT NULL
);
