-- additive
-- What GitHub's deliveries to a registered webhook were looked through for, because some failed and are to come again. The look
-- is a piece of work of its own, 'redeliveries-' and the link's id, which a start makes where there is none.
ALTER TABLE webhook ADD COLUMN looked_ms BIGINT;          -- when a look began that was brought to its end; NULL: none was
ALTER TABLE webhook ADD COLUMN asked_again TEXT NOT NULL DEFAULT '{}';  -- JSON, by GitHub's GUID: how often, and when last
ALTER TABLE webhook ADD COLUMN look_trouble TEXT;         -- why the last look came to nothing
