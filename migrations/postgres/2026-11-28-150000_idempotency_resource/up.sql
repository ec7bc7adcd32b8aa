-- What a request makes has its id before the work begins, so that a retry finds out what became of
-- it; and the node that does the work.
ALTER TABLE idempotency_keys ADD COLUMN resource_id TEXT;
ALTER TABLE idempotency_keys ADD COLUMN node_id TEXT;
