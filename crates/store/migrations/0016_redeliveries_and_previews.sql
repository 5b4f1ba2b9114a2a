-- additive
-- What GitHub's deliveries to a registered webhook were looked through for, because some failed and are to come again. The look
-- is a piece of work of its own, 'redeliveries-' and the link's id, which a start makes where there is none.
ALTER TABLE webhook ADD COLUMN looked_ms BIGINT;          -- when a look began that was brought to its end; NULL: none was
ALTER TABLE webhook ADD COLUMN asked_again TEXT NOT NULL DEFAULT '{}';  -- JSON, by GitHub's GUID: how often, and when last
ALTER TABLE webhook ADD COLUMN look_trouble TEXT;         -- why the last look came to nothing

-- Previews are listed, and read whole where the comment left something out.
ALTER TABLE preview ADD COLUMN created_at_ms BIGINT NOT NULL DEFAULT 0;  -- 0: a version made it that did not note that
ALTER TABLE preview ADD COLUMN told_at_ms BIGINT;
ALTER TABLE preview ADD COLUMN whole TEXT;                -- NULL: the comment tells everything
CREATE INDEX preview_by_sync ON preview (sync_id, created_at_ms);
