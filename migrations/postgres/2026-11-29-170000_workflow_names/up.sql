-- The name in the settings of the latest version of a workflow that is not deleted, which is unique among them; null
-- for other versions.
ALTER TABLE workflows ADD COLUMN name TEXT;
CREATE UNIQUE INDEX workflows_name ON workflows (organization_id, name) WHERE name IS NOT NULL;
