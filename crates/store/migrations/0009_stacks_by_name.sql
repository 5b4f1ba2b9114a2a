-- additive
-- Every configuration of a stack, deleted or not and whatever account its role is of: each step of a sync asks whether
-- another one still drives its stack, and each end of an attempt, who waited for it.
CREATE INDEX sync_configuration_by_resource ON sync_configuration (resource_name, region);
