//! The only truth: every row, lease and event of Syncline, in one database.
//!
//! **Architecture Invariant:** all SQL lives in this crate, and every commit goes through `Store::write`,
//! or `Store::write_while_wanted` for what a request asks for; they hold the fault points. No transaction is
//! held across I/O: a transaction is a plain function.
//!
//! SQLite: one writer thread (`BEGIN IMMEDIATE`, WAL, `synchronous=FULL`) that commits what waits together, reads on pooled connections of
//! the calling thread. One process at a time: an operating-system file lock is held while it is open, and
//! opening voids the leases that a dead process left.
//!
//! PostgreSQL: any number of processes. Reads and writes run on a bounded set of connections, each driven by a thread;
//! leases go by the database's clock and are left to run out. What relies on being alone takes a lock: a change that
//! a request asks for, its account's; the worker's, shared with the account's other work; each, the rows it decides
//! by (ADR 0014).

mod access;
mod accounts;
mod attempts;
mod audit;
mod blockers;
mod branches;
pub mod chain;
mod change;
mod configurations;
mod connections;
mod copying;
mod database;
mod deliveries;
mod deployments;
mod events;
mod grants;
mod handshakes;
mod hosts;
mod keyring;
mod lanes;
mod links;
mod location;
mod migrations;
mod notifications;
mod outbox;
mod page;
mod paths;
mod postgresql;
mod previews;
mod pulls;
mod raw;
mod readers;
mod redeliveries;
mod revisions;
#[cfg(feature = "seed")]
mod seed;
mod sql;
mod status;
#[cfg(feature = "simulation")]
mod stepwise;
mod suspensions;
mod syncs;
mod tags;
mod webhooks;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use syncline_model::names::{AccountId, Region};
use syncline_seams::{CallError, Clock, Outside};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

pub use access::{
    AccessKey, AccessKeyInfo, KEYS_PER_USER, Made, NewAccessKey, POLICIES_PER_USER, TEMPORARY_KEYS_PER_USER,
    USERS_PER_ACCOUNT, User, key_owner,
};
pub use accounts::Account;
pub use attempts::{Ending, OpenAttempt, Progress};
pub use audit::{AuditPage, GATHER_MS};
pub use blockers::{Blocker, NewBlocker, Resolution};
pub use branches::{BranchRecord, BranchSync, Consideration, Considered, HeadsRecorded};
pub use change::{Change, Invocation, Told};
pub use configurations::{
    Configuration, ConfigurationChange, ConfigurationQuotas, CreateConfiguration, NewConfiguration,
    UpdateConfiguration,
};
pub use connections::{Connection, ConnectionStatus, CreateConnection, CredentialRow, NewConnection};
pub use copying::Copied;
pub use deliveries::{
    Accepted, DELIVERIES_PER_LINK, DELIVERY_LIFETIME_MS, Delivery, NewDelivery, Outcome, Says,
};
pub use deployments::{DeploymentState, PublishedStatus};
pub use events::EventDocument;
pub use grants::{Grant, NewGrant, NotRenewed, Renewed, grant_owner};
pub use handshakes::{Handshake, NewHandshake, handshake_owner, is_of_handshake};
pub use hosts::{CreateHost, DeleteHost, Host, HostChange, NewHost, UpdateHost};
pub use keyring::{
    DataKeyStatus, KeyId, KeySource, Keyring, KeyringStatus, MasterKeys, MasterStatus, Owner, Rotation,
};
pub use lanes::{Backlog, Glance};
pub use links::{CreateLink, DeleteLink, Link, LinkChange, LinkConnection, LinkRecord, NewLink, UpdateLink};
pub use location::{Location, Server};
pub use migrations::Schema;
pub use notifications::{
    CreateNotificationTarget, NewNotificationTarget, NotificationTarget, StatusEvent, TargetKind,
    TargetRecord, notification_target_owner,
};
pub use outbox::{
    OUTBOX_LIFETIME_MS, OUTBOX_PATIENCE_MS, OutboxItem, OutboxKind, OutboxState, Unsent, Wanted,
};
pub use page::{Cursor, Page, PageOf};
pub use paths::{Indexed, SyncFile};
pub use previews::{
    CommentDocument, Done, NewestAttempt, Preview, PreviewFilter, PreviewProgress, PreviewSummary, Sources,
    Told as PreviewTold,
};
pub use pulls::{
    CommentedSync, FoundPullRequest, KnownPullRequest, PullRequest, PullRequestState, PullsRecord,
    WantedPreview,
};
pub use redeliveries::{AskedAgain, HookLook, RedeliveryRecord};
pub use revisions::RevisionDocument;
#[cfg(feature = "seed")]
pub use seed::Seed;
pub use status::{AttemptStatusRow, RepositoryStatus, StoredAttempt, SyncStatus};
#[cfg(feature = "simulation")]
pub use stepwise::Writer;
pub use suspensions::{Suspended, Suspension};
pub use syncs::SyncRecord;
pub use tags::{ChangeTags, TAGS_PER_RESOURCE, Tag, Tagged};
pub use webhooks::{NewWebhookSecret, Rotated, Webhook, webhook_secret_owner};
pub use work::{Claim, Kind};

