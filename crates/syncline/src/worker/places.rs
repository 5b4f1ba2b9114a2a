//! How much is done at a time.

use serde::Deserialize;
use syncline_model::schedule::Bounds;
use syncline_store::Kind;

use super::AUDIT_PLACES;

/// How many pieces of work are in progress at a time; `[concurrency]` in the file changes each by name, and each is at
/// least 1. Those of the worker hold for each worker, the others for all workers of a database together: where several
/// claim in the same moment, they may be exceeded by what these claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Places {
    /// Syncs: each is one stack.
    pub syncs: u32,
    /// Syncs of one account.
    pub syncs_per_account: u32,
    /// Syncs whose stacks are in one AWS account and region.
    pub syncs_per_aws_region: u32,
    /// Syncs of one repository.
    pub syncs_per_repository: u32,
    /// Branches whose commits are read.
    pub branches: u32,
    /// Branches of one account.
    pub branches_per_account: u32,
    /// Branches of one Git host.
    pub branches_per_host: u32,
    /// Branches of one repository.
    pub branches_per_repository: u32,
    /// Repositories that are asked for their heads.
    pub repositories: u32,
    /// Repositories of one account.
    pub repositories_per_account: u32,
    /// Repositories of one Git host.
    pub repositories_per_host: u32,
    /// What is told to the outside: comments, statuses, notifications.
    pub messages: u32,
    /// Of one account.
    pub messages_per_account: u32,
    /// To one forge or one notification target.
    pub messages_per_receiver: u32,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            syncs: 64,
            syncs_per_account: 48,
            syncs_per_aws_region: 32,
            syncs_per_repository: 24,
            branches: 16,
            branches_per_account: 12,
            branches_per_host: 8,
            branches_per_repository: 4,
            repositories: 32,
            repositories_per_account: 16,
            repositories_per_host: 8,
            messages: 32,
            messages_per_account: 16,
            messages_per_receiver: 4,
        }
    }
}

impl Places {
    /// Refuses what nothing could be done with.
    pub(crate) fn check(self) -> Result<Self, String> {
        let zero = [
            ("syncs", self.syncs),
            ("syncs_per_account", self.syncs_per_account),
            ("syncs_per_aws_region", self.syncs_per_aws_region),
            ("syncs_per_repository", self.syncs_per_repository),
            ("branches", self.branches),
            ("branches_per_account", self.branches_per_account),
            ("branches_per_host", self.branches_per_host),
            ("branches_per_repository", self.branches_per_repository),
            ("repositories", self.repositories),
            ("repositories_per_account", self.repositories_per_account),
            ("repositories_per_host", self.repositories_per_host),
            ("messages", self.messages),
            ("messages_per_account", self.messages_per_account),
            ("messages_per_receiver", self.messages_per_receiver),
        ]
        .into_iter()
        .find(|(_, places)| *places == 0);
        zero.map_or(Ok(self), |(name, _)| Err(format!("{name} = 0: it must be at least 1")))
    }

    /// The bounds of a kind of work that stands in lanes.
    pub(super) fn bounds(&self, kind: Kind) -> Option<Bounds> {
        let (total, per_account, per_endpoint, per_repository) = match kind {
            Kind::Sync => {
                (self.syncs, self.syncs_per_account, self.syncs_per_aws_region, self.syncs_per_repository)
            }
            Kind::Branch => (
                self.branches,
                self.branches_per_account,
                self.branches_per_host,
                self.branches_per_repository,
            ),
            // All links of an account to a host stand in one lane.
            Kind::Link | Kind::Pulls | Kind::Token | Kind::Redelivery => (
                self.repositories,
                self.repositories_per_account,
                self.repositories_per_host,
                self.repositories_per_host,
            ),
            Kind::Outbox => (
                self.messages,
                self.messages_per_account,
                self.messages_per_receiver,
                self.messages_per_receiver,
            ),
            Kind::Audit => return None,
        };
        Some(Bounds { total, per_account, per_endpoint, per_repository })
    }

    /// How many pieces of a kind one worker does at a time.
    pub(super) fn total(&self, kind: Kind) -> u32 {
        self.bounds(kind).map_or(AUDIT_PLACES, |bounds| bounds.total)
    }
}
