//! Attempts to drive one stack to one revision. Only the holder of the sync's claim writes them.

use syncline_model::plan::{Phase, Wanted};
use syncline_model::sync::{AttemptStatus, BlockerKind, EventKind, Release, Revision, SyncEvent};
use syncline_seams::chance;

use crate::blockers::NewBlocker;
use crate::events::{self, Added, Of, has_room, with_events};
use crate::notifications::{self, SyncChanged, sync_is_told};
use crate::sql::{Row, Tx, params, to_json};
use crate::syncs::{self, SyncRecord};
use crate::work::{self, Claim};
use crate::{Store, StoreError, StoreResult, blockers};

/// An attempt that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    /// Its id; begins with a letter, so that a change set can be named after it.
    pub id: String,
    /// What it was opened for.
    pub wanted: Wanted,
    /// How far it has come.
    pub phase: Phase,
    /// Since when, in milliseconds since the Unix epoch.
    pub phase_since_ms: i64,
    /// The revision it applies.
    pub target: Revision,
    /// The role, link and deployment file of the configuration it was opened with.
    pub role_arn: String,
    /// The repository link's id.
    pub link_id: String,
    /// The deployment file's path.
    pub config_file: String,
    /// Counts its change sets.
    pub plan_number: i64,
    /// The current change set's ARN, once it was seen.
    pub change_set_arn: Option<String>,
    /// The stack's id, once it is known.
    pub stack_id: Option<String>,
    /// The newest stack event that was recorded.
    pub last_stack_event: Option<String>,
    /// Failed outside calls in a row.
    pub failures: i64,
    /// What its newest event is about.
    pub last_event: Option<EventKind>,
    /// The newest event's text.
    pub last_event_text: Option<String>,
}

impl OpenAttempt {
    /// The name of the current plan's change set, and its token (contract §6).
    #[must_use]
    pub fn change_set_name(&self) -> String {
        format!("{}-{}", self.id, self.plan_number)
    }
}

/// What a step of an open attempt changes; what is `None` or empty stays.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The new phase.
    pub phase: Option<Phase>,
    /// The execution begins.
    pub in_progress: bool,
    /// The next plan number; forgets the old plan's change set.
    pub plan_number: Option<i64>,
    /// The change set's ARN.
    pub change_set_arn: Option<String>,
    /// The stack's id.
    pub stack_id: Option<String>,
    /// The newest stack event that is recorded with this.
    pub last_stack_event: Option<String>,
    /// Failed outside calls in a row.
    pub failures: Option<i64>,
    /// Events to add.
    pub events: Vec<SyncEvent>,
    /// A blocker to raise.
    pub blocker: Option<NewBlocker>,
    /// The target answers: resolve the blockers that said it does not.
    pub recovered: bool,
    /// The attempt's commit is gone: a new generation, for which the branch is read whatever of it changed.
    pub read_again: bool,
    /// Nothing more is done under the claim: it is given back with this, and the sync is due again at this time, in
    /// milliseconds since the Unix epoch, or at once if it was woken meanwhile.
    pub due_again_ms: Option<i64>,
}

/// How an attempt ends.
#[derive(Debug, Clone)]
pub struct Ending {
    /// SUCCEEDED or FAILED.
    pub status: AttemptStatus,
    /// The last events.
    pub events: Vec<SyncEvent>,
    /// The newest stack event that is recorded with this.
    pub last_stack_event: Option<String>,
    /// A blocker to raise.
    pub blocker: Option<NewBlocker>,
    /// The target answered: resolve the blockers that said it does not.
    pub recovered: bool,
}

/// The columns of an attempt `a` that [`open`] reads.
macro_rules! open_columns {
    () => {
        "a.id, a.desired_seq, a.generation, a.phase, a.phase_since_ms, a.target_revision, a.role_arn, a.link_id,
         a.config_file, a.plan_number, a.change_set_arn, a.stack_id, a.last_stack_event, a.failures, a.events"
    };
}
pub(crate) use open_columns;

/// The status of an open attempt in this phase.
fn status_in(phase: Phase) -> AttemptStatus {
    if phase == Phase::Executing { AttemptStatus::InProgress } else { AttemptStatus::Initiated }
}