use database::Database;
use sql::{Row, Tx};

/// What every account-owned row is found by: the account of the verified key and the region of the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
}

/// Why the store did not do it.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The lease under which this was to be written is not held any more; nothing was written.
    #[error("the lease on {0} was lost")]
    Stale(String),
    /// The database refused; nothing was written.
    #[error("database: {0}")]
    Database(String),
    /// The commit failed, and nothing was written.
    #[error("database: {0}")]
    Commit(String),
    /// The commit may or may not have happened.
    #[error("{0}")]
    Interrupted(#[from] CallError),
    /// A row is not what this version writes.
    #[error("the database holds something unexpected: {0}")]
    Corrupt(String),
    /// The keyring or a sealed secret cannot be used.
    #[error("{0}")]
    Key(String),
    /// Another process holds the database, or a child that a killed one was about to start still does.
    #[error("another syncline process has the database {path} open, and only one may: stop that one first")]
    InUse {
        /// Its path.
        path: String,
    },
    /// The database cannot be opened.
    #[error("cannot open the database {path}: {reason}")]
    Open {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// So many commits of requests wait already that this one was not taken on; nothing was written.
    #[error("{waiting} commits wait for the database")]
    Busy {
        /// How many.
        waiting: u32,
    },
    /// The writer is gone: the store is shutting down.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// A result of the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Changes what is stored, as SQLite writes nothing else, and nothing of what it means: without a value a migration works
/// with its own version.
const PROBE: &str = "UPDATE schema_migration SET works_with = CASE WHEN works_with IS NULL THEN version END
   WHERE version = 1";

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// How many commits may wait when this handle brings another.
    most_waiting: u32,
}

struct Inner {
    location: Location,
    database: Database,
    keys: Arc<keyring::Keys>,
    clock: Arc<dyn Clock>,
    outside: Outside,
    wakes: Arc<Notify>,
    /// Commits that were handed to a writer and have not begun.
    waiting: Arc<AtomicU32>,
    refused_writes: AtomicU64,
    /// The newest write that ended was not committed, for a reason of the database's.
    is_write_failing: AtomicBool,
    /// Statements that were run in reads and writes.
    statements: Arc<AtomicU64>,
    /// Notified of each write that is handed over.
    #[cfg(feature = "simulation")]
    arrived: Arc<Notify>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.location)
    }
}

impl Store {
    /// Opens the database at `location`, a path being that of a file of SQLite, making it and bringing it to the newest
    /// schema as needed, with the master keys of `keys`: a path names a key file.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has the file of SQLite open; [`StoreError::Open`] if the database cannot
    /// be read or written, or it was made by a newer version; [`StoreError::Key`] if the keyring cannot be read or is
    /// not the database's.
    pub fn open(
        location: impl Into<Location>,
        keys: impl Into<KeySource>,
        clock: Arc<dyn Clock>,
        outside: Outside,
    ) -> StoreResult<Self> {
        let (location, keys, wakes) = (location.into(), keys.into(), Arc::default());
        let (database, keys) = database::open(&location, &*clock, &wakes, |starting, is_new| {
            keyring::open(starting, &location, &keys, is_new)
        })?;
        Self::of(location, database, keys, wakes, clock, outside)
    }

