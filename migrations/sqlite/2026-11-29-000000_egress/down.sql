ALTER TABLE organizations DROP COLUMN egress;
ALTER TABLE browser_sessions DROP COLUMN egress;
