-- A session is sanitized when an occupant of a generation above this one has left it; null where
-- occupants leave it as it is.
ALTER TABLE browser_sessions ADD COLUMN sanitize_after BIGINT;
