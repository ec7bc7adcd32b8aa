-- A name for people, unique among the organization's sessions that have not ended.
ALTER TABLE browser_sessions ADD COLUMN name TEXT;
-- A list of tags; null if there are none.
ALTER TABLE browser_sessions ADD COLUMN tags JSON;
-- The settings of the browser, such as its locale; null if there are none.
ALTER TABLE browser_sessions ADD COLUMN settings JSON;
-- The profile that the session starts from or stores, and whether it may store a new version.
ALTER TABLE browser_sessions ADD COLUMN profile JSON;
CREATE UNIQUE INDEX browser_sessions_name ON browser_sessions (organization_id, name)
    WHERE name IS NOT NULL AND status IN ('created', 'running', 'retry');

-- The stored state of a browser, from which sessions start.
CREATE TABLE browser_profiles (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    tags JSON,
    -- The owner of a profile that the server keeps by itself, such as a workflow; null for others.
    managed_by TEXT,
    -- The number of the version that sessions start from.
    current_version BIGINT NOT NULL,
    -- The number of the latest version that was ever stored.
    last_version BIGINT NOT NULL,
    -- The session that may store a new version, while it has not ended.
    writer_id TEXT,
    created_at TIMESTAMP NOT NULL,
    modified_at TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX browser_profiles_name ON browser_profiles (organization_id, name)
    WHERE managed_by IS NULL;
CREATE UNIQUE INDEX browser_profiles_managed ON browser_profiles (organization_id, managed_by)
    WHERE managed_by IS NOT NULL;

CREATE TABLE browser_profile_versions (
    profile_id TEXT NOT NULL REFERENCES browser_profiles (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    organization_id TEXT NOT NULL,
    -- The session that it was stored from; null for an import.
    session_id TEXT,
    -- The cause: session_end, request, storage_state or import.
    origin TEXT NOT NULL,
    -- The key of its archive in the object store.
    path TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- The SHA-256 hash of the archive, in hexadecimal digits.
    checksum TEXT NOT NULL,
    -- The version of the browser that wrote it.
    browser_version TEXT,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (profile_id, number)
);
CREATE INDEX browser_profile_versions_organization
    ON browser_profile_versions (organization_id, created_at);
