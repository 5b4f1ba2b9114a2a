//! Branches: their heads, the attempts to read them, and which syncs a commit concerns.

use std::collections::{BTreeMap, BTreeSet};

use syncline_model::sync::{BlockerKind, EventKind, Release, RepositoryAttemptStatus, Revision, SyncEvent};
use syncline_seams::chance;

use crate::blockers::{self, NewBlocker};
use crate::events::{self, Of};
use crate::notifications::{self, anybody_listens};
use crate::paths::{self, Indexed, SyncFile};
use crate::sql::{Row, Tx, params, to_json};
use crate::work::{self, Claim, Kind};
use crate::{Store, StoreResult};

/// One branch, as the worker needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRecord {
    /// Its id.
    pub id: String,
    /// The link's id.
    pub link_id: String,
    /// Its name.
    pub name: String,
    /// The newest observed head, unless it is gone.
    pub head_sha: Option<String>,
    /// Counts the observed heads.
    pub head_seq: i64,
    /// Failed tries of reading the head, in a row.
    pub failures: i64,
    /// The live sync configurations that have to consider this head whatever it changes.
    pub syncs: Vec<BranchSync>,
    /// The commits at which the files of syncs are known that have not considered this head, whether they are among
    /// `syncs` or have to consider it only if their files changed ([`Store::touched_syncs`]).
    pub bases: Vec<String>,
}

impl BranchRecord {
    /// Whether every sync has considered the head.
    #[must_use]
    pub fn is_considered(&self) -> bool {
        self.syncs.is_empty() && self.bases.is_empty()
    }
}

/// A sync configuration that has to consider a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchSync {
    /// Its id.
    pub id: String,
    /// The resource's name.
    pub resource_name: String,
    /// Its generation, as read.
    pub generation: i64,
    /// The generation that was considered last.
    pub considered_generation: i64,
    /// The deployment file's path.
    pub config_file: String,
    /// Only a change of its files triggers it.
    pub only_file_changes: bool,
    /// What the files were at the newest revision that it wanted: that of the newest attempt, or of the one
    /// that is about to be made.
    pub newest_inputs: Option<String>,
    /// Its files at the commit that it considered last, if that is known and nothing but commits happened since.
    pub indexed: Option<Indexed>,
}

/// What a sync makes of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consideration {
    /// The sync's id.
    pub sync_id: String,
    /// Its generation, as it was read.
    pub generation: i64,
    /// The revision it wants, with what its files are; `None` if nothing of it changed.
    pub desired: Option<(Revision, String)>,
    /// Its files at the head; `None` if they are as the path index has them.
    pub files: Option<Vec<SyncFile>>,
}

/// What a head means for the syncs of its branch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Considered {
    /// What each sync makes of it that was looked at.
    pub syncs: Vec<Consideration>,
    /// Commits whose difference from the head is known. The syncs whose files are known at one of these, which want
    /// only changes of them and are not among `syncs`, are passed over: the head does not concern them.
    pub untouched: Vec<String>,
}

impl From<Vec<Consideration>> for Considered {
    fn from(syncs: Vec<Consideration>) -> Self {
        Self { syncs, untouched: Vec::new() }
    }
}

/// What a listing of heads changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadsRecorded {
    /// Branches whose head is new.
    pub new_heads: usize,
    /// Branches that are not there.
    pub missing: usize,
}

struct BranchRow {
    id: String,
    name: String,
    head_sha: Option<String>,
}

fn event(tx: &Tx<'_>, kind: EventKind, text: impl Into<String>, external_id: Option<&str>) -> SyncEvent {
    SyncEvent { time_ms: tx.now_ms(), kind, text: text.into(), external_id: external_id.map(str::to_owned) }
}

struct Newest {
    id: String,
    status: RepositoryAttemptStatus,
    sha: Option<String>,
}

fn newest_attempt(tx: &Tx<'_>, branch_id: &str) -> StoreResult<Option<Newest>> {
    tx.row(
        "SELECT id, status, sha FROM repository_attempt WHERE branch_id = $1 ORDER BY number DESC LIMIT 1",
        params![branch_id],
    )?
    .map(|mut row| {
        Ok(Newest {
            id: row.text()?,
            status: row.parsed(RepositoryAttemptStatus::from_text)?,
            sha: row.opt_text()?,
        })
    })
    .transpose()
}

