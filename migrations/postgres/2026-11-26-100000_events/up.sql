-- The last number of an organization's events, and the last number that was deleted.
CREATE TABLE event_sequences (
    organization_id TEXT NOT NULL PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    forgotten_seq BIGINT NOT NULL
);

-- Without foreign keys, so that none prevents the storage of an event.
CREATE TABLE session_events (
    organization_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    session_id TEXT,
    run_id TEXT,
    data JSON NOT NULL,
    happened_at TIMESTAMP NOT NULL,
    PRIMARY KEY (organization_id, seq)
);
CREATE UNIQUE INDEX session_events_id ON session_events (id);
CREATE INDEX session_events_session ON session_events (session_id, seq);
CREATE INDEX session_events_happened ON session_events (organization_id, happened_at);
