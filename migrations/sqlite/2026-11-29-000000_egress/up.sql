-- The lists of targets that a session's programs may and may not reach: of the session and of its
-- organization as they were when the session was made or last changed; and those of an organization.
ALTER TABLE browser_sessions ADD COLUMN egress TEXT CHECK (json_valid(egress));
ALTER TABLE organizations ADD COLUMN egress TEXT CHECK (json_valid(egress));
