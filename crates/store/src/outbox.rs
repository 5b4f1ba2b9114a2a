//! The outbox: what is to be told to the outside, written in the transaction that gives rise to it.
//!
//! **Architecture Invariant:** nobody tells anything to a forge or a receiver but by a row here, and its row is committed
//! before it is told. Each row is a piece of work ([`Kind::Outbox`]): claimed, leased, fenced, in the lane of whoever is
//! told, so that one who does not answer keeps nobody else waiting.
//!
//! There are two classes. *Wanted things*, such as a comment: one row for each kind and subject holds the newest
//! content, of which older ones are never sent. *Notifications*: one row each, sent in the order of their target and
//! subject, under an id by which the receiver tells a repeated one apart.
//!
//! Telling must be harmless when it is repeated: between the effect and its record the process may die.

use syncline_seams::chance;

use crate::page::{Cursor, Page, PageOf};
use crate::sql::{Row, Tx, params};
use crate::work::{self, Claim, Kind};
use crate::{Scope, Store, StoreResult, lanes};

/// How long something is tried after its newest content came, in milliseconds; then it is given up.
pub const OUTBOX_PATIENCE_MS: i64 = 24 * 60 * 60 * 1000;
/// How long what was sent or given up is kept, in milliseconds. What is wanted anew later is found at the other side by
/// its marker.
pub const OUTBOX_LIFETIME_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// The longest error that is kept, in characters.
const LONGEST_ERROR: usize = 500;
/// Rows that are too old and go with one that is sent.
const SWEPT: i64 = 20;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboxKind {
    /// A comment on a pull request.
    Comment,
    /// A status of a commit.
    CommitStatus,
    /// A deployment of a commit.
    Deployment,
    /// A status that changed, to a notification target.
    Notification,
}

impl OutboxKind {
    /// The text under which it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Comment => "COMMENT",
            Self::CommitStatus => "COMMIT_STATUS",
            Self::Deployment => "DEPLOYMENT",
            Self::Notification => "NOTIFICATION",
        }
    }

    /// The kind of that text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Comment, Self::CommitStatus, Self::Deployment, Self::Notification]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboxState {
    /// Its newest content is to be sent.
    Waiting,
    /// Its newest content was sent.
    Sent,
    /// It was given up.
    Failed,
}

impl OutboxState {
    /// The text under which it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Sent => "SENT",
            Self::Failed => "FAILED",
        }
    }

    /// The state of that text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Sent, Self::Failed].into_iter().find(|state| state.as_str() == text)
    }
}

/// Something that the outside is to have in its newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is; not [`OutboxKind::Notification`].
    pub kind: OutboxKind,
    /// What it is about; there is one of each kind and subject.
    pub subject: String,
    /// Whose it is.
    pub scope: Scope,
    /// Who is told: the endpoint of its lane, such as `rest:<account>@<host>`; holds no slash.
    pub endpoint: String,
    /// Its content, in JSON.
    pub document: String,
}

/// A notification to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewNotification<'a> {
    pub(crate) target_id: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) scope: &'a Scope,
    pub(crate) endpoint: &'a str,
    pub(crate) document: &'a str,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its id.
    pub id: String,
    /// What is told; `None` for what only a newer version knows.
    pub kind: Option<OutboxKind>,
    /// What it is about.
    pub subject: String,
    /// The account it belongs to.
    pub account: String,
    /// The region it belongs to.
    pub region: String,
    /// The notification target's id.
    pub target_id: Option<String>,
    /// Who is told.
    pub endpoint: String,
    /// Its newest content, in JSON.
    pub document: String,
    /// Counts its contents, from 1.
    pub version: i64,
    /// The version that was sent last; 0 if none was.
    pub sent_version: i64,
    /// What has become of it.
    pub state: OutboxState,
    /// Under which the other side knows it.
    pub remote_id: Option<String>,
    /// Failed tries in a row.
    pub failures: i64,
    /// Why the last try failed, without secrets.
    pub last_error: Option<String>,
    /// When it came, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When its newest content came.
    pub changed_at_ms: i64,
    /// When it was tried last.
    pub tried_at_ms: Option<i64>,
    /// When it is tried next; `None` if it is done, or waits for one before it.
    pub due_at_ms: Option<i64>,
}

