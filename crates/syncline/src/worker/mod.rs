//! The worker: claim what is due, observe, decide, perform, record.
//!
//! **Architecture Invariant:** only the worker writes attempts and events and raises blockers. It takes no
//! input but what is due: whatever arrived, it looks at the world and asks [`syncline_model::plan`].

mod branch;
mod budget;
mod comments;
mod files;
mod heads;
mod inputs;
mod link;
mod outbox;
mod places;
mod preview;
mod previewed;
mod publish;
mod pulls;
mod redelivery;
mod remote;
mod seen;
mod sync;
mod telling;
mod token;
mod watching;

pub(crate) use branch::directory_of;
pub use places::Places;
pub use preview::Previews;
pub(crate) use remote::{StoredCredential, clone_url, extra_root, reached};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use syncline_git::Repositories;
use syncline_model::plan::Trouble;
use syncline_model::schedule::Turns;
use syncline_seams::{Clock, Outside, chance};
use syncline_store::{Claim, Kind, Store, StoreError, SyncRecord};
use syncline_targets::Target;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use self::heads::Heads;
use self::watching::Watching;
use crate::config::RemoteBudget;
use crate::forges::Forges;
use crate::notify::Notifier;

/// How long a claim is held unless it is renewed, in milliseconds.
const LEASE_MS: i64 = 15_000;
/// How often a claim is renewed while its work goes on.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How soon that is tried again where the database could not be asked.
const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// Audit logs that are sequenced at once.
const AUDIT_PLACES: u32 = 2;
/// The longest the loop waits without looking, so that a lost wake costs no more than this.
const LONGEST_WAIT_MS: i64 = 1_000;
/// How far apart looks for due work are, so that what ends and what is woken in between is claimed in one commit. Who
/// wakes a worker that has not looked for so long waits for nothing.
const LOOKS_APART_MS: i64 = 2;
/// How long work that failed in a way nobody foresaw is left alone.
const AFTER_ERROR_MS: i64 = 5_000;

/// Does what is due.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    git: Arc<dyn Repositories>,
    forges: Arc<Forges>,
    notifier: Arc<Notifier>,
    target: Arc<dyn Target>,
    clock: Arc<dyn Clock>,
    poll_interval_ms: i64,
    heads: Heads,
    watching: Watching,
    owner: String,
    places: Places,
    previews: Previews,
    public_url: Option<String>,
    turns: Mutex<Turns>,
    outside: Outside,
}

/// Gives the place of an ended piece of work back.
fn free(busy: &mut HashMap<tokio::task::Id, Kind>, ended: Result<(tokio::task::Id, ()), JoinError>) {
    let id = match ended {
        Ok((id, ())) => id,
        Err(error) => {
            if error.is_panic() {
                error!(%error, "a piece of work panicked; its lease runs out by itself");
            }
            error.id()
        }
    };
    busy.remove(&id);
}

/// When a piece of work is due again; `None` when something wakes it.
type Due = Option<i64>;

/// What a look for work came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something was done.
    Worked,
    /// Nothing was to be done.
    Idle {
        /// When something may be, unless it is woken, in milliseconds since the Unix epoch; `None` if nothing is known
        /// of. The end of a lease that somebody else holds is not looked for.
        next_ms: Option<i64>,
    },
}

/// What was begun of one kind, and when there may be more.
struct Begun {
    /// Each with what was recorded of it then, if it is a sync's.
    claims: Vec<(Claim, Option<SyncRecord>)>,
    /// When something else may begin, bounds aside; `None` if nothing is known of.
    next_ms: Option<i64>,
}

/// Whom a worker talks to.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Git servers.
    pub git: Arc<dyn Repositories>,
    /// The forges' REST APIs.
    pub forges: Arc<Forges>,
    /// Notification targets.
    pub notifier: Arc<Notifier>,
    /// Where stacks are.
    pub target: Arc<dyn Target>,
}

/// How often a worker looks at the world, how much it does at a time, and where it says that there is more.
#[derive(Debug, Clone)]
pub struct Pacing {
    /// The time from one look at a repository to the next.
    pub poll_interval: Duration,
    /// How many calls a Git host is sent.
    pub remote: RemoteBudget,
    /// How many pieces of work are in progress.
    pub places: Places,
    /// What of pull requests is previewed.
    pub previews: Previews,
    /// Where this server is reached from outside, without a slash at the end; `None` if nobody said so.
    pub public_url: Option<String>,
}

impl Worker {
    /// A worker that has claimed nothing yet.
    #[must_use]
    pub fn new(store: Store, peers: Peers, clock: Arc<dyn Clock>, outside: Outside, pacing: Pacing) -> Self {
        let Peers { git, forges, notifier, target } = peers;
        let Pacing { poll_interval, remote, places, previews, public_url } = pacing;
        // Longer than anybody waits, and short enough to be added to any time.
        let poll_interval_ms = i64::try_from(poll_interval.as_millis()).unwrap_or(i64::MAX).min(1 << 50);
        let heads = Heads::new(Arc::clone(&clock), poll_interval_ms, remote);
        Self {
            store,
            git,
            forges,
            notifier,
            target,
            clock,
            poll_interval_ms,
            heads,
            watching: Watching::default(),
            owner: chance::uuid().to_string(),
            places,
            previews,
            public_url,
            turns: Mutex::default(),
            outside,
        }
    }