/// Whether a sync's newest attempt, of this status if there is one, has not ended.
pub(crate) fn is_open(status: Option<&str>) -> bool {
    status.and_then(AttemptStatus::from_text).is_some_and(|status| !status.is_terminal())
}

/// The attempt of a row with the columns of [`open_columns!`].
pub(crate) fn open(row: &mut Row) -> StoreResult<OpenAttempt> {
    let mut attempt = OpenAttempt {
        id: row.text()?,
        wanted: Wanted { seq: row.int()?, generation: row.int()? },
        phase: row.parsed(Phase::from_text)?,
        phase_since_ms: row.int()?,
        target: row.json()?,
        role_arn: row.text()?,
        link_id: row.text()?,
        config_file: row.text()?,
        plan_number: row.int()?,
        change_set_arn: row.opt_text()?,
        stack_id: row.opt_text()?,
        last_stack_event: row.opt_text()?,
        failures: row.int()?,
        last_event: None,
        last_event_text: None,
    };
    if let Some(last) = events::last(&row.text()?)? {
        (attempt.last_event, attempt.last_event_text) = (Some(last.kind), Some(last.text));
    }
    Ok(attempt)
}

/// The other configurations that drive the stack this attempt had: they waited for its end.
const SUCCESSORS: &str = "SELECT n.id FROM sync_configuration n JOIN sync_configuration o
     ON n.region = o.region AND n.resource_name = o.resource_name AND n.id <> o.id
   WHERE o.id = $1 AND n.deleted = 0 AND $2 LIKE '%:' || n.role_account || ':%'";

/// What keeps an attempt from ending keeps those waiting that come after it; they say so too.
fn raise_on_successors(
    tx: &Tx<'_>,
    sync_id: &str,
    attempt_id: &str,
    blocker: &NewBlocker,
) -> StoreResult<()> {
    let role_arn = tx.row("SELECT role_arn FROM attempt WHERE id = $1", params![attempt_id])?;
    let Some(role_arn) = role_arn.map(|mut row| row.text()).transpose()? else { return Ok(()) };
    for mut successor in tx.rows(SUCCESSORS, params![sync_id, role_arn])? {
        let reason = format!(
            "an earlier sync of this stack has not ended, and this one waits for it: {}",
            blocker.reason
        );
        let waiting = NewBlocker { reason, ..blocker.clone() };
        blockers::raise(tx, &successor.text()?, &waiting)?;
    }
    Ok(())
}

/// A step of an open attempt, with events that have room, and whether anybody is told of its status.
const PROGRESS: &str = concat!(
    "UPDATE attempt SET
         phase_since_ms = CASE WHEN CAST($2 AS TEXT) IS NULL THEN phase_since_ms ELSE $3 END,
         phase = coalesce($2, phase),
         status = CASE WHEN CAST($4 AS BIGINT) = 1 THEN 'IN_PROGRESS' ELSE status END,
         change_set_arn = CASE WHEN CAST($5 AS BIGINT) IS NULL THEN coalesce($6, change_set_arn) ELSE $6 END,
         plan_number = coalesce($5, plan_number),
         stack_id = coalesce($7, stack_id),
         last_stack_event = coalesce($8, last_stack_event),
         failures = coalesce($9, failures), ",
    with_events!("$11", "$12"),
    " WHERE id = $1 AND sync_id = $10 AND status IN ('INITIATED', 'IN_PROGRESS') AND ",
    has_room!("$11"),
    " RETURNING target_revision, stack_id, ",
    sync_is_told!("attempt.sync_id")
);

/// The end of an open attempt, with events that have room. What follows from it is said with it: whether what it was opened
/// for is what its sync desires, how many blockers stand, how many others drive its stack ([`SUCCESSORS`]), and whether
/// anybody is told of it.
const END: &str = concat!(
    "UPDATE attempt SET status = $2, ended_at_ms = $3, last_stack_event = coalesce($4, last_stack_event),
         given_up = $6, ",
    with_events!("$7", "$8"),
    " WHERE id = $1 AND sync_id = $5 AND status IN ('INITIATED', 'IN_PROGRESS') AND ",
    has_room!("$7"),
    " RETURNING target_revision, stack_id, role_arn, seq,
         (SELECT count(*) FROM sync_configuration s WHERE s.id = attempt.sync_id AND s.deleted = 0
             AND s.desired_seq = attempt.desired_seq AND s.desired_generation = attempt.generation),
         (SELECT count(*) FROM blocker b WHERE b.sync_id = attempt.sync_id AND b.status = 'ACTIVE'),
         (SELECT count(*) FROM sync_configuration n JOIN sync_configuration o
              ON n.region = o.region AND n.resource_name = o.resource_name AND n.id <> o.id
            WHERE o.id = attempt.sync_id AND n.deleted = 0
              AND attempt.role_arn LIKE '%:' || n.role_account || ':%'), phase, ",
    sync_is_told!("attempt.sync_id")
);

