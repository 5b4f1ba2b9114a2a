-- Where a piece of work stands in line: <account>/<endpoint>/<repository link>, as syncline_model::schedule::Lane. Empty
-- for what an earlier version made: the first claim fills it in. It is a hint for fairness; nothing else depends on it.
ALTER TABLE work ADD COLUMN lane TEXT NOT NULL DEFAULT '';
UPDATE work SET lane = coalesce(
    (SELECT s.account_id || '/aws:' || s.role_account || ':' || s.region || '/' || s.link_id
       FROM sync_configuration s WHERE s.id = work.id), '')
 WHERE kind = 'SYNC';

CREATE INDEX work_lane ON work (kind, lane, due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX work_leased ON work (kind, lease_until_ms) WHERE lease_until_ms IS NOT NULL;

-- How fast an endpoint that throttles lets us go; without a row, as fast as we like.
CREATE TABLE pace (
  endpoint TEXT PRIMARY KEY,          -- git:<host>, or aws:<account>:<region>
  allowed BIGINT NOT NULL,            -- pieces of work of a kind at a time, once the pause is over
  strikes BIGINT NOT NULL,            -- throttled calls in a row
  not_before_ms BIGINT NOT NULL,      -- nothing is begun before
  since_ms BIGINT NOT NULL            -- when the newest strike was recorded
);

-- What the operator has told to rest: one sync, or a whole account.
CREATE TABLE suspension (
  account_id TEXT NOT NULL,
  sync_id TEXT NOT NULL,              -- empty for the account
  reason TEXT NOT NULL,
  since_ms BIGINT NOT NULL,
  PRIMARY KEY (account_id, sync_id)
);

-- 1 for an attempt that was given up before it executed anything: what it was opened for is still wanted.
ALTER TABLE attempt ADD COLUMN given_up BIGINT NOT NULL DEFAULT 0;
