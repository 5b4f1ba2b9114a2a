//! A branch's turn: reading its head, and finding which syncs it concerns.

use syncline_model::names::{ObjectId, RepoPath};
use syncline_model::plan::{AfterTrouble, Trouble, after_trouble};
use syncline_model::sync::{BlockerKind, EventKind, Revision};
use syncline_store::{BranchRecord, BranchSync, Claim, Consideration, Considered, LinkRecord, StoreError};

use super::inputs::{Head, Inputs};
use super::remote::{remote, trouble_of};
use super::sync::Failure;
use super::{Due, Worker};

impl Worker {
    pub(super) async fn work_on_branch(&self, claim: &Claim) -> Result<Due, StoreError> {
        let Some(branch) = self.store.branch_record(&claim.id).await? else { return Ok(None) };
        let Some(sha) = branch.head_sha.clone() else { return Ok(None) };
        if branch.is_considered() {
            return Ok(None);
        }
        let Some(link) = self.store.link_record(&branch.link_id).await? else { return Ok(None) };
        let attempt = self.store.open_repository_attempt(claim, &sha).await?;
        match self.read_head(&branch, &link, &sha).await {
            Ok((considered, events)) => {
                self.store.record_considered(claim, &branch, &attempt, considered, events).await?;
                Ok(None)
            }
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Trouble(trouble)) => {
                self.slow_down(claim, &trouble).await?;
                self.replace_token(&branch.link_id, &trouble).await?;
                let jitter = self.outside.jitter();
                let (delay_ms, blocker, reason) =
                    match after_trouble(&trouble, branch.failures, jitter, false) {
                        AfterTrouble::Retry { delay_ms, blocker, reason } => {
                            (Some(delay_ms), blocker, reason)
                        }
                        // This commit cannot be read, ever: the next one may.
                        AfterTrouble::Fail { blocker, reason } => (None, Some(blocker), reason),
                        AfterTrouble::GiveUp { reason } | AfterTrouble::ReadAgain { reason } => {
                            (None, None, reason)
                        }
                    };
                let hopeless = delay_ms.is_none();
                self.store.record_read_trouble(claim, &branch, &attempt, &reason, blocker, hopeless).await?;
                Ok(delay_ms.map(|delay_ms| self.clock.now_ms() + delay_ms))
            }
        }
    }

    /// What the head means for the syncs that have not considered it.
    async fn read_head(
        &self,
        branch: &BranchRecord,
        link: &LinkRecord,
        sha: &str,
    ) -> Result<(Considered, Vec<(EventKind, String)>), Failure> {
        let remote = remote(&self.store, self.forges.endpoints(), link).await?;
        let commit: ObjectId = sha.parse().map_err(|error| Trouble::Refused {
            blocker: BlockerKind::RepositoryUnavailable,
            reason: format!("the Git host answered an impossible head: {error}"),
        })?;
        self.heads.spend(&remote);
        self.git.fetch(&remote, &link.link.id, &commit).await.map_err(|error| trouble_of(&error))?;
        let head = Head { git: &*self.git, remote: &remote, link_id: &link.link.id, commit: &commit };
        let changes = head.changes_since(&branch.bases).await;
        let mut syncs = branch.syncs.clone();
        let mut considered = Considered::default();
        for base in &branch.bases {
            let paths: Option<Vec<String>> =
                changes.get(base).map(|changed| changed.keys().cloned().collect());
            if paths.is_some() {
                considered.untouched.push(base.clone());
            }
            syncs.append(&mut self.store.touched_syncs(branch, base, paths).await?);
        }
        let mut events = vec![(EventKind::CommitRead, format!("Read commit {sha}"))];
        let mut wanted = Vec::new();
        for (sync, Inputs { text, files }) in syncs.iter().zip(head.inputs(&syncs, &changes).await?) {
            let changed = !sync.only_file_changes
                || sync.generation != sync.considered_generation
                || sync.newest_inputs.as_ref() != Some(&text);
            events.push(if changed {
                (EventKind::ResourceChanged, format!("{} is to be synced", sync.resource_name))
            } else {
                (EventKind::ResourceUnchanged, format!("{}: its files did not change", sync.resource_name))
            });
            if changed {
                wanted.extend(files.iter().cloned());
            }
            let is_indexed = sync.indexed.as_ref().is_some_and(|indexed| indexed.files == files);
            considered.syncs.push(Consideration {
                sync_id: sync.id.clone(),
                generation: sync.generation,
                desired: changed.then(|| (revision(branch, link, sync, sha), text)),
                files: (!is_indexed).then_some(files),
            });
        }
        head.read_ahead(&wanted).await;
        Ok((considered, events))
    }
}

fn revision(branch: &BranchRecord, link: &LinkRecord, sync: &BranchSync, sha: &str) -> Revision {
    Revision {
        branch: branch.name.clone(),
        directory: directory_of(&sync.config_file),
        owner_id: link.link.owner_id.clone(),
        repository_name: link.link.repository_name.clone(),
        provider_type: link.link.provider_type.clone(),
        sha: sha.to_owned(),
    }
}

/// The directory of a deployment file, as revisions and definitions show it: `.` at the root.
#[must_use]
pub(crate) fn directory_of(config_file: &str) -> String {
    config_file.parse::<RepoPath>().map_or_else(|_| ".".to_owned(), |path| path.directory().to_owned())
}
