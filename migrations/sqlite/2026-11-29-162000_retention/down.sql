DROP INDEX artifacts_age;
ALTER TABLE organizations DROP COLUMN retention;