impl OutboxItem {
    /// Whether it has been tried for as long as anything is.
    #[must_use]
    pub fn is_exhausted(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.changed_at_ms) >= OUTBOX_PATIENCE_MS
    }
}

/// Why something was not sent, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// For people, without secrets.
    pub reason: String,
    /// When to try again, in milliseconds since the Unix epoch; `None` to give it up.
    pub again_at_ms: Option<i64>,
    /// Under which the other side knows it, where a part of it was done.
    pub remote_id: Option<String>,
}

const COLUMNS: &str = "o.id, o.kind, o.subject, o.account_id, o.region, o.target_id, o.endpoint, o.document, o.version,
    o.sent_version, o.state, o.remote_id, o.failures, o.last_error, o.created_at_ms, o.changed_at_ms, o.tried_at_ms,
    w.due_at_ms";
const TABLES: &str = "outbox o LEFT JOIN work w ON w.id = o.id";

fn from_row(row: &mut Row) -> StoreResult<OutboxItem> {
    Ok(OutboxItem {
        id: row.text()?,
        kind: OutboxKind::from_text(&row.text()?),
        subject: row.text()?,
        account: row.text()?,
        region: row.text()?,
        target_id: row.opt_text()?,
        endpoint: row.text()?,
        document: row.text()?,
        version: row.int()?,
        sent_version: row.int()?,
        state: row.parsed(OutboxState::from_text)?,
        remote_id: row.opt_text()?,
        failures: row.int()?,
        last_error: row.opt_text()?,
        created_at_ms: row.int()?,
        changed_at_ms: row.int()?,
        tried_at_ms: row.opt_int()?,
        due_at_ms: row.opt_int()?,
    })
}

/// One row for each kind and subject. What is wanted already and not given up stays as it is, and then gives no row.
const PUT: &str = "INSERT INTO outbox (id, class, kind, subject, number, account_id, region, endpoint, document, version,
       sent_version, state, failures, created_at_ms, changed_at_ms)
     VALUES ($1, 'WANTED', $2, $3, 1, $4, $5, $6, $7, 1, 0, 'WAITING', 0, $8, $8)
   ON CONFLICT (kind, subject) WHERE class = 'WANTED' DO UPDATE SET
     endpoint = excluded.endpoint, document = excluded.document, version = outbox.version + 1, state = 'WAITING',
     failures = CASE WHEN outbox.state = 'FAILED' THEN 0 ELSE outbox.failures END,
     changed_at_ms = excluded.changed_at_ms, done_at_ms = NULL
   WHERE outbox.document <> excluded.document OR outbox.state = 'FAILED'
  RETURNING id";

/// Has the outside told something, in the transaction that gives rise to it. Newer content takes the place of older, and
/// waits no longer than that.
pub(crate) fn put(tx: &mut Tx<'_>, wanted: &Wanted) -> StoreResult<()> {
    let scope = &wanted.scope;
    let changed = tx.row(
        PUT,
        params![
            chance::uuid().to_string(),
            wanted.kind.as_str(),
            &wanted.subject,
            scope.account.as_str(),
            scope.region.as_str(),
            &wanted.endpoint,
            &wanted.document,
            tx.now_ms()
        ],
    )?;
    let Some(mut changed) = changed else { return Ok(()) };
    let id = changed.text()?;
    // The row is locked, and whoever ends its work locks it, too.
    if tx.count("SELECT count(*) FROM work WHERE id = $1", params![&id])? == 0 {
        return work::insert(tx, Kind::Outbox, &id, true);
    }
    lanes::line_up(tx, Kind::Outbox, &id)?;
    work::wake(tx, &id)
}

/// Names what is told to a target about a subject: whoever adds to it or takes from it holds this lock.
fn line_of(target_id: &str, subject: &str) -> String {
    format!("outbox {target_id} {subject}")
}

