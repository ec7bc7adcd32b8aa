-- A session is sanitized after an occupant with a generation above this one; null if it is not sanitized.
ALTER TABLE browser_sessions ADD COLUMN sanitize_after BIGINT;
