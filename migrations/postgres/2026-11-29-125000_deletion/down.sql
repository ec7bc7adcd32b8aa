ALTER TABLE browser_sessions DROP COLUMN sanitize_due;
ALTER TABLE organizations DROP COLUMN purged_at;
ALTER TABLE organizations DROP COLUMN deleted_at;
