-- The version of the program that each node last started; empty for those of before.
ALTER TABLE nodes ADD COLUMN version TEXT NOT NULL DEFAULT '';
