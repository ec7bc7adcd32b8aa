-- The id of the resource that a request creates, which is stored before the work begins, so that a retry
-- finds its outcome; and the node that does the work.
ALTER TABLE idempotency_keys ADD COLUMN resource_id TEXT;
ALTER TABLE idempotency_keys ADD COLUMN node_id TEXT;
