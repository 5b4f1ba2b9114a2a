//! Previews: what the merge of a pull request would do to a sync's stack, and how far finding it out has come.
//!
//! **Architecture Invariant:** only the holder of the sync's claim writes how far a preview has come, and has its comment
//! written: in the same transaction, as a wanted thing of the outbox.

use serde::{Deserialize, Serialize};
use syncline_model::preview::comment::without_marker;
use syncline_model::preview::{Phase, Recorded, Want};
use syncline_model::sync::{AttemptStatus, EventKind, Revision};

use crate::outbox::{OutboxKind, Wanted};
use crate::page::{Cursor, Page, PageOf};
use crate::pulls::PullRequestState;
use crate::sql::{Row, Tx, params, to_json};
use crate::work::{self, Claim};
use crate::{Scope, Store, StoreError, StoreResult, events, outbox, pulls};

/// Where the files of a preview are read: as the merge would have them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The deployment file's path.
    pub config_file: String,
    /// The commit that it is read at.
    pub config_commit: String,
    /// The commit that the template is read at.
    pub template_commit: String,
    /// Files that were changed on both sides.
    pub both_changed: Vec<String>,
}

/// A preview that is not finished, and what must be known to decide its next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Its id: its change sets are named after it.
    pub id: String,
    /// The repository link's id.
    pub link_id: String,
    /// The forge's number of the pull request.
    pub pull_request: i64,
    /// The commit at its head.
    pub head_sha: String,
    /// Where its files are read.
    pub sources: Sources,
    /// The current role of the sync.
    pub sync_role_arn: String,
    /// Since when its phase is what it is, in milliseconds since the Unix epoch.
    pub phase_since_ms: i64,
    /// Counts its change sets.
    pub plan_number: i64,
    /// The stack and role of the current change set.
    pub planned_with: Option<(String, String)>,
    /// The current change set's ARN, once it was seen.
    pub change_set_arn: Option<String>,
    /// The newest comment.
    pub comment: Option<String>,
    /// Failed outside calls in a row.
    pub failures: i64,
    /// Nothing is done before this, in milliseconds since the Unix epoch.
    pub due_at_ms: i64,
    /// The change set that the sync had executed last when the comment was made.
    pub made_on: Option<String>,
    /// Whether the sync still follows the branch that the pull request is to be merged into.
    pub is_followed: bool,
    /// What decisions are made from.
    pub recorded: Recorded,
}

impl Preview {
    /// The name of the current change set, and its token.
    #[must_use]
    pub fn change_set_name(&self) -> String {
        format!("{}-{}", self.id, self.plan_number)
    }
}

/// What a step of a preview changes; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct PreviewProgress {
    /// The new phase.
    pub phase: Option<Phase>,
    /// Something is wanted that pull requests do not tell of: this, from now on.
    pub wants: Option<Want>,
    /// A change set is asked for, for what is wanted: of which stack, by which role. Counts the plan number up.
    pub planned: Option<(String, String)>,
    /// The change set's ARN.
    pub change_set_arn: Option<String>,
    /// What is told.
    pub told: Option<Told>,
    /// Failed outside calls in a row.
    pub failures: Option<i64>,
    /// Nothing is done before this, in milliseconds since the Unix epoch.
    pub due_at_ms: Option<i64>,
}

/// What is told of a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The comment; `None` if it is as it was, or there is none.
    pub comment: Option<String>,
    /// All that there is to tell, where the comment leaves something out.
    pub whole: Option<String>,
    /// That it is what is wanted; `None` if it is only a word in between.
    pub done: Option<Done>,
}

/// What is wanted of a preview is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The change set that the sync had executed last.
    pub made_on: Option<String>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestAttempt {
    /// How far it has come.
    pub status: AttemptStatus,
    /// Its commit.
    pub commit: String,
    /// What its last event is about, that it failed aside.
    pub why: Option<EventKind>,
}

const COLUMNS: &str = "v.id, r.link_id, r.number, v.head_sha, v.sources, s.role_arn, v.phase_since_ms, v.plan_number,
    v.stack, v.role_arn, v.change_set_arn, v.comment, v.failures, v.due_at_ms, v.made_on, v.want, v.wanted_seq, v.done_seq,
    v.planned_seq, v.phase,
    CASE WHEN s.considered_generation = s.generation AND s.considered_seq >= coalesce(v.merged_seq, 0) THEN 1 ELSE 0 END,
    CASE WHEN s.link_id = r.link_id AND s.branch = r.target_branch THEN 1 ELSE 0 END";

