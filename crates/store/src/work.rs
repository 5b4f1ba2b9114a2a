//! Work: what is due, and who has it.
//!
//! Everything that arrives only makes work due. A claim takes the most overdue piece that nobody holds and
//! counts its epoch up; whatever is written under a claim first checks, in the same transaction, that the
//! claim still stands, so a holder that was paused past its lease writes nothing.
//!
//! A parameter that is only compared with NULL is CAST: PostgreSQL would not know its type.

use crate::sql::{Tx, params};
use crate::{Store, StoreError, StoreResult, audit};

/// What a piece of work is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A repository link: its remote calls.
    Link,
    /// A branch: reading its commits.
    Branch,
    /// A sync configuration: its stack.
    Sync,
    /// An account: the places of its audit records. Due while records wait, whatever the row says.
    Audit,
}

impl Kind {
    /// The text under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "LINK",
            Self::Branch => "BRANCH",
            Self::Sync => "SYNC",
            Self::Audit => "AUDIT",
        }
    }
}

/// A held lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it is about.
    pub kind: Kind,
    /// The id of the link, branch, sync configuration or account.
    pub id: String,
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

/// Takes the most overdue work that nobody holds. The outer WHERE re-checks the lease under the row lock.
const CLAIM: &str = "UPDATE work SET lease_owner = $3, lease_until_ms = $4, epoch = epoch + 1
   WHERE id = (SELECT id FROM work
                WHERE kind = $1 AND due_at_ms <= $2 AND (lease_until_ms IS NULL OR lease_until_ms <= $2)
                ORDER BY due_at_ms, id LIMIT 1)
     AND (lease_until_ms IS NULL OR lease_until_ms <= $2)
  RETURNING id, epoch, wake_seq";

/// Takes the sequencing of an account, whose row is made by the first claim. The WHERE re-checks the lease.
const CLAIM_AUDIT: &str =
    "INSERT INTO work (id, kind, due_at_ms, lease_owner, lease_until_ms, epoch, wake_seq)
   VALUES ($1, 'AUDIT', $2, $3, $4, 1, 0)
   ON CONFLICT (id) DO UPDATE SET due_at_ms = excluded.due_at_ms, lease_owner = excluded.lease_owner,
     lease_until_ms = excluded.lease_until_ms, epoch = work.epoch + 1
   WHERE work.lease_until_ms IS NULL OR work.lease_until_ms <= $2
  RETURNING id, epoch, wake_seq";

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
/// nothing of it is to be written.
pub(crate) fn interrupt(tx: &mut Tx<'_>, id: &str) -> StoreResult<()> {
    tx.execute("UPDATE work SET lease_owner = NULL, lease_until_ms = NULL WHERE id = $1", params![id])?;
    wake(tx, id)
}

/// Makes a piece of work, due now or when it is woken.
pub(crate) fn insert(tx: &mut Tx<'_>, kind: Kind, id: &str, due: bool) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO work (id, kind, due_at_ms, epoch, wake_seq) VALUES ($1, $2, $3, 0, 0)",
        params![id, kind.as_str(), due.then_some(tx.now_ms())],
    )?;
    if due {
        tx.note_wake();
    }
    Ok(())
}

/// Refuses the transaction unless the claim still stands.
pub(crate) fn fence(tx: &Tx<'_>, claim: &Claim) -> StoreResult<()> {
    let held = tx.count(
        "SELECT count(*) FROM work WHERE id = $1 AND lease_owner = $2 AND epoch = $3 AND lease_until_ms > $4",
        params![&claim.id, &claim.owner, claim.epoch, tx.now_ms()],
    )?;
    if held == 1 { Ok(()) } else { Err(StoreError::Stale(format!("{} {}", claim.kind.as_str(), claim.id))) }
}

impl Store {
    /// Claims the most overdue work of a kind for `lease_ms` milliseconds; `None` if nothing is due.
    ///
    /// # Errors
    /// The database's.
    pub async fn claim(&self, kind: Kind, owner: &str, lease_ms: i64) -> StoreResult<Option<Claim>> {
        // A look first: an idle worker writes nothing.
        let is_due = self
            .read(move |tx| {
                if kind == Kind::Audit {
                    return Ok(audit::most_overdue(tx)?.is_some());
                }
                let due = tx.count(
                    "SELECT count(*) FROM (SELECT 1 FROM work WHERE kind = $1 AND due_at_ms <= $2
                    AND (lease_until_ms IS NULL OR lease_until_ms <= $2) LIMIT 1) AS found",
                    params![kind.as_str(), tx.now_ms()],
                )?;
                Ok(due > 0)
            })
            .await?;
        if !is_due {
            return Ok(None);
        }
        let owner = owner.to_owned();
        self.write("store.claim", move |tx| {
            let now = tx.now_ms();
            let claimed = if kind == Kind::Audit {
                let Some(account) = audit::most_overdue(tx)? else { return Ok(None) };
                tx.row(CLAIM_AUDIT, params![account, now, &owner, now + lease_ms])?
            } else {
                tx.row(CLAIM, params![kind.as_str(), now, &owner, now + lease_ms])?
            };
            claimed
                .map(|mut row| {
                    Ok(Claim { kind, id: row.text()?, owner, epoch: row.int()?, wake_seq: row.int()? })
                })
                .transpose()
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
            fence(tx, &claim)?;
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
        self.write("store.release", move |tx| {
            tx.execute(RELEASE, params![claim.id, claim.owner, claim.epoch, claim.wake_seq, due_at_ms])?;
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
            fence(tx, &claim)?;
            tx.execute("DELETE FROM work WHERE id = $1", params![&claim.id])?;
            Ok(())
        })
        .await
    }

    /// When the next piece of work that nobody holds becomes due, of one kind or of any.
    ///
    /// # Errors
    /// The database's.
    pub async fn next_due_ms(&self, kind: Option<Kind>) -> StoreResult<Option<i64>> {
        self.read(move |tx| {
            let audit = match kind {
                None | Some(Kind::Audit) => audit::next_due_ms(tx)?,
                Some(_) => None,
            };
            let row = tx.row(
                "SELECT min(due_at_ms) FROM work
                  WHERE due_at_ms IS NOT NULL AND (lease_until_ms IS NULL OR lease_until_ms <= $1)
                    AND (CAST($2 AS TEXT) IS NULL OR kind = $2) AND kind <> 'AUDIT'",
                params![tx.now_ms(), kind.map(Kind::as_str)],
            )?;
            let other = row.map_or(Ok(None), |mut row| row.opt_int())?;
            Ok(audit.into_iter().chain(other).min())
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
}
