-- The key that holds a session, and the end of the ticket if one was used: the lease ends with them, also
-- after a restart of the server.
CREATE TABLE leases (
    session_id TEXT NOT NULL PRIMARY KEY REFERENCES browser_sessions (id) ON DELETE CASCADE,
    organization_id TEXT NOT NULL,
    lease_hash TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    ends_at TIMESTAMP
);
