-- additive
-- The role as which a notification target that is an event bus is told.
ALTER TABLE notification_target ADD COLUMN role_arn TEXT; -- of an event bus alone
