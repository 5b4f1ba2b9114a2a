//! What the status operations answer: one read each.

use syncline_model::sync::{AttemptStatus, RepositoryAttemptStatus, Revision, SyncEvent};

use crate::events::{self, EventDocument};
use crate::sql::{Row, Tx, params};
use crate::{Scope, Store, StoreResult, links};

/// The status of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStatus {
    /// The newest revision that wants to be synced.
    pub desired: Option<Revision>,
    /// The newest attempt.
    pub latest: AttemptStatusRow<EventDocument>,
    /// The newest attempt that succeeded, where the newest of all did not.
    pub earlier_success: Option<AttemptStatusRow<EventDocument>>,
}

impl SyncStatus {
    /// The newest attempt that succeeded.
    #[must_use]
    pub fn latest_successful(&self) -> Option<&AttemptStatusRow<EventDocument>> {
        if self.latest.status == AttemptStatus::Succeeded {
            Some(&self.latest)
        } else {
            self.earlier_success.as_ref()
        }
    }
}

/// One attempt; its events read, or as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptStatusRow<E = Vec<SyncEvent>> {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub status: AttemptStatus,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// The revision last applied before it.
    pub initial: Revision,
    /// The revision it applies.
    pub target_revision: Revision,
    /// The stack's name.
    pub target: String,
    /// Oldest first.
    pub events: E,
}

/// The newest attempt to read a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryStatus {
    /// How far it has come.
    pub status: RepositoryAttemptStatus,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// Oldest first.
    pub events: EventDocument,
}

/// The columns that [`attempt`] reads.
macro_rules! attempt_columns {
    () => {
        "a.id, a.status, a.started_at_ms, a.initial_revision, a.target_revision, a.target, a.event_count, a.events"
    };
}

const STATUS: &str = concat!(
    "SELECT s.desired_revision, s.newest_success, ",
    attempt_columns!(),
    " FROM sync_configuration s JOIN attempt a ON a.seq = s.newest_attempt
     WHERE s.account_id = $1 AND s.region = $2 AND s.sync_type = $3 AND s.resource_name = $4 AND s.deleted = 0"
);

const ATTEMPT: &str = concat!("SELECT ", attempt_columns!(), " FROM attempt a WHERE a.seq = $1");

const ATTEMPTS: &str =
    concat!("SELECT ", attempt_columns!(), " FROM attempt a WHERE a.sync_id = $1 ORDER BY a.number");

impl AttemptStatusRow<EventDocument> {
    /// The same with its events read.
    ///
    /// # Errors
    /// [`crate::StoreError::Corrupt`] if they are not what this version writes.
    pub fn with_events(self) -> StoreResult<AttemptStatusRow> {
        let Self { id, status, started_at_ms, initial, target_revision, target, events } = self;
        let events = events.read()?;
        Ok(AttemptStatusRow { id, status, started_at_ms, initial, target_revision, target, events })
    }
}

fn attempt(tx: &Tx<'_>, row: &mut Row) -> StoreResult<AttemptStatusRow<EventDocument>> {
    let id = row.text()?;
    Ok(AttemptStatusRow {
        status: row.parsed(AttemptStatus::from_text)?,
        started_at_ms: row.int()?,
        initial: row.json()?,
        target_revision: row.json()?,
        target: row.text()?,
        events: events::newest(tx, &id, row.int()?, row.text()?)?,
        id,
    })
}

impl Store {
    /// The status of a sync; `None` if there is no such configuration or it had no attempt yet.
    ///
    /// # Errors
    /// The database's.
    pub async fn sync_status(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
    ) -> StoreResult<Option<SyncStatus>> {
        let (scope, sync_type, name) = (scope.clone(), sync_type.to_owned(), name.to_owned());
        self.read(move |tx| {
            let (scope, sync_type, name) = (&scope, sync_type.as_str(), name.as_str());
            let found =
                tx.row(STATUS, params![scope.account.as_str(), scope.region.as_str(), sync_type, name])?;
            let Some(mut row) = found else { return Ok(None) };
            let (desired, newest_success) = (row.opt_json()?, row.opt_int()?);
            let latest = attempt(tx, &mut row)?;
            let earlier_success = match newest_success {
                Some(seq) if latest.status != AttemptStatus::Succeeded => {
                    tx.row(ATTEMPT, params![seq])?.map(|mut row| attempt(tx, &mut row)).transpose()?
                }
                _ => None,
            };
            Ok(Some(SyncStatus { desired, latest, earlier_success }))
        })
        .await
    }

