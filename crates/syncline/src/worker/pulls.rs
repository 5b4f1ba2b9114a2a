//! A link's turn of asking its forge for pull requests: what is open, and which syncs would a merge touch?
//!
//! **Architecture Invariant:** what made it due says nothing: the forge is asked, and the commits are read.

use std::collections::{BTreeMap, HashMap};

use syncline_forges::rest::{self, Pull, PullState, Refusal};
use syncline_git::Remote;
use syncline_model::names::{BranchName, ObjectId, RepoPath};
use syncline_model::plan::{AfterTrouble, Trouble, after_trouble};
use syncline_model::preview::{Side, Want, side, touches};
use syncline_model::sync::BlockerKind;
use syncline_store::{
    BranchSync, Claim, CommentedSync, FoundPullRequest, KnownPullRequest, LinkRecord, PullRequest,
    PullRequestState, PullsRecord, Sources, StoreError, SyncFile, WantedPreview,
};
use tracing::{debug, warn};

use super::inputs::{Head, Inputs};
use super::remote::{outage, reached, remote, trouble_of};
use super::sync::Failure;
use super::{Due, Worker};
use crate::forges::Reached;

/// Poll intervals between two looks that no event asked for.
const INTERVALS: i64 = 5;
/// Pull requests of a link that are looked at in one turn; the others are in the next.
const MOST_LOOKED_AT: usize = 50;

/// A link whose pull requests are asked for.
struct Asking<'a> {
    record: &'a PullsRecord,
    reached: Reached,
    remote: Remote,
}

/// What a refusal means.
fn trouble(refusal: Refusal) -> Trouble {
    let reason = refusal.to_string();
    match refusal {
        Refusal::Throttled { retry_after_ms, .. } => Trouble::Outage {
            blocker: BlockerKind::RepositoryUnavailable,
            reason,
            retry_after_ms: Some(retry_after_ms.unwrap_or(0)),
        },
        Refusal::Unauthorized(_) => outage(BlockerKind::CredentialRefused, reason),
        Refusal::NotFound(_) => outage(BlockerKind::RepositoryNotFound, reason),
        Refusal::Forbidden(_) | Refusal::Invalid(_) | Refusal::Unreached(_) | Refusal::Unavailable(_) => {
            outage(BlockerKind::RepositoryUnavailable, reason)
        }
    }
}

fn pull_request(pull: &Pull, head: &str) -> PullRequest {
    PullRequest {
        number: pull.number,
        state: match pull.state {
            PullState::Open => PullRequestState::Open,
            PullState::Closed => PullRequestState::Closed,
            PullState::Merged => PullRequestState::Merged,
        },
        is_fork: pull.is_fork,
        target_branch: pull.target_branch.clone(),
        head_sha: head.to_owned(),
    }
}

