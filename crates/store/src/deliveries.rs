//! The inbox: what forges delivered to webhooks, and what came of it.
//!
//! **Architecture Invariant:** a delivery and what it makes due are one transaction, which is committed before the forge is
//! answered. It makes links due and changes nothing else: what is at a branch, the worker finds out.
//!
//! A delivery is told from another by what its forge says, if it does; one that comes again is counted and makes nothing
//! due. How many are kept, and for how long, is bounded, and so is each.

use std::collections::BTreeSet;

use crate::change::Change;
use crate::page::{Cursor, Page, PageOf};
use crate::sql::{Row, Tx, params, to_json};
use crate::webhooks::Webhook;
use crate::{Scope, Store, StoreResult, pulls, work};

/// Deliveries of a link that are kept; of more, the oldest go.
pub const DELIVERIES_PER_LINK: i64 = 250;
/// How long a delivery is kept, in milliseconds.
pub const DELIVERY_LIFETIME_MS: i64 = 14 * 24 * 60 * 60 * 1000;
/// Deliveries of any link that are too old and go with a new one.
const SWEPT: i64 = 20;

/// What a delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It made branches due.
    Woke,
    /// The forge tried whether we are there.
    Ping,
    /// Nothing was to be done.
    Ignored,
}

impl Outcome {
    /// The text under which it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Woke => "WOKE",
            Self::Ping => "PING",
            Self::Ignored => "IGNORED",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::Woke, Self::Ping, Self::Ignored].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// What a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// These branches may have changed; `None`: all.
    Pushed(Option<BTreeSet<String>>),
    /// A pull request was opened, changed or closed.
    PullRequest,
    /// It is a ping.
    Ping,
    /// Nothing that concerns us, for this reason.
    Nothing(String),
}

/// A delivery to record.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id here.
    pub id: String,
    /// What its forge tells it apart by.
    pub dedupe: Option<String>,
    /// The event, in the forge's words.
    pub event: String,
    /// What it says.
    pub says: Says,
    /// Headers worth showing; no proofs.
    pub headers: Vec<(String, String)>,
    /// The body without secrets, unless it is too long to be kept.
    pub body: Option<Vec<u8>>,
    /// The body's length as it came, in bytes.
    pub body_bytes: i64,
}

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is recorded.
    New(Outcome),
    /// It was delivered before, under this id.
    Duplicate(String),
    /// The webhook is gone.
    Gone,
}

/// A delivery as it is kept, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// The link's id.
    pub link_id: String,
    /// When it came, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// What its forge tells it apart by.
    pub dedupe: Option<String>,
    /// The event, in the forge's words.
    pub event: String,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it was ignored.
    pub reason: Option<String>,
    /// The branches that were made due.
    pub woken: Vec<String>,
    /// Headers, without proofs.
    pub headers: Vec<(String, String)>,
    /// The body's length as it came, in bytes.
    pub body_bytes: i64,
    /// How often it came again.
    pub duplicates: i64,
    /// When it did last, in milliseconds since the Unix epoch.
    pub duplicate_at_ms: Option<i64>,
    /// How often it was replayed.
    pub replays: i64,
    /// When it was last, in milliseconds since the Unix epoch.
    pub replayed_at_ms: Option<i64>,
}

const COLUMNS: &str =
    "id, link_id, received_at_ms, dedupe, event, outcome, reason, woken, headers, body_bytes,
    duplicates, duplicate_at_ms, replays, replayed_at_ms";

fn from_row(row: &mut Row) -> StoreResult<Delivery> {
    Ok(Delivery {
        id: row.text()?,
        link_id: row.text()?,
        received_at_ms: row.int()?,
        dedupe: row.opt_text()?,
        event: row.text()?,
        outcome: row.parsed(Outcome::from_text)?,
        reason: row.opt_text()?,
        woken: row.json()?,
        headers: row.json()?,
        body_bytes: row.int()?,
        duplicates: row.int()?,
        duplicate_at_ms: row.opt_int()?,
        replays: row.int()?,
        replayed_at_ms: row.opt_int()?,
    })
}

/// The oldest that is still shown.
fn oldest_ms(tx: &Tx<'_>) -> i64 {
    tx.now_ms().saturating_sub(DELIVERY_LIFETIME_MS)
}

fn find(tx: &Tx<'_>, scope: &Scope, id: &str) -> StoreResult<Option<Delivery>> {
    tx.row(
        &format!(
            "SELECT {COLUMNS} FROM delivery
              WHERE account_id = $1 AND region = $2 AND id = $3 AND received_at_ms > $4"
        ),
        params![scope.account.as_str(), scope.region.as_str(), id, oldest_ms(tx)],
    )?
    .map(|mut row| from_row(&mut row))
    .transpose()
}