    /// Gauges of the whole store: name, help text, value.
    ///
    /// # Errors
    /// The database's.
    pub async fn gauges(&self) -> StoreResult<Vec<(&'static str, &'static str, i64)>> {
        self.read(move |tx| {
            let count = |sql: &str| tx.count(sql, params![]);
            let [audit_placed, audit_waiting, audit_lag_ms] = crate::audit::gauges(tx)?;
            Ok(vec![
                (
                    "syncline_sync_configurations",
                    "Sync configurations.",
                    count("SELECT count(*) FROM sync_configuration WHERE deleted = 0")?,
                ),
                (
                    "syncline_open_attempts",
                    "Sync attempts that have not ended.",
                    count("SELECT count(*) FROM attempt WHERE status IN ('INITIATED', 'IN_PROGRESS')")?,
                ),
                (
                    "syncline_active_blockers",
                    "Blockers that stand.",
                    count("SELECT count(*) FROM blocker WHERE status = 'ACTIVE'")?,
                ),
                (
                    "syncline_work_due",
                    "Pieces of work that are due and not taken.",
                    tx.count(
                        "SELECT count(*) FROM work
                          WHERE due_at_ms <= $1 AND lease_owner IS NULL AND kind <> 'AUDIT'",
                        params![tx.now_ms()],
                    )?,
                ),
                ("syncline_audit_records", "Audit records that have their places.", audit_placed),
                ("syncline_audit_waiting", "Audit records that wait for their places.", audit_waiting),
                (
                    "syncline_audit_lag_milliseconds",
                    "How long the oldest waiting audit record has waited.",
                    audit_lag_ms,
                ),
            ])
        })
        .await
    }

    /// Every attempt of a sync, oldest first; `None` if there is no such configuration.
    ///
    /// # Errors
    /// The database's.
    pub async fn attempts(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
    ) -> StoreResult<Option<Vec<AttemptStatusRow>>> {
        let (scope, sync_type, name) = (scope.clone(), sync_type.to_owned(), name.to_owned());
        self.read(move |tx| {
            let (scope, sync_type, name) = (&scope, sync_type.as_str(), name.as_str());
            let Some(configuration) = crate::configurations::find(tx, scope, sync_type, name)? else {
                return Ok(None);
            };
            tx.rows(ATTEMPTS, params![&configuration.id])?
                .iter_mut()
                .map(|row| attempt(tx, row)?.with_events())
                .collect::<StoreResult<Vec<_>>>()
                .map(Some)
        })
        .await
    }

    /// The newest attempt to read a branch of a link: outer `None` if there is no such link, inner `None` if
    /// there was no attempt yet.
    ///
    /// # Errors
    /// The database's.
    pub async fn repository_status(
        &self,
        scope: &Scope,
        link_id: &str,
        branch: &str,
    ) -> StoreResult<Option<Option<RepositoryStatus>>> {
        let (scope, link_id, branch) = (scope.clone(), link_id.to_owned(), branch.to_owned());
        self.read(move |tx| {
            let (scope, link_id, branch) = (&scope, link_id.as_str(), branch.as_str());
            if links::find(tx, scope, link_id)?.is_none() {
                return Ok(None);
            }
            let found = tx.row(
                "SELECT a.id, a.status, a.started_at_ms, a.event_count, a.events FROM repository_attempt a
                   JOIN branch b ON b.id = a.branch_id
                  WHERE b.link_id = $1 AND b.name = $2 ORDER BY a.number DESC LIMIT 1",
                params![link_id, branch],
            )?;
            let Some(mut row) = found else { return Ok(Some(None)) };
            let id = row.text()?;
            Ok(Some(Some(RepositoryStatus {
                status: row.parsed(RepositoryAttemptStatus::from_text)?,
                started_at_ms: row.int()?,
                events: events::newest(tx, &id, row.int()?, row.text()?)?,
            })))
        })
        .await
    }
}
