//! Work: what is due, and who has it.
//!
//! Everything that arrives only makes work due. A claim takes the most overdue piece of a [lane](crate::lanes) that
//! nobody holds and counts its epoch up; whatever is written under a claim first checks, in the same transaction, that the
//! claim still stands, so a holder that was paused past its lease writes nothing.
//!
//! A parameter that is only compared with NULL is CAST: PostgreSQL would not know its type.

use std::collections::HashMap;

use syncline_model::schedule::Lane;

use crate::sql::{Row, Tx, params};
use crate::syncs::{self, SyncRecord};
use crate::{Store, StoreError, StoreResult, audit, grants, lanes, pulls, redeliveries};

/// What a piece of work is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A repository link: its remote calls.
    Link,
    /// A branch: reading its commits.
    Branch,
    /// A sync configuration: its stack.
    Sync,
    /// A repository link: what its forge says of pull requests.
    Pulls,
    /// An account: the places of its audit records. Due while records wait, whatever the row says.
    Audit,
    /// Something in the outbox: telling it to the outside.
    Outbox,
    /// A connection: getting its next token; or throwing away its handshake, once that is too old.
    Token,
    /// A repository link: having its forge deliver again what failed to arrive.
    Redelivery,
}

impl Kind {
    /// The text under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "LINK",
            Self::Branch => "BRANCH",
            Self::Sync => "SYNC",
            Self::Pulls => "PULLS",
            Self::Audit => "AUDIT",
            Self::Outbox => "OUTBOX",
            Self::Token => "TOKEN",
            Self::Redelivery => "REDELIVERY",
        }
    }
}

/// A held lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it is about.
    pub kind: Kind,
    /// The id of the link, branch, sync configuration, account or row of the outbox.
    pub id: String,
    /// In which line it stood.
    pub lane: Lane,
    /// When it was claimed, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    owner: String,
    epoch: i64,
    wake_seq: i64,
}

impl Claim {
    /// How often the work had been woken when it was claimed.
    #[must_use]
    pub fn wake_seq(&self) -> i64 {
        self.wake_seq
    }
}

/// Takes the most overdue work of a lane that nobody holds. The outer WHERE re-checks the lease under the row lock;
/// MATERIALIZED has PostgreSQL lock no more rows than it takes; it would have SQLite make a table for each claim.
pub(crate) const CLAIM: &str = "WITH due AS /*pg MATERIALIZED*/ (SELECT id FROM work
                 WHERE kind = $1 AND lane = $2 AND due_at_ms <= $3
                   AND (lease_until_ms IS NULL OR lease_until_ms <= $3)
                 ORDER BY due_at_ms LIMIT $6 /*pg FOR UPDATE SKIP LOCKED*/)
  UPDATE work SET lease_owner = $4, lease_until_ms = $5, epoch = epoch + 1
   WHERE id IN (SELECT id FROM due) AND (lease_until_ms IS NULL OR lease_until_ms <= $3)
  RETURNING id, epoch, wake_seq, lane";

/// Takes the sequencing of an account, whose row is made by the first claim. The WHERE re-checks the lease.
const CLAIM_AUDIT: &str =
    "INSERT INTO work (id, kind, due_at_ms, lease_owner, lease_until_ms, epoch, wake_seq)
   VALUES ($1, 'AUDIT', $2, $3, $4, 1, 0)
   ON CONFLICT (id) DO UPDATE SET due_at_ms = excluded.due_at_ms, lease_owner = excluded.lease_owner,
     lease_until_ms = excluded.lease_until_ms, epoch = work.epoch + 1
   WHERE work.lease_until_ms IS NULL OR work.lease_until_ms <= $2
  RETURNING id, epoch, wake_seq, lane";

/// A stale holder writes nothing; a wake that arrived meanwhile stays due.
const RELEASE: &str = "UPDATE work SET lease_owner = NULL, lease_until_ms = NULL,
     due_at_ms = CASE WHEN wake_seq = $4 THEN $5 ELSE due_at_ms END
   WHERE id = $1 AND lease_owner = $2 AND epoch = $3";