fn wake_successors(tx: &mut Tx<'_>, sync_id: &str, role_arn: &str) -> StoreResult<()> {
    for mut successor in tx.rows(SUCCESSORS, params![sync_id, role_arn])? {
        work::wake(tx, &successor.text()?)?;
    }
    Ok(())
}

/// A new generation: the branch is read for it, and whatever it says then is synced, also what an attempt had before.
fn read_again(tx: &mut Tx<'_>, sync_id: &str) -> StoreResult<()> {
    let found = tx.row(
        "UPDATE sync_configuration SET generation = generation + 1 WHERE id = $1 AND deleted = 0 RETURNING link_id",
        params![sync_id],
    )?;
    let link_id = found.map(|mut row| row.text()).transpose()?;
    link_id.map_or(Ok(()), |link_id| work::wake(tx, &link_id))
}

/// Resolves the blockers that said the target does not answer.
fn end_outages(tx: &Tx<'_>, sync_id: &str) -> StoreResult<()> {
    blockers::resolve_where(tx, sync_id, "the outage is over", |kind| {
        kind.release() == Release::Recovery && !kind.is_of_repository()
    })?;
    Ok(())
}

impl Store {
    /// Opens an attempt for what the sync desires, and says what is recorded of the sync then.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn open_attempt(&self, claim: &Claim) -> StoreResult<Option<SyncRecord>> {
        let claim = claim.clone();
        self.write("store.open_attempt", move |tx| {
            work::fence(tx, &claim)?;
            let sync_id = &claim.id;
            let found = tx.row(
                concat!("SELECT s.desired_revision, s.desired_seq, s.desired_generation, s.desired_inputs,
                        s.applied_revision, s.resource_name, s.role_arn, s.link_id, s.config_file, s.stack_id,
                        a.number, a.status, a.given_up, a.phase, ",
                    sync_is_told!("s.id"),
                    "
                   FROM sync_configuration s
                   LEFT JOIN attempt a ON a.sync_id = s.id
                         AND a.number = (SELECT max(x.number) FROM attempt x WHERE x.sync_id = s.id)
                  WHERE s.id = $1 AND s.desired_revision IS NOT NULL"),
                params![sync_id],
            )?;
            let Some(mut row) = found else {
                return Err(StoreError::Corrupt(format!("sync {sync_id} desires nothing")));
            };
            let target: Revision = row.json()?;
            let (seq, generation, inputs) = (row.int()?, row.int()?, row.opt_text()?);
            let initial: Revision = row.opt_json()?.unwrap_or_else(|| target.clone());
            let (name, role_arn, link_id, config_file) = (row.text()?, row.text()?, row.text()?, row.text()?);
            let stack_id = row.opt_text()?;
            let (newest, status) = (row.opt_int()?, row.opt_text()?);
            let (was_given_up, phase) = (row.opt_int()? == Some(1), row.opt_text()?);
            let is_told = row.int()? == 1;
            if is_open(status.as_deref()) {
                return Err(StoreError::Corrupt(format!("sync {sync_id} has an open attempt")));
            }
            let number = newest.unwrap_or_default() + 1;
            let id = format!("syncline-{}", chance::uuid());
            let now = tx.now_ms();
            let event = SyncEvent {
                time_ms: now,
                kind: EventKind::AttemptStarted,
                text: format!("Started syncing commit {} of branch {}", target.sha, target.branch),
                external_id: Some(target.sha.clone()),
            };
            let inserted = tx.row(
                "INSERT INTO attempt (id, sync_id, number, status, phase, phase_since_ms, started_at_ms,
                     initial_revision, target_revision, target, desired_seq, generation, inputs, role_arn, link_id,
                     config_file, plan_number, stack_id, failures, event_count, events)
                   VALUES ($1, $2, $3, 'INITIATED', 'OPENED', $4, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0,
                           $14, 0, 1, $15)
                 RETURNING seq",
                params![
                    &id,
                    sync_id,
                    number,
                    now,
                    to_json(&initial)?,
                    to_json(&target)?,
                    name,
                    seq,
                    generation,
                    inputs,
                    role_arn,
                    link_id,
                    config_file,
                    stack_id.as_deref(),
                    events::write(&[event])?
                ],
            )?;
            let seq = inserted.map_or(Err(StoreError::Corrupt("no attempt was inserted".into())), |mut row| row.int())?;
            tx.execute(
                "UPDATE sync_configuration SET newest_attempt = $2 WHERE id = $1",
                params![sync_id, seq],
            )?;
            if is_told {
                // That one was given up, nobody was told.
                let in_phase = phase.as_deref().and_then(Phase::from_text).map(status_in);
                let ended = status.as_deref().and_then(AttemptStatus::from_text);
                let changed = SyncChanged {
                    sync_id,
                    attempt_id: &id,
                    target: &to_json(&target)?,
                    stack_id: stack_id.as_deref(),
                    status: AttemptStatus::Initiated,
                    previous: if was_given_up { in_phase } else { ended },
                    given_up: false,
                };
                notifications::sync_changed(tx, &changed)?;
            }
            syncs::record(tx, sync_id)
        })
        .await
    }

    /// Records a step of the open attempt. `point` names the commit for fault plans.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn record_progress(
        &self,
        point: &'static str,
        claim: &Claim,
        attempt_id: &str,
        progress: Progress,
    ) -> StoreResult<()> {
        let (claim, id) = (claim.clone(), attempt_id.to_owned());
        self.write(point, move |tx| {
            work::fence(tx, &claim)?;
            let added = Added::of(&progress.events)?;
            let mut params = params![
                &id,
                progress.phase.map(Phase::as_str),
                tx.now_ms(),
                progress.in_progress,
                progress.plan_number,
                progress.change_set_arn,
                progress.stack_id,
                progress.last_stack_event,
                progress.failures,
                &claim.id,
                added.count,
                added.json
            ]
            .clone();
            let mut stepped = tx.row(PROGRESS, &params)?;
            if stepped.is_none() {
                // It has ended, or its events need another page.
                [params[10], params[11]] = [0.into(), "".into()];
                stepped = tx.row(PROGRESS, &params)?;
                if stepped.is_some() {
                    events::append(tx, Of::Sync, &id, progress.events)?;
                }
            }
            let Some(mut stepped) = stepped else {
                return Err(StoreError::Stale(format!("attempt {id}, which has ended")));
            };
            let (target, stack_id, is_told) = (stepped.text()?, stepped.opt_text()?, stepped.int()? == 1);
            if progress.in_progress && is_told {
                let changed = SyncChanged {
                    sync_id: &claim.id,
                    attempt_id: &id,
                    target: &target,
                    stack_id: stack_id.as_deref(),
                    status: AttemptStatus::InProgress,
                    previous: Some(AttemptStatus::Initiated),
                    given_up: false,
                };
                notifications::sync_changed(tx, &changed)?;
            }
            if progress.recovered {
                end_outages(tx, &claim.id)?;
            }
            if progress.read_again {
                read_again(tx, &claim.id)?;
            }
            if let Some(blocker) = &progress.blocker {
                blockers::raise(tx, &claim.id, blocker)?;
                raise_on_successors(tx, &claim.id, &id, blocker)?;
            }
            if progress.due_again_ms.is_some() {
                work::release(tx, &claim, progress.due_again_ms)?;
            }
            Ok(())
        })
        .await
    }

    /// Whether a sync has executed this change set.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_executed(&self, sync_id: &str, change_set_arn: &str) -> StoreResult<bool> {
        let (sync_id, change_set_arn) = (sync_id.to_owned(), change_set_arn.to_owned());
        let sql = "SELECT count(*) FROM attempt
                    WHERE sync_id = $1 AND change_set_arn = $2 AND phase = 'EXECUTING'";
        Ok(self.read(move |tx| tx.count(sql, params![&sync_id, &change_set_arn])).await? > 0)
    }

    /// Ends the open attempt; it never changes again.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn end_attempt(&self, claim: &Claim, attempt_id: &str, ending: Ending) -> StoreResult<()> {
        self.end(claim, attempt_id, ending, false).await.map(drop)
    }

    /// The same; if it succeeded and nothing else is desired, there is nothing more to do until something wakes the
    /// sync, and the claim is given back with this. Whether it was.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the claim was lost.
    pub async fn end_attempt_and_rest(
        &self,
        claim: &Claim,
        attempt_id: &str,
        ending: Ending,
    ) -> StoreResult<bool> {
        self.end(claim, attempt_id, ending, true).await
    }

    async fn end(
        &self,
        claim: &Claim,
        attempt_id: &str,
        ending: Ending,
        may_rest: bool,
    ) -> StoreResult<bool> {
        let (claim, id) = (claim.clone(), attempt_id.to_owned());
        self.write("store.end_attempt", move |tx| {
            work::fence(tx, &claim)?;
            let given_up = ending.events.last().is_some_and(|event| event.kind == EventKind::Superseded);
            let added = Added::of(&ending.events)?;
            let mut params = params![
                &id,
                ending.status.as_str(),
                tx.now_ms(),
                ending.last_stack_event,
                &claim.id,
                given_up,
                added.count,
                added.json
            ]
            .clone();
            let mut ended = tx.row(END, &params)?;
            if ended.is_none() {
                // It has ended before, or its events need another page.
                [params[6], params[7]] = [0.into(), "".into()];
                ended = tx.row(END, &params)?;
                if ended.is_some() {
                    events::append(tx, Of::Sync, &id, ending.events)?;
                }
            }
            let Some(mut ended) = ended else {
                return Err(StoreError::Stale(format!("attempt {id}, which has ended")));
            };
            let (target, stack_id, role_arn) = (ended.text()?, ended.opt_text()?, ended.text()?);
            let seq = ended.int()?;
            let is_still_desired = ended.int()? == 1;
            let (is_blocked, has_successors) = (ended.int()? > 0, ended.int()? > 0);
            let (phase, is_told) = (ended.parsed(Phase::from_text)?, ended.int()? == 1);
            if is_told {
                let changed = SyncChanged {
                    sync_id: &claim.id,
                    attempt_id: &id,
                    target: &target,
                    stack_id: stack_id.as_deref(),
                    status: ending.status,
                    previous: Some(status_in(phase)),
                    given_up,
                };
                notifications::sync_changed(tx, &changed)?;
            }
            if ending.status == AttemptStatus::Succeeded {
                // A role of another account since then means another stack: this one's fate says nothing of it.
                tx.execute(
                    "UPDATE sync_configuration SET
                         newest_success = $5,
                         applied_revision = CASE WHEN $4 LIKE '%:' || role_account || ':%' THEN $2
                                                 ELSE applied_revision END,
                         stack_id = CASE WHEN $4 LIKE '%:' || role_account || ':%' THEN coalesce($3, stack_id)
                                         ELSE stack_id END
                       WHERE id = $1",
                    params![&claim.id, target, stack_id, &role_arn, seq],
                )?;
                if is_blocked {
                    blockers::resolve_where(tx, &claim.id, "a newer sync succeeded", |kind| {
                        kind.release() == Release::Success
                    })?;
                }
            }
            if ending.recovered && is_blocked {
                end_outages(tx, &claim.id)?;
            }
            if has_successors {
                wake_successors(tx, &claim.id, &role_arn)?;
            }
            if let Some(blocker) = &ending.blocker {
                if blocker.kind == BlockerKind::InvalidFile {
                    // An earlier attempt met them. Nobody asks the target now, so nobody would find them over.
                    blockers::resolve_where(
                        tx,
                        &claim.id,
                        "the newest revision asks nothing of the target",
                        |kind| kind.release() == Release::Recovery && !kind.is_of_repository(),
                    )?;
                }
                blockers::raise(tx, &claim.id, blocker)?;
                if blocker.kind.is_of_repository() {
                    // The blocker ends once the branch can be read; then this revision is to be tried again.
                    read_again(tx, &claim.id)?;
                }
            }
            let rests = may_rest && ending.status == AttemptStatus::Succeeded && is_still_desired;
            if rests {
                work::release(tx, &claim, None)?;
            }
            Ok(rests)
        })
        .await
    }
}