/// Makes an attempt and tells who listens. That it is `instead_of` a newest one of that status, which was given up, nobody
/// was told.
fn insert_attempt(
    tx: &mut Tx<'_>,
    branch_id: &str,
    sha: Option<&str>,
    status: RepositoryAttemptStatus,
    instead_of: Option<RepositoryAttemptStatus>,
) -> StoreResult<String> {
    let id = chance::uuid().to_string();
    let inserted = tx.row(
        concat!(
            "INSERT INTO repository_attempt (id, branch_id, number, sha, status, started_at_ms)
               VALUES ($1, $2, (SELECT coalesce(max(number), 0) + 1 FROM repository_attempt WHERE branch_id = $2),
                       $3, $4, $5) RETURNING number, ",
            anybody_listens!()
        ),
        params![&id, branch_id, sha, status.as_str(), tx.now_ms()],
    )?;
    let (number, is_told) = inserted
        .map_or(Ok((0, false)), |mut row| Ok::<_, crate::StoreError>((row.int()?, row.int()? == 1)))?;
    if is_told {
        let newest = "SELECT status FROM repository_attempt WHERE branch_id = $1 AND number < $2 ORDER BY number DESC LIMIT 1";
        let newest = tx.row(newest, params![branch_id, number])?;
        let newest = newest.map(|mut row| row.parsed(RepositoryAttemptStatus::from_text)).transpose()?;
        let before = instead_of.or(newest);
        if before != Some(status) {
            notifications::repository_changed(tx, branch_id, sha, status, before)?;
        }
    }
    Ok(id)
}

fn add_event(tx: &Tx<'_>, attempt_id: &str, event: SyncEvent) -> StoreResult<()> {
    events::append(tx, Of::Repository, attempt_id, vec![event])
}

/// The newest events of an attempt, as stored.
fn document(tx: &Tx<'_>, attempt_id: &str) -> StoreResult<String> {
    let found = tx.row("SELECT events FROM repository_attempt WHERE id = $1", params![attempt_id])?;
    found.ok_or_else(|| crate::StoreError::Corrupt(format!("attempt {attempt_id} vanished")))?.text()
}

/// Sets the status of an attempt that has had the status `before`, and tells who listens.
fn set_status(
    tx: &mut Tx<'_>,
    attempt_id: &str,
    before: RepositoryAttemptStatus,
    status: RepositoryAttemptStatus,
) -> StoreResult<()> {
    let set = tx.row(
        concat!(
            "UPDATE repository_attempt SET status = $2 WHERE id = $1 RETURNING branch_id, sha, ",
            anybody_listens!()
        ),
        params![attempt_id, status.as_str()],
    )?;
    let Some(mut set) = set else { return Ok(()) };
    let (branch_id, sha, is_told) = (set.text()?, set.opt_text()?, set.int()? == 1);
    if is_told && before != status {
        notifications::repository_changed(tx, &branch_id, sha.as_deref(), status, Some(before))?;
    }
    Ok(())
}

/// The same for one that a newer one takes the place of, which is no failure to tell of.
fn give_up(tx: &Tx<'_>, attempt_id: &str) -> StoreResult<()> {
    tx.execute("UPDATE repository_attempt SET status = 'FAILED' WHERE id = $1", params![attempt_id])?;
    Ok(())
}

fn syncs_of(tx: &Tx<'_>, link_id: &str) -> StoreResult<Vec<String>> {
    tx.rows(
        "SELECT id FROM sync_configuration WHERE link_id = $1 AND deleted = 0 ORDER BY id",
        params![link_id],
    )?
    .iter_mut()
    .map(Row::text)
    .collect()
}

/// The live syncs of a link of which a blocker says that the repository cannot be read, but for those that wait for a
/// commit which the last try could not read: that the heads are told says nothing of it.
fn told_unreadable(tx: &Tx<'_>, link_id: &str) -> StoreResult<BTreeSet<String>> {
    let blocked = tx.rows(
        "SELECT s.id, k.kind FROM sync_configuration s
           JOIN blocker k ON k.sync_id = s.id AND k.status = 'ACTIVE'
           LEFT JOIN branch b ON b.link_id = s.link_id AND b.name = s.branch
          WHERE s.link_id = $1 AND s.deleted = 0
            AND (coalesce(b.failures, 0) = 0
                 OR (s.considered_seq = b.head_seq AND s.considered_generation = s.generation))",
        params![link_id],
    )?;
    of_repository(blocked, |kind| kind != BlockerKind::BranchMissing)
}

