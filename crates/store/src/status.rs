//! What the status operations answer: one read each.

use syncline_model::sync::{AttemptStatus, RepositoryAttemptStatus, Revision, SyncEvent};

use crate::events::{self, EventDocument};
use crate::revisions::RevisionDocument;
use crate::sql::{Row, Tx, Value, params};
use crate::{Scope, Store, StoreError, StoreResult, links};

/// The status of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStatus {
    /// The newest revision that wants to be synced.
    pub desired: Option<RevisionDocument>,
    /// The newest attempt.
    pub latest: StoredAttempt,
    /// The newest attempt that succeeded, where the newest of all did not.
    pub earlier_success: Option<StoredAttempt>,
}

impl SyncStatus {
    /// The newest attempt that succeeded.
    #[must_use]
    pub fn latest_successful(&self) -> Option<&StoredAttempt> {
        if self.latest.status == AttemptStatus::Succeeded {
            Some(&self.latest)
        } else {
            self.earlier_success.as_ref()
        }
    }
}

/// One attempt as it is stored.
pub type StoredAttempt = AttemptStatusRow<EventDocument, RevisionDocument>;

/// One attempt; its events and revisions read, or as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptStatusRow<E = Vec<SyncEvent>, R = Revision> {
    /// Its id.
    pub id: String,
    /// How far it has come.
    pub status: AttemptStatus,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// The revision last applied before it.
    pub initial: R,
    /// The revision it applies.
    pub target_revision: R,
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
    ($of:literal) => {
        concat!(
            $of,
            ".id, ",
            $of,
            ".status, ",
            $of,
            ".started_at_ms, ",
            $of,
            ".initial_revision, ",
            $of,
            ".target_revision, ",
            $of,
            ".target, ",
            $of,
            ".event_count, ",
            $of,
            ".events"
        )
    };
}

/// The newest attempt, and the newest that succeeded where that is another one: NULL is no attempt's number.
const STATUS: &str = concat!(
    "SELECT s.desired_revision, ",
    attempt_columns!("a"),
    ", ",
    attempt_columns!("g"),
    " FROM sync_configuration s JOIN attempt a ON a.seq = s.newest_attempt
        LEFT JOIN attempt g ON g.seq = CASE WHEN a.status <> 'SUCCEEDED' THEN s.newest_success END
     WHERE s.account_id = $1 AND s.region = $2 AND s.sync_type = $3 AND s.resource_name = $4 AND s.deleted = 0"
);

const ATTEMPTS: &str =
    concat!("SELECT ", attempt_columns!("a"), " FROM attempt a WHERE a.sync_id = $1 ORDER BY a.number");

impl StoredAttempt {
    /// The same with its events and revisions read.
    ///
    /// # Errors
    /// [`crate::StoreError::Corrupt`] if they are not what this version writes.
    pub fn read(self) -> StoreResult<AttemptStatusRow> {
        let Self { id, status, started_at_ms, initial, target_revision, target, events } = self;
        let (events, initial, target_revision) = (events.read()?, initial.read()?, target_revision.read()?);
        Ok(AttemptStatusRow { id, status, started_at_ms, initial, target_revision, target, events })
    }
}

/// The attempt in a row; `None` where it has more events to show than are in the row, and there is no `tx` to read them in.
fn attempt(tx: Option<&Tx<'_>>, row: &mut Row) -> StoreResult<Option<StoredAttempt>> {
    let id = row.text()?;
    attempt_of(id, tx, row)
}

/// The same, of which the id was read.
fn attempt_of(id: String, tx: Option<&Tx<'_>>, row: &mut Row) -> StoreResult<Option<StoredAttempt>> {
    let status = row.parsed(AttemptStatus::from_text)?;
    let started_at_ms = row.int()?;
    let (initial, target_revision) = (RevisionDocument(row.text()?), RevisionDocument(row.text()?));
    let (target, count, document) = (row.text()?, row.int()?, row.text()?);
    let events = match (events::alone(count, document), tx) {
        (Ok(events), _) => events,
        (Err(document), Some(tx)) => events::newest(tx, &id, count, document)?,
        (Err(_), None) => return Ok(None),
    };
    Ok(Some(AttemptStatusRow { id, status, started_at_ms, initial, target_revision, target, events }))
}

/// The status in a row of [`STATUS`]; `None` where it needs a `tx`.
fn status(tx: Option<&Tx<'_>>, mut row: Row) -> StoreResult<Option<SyncStatus>> {
    let desired = row.opt_text()?.map(RevisionDocument);
    let Some(latest) = attempt(tx, &mut row)? else { return Ok(None) };
    let earlier_success = match row.opt_text()? {
        Some(id) => match attempt_of(id, tx, &mut row)? {
            Some(success) => Some(success),
            None => return Ok(None),
        },
        None => None,
    };
    Ok(Some(SyncStatus { desired, latest, earlier_success }))
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
        let asked = [scope.account.as_str(), scope.region.as_str(), sync_type, name];
        let Some(row) = self.look_up(STATUS, &asked).await? else { return Ok(None) };
        if let Some(found) = status(None, row)? {
            return Ok(Some(found));
        }
        let asked = asked.map(Value::from);
        self.read(move |tx| {
            let row = tx.row(STATUS, &asked)?;
            row.map_or(Ok(None), |row| status(Some(tx), row))
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
                .map(|row| {
                    let attempt = attempt(Some(tx), row)?;
                    attempt.ok_or_else(|| StoreError::Corrupt("an attempt without its events".into()))?.read()
                })
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
