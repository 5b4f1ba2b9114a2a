//! What the worker must know of one sync to decide its next step.

use std::collections::HashMap;

use syncline_model::plan::{Open, Recorded, Wanted};
use syncline_model::sync::{BlockerKind, Release};

use crate::attempts::{self, OpenAttempt};
use crate::sql::{Row, Tx, Value, params};
use crate::suspensions::{self, Suspension};
use crate::{Store, StoreResult, blockers};

/// One sync, as recorded.
#[derive(Debug, Clone)]
pub struct SyncRecord {
    /// The configuration's id.
    pub id: String,
    /// The account that owns it.
    pub account: String,
    /// Its region: where the stack lives.
    pub region: String,
    /// The stack's name.
    pub resource_name: String,
    /// The account's ExternalId.
    pub external_id: String,
    /// Since when it is to be worked on, in milliseconds since the Unix epoch.
    pub due_ms: i64,
    /// When the last attempt that executed something ended, in milliseconds since the Unix epoch.
    pub last_executed_at_ms: Option<i64>,
    /// The ARN of what that attempt executed.
    pub last_executed: Option<String>,
    /// The attempt that has not ended.
    pub open: Option<OpenAttempt>,
    /// Why the operator told it, or its account, to rest, if so.
    pub suspension: Option<Suspension>,
    /// The kinds of the blockers that stand.
    pub blockers: Vec<BlockerKind>,
    /// Whether there are previews of it that are not finished.
    pub has_previews: bool,
    /// What decisions are made from.
    pub recorded: Recorded,
}

/// What is recorded of syncs: one statement, because every step begins with it, and on PostgreSQL each statement is a round
/// trip. Another configuration drives the same stack if it was deleted and not yet forgotten, or moved to another
/// account while it executes something in this one. Of attempts, only the newest can be open.
macro_rules! records {
    ($which:literal) => {
        concat!(
            "SELECT s.id, s.account_id, s.region, s.resource_name, s.generation, s.deleted, s.desired_seq,
        s.desired_generation, s.stack_id, o.external_id, w.due_at_ms, e.ended_at_ms, e.change_set_arn,
        n.given_up, n.desired_seq, n.generation,
        (SELECT count(*) FROM sync_configuration d
          WHERE d.role_account = s.role_account AND d.region = s.region AND d.resource_name = s.resource_name
            AND d.deleted = 1 AND d.id <> s.id)
        + (SELECT count(*) FROM sync_configuration m JOIN attempt a ON a.sync_id = m.id
            WHERE m.resource_name = s.resource_name AND m.region = s.region AND m.id <> s.id
              AND a.status IN ('INITIATED', 'IN_PROGRESS') AND a.role_arn LIKE '%:' || s.role_account || ':%'),
        (SELECT count(*) FROM blocker b WHERE b.sync_id = s.id AND b.status = 'ACTIVE'),
        (SELECT count(*) FROM suspension r WHERE r.account_id = s.account_id AND r.sync_id IN ('', s.id)),
        (SELECT count(*) FROM preview v WHERE v.sync_id = s.id AND v.live = 1),
        a.status, ",
            attempts::open_columns!(),
            " FROM sync_configuration s
   LEFT JOIN account o ON o.id = s.account_id
   LEFT JOIN work w ON w.id = s.id
   LEFT JOIN attempt a ON a.sync_id = s.id
         AND a.number = (SELECT max(x.number) FROM attempt x WHERE x.sync_id = s.id)
   LEFT JOIN attempt n ON n.sync_id = s.id
         AND n.number = (SELECT f.number FROM attempt f WHERE f.sync_id = s.id
                            AND f.status IN ('SUCCEEDED', 'FAILED') ORDER BY f.number DESC LIMIT 1)
   LEFT JOIN attempt e ON e.sync_id = s.id
         AND e.number = (SELECT f.number FROM attempt f WHERE f.sync_id = s.id AND f.phase = 'EXECUTING'
                            AND f.ended_at_ms IS NOT NULL ORDER BY f.number DESC LIMIT 1)
  WHERE s.id ",
            $which
        )
    };
}

/// Syncs that one statement looks up.
const AT_ONCE: usize = 16;

/// The sync, as the transaction sees it.
pub(crate) fn record(tx: &Tx<'_>, id: &str) -> StoreResult<Option<SyncRecord>> {
    tx.row(records!("= $1"), params![id])?.map(|row| read(tx, row)).transpose()
}