/// The syncs of rows of sync and kind of a blocker that is of the repository, and is picked.
fn of_repository(rows: Vec<Row>, picked: impl Fn(BlockerKind) -> bool) -> StoreResult<BTreeSet<String>> {
    let mut syncs = BTreeSet::new();
    for mut row in rows {
        let sync_id = row.text()?;
        let kind = row.parsed(BlockerKind::from_text)?;
        if kind.is_of_repository() && picked(kind) {
            syncs.insert(sync_id);
        }
    }
    Ok(syncs)
}

/// Has the branches of a link read again as if nothing had failed before: something changed since.
pub(crate) fn forget_failures(tx: &Tx<'_>, link_id: &str) -> StoreResult<()> {
    tx.execute("UPDATE branch SET failures = 0 WHERE link_id = $1", params![link_id])?;
    Ok(())
}

/// Voids what is being read of the link's branches in the way that was right until now.
pub(crate) fn interrupt(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<()> {
    for mut branch in tx.rows("SELECT id FROM branch WHERE link_id = $1", params![link_id])? {
        work::interrupt(tx, Kind::Branch, &branch.text()?)?;
    }
    Ok(())
}

/// Has the heads that are to be read told anew: they are those of another place. A head that everybody has read is
/// kept, so that finding it at the new place, too, is no news.
pub(crate) fn forget_heads(tx: &Tx<'_>, link_id: &str) -> StoreResult<()> {
    use RepositoryAttemptStatus::{Failed, Succeeded};
    let waited_for = tx.rows(
        "SELECT DISTINCT b.id FROM branch b JOIN sync_configuration s
             ON s.link_id = b.link_id AND s.branch = b.name AND s.deleted = 0
          WHERE b.link_id = $1 AND b.head_sha IS NOT NULL
            AND (s.considered_seq <> b.head_seq OR s.considered_generation <> s.generation)",
        params![link_id],
    )?;
    for mut branch in waited_for {
        let branch = branch.text()?;
        tx.execute("UPDATE branch SET head_sha = NULL WHERE id = $1", params![&branch])?;
        if let Some(newest) = newest_attempt(tx, &branch)?
            && !matches!(newest.status, Failed | Succeeded)
        {
            give_up(tx, &newest.id)?;
            let gone =
                event(tx, EventKind::Superseded, "The repository is read at another place instead", None);
            add_event(tx, &newest.id, gone)?;
        }
    }
    Ok(())
}

/// The attempt that a trouble belongs to: an open one, or a new one unless the newest says the same already.
fn fail_newest(tx: &mut Tx<'_>, branch_id: &str, kind: EventKind, reason: &str) -> StoreResult<()> {
    use RepositoryAttemptStatus::{Failed, Succeeded};
    let id = match newest_attempt(tx, branch_id)? {
        Some(newest) if newest.status == Failed => {
            if events::read(&document(tx, &newest.id)?)?.iter().any(|event| event.text == reason) {
                return Ok(());
            }
            insert_attempt(tx, branch_id, None, Failed, None)?
        }
        Some(newest) if newest.status != Succeeded => {
            set_status(tx, &newest.id, newest.status, Failed)?;
            newest.id
        }
        _ => insert_attempt(tx, branch_id, None, Failed, None)?,
    };
    let event = event(tx, kind, reason, None);
    add_event(tx, &id, event)
}

impl Store {
    /// Whether there is anything to record of a link's heads: one that is new or not there, a repository that answers
    /// again, a sync that waits for its branch to be read. Looks at no sync by itself.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_news(
        &self,
        link_id: &str,
        heads: &BTreeMap<String, Option<String>>,
    ) -> StoreResult<bool> {
        let (link_id, heads) = (link_id.to_owned(), heads.clone());
        self.read(move |tx| {
            let link_id = link_id.as_str();
            let failing = "SELECT 1 FROM repository_link WHERE id = $1 AND failures > 0";
            if tx.row(failing, params![link_id])?.is_some() {
                return Ok(true);
            }
            let mut recorded = BTreeMap::new();
            for mut row in
                tx.rows("SELECT name, head_sha FROM branch WHERE link_id = $1", params![link_id])?
            {
                recorded.insert(row.text()?, row.opt_text()?);
            }
            for (name, head) in &heads {
                let known = recorded.get(name).and_then(Option::as_ref);
                if head.is_none() || head.as_ref() != known || is_waited_for(tx, link_id, name)? {
                    return Ok(true);
                }
            }
            let blocked = tx.rows(
                "SELECT s.id, k.kind FROM sync_configuration s
                   JOIN blocker k ON k.sync_id = s.id AND k.status = 'ACTIVE'
                  WHERE s.link_id = $1 AND s.deleted = 0",
                params![link_id],
            )?;
            Ok(!of_repository(blocked, |_| true)?.is_empty())
        })
        .await
    }

    /// Records the heads of a link's branches; `None` for a branch that is not there. Makes due whatever has
    /// something new to read, and ends the blockers that said the repository cannot be read.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_heads(
        &self,
        claim: &Claim,
        heads: BTreeMap<String, Option<String>>,
    ) -> StoreResult<HeadsRecorded> {
        let claim = claim.clone();
        self.write("store.record_heads", move |tx| {
            work::fence(tx, &claim)?;
            let recovered = tx.execute(
                "UPDATE repository_link SET failures = 0 WHERE id = $1 AND failures > 0",
                params![&claim.id],
            )? > 0;
            if recovered {
                forget_failures(tx, &claim.id)?;
            }
            for sync_id in told_unreadable(tx, &claim.id)? {
                blockers::resolve_where(tx, &sync_id, "the repository answers again", |kind| {
                    kind.is_of_repository() && kind != BlockerKind::BranchMissing
                })?;
            }
            let mut recorded = HeadsRecorded::default();
            let branches = tx
                .rows(
                    "SELECT id, name, head_sha FROM branch WHERE link_id = $1 ORDER BY name",
                    params![&claim.id],
                )?
                .into_iter()
                .map(|mut row| {
                    Ok(BranchRow { id: row.text()?, name: row.text()?, head_sha: row.opt_text()? })
                })
                .collect::<StoreResult<Vec<_>>>()?;
            for branch in branches {
                match heads.get(&branch.name) {
                    None => {}
                    Some(None) => {
                        recorded.missing += 1;
                        branch_missing(tx, &claim.id, &branch)?;
                    }
                    Some(Some(sha)) => {
                        recorded.new_heads += usize::from(branch_at(tx, &claim.id, &branch, sha)?);
                    }
                }
            }
            Ok(recorded)
        })
        .await
    }

    /// Records that a link's remote could not be asked: counts the failure and, where `blocker` says so,
    /// raises it on every sync of the link and fails the branches' repository attempts.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_remote_trouble(
        &self,
        claim: &Claim,
        reason: &str,
        blocker: Option<BlockerKind>,
    ) -> StoreResult<()> {
        let (claim, reason) = (claim.clone(), reason.to_owned());
        self.write("store.record_remote_trouble", move |tx| {
            work::fence(tx, &claim)?;
            tx.execute(
                "UPDATE repository_link SET failures = failures + 1 WHERE id = $1",
                params![&claim.id],
            )?;
            let Some(kind) = blocker else { return Ok(()) };
            for sync_id in syncs_of(tx, &claim.id)? {
                blockers::raise(
                    tx,
                    &sync_id,
                    &NewBlocker { kind, reason: reason.clone(), contexts: Vec::new() },
                )?;
            }
            let branches = tx.rows(
                "SELECT DISTINCT b.id FROM branch b JOIN sync_configuration s
                     ON s.link_id = b.link_id AND s.branch = b.name AND s.deleted = 0 WHERE b.link_id = $1",
                params![&claim.id],
            )?;
            for mut branch in branches {
                fail_newest(tx, &branch.text()?, EventKind::RepositoryUnavailable, &reason)?;
            }
            Ok(())
        })
        .await
    }

    /// The branch and the syncs that have to consider its head; `None` once its link is deleted.
    ///
    /// # Errors
    /// The database's.
    pub async fn branch_record(&self, id: &str) -> StoreResult<Option<BranchRecord>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.as_str();
            let found = tx.row(
                "SELECT link_id, name, head_sha, head_seq, failures FROM branch WHERE id = $1",
                params![id],
            )?;
            let Some(mut row) = found else { return Ok(None) };
            let (link_id, name) = (row.text()?, row.text()?);
            let (head_sha, head_seq, failures) = (row.opt_text()?, row.int()?, row.int()?);
            let (syncs, bases) = paths::waiting(tx, &link_id, &name, head_seq)?;
            Ok(Some(BranchRecord {
                id: id.to_owned(),
                link_id,
                name,
                head_sha,
                head_seq,
                failures,
                syncs,
                bases,
            }))
        })
        .await
    }

    /// Opens the attempt to read the branch's head, or goes on with the one that is open for it.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn open_repository_attempt(&self, claim: &Claim, sha: &str) -> StoreResult<String> {
        use RepositoryAttemptStatus::{Failed, InProgress, Initiated, Queued, Succeeded};
        let (claim, sha) = (claim.clone(), sha.to_owned());
        self.write("store.open_repository_attempt", move |tx| {
            work::fence(tx, &claim)?;
            let (id, before) = match newest_attempt(tx, &claim.id)? {
                Some(newest) if newest.status == Queued => (newest.id, Queued),
                Some(newest)
                    if matches!(newest.status, Initiated | InProgress)
                        && newest.sha.as_deref() == Some(&sha) =>
                {
                    return Ok(newest.id);
                }
                newest => {
                    let mut instead_of = None;
                    if let Some(newest) = newest
                        && !matches!(newest.status, Failed | Succeeded)
                    {
                        instead_of = Some(newest.status);
                        give_up(tx, &newest.id)?;
                        let gone = event(tx, EventKind::Superseded, "A newer commit is read instead", None);
                        add_event(tx, &newest.id, gone)?;
                    }
                    (insert_attempt(tx, &claim.id, Some(&sha), Initiated, instead_of)?, Initiated)
                }
            };
            let begun = tx.row(
                concat!(
                    "UPDATE repository_attempt SET status = 'IN_PROGRESS', sha = $2 WHERE id = $1 RETURNING ",
                    anybody_listens!()
                ),
                params![&id, &sha],
            )?;
            if begun.map_or(Ok(0), |mut row| row.int())? == 1 {
                notifications::repository_changed(tx, &claim.id, Some(&sha), InProgress, Some(before))?;
            }
            let observed = event(tx, EventKind::HeadObserved, format!("Reading commit {sha}"), Some(&sha));
            add_event(tx, &id, observed)?;
            Ok(id)
        })
        .await
    }

    /// Ends the attempt to read a commit: tells every sync what it wants and makes those due that want it.
    /// A sync whose link, branch or generation changed meanwhile is left for the next look.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_considered(
        &self,
        claim: &Claim,
        branch: &BranchRecord,
        attempt_id: &str,
        considered: impl Into<Considered>,
        mut events: Vec<(EventKind, String)>,
    ) -> StoreResult<()> {
        let (claim, branch, attempt_id) = (claim.clone(), branch.clone(), attempt_id.to_owned());
        let considered = considered.into();
        self.write("store.record_considered", move |tx| {
            work::fence(tx, &claim)?;
            for consideration in &considered.syncs {
                consider(tx, &branch, consideration)?;
            }
            let mut passed = 0;
            for base in &considered.untouched {
                passed += paths::pass_over(tx, &branch, base)?;
            }
            if passed > 0 {
                let syncs = if passed == 1 { "1 sync".to_owned() } else { format!("{passed} syncs") };
                let text = format!("{syncs} passed over: the commit changes none of their files");
                events.push((EventKind::ResourceUnchanged, text));
            }
            tx.execute("UPDATE branch SET failures = 0 WHERE id = $1", params![&claim.id])?;
            let sha = branch.head_sha.as_deref();
            let attempt_id = open_or_new(tx, &branch.id, attempt_id, sha)?;
            let before = RepositoryAttemptStatus::InProgress;
            set_status(tx, &attempt_id, before, RepositoryAttemptStatus::Succeeded)?;
            let events = events.into_iter().map(|(kind, text)| event(tx, kind, text, sha)).collect();
            events::append(tx, Of::Repository, &attempt_id, events)
        })
        .await
    }

    /// Records that the head could not be read: an event, a blocker on the syncs that wait for it where
    /// `blocker` says so, and the end of the attempt if it is `hopeless`. An outage leaves the attempt open.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_read_trouble(
        &self,
        claim: &Claim,
        branch: &BranchRecord,
        attempt_id: &str,
        reason: &str,
        blocker: Option<BlockerKind>,
        hopeless: bool,
    ) -> StoreResult<()> {
        let (claim, branch) = (claim.clone(), branch.clone());
        let (attempt_id, reason) = (attempt_id.to_owned(), reason.to_owned());
        self.write("store.record_read_trouble", move |tx| {
            work::fence(tx, &claim)?;
            tx.execute("UPDATE branch SET failures = failures + 1 WHERE id = $1", params![&claim.id])?;
            let sha = branch.head_sha.as_deref();
            let attempt_id = open_or_new(tx, &branch.id, attempt_id, sha)?;
            let said = events::last(&document(tx, &attempt_id)?)?;
            if hopeless || said.is_none_or(|said| said.text != reason) {
                let kind = if hopeless { EventKind::RepositoryUnavailable } else { EventKind::Retrying };
                let event = event(tx, kind, reason.clone(), sha);
                add_event(tx, &attempt_id, event)?;
            }
            if hopeless {
                let before = RepositoryAttemptStatus::InProgress;
                set_status(tx, &attempt_id, before, RepositoryAttemptStatus::Failed)?;
            }
            if let Some(kind) = blocker {
                for sync_id in paths::waiting_ids(tx, &branch)? {
                    let new = NewBlocker { kind, reason: reason.clone(), contexts: Vec::new() };
                    blockers::raise(tx, &sync_id, &new)?;
                    if kind.release() == Release::Success {
                        // The next commit that can be read is tried, whether or not its files changed: only
                        // a success ends the blocker.
                        tx.execute(
                            "UPDATE sync_configuration SET considered_generation = 0 WHERE id = $1",
                            params![&sync_id],
                        )?;
                    }
                }
            }
            Ok(())
        })
        .await
    }
}

