//! Looks through what a forge failed to deliver to a webhook that we registered there, so that it is delivered again.
//!
//! A look is a piece of work of its own ([`Kind::Redelivery`]). How often each delivery was asked for is written before it is
//! asked for, and how far a look came only at its end: a crash in between has some asked for once more, a bounded number of
//! times.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::sql::{Tx, params, to_json};
use crate::work::{self, Claim, Kind};
use crate::{Store, StoreResult};

/// What is put before a link's id to name the work.
const PREFIX: &str = "redeliveries-";
/// When the first look is after the webhook was registered, in milliseconds: until then nothing can have failed for long.
const FIRST_LOOK_MS: i64 = 3_600_000;
/// A start does not look where somebody looked so recently, in milliseconds: replicas are restarted one after the other.
const RECENT_MS: i64 = 60_000;
/// The provider types whose forge can be asked.
const ASKED: &str = "('GitHub', 'GitHubEnterpriseServer')";

fn work_id(link_id: &str) -> String {
    format!("{PREFIX}{link_id}")
}

/// The link's id of such a work.
pub(crate) fn link_of(work_id: &str) -> &str {
    work_id.strip_prefix(PREFIX).unwrap_or(work_id)
}

/// How often something was asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedAgain {
    /// So often.
    pub tries: i64,
    /// The last time, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A registered webhook whose failed deliveries are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeliveryRecord {
    /// The webhook's id.
    pub webhook_id: String,
    /// The link's id.
    pub link_id: String,
    /// When the last look began that was brought to its end, in milliseconds since the Unix epoch.
    pub looked_ms: Option<i64>,
    /// What was asked for again, by the forge's id of the event.
    pub asked: BTreeMap<String, AskedAgain>,
    /// Why the last look came to nothing.
    pub trouble: Option<String>,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookLook {
    /// What was asked for again by now.
    pub asked: BTreeMap<String, AskedAgain>,
    /// When it began, if it was brought to its end, in milliseconds since the Unix epoch.
    pub looked_ms: Option<i64>,
    /// Why it came to nothing.
    pub trouble: Option<String>,
}

