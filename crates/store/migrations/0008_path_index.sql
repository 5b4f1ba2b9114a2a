-- Which files each sync reads, so that a commit wakes only the syncs whose files it touches.

-- The commit at which sync_path and desired_inputs say what the files are; NULL: not known.
ALTER TABLE sync_configuration ADD COLUMN indexed_sha TEXT;

CREATE TABLE sync_path (
  sync_id TEXT NOT NULL,
  position BIGINT NOT NULL,           -- 0 for the deployment file, then what it names
  branch_id TEXT NOT NULL,
  path TEXT NOT NULL,
  entry TEXT NOT NULL,                -- a blob's id, or a word for what else is there
  PRIMARY KEY (sync_id, position)
);
CREATE INDEX sync_path_by_path ON sync_path (branch_id, path);
