ALTER TABLE browser_sessions DROP COLUMN rotation;
