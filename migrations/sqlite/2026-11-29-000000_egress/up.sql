-- The lists of allowed and denied targets: those of the session and its organization, as of the creation
-- or the last change of the session; and those of an organization.
ALTER TABLE browser_sessions ADD COLUMN egress TEXT CHECK (json_valid(egress));
ALTER TABLE organizations ADD COLUMN egress TEXT CHECK (json_valid(egress));
