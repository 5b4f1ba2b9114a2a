-- Who may call: users of an account, their policies, their access keys.
CREATE TABLE principal (
  id TEXT PRIMARY KEY,                -- AIDA…, never used again
  account_id TEXT NOT NULL,
  name TEXT NOT NULL,
  policy_version BIGINT NOT NULL,     -- counts the changes of its policies
  created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX principal_by_name ON principal (account_id, name);

CREATE TABLE policy (
  principal_id TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,             -- JSON, as given
  PRIMARY KEY (principal_id, name)
);

CREATE TABLE access_key (
  id TEXT PRIMARY KEY,                -- AKIA…, or ASIA… of a temporary one
  account_id TEXT NOT NULL,
  principal_id TEXT NOT NULL,
  secret BYTEA NOT NULL,              -- sealed
  token_hash TEXT,                    -- SHA-256 of a temporary key's session token, in hexadecimal
  expires_at_ms BIGINT,               -- of a temporary key
  active BIGINT NOT NULL,
  created_at_ms BIGINT NOT NULL
);
CREATE INDEX access_key_by_principal ON access_key (principal_id, created_at_ms, id);

-- Answers of creations, for clients that ask again because the first answer was lost on its way.
CREATE TABLE replay (
  key_id TEXT NOT NULL,
  invocation_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  answer TEXT NOT NULL,               -- JSON
  created_at_ms BIGINT NOT NULL,
  PRIMARY KEY (key_id, invocation_id, operation, body_hash)
);
CREATE INDEX replay_by_age ON replay (created_at_ms);

-- What was done and what was denied. A record is written with its change; the sequencer gives it its place.
CREATE TABLE audit_record (
  id TEXT PRIMARY KEY,                -- the record's eventID
  account_id TEXT NOT NULL,
  time_ms BIGINT NOT NULL,
  record TEXT NOT NULL,               -- JSON in CloudTrail's shape
  sequence BIGINT,                    -- NULL until the sequencer has seen it; then 1, 2, … within the account
  hash TEXT                           -- over the hash before it, the sequence and the record
);
CREATE UNIQUE INDEX audit_record_by_sequence ON audit_record (account_id, sequence);
CREATE INDEX audit_record_waiting ON audit_record (account_id, time_ms, id) WHERE sequence IS NULL;
