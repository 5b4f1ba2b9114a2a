//! The audit log: a record for every change that was asked for and everything that was denied.
//!
//! A record is written in the transaction of its change, without a place in the account's [`chain`](crate::chain).
//! The sequencer gives waiting records their places soon after, many in one transaction.
//!
//! **Architecture Invariant:** the transaction of a change touches no row that another change of the account
//! touches for the audit log's sake. A record that waits is itself what makes the account's sequencing due; a
//! row that each change woke would be a row that replicas queue on. The sequencer alone writes places, and a
//! record that has one never changes again.

use syncline_model::names::AccountId;

use crate::chain::{ChainedRecord, GENESIS, Head};
use crate::sql::{Row, Tx, params};
use crate::work::{Claim, fence};
use crate::{Store, StoreError, StoreResult};

/// How long a record waits at least before it gets its place, in milliseconds: those that come meanwhile share
/// its transaction.
pub const GATHER_MS: i64 = 500;
/// Records in one transaction of the sequencer at the most.
const BATCH: usize = 500;
/// A transaction of the sequencer ends with the record that makes it longer than this, in bytes of records: all
/// commits wait for it.
const BATCH_BYTES: usize = 4 << 20;
/// Rows that the sequencer reads at once; with records as long as they may be, these are a few MB.
const BATCH_CHUNK: usize = 20;
/// Rows of a page that are read at once.
const CHUNK: usize = 50;
/// A page ends with the record that makes it longer than this, in bytes of records.
const PAGE_BYTES: usize = 4 << 20;

/// The accounts that have waiting records, with the time of the oldest; each account costs a look into an index.
const WAITING: &str = "WITH RECURSIVE account_waiting (account_id) AS (
    SELECT min(account_id) FROM audit_record WHERE sequence IS NULL
    UNION ALL
    SELECT (SELECT min(r.account_id) FROM audit_record r
             WHERE r.sequence IS NULL AND r.account_id > account_waiting.account_id)
      FROM account_waiting WHERE account_waiting.account_id IS NOT NULL)
  SELECT w.account_id,
         (SELECT min(r.time_ms) FROM audit_record r
           WHERE r.sequence IS NULL AND r.account_id = w.account_id) AS since_ms,
         work.lease_until_ms, work.due_at_ms
    FROM account_waiting w LEFT JOIN work ON work.id = w.account_id
   WHERE w.account_id IS NOT NULL";

/// An account with waiting records.
struct Waiting {
    account: String,
    since_ms: i64,
    lease_until_ms: Option<i64>,
    not_before_ms: Option<i64>,
}

impl Waiting {
    fn all(tx: &Tx<'_>) -> StoreResult<Vec<Self>> {
        let read = |mut row: Row| {
            Ok(Self {
                account: row.text()?,
                since_ms: row.int()?,
                lease_until_ms: row.opt_int()?,
                not_before_ms: row.opt_int()?,
            })
        };
        tx.rows(WAITING, &[])?.into_iter().map(read).collect()
    }

    /// When its sequencing is due, unless somebody is at it.
    fn due_at_ms(&self, now_ms: i64) -> Option<i64> {
        let is_held = self.lease_until_ms.is_some_and(|until_ms| until_ms > now_ms);
        // A record from the future is one from before the clock was put back: it waits no longer.
        let gathered_ms =
            if self.since_ms > now_ms { now_ms } else { self.since_ms.saturating_add(GATHER_MS) };
        (!is_held).then(|| gathered_ms.max(self.not_before_ms.unwrap_or(i64::MIN)))
    }
}

/// When the sequencing of some account becomes due that nobody is at.
pub(crate) fn next_due_ms(tx: &Tx<'_>) -> StoreResult<Option<i64>> {
    let now_ms = tx.now_ms();
    Ok(Waiting::all(tx)?.iter().filter_map(|waiting| waiting.due_at_ms(now_ms)).min())
}

/// The account whose sequencing is the most overdue.
pub(crate) fn most_overdue(tx: &Tx<'_>) -> StoreResult<Option<String>> {
    let now_ms = tx.now_ms();
    let overdue = Waiting::all(tx)?
        .into_iter()
        .filter_map(|waiting| Some((waiting.due_at_ms(now_ms)?, waiting.account)))
        .filter(|(due_at_ms, _)| *due_at_ms <= now_ms)
        .min();
    Ok(overdue.map(|(_, account)| account))
}

pub(crate) fn insert(tx: &mut Tx<'_>, account: &AccountId, event_id: &str, record: &str) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO audit_record (id, account_id, time_ms, record) VALUES ($1, $2, $3, $4)",
        params![event_id, account.as_str(), tx.now_ms(), record],
    )?;
    tx.note_wake();
    Ok(())
}

fn head(tx: &Tx<'_>, account: &str) -> StoreResult<Option<Head>> {
    let last = tx.row(
        "SELECT sequence, hash FROM audit_record
          WHERE account_id = $1 AND sequence IS NOT NULL ORDER BY sequence DESC LIMIT 1",
        params![account],
    )?;
    last.map(|mut row| Ok(Head { sequence: row.int()?, hash: row.opt_text()?.unwrap_or_default() }))
        .transpose()
}

fn waiting(tx: &Tx<'_>, account: &str) -> StoreResult<i64> {
    tx.count("SELECT count(*) FROM audit_record WHERE account_id = $1 AND sequence IS NULL", params![account])
}

/// Part of an account's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// Records in their order.
    pub records: Vec<ChainedRecord>,
    /// How far the whole chain has come; `None` while no record has a place.
    pub head: Option<Head>,
    /// How many records wait for their places.
    pub waiting: i64,
}