/// What a delivery comes to.
struct Effect {
    outcome: Outcome,
    reason: Option<String>,
    woken: Vec<String>,
}

impl Effect {
    fn without_effect(outcome: Outcome, reason: Option<String>) -> Self {
        Self { outcome, reason, woken: Vec::new() }
    }
}

/// Makes the link due if one of the branches is followed: its turn asks for all of them at once.
fn wake(tx: &mut Tx<'_>, link_id: &str, named: Option<&BTreeSet<String>>) -> StoreResult<Effect> {
    let followed = tx
        .rows(
            "SELECT DISTINCT branch FROM sync_configuration WHERE link_id = $1 AND deleted = 0 ORDER BY branch",
            params![link_id],
        )?
        .iter_mut()
        .map(Row::text)
        .collect::<StoreResult<Vec<_>>>()?;
    let is_named = |branch: &String| named.is_none_or(|named| named.contains(branch));
    let woken: Vec<String> = followed.into_iter().filter(is_named).collect();
    if woken.is_empty() {
        let reason = match named {
            None => "no sync follows a branch of this repository".to_owned(),
            Some(named) => {
                let (first, more) = (named.first().map_or("", String::as_str), named.len().saturating_sub(1));
                let more = if more == 0 { String::new() } else { format!(" or {more} more") };
                format!("no sync follows the branch '{first}'{more}")
            }
        };
        return Ok(Effect::without_effect(Outcome::Ignored, Some(reason)));
    }
    work::wake(tx, link_id)?;
    Ok(Effect { outcome: Outcome::Woke, reason: None, woken })
}

/// Has the forge asked for the link's pull requests, if somebody wants to know.
fn wake_pulls(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<Effect> {
    if pulls::wake(tx, link_id)? {
        return Ok(Effect::without_effect(Outcome::Woke, None));
    }
    let reason = "no sync of this repository has PullRequestComment ENABLED".to_owned();
    Ok(Effect::without_effect(Outcome::Ignored, Some(reason)))
}

/// Lets what is too old or too many go, `number` being that of the newest of the link.
fn prune(tx: &Tx<'_>, link_id: &str, number: i64) -> StoreResult<()> {
    tx.execute(
        "DELETE FROM delivery WHERE link_id = $1 AND number <= $2",
        params![link_id, number - DELIVERIES_PER_LINK],
    )?;
    // Others may be at it.
    tx.execute(
        "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE received_at_ms <= $1
           ORDER BY received_at_ms LIMIT $2 /*pg FOR UPDATE SKIP LOCKED*/)",
        params![oldest_ms(tx), SWEPT],
    )?;
    Ok(())
}