/// The attempt, or a new one if it was ended meanwhile, as when the heads could not be asked for: an attempt
/// that has ended never changes.
fn open_or_new(
    tx: &mut Tx<'_>,
    branch_id: &str,
    attempt_id: String,
    sha: Option<&str>,
) -> StoreResult<String> {
    let open = tx.count(
        "SELECT count(*) FROM repository_attempt WHERE id = $1 AND status IN ('INITIATED', 'IN_PROGRESS')",
        params![&attempt_id],
    )?;
    if open > 0 {
        return Ok(attempt_id);
    }
    insert_attempt(tx, branch_id, sha, RepositoryAttemptStatus::InProgress, None)
}

fn consider(tx: &mut Tx<'_>, branch: &BranchRecord, consideration: &Consideration) -> StoreResult<()> {
    let still = params![
        &consideration.sync_id,
        &branch.link_id,
        &branch.name,
        consideration.generation,
        branch.head_seq
    ];
    let considered = tx.row(
        "UPDATE sync_configuration SET considered_seq = $5, considered_generation = $4
          WHERE id = $1 AND link_id = $2 AND branch = $3 AND generation = $4 AND deleted = 0
         RETURNING (SELECT count(*) FROM blocker b WHERE b.sync_id = $1 AND b.status = 'ACTIVE')",
        still,
    )?;
    let Some(mut considered) = considered else { return Ok(()) };
    if considered.int()? > 0 {
        let reason = "the branch was read";
        blockers::resolve_where(tx, &consideration.sync_id, reason, BlockerKind::is_of_repository)?;
    }
    let Some((revision, inputs)) = &consideration.desired else {
        paths::set_indexed(tx, branch, consideration, true)?;
        return paths::index(tx, branch, consideration);
    };
    let wanted = tx.execute(
        "UPDATE sync_configuration SET desired_revision = $2, desired_seq = $3, desired_generation = $4,
                desired_inputs = $5, indexed_sha = $6
          WHERE id = $1 AND (desired_seq IS NULL OR desired_generation < $4
                OR (desired_generation = $4 AND desired_seq < $3))",
        params![
            &consideration.sync_id,
            to_json(revision)?,
            branch.head_seq,
            consideration.generation,
            inputs,
            branch.head_sha.as_deref()
        ],
    )?;
    if wanted == 0 {
        // What is desired of a newer head stays, and with it what its files were there.
        return paths::set_indexed(tx, branch, consideration, false);
    }
    work::wake(tx, &consideration.sync_id)?;
    paths::index(tx, branch, consideration)
}

