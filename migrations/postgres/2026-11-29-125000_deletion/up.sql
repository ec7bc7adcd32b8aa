-- The beginning of an organization's deletion, and the time from which only its row is left: that keeps its id
-- from being used again, and lets every node remove the files that it has of it.
ALTER TABLE organizations ADD COLUMN deleted_at TIMESTAMP;
ALTER TABLE organizations ADD COLUMN purged_at TIMESTAMP;
-- The generation whose occupant asked for the session to be sanitized once it has left.
ALTER TABLE browser_sessions ADD COLUMN sanitize_due BIGINT;
