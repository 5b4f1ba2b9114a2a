//! A branch's turn: reading its head, and finding which syncs it concerns.

use syncline_git::{Entry, GitError, Remote};
use syncline_model::names::{ObjectId, RepoPath};
use syncline_model::plan::{AfterTrouble, Trouble, after_trouble};
use syncline_model::sync::{BlockerKind, EventKind, Revision};
use syncline_store::{BranchRecord, BranchSync, Claim, Consideration, LinkRecord, StoreError};

use super::files::MAX_DEPLOYMENT_FILE_BYTES;
use super::remote::{remote, trouble_of};
use super::{Due, Worker};

impl Worker {
    pub(super) async fn work_on_branch(&self, claim: &Claim) -> Result<Due, StoreError> {
        let Some(branch) = self.store.branch_record(&claim.id).await? else { return Ok(None) };
        let Some(sha) = branch.head_sha.clone() else { return Ok(None) };
        if branch.syncs.is_empty() {
            return Ok(None);
        }
        let Some(link) = self.store.link_record(&branch.link_id).await? else { return Ok(None) };
        let attempt = self.store.open_repository_attempt(claim, &sha).await?;
        match self.read_head(&branch, &link, &sha).await {
            Ok((considerations, events)) => {
                self.store.record_considered(claim, &branch, &attempt, considerations, events).await?;
                Ok(None)
            }
            Err(trouble) => {
                self.slow_down(claim, &trouble).await?;
                let jitter = self.outside.jitter();
                let (delay_ms, blocker, reason) =
                    match after_trouble(&trouble, branch.failures, jitter, false) {
                        AfterTrouble::Retry { delay_ms, blocker, reason } => {
                            (Some(delay_ms), blocker, reason)
                        }
                        // This commit cannot be read, ever: the next one may.
                        AfterTrouble::Fail { blocker, reason } => (None, Some(blocker), reason),
                        AfterTrouble::GiveUp { reason } => (None, None, reason),
                    };
                let hopeless = delay_ms.is_none();
                self.store.record_read_trouble(claim, &branch, &attempt, &reason, blocker, hopeless).await?;
                Ok(delay_ms.map(|delay_ms| self.clock.now_ms() + delay_ms))
            }
        }
    }

    async fn read_head(
        &self,
        branch: &BranchRecord,
        link: &LinkRecord,
        sha: &str,
    ) -> Result<(Vec<Consideration>, Vec<(EventKind, String)>), Trouble> {
        let remote = remote(&self.store, link).await?;
        let commit: ObjectId = sha.parse().map_err(|error| Trouble::Refused {
            blocker: BlockerKind::RepositoryUnavailable,
            reason: format!("the Git host answered an impossible head: {error}"),
        })?;
        self.git.fetch(&remote, &link.link.id, &commit).await.map_err(|error| trouble_of(&error))?;
        let mut considerations = Vec::new();
        let mut events = vec![(EventKind::CommitRead, format!("Read commit {sha}"))];
        for sync in &branch.syncs {
            let inputs = self.inputs(&remote, &link.link.id, &commit, sync).await?;
            let changed = !sync.only_file_changes
                || sync.generation != sync.considered_generation
                || sync.newest_inputs.as_ref() != Some(&inputs);
            events.push(if changed {
                (EventKind::ResourceChanged, format!("{} is to be synced", sync.resource_name))
            } else {
                (EventKind::ResourceUnchanged, format!("{}: its files did not change", sync.resource_name))
            });
            let desired = changed.then(|| (revision(branch, link, sync, sha), inputs));
            considerations.push(Consideration {
                sync_id: sync.id.clone(),
                generation: sync.generation,
                desired,
            });
        }
        Ok((considerations, events))
    }

    /// What a sync's files are at a commit: paths and blob ids, whatever their content.
    async fn inputs(
        &self,
        remote: &Remote,
        link_id: &str,
        commit: &ObjectId,
        sync: &BranchSync,
    ) -> Result<String, Trouble> {
        let Ok(config_path) = sync.config_file.parse::<RepoPath>() else {
            return Ok(format!("{}: not a path", sync.config_file));
        };
        let config = self.entry(remote, link_id, commit, &config_path).await?;
        let mut inputs = format!("{config_path}={config}");
        let read = self.git.read(remote, link_id, commit, &config_path, MAX_DEPLOYMENT_FILE_BYTES).await;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                return match trouble_of(&error) {
                    // The attempt will say what is wrong with the file.
                    Trouble::Refused { .. } => Ok(inputs),
                    outage @ Trouble::Outage { .. } => Err(outage),
                };
            }
        };
        let template = syncline_template::parse_deployment_file(config_path.as_str(), &bytes)
            .ok()
            .and_then(|file| file.template_file_path.parse::<RepoPath>().ok());
        if let Some(template_path) = template {
            let template = self.entry(remote, link_id, commit, &template_path).await?;
            inputs.push_str(&format!("\n{template_path}={template}"));
        }
        Ok(inputs)
    }

    async fn entry(
        &self,
        remote: &Remote,
        link_id: &str,
        commit: &ObjectId,
        path: &RepoPath,
    ) -> Result<String, Trouble> {
        let entry =
            self.git.entry(remote, link_id, commit, path).await.map_err(|e: GitError| trouble_of(&e))?;
        Ok(match entry {
            Entry::Missing => "missing".to_owned(),
            Entry::NotAFile(kind) => kind.to_string(),
            Entry::File { blob } => blob.to_string(),
        })
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