fn branch_missing(tx: &mut Tx<'_>, link_id: &str, branch: &BranchRow) -> StoreResult<()> {
    let reason = format!("branch '{}' does not exist in the repository", branch.name);
    if branch.head_sha.is_some() {
        tx.execute("UPDATE branch SET head_sha = NULL WHERE id = $1", params![&branch.id])?;
    }
    for mut untold in tx.rows(
        "SELECT s.id FROM sync_configuration s WHERE s.link_id = $1 AND s.branch = $2 AND s.deleted = 0
            AND NOT EXISTS (SELECT 1 FROM blocker k
                             WHERE k.sync_id = s.id AND k.status = 'ACTIVE' AND k.kind = 'BRANCH_MISSING')
          ORDER BY s.id",
        params![link_id, &branch.name],
    )? {
        let contexts = vec![("branch".to_owned(), branch.name.clone())];
        let new = NewBlocker { kind: BlockerKind::BranchMissing, reason: reason.clone(), contexts };
        blockers::raise(tx, &untold.text()?, &new)?;
    }
    fail_newest(tx, &branch.id, EventKind::BranchMissing, &reason)
}

/// Whether a sync waits for the branch to be read. A commit that could not be read is due again when its last try
/// said, not whenever the heads are told.
fn is_waited_for(tx: &Tx<'_>, link_id: &str, branch: &str) -> StoreResult<bool> {
    let waiting = tx.row(
        "SELECT 1 FROM sync_configuration s JOIN branch b ON b.link_id = s.link_id AND b.name = s.branch
          WHERE s.link_id = $1 AND s.branch = $2 AND b.failures = 0 AND s.deleted = 0
            AND (s.considered_seq <> b.head_seq OR s.considered_generation <> s.generation) LIMIT 1",
        params![link_id, branch],
    )?;
    Ok(waiting.is_some())
}

