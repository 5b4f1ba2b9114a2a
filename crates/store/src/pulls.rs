//! Pull requests: what a forge says of them, and which syncs their merges would touch.
//!
//! What is asked of a forge for a link is a piece of work of its own ([`Kind::Pulls`]), which exists for links that have, or
//! had, a sync with comments. Its holder alone writes pull requests, and what is wanted of their previews; how far these
//! have come is written by the holders of the syncs ([`crate::previews`]).

use std::collections::{BTreeMap, BTreeSet};

use syncline_model::preview::Want;
use syncline_seams::chance;

use crate::previews::Sources;
use crate::sql::{Row, Tx, params, to_json};
use crate::work::{self, Claim, Kind};
use crate::{Store, StoreResult, lanes};

/// How long a pull request that ended is kept, in milliseconds.
const LIFETIME_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// What is put before a link's id to name the work of asking for its pull requests.
const PREFIX: &str = "pulls-";

/// The id of the work of asking for a link's pull requests.
fn work_id(link_id: &str) -> String {
    format!("{PREFIX}{link_id}")
}

/// The link's id of such a work.
pub(crate) fn link_of(work_id: &str) -> &str {
    work_id.strip_prefix(PREFIX).unwrap_or(work_id)
}

/// Where a pull request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullRequestState {
    /// It may be merged.
    Open,
    /// It was closed, and may be opened again.
    Closed,
    /// It was merged.
    Merged,
}

impl PullRequestState {
    /// The text under which it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
            Self::Merged => "MERGED",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        [Self::Open, Self::Closed, Self::Merged].into_iter().find(|state| state.as_str() == text)
    }
}

/// A pull request, as the forge says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The forge's number of it.
    pub number: i64,
    /// Where it stands.
    pub state: PullRequestState,
    /// Whether its head is in another repository.
    pub is_fork: bool,
    /// The branch that it is to be merged into.
    pub target_branch: String,
    /// The commit at its head.
    pub head_sha: String,
}

/// One that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPullRequest {
    /// As the forge said last.
    pub pull_request: PullRequest,
    /// The commits and syncs at which it was found what it touches.
    pub looked: Option<String>,
    /// The syncs that it touched at any time.
    pub syncs: Vec<String>,
}

/// A sync that pull requests are to be commented for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentedSync {
    /// Its id.
    pub id: String,
    /// The branch it follows.
    pub branch: String,
    /// The deployment file's path.
    pub config_file: String,
    /// Its generation.
    pub generation: i64,
}

/// What is recorded of a link's pull requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullsRecord {
    /// The link's id.
    pub link_id: String,
    /// The live syncs with comments.
    pub syncs: Vec<CommentedSync>,
    /// The open pull requests, by their numbers.
    pub open: BTreeMap<i64, KnownPullRequest>,
    /// The recorded head of each branch that has one, and its count.
    pub heads: BTreeMap<String, (String, i64)>,
    /// Whether the link is there.
    pub has_link: bool,
}

/// What is wanted of a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPreview {
    /// The sync's id.
    pub sync_id: String,
    /// What the comment is to tell.
    pub want: Want,
    /// What the files would be; of [`Want::Changes`].
    pub inputs: String,
    /// Where they are read.
    pub sources: Sources,
}

/// What was found of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPullRequest {
    /// As the forge says it is.
    pub pull_request: PullRequest,
    /// The commits and syncs at which this was found.
    pub looked: Option<String>,
    /// What is wanted of its previews; those of other syncs are to tell that they are previewed no more.
    pub previews: Vec<WantedPreview>,
    /// After a merge: the first of the branch's heads that holds it.
    pub merged_seq: Option<i64>,
}

fn has_comments(tx: &Tx<'_>, link_id: &str) -> StoreResult<bool> {
    let sql = "SELECT 1 FROM sync_configuration WHERE link_id = $1 AND deleted = 0 AND pull_request_comment = 'ENABLED'
                LIMIT 1";
    Ok(tx.row(sql, params![link_id])?.is_some())
}

/// The endpoint of a link's forge, as its lanes name it; `None` if the link is gone.
pub(crate) fn endpoint(tx: &Tx<'_>, link_id: &str) -> StoreResult<Option<String>> {
    Ok(lanes::lane_of(tx, Kind::Pulls, &work_id(link_id))?.map(|lane| lane.endpoint))
}

