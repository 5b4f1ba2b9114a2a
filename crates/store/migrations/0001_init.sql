-- Types are the portable ones: TEXT, BIGINT, BYTEA (SQLite keeps a blob in a column of any declared type).
-- Times are milliseconds since the Unix epoch. Booleans are BIGINT 0 or 1.

CREATE TABLE account (
  id TEXT PRIMARY KEY,
  external_id TEXT NOT NULL,          -- given to sts:AssumeRole for this account's roles
  created_at_ms BIGINT NOT NULL
);

CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE host (
  id TEXT PRIMARY KEY,                -- <Name>-<8 hex>: the ARN's last part
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  service TEXT NOT NULL,              -- the spelling under which its ARN was made
  name TEXT NOT NULL,
  provider_type TEXT NOT NULL,
  provider_endpoint TEXT NOT NULL,
  vpc_configuration TEXT,             -- JSON, as given
  status TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  deleted BIGINT NOT NULL             -- kept, because an ARN is never used again
);
CREATE INDEX host_by_scope ON host (account_id, region, deleted, created_at_ms, id);

CREATE TABLE connection (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  service TEXT NOT NULL,
  name TEXT NOT NULL,
  provider_type TEXT NOT NULL,
  host_id TEXT,
  status TEXT NOT NULL,
  status_reason TEXT,
  credential BYTEA,                   -- sealed; NULL for none
  created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX connection_by_name ON connection (account_id, region, name);
CREATE INDEX connection_by_scope ON connection (account_id, region, created_at_ms, id);
CREATE INDEX connection_by_host ON connection (host_id);

CREATE TABLE repository_link (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  service TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  connection_arn TEXT NOT NULL,       -- still shown after the connection is gone
  owner_id TEXT NOT NULL,
  repository_name TEXT NOT NULL,
  provider_type TEXT NOT NULL,
  encryption_key_arn TEXT,
  failures BIGINT NOT NULL,           -- of remote calls, in a row
  created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX repository_link_by_repository ON repository_link (connection_id, owner_id, repository_name);
CREATE INDEX repository_link_by_scope ON repository_link (account_id, region, created_at_ms, id);

CREATE TABLE branch (
  id TEXT PRIMARY KEY,
  link_id TEXT NOT NULL,
  name TEXT NOT NULL,
  head_sha TEXT,                      -- NULL: never seen, or gone
  head_seq BIGINT NOT NULL,           -- counts observed heads
  failures BIGINT NOT NULL            -- of reading the head, in a row
);
CREATE UNIQUE INDEX branch_by_name ON branch (link_id, name);

CREATE TABLE repository_attempt (
  id TEXT PRIMARY KEY,
  branch_id TEXT NOT NULL,
  number BIGINT NOT NULL,             -- counts the branch's attempts
  sha TEXT,
  status TEXT NOT NULL,
  started_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX repository_attempt_by_branch ON repository_attempt (branch_id, number);

CREATE TABLE sync_configuration (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  sync_type TEXT NOT NULL,
  resource_name TEXT NOT NULL,
  link_id TEXT NOT NULL,
  branch TEXT NOT NULL,
  config_file TEXT NOT NULL,
  role_arn TEXT NOT NULL,
  role_account TEXT NOT NULL,         -- where the stack lives
  publish_deployment_status TEXT,
  trigger_resource_update_on TEXT,
  pull_request_comment TEXT,
  generation BIGINT NOT NULL,
  considered_seq BIGINT NOT NULL,
  considered_generation BIGINT NOT NULL,
  desired_revision TEXT,              -- JSON
  desired_seq BIGINT,
  desired_generation BIGINT,
  desired_inputs TEXT,                -- what the files at the revision are, for FILE_CHANGE
  applied_revision TEXT,              -- JSON: the revision last applied
  stack_id TEXT,                      -- of the stack this configuration made or updated
  deleted BIGINT NOT NULL,
  created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX sync_configuration_by_name
  ON sync_configuration (account_id, region, sync_type, resource_name) WHERE deleted = 0;
CREATE UNIQUE INDEX sync_configuration_by_stack
  ON sync_configuration (role_account, region, resource_name) WHERE deleted = 0;
CREATE INDEX sync_configuration_by_link ON sync_configuration (link_id, deleted, branch, created_at_ms, id);
CREATE INDEX sync_configuration_tombstone ON sync_configuration (role_account, region, resource_name) WHERE deleted = 1;

CREATE TABLE attempt (
  id TEXT PRIMARY KEY,
  sync_id TEXT NOT NULL,
  number BIGINT NOT NULL,             -- counts the configuration's attempts
  status TEXT NOT NULL,
  phase TEXT NOT NULL,
  phase_since_ms BIGINT NOT NULL,
  started_at_ms BIGINT NOT NULL,
  ended_at_ms BIGINT,
  initial_revision TEXT NOT NULL,     -- JSON
  target_revision TEXT NOT NULL,      -- JSON
  target TEXT NOT NULL,               -- the stack's name
  desired_seq BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  inputs TEXT,
  role_arn TEXT NOT NULL,             -- snapshots: a changed configuration does not change a running attempt
  link_id TEXT NOT NULL,
  config_file TEXT NOT NULL,
  plan_number BIGINT NOT NULL,        -- the change set is named <id>-<plan number>
  change_set_arn TEXT,
  stack_id TEXT,
  last_stack_event TEXT,
  failures BIGINT NOT NULL,           -- of outside calls, in a row
  event_count BIGINT NOT NULL
);
CREATE UNIQUE INDEX attempt_by_sync ON attempt (sync_id, number);
CREATE INDEX attempt_succeeded ON attempt (sync_id, number) WHERE status = 'SUCCEEDED';

CREATE TABLE event (
  attempt_id TEXT NOT NULL,           -- of an attempt or a repository attempt
  seq BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  external_id TEXT
);
CREATE UNIQUE INDEX event_by_attempt ON event (attempt_id, seq);

CREATE TABLE blocker (
  id TEXT PRIMARY KEY,
  sync_id TEXT NOT NULL,
  number BIGINT NOT NULL,             -- counts the configuration's blockers
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  created_reason TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL,
  contexts TEXT NOT NULL,             -- JSON: [[key, value], …]
  resolved_reason TEXT,
  resolved_at_ms BIGINT
);
CREATE UNIQUE INDEX blocker_by_sync ON blocker (sync_id, number);
CREATE INDEX blocker_active ON blocker (sync_id) WHERE status = 'ACTIVE';

CREATE TABLE tag (
  resource_id TEXT NOT NULL,
  tag_key TEXT NOT NULL,
  tag_value TEXT NOT NULL,
  PRIMARY KEY (resource_id, tag_key)
);

-- What the worker has to do: a link for its remote calls, a branch for its attempts, a sync for its stack.
CREATE TABLE work (
  id TEXT PRIMARY KEY,                -- of the link, branch or sync configuration
  kind TEXT NOT NULL,
  due_at_ms BIGINT,                   -- NULL: nothing to do until something wakes it
  lease_owner TEXT,
  lease_until_ms BIGINT,
  epoch BIGINT NOT NULL,              -- every claim counts: the fence of every later write
  wake_seq BIGINT NOT NULL            -- every wake counts: a release does not undo a wake
);
CREATE INDEX work_due ON work (kind, due_at_ms) WHERE due_at_ms IS NOT NULL;
