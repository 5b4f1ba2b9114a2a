//! Heads of repositories, asked for once an interval however many links name the same one.
//!
//! Links share what a remote says when they would have asked the same question: the same URL, credential and root
//! certificate. So nobody learns what he could not have asked for himself, whatever account he belongs to, and each
//! link is told of its own branches alone. What is shared is in memory: each process asks for itself.
//!
//! A link that was woken is answered by a call that began after it asked, never by an older one. A poll may be told
//! what another link's call found since this link was told anything, while that is younger than the interval. So links
//! of one remote become due together, and the first of them asks for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use syncline_git::{GitError, Remote, Repositories};
use syncline_model::names::{BranchName, ObjectId};
use syncline_seams::Clock;
use uuid::Uuid;

use super::budget::Budgets;
use crate::config::RemoteBudget;

/// Remotes that nobody asked for since are forgotten after this many intervals, branches after as many.
const KEPT_INTERVALS: i64 = 3;

/// Links that were told of none of so many last calls are forgotten.
const KEPT_CALLS: u64 = 256;

/// Who asks for the heads of which branches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) link_id: &'a str,
    /// Counts the link's wakes: one that was woken since it was told last wants to know anew.
    pub(super) wake_seq: i64,
    /// Since when it is due, in milliseconds since the Unix epoch.
    pub(super) due_ms: i64,
    pub(super) remote: &'a Remote,
    pub(super) branches: &'a [BranchName],
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Told {
    /// The heads; a branch that is not there is absent.
    Heads {
        heads: BTreeMap<BranchName, ObjectId>,
        /// When to ask again, in milliseconds since the Unix epoch.
        next_ms: i64,
    },
    /// The host was called often enough: to be asked again at this time, in milliseconds since the Unix epoch.
    Later(i64),
}

/// What remotes said.
#[derive(Debug)]
pub(super) struct Heads {
    clock: Arc<dyn Clock>,
    started_ms: i64,
    interval_ms: i64,
    budgets: Budgets,
    /// Makes the keys of no use outside of this process.
    salt: Uuid,
    remotes: Mutex<HashMap<[u8; 32], Arc<Watched>>>,
}

/// One remote with one credential.
#[derive(Debug, Default)]
struct Watched {
    /// Held by whoever asks the remote.
    asking: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Calls that were begun.
    begun: u64,
    latest: Option<Listing>,
    /// The last call that failed, for those who waited for it.
    failed: Option<(u64, GitError)>,
    /// Which call each link was told of last, and its wakes until then.
    told: HashMap<String, (u64, i64)>,
    /// When each branch was asked for last.
    branches: BTreeMap<BranchName, i64>,
    asked_ms: i64,
}

#[derive(Debug)]
struct Listing {
    number: u64,
    begun_ms: i64,
    branches: BTreeSet<BranchName>,
    heads: BTreeMap<BranchName, ObjectId>,
}

impl Listing {
    fn covers(&self, branches: &[BranchName]) -> bool {
        branches.iter().all(|branch| self.branches.contains(branch))
    }
}

