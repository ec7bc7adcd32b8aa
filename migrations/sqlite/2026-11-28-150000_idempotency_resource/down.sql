ALTER TABLE idempotency_keys DROP COLUMN node_id;
ALTER TABLE idempotency_keys DROP COLUMN resource_id;