/// Has the forge asked for a link's pull requests, now. Whether there is a sync with comments, or was.
pub(crate) fn wake(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<bool> {
    let id = work_id(link_id);
    if tx.count("SELECT count(*) FROM work WHERE id = $1", params![&id])? > 0 {
        work::wake(tx, &id)?;
        return Ok(true);
    }
    if !has_comments(tx, link_id)? {
        return Ok(false);
    }
    work::insert(tx, Kind::Pulls, &id, true)?;
    Ok(true)
}

/// Has the forge asked for a link's pull requests anew, because it is another, or at another place: whoever asks the one before
/// records nothing.
pub(crate) fn interrupt(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<()> {
    work::interrupt(tx, Kind::Pulls, &work_id(link_id))
}

/// Forgets the pull requests of a link that is deleted.
pub(crate) fn forget(tx: &Tx<'_>, link_id: &str) -> StoreResult<()> {
    tx.execute(
        "DELETE FROM preview WHERE pull_request_id IN (SELECT id FROM pull_request WHERE link_id = $1) AND phase = 'IDLE'",
        params![link_id],
    )?;
    // What is left has a change set that its sync is to delete first, and goes with it.
    forget_unlinked(tx, link_id)?;
    tx.execute("DELETE FROM work WHERE id = $1", params![work_id(link_id)])?;
    Ok(())
}

/// Forgets those pull requests of a link that is deleted, or is being deleted, that have no previews any more.
pub(crate) fn forget_unlinked(tx: &Tx<'_>, link_id: &str) -> StoreResult<()> {
    tx.execute(
        "DELETE FROM pull_request WHERE link_id = $1
            AND NOT EXISTS (SELECT 1 FROM preview v WHERE v.pull_request_id = pull_request.id)",
        params![link_id],
    )?;
    Ok(())
}

fn known(row: &mut Row) -> StoreResult<(String, KnownPullRequest)> {
    let id = row.text()?;
    let pull_request = PullRequest {
        number: row.int()?,
        state: row.parsed(PullRequestState::from_text)?,
        is_fork: row.bool()?,
        target_branch: row.text()?,
        head_sha: row.text()?,
    };
    Ok((id, KnownPullRequest { pull_request, looked: row.opt_text()?, syncs: Vec::new() }))
}

const COLUMNS: &str = "id, number, state, is_fork, target_branch, head_sha, looked";

/// Writes the row of a pull request; its id.
fn upsert(tx: &Tx<'_>, link_id: &str, found: &FoundPullRequest) -> StoreResult<String> {
    let pull_request = &found.pull_request;
    let row = tx.row(
        "INSERT INTO pull_request (id, link_id, number, state, is_fork, source_branch, target_branch, head_sha, looked,
             changed_at_ms)
           VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8, $9)
         ON CONFLICT (link_id, number) DO UPDATE SET state = excluded.state, is_fork = excluded.is_fork,
           target_branch = excluded.target_branch, head_sha = excluded.head_sha,
           looked = excluded.looked, changed_at_ms = excluded.changed_at_ms
         RETURNING id",
        params![
            chance::uuid().to_string(),
            link_id,
            pull_request.number,
            pull_request.state.as_str(),
            pull_request.is_fork,
            &pull_request.target_branch,
            &pull_request.head_sha,
            found.looked.as_deref(),
            tx.now_ms()
        ],
    )?;
    row.ok_or_else(|| crate::StoreError::Corrupt("a pull request that was written is not there".into()))?
        .text()
}

/// Locks the syncs of the pull request's previews, those that it has and those that it is to have, before these and their work,
/// as whoever works on a sync does. Each by its id: nothing else of it is told quickly.
fn lock_syncs(tx: &Tx<'_>, link_id: &str, found: &FoundPullRequest) -> StoreResult<()> {
    let known = tx.rows(
        "SELECT v.sync_id FROM preview v JOIN pull_request r ON r.id = v.pull_request_id
          WHERE r.link_id = $1 AND r.number = $2",
        params![link_id, found.pull_request.number],
    )?;
    let known = known.into_iter().map(|mut row| row.text()).collect::<StoreResult<Vec<_>>>()?;
    let wanted = found.previews.iter().map(|wanted| wanted.sync_id.clone());
    let syncs: BTreeSet<String> = known.into_iter().chain(wanted).collect();
    syncs.iter().try_for_each(|sync_id| {
        tx.lock_rows("SELECT id FROM sync_configuration WHERE id = $1 FOR UPDATE", params![sync_id])
    })
}

/// Has a preview be what is wanted of it. Whether that is new.
fn want(tx: &Tx<'_>, id: &str, found: &FoundPullRequest, wanted: &WantedPreview) -> StoreResult<bool> {
    let (head, now_ms) = (&found.pull_request.head_sha, tx.now_ms());
    let sources = to_json(&wanted.sources)?;
    let changed = tx.execute(
        "UPDATE preview SET live = 1, want = $3, wanted_seq = wanted_seq + 1, head_sha = $4, merged_seq = $5, due_at_ms = 0,
             inputs = CASE WHEN $3 = 'CHANGES' THEN $6 ELSE inputs END,
             sources = CASE WHEN $3 = 'CHANGES' THEN $7 ELSE sources END, failures = 0
           WHERE pull_request_id = $1 AND sync_id = $2 AND (want <> $3 OR ($3 = 'CHANGES' AND inputs <> $6))",
        params![
            id,
            &wanted.sync_id,
            wanted.want.as_str(),
            head,
            found.merged_seq,
            &wanted.inputs,
            &sources
        ],
    )?;
    // Nobody is told of what was never there.
    if changed > 0 || wanted.want != Want::Changes {
        return Ok(changed > 0);
    }
    // The same files, of other commits: those before may be gone when they are read next.
    let is_there = tx.execute(
        "UPDATE preview SET head_sha = $3, sources = $4 WHERE pull_request_id = $1 AND sync_id = $2",
        params![id, &wanted.sync_id, head, &sources],
    )?;
    if is_there > 0 {
        return Ok(false);
    }
    let made = tx.execute(
        "INSERT INTO preview (id, pull_request_id, sync_id, live, want, wanted_seq, done_seq, head_sha, inputs, sources,
             phase, phase_since_ms, plan_number, planned_seq, failures, due_at_ms, created_at_ms)
           VALUES ($1, $2, $3, 1, $4, 1, 0, $5, $6, $7, 'IDLE', $8, 0, 0, 0, 0, $8)
         ON CONFLICT (pull_request_id, sync_id) DO NOTHING",
        params![
            format!("preview-{}", chance::uuid()),
            id,
            &wanted.sync_id,
            wanted.want.as_str(),
            head,
            &wanted.inputs,
            &sources,
            now_ms
        ],
    )?;
    Ok(made > 0)
}

