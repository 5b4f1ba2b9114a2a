-- additive
-- The oldest version whose processes can work with a version of the schema; NULL: only its own.
ALTER TABLE schema_migration ADD COLUMN works_with BIGINT;
