-- When a session's browser has to run, until it does.
ALTER TABLE browser_sessions ADD COLUMN start_by TIMESTAMP;
