-- The limits of age and size of stored files that an operator has set for an organization; null for the
-- defaults.
ALTER TABLE organizations ADD COLUMN retention JSON;
CREATE INDEX artifacts_age ON artifacts (organization_id, created_at);
