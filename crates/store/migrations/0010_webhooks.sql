-- Where forges tell of pushes, and what they told. Not additive: a process of the version before would throw away data
-- keys that seal the secrets of webhooks, of which it knows nothing.
CREATE TABLE webhook (
  id TEXT PRIMARY KEY,                -- the last part of its URL
  link_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX webhook_by_link ON webhook (link_id);

CREATE TABLE webhook_secret (
  id TEXT PRIMARY KEY,
  webhook_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  secret BYTEA NOT NULL,              -- sealed
  ends_at_ms BIGINT                   -- of the one before the newest; NULL: of the newest
);
CREATE INDEX webhook_secret_by_webhook ON webhook_secret (webhook_id);

CREATE TABLE delivery (
  id TEXT PRIMARY KEY,
  link_id TEXT NOT NULL,
  number BIGINT NOT NULL,             -- counts the link's deliveries
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  received_at_ms BIGINT NOT NULL,
  dedupe TEXT,                        -- what the forge tells its deliveries apart by; NULL: it does not
  event TEXT NOT NULL,                -- in the forge's words
  named TEXT,                         -- JSON: the branches that it speaks of; NULL: all
  outcome TEXT NOT NULL,
  reason TEXT,                        -- why it was ignored
  woken TEXT NOT NULL,                -- JSON: the branches that were made due
  headers TEXT NOT NULL,              -- JSON: [[name, value], …], none of them a proof
  body BYTEA,                         -- NULL: too long to be kept
  body_bytes BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,         -- how often it came again
  duplicate_at_ms BIGINT,             -- when it did last
  replays BIGINT NOT NULL,
  replayed_at_ms BIGINT
);
CREATE UNIQUE INDEX delivery_by_number ON delivery (link_id, number);
-- NULLs are never the same.
CREATE UNIQUE INDEX delivery_by_dedupe ON delivery (link_id, dedupe);
CREATE INDEX delivery_by_link ON delivery (link_id, received_at_ms, id);
CREATE INDEX delivery_by_scope ON delivery (account_id, region, received_at_ms, id);
CREATE INDEX delivery_by_age ON delivery (received_at_ms);
