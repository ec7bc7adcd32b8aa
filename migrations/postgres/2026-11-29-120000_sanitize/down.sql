ALTER TABLE browser_sessions DROP COLUMN sanitize_after;
