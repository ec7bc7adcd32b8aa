-- The start of an organization's deletion, and the time from which only its row is left. The row prevents
-- a new use of its id, and lets every node remove its files.
ALTER TABLE organizations ADD COLUMN deleted_at TIMESTAMP;
ALTER TABLE organizations ADD COLUMN purged_at TIMESTAMP;
-- The generation whose occupant requested a sanitizing of the session after its end.
ALTER TABLE browser_sessions ADD COLUMN sanitize_due BIGINT;