impl Store {
    /// Records what came to no change: it was refused before one, or there was nothing to do. `record` is given
    /// the time of the transaction in milliseconds.
    ///
    /// # Errors
    /// The database's.
    pub async fn record_unchanged(
        &self,
        account: &AccountId,
        event_id: &str,
        record: impl FnOnce(i64) -> String + Send + 'static,
    ) -> StoreResult<()> {
        let (account, event_id) = (account.clone(), event_id.to_owned());
        self.write("store.record_unchanged", move |tx| {
            let record = record(tx.now_ms());
            insert(tx, &account, &event_id, &record)
        })
        .await
    }

    /// Gives waiting records of the claimed account their places, the oldest first. True if there may be more.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn sequence_audit(&self, claim: &Claim) -> StoreResult<bool> {
        let claim = claim.clone();
        self.write("store.sequence_audit", move |tx| {
            fence(tx, &claim)?;
            let account = &claim.id;
            let mut last =
                head(tx, account)?.unwrap_or_else(|| Head { sequence: 0, hash: GENESIS.to_owned() });
            let (mut placed, mut bytes) = (0, 0);
            while placed < BATCH {
                // Those that got their places wait no longer: the next ones are the first now.
                let chunk = BATCH_CHUNK.min(BATCH - placed);
                let rows = tx.rows(
                    "SELECT id, time_ms, record FROM audit_record
                      WHERE account_id = $1 AND sequence IS NULL ORDER BY time_ms, id LIMIT $2",
                    params![account, i64::try_from(chunk).unwrap_or(i64::MAX)],
                )?;
                let is_last = rows.len() < chunk;
                for mut row in rows {
                    let sequence = last.sequence.checked_add(1).ok_or_else(|| {
                        StoreError::Corrupt(format!("the audit log of {account} ends at {}", last.sequence))
                    })?;
                    let mut next = ChainedRecord {
                        sequence,
                        account_id: account.clone(),
                        event_id: row.text()?,
                        time_ms: row.int()?,
                        previous_hash: last.hash,
                        hash: String::new(),
                        record: row.text()?,
                    };
                    next.hash = next.computed_hash();
                    tx.execute(
                        "UPDATE audit_record SET sequence = $2, hash = $3 WHERE id = $1 AND sequence IS NULL",
                        params![&next.event_id, sequence, &next.hash],
                    )?;
                    last = next.head();
                    placed += 1;
                    bytes += next.record.len();
                    if bytes >= BATCH_BYTES {
                        return Ok(true);
                    }
                }
                if is_last {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// The account's records after a place, at the most `limit` and about 4 MiB of them.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit_page(&self, account: &AccountId, after: i64, limit: usize) -> StoreResult<AuditPage> {
        let account = account.clone();
        self.read(move |tx| {
            let account = &account;
            let account = account.as_str();
            let mut records: Vec<ChainedRecord> = Vec::new();
            let mut bytes = 0;
            while records.len() < limit && bytes < PAGE_BYTES {
                let from = records.last().map_or(after, |record| record.sequence);
                let chunk = CHUNK.min(limit - records.len());
                let rows = tx.rows(
                    "SELECT r.sequence, r.id, r.time_ms, r.hash, r.record,
                            (SELECT before.hash FROM audit_record before
                              WHERE before.account_id = r.account_id AND before.sequence = r.sequence - 1)
                       FROM audit_record r WHERE r.account_id = $1 AND r.sequence > $2
                      ORDER BY r.sequence LIMIT $3",
                    params![account, from, i64::try_from(chunk).unwrap_or(i64::MAX)],
                )?;
                let is_last = rows.len() < chunk;
                for mut row in rows {
                    let sequence = row.int()?;
                    let mut record = ChainedRecord {
                        sequence,
                        account_id: account.to_owned(),
                        event_id: row.text()?,
                        time_ms: row.int()?,
                        hash: row.opt_text()?.unwrap_or_default(),
                        record: row.text()?,
                        previous_hash: String::new(),
                    };
                    record.previous_hash = match row.opt_text()? {
                        Some(hash) => hash,
                        None if sequence == 1 => GENESIS.to_owned(),
                        // Somebody has taken the record before; whoever checks the chain finds out.
                        None => String::new(),
                    };
                    bytes += record.record.len();
                    records.push(record);
                }
                if is_last {
                    break;
                }
            }
            Ok(AuditPage { records, head: head(tx, account)?, waiting: waiting(tx, account)? })
        })
        .await
    }
}

/// The audit log's part of the gauges: records with a place, records that wait, and how long the oldest of them
/// has waited, in milliseconds.
pub(crate) fn gauges(tx: &Tx<'_>) -> StoreResult<[i64; 3]> {
    let placed = tx.count(
        "WITH RECURSIVE chain (account_id) AS (
           SELECT min(account_id) FROM audit_record
           UNION ALL
           SELECT (SELECT min(r.account_id) FROM audit_record r WHERE r.account_id > chain.account_id)
             FROM chain WHERE chain.account_id IS NOT NULL)
         SELECT CAST(coalesce(sum((SELECT max(r.sequence) FROM audit_record r
                                    WHERE r.account_id = chain.account_id)), 0) AS BIGINT)
           FROM chain WHERE chain.account_id IS NOT NULL",
        &[],
    )?;
    let waiting = tx.count("SELECT count(*) FROM audit_record WHERE sequence IS NULL", &[])?;
    let since_ms = Waiting::all(tx)?.iter().map(|waiting| waiting.since_ms).min();
    Ok([placed, waiting, since_ms.map_or(0, |since_ms| tx.now_ms().saturating_sub(since_ms).max(0))])
}
