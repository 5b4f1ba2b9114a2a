-- additive
-- What a connection's tokens are got with, where they run out. The token itself is the connection's credential. Getting the
-- next one is a piece of work of its own, 'token-' and the connection's id.
CREATE TABLE connection_grant (
  connection_id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  sealed BYTEA NOT NULL,
  credential_digest TEXT NOT NULL,    -- of the connection's credential: with any other, this is no grant
  issued_ms BIGINT NOT NULL,          -- when the token was got
  ends_ms BIGINT NOT NULL,            -- when it runs out
  wanted BIGINT NOT NULL,             -- 1: the forge refused the token
  unanswered BIGINT NOT NULL,         -- 1: another one was asked for, and nobody recorded what came of it
  refused BIGINT NOT NULL,            -- 1: the forge gives no other
  failures BIGINT NOT NULL,           -- tries that failed in a row
  trouble TEXT                        -- why the last one did
);

-- A handshake that a person completes in a browser.
CREATE TABLE handshake (
  id TEXT PRIMARY KEY,
  connection_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  region TEXT NOT NULL,
  kind TEXT NOT NULL,
  begun_by TEXT NOT NULL,             -- JSON: whose key began it
  tried_at TEXT,                      -- the endpoint of the connection's host
  ticket TEXT,                        -- SHA-256 of what opens it, until the forge answered for the first time
  browser TEXT,                       -- SHA-256 of the cookie of the browser that opened it
  state TEXT,                         -- SHA-256 of what the forge is to hand back
  ends_ms BIGINT NOT NULL,
  sealed BYTEA NOT NULL               -- what the next step needs
);
CREATE INDEX handshake_by_connection ON handshake (connection_id);
CREATE UNIQUE INDEX handshake_by_ticket ON handshake (ticket);
CREATE UNIQUE INDEX handshake_by_state ON handshake (state);