impl Worker {
    pub(super) async fn work_on_pulls(&self, claim: &Claim) -> Result<Due, StoreError> {
        let record = self.store.pulls_record(claim).await?;
        let link = self.store.link_record(&record.link_id).await?;
        let Some(link) = link.filter(|_| record.has_link) else {
            self.store.forget_work(claim).await?;
            return Ok(None);
        };
        if record.syncs.is_empty() && record.open.is_empty() {
            // Whoever makes a sync with comments wakes it.
            return Ok(None);
        }
        match self.look_at_pulls(claim, &record, &link).await {
            Ok(is_done) => {
                let now_ms = self.clock.now_ms();
                Ok(Some(if is_done { now_ms + INTERVALS * self.poll_interval_ms } else { now_ms }))
            }
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Trouble(trouble)) => {
                self.slow_down(claim, &trouble).await?;
                self.replace_token(&record.link_id, &trouble).await?;
                let (delay_ms, reason) =
                    match after_trouble(&trouble, link.failures, self.outside.jitter(), false) {
                        AfterTrouble::Retry { delay_ms, reason, .. } => (delay_ms, reason),
                        AfterTrouble::Fail { reason, .. }
                        | AfterTrouble::GiveUp { reason }
                        | AfterTrouble::ReadAgain { reason } => (self.poll_interval_ms, reason),
                    };
                warn!(link = record.link_id, reason, "a forge could not be asked for its pull requests");
                Ok(Some(self.clock.now_ms() + delay_ms.max(self.poll_interval_ms)))
            }
        }
    }

    /// Whether all pull requests were looked at.
    async fn look_at_pulls(
        &self,
        claim: &Claim,
        record: &PullsRecord,
        link: &LinkRecord,
    ) -> Result<bool, Failure> {
        let endpoints = self.forges.endpoints();
        let Some(reached) = reached(&self.store, endpoints, link).await? else {
            debug!(link = record.link_id, "a Git host without an API has no pull requests");
            return Ok(true);
        };
        let remote = remote(&self.store, endpoints, link).await?;
        let asking = Asking { record, reached, remote };
        let (root, access) = (asking.reached.extra_root_pem.as_deref(), &asking.reached.access);
        let question = rest::open_pulls(access, &asking.reached.repository);
        let open = self.forges.list(root, question).await.map_err(trouble)?;
        let mut looked_at = 0;
        for pull in &open {
            if looked_at >= MOST_LOOKED_AT {
                return Ok(false);
            }
            match self.look_at_open(&asking, pull).await {
                Ok(Some(found)) => {
                    looked_at += 1;
                    self.store.record_pull_request(claim, found).await?;
                }
                Ok(None) => {}
                // Another may be read all the same.
                Err(Failure::Trouble(trouble)) if !is_of_all(&trouble) => {
                    warn!(
                        link = record.link_id,
                        pull_request = pull.number,
                        ?trouble,
                        "it could not be read"
                    );
                }
                Err(failure) => return Err(failure),
            }
        }
        for (number, known) in &record.open {
            if open.iter().all(|pull| pull.number != *number)
                && let Some(found) = self.look_at_ended(&asking, known).await?
            {
                self.store.record_pull_request(claim, found).await?;
            }
        }
        Ok(true)
    }

    /// What is found of an open pull request, if anything changed since it was looked at last.
    async fn look_at_open(
        &self,
        asking: &Asking<'_>,
        pull: &Pull,
    ) -> Result<Option<FoundPullRequest>, Failure> {
        let known = asking.record.open.get(&pull.number);
        let followed = |sync: &&CommentedSync| sync.branch == pull.target_branch;
        let syncs: Vec<&CommentedSync> = asking.record.syncs.iter().filter(followed).collect();
        if syncs.is_empty() || (pull.is_fork && !self.previews.forks) {
            // Nothing of it is read. If it was, its comments are to say once that they are no more.
            let was_read = |known: &&KnownPullRequest| known.looked.is_some() && !known.syncs.is_empty();
            return Ok(known.filter(was_read).map(|known| FoundPullRequest {
                pull_request: pull_request(pull, &known.pull_request.head_sha),
                looked: None,
                previews: without_comments(known, Want::Off),
                merged_seq: None,
            }));
        }
        // One without a head cannot be merged as it is.
        let Some(head) = &pull.head else { return Ok(None) };
        // A branch whose head is not known is being looked for.
        let Some((branch, _)) = asking.record.heads.get(&pull.target_branch) else { return Ok(None) };
        let of_syncs: Vec<String> =
            syncs.iter().map(|sync| format!("{} {}", sync.id, sync.generation)).collect();
        let looked = format!("{head} {branch} {}", of_syncs.join(" "));
        let is_same = |known: &KnownPullRequest| {
            known.looked.as_ref() == Some(&looked) && known.pull_request.target_branch == pull.target_branch
        };
        if known.is_some_and(is_same) {
            return Ok(None);
        }
        let (head, base) = self.commits(asking, (head, pull.merge_base.as_ref()), branch).await?;
        let previews = self.touched(asking, &syncs, &head, base.as_ref(), branch).await?;
        Ok(Some(FoundPullRequest {
            pull_request: pull_request(pull, head.as_str()),
            looked: Some(looked),
            previews,
            merged_seq: None,
        }))
    }

    /// The commit at the head of a pull request and the one from which it and the branch come, as far as the forge has said
    /// them.
    async fn commits(
        &self,
        asking: &Asking<'_>,
        (head, merge_base): (&str, Option<&String>),
        branch: &str,
    ) -> Result<(ObjectId, Option<ObjectId>), Failure> {
        let (access, repository) = (&asking.reached.access, &asking.reached.repository);
        let root = asking.reached.extra_root_pem.as_deref();
        let odd = |what: &str| {
            outage(BlockerKind::RepositoryUnavailable, format!("the forge says no commit: {what}"))
        };
        let head = match rest::commit(access, repository, head) {
            Some(question) => self.forges.ask(root, question).await.map_err(trouble)?,
            None => head.to_owned(),
        };
        let base = match (merge_base, rest::merge_base(access, repository, branch, &head)) {
            (Some(base), _) => Some(base.clone()),
            (None, Some(question)) => match self.forges.ask(root, question).await {
                Ok(base) => base,
                // Two histories that have nothing in common.
                Err(Refusal::NotFound(_)) => None,
                Err(refusal) => return Err(trouble(refusal).into()),
            },
            (None, None) => None,
        };
        let head = head.parse().map_err(|_| odd(&head))?;
        let base = base.map(|base| base.parse().map_err(|_| odd(&base))).transpose()?;
        Ok((head, base))
    }

    /// Which of the syncs a merge would touch, and where their files would come from.
    async fn touched(
        &self,
        asking: &Asking<'_>,
        syncs: &[&CommentedSync],
        head: &ObjectId,
        base: Option<&ObjectId>,
        branch: &str,
    ) -> Result<Vec<WantedPreview>, Failure> {
        let branch: ObjectId = branch.parse().map_err(|error| {
            outage(BlockerKind::RepositoryUnavailable, format!("the branch's head is unusable: {error}"))
        })?;
        let configurations: Vec<BranchSync> = syncs.iter().map(|sync| configuration(sync)).collect();
        let mut at: HashMap<&ObjectId, Vec<Inputs>> = HashMap::new();
        for commit in base.into_iter().chain([&branch, head]) {
            if !at.contains_key(commit) {
                self.heads.spend(&asking.remote);
                let fetched = self.git.fetch(&asking.remote, &asking.record.link_id, commit).await;
                fetched.map_err(|error| trouble_of(&error))?;
                let inputs = self.at(asking, commit).inputs(&configurations, &HashMap::new()).await?;
                at.insert(commit, inputs);
            }
        }
        let mut wanted = Vec::with_capacity(syncs.len());
        for (index, sync) in syncs.iter().enumerate() {
            let of = |commit: &ObjectId| &at[commit][index];
            let texts =
                (base.map(|base| of(base).text.as_str()), of(head).text.as_str(), of(&branch).text.as_str());
            if touches(texts.0, texts.1, texts.2) {
                let preview = self.merged(asking, sync, (base, head, &branch), &at, index).await?;
                wanted.push(preview);
            } else {
                wanted.push(without_comment(&sync.id, Want::Untouched));
            }
        }
        Ok(wanted)
    }

    /// What a merge would make of a sync's files, whichever side has changed each.
    async fn merged(
        &self,
        asking: &Asking<'_>,
        sync: &CommentedSync,
        commits: (Option<&ObjectId>, &ObjectId, &ObjectId),
        at: &HashMap<&ObjectId, Vec<Inputs>>,
        index: usize,
    ) -> Result<WantedPreview, Failure> {
        let (base, head, branch) = commits;
        let of = |commit: &ObjectId, position: usize| at[commit][index].files.get(position);
        let entry = |file: Option<&SyncFile>| file.map_or("missing", |file| &file.entry).to_owned();
        let mut both_changed = Vec::new();
        let mut pick = |path: &str, base: Option<String>, at_head: String, at_branch: String| match side(
            base.as_deref(),
            &at_head,
            &at_branch,
        ) {
            Side::Branch => (branch, at_branch),
            Side::Head => (head, at_head),
            Side::Both => {
                both_changed.push(path.to_owned());
                (head, at_head)
            }
        };
        let config_at = |commit: &ObjectId| entry(of(commit, 0));
        let (config_commit, config_entry) =
            pick(&sync.config_file, base.map(config_at), config_at(head), config_at(branch));
        let template = of(config_commit, 1).map(|file| file.path.clone());
        let mut inputs = format!("{}={config_entry}", sync.config_file);
        let mut template_commit = config_commit;
        if let Some(template) = template
            && let Ok(path) = template.parse::<RepoPath>()
        {
            let mut entries: BTreeMap<&str, String> = BTreeMap::new();
            for commit in base.into_iter().chain([head, branch]) {
                let found = self.at(asking, commit).entries(std::slice::from_ref(&path)).await?;
                let found = found.get(path.as_str()).cloned().unwrap_or_default();
                entries.insert(commit.as_str(), found);
            }
            let at = |commit: &ObjectId| entries.get(commit.as_str()).cloned().unwrap_or_default();
            let (commit, entry) = pick(&template, base.map(at), at(head), at(branch));
            template_commit = commit;
            inputs.push_str(&format!("\n{template}={entry}"));
        }
        let sources = Sources {
            config_file: sync.config_file.clone(),
            config_commit: config_commit.as_str().to_owned(),
            template_commit: template_commit.as_str().to_owned(),
            both_changed,
        };
        Ok(WantedPreview { sync_id: sync.id.clone(), want: Want::Changes, inputs, sources })
    }

    /// What became of a pull request that is not among the open ones any more.
    async fn look_at_ended(
        &self,
        asking: &Asking<'_>,
        known: &KnownPullRequest,
    ) -> Result<Option<FoundPullRequest>, Failure> {
        let (access, root) = (&asking.reached.access, asking.reached.extra_root_pem.as_deref());
        let number = known.pull_request.number;
        let state = match self.forges.ask(root, rest::pull(access, &asking.reached.repository, number)).await
        {
            Ok(pull) => pull.state,
            // It may be hidden or deleted.
            Err(Refusal::NotFound(_)) => PullState::Closed,
            Err(refusal) => return Err(trouble(refusal).into()),
        };
        let mut found = known.pull_request.clone();
        let (state, want, merged_seq) = match state {
            PullState::Merged => {
                let seq = self.merged_seq(asking, &found.target_branch).await?;
                (PullRequestState::Merged, Want::Merged, Some(seq))
            }
            // Opened again in between: the next look finds it so.
            PullState::Open => return Ok(None),
            PullState::Closed => (PullRequestState::Closed, Want::Closed, None),
        };
        found.state = state;
        let previews = without_comments(known, want);
        Ok(Some(FoundPullRequest { pull_request: found, looked: None, previews, merged_seq }))
    }

    /// The first of a branch's heads that holds what was merged by now: the recorded one, if the branch is still there, else
    /// the next.
    async fn merged_seq(&self, asking: &Asking<'_>, branch: &str) -> Result<i64, Failure> {
        let Some((recorded, seq)) = asking.record.heads.get(branch) else { return Ok(0) };
        let Ok(name) = branch.parse::<BranchName>() else { return Ok(*seq) };
        self.heads.spend(&asking.remote);
        let heads = self.git.heads(&asking.remote, std::slice::from_ref(&name)).await;
        let heads = heads.map_err(|error| trouble_of(&error))?;
        let is_recorded = heads.get(&name).is_none_or(|head| head.as_str() == recorded);
        Ok(if is_recorded { *seq } else { seq + 1 })
    }

    fn at<'a>(&'a self, asking: &'a Asking<'_>, commit: &'a ObjectId) -> Head<'a> {
        Head { git: &*self.git, remote: &asking.remote, link_id: &asking.record.link_id, commit }
    }
}

fn without_comment(sync_id: &str, want: Want) -> WantedPreview {
    WantedPreview { sync_id: sync_id.to_owned(), want, inputs: String::new(), sources: Sources::default() }
}

fn without_comments(known: &KnownPullRequest, want: Want) -> Vec<WantedPreview> {
    known.syncs.iter().map(|sync| without_comment(sync, want)).collect()
}

/// Whether a trouble would meet other pull requests of the link as well.
fn is_of_all(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Outage { retry_after_ms: Some(_), .. })
        || matches!(trouble, Trouble::Outage { blocker: BlockerKind::CredentialRefused, .. })
}

/// A sync as the reader of its files wants it; nothing is known of them.
fn configuration(sync: &CommentedSync) -> BranchSync {
    BranchSync {
        id: sync.id.clone(),
        resource_name: String::new(),
        generation: sync.generation,
        considered_generation: sync.generation,
        config_file: sync.config_file.clone(),
        only_file_changes: false,
        newest_inputs: None,
        indexed: None,
    }
}
