-- The number of times that the credentials of a session were replaced. Links to its files carry the number that
-- held when they were made.
ALTER TABLE browser_sessions ADD COLUMN rotation BIGINT NOT NULL DEFAULT 0;