fn from_row(row: &mut Row) -> StoreResult<Preview> {
    let (id, link_id, pull_request) = (row.text()?, row.text()?, row.int()?);
    let (head_sha, sources, sync_role_arn) = (row.text()?, row.json()?, row.text()?);
    let (phase_since_ms, plan_number) = (row.int()?, row.int()?);
    let planned_with = row.opt_text()?.zip(row.opt_text()?);
    let (change_set_arn, comment) = (row.opt_text()?, row.opt_text()?);
    let (failures, due_at_ms, made_on) = (row.int()?, row.int()?, row.opt_text()?);
    let recorded = Recorded {
        want: row.parsed(Want::from_text)?,
        wanted: row.int()?,
        done: row.int()?,
        planned: row.int()?,
        phase: row.parsed(Phase::from_text)?,
        change_set_seen: change_set_arn.is_some(),
        merge_considered: row.bool()?,
        suspended: false,
    };
    Ok(Preview {
        id,
        link_id,
        pull_request,
        head_sha,
        sources,
        sync_role_arn,
        phase_since_ms,
        plan_number,
        planned_with,
        change_set_arn,
        comment,
        failures,
        due_at_ms,
        made_on,
        is_followed: row.bool()?,
        recorded,
    })
}

/// The link of a preview that is gone.
const UNLINKED: &str =
    "SELECT DISTINCT r.link_id FROM preview v JOIN pull_request r ON r.id = v.pull_request_id
   WHERE NOT EXISTS (SELECT 1 FROM repository_link l WHERE l.id = r.link_id) AND ";

/// Forgets the previews of a sync that is forgotten. Those that were told of a link that it followed before go with their pull
/// requests: there is an index of what is not finished, and of what a pull request has.
pub(crate) fn forget(tx: &Tx<'_>, sync_id: &str) -> StoreResult<()> {
    let unlinked = tx.rows(&format!("{UNLINKED} v.sync_id = $1 AND v.live = 1"), params![sync_id])?;
    tx.execute("DELETE FROM preview WHERE sync_id = $1 AND live = 1", params![sync_id])?;
    tx.execute(
        "DELETE FROM preview WHERE sync_id = $1 AND pull_request_id IN (SELECT r.id FROM pull_request r
             JOIN sync_configuration s ON s.link_id = r.link_id WHERE s.id = $1)",
        params![sync_id],
    )?;
    for mut link in unlinked {
        pulls::forget_unlinked(tx, &link.text()?)?;
    }
    Ok(())
}

impl Store {
    /// The previews of a sync that are not finished, by the numbers of their pull requests.
    ///
    /// # Errors
    /// The database's.
    pub async fn previews(&self, sync_id: &str) -> StoreResult<Vec<Preview>> {
        let sync_id = sync_id.to_owned();
        self.read(move |tx| {
            let sql = format!(
                "SELECT {COLUMNS} FROM preview v JOIN pull_request r ON r.id = v.pull_request_id
                   JOIN sync_configuration s ON s.id = v.sync_id
                  WHERE v.sync_id = $1 AND v.live = 1 ORDER BY r.number, v.id"
            );
            tx.rows(&sql, params![&sync_id])?.iter_mut().map(from_row).collect()
        })
        .await
    }

    /// Records how far a preview has come, under the claim of its sync. False, and nothing is recorded, if something else is
    /// wanted now than `preview` says: whoever asks for pull requests writes it meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost, or the preview is gone.
    pub async fn record_preview(
        &self,
        point: &'static str,
        claim: &Claim,
        preview: &Preview,
        progress: PreviewProgress,
    ) -> StoreResult<bool> {
        let (claim, id, wanted) = (claim.clone(), preview.id.clone(), preview.recorded.wanted);
        self.write(point, move |tx| {
            work::fence(tx, &claim)?;
            let now_ms = tx.now_ms();
            let PreviewProgress { phase, wants, planned, change_set_arn, told, failures, due_at_ms } = progress;
            let is_planned = planned.is_some();
            let (stack, role_arn) = planned.unzip();
            let changed = tx.execute(
                "UPDATE preview SET
                     phase = coalesce($3, phase), phase_since_ms = CASE WHEN $3 IS NULL THEN phase_since_ms ELSE $4 END,
                     plan_number = plan_number + $5, planned_seq = CASE WHEN $5 = 1 THEN wanted_seq ELSE planned_seq END,
                     want = coalesce($6, want), wanted_seq = CASE WHEN $6 IS NULL THEN wanted_seq ELSE wanted_seq + 1 END,
                     stack = coalesce($7, stack), role_arn = coalesce($8, role_arn),
                     change_set_arn = CASE WHEN $5 = 1 THEN NULL ELSE coalesce($9, change_set_arn) END,
                     failures = coalesce($10, failures), due_at_ms = coalesce($11, due_at_ms)
                   WHERE id = $1 AND sync_id = $2 AND wanted_seq = $12",
                params![
                    &id,
                    &claim.id,
                    phase.map(Phase::as_str),
                    now_ms,
                    i64::from(is_planned),
                    wants.map(Want::as_str),
                    stack,
                    role_arn,
                    change_set_arn,
                    failures,
                    due_at_ms,
                    wanted
                ],
            )?;
            if changed == 0 {
                let is_there = "SELECT count(*) FROM preview WHERE id = $1 AND sync_id = $2";
                return match tx.count(is_there, params![&id, &claim.id])? {
                    0 => Err(StoreError::Stale(format!("preview {id}"))),
                    _ => Ok(false),
                };
            }
            if let Some(told) = told {
                tell(tx, &id, &told)?;
            }
            Ok(true)
        })
        .await
    }

