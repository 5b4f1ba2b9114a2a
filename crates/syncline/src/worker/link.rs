//! A link's turn: learning the heads of all its branches, by one remote call or by another link's.

use std::collections::BTreeMap;

use syncline_git::GitError;
use syncline_model::names::BranchName;
use syncline_model::plan::{AfterTrouble, Trouble, after_trouble};
use syncline_model::sync::BlockerKind;
use syncline_store::{Claim, ConnectionStatus, LinkRecord, StoreError};
use tracing::{debug, info, warn};

use super::heads::{Question, Told};
use super::remote::{remote, trouble_of};
use super::{Due, Worker};

impl Worker {
    pub(super) async fn work_on_link(&self, claim: &Claim) -> Result<Due, StoreError> {
        let Some(record) = self.store.link_record(&claim.id).await? else {
            // The link was deleted: what was cached of its repository goes too.
            if let Err(error) = self.git.forget(&claim.id).await {
                warn!(link = claim.id, %error, "the cache of a deleted link could not be thrown away");
                return Ok(Some(self.clock.now_ms() + self.poll_interval_ms));
            }
            self.store.forget_work(claim).await?;
            return Ok(None);
        };
        if record.branches.is_empty() {
            return Ok(None);
        }
        let remote = match remote(&self.store, self.forges.endpoints(), &record).await {
            Ok(remote) => remote,
            Err(trouble) => return self.link_trouble(claim, &record, &trouble).await,
        };
        let (names, unusable): (Vec<_>, Vec<_>) =
            record.branches.iter().map(|name| name.parse::<BranchName>()).partition(Result::is_ok);
        debug_assert!(unusable.is_empty(), "the API refuses such names");
        let names: Vec<BranchName> = names.into_iter().flatten().collect();
        let question = Question {
            link_id: &claim.id,
            wake_seq: claim.wake_seq(),
            due_ms: record.due_ms,
            remote: &remote,
            branches: &names,
        };
        match self.heads.ask(&*self.git, &question, self.outside.jitter()).await {
            Ok(Told::Later(due_ms)) => Ok(Some(due_ms)),
            Ok(Told::Heads { heads, next_ms }) => {
                if record.connection.as_ref().is_some_and(|c| c.status == ConnectionStatus::Error) {
                    // Of another one than was used nothing is known: the next look tells.
                    self.store.record_credential(claim, record.credential(), None).await?;
                }
                let heads: BTreeMap<String, Option<String>> = names
                    .iter()
                    .map(|name| (name.as_str().to_owned(), heads.get(name).map(|id| id.as_str().to_owned())))
                    .collect();
                // Most polls find what is known already: then nothing is written.
                if self.store.is_news(&claim.id, &heads).await? {
                    let recorded = self.store.record_heads(claim, heads).await?;
                    if recorded.new_heads > 0 {
                        info!(link = claim.id, new_heads = recorded.new_heads, "new commits were observed");
                    }
                }
                Ok(Some(next_ms))
            }
            Err(error) => {
                if let GitError::Unauthorized { message } | GitError::UnknownHost { message } = &error {
                    let (used, refused) = (record.credential(), Some(message.clone()));
                    if !self.store.record_credential(claim, used, refused).await? {
                        debug!(
                            link = claim.id,
                            "a credential was refused that is no longer the connection's"
                        );
                        return Ok(Some(claim.since_ms));
                    }
                }
                self.link_trouble(claim, &record, &trouble_of(&error)).await
            }
        }
    }

    async fn link_trouble(
        &self,
        claim: &Claim,
        record: &LinkRecord,
        trouble: &Trouble,
    ) -> Result<Due, StoreError> {
        self.slow_down(claim, trouble).await?;
        let jitter = self.outside.jitter();
        let (delay_ms, blocker, reason) = match after_trouble(trouble, record.failures, jitter, false) {
            AfterTrouble::Retry { delay_ms, blocker, reason } => (delay_ms, blocker, reason),
            AfterTrouble::Fail { blocker, reason } => (self.poll_interval_ms, Some(blocker), reason),
            AfterTrouble::GiveUp { reason } | AfterTrouble::ReadAgain { reason } => {
                (self.poll_interval_ms, None, reason)
            }
        };
        info!(link = claim.id, reason, "a repository could not be asked for its heads");
        self.store.record_remote_trouble(claim, &reason, blocker).await?;
        // A deleted connection does not come back by itself: whatever changes the link wakes it.
        let rests = record.connection.is_none() && blocker == Some(BlockerKind::ConnectionUnavailable);
        Ok((!rests).then(|| self.clock.now_ms() + delay_ms))
    }
}