impl Known {
    /// Tells the link what the latest call found.
    fn tell(&mut self, question: &Question<'_>, interval_ms: i64) -> Option<Told> {
        let latest = self.latest.as_ref()?;
        let of_branch = |branch: &BranchName| Some((branch.clone(), latest.heads.get(branch)?.clone()));
        let heads = question.branches.iter().filter_map(of_branch).collect();
        self.told.insert(question.link_id.to_owned(), (latest.number, question.wake_seq));
        Some(Told::Heads { heads, next_ms: latest.begun_ms + interval_ms })
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heads {
    pub(super) fn new(clock: Arc<dyn Clock>, interval_ms: i64, budget: RemoteBudget) -> Self {
        let started_ms = clock.now_ms();
        let (budgets, salt) = (Budgets::new(budget), Uuid::new_v4());
        Self { clock, started_ms, interval_ms, budgets, salt, remotes: Mutex::default() }
    }

    /// Counts a call of another kind to the remote's host.
    pub(super) fn spend(&self, remote: &Remote) {
        if let Some(host) = remote.url.host() {
            self.budgets.spend(&host, self.clock.now_ms());
        }
    }

    /// The heads of a link's branches, from its remote or from what that said to another link just now.
    ///
    /// # Errors
    /// Those of [`Repositories::heads`].
    pub(super) async fn ask(
        &self,
        git: &dyn Repositories,
        question: &Question<'_>,
        jitter: f64,
    ) -> Result<Told, GitError> {
        let watched = self.watched(question.remote);
        let (is_poll, since) = {
            let now_ms = self.clock.now_ms();
            let mut known = lock(&watched.known);
            known.asked_ms = now_ms;
            known.branches.extend(question.branches.iter().map(|branch| (branch.clone(), now_ms)));
            // Whatever was due before this process began to ask is answered by anything that it has asked.
            let overdue = (question.due_ms < self.started_ms).then_some((0, question.wake_seq));
            let told = known.told.get(question.link_id).copied().or(overdue);
            let is_poll = told.is_some_and(|(_, wake_seq)| wake_seq == question.wake_seq);
            if is_poll
                && let Some(latest) = &known.latest
                && told.is_some_and(|(number, _)| number < latest.number)
                && now_ms < latest.begun_ms + self.interval_ms
                && latest.covers(question.branches)
                && let Some(told) = known.tell(question, self.interval_ms)
            {
                return Ok(told);
            }
            (is_poll, known.begun)
        };
        let _asking = watched.asking.lock().await;
        let (number, branches) = {
            let mut known = lock(&watched.known);
            // Somebody who waited as well has asked since.
            if known.latest.as_ref().is_some_and(|l| l.number > since && l.covers(question.branches))
                && let Some(told) = known.tell(question, self.interval_ms)
            {
                return Ok(told);
            }
            if let Some((number, error)) = &known.failed
                && *number > since
            {
                return Err(error.clone());
            }
            let now_ms = self.clock.now_ms();
            if let Some(host) = question.remote.url.host()
                && let Err(back_ms) = self.budgets.take(&host, question.link_id, is_poll, now_ms, jitter)
            {
                return Ok(Told::Later(back_ms));
            }
            let oldest_ms = now_ms - KEPT_INTERVALS * self.interval_ms;
            known.branches.retain(|_, asked_ms| *asked_ms >= oldest_ms);
            known.begun += 1;
            // A link that was told of none of these is gone, or asks as if for the first time.
            let oldest = known.begun.saturating_sub(KEPT_CALLS);
            known.told.retain(|_, (number, _)| *number >= oldest);
            (known.begun, known.branches.keys().cloned().collect::<Vec<_>>())
        };
        let begun_ms = self.clock.now_ms();
        let listed = git.heads(question.remote, &branches).await;
        let mut known = lock(&watched.known);
        match listed {
            Ok(heads) => {
                let branches = branches.into_iter().collect();
                known.latest = Some(Listing { number, begun_ms, branches, heads });
                known.failed = None;
                let told = known.tell(question, self.interval_ms);
                Ok(told.unwrap_or(Told::Later(begun_ms)))
            }
            Err(error) => {
                known.failed = Some((number, error.clone()));
                Err(error)
            }
        }
    }

    fn watched(&self, remote: &Remote) -> Arc<Watched> {
        let key = self.key(remote);
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        if !remotes.contains_key(&key) && remotes.len().is_multiple_of(256) {
            let oldest_ms = self.clock.now_ms() - KEPT_INTERVALS * self.interval_ms;
            remotes.retain(|_, watched| {
                // Somebody may hold one that he has not asked yet.
                Arc::strong_count(watched) > 1 || lock(&watched.known).asked_ms >= oldest_ms
            });
        }
        Arc::clone(remotes.entry(key).or_default())
    }

    /// What two remotes have in common if they are the same question.
    fn key(&self, remote: &Remote) -> [u8; 32] {
        let credential = remote.credential.as_ref();
        let host_keys = remote.ssh.as_ref().map(|ssh| ssh.host_keys.to_string());
        let parts = [
            Some(remote.url.as_str()),
            credential.map(|credential| credential.username.as_str()),
            credential.map(|credential| credential.password.expose().as_str()),
            remote.extra_root_pem.as_deref(),
            remote.ssh.as_ref().and_then(|ssh| ssh.username.as_deref()),
            remote.ssh.as_ref().map(|ssh| ssh.key.expose().as_str()),
            host_keys.as_deref(),
        ];
        let mut digest = Sha256::new_with_prefix(self.salt.as_bytes());
        for part in parts {
            // Its length keeps each part apart from the next, and an empty one from none.
            digest.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            digest.update(part.unwrap_or_default());
        }
        digest.finalize().into()
    }
}
