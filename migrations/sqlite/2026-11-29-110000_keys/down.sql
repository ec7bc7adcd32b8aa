ALTER TABLE api_keys DROP COLUMN is_bootstrap;
ALTER TABLE api_keys DROP COLUMN last_used_from;
ALTER TABLE api_keys DROP COLUMN last_used_at;
ALTER TABLE api_keys DROP COLUMN expires_at;
ALTER TABLE api_keys DROP COLUMN sessions;
ALTER TABLE api_keys DROP COLUMN role;
ALTER TABLE organizations DROP COLUMN suspended_at;