/// Makes the work due now.
pub(crate) fn wake(tx: &mut Tx<'_>, id: &str) -> StoreResult<()> {
    tx.execute(
        "UPDATE work SET wake_seq = wake_seq + 1,
            due_at_ms = CASE WHEN due_at_ms < $2 THEN due_at_ms ELSE $2 END
          WHERE id = $1",
        params![id, tx.now_ms()],
    )?;
    tx.note_wake();
    Ok(())
}

/// Makes the work due now and voids the claim on it: what its holder has seen is no longer how things are, and
/// nothing of it is to be written. Where it asks now, others may stand in line.
pub(crate) fn interrupt(tx: &mut Tx<'_>, kind: Kind, id: &str) -> StoreResult<()> {
    tx.execute("UPDATE work SET lease_owner = NULL, lease_until_ms = NULL WHERE id = $1", params![id])?;
    lanes::line_up(tx, kind, id)?;
    wake(tx, id)
}

/// Makes a piece of work, due now or when it is woken. What it is about must be there already.
pub(crate) fn insert(tx: &mut Tx<'_>, kind: Kind, id: &str, due: bool) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO work (id, kind, due_at_ms, epoch, wake_seq) VALUES ($1, $2, $3, 0, 0)",
        params![id, kind.as_str(), due.then_some(tx.now_ms())],
    )?;
    lanes::line_up(tx, kind, id)?;
    if due {
        tx.note_wake();
    }
    Ok(())
}

/// Makes a piece of work that is due at a time, in milliseconds since the Unix epoch, in place of the one of that id.
pub(crate) fn put_off(tx: &mut Tx<'_>, kind: Kind, id: &str, due_at_ms: i64) -> StoreResult<()> {
    tx.execute("DELETE FROM work WHERE id = $1", params![id])?;
    tx.execute(
        "INSERT INTO work (id, kind, due_at_ms, epoch, wake_seq) VALUES ($1, $2, $3, 0, 0)",
        params![id, kind.as_str(), due_at_ms],
    )?;
    lanes::line_up(tx, kind, id)?;
    Ok(())
}

/// Gives a claim back within the transaction that writes the last of what was done under it.
pub(crate) fn release(tx: &mut Tx<'_>, claim: &Claim, due_at_ms: Option<i64>) -> StoreResult<()> {
    let seen = claim.wake_seq;
    #[cfg(feature = "mutants")]
    let seen = if syncline_seams::mutant::is(syncline_seams::mutant::Mutant::ReleaseForgetsWakes) {
        tx.count("SELECT coalesce(max(wake_seq), 0) FROM work WHERE id = $1", params![&claim.id])?
    } else {
        seen
    };
    tx.execute(RELEASE, params![&claim.id, &claim.owner, claim.epoch, seen, due_at_ms])?;
    tx.note_wake();
    Ok(())
}

/// Refuses the transaction unless the claim still stands, and lets nobody else change what the work is about before it
/// is committed.
pub(crate) fn fence(tx: &Tx<'_>, claim: &Claim) -> StoreResult<()> {
    #[cfg(feature = "mutants")]
    if syncline_seams::mutant::is(syncline_seams::mutant::Mutant::WritesWithoutLease) {
        return Ok(());
    }
    if claim.kind == Kind::Sync && tx.is_on_postgres() {
        let held = tx.count(FENCE_SYNC, params![&claim.id, &claim.owner, claim.epoch, tx.now_ms()])?;
        return if held == 1 { Ok(()) } else { Err(lost(claim)) };
    }
    lock_subject(tx, claim)?;
    check_held(tx, claim)
}

/// For a sync what [`lock_subject`] and [`check_held`] do for others, in their order, as one round trip: each step joins the
/// one before, which is made whole first. Locking reads what was committed while it waited.
const FENCE_SYNC: &str = "WITH account AS MATERIALIZED (
     SELECT s.id, pg_advisory_xact_lock_shared(hashtextextended('account ' || s.account_id, 0))
       FROM sync_configuration s WHERE s.id = $1),
   subject AS MATERIALIZED (
     SELECT s.id FROM account JOIN sync_configuration s ON s.id = account.id FOR UPDATE OF s)
  SELECT count(*) FROM (SELECT 1 FROM subject JOIN work w ON w.id = subject.id
    WHERE w.lease_owner = $2 AND w.epoch = $3 AND w.lease_until_ms > $4 FOR UPDATE OF w) AS held";

