DROP TABLE browser_profile_versions;
DROP TABLE browser_profiles;
DROP INDEX browser_sessions_name;
ALTER TABLE browser_sessions DROP COLUMN profile;
ALTER TABLE browser_sessions DROP COLUMN settings;
ALTER TABLE browser_sessions DROP COLUMN tags;
ALTER TABLE browser_sessions DROP COLUMN name;