/// Records where a branch stands; true if that is a new head.
fn branch_at(tx: &mut Tx<'_>, link_id: &str, branch: &BranchRow, sha: &str) -> StoreResult<bool> {
    use RepositoryAttemptStatus::{InProgress, Initiated, Queued};
    let new_head = branch.head_sha.as_deref() != Some(sha);
    for mut sync in tx.rows(
        "SELECT s.id FROM sync_configuration s
           JOIN blocker k ON k.sync_id = s.id AND k.status = 'ACTIVE' AND k.kind = 'BRANCH_MISSING'
          WHERE s.link_id = $1 AND s.branch = $2 AND s.deleted = 0",
        params![link_id, &branch.name],
    )? {
        blockers::resolve_where(tx, &sync.text()?, "the branch is there", |kind| {
            kind == BlockerKind::BranchMissing
        })?;
    }
    if new_head {
        tx.execute(
            "UPDATE branch SET head_sha = $2, head_seq = head_seq + 1, failures = 0 WHERE id = $1",
            params![&branch.id, sha],
        )?;
        match newest_attempt(tx, &branch.id)? {
            Some(newest) if matches!(newest.status, Initiated | InProgress) => {
                let text =
                    format!("Commit {sha} arrived while {} was being read", newest.sha.unwrap_or_default());
                let id = insert_attempt(tx, &branch.id, Some(sha), Queued, None)?;
                let queued = event(tx, EventKind::NewerCommitQueued, text, Some(sha));
                add_event(tx, &id, queued)?;
            }
            Some(newest) if newest.status == Queued => {
                let text = format!("Commit {sha} arrived");
                tx.execute("UPDATE repository_attempt SET sha = $2 WHERE id = $1", params![&newest.id, sha])?;
                let queued = event(tx, EventKind::NewerCommitQueued, text, Some(sha));
                add_event(tx, &newest.id, queued)?;
            }
            _ => {}
        }
    }
    if is_waited_for(tx, link_id, &branch.name)? {
        work::wake(tx, &branch.id)?;
    }
    Ok(new_head)
}