/// Has the forge of a webhook that is being registered asked from now on, if it can be.
pub(crate) fn begin(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<()> {
    let id = work_id(link_id);
    let can = format!("SELECT count(*) FROM repository_link WHERE id = $1 AND provider_type IN {ASKED}");
    let is_there = tx.count("SELECT count(*) FROM work WHERE id = $1", params![&id])? > 0;
    if is_there || tx.count(&can, params![link_id])? == 0 {
        return Ok(());
    }
    work::insert(tx, Kind::Redelivery, &id, false)?;
    let due_ms = tx.now_ms() + FIRST_LOOK_MS;
    tx.execute("UPDATE work SET due_at_ms = $2 WHERE id = $1", params![&id, due_ms])?;
    tx.note_wake();
    Ok(())
}

/// Has the forge asked anew, because it is another, or at another place: whoever asks the one before records nothing.
pub(crate) fn interrupt(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<()> {
    work::interrupt(tx, Kind::Redelivery, &work_id(link_id))
}

/// Ends the looks for a link that is being deleted.
pub(crate) fn forget(tx: &Tx<'_>, link_id: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM work WHERE id = $1", params![work_id(link_id)])?;
    Ok(())
}

impl Store {
    /// Has every forge looked at that may have failed to deliver while nobody was there: this process has just started.
    ///
    /// # Errors
    /// The database's.
    pub async fn wake_redeliveries(&self) -> StoreResult<()> {
        let registered = "SELECT count(*) FROM webhook WHERE registered = 1";
        // Most have none: then nothing is written.
        if self.read(move |tx| tx.count(registered, &[])).await? == 0 {
            return Ok(());
        }
        self.write("store.wake_redeliveries", move |tx| {
            let now_ms = tx.now_ms();
            // In order, so that two that start at once do not wait for each other.
            tx.execute(
                &format!(
                    "UPDATE work SET due_at_ms = $1, wake_seq = wake_seq + 1 WHERE id IN (
                       SELECT w.id FROM work w WHERE w.kind = 'REDELIVERY' AND w.due_at_ms > $1 AND w.id IN (
                         SELECT '{PREFIX}' || h.link_id FROM webhook h
                          WHERE h.registered = 1 AND (h.looked_ms IS NULL OR h.looked_ms < $2))
                        ORDER BY w.id /*pg FOR UPDATE*/)"
                ),
                params![now_ms, now_ms - RECENT_MS],
            )?;
            // Those that were registered by a version that did not look.
            let missing = tx.rows(
                &format!(
                    "SELECT h.link_id FROM webhook h JOIN repository_link l ON l.id = h.link_id
                      WHERE h.registered = 1 AND l.provider_type IN {ASKED}
                        AND NOT EXISTS (SELECT 1 FROM work w WHERE w.id = '{PREFIX}' || h.link_id)
                      ORDER BY h.link_id"
                ),
                &[],
            )?;
            for mut link in missing {
                tx.execute(
                    "INSERT INTO work (id, kind, due_at_ms, epoch, wake_seq) VALUES ($1, $2, $3, 0, 0)
                       ON CONFLICT (id) DO NOTHING",
                    params![work_id(&link.text()?), Kind::Redelivery.as_str(), now_ms],
                )?;
            }
            tx.note_wake();
            Ok(())
        })
        .await
    }

    /// The webhook that a claim is about; `None` if it is gone, or registered no more.
    ///
    /// # Errors
    /// The database's.
    pub async fn redelivery_record(&self, claim: &Claim) -> StoreResult<Option<RedeliveryRecord>> {
        let link_id = link_of(&claim.id).to_owned();
        self.read(move |tx| {
            let found = tx.row(
                "SELECT id, looked_ms, asked_again, look_trouble FROM webhook WHERE link_id = $1 AND registered = 1",
                params![&link_id],
            )?;
            let Some(mut row) = found else { return Ok(None) };
            Ok(Some(RedeliveryRecord {
                webhook_id: row.text()?,
                looked_ms: row.opt_int()?,
                asked: row.json()?,
                trouble: row.opt_text()?,
                link_id,
            }))
        })
        .await
    }

    /// Those of the ids, which a forge tells its deliveries apart by, that the link has in its inbox.
    ///
    /// # Errors
    /// The database's.
    pub async fn delivered_among(&self, link_id: &str, ids: Vec<String>) -> StoreResult<BTreeSet<String>> {
        let link_id = link_id.to_owned();
        self.read(move |tx| {
            let mut found = BTreeSet::new();
            for id in ids {
                let sql = "SELECT count(*) FROM delivery WHERE link_id = $1 AND dedupe = $2";
                if tx.count(sql, params![&link_id, &id])? > 0 {
                    found.insert(id);
                }
            }
            Ok(found)
        })
        .await
    }

    /// Notes what is about to be asked for again.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn begin_redeliveries(
        &self,
        claim: &Claim,
        asked: BTreeMap<String, AskedAgain>,
    ) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.begin_redeliveries", move |tx| {
            work::fence(tx, &claim)?;
            tx.execute(
                "UPDATE webhook SET asked_again = $2 WHERE link_id = $1",
                params![link_of(&claim.id), to_json(&asked)?],
            )?;
            Ok(())
        })
        .await
    }

    /// Notes what a look came to.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_hook_look(&self, claim: &Claim, look: HookLook) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.record_hook_look", move |tx| {
            work::fence(tx, &claim)?;
            tx.execute(
                "UPDATE webhook SET asked_again = $2, looked_ms = coalesce($3, looked_ms), look_trouble = $4
                  WHERE link_id = $1",
                params![link_of(&claim.id), to_json(&look.asked)?, look.looked_ms, look.trouble],
            )?;
            Ok(())
        })
        .await
    }
}