/// Has a notification sent after those of its target and subject that wait.
pub(crate) fn notify(tx: &mut Tx<'_>, new: &NewNotification<'_>) -> StoreResult<()> {
    tx.lock(&line_of(new.target_id, new.subject))?;
    let newest = tx.row(
        "SELECT number, state FROM outbox
          WHERE target_id = $1 AND subject = $2 AND class = 'NOTIFICATION' ORDER BY number DESC LIMIT 1",
        params![new.target_id, new.subject],
    )?;
    let (number, waits) = match newest {
        // They end in their order, so that nothing waits where the newest does not.
        Some(mut row) => (row.int()? + 1, row.text()? == OutboxState::Waiting.as_str()),
        None => (1, false),
    };
    let id = chance::uuid().to_string();
    tx.execute(
        "INSERT INTO outbox (id, class, kind, subject, number, target_id, account_id, region, endpoint, document,
             version, sent_version, state, failures, created_at_ms, changed_at_ms)
           VALUES ($1, 'NOTIFICATION', $2, $3, $4, $5, $6, $7, $8, $9, 1, 0, 'WAITING', 0, $10, $10)",
        params![
            &id,
            OutboxKind::Notification.as_str(),
            new.subject,
            number,
            new.target_id,
            new.scope.account.as_str(),
            new.scope.region.as_str(),
            new.endpoint,
            new.document,
            tx.now_ms()
        ],
    )?;
    work::insert(tx, Kind::Outbox, &id, !waits)
}

/// Forgets what was to be told to a target, and what was.
pub(crate) fn forget_target(tx: &Tx<'_>, target_id: &str) -> StoreResult<()> {
    // In the order in which whoever tells something locks it.
    let of_target = "SELECT id FROM outbox WHERE target_id = $1 AND class = 'NOTIFICATION' ORDER BY id";
    tx.lock_rows(&format!("{of_target} FOR UPDATE"), params![target_id])?;
    tx.execute(&format!("DELETE FROM work WHERE id IN ({of_target})"), params![target_id])?;
    tx.execute("DELETE FROM outbox WHERE target_id = $1 AND class = 'NOTIFICATION'", params![target_id])?;
    Ok(())
}

/// Ends the work on a row, and has the next of its line told.
fn finish(tx: &mut Tx<'_>, claim: &Claim, item: &OutboxItem) -> StoreResult<()> {
    tx.execute("DELETE FROM work WHERE id = $1", params![&claim.id])?;
    if let Some(target_id) = &item.target_id {
        let next = tx.row(
            "SELECT id FROM outbox WHERE target_id = $1 AND subject = $2 AND class = 'NOTIFICATION' AND state = 'WAITING'
              ORDER BY number LIMIT 1",
            params![target_id, &item.subject],
        )?;
        if let Some(mut next) = next {
            work::wake(tx, &next.text()?)?;
        }
    }
    // Others may be at it.
    tx.execute(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE done_at_ms <= $1
           ORDER BY done_at_ms LIMIT $2 /*pg FOR UPDATE SKIP LOCKED*/)",
        params![tx.now_ms().saturating_sub(OUTBOX_LIFETIME_MS), SWEPT],
    )?;
    Ok(())
}

/// The claim still stands, and nobody adds to the row's line before this is committed.
fn fence(tx: &Tx<'_>, claim: &Claim, item: &OutboxItem) -> StoreResult<()> {
    if let Some(target_id) = &item.target_id {
        tx.lock(&line_of(target_id, &item.subject))?;
    }
    work::fence(tx, claim)
}

/// No longer than is kept.
fn cut(reason: &str) -> String {
    reason.chars().take(LONGEST_ERROR).collect()
}