/// Locks what the claim is about, always in this order, so that no two transactions wait for each other: the account
/// against what requests ask for, the link, its branches, the sync; and after its subject the work itself, because
/// whoever wakes it has locked the subject first. A database with one writer has nothing to lock.
fn lock_subject(tx: &Tx<'_>, claim: &Claim) -> StoreResult<()> {
    let (account, subject) = match claim.kind {
        Kind::Link | Kind::Pulls | Kind::Redelivery => (
            "SELECT pg_advisory_xact_lock_shared(hashtextextended('account ' || l.account_id, 0))
               FROM repository_link l WHERE l.id = $1",
            "SELECT id FROM repository_link WHERE id = $1 FOR UPDATE",
        ),
        Kind::Branch => (
            "SELECT pg_advisory_xact_lock_shared(hashtextextended('account ' || l.account_id, 0))
               FROM branch b JOIN repository_link l ON l.id = b.link_id WHERE b.id = $1",
            "SELECT id FROM branch WHERE id = $1 FOR UPDATE",
        ),
        // FENCE_SYNC does it.
        Kind::Sync => return Ok(()),
        // What it writes concerns the links, too: their holders keep out meanwhile.
        Kind::Token => {
            return tx.lock_rows(
                "SELECT pg_advisory_xact_lock(hashtextextended('account ' || account_id, 0))
                   FROM connection WHERE id = $1",
                params![grants::connection_of(&claim.id)],
            );
        }
        // Its records are written one by one and never change but by its holder.
        Kind::Audit => return Ok(()),
        // Whoever has something else told locks the row, too.
        Kind::Outbox => {
            return tx.lock_rows("SELECT id FROM outbox WHERE id = $1 FOR UPDATE", params![&claim.id]);
        }
    };
    // Of pull requests and redeliveries the claim has an id of its own.
    let id = redeliveries::link_of(pulls::link_of(&claim.id));
    tx.lock_rows(account, params![id])?;
    tx.lock_rows(subject, params![id])?;
    if claim.kind == Kind::Link {
        let branches = "SELECT id FROM branch WHERE link_id = $1 ORDER BY id FOR UPDATE";
        tx.lock_rows(branches, params![&claim.id])?;
    }
    Ok(())
}

fn lost(claim: &Claim) -> StoreError {
    StoreError::Stale(format!("{} {}", claim.kind.as_str(), claim.id))
}

/// Refuses the transaction unless the claim still stands.
fn check_held(tx: &Tx<'_>, claim: &Claim) -> StoreResult<()> {
    let held = tx.count(
        "SELECT count(*) FROM (SELECT 1 FROM work
          WHERE id = $1 AND lease_owner = $2 AND epoch = $3 AND lease_until_ms > $4 /*pg FOR UPDATE*/) AS held",
        params![&claim.id, &claim.owner, claim.epoch, tx.now_ms()],
    )?;
    if held == 1 { Ok(()) } else { Err(lost(claim)) }
}

/// The claim of a row that CLAIM or CLAIM_AUDIT returned. Work of an earlier version gets its lane here.
fn claimed(tx: &Tx<'_>, kind: Kind, owner: &str, mut row: Row) -> StoreResult<Claim> {
    let (id, epoch, wake_seq, lane) = (row.text()?, row.int()?, row.int()?, row.text()?);
    let lane = match &*lane {
        "" => lanes::line_up(tx, kind, &id)?.unwrap_or_default(),
        lane => Lane::from_text(lane),
    };
    Ok(Claim { kind, id, lane, since_ms: tx.now_ms(), owner: owner.to_owned(), epoch, wake_seq })
}

/// Claims up to so many of the most overdue pieces of a lane.
fn claim_in(
    tx: &Tx<'_>,
    kind: Kind,
    lane: &Lane,
    pieces: u32,
    owner: &str,
    lease_ms: i64,
) -> StoreResult<Vec<Claim>> {
    let now_ms = tx.now_ms();
    // What was made by an earlier version stands in a lane without a name.
    let name = if *lane == Lane::default() { String::new() } else { lane.to_string() };
    let pieces = i64::from(pieces);
    let rows = tx.rows(CLAIM, params![kind.as_str(), name, now_ms, owner, now_ms + lease_ms, pieces])?;
    rows.into_iter().map(|row| claimed(tx, kind, owner, row)).collect()
}

