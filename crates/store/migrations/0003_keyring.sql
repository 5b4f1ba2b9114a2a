-- Keys that seal the secrets in other tables, each sealed by a master key, which is in no table.
CREATE TABLE data_key (
  id TEXT PRIMARY KEY,                -- 16 hexadecimal digits, also at the head of what it seals
  purpose TEXT NOT NULL,              -- SECRETS, or what a lasting key is for
  sealed BYTEA NOT NULL,
  master_id TEXT NOT NULL,            -- of the master key that sealed it: a digest of that key
  created_at_ms BIGINT NOT NULL,
  retired_at_ms BIGINT                -- when another took its place; it seals nothing new since
);
CREATE UNIQUE INDEX data_key_in_use ON data_key (purpose) WHERE retired_at_ms IS NULL;
