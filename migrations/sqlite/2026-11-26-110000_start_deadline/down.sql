ALTER TABLE browser_sessions DROP COLUMN start_by;