impl Store {
    /// Has the outside told something that a claimed piece of work gives rise to, all of it or nothing.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn want(&self, claim: &Claim, wanted: Vec<Wanted>) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.want", move |tx| {
            work::fence(tx, &claim)?;
            wanted.iter().try_for_each(|wanted| put(tx, wanted))
        })
        .await
    }

    /// A row of the outbox; `None` once it is gone.
    ///
    /// # Errors
    /// The database's.
    pub async fn outbox_item(&self, id: &str) -> StoreResult<Option<OutboxItem>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let found = tx.row(&format!("SELECT {COLUMNS} FROM {TABLES} WHERE o.id = $1"), params![&id])?;
            found.map(|mut row| from_row(&mut row)).transpose()
        })
        .await
    }

    /// Records that a row's content, as `item` has it, was sent, and gives the claim back. Newer content is due at once.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_sent(
        &self,
        claim: &Claim,
        item: &OutboxItem,
        remote_id: Option<String>,
    ) -> StoreResult<()> {
        let (claim, item) = (claim.clone(), item.clone());
        self.write("store.record_sent", move |tx| {
            fence(tx, &claim, &item)?;
            let newest = tx.row(
                "UPDATE outbox SET sent_version = $2, remote_id = coalesce($3, remote_id), failures = 0, last_error = NULL,
                     tried_at_ms = $4, state = CASE WHEN version = $2 THEN 'SENT' ELSE state END,
                     done_at_ms = CASE WHEN version = $2 THEN $4 ELSE done_at_ms END
                   WHERE id = $1 RETURNING version",
                params![&claim.id, item.version, remote_id, tx.now_ms()],
            )?;
            match newest.map(|mut row| row.int()).transpose()? {
                Some(newest) if newest != item.version => work::release(tx, &claim, Some(tx.now_ms())),
                _ => finish(tx, &claim, &item),
            }
        })
        .await
    }

    /// Records that a row's content, as `item` has it, could not be sent, and gives the claim back. Newer content that
    /// came meanwhile is not given up, and is due at once.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_unsent(&self, claim: &Claim, item: &OutboxItem, unsent: Unsent) -> StoreResult<()> {
        let (claim, item) = (claim.clone(), item.clone());
        self.write("store.record_unsent", move |tx| {
            fence(tx, &claim, &item)?;
            let gives_up = unsent.again_at_ms.is_none();
            let tried = tx.row(
                "UPDATE outbox SET failures = failures + 1, last_error = $2, tried_at_ms = $3,
                     remote_id = coalesce($4, remote_id),
                     state = CASE WHEN CAST($6 AS BIGINT) = 1 AND version = $5 THEN 'FAILED' ELSE state END,
                     done_at_ms = CASE WHEN CAST($6 AS BIGINT) = 1 AND version = $5 THEN $3 ELSE done_at_ms END
                   WHERE id = $1 RETURNING version",
                params![
                    &claim.id,
                    cut(&unsent.reason),
                    tx.now_ms(),
                    unsent.remote_id,
                    item.version,
                    gives_up
                ],
            )?;
            let is_newest = tried.map(|mut row| row.int()).transpose()?.is_none_or(|newest| newest == item.version);
            if gives_up && is_newest {
                return finish(tx, &claim, &item);
            }
            let again_at_ms = unsent.again_at_ms.unwrap_or_else(|| tx.now_ms());
            work::release(tx, &claim, Some(again_at_ms))
        })
        .await
    }

    /// One page of the scope's outbox, or of what is in one state, what changed last first.
    ///
    /// # Errors
    /// The database's.
    pub async fn outbox(
        &self,
        scope: &Scope,
        state: Option<OutboxState>,
        page: &Page,
    ) -> StoreResult<PageOf<OutboxItem>> {
        let scope = scope.clone();
        let (before_ms, before_id) = match &page.after {
            Some(cursor) => (cursor.created_at_ms, cursor.id.clone()),
            None => (i64::MAX, String::new()),
        };
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
        let items = self
            .read(move |tx| {
                tx.rows(
                    &format!(
                        "SELECT {COLUMNS} FROM {TABLES}
                          WHERE o.account_id = $1 AND o.region = $2 AND (o.changed_at_ms, o.id) < ($3, $4)
                            AND (CAST($5 AS TEXT) IS NULL OR o.state = $5)
                          ORDER BY o.changed_at_ms DESC, o.id DESC LIMIT $6"
                    ),
                    params![
                        scope.account.as_str(),
                        scope.region.as_str(),
                        before_ms,
                        before_id,
                        state.map(OutboxState::as_str),
                        limit
                    ],
                )?
                .iter_mut()
                .map(from_row)
                .collect::<StoreResult<Vec<_>>>()
            })
            .await?;
        Ok(PageOf::cut(items, page, |item| Cursor { created_at_ms: item.changed_at_ms, id: item.id.clone() }))
    }
}
