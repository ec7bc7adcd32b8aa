-- The deadline of a session's start; null once the browser has run.
ALTER TABLE browser_sessions ADD COLUMN start_by TIMESTAMP;