    /// Claims one piece of work of each kind, whose turn it is, and does it. False if nothing was to be done.
    ///
    /// # Errors
    /// What kept it from claiming; what went wrong with a claimed piece is logged and tried again later.
    pub async fn tick(&self) -> Result<bool, StoreError> {
        Ok(self.take_turn().await? == Turn::Worked)
    }

    /// The same, which says when there may be something to do.
    ///
    /// # Errors
    /// Those of [`Worker::tick`].
    pub async fn take_turn(&self) -> Result<Turn, StoreError> {
        let (mut worked, mut next_ms) = (false, None);
        for kind in [
            Kind::Token,
            Kind::Redelivery,
            Kind::Link,
            Kind::Branch,
            Kind::Sync,
            Kind::Pulls,
            Kind::Audit,
            Kind::Outbox,
        ] {
            let begun = self.claim(kind, 1).await?;
            next_ms = next_ms.into_iter().chain(begun.next_ms).min();
            for (claim, record) in begun.claims {
                self.work(claim, record).await;
                worked = true;
            }
        }
        Ok(if worked { Turn::Worked } else { Turn::Idle { next_ms } })
    }

    /// Does what is due until `stop` turns true. What it has begun then, it finishes within `grace`; what is not
    /// finished is cut off and handed over to other workers, or to the next start.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>, grace: Duration) {
        let mut running = JoinSet::new();
        let mut busy = HashMap::new();
        while !*stop.borrow() {
            let looked_ms = self.clock.now_ms();
            let wait = match self.start_due(&mut busy, &mut running).await {
                Ok(next_ms) => self.until(next_ms),
                Err(error) => {
                    error!(%error, "cannot claim work; trying again in a second");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                biased;
                () = self.store.woken() => {}
                () = self.clock.sleep(wait) => {}
                Some(ended) = running.join_next_with_id() => free(&mut busy, ended),
                _ = stop.changed() => {}
            }
            let pause_ms = (looked_ms + LOOKS_APART_MS - self.clock.now_ms()).clamp(0, LOOKS_APART_MS);
            if pause_ms > 0 && !*stop.borrow() {
                tokio::select! {
                    () = self.clock.sleep(Duration::from_millis(pause_ms.unsigned_abs())) => {}
                    _ = stop.changed() => {}
                }
            }
            while let Some(ended) = running.try_join_next_with_id() {
                free(&mut busy, ended);
            }
        }
        self.drain(running, grace).await;
    }

    async fn drain(&self, mut running: JoinSet<()>, grace: Duration) {
        tokio::select! {
            () = async { while running.join_next().await.is_some() {} } => return,
            () = self.clock.sleep(grace) => {}
        }
        let count = running.len();
        running.shutdown().await;
        // Every step is resumed by looking: where it was cut off makes no difference.
        match self.hand_over().await {
            Ok(()) => info!(count, "work in progress was cut off and handed over"),
            Err(error) => {
                error!(%error, "work in progress could not be handed over; its leases run out by themselves")
            }
        }
    }

    /// Gives back what this worker has claimed and works on no more, so that nobody waits for its leases to run out.
    ///
    /// # Errors
    /// The database's; the leases run out by themselves.
    pub async fn hand_over(&self) -> Result<(), StoreError> {
        self.store.hand_over(&self.owner).await
    }

    /// Starts whatever is due, as far as there are places. When there may be more to start, unless something wakes
    /// or ends before.
    async fn start_due(
        self: &Arc<Self>,
        busy: &mut HashMap<tokio::task::Id, Kind>,
        running: &mut JoinSet<()>,
    ) -> Result<Option<i64>, StoreError> {
        let mut next_ms = None;
        let glance = self.store.glance().await?;
        for kind in [
            Kind::Audit,
            Kind::Token,
            Kind::Sync,
            Kind::Branch,
            Kind::Link,
            Kind::Pulls,
            Kind::Redelivery,
            Kind::Outbox,
        ] {
            if !glance.is_due(kind) {
                next_ms = next_ms.into_iter().chain(glance.next_ms(kind)).min();
                continue;
            }
            loop {
                let taken = busy.values().filter(|of| **of == kind).count();
                let free = self.places.total(kind).saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                if free == 0 {
                    break;
                }
                let begun = self.claim(kind, free).await?;
                if begun.claims.is_empty() {
                    next_ms = next_ms.into_iter().chain(begun.next_ms).min();
                    break;
                }
                for (claim, record) in begun.claims {
                    let worker = Arc::clone(self);
                    let task = running.spawn(async move { worker.work(claim, record).await });
                    busy.insert(task.id(), kind);
                }
            }
        }
        Ok(next_ms)
    }

