//! What the worker must know of one sync to decide its next step.

use syncline_model::plan::{Open, Recorded, Wanted};
use syncline_model::sync::{BlockerKind, Release};

use crate::attempts::{self, OpenAttempt};
use crate::sql::params;
use crate::suspensions::{self, Suspension};
use crate::{Store, StoreResult, accounts, blockers};

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
    /// The attempt that has not ended.
    pub open: Option<OpenAttempt>,
    /// Why the operator told it, or its account, to rest, if so.
    pub suspension: Option<Suspension>,
    /// The kinds of the blockers that stand.
    pub blockers: Vec<BlockerKind>,
    /// What decisions are made from.
    pub recorded: Recorded,
}

impl Store {
    /// The sync, deleted or not; `None` once it is forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn sync_record(&self, id: &str) -> StoreResult<Option<SyncRecord>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.as_str();
            let found = tx.row(
                "SELECT account_id, region, resource_name, role_account, generation, deleted, desired_seq,
                        desired_generation, stack_id
                   FROM sync_configuration WHERE id = $1",
                params![id],
            )?;
            let Some(mut row) = found else { return Ok(None) };
            let (account, region, resource_name) = (row.text()?, row.text()?, row.text()?);
            let role_account = row.text()?;
            let (generation, deleted) = (row.int()?, row.bool()?);
            let desired = wanted(row.opt_int()?, row.opt_int()?);
            let stack_id = row.opt_text()?;
            let external_id = accounts::external_id(tx, &account)?.unwrap_or_default();
            let newest = tx.row(
                "SELECT given_up, desired_seq, generation FROM attempt WHERE sync_id = $1
                   AND status IN ('SUCCEEDED', 'FAILED') ORDER BY number DESC LIMIT 1",
                params![id],
            )?;
            let newest = match newest {
                Some(mut row) => {
                    let given_up = row.bool()?;
                    // Then what it was opened for is to be done still, unless something newer is wanted meanwhile.
                    wanted(row.opt_int()?, row.opt_int()?).filter(|_| !given_up)
                }
                None => None,
            };
            let last_executed_at_ms = tx.row(
                "SELECT max(ended_at_ms) FROM attempt WHERE sync_id = $1 AND phase = 'EXECUTING'",
                params![id],
            )?;
            let last_executed_at_ms = last_executed_at_ms.map_or(Ok(None), |mut row| row.opt_int())?;
            let due = tx.row("SELECT due_at_ms FROM work WHERE id = $1", params![id])?;
            let due = due.map_or(Ok(None), |mut row| row.opt_int())?;
            let open = attempts::open(tx, id)?;
            let blockers = blockers::active(tx, id)?;
            let suspension = suspensions::find(tx, &account, id)?;
            let predecessor = tx.count(
                "SELECT count(*) FROM sync_configuration
                  WHERE role_account = $1 AND region = $2 AND resource_name = $3 AND deleted = 1 AND id <> $4",
                params![&role_account, &region, &resource_name, id],
            )? > 0
                // A configuration that was moved to another account may still execute in this one.
                || tx.count(
                    "SELECT count(*) FROM attempt a JOIN sync_configuration s ON s.id = a.sync_id
                      WHERE a.status IN ('INITIATED', 'IN_PROGRESS') AND a.target = $3 AND s.region = $2
                        AND a.role_arn LIKE '%:' || $1 || ':%' AND a.sync_id <> $4",
                    params![&role_account, &region, &resource_name, id],
                )? > 0;
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
            Ok(Some(SyncRecord {
                id: id.to_owned(),
                account,
                region,
                resource_name,
                external_id,
                due_ms: due.unwrap_or(tx.now_ms()),
                last_executed_at_ms,
                open,
                suspension,
                blockers,
                recorded,
            }))
        }).await
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