    /// What the newest attempt of a sync came to.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest_attempt(&self, sync_id: &str) -> StoreResult<Option<NewestAttempt>> {
        let sync_id = sync_id.to_owned();
        self.read(move |tx| {
            let sql = "SELECT status, target_revision, events FROM attempt WHERE sync_id = $1 ORDER BY number DESC LIMIT 1";
            let Some(mut row) = tx.row(sql, params![&sync_id])? else { return Ok(None) };
            let status = row.parsed(AttemptStatus::from_text)?;
            let revision: Revision = row.json()?;
            let events = events::read(&row.text()?)?;
            let why = events.iter().rev().map(|event| event.kind).find(|kind| *kind != EventKind::Failed);
            Ok(Some(NewestAttempt { status, commit: revision.sha, why }))
        })
        .await
    }

    /// Whether a claimed piece of work was woken since it was claimed.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_woken(&self, claim: &Claim) -> StoreResult<bool> {
        let claim = claim.clone();
        self.read(move |tx| {
            let sql = "SELECT count(*) FROM work WHERE id = $1 AND wake_seq <> $2";
            Ok(tx.count(sql, params![&claim.id, claim.wake_seq()])? > 0)
        })
        .await
    }
}

/// A preview as it is shown to people, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewSummary {
    /// Its id.
    pub id: String,
    /// When it was made, in milliseconds since the Unix epoch; 0 if a version made it that did not note that.
    pub created_at_ms: i64,
    /// The sync's name.
    pub sync: String,
    /// The repository link's id.
    pub link_id: String,
    /// `<owner>/<name>` of the repository; `None` if its link is gone.
    pub repository: Option<String>,
    /// The forge's number of the pull request.
    pub pull_request: i64,
    /// Where the pull request stands.
    pub state: PullRequestState,
    /// The branch that it is to be merged into.
    pub target_branch: String,
    /// The commit at its head.
    pub head_sha: String,
    /// What is wanted is told.
    pub is_current: bool,
    /// Nothing more is to be told of it.
    pub is_ended: bool,
    /// When something was told last, in milliseconds since the Unix epoch.
    pub told_at_ms: Option<i64>,
}

/// Which previews a listing asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviewFilter {
    /// Of the sync of this name.
    pub sync: Option<String>,
    /// Of the pull requests of this number.
    pub pull_request: Option<i64>,
}

const SUMMARY: &str = "v.id, v.created_at_ms, s.resource_name, r.link_id, l.owner_id, l.repository_name, r.number, r.state,
    r.target_branch, v.head_sha, CASE WHEN v.done_seq >= v.wanted_seq THEN 1 ELSE 0 END, v.live, v.told_at_ms";

const OF_SCOPE: &str = "FROM preview v JOIN pull_request r ON r.id = v.pull_request_id JOIN sync_configuration s ON s.id = v.sync_id
   LEFT JOIN repository_link l ON l.id = r.link_id
  WHERE s.account_id = $1 AND s.region = $2";

fn summary(row: &mut Row) -> StoreResult<PreviewSummary> {
    let (id, created_at_ms, sync, link_id) = (row.text()?, row.int()?, row.text()?, row.text()?);
    let repository = row.opt_text()?.zip(row.opt_text()?).map(|(owner, name)| format!("{owner}/{name}"));
    Ok(PreviewSummary {
        id,
        created_at_ms,
        sync,
        link_id,
        repository,
        pull_request: row.int()?,
        state: row.parsed(PullRequestState::from_text)?,
        target_branch: row.text()?,
        head_sha: row.text()?,
        is_current: row.bool()?,
        is_ended: !row.bool()?,
        told_at_ms: row.opt_int()?,
    })
}

