-- The number of times that the credentials of a session were replaced. Links to its files contain the number
-- at their creation.
ALTER TABLE browser_sessions ADD COLUMN rotation BIGINT NOT NULL DEFAULT 0;