/// Those of the syncs that are there, by their ids.
pub(crate) fn records(tx: &Tx<'_>, ids: &[&str]) -> StoreResult<HashMap<String, SyncRecord>> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(AT_ONCE) {
        let [one] = ids else {
            // Always as many places, so that there is one statement.
            let last = ids.last().copied().unwrap_or_default();
            let places = ids.iter().copied().chain(std::iter::repeat(last)).take(AT_ONCE);
            let params: Vec<Value> = places.map(Value::from).collect();
            let sql = records!("IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)");
            for row in tx.rows(sql, &params)? {
                let record = read(tx, row)?;
                found.insert(record.id.clone(), record);
            }
            continue;
        };
        found.extend(record(tx, one)?.map(|record| (record.id.clone(), record)));
    }
    Ok(found)
}

/// The record of a row of [`records!`].
fn read(tx: &Tx<'_>, mut row: Row) -> StoreResult<SyncRecord> {
    let id = row.text()?;
    let (account, region, resource_name) = (row.text()?, row.text()?, row.text()?);
    let (generation, deleted) = (row.int()?, row.bool()?);
    let desired = wanted(row.opt_int()?, row.opt_int()?);
    let stack_id = row.opt_text()?;
    let external_id = row.opt_text()?.unwrap_or_default();
    let due = row.opt_int()?;
    let (last_executed_at_ms, last_executed) = (row.opt_int()?, row.opt_text()?);
    let given_up = row.opt_int()? == Some(1);
    // Then what it was opened for is to be done still, unless something newer is wanted meanwhile.
    let newest = wanted(row.opt_int()?, row.opt_int()?).filter(|_| !given_up);
    let predecessor = row.int()? > 0;
    let (is_blocked, is_suspended) = (row.int()? > 0, row.int()? > 0);
    let has_previews = row.int()? > 0;
    let is_open = attempts::is_open(row.opt_text()?.as_deref());
    let open = if is_open { Some(attempts::open(&mut row)?) } else { None };
    let blockers = if is_blocked { blockers::active(tx, &id)? } else { Vec::new() };
    let suspension = if is_suspended { suspensions::find(tx, &account, &id)? } else { None };
    let recorded = Recorded {
        generation,
        deleted,
        desired,
        open: open.as_ref().map(|open| Open {
            wanted: open.wanted,
            phase: open.phase,
            change_set_seen: open.change_set_arn.is_some(),
        }),
        newest,
        held: blockers.iter().any(|kind| kind.release() == Release::Operator),
        knows_stack: stack_id.is_some(),
        predecessor: predecessor && !deleted,
        suspended: suspension.is_some(),
    };
    Ok(SyncRecord {
        id,
        account,
        region,
        resource_name,
        external_id,
        due_ms: due.unwrap_or(tx.now_ms()),
        last_executed_at_ms,
        last_executed,
        open,
        suspension,
        blockers,
        has_previews,
        recorded,
    })
}

impl Store {
    /// The sync, deleted or not; `None` once it is forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn sync_record(&self, id: &str) -> StoreResult<Option<SyncRecord>> {
        let id = id.to_owned();
        self.read(move |tx| record(tx, &id)).await
    }

    /// Forgets a deleted configuration whose attempts have all ended, and wakes the one that took its name.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost, [`crate::StoreError::Corrupt`] if it is not deleted.
    pub async fn forget_sync(&self, claim: &crate::Claim) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.forget_sync", move |tx| {
            crate::work::fence(tx, &claim)?;
            let id = &claim.id;
            let live = "SELECT count(*) FROM sync_configuration WHERE id = $1 AND deleted = 0";
            if tx.count(live, params![id])? > 0 {
                return Err(crate::StoreError::Corrupt(format!("sync {id} is to be forgotten, but is not deleted")));
            }
            let successors = tx.rows(
                "SELECT n.id FROM sync_configuration n JOIN sync_configuration o
                     ON n.role_account = o.role_account AND n.region = o.region AND n.resource_name = o.resource_name
                  WHERE o.id = $1 AND n.deleted = 0",
                params![id],
            )?;
            tx.execute(
                "DELETE FROM event_page WHERE attempt_id IN (SELECT id FROM attempt WHERE sync_id = $1)",
                params![id],
            )?;
            crate::previews::forget(tx, id)?;
            tx.execute("DELETE FROM attempt WHERE sync_id = $1", params![id])?;
            tx.execute("DELETE FROM blocker WHERE sync_id = $1", params![id])?;
            crate::paths::forget(tx, id)?;
            tx.execute("DELETE FROM sync_configuration WHERE id = $1 AND deleted = 1", params![id])?;
            tx.execute("DELETE FROM suspension WHERE sync_id = $1", params![id])?;
            tx.execute("DELETE FROM work WHERE id = $1", params![id])?;
            for mut successor in successors {
                crate::work::wake(tx, &successor.text()?)?;
            }
            Ok(())
        })
        .await
    }
}

fn wanted(seq: Option<i64>, generation: Option<i64>) -> Option<Wanted> {
    seq.zip(generation).map(|(seq, generation)| Wanted { seq, generation })
}
