-- additive
-- Pull requests, and what their merges would do to syncs. What is asked of a forge for a link is a piece of work of its own,
-- 'pulls-' and the link's id.
CREATE TABLE pull_request (
  id TEXT PRIMARY KEY,
  link_id TEXT NOT NULL,
  number BIGINT NOT NULL,             -- the forge's
  state TEXT NOT NULL,                -- OPEN, CLOSED or MERGED
  is_fork BIGINT NOT NULL,
  source_branch TEXT NOT NULL,
  target_branch TEXT NOT NULL,
  head_sha TEXT NOT NULL,
  looked TEXT,                        -- the commits and syncs at which it was found what it touches; NULL: not yet
  changed_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX pull_request_by_number ON pull_request (link_id, number);

CREATE TABLE preview (
  id TEXT PRIMARY KEY,                -- begins with a letter: its change sets are <id>-<plan number>
  pull_request_id TEXT NOT NULL,
  sync_id TEXT NOT NULL,
  live BIGINT NOT NULL,               -- 0: its end was told
  want TEXT NOT NULL,                 -- what the comment is to tell
  wanted_seq BIGINT NOT NULL,         -- counts it
  done_seq BIGINT NOT NULL,           -- what the comment tells
  head_sha TEXT NOT NULL,
  inputs TEXT NOT NULL,               -- what the files would be
  sources TEXT NOT NULL,              -- JSON: where they are read
  merged_seq BIGINT,                  -- of the branch's heads, the first that holds the merge
  made_on TEXT,                       -- the change set that the sync had executed last when the comment was made
  phase TEXT NOT NULL,
  phase_since_ms BIGINT NOT NULL,
  plan_number BIGINT NOT NULL,
  planned_seq BIGINT NOT NULL,        -- what the current change set was asked for
  stack TEXT,                         -- snapshots: a change set is deleted where it was made, by the role that made it
  role_arn TEXT,
  change_set_arn TEXT,
  comment TEXT,                       -- the newest one
  failures BIGINT NOT NULL,           -- of outside calls, in a row
  due_at_ms BIGINT NOT NULL           -- not before this, after failures
);
CREATE UNIQUE INDEX preview_by_subject ON preview (pull_request_id, sync_id);
CREATE INDEX preview_live ON preview (sync_id) WHERE live = 1;

INSERT INTO work (id, kind, due_at_ms, epoch, wake_seq)
  SELECT DISTINCT 'pulls-' || link_id, 'PULLS', 0, 0, 0 FROM sync_configuration
   WHERE deleted = 0 AND pull_request_comment = 'ENABLED';
