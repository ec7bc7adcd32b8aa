DROP INDEX artifacts_organization;
DROP TABLE egress_usage;
ALTER TABLE organizations DROP COLUMN quotas;
