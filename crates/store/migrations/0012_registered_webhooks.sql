-- additive
-- Webhooks that are made and kept right at the forge by its API, instead of by a person.
ALTER TABLE webhook ADD COLUMN registered BIGINT NOT NULL DEFAULT 0;
