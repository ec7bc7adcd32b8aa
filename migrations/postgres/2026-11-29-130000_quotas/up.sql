-- The limits that an operator has set for an organization, by quota; null for the defaults.
ALTER TABLE organizations ADD COLUMN quotas JSON;
-- The network traffic of each session: the total, and the total before `day`, the UTC day of its last
-- traffic. The difference is the traffic of that day.
CREATE TABLE egress_usage (
    session_id TEXT NOT NULL PRIMARY KEY REFERENCES browser_sessions (id) ON DELETE CASCADE,
    organization_id TEXT NOT NULL,
    day TEXT NOT NULL,
    bytes_before BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
CREATE INDEX egress_usage_day ON egress_usage (day, organization_id);
CREATE INDEX artifacts_organization ON artifacts (organization_id, size);