impl Store {
    /// What is recorded of the pull requests of the link that a claim is about.
    ///
    /// # Errors
    /// The database's.
    pub async fn pulls_record(&self, claim: &Claim) -> StoreResult<PullsRecord> {
        let link_id = link_of(&claim.id).to_owned();
        self.read(move |tx| {
            let link = [crate::sql::Value::from(&link_id)];
            let has_link = tx.row("SELECT 1 FROM repository_link WHERE id = $1", &link)?.is_some();
            let syncs = tx.rows(
                "SELECT id, branch, config_file, generation FROM sync_configuration
                  WHERE link_id = $1 AND deleted = 0 AND pull_request_comment = 'ENABLED' ORDER BY id",
                &link,
            )?;
            let syncs = syncs.into_iter().map(|mut row| {
                Ok(CommentedSync {
                    id: row.text()?,
                    branch: row.text()?,
                    config_file: row.text()?,
                    generation: row.int()?,
                })
            });
            let syncs = syncs.collect::<StoreResult<Vec<_>>>()?;
            let mut open = BTreeMap::new();
            let found = tx.rows(
                &format!(
                    "SELECT {COLUMNS} FROM pull_request WHERE link_id = $1 AND state = 'OPEN' ORDER BY number"
                ),
                &link,
            )?;
            for mut row in found {
                let (id, mut pull_request) = known(&mut row)?;
                let touched = tx.rows(
                    "SELECT sync_id FROM preview WHERE pull_request_id = $1 AND live = 1",
                    params![&id],
                )?;
                pull_request.syncs =
                    touched.into_iter().map(|mut row| row.text()).collect::<StoreResult<Vec<_>>>()?;
                open.insert(pull_request.pull_request.number, pull_request);
            }
            let mut heads = BTreeMap::new();
            let branches =
                "SELECT name, head_sha, head_seq FROM branch WHERE link_id = $1 AND head_sha IS NOT NULL";
            for mut row in tx.rows(branches, &link)? {
                heads.insert(row.text()?, (row.text()?, row.int()?));
            }
            Ok(PullsRecord { link_id, syncs, open, heads, has_link })
        })
        .await
    }

    /// Records what was found of a pull request, and has the syncs worked on of whose previews something else is wanted.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_pull_request(&self, claim: &Claim, found: FoundPullRequest) -> StoreResult<()> {
        let claim = claim.clone();
        self.write("store.record_pull_request", move |tx| {
            work::fence(tx, &claim)?;
            let link_id = link_of(&claim.id);
            lock_syncs(tx, link_id, &found)?;
            let id = upsert(tx, link_id, &found)?;
            let mut changed = Vec::new();
            for wanted in &found.previews {
                if want(tx, &id, &found, wanted)? {
                    changed.push(wanted.sync_id.clone());
                }
            }
            let others =
                tx.rows("SELECT sync_id FROM preview WHERE pull_request_id = $1 AND live = 1", params![&id])?;
            for mut other in others {
                let sync_id = other.text()?;
                if found.previews.iter().any(|wanted| wanted.sync_id == sync_id) {
                    continue;
                }
                let off = WantedPreview {
                    sync_id,
                    want: Want::Off,
                    inputs: String::new(),
                    sources: Sources::default(),
                };
                if want(tx, &id, &found, &off)? {
                    changed.push(off.sync_id);
                }
            }
            changed.sort();
            for sync_id in changed {
                work::wake(tx, &sync_id)?;
            }
            let old = "SELECT r.id FROM pull_request r WHERE r.link_id = $1 AND r.state <> 'OPEN' AND r.changed_at_ms < $2
                 AND NOT EXISTS (SELECT 1 FROM preview v WHERE v.pull_request_id = r.id AND v.live = 1)";
            let params = params![link_id, tx.now_ms() - LIFETIME_MS];
            tx.execute(&format!("DELETE FROM preview WHERE pull_request_id IN ({old})"), params)?;
            tx.execute(&format!("DELETE FROM pull_request WHERE id IN ({old})"), params)?;
            Ok(())
        })
        .await
    }
}