impl Store {
    /// Records a delivery and makes due what it is about, or counts it if it came before.
    ///
    /// # Errors
    /// The database's.
    pub async fn accept_delivery(&self, to: &Webhook, new: NewDelivery) -> StoreResult<Accepted> {
        let (webhook_id, scope, link_id) = (to.id.clone(), to.scope.clone(), to.link_id.clone());
        self.write_while_wanted("store.accept_delivery", move |tx| {
            // One after the other for each link, and none while the account's configurations change.
            tx.share_account(&scope.account)?;
            tx.lock(&format!("deliveries {link_id}"))?;
            let still = "SELECT 1 FROM webhook WHERE id = $1 AND link_id = $2";
            if tx.row(still, params![&webhook_id, &link_id])?.is_none() {
                return Ok(Accepted::Gone);
            }
            let now_ms = tx.now_ms();
            let before = match &new.dedupe {
                None => None,
                Some(dedupe) => tx.row(
                    "UPDATE delivery SET duplicates = duplicates + 1, duplicate_at_ms = $3
                      WHERE link_id = $1 AND dedupe = $2 RETURNING id",
                    params![&link_id, dedupe, now_ms],
                )?,
            };
            if let Some(mut row) = before {
                return row.text().map(Accepted::Duplicate);
            }
            let named = match &new.says {
                Says::Pushed(named) => named.as_ref().map(to_json).transpose()?,
                Says::PullRequest | Says::Ping | Says::Nothing(_) => Some("[]".to_owned()),
            };
            let effect = match new.says {
                Says::Pushed(named) => wake(tx, &link_id, named.as_ref())?,
                Says::PullRequest => wake_pulls(tx, &link_id)?,
                Says::Ping => Effect::without_effect(Outcome::Ping, None),
                Says::Nothing(why) => Effect::without_effect(Outcome::Ignored, Some(why)),
            };
            let newest = "SELECT coalesce(max(number), 0) FROM delivery WHERE link_id = $1";
            let number = tx.count(newest, params![&link_id])? + 1;
            tx.execute(
                "INSERT INTO delivery (id, link_id, number, account_id, region, received_at_ms, dedupe, event, named, outcome,
                     reason, woken, headers, body, body_bytes, duplicates, replays)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0)",
                params![
                    new.id,
                    &link_id,
                    number,
                    scope.account.as_str(),
                    scope.region.as_str(),
                    now_ms,
                    new.dedupe,
                    new.event,
                    named,
                    effect.outcome.as_str(),
                    effect.reason,
                    to_json(&effect.woken)?,
                    to_json(&new.headers)?,
                    new.body,
                    new.body_bytes
                ],
            )?;
            prune(tx, &link_id, number)?;
            Ok(Accepted::New(effect.outcome))
        })
        .await
    }

    /// One page of the scope's deliveries, or of one link's, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn deliveries(
        &self,
        scope: &Scope,
        link_id: Option<&str>,
        page: &Page,
    ) -> StoreResult<PageOf<Delivery>> {
        let (scope, link_id) = (scope.clone(), link_id.map(str::to_owned));
        let (before_ms, before_id) = match &page.after {
            Some(cursor) => (cursor.created_at_ms, cursor.id.clone()),
            None => (i64::MAX, String::new()),
        };
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
        let deliveries = self
            .read(move |tx| {
                tx.rows(
                    &format!(
                        "SELECT {COLUMNS} FROM delivery
                          WHERE account_id = $1 AND region = $2 AND received_at_ms > $3
                            AND (received_at_ms, id) < ($4, $5) AND (CAST($6 AS TEXT) IS NULL OR link_id = $6)
                          ORDER BY received_at_ms DESC, id DESC LIMIT $7"
                    ),
                    params![
                        scope.account.as_str(),
                        scope.region.as_str(),
                        oldest_ms(tx),
                        before_ms,
                        before_id,
                        link_id,
                        limit
                    ],
                )?
                .iter_mut()
                .map(from_row)
                .collect::<StoreResult<Vec<_>>>()
            })
            .await?;
        Ok(PageOf::cut(deliveries, page, |delivery| Cursor {
            created_at_ms: delivery.received_at_ms,
            id: delivery.id.clone(),
        }))
    }

    /// A delivery of the scope with its body, if that was kept.
    ///
    /// # Errors
    /// The database's.
    pub async fn delivery(
        &self,
        scope: &Scope,
        id: &str,
    ) -> StoreResult<Option<(Delivery, Option<Vec<u8>>)>> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read(move |tx| {
            let Some(delivery) = find(tx, &scope, &id)? else { return Ok(None) };
            let body = tx.row("SELECT body FROM delivery WHERE id = $1", params![&id])?;
            Ok(Some((delivery, body.map_or(Ok(None), |mut row| row.opt_bytes())?)))
        })
        .await
    }

    /// Makes due again what a delivery is about, as if it had just come: what is followed now counts. `None` if the scope
    /// has no such delivery.
    ///
    /// # Errors
    /// The database's.
    pub async fn replay_delivery<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        change: Change<Option<Delivery>, A>,
    ) -> StoreResult<A> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.change("store.replay_delivery", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(delivery) = find(tx, &scope, &id)? else { return Ok(None) };
            let now_ms = tx.now_ms();
            tx.execute(
                "UPDATE delivery SET replays = replays + 1, replayed_at_ms = $2 WHERE id = $1",
                params![&id, now_ms],
            )?;
            let named = tx.row("SELECT named FROM delivery WHERE id = $1", params![&id])?;
            let named: Option<BTreeSet<String>> = named.map_or(Ok(None), |mut row| row.opt_json())?;
            // A ping, and what names no branch, is what it was; but for an event of a pull request.
            let is_of_pull_request =
                delivery.outcome == Outcome::Woke && named.as_ref().is_some_and(BTreeSet::is_empty);
            if is_of_pull_request {
                pulls::wake(tx, &delivery.link_id)?;
            }
            if named.as_ref().is_none_or(|named| !named.is_empty()) {
                let effect = wake(tx, &delivery.link_id, named.as_ref())?;
                tx.execute(
                    "UPDATE delivery SET outcome = $2, reason = $3, woken = $4 WHERE id = $1",
                    params![&id, effect.outcome.as_str(), effect.reason, to_json(&effect.woken)?],
                )?;
            }
            find(tx, &scope, &id)
        })
        .await
    }
}
