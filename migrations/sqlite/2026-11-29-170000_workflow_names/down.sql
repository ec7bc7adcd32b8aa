DROP INDEX workflows_name;
ALTER TABLE workflows DROP COLUMN name;
