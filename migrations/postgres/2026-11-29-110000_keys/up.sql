-- Roles, expiry and last use of keys, and the suspension of organizations.
ALTER TABLE organizations ADD COLUMN suspended_at TIMESTAMP;
ALTER TABLE api_keys ADD COLUMN role TEXT NOT NULL DEFAULT 'organization'
    CHECK (role IN ('operator', 'organization', 'drive', 'watch'));
-- The sessions that a key is limited to; null for all sessions of its organization.
ALTER TABLE api_keys ADD COLUMN sessions JSON;
ALTER TABLE api_keys ADD COLUMN expires_at TIMESTAMP;
ALTER TABLE api_keys ADD COLUMN last_used_at TIMESTAMP;
ALTER TABLE api_keys ADD COLUMN last_used_from TEXT;
ALTER TABLE api_keys ADD COLUMN is_bootstrap BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE api_keys SET is_bootstrap = TRUE WHERE label = 'bootstrap';
