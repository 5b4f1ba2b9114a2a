-- What is to be told to the outside, and to whom. Not additive: a process of the version before would throw away data
-- keys that seal the secrets of notification targets, of which it knows nothing.
CREATE TABLE outbox (
  id TEXT PRIMARY KEY,                -- of a notification also what its receiver tells it apart by
  class TEXT NOT NULL,                -- WANTED: one row for each thing; NOTIFICATION: one for each that is sent
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,              -- the thing; or what the notification is about, whose order is kept
  number BIGINT NOT NULL,             -- counts the notifications of a target and subject
  target_id TEXT,                     -- of a notification
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  endpoint TEXT NOT NULL,             -- whom it is told to: the endpoint of its lane
  document TEXT NOT NULL,             -- JSON: the newest content
  version BIGINT NOT NULL,            -- counts its contents
  sent_version BIGINT NOT NULL,       -- the one that was sent last; 0: none
  state TEXT NOT NULL,                -- WAITING, SENT or FAILED
  remote_id TEXT,                     -- under which the other side knows it
  failures BIGINT NOT NULL,           -- in a row
  last_error TEXT,
  created_at_ms BIGINT NOT NULL,
  changed_at_ms BIGINT NOT NULL,      -- when its newest content came
  tried_at_ms BIGINT,
  done_at_ms BIGINT                   -- when it was sent or given up; NULL: it waits
);
CREATE UNIQUE INDEX outbox_wanted ON outbox (kind, subject) WHERE class = 'WANTED';
CREATE UNIQUE INDEX outbox_in_order ON outbox (target_id, subject, number) WHERE class = 'NOTIFICATION';
CREATE INDEX outbox_by_scope ON outbox (account_id, region, changed_at_ms, id);
CREATE INDEX outbox_by_state ON outbox (state, changed_at_ms);
CREATE INDEX outbox_by_age ON outbox (done_at_ms) WHERE done_at_ms IS NOT NULL;

-- Who is told of changed statuses.
CREATE TABLE notification_target (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  shown TEXT NOT NULL,                -- where it is, without secrets
  secret BYTEA NOT NULL,              -- sealed: its URL and key
  syncs TEXT,                         -- JSON: the names of the syncs it is told of; NULL: all
  statuses TEXT,                      -- JSON: the statuses it is told of; NULL: all
  created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX notification_target_by_name ON notification_target (account_id, region, name);