impl Store {
    /// Claims the most overdue work of a kind for `lease_ms` milliseconds, in whatever lane it stands; `None` if
    /// nothing may begin.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim(&self, kind: Kind, owner: &str, lease_ms: i64) -> StoreResult<Option<Claim>> {
        // A look first: an idle worker writes nothing.
        let next = move |tx: &Tx<'_>| {
            let mut backlog = lanes::backlog(tx, kind)?;
            let mut due = std::mem::take(&mut backlog.due);
            due.retain(|due| backlog.allowed(&due.lane.endpoint) != Some(0));
            due.sort_by_key(|due| due.since_ms);
            Ok(due)
        };
        let is_due = match kind {
            Kind::Audit => self.read(audit::most_overdue).await?.is_some(),
            Kind::Link
            | Kind::Branch
            | Kind::Sync
            | Kind::Outbox
            | Kind::Pulls
            | Kind::Token
            | Kind::Redelivery => !self.read(next).await?.is_empty(),
        };
        if !is_due {
            return Ok(None);
        }
        let owner = owner.to_owned();
        self.write("store.claim", move |tx| {
            if kind == Kind::Audit {
                let Some(account) = audit::most_overdue(tx)? else { return Ok(None) };
                let now_ms = tx.now_ms();
                let row = tx.row(CLAIM_AUDIT, params![account, now_ms, &owner, now_ms + lease_ms])?;
                return row.map(|row| claimed(tx, kind, &owner, row)).transpose();
            }
            // What stands first may just have been taken by somebody else.
            for due in next(tx)? {
                if let Some(claim) = claim_in(tx, kind, &due.lane, 1, &owner, lease_ms)?.pop() {
                    return Ok(Some(claim));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Claims the most overdue work of lanes for `lease_ms` milliseconds, up to so many pieces of each; fewer where
    /// others were faster. With what is recorded of each sync at that moment: whoever claims one asks for it next.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim_and_look(
        &self,
        kind: Kind,
        lanes: Vec<(Lane, u32)>,
        owner: &str,
        lease_ms: i64,
    ) -> StoreResult<Vec<(Claim, Option<SyncRecord>)>> {
        let owner = owner.to_owned();
        self.write("store.claim", move |tx| {
            let mut claims = Vec::new();
            for (lane, pieces) in &lanes {
                claims.extend(claim_in(tx, kind, lane, *pieces, &owner, lease_ms)?);
            }
            let mut records = HashMap::new();
            if kind == Kind::Sync {
                let ids: Vec<&str> = claims.iter().map(|claim| &*claim.id).collect();
                records = syncs::records(tx, &ids)?;
            }
            let with_record = |claim: Claim| {
                let record = records.remove(&claim.id);
                (claim, record)
            };
            Ok(claims.into_iter().map(with_record).collect())
        })
        .await
    }

    /// Holds a claim for `lease_ms` milliseconds from now.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was lost.
    pub async fn renew(&self, claim: &Claim, lease_ms: i64) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.renew", move |tx| {
            check_held(tx, &claim)?;
            tx.execute(
                "UPDATE work SET lease_until_ms = $2 WHERE id = $1",
                params![&claim.id, tx.now_ms() + lease_ms],
            )?;
            Ok(())
        })
        .await
    }

    /// Gives a claim back; the work is due again at `due_at_ms`, or at once if it was woken meanwhile.
    ///
    /// # Errors
    /// The database's. A claim that was lost meanwhile is not an error: its new holder decides.
    pub async fn release(&self, claim: Claim, due_at_ms: Option<i64>) -> StoreResult<()> {
        self.write("store.release", move |tx| release(tx, &claim, due_at_ms)).await
    }

    /// Gives back everything that `owner` holds, as it is: still due, for anybody else at once. For the end of a worker
    /// that cannot finish what it has begun; nothing can be written under its claims any more.
    ///
    /// # Errors
    /// The database's.
    pub async fn hand_over(&self, owner: &str) -> StoreResult<()> {
        let owner = owner.to_owned();
        self.write("store.hand_over", move |tx| {
            tx.execute(
                "UPDATE work SET lease_owner = NULL, lease_until_ms = NULL
                  WHERE lease_owner = $1 AND lease_until_ms IS NOT NULL",
                params![owner],
            )?;
            tx.note_wake();
            Ok(())
        })
        .await
    }

    /// Ends work whose subject is gone.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn forget_work(&self, claim: &Claim) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.forget_work", move |tx| {
            check_held(tx, &claim)?;
            tx.execute("DELETE FROM work WHERE id = $1", params![&claim.id])?;
            Ok(())
        })
        .await
    }

    /// When the next piece of work that nobody holds may begin, of one kind or of any: it is due, and its endpoint
    /// wants no pause.
    ///
    /// # Errors
    /// The database's.
    pub async fn next_due_ms(&self, kind: Option<Kind>) -> StoreResult<Option<i64>> {
        let all = [
            Kind::Link,
            Kind::Branch,
            Kind::Sync,
            Kind::Audit,
            Kind::Outbox,
            Kind::Pulls,
            Kind::Token,
            Kind::Redelivery,
        ];
        let kinds = kind.map_or_else(|| all.to_vec(), |kind| vec![kind]);
        self.read(move |tx| {
            let mut next = None;
            for kind in kinds {
                let of_kind = match kind {
                    Kind::Audit => audit::next_due_ms(tx)?,
                    Kind::Link
                    | Kind::Branch
                    | Kind::Sync
                    | Kind::Outbox
                    | Kind::Pulls
                    | Kind::Token
                    | Kind::Redelivery => lanes::backlog(tx, kind)?.beginnings_ms().min(),
                };
                next = next.into_iter().chain(of_kind).min();
            }
            Ok(next)
        })
        .await
    }

    /// When the next lease that is held ends, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The database's.
    pub async fn next_lease_end_ms(&self) -> StoreResult<Option<i64>> {
        self.read(move |tx| {
            let row = tx.row(
                "SELECT min(lease_until_ms) FROM work WHERE lease_until_ms > $1 AND due_at_ms IS NOT NULL",
                params![tx.now_ms()],
            )?;
            row.map_or(Ok(None), |mut row| row.opt_int())
        })
        .await
    }

    /// Gauges of the work: name, help text, value.
    ///
    /// # Errors
    /// The database's.
    pub async fn work_gauges(&self) -> StoreResult<Vec<(&'static str, &'static str, i64)>> {
        self.read(move |tx| {
            let now_ms = tx.now_ms();
            let held = |kind: Kind| {
                let sql = "SELECT count(*) FROM work WHERE kind = $1 AND lease_until_ms > $2";
                tx.count(sql, params![kind.as_str(), now_ms])
            };
            let mut oldest_ms = 0;
            for kind in [Kind::Link, Kind::Branch, Kind::Sync] {
                let row = tx.row(
                    "SELECT min(due_at_ms) FROM work WHERE kind = $1 AND due_at_ms <= $2
                       AND (lease_until_ms IS NULL OR lease_until_ms <= $2)",
                    params![kind.as_str(), now_ms],
                )?;
                let since_ms = row.map_or(Ok(None), |mut row| row.opt_int())?.unwrap_or(now_ms);
                oldest_ms = oldest_ms.max(now_ms - since_ms);
            }
            let throttled = "SELECT count(*) FROM pace WHERE not_before_ms > $1";
            let in_outbox = |state| tx.count("SELECT count(*) FROM outbox WHERE state = $1", params![state]);
            Ok(vec![
                (
                    "syncline_repositories_in_progress",
                    "Repositories being asked for heads.",
                    held(Kind::Link)?,
                ),
                ("syncline_branches_in_progress", "Branches being read.", held(Kind::Branch)?),
                ("syncline_syncs_in_progress", "Syncs whose stacks are being worked on.", held(Kind::Sync)?),
                (
                    "syncline_work_oldest_due_milliseconds",
                    "How long the most overdue piece of work has waited to be taken.",
                    oldest_ms,
                ),
                (
                    "syncline_endpoints_throttled",
                    "Git hosts, AWS accounts and receivers that are given a pause, because they throttled.",
                    tx.count(throttled, params![now_ms])?,
                ),
                ("syncline_outbox_waiting", "What is to be told to the outside.", in_outbox("WAITING")?),
                ("syncline_outbox_failed", "What was given up telling to the outside.", in_outbox("FAILED")?),
            ])
        })
        .await
    }
}
