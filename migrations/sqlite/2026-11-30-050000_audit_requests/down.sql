ALTER TABLE audit_events DROP COLUMN request_id;
ALTER TABLE audit_events DROP COLUMN client_address;
ALTER TABLE audit_events DROP COLUMN key_id;