    /// The store of an open database.
    fn of(
        location: Location,
        database: Database,
        keys: keyring::Keys,
        wakes: Arc<Notify>,
        clock: Arc<dyn Clock>,
        outside: Outside,
    ) -> StoreResult<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                location,
                database,
                keys: Arc::new(keys),
                clock,
                outside,
                wakes,
                waiting: Arc::default(),
                refused_writes: AtomicU64::new(0),
                is_write_failing: AtomicBool::new(false),
                statements: Arc::default(),
                #[cfg(feature = "simulation")]
                arrived: Arc::default(),
            }),
            most_waiting: u32::MAX,
        })
    }

    /// Brings the schema of a database to the newest version, making the database as needed.
    ///
    /// # Errors
    /// Those of [`Store::open`] that are not the keyring's.
    pub fn migrate(location: impl Into<Location>) -> StoreResult<Schema> {
        database::migrate(&location.into())
    }

    /// Saves everything that a database holds, in one snapshot, also while servers use it. What is sealed stays so: the
    /// keyring is not part of it.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the database cannot be read or has not the newest schema; [`StoreError::Corrupt`] if it
    /// cannot be written.
    pub fn back_up(from: &Location, to: &mut (dyn std::io::Write + Send)) -> StoreResult<Copied> {
        copying::back_up(from, to)
    }

    /// Makes a database of what [`Store::back_up`] saved, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the database is there already; [`StoreError::Corrupt`] if the backup is damaged or of another
    /// version.
    pub fn restore(from: &mut (dyn std::io::BufRead + Send), to: &Location) -> StoreResult<Copied> {
        copying::restore(from, to)
    }

    /// Makes a database of what another one holds, which nobody uses, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] or [`StoreError::Open`] if the source is in use or cannot be read, or the target is there
    /// already.
    pub fn copy(from: &Location, to: &Location) -> StoreResult<Copied> {
        copying::copy(from, to)
    }

    /// The same store for those of whom any number may come: a change that they ask for is refused
    /// ([`StoreError::Busy`]) while `most_waiting` commits wait. The worker, whose pieces of work are
    /// bounded, always gets in line, so that no flood of requests costs it its leases.
    #[must_use]
    pub fn for_requests(&self, most_waiting: u32) -> Self {
        Self { inner: Arc::clone(&self.inner), most_waiting }
    }

    /// How many commits were refused because too many waited.
    #[must_use]
    pub fn refused_writes(&self) -> u64 {
        self.inner.refused_writes.load(Ordering::Relaxed)
    }

    /// How many statements were run since the store was opened.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    /// The keyring that seals this store's secrets.
    #[must_use]
    pub fn keyring(&self) -> Keyring<'_> {
        Keyring::of(self)
    }

    pub(crate) fn keys(&self) -> Arc<keyring::Keys> {
        Arc::clone(&self.inner.keys)
    }

    /// Completes when something may have become due since it was called.
    pub async fn woken(&self) {
        self.inner.wakes.notified().await;
    }

    /// Whether the database answers and something would write to it; for readiness. After a write that the database did
    /// not commit, as on a full disk, a small one is tried.
    ///
    /// # Errors
    /// Whatever the database says; [`StoreError::Closed`] if the writer is gone.
    pub async fn ping(&self) -> StoreResult<()> {
        if let Database::Sqlite(sqlite) = &self.inner.database
            && sqlite.is_without_writer()
        {
            return Err(StoreError::Closed);
        }
        self.read(move |tx| tx.count("SELECT count(*) FROM schema_migration", &[])).await?;
        if self.inner.is_write_failing.load(Ordering::Relaxed) {
            // Small enough that it may fit in where others do not: what it finds does not count for them.
            let probed = self.line_up("store.probe", |_| true, |tx| tx.execute(PROBE, &[]))?;
            probed.await.map_err(|_| StoreError::Closed)??;
        }
        Ok(())
    }

    /// Notes whether the database commits.
    fn noted<T>(&self, written: StoreResult<T>) -> StoreResult<T> {
        let is_failing = match &written {
            Ok(_) => Some(false),
            Err(
                StoreError::Database(_)
                | StoreError::Commit(_)
                | StoreError::Interrupted(_)
                | StoreError::Open { .. },
            ) => Some(true),
            // Said by what is stored, or by nobody.
            Err(_) => None,
        };
        if let Some(is_failing) = is_failing {
            self.inner.is_write_failing.store(is_failing, Ordering::Relaxed);
        }
        written
    }

    /// Runs one write and commits it, together with those that wait at the same time: they share an fsync, and each
    /// fails alone. `point` names the commit for fault plans.
    ///
    /// This and [`Store::write_while_wanted`] are the only ways to commit anything.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        point: &'static str,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let written = self.line_up(point, |_| true, body)?.await.map_err(|_| StoreError::Closed)?;
        self.noted(written)
    }

    /// The same for what a request asks for: refused while too many commits wait ([`Store::for_requests`]), and
    /// not begun any more when nobody waits for it.
    pub(crate) async fn write_while_wanted<T: Send + 'static>(
        &self,
        point: &'static str,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let waiting = self.inner.waiting.load(Ordering::Relaxed);
        if waiting >= self.most_waiting {
            self.inner.refused_writes.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Busy { waiting });
        }
        let is_wanted = |answer: &oneshot::Sender<_>| !answer.is_closed();
        let written = self.line_up(point, is_wanted, body)?.await.map_err(|_| StoreError::Closed)?;
        self.noted(written)
    }

    /// Hands a transaction to the writer.
    fn line_up<T: Send + 'static>(
        &self,
        point: &'static str,
        is_wanted: impl FnOnce(&oneshot::Sender<StoreResult<T>>) -> bool + Send + 'static,
        body: impl FnOnce(&mut Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<oneshot::Receiver<StoreResult<T>>> {
        let (answer, answered) = oneshot::channel();
        let (outside, clock) = (self.inner.outside.clone(), self.inner.clock.clone());
        let (line, wakes) = (Arc::clone(&self.inner.waiting), Arc::clone(&self.inner.wakes));
        let statements = Arc::clone(&self.inner.statements);
        let body = move |tx: &mut Tx<'_>| {
            let answer = body(tx);
            statements.fetch_add(tx.statements(), Ordering::Relaxed);
            answer
        };
        line.fetch_add(1, Ordering::Relaxed);
        let begins = move || {
            line.fetch_sub(1, Ordering::Relaxed);
        };
        let write = raw::Write { point, outside, clock, wakes, answer };
        match &self.inner.database {
            Database::Sqlite(sqlite) => {
                let job = write.job(is_wanted, body);
                let job: raw::Job = Box::new(move |connection| {
                    begins();
                    job(connection)
                });
                let writer = sqlite.writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.as_ref().and_then(|writer| writer.send(job).ok()).ok_or(StoreError::Closed)?;
                #[cfg(feature = "simulation")]
                self.inner.arrived.notify_one();
            }
            Database::Postgres(postgres) => postgres.write(write, begins, is_wanted, body)?,
        }
        Ok(answered)
    }

    /// Finds at most one row by texts. The statement is a consistent snapshot by itself; on PostgreSQL it is asked without a
    /// transaction around it, and together with those that wait at the same time.
    pub(crate) async fn look_up(&self, sql: &'static str, texts: &[&str]) -> StoreResult<Option<Row>> {
        self.inner.statements.fetch_add(1, Ordering::Relaxed);
        match &self.inner.database {
            Database::Sqlite(sqlite) => sqlite.read(&*self.inner.clock, |tx| tx.look_up(sql, texts)),
            Database::Postgres(postgres) => {
                postgres.look_up(sql, texts)?.await.map_err(|_| StoreError::Closed)?
            }
        }
    }

    /// Runs one read; a consistent snapshot. On SQLite it is done on this thread, without waiting for anything; on
    /// PostgreSQL another one waits for the answer.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Tx<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let statements = Arc::clone(&self.inner.statements);
        let body = move |tx: &Tx<'_>| {
            let answer = body(tx);
            statements.fetch_add(tx.statements(), Ordering::Relaxed);
            answer
        };
        let answered = match &self.inner.database {
            Database::Sqlite(sqlite) => return sqlite.read(&*self.inner.clock, body),
            Database::Postgres(postgres) => postgres.read(Arc::clone(&self.inner.clock), body)?,
        };
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

/// The ARN of a resource: `arn:<partition>:<service>:<region>:<account>:<kind>/<id>`.
#[must_use]
pub fn arn(service: &str, region: &str, account: &str, kind: &str, id: &str) -> String {
    let partition = region.parse::<Region>().map_or("aws", |region| region.partition());
    format!("arn:{partition}:{service}:{region}:{account}:{kind}/{id}")
}

#[cfg(test)]
mod tests {
    use syncline_seams::{Faults, VirtualClock};

    use super::*;

    #[tokio::test]
    async fn a_store_without_its_writer_is_not_ready() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(VirtualClock::starting_at(0));
        let (path, key) = (folder.path().join("syncline.db"), folder.path().join("key"));
        let store = Store::open(&path, key.as_path(), clock, Faults::none().outside()).expect("a new store");
        store.ping().await.expect("ready");
        // The end of the channel is the end of the writer, as would be whatever else ends it.
        let Database::Sqlite(sqlite) = &store.inner.database else { panic!("not SQLite") };
        drop(sqlite.writer.lock().expect("not poisoned").take());
        while !sqlite.is_without_writer() {
            std::thread::yield_now();
        }
        assert!(matches!(store.ping().await, Err(StoreError::Closed)));
    }
}