    /// Claims up to `free` pieces of a kind whose turn it is.
    async fn claim(&self, kind: Kind, free: u32) -> Result<Begun, StoreError> {
        let Some(bounds) = self.places.bounds(kind) else {
            let claim = self.store.claim(kind, &self.owner, LEASE_MS).await?;
            let next_ms = self.store.next_due_ms(Some(kind)).await?;
            return Ok(Begun { claims: claim.into_iter().map(|claim| (claim, None)).collect(), next_ms });
        };
        let backlog = self.store.backlog(kind).await?;
        let now_ms = self.clock.now_ms();
        let next_ms = backlog.beginnings_ms().filter(|at_ms| *at_ms > now_ms).min();
        let turns = || self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = turns().choose(
            &backlog.due,
            &backlog.in_progress,
            |endpoint| backlog.allowed(endpoint),
            &bounds,
            free,
        );
        if lanes.is_empty() {
            // What is due and cannot begin waits for a place, and must not be looked for again and again.
            let waits = (!backlog.due.is_empty()).then_some(now_ms + LONGEST_WAIT_MS);
            return Ok(Begun { claims: Vec::new(), next_ms: next_ms.into_iter().chain(waits).min() });
        }
        let claims = self.store.claim_and_look(kind, lanes, &self.owner, LEASE_MS).await?;
        Ok(Begun { claims, next_ms })
    }

    /// How long nothing can be started.
    fn until(&self, next_ms: Option<i64>) -> Duration {
        let wait = next_ms.unwrap_or(i64::MAX).saturating_sub(self.clock.now_ms()).clamp(0, LONGEST_WAIT_MS);
        Duration::from_millis(u64::try_from(wait).unwrap_or(0))
    }

    /// Does one claimed piece of work and gives the claim back.
    async fn work(&self, claim: Claim, record: Option<SyncRecord>) {
        let worked = tokio::select! {
            // In this order, so that what a simulation does follows from its seed.
            biased;
            worked = self.work_on(&claim, record) => worked,
            lost = self.keep(&claim) => Err(lost),
        };
        let due = match worked {
            Ok(Some(due)) => due,
            Ok(None) => return,
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

    /// When it is due again; `None` if the claim was given back already.
    async fn work_on(&self, claim: &Claim, record: Option<SyncRecord>) -> Result<Option<Due>, StoreError> {
        match claim.kind {
            Kind::Link => self.work_on_link(claim).await.map(Some),
            Kind::Branch => self.work_on_branch(claim).await.map(Some),
            Kind::Sync => self.work_on_sync(claim, record).await,
            Kind::Pulls => self.work_on_pulls(claim).await.map(Some),
            Kind::Outbox => self.work_on_outbox(claim).await,
            Kind::Token => self.work_on_token(claim).await.map(Some),
            Kind::Redelivery => self.work_on_redelivery(claim).await.map(Some),
            Kind::Audit => {
                while self.store.sequence_audit(claim).await? {}
                Ok(Some(None))
            }
        }
    }

    /// Renews the claim for as long as it is polled; ends only when the claim is lost, or has run out while the database
    /// could not be asked.
    async fn keep(&self, claim: &Claim) -> StoreError {
        let (mut pause, mut until_ms) = (RENEW_EVERY, self.clock.now_ms() + LEASE_MS);
        loop {
            self.clock.sleep(pause).await;
            let asked_ms = self.clock.now_ms();
            match self.store.renew(claim, LEASE_MS).await {
                Ok(()) => (pause, until_ms) = (RENEW_EVERY, asked_ms + LEASE_MS),
                Err(error @ StoreError::Stale(_)) => return error,
                Err(error) if self.clock.now_ms() >= until_ms => return error,
                // What is under way may have had its effect: it is not cut off while nobody else can have the claim.
                Err(error) => {
                    debug!(%error, id = claim.id, "a lease could not be renewed; it is tried again");
                    pause = RENEW_AGAIN;
                }
            }
        }
    }

    /// Has everybody ask the endpoint of the claimed work more slowly, if that is what the trouble says.
    async fn slow_down(&self, claim: &Claim, trouble: &Trouble) -> Result<(), StoreError> {
        let Trouble::Outage { retry_after_ms: Some(asked_ms), reason, .. } = trouble else { return Ok(()) };
        self.ask_more_slowly(claim, *asked_ms, reason).await
    }

    /// Has everybody ask the endpoint of the claimed work more slowly: it throttled, and wants no more for `asked_ms`.
    async fn ask_more_slowly(&self, claim: &Claim, asked_ms: i64, reason: &str) -> Result<(), StoreError> {
        let Some(bounds) = self.places.bounds(claim.kind) else { return Ok(()) };
        let jitter = self.outside.jitter();
        if self.store.record_throttled(claim, bounds.per_endpoint, Some(asked_ms), jitter).await? {
            info!(endpoint = claim.lane.endpoint, reason, "an endpoint is asked more slowly");
        }
        Ok(())
    }
}