impl Store {
    /// One page of the scope's previews, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn preview_summaries(
        &self,
        scope: &Scope,
        filter: PreviewFilter,
        page: &Page,
    ) -> StoreResult<PageOf<PreviewSummary>> {
        let scope = scope.clone();
        let (before_ms, before_id) = match &page.after {
            Some(cursor) => (cursor.created_at_ms, cursor.id.clone()),
            None => (i64::MAX, String::new()),
        };
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
        let found = self.read(move |tx| {
            tx.rows(
                &format!(
                    "SELECT {SUMMARY} {OF_SCOPE} AND (v.created_at_ms, v.id) < ($3, $4)
                        AND (CAST($5 AS TEXT) IS NULL OR s.resource_name = $5)
                        AND (CAST($6 AS BIGINT) IS NULL OR r.number = $6)
                      ORDER BY v.created_at_ms DESC, v.id DESC LIMIT $7"
                ),
                params![
                    scope.account.as_str(),
                    scope.region.as_str(),
                    before_ms,
                    before_id,
                    filter.sync,
                    filter.pull_request,
                    limit
                ],
            )?
            .iter_mut()
            .map(summary)
            .collect::<StoreResult<Vec<_>>>()
        });
        Ok(PageOf::cut(found.await?, page, |preview| Cursor {
            created_at_ms: preview.created_at_ms,
            id: preview.id.clone(),
        }))
    }

    /// A preview of the scope with its whole text, as far as something was told of it.
    ///
    /// # Errors
    /// The database's.
    pub async fn preview_summary(
        &self,
        scope: &Scope,
        id: &str,
    ) -> StoreResult<Option<(PreviewSummary, Option<String>)>> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read(move |tx| {
            let sql = format!("SELECT {SUMMARY}, v.comment, v.whole {OF_SCOPE} AND v.id = $3");
            let found = tx.row(&sql, params![scope.account.as_str(), scope.region.as_str(), id])?;
            let Some(mut row) = found else { return Ok(None) };
            let preview = summary(&mut row)?;
            let (comment, whole) = (row.opt_text()?, row.opt_text()?);
            let comment = comment.map(|comment| without_marker(&comment).to_owned());
            Ok(Some((preview, whole.or(comment))))
        })
        .await
    }
}

/// What a comment of the outbox says, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentDocument {
    /// The repository link's id.
    pub link_id: String,
    /// The forge's number of the pull request.
    pub pull_request: i64,
    /// The preview's id, of which its hidden marker is made.
    pub preview_id: String,
    /// What it says; the marker is in it.
    pub body: String,
}

/// Has the outbox write the comment of a preview, if its link is still there.
fn put_comment(tx: &mut Tx<'_>, id: &str, body: &str) -> StoreResult<()> {
    let found = tx.row(
        "SELECT r.link_id, r.number, v.sync_id, l.account_id, l.region FROM preview v
           JOIN pull_request r ON r.id = v.pull_request_id JOIN repository_link l ON l.id = r.link_id WHERE v.id = $1",
        params![id],
    )?;
    let Some(mut row) = found else { return Ok(()) };
    let document = CommentDocument {
        link_id: row.text()?,
        pull_request: row.int()?,
        preview_id: id.to_owned(),
        body: body.to_owned(),
    };
    let sync_id = row.text()?;
    let scope = Scope {
        account: row.text()?.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?,
        region: row.text()?.parse().map_err(|error| StoreError::Corrupt(format!("{error}")))?,
    };
    let Some(endpoint) = pulls::endpoint(tx, &document.link_id)? else { return Ok(()) };
    let subject = format!("{} {} {sync_id}", document.link_id, document.pull_request);
    let wanted =
        Wanted { kind: OutboxKind::Comment, subject, scope, endpoint, document: to_json(&document)? };
    outbox::put(tx, &wanted)
}

/// Writes what is told, and that it is. The end of a preview is told once.
fn tell(tx: &mut Tx<'_>, id: &str, told: &Told) -> StoreResult<()> {
    if let Some(comment) = &told.comment {
        put_comment(tx, id, comment)?;
        tx.execute(
            "UPDATE preview SET comment = $2, whole = $3, told_at_ms = $4 WHERE id = $1",
            params![id, comment, told.whole.as_deref(), tx.now_ms()],
        )?;
    }
    if let Some(done) = &told.done {
        tx.execute(
            "UPDATE preview SET done_seq = wanted_seq, made_on = $2, failures = 0, due_at_ms = 0,
                 live = CASE WHEN want <> 'CHANGES' AND phase = 'IDLE' THEN 0 ELSE 1 END
               WHERE id = $1",
            params![id, done.made_on.as_deref()],
        )?;
        // Nobody looks at it again where its link is gone.
        if let Some(mut link) = tx.row(&format!("{UNLINKED} v.id = $1 AND v.live = 0"), params![id])? {
            tx.execute("DELETE FROM preview WHERE id = $1", params![id])?;
            pulls::forget_unlinked(tx, &link.text()?)?;
        }
    }
    Ok(())
}
