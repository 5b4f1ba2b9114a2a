//! The worker: claim what is due, observe, decide, perform, record.
//!
//! **Architecture Invariant:** only the worker writes attempts and events and raises blockers. It takes no
//! input but what is due: whatever arrived, it looks at the world and asks [`syncline_model::plan`].

mod branch;
mod budget;
mod files;
mod heads;
mod inputs;
mod link;
mod remote;
mod seen;
mod sync;
mod watching;

pub(crate) use branch::directory_of;
pub(crate) use remote::StoredCredential;

use std::sync::Arc;
use std::time::Duration;

use syncline_git::Git;
use syncline_seams::Clock;
use syncline_store::{Claim, Kind, Store, StoreError};
use syncline_targets::Target;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};
use uuid::Uuid;

use self::heads::Heads;
use self::watching::Watching;
use crate::config::RemoteBudget;

/// How long a claim is held unless it is renewed, in milliseconds.
const LEASE_MS: i64 = 15_000;
/// How often a claim is renewed while its work goes on.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Pieces of work of each kind in progress at once: Git hosts that hang take no place from stacks.
const PLACES: [(Kind, usize); 4] = [(Kind::Sync, 16), (Kind::Branch, 8), (Kind::Link, 16), (Kind::Audit, 2)];
/// The longest the loop waits without looking, so that a lost wake costs no more than this.
const LONGEST_WAIT_MS: i64 = 1_000;
/// How long work that failed in a way nobody foresaw is left alone.
const AFTER_ERROR_MS: i64 = 5_000;

/// Does what is due.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    git: Git,
    target: Arc<dyn Target>,
    clock: Arc<dyn Clock>,
    poll_interval_ms: i64,
    heads: Heads,
    watching: Watching,
    owner: String,
}

/// When a piece of work is due again; `None` when something wakes it.
type Due = Option<i64>;

impl Worker {
    /// A worker that polls each repository every `poll_interval`, as far as `budget` lets it.
    #[must_use]
    pub fn new(
        store: Store,
        git: Git,
        target: Arc<dyn Target>,
        clock: Arc<dyn Clock>,
        poll_interval: Duration,
        budget: RemoteBudget,
    ) -> Self {
        // Longer than anybody waits, and short enough to be added to any time.
        let poll_interval_ms = i64::try_from(poll_interval.as_millis()).unwrap_or(i64::MAX).min(1 << 50);
        let heads = Heads::new(Arc::clone(&clock), poll_interval_ms, budget);
        Self {
            store,
            git,
            target,
            clock,
            poll_interval_ms,
            heads,
            watching: Watching::default(),
            owner: Uuid::new_v4().to_string(),
        }
    }

    /// Claims the most overdue piece of work of each kind and does it. False if nothing was due.
    ///
    /// # Errors
    /// What kept it from claiming; what went wrong with a claimed piece is logged and tried again later.
    pub async fn tick(&self) -> Result<bool, StoreError> {
        let mut worked = false;
        for kind in [Kind::Link, Kind::Branch, Kind::Sync, Kind::Audit] {
            if let Some(claim) = self.store.claim(kind, &self.owner, LEASE_MS).await? {
                self.work(claim).await;
                worked = true;
            }
        }
        Ok(worked)
    }

    /// Does what is due until `stop` turns true, then finishes what it has begun.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let places = PLACES.map(|(kind, count)| (kind, Arc::new(Semaphore::new(count))));
        let mut running = JoinSet::new();
        while !*stop.borrow() {
            match self.start_due(&places, &mut running).await {
                Ok(()) => {}
                Err(error) => {
                    error!(%error, "cannot claim work; trying again in a second");
                    self.clock.sleep(Duration::from_secs(1)).await;
                }
            }
            let wait = self.until_next_due(&places).await;
            tokio::select! {
                () = self.store.woken() => {}
                () = self.clock.sleep(wait) => {}
                Some(_) = running.join_next() => {}
                _ = stop.changed() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Starts whatever is due, as far as there are places.
    async fn start_due(
        self: &Arc<Self>,
        places: &[(Kind, Arc<Semaphore>)],
        running: &mut JoinSet<()>,
    ) -> Result<(), StoreError> {
        for (kind, places) in places {
            while let Ok(place) = Arc::clone(places).try_acquire_owned() {
                let Some(claim) = self.store.claim(*kind, &self.owner, LEASE_MS).await? else { break };
                let worker = Arc::clone(self);
                running.spawn(async move { worker.work_in(place, claim).await });
            }
        }
        Ok(())
    }

    async fn work_in(&self, _place: OwnedSemaphorePermit, claim: Claim) {
        self.work(claim).await;
    }

    /// How long nothing can be started. Due work of a kind that has every place taken does not count: it waits
    /// for a place, and must not be looked for again and again.
    async fn until_next_due(&self, places: &[(Kind, Arc<Semaphore>)]) -> Duration {
        let now = self.clock.now_ms();
        let mut next = i64::MAX;
        for (kind, _) in places.iter().filter(|(_, places)| places.available_permits() > 0) {
            if let Ok(Some(due)) = self.store.next_due_ms(Some(*kind)).await {
                next = next.min(due);
            }
        }
        let wait = next.saturating_sub(now).clamp(0, LONGEST_WAIT_MS);
        Duration::from_millis(u64::try_from(wait).unwrap_or(0))
    }

    /// Does one claimed piece of work and gives the claim back.
    async fn work(&self, claim: Claim) {
        let worked = tokio::select! {
            worked = self.work_on(&claim) => worked,
            lost = self.keep(&claim) => Err(lost),
        };
        let due = match worked {
            Ok(due) => due,
            Err(StoreError::Stale(what)) => {
                debug!(%what, "a lease was lost; its new holder goes on");
                return;
            }
            Err(error) => {
                warn!(%error, kind = claim.kind.as_str(), id = claim.id, "work was interrupted; it is tried again");
                Some(self.clock.now_ms() + AFTER_ERROR_MS)
            }
        };
        if let Err(error) = self.store.release(claim, due).await {
            error!(%error, "a lease could not be given back; it runs out by itself");
        }
    }

    async fn work_on(&self, claim: &Claim) -> Result<Due, StoreError> {
        match claim.kind {
            Kind::Link => self.work_on_link(claim).await,
            Kind::Branch => self.work_on_branch(claim).await,
            Kind::Sync => self.work_on_sync(claim).await,
            Kind::Audit => {
                while self.store.sequence_audit(claim).await? {}
                Ok(None)
            }
        }
    }

    /// Renews the claim for as long as it is polled; ends only when the claim is lost.
    async fn keep(&self, claim: &Claim) -> StoreError {
        loop {
            self.clock.sleep(RENEW_EVERY).await;
            if let Err(error) = self.store.renew(claim, LEASE_MS).await {
                return error;
            }
        }
    }

    /// A number from 0 to 1 that spreads retries.
    fn jitter() -> f64 {
        fastrand::f64()
    }
}
