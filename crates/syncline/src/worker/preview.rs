//! A preview's steps: what would the merge of a pull request change in a stack?
//!
//! **Architecture Invariant:** steps are taken under the sync's lease, where the sync itself has nothing to do, and never
//! execute anything. Whoever wakes the sync interrupts the call that is in flight.

use std::time::Duration;

use syncline_model::plan::{AfterTrouble, Trouble, after_trouble, poll_delay_ms};
use syncline_model::preview::comment::{Merged, Tells};
use syncline_model::preview::values::{Sight, custom_macros};
use syncline_model::preview::{Look, Phase, Recorded, Seen, Step, Want, look, next_step};
use syncline_store::{Claim, LinkRecord, Preview, PreviewProgress, StoreError, SyncRecord};
use syncline_targets::{Access, ChangeSet, ChangeSetKind, ChangeSetRequest, Stack, TargetError};
use tracing::{debug, info};

use super::Worker;
use super::files::Files;
use super::previewed::without_values;
use super::remote::outage;
use super::seen::{change_set_seen, says_no_updates, stack_seen};
use super::sync::{Failure, Next};

/// How often it is looked whether somebody wants the sync itself.
const LOOK_FOR_WAKES: Duration = Duration::from_secs(1);
/// How long a merge waits to be looked at again, in milliseconds: what syncs it wakes the sync as well.
const AWAIT_MERGE_MS: i64 = 60_000;
/// As often the deletion of a change set fails for a sync that is deleted; then it is left where it is.
const MOST_FAILURES_OF_DELETED: i64 = 5;
/// So long the change set of a sync that is deleted is waited for to go, in milliseconds: whoever takes its name waits, too.
const PATIENCE_OF_DELETED_MS: i64 = 10 * 60_000;

/// What of pull requests is previewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Previews {
    /// Those from forks.
    pub forks: bool,
    /// Templates that call macros other than AWS's own.
    pub macros: bool,
}

/// A preview whose next step is to be taken.
pub(super) struct Turn<'a> {
    pub(super) claim: &'a Claim,
    pub(super) record: &'a SyncRecord,
    pub(super) preview: &'a Preview,
    pub(super) recorded: Recorded,
    pub(super) link: Option<LinkRecord>,
}

/// What was observed for a decision, with what its performance needs.
#[derive(Default)]
pub(super) struct Observation {
    pub(super) files: Option<Files>,
    /// Why the files cannot be used.
    pub(super) unusable: Option<Tells>,
    stack: Option<Stack>,
    change_set: Option<ChangeSet>,
}

/// What is to be told from now on, of which no pull request tells: a stack that was changed since, and a sync that is
/// deleted or will never consider a merge, because it follows another branch. It is recorded before anything is done about
/// it, so that it counts among what pull requests want.
fn wants(preview: &Preview, record: &SyncRecord) -> Option<Want> {
    let recorded = &preview.recorded;
    // Whoever asks for pull requests finds it, too, as long as there is the link and the pull request is open.
    let is_left = matches!(recorded.want, Want::Changes | Want::Merged) && !preview.is_followed;
    if record.recorded.deleted || is_left {
        return (recorded.want != Want::Off).then_some(Want::Off);
    }
    let is_told = recorded.wanted == recorded.done && recorded.want == Want::Changes;
    (is_told && preview.made_on != record.last_executed).then_some(Want::Changes)
}

/// What decisions are made from.
fn recorded(preview: &Preview, record: &SyncRecord) -> Recorded {
    let mut recorded = preview.recorded;
    // A sync that is deleted rests in another way.
    recorded.suspended = record.recorded.suspended && !record.recorded.deleted;
    // What the merge brought may be wanted still.
    let newest = record.recorded.newest;
    let waits = record.recorded.desired != newest && !record.recorded.held;
    recorded.merge_considered &= !waits || record.recorded.desired.is_none();
    recorded
}

impl Worker {
    /// Takes the next step of a sync's previews, which must have nothing to do itself.
    pub(super) async fn preview(&self, claim: &Claim, record: &SyncRecord) -> Result<Next, StoreError> {
        if !record.has_previews {
            return Ok(Next::Rest);
        }
        let (mut next_ms, now_ms) = (None, self.clock.now_ms());
        for preview in &self.store.previews(&claim.id).await? {
            if let Some(want) = wants(preview, record) {
                let progress = PreviewProgress { wants: Some(want), ..PreviewProgress::default() };
                self.store.record_preview("store.record_preview_wanted", claim, preview, progress).await?;
                return Ok(Next::Now);
            }
            let recorded = recorded(preview, record);
            if recorded.rests() {
                continue;
            }
            // A merge that was considered meanwhile waits no longer.
            let is_considered =
                recorded.want == Want::Merged && recorded.merge_considered && preview.failures == 0;
            if preview.due_at_ms > now_ms && !record.recorded.deleted && !is_considered {
                next_ms = next_ms.into_iter().chain([preview.due_at_ms]).min();
                continue;
            }
            let link = self.store.link_record(&preview.link_id).await?;
            let turn = Turn { claim, record, preview, recorded, link };
            // One change set at a time: the others wait.
            return self.preview_step(&turn).await;
        }
        Ok(next_ms.map_or(Next::Rest, Next::At))
    }

    async fn preview_step(&self, turn: &Turn<'_>) -> Result<Next, StoreError> {
        let waited_ms = self.clock.now_ms() - turn.preview.phase_since_ms;
        let is_deleting = turn.record.recorded.deleted && turn.recorded.phase == Phase::Deleting;
        if is_deleting && waited_ms >= PATIENCE_OF_DELETED_MS {
            return self.leave_change_set(turn, "it does not go").await;
        }
        let step = async {
            let (seen, observation) = self.observe_preview(turn).await?;
            self.perform_preview(turn, next_step(&turn.recorded, &seen), observation).await
        };
        let taken = tokio::select! {
            // In this order, so that what a simulation does follows from its seed.
            biased;
            taken = step => taken,
            () = self.wanted(turn.claim) => {
                // What became of the call is seen when the sync rests again. The claim is given back: with it goes the
                // wake that was seen, which would interrupt everything that follows.
                debug!(preview = turn.preview.id, "a preview is left for the sync itself");
                return Ok(Next::At(self.clock.now_ms()));
            }
        };
        match taken {
            Ok(next) => Ok(next),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Trouble(trouble)) => self.after_preview_trouble(turn, &trouble).await,
        }
    }

    /// Ends when the sync was woken.
    async fn wanted(&self, claim: &Claim) {
        loop {
            self.clock.sleep(LOOK_FOR_WAKES).await;
            if self.store.is_woken(claim).await.unwrap_or(false) {
                return;
            }
        }
    }

    async fn after_preview_trouble(&self, turn: &Turn<'_>, trouble: &Trouble) -> Result<Next, StoreError> {
        let failures = turn.preview.failures + 1;
        self.slow_down(turn.claim, trouble).await?;
        if turn.record.recorded.deleted && failures >= MOST_FAILURES_OF_DELETED {
            return self.leave_change_set(turn, trouble.reason()).await;
        }
        let delay_ms = match after_trouble(trouble, turn.preview.failures, self.outside.jitter(), false) {
            AfterTrouble::Retry { delay_ms, .. } => delay_ms,
            AfterTrouble::Fail { .. } | AfterTrouble::GiveUp { .. } | AfterTrouble::ReadAgain { .. } => {
                self.poll_interval_ms
            }
        };
        debug!(preview = turn.preview.id, ?trouble, "a preview waits");
        let due_ms = self.clock.now_ms() + delay_ms;
        let progress = PreviewProgress {
            failures: Some(failures),
            due_at_ms: Some(due_ms),
            ..PreviewProgress::default()
        };
        self.record_preview("store.record_preview_trouble", turn, progress).await?;
        Ok(if turn.record.recorded.deleted { Next::At(due_ms) } else { Next::Now })
    }

    /// Goes on as if the change set of a deleted sync were gone.
    async fn leave_change_set(&self, turn: &Turn<'_>, reason: &str) -> Result<Next, StoreError> {
        info!(preview = turn.preview.id, reason, "a change set of a deleted sync is left where it is");
        let gone = PreviewProgress { phase: Some(Phase::Idle), ..PreviewProgress::default() };
        self.record_preview("store.record_preview_phase", turn, gone).await?;
        Ok(Next::Now)
    }

    /// False if something else is wanted meanwhile: then nothing was recorded, and it is to be looked again.
    pub(super) async fn record_preview(
        &self,
        point: &'static str,
        turn: &Turn<'_>,
        progress: PreviewProgress,
    ) -> Result<bool, StoreError> {
        self.store.record_preview(point, turn.claim, turn.preview, progress).await
    }

    async fn observe_preview(&self, turn: &Turn<'_>) -> Result<(Seen, Observation), Failure> {
        let mut observation = Observation::default();
        let seen = match look(&turn.recorded) {
            Look::Nothing => Seen::Nothing,
            Look::FilesAndStack => {
                match self.files_of(turn).await? {
                    Ok(files) => {
                        let macros = custom_macros(&files.parsed.to_json());
                        if !macros.is_empty() && !self.previews.macros {
                            observation.unusable = Some(Tells::Macros(macros));
                            return Ok((Seen::Unusable, observation));
                        }
                        let access = self.access(turn, &turn.preview.sync_role_arn)?;
                        observation.stack = self.previewed_stack(&access, turn).await?;
                        observation.files = Some(files);
                        Seen::Stack(stack_seen(observation.stack.as_ref()))
                    }
                    Err(Trouble::Refused { reason, .. }) => {
                        observation.unusable = Some(Tells::Unusable(without_values(&reason)));
                        Seen::Unusable
                    }
                    // A commit that is gone is no fault of the files: whoever asks for pull requests finds the next.
                    Err(trouble) => return Err(trouble.into()),
                }
            }
            Look::ChangeSet => {
                let (access, stack) = self.planned_with(turn)?;
                let name = change_set_ref(turn.preview);
                let described = self.target.describe_change_set(&access, stack, &name).await;
                observation.change_set = match described {
                    Ok(change_set) => Some(change_set),
                    Err(TargetError::NotFound) => None,
                    Err(error) => return Err(trouble_of(&error).into()),
                };
                Seen::ChangeSet(change_set_seen(observation.change_set.as_ref()))
            }
        };
        Ok((seen, observation))
    }

    /// The files of which a change set was asked for. `None` if they cannot be read any more: then it is to be deleted before
    /// anything is said of that.
    pub(super) async fn planned_files(&self, turn: &Turn<'_>) -> Result<Option<Files>, Failure> {
        match self.files_of(turn).await? {
            Ok(files) => Ok(Some(files)),
            Err(Trouble::Refused { .. } | Trouble::Gone { .. }) => {
                let progress = PreviewProgress { phase: Some(Phase::Deleting), ..PreviewProgress::default() };
                self.record_preview("store.record_preview_phase", turn, progress).await?;
                Ok(None)
            }
            Err(outage) => Err(outage.into()),
        }
    }

    async fn files_of(&self, turn: &Turn<'_>) -> Result<Result<Files, Trouble>, StoreError> {
        let sources = &turn.preview.sources;
        let commits = (sources.config_commit.as_str(), sources.template_commit.as_str());
        self.read_files_at(&turn.preview.link_id, &sources.config_file, commits).await
    }

    async fn previewed_stack(&self, access: &Access, turn: &Turn<'_>) -> Result<Option<Stack>, Failure> {
        match self.target.describe_stack(access, &turn.record.resource_name).await {
            Ok(stack) => Ok(stack),
            Err(TargetError::NotFound) => Ok(None),
            Err(error) => Err(trouble_of(&error).into()),
        }
    }

    async fn perform_preview(&self, turn: &Turn<'_>, step: Step, seen: Observation) -> Result<Next, Failure> {
        let waited_ms = self.clock.now_ms() - turn.preview.phase_since_ms;
        let soon = |waited_ms| Next::At(self.clock.now_ms() + poll_delay_ms(waited_ms));
        match step {
            Step::Rest => Ok(Next::Rest),
            Step::Watch => {
                // Seen at last, although the answer to the request was lost.
                if let Some(change_set) = &seen.change_set
                    && turn.preview.change_set_arn.is_none()
                {
                    self.record_made(turn, change_set.arn.clone()).await?;
                }
                Ok(soon(waited_ms))
            }
            Step::AwaitMerge => {
                let progress = PreviewProgress {
                    due_at_ms: Some(self.clock.now_ms() + AWAIT_MERGE_MS),
                    told: self.told(turn, Tells::Merged(Merged::Waits), false),
                    ..PreviewProgress::default()
                };
                self.record_preview("store.record_preview_told", turn, progress).await?;
                Ok(Next::Now)
            }
            Step::Plan => {
                let Some(files) = seen.files else { return Ok(Next::Now) };
                let (role, stack) = (&turn.preview.sync_role_arn, &turn.record.resource_name);
                let progress = PreviewProgress {
                    phase: Some(Phase::Planning),
                    planned: Some((stack.clone(), role.clone())),
                    ..PreviewProgress::default()
                };
                if !self.record_preview("store.record_preview_plan", turn, progress).await? {
                    return Ok(Next::Now);
                }
                let name = format!("{}-{}", turn.preview.id, turn.preview.plan_number + 1);
                self.ask_for_change_set(turn, name, role, files).await
            }
            Step::AskAgain => {
                let (_, role) = turn.preview.planned_with.clone().unwrap_or_default();
                let Some(files) = self.planned_files(turn).await? else { return Ok(Next::Now) };
                self.ask_for_change_set(turn, turn.preview.change_set_name(), &role, files).await
            }
            Step::Tell(verdict) => self.tell(turn, verdict, seen).await,
            Step::TellEnd => self.tell_end(turn).await,
            Step::Delete => {
                let progress = PreviewProgress { phase: Some(Phase::Deleting), ..PreviewProgress::default() };
                if turn.recorded.phase != Phase::Deleting {
                    if self.record_preview("store.record_preview_phase", turn, progress).await? {
                        self.delete_preview(turn).await?;
                    }
                    return Ok(Next::Now);
                }
                self.delete_preview(turn).await?;
                Ok(soon(waited_ms))
            }
            Step::Gone => {
                let progress = PreviewProgress { phase: Some(Phase::Idle), ..PreviewProgress::default() };
                self.record_preview("store.record_preview_phase", turn, progress).await?;
                Ok(Next::Now)
            }
        }
    }

    async fn ask_for_change_set(
        &self,
        turn: &Turn<'_>,
        name: String,
        role: &str,
        files: Files,
    ) -> Result<Next, Failure> {
        let access = self.access(turn, role)?;
        let request = ChangeSetRequest {
            stack: turn.record.resource_name.clone(),
            name: name.clone(),
            token: name,
            kind: ChangeSetKind::Update,
            template_body: files.template,
            parameters: files.deployment.parameters.clone(),
            tags: files.deployment.tags,
        };
        match self.target.create_change_set(&access, &request).await {
            Ok(made) => {
                self.record_made(turn, made.change_set_arn).await?;
                Ok(Next::At(self.clock.now_ms() + poll_delay_ms(0)))
            }
            // An earlier request arrived after all: it will be seen.
            Err(TargetError::AlreadyExists) => Ok(Next::At(self.clock.now_ms() + poll_delay_ms(0))),
            Err(TargetError::Refused { message, .. }) => {
                let after = files.parsed.to_json();
                let sight = Sight::new(None, (&after, &files.deployment.parameters));
                let tells = match says_no_updates(&message) {
                    true => Tells::Nothing,
                    false => Tells::Fails(sight.scrubbed(&message)),
                };
                // It was announced, so it is seen gone.
                let told = self.told(turn, tells, true);
                let progress =
                    PreviewProgress { phase: Some(Phase::Deleting), told, ..PreviewProgress::default() };
                self.record_preview("store.record_preview_told", turn, progress).await?;
                Ok(Next::Now)
            }
            // The stack is not any more what it was a moment ago: look at it again.
            Err(error @ (TargetError::NotFound | TargetError::InvalidState { .. })) => {
                let progress = PreviewProgress { phase: Some(Phase::Deleting), ..PreviewProgress::default() };
                self.record_preview("store.record_preview_phase", turn, progress).await?;
                Err(trouble_of(&error).into())
            }
            Err(error) => Err(trouble_of(&error).into()),
        }
    }

    async fn record_made(&self, turn: &Turn<'_>, arn: String) -> Result<(), StoreError> {
        let progress =
            PreviewProgress { change_set_arn: Some(arn), failures: Some(0), ..PreviewProgress::default() };
        // Where something else is wanted, it is deleted by its name.
        self.record_preview("store.record_preview_change_set", turn, progress).await?;
        Ok(())
    }

    async fn delete_preview(&self, turn: &Turn<'_>) -> Result<(), Failure> {
        let (access, stack) = self.planned_with(turn)?;
        match self.target.delete_change_set(&access, stack, &change_set_ref(turn.preview)).await {
            Ok(()) | Err(TargetError::InvalidChangeSetStatus { .. } | TargetError::NotFound) => Ok(()),
            Err(error) => Err(trouble_of(&error).into()),
        }
    }

    /// The access to the sync's stack by a role.
    fn access(&self, turn: &Turn<'_>, role: &str) -> Result<Access, StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt(error.to_string());
        let record = turn.record;
        Ok(Access {
            account: record.account.parse().map_err(|error| corrupt(&error))?,
            role: role.parse().map_err(|error| corrupt(&error))?,
            external_id: record.external_id.clone(),
            region: record.region.parse().map_err(|error| corrupt(&error))?,
        })
    }

    /// The access to the current change set, and its stack.
    pub(super) fn planned_with<'a>(&self, turn: &'a Turn<'_>) -> Result<(Access, &'a str), StoreError> {
        let Some((stack, role)) = &turn.preview.planned_with else {
            return Err(StoreError::Corrupt(format!("preview {} was planned with no role", turn.preview.id)));
        };
        Ok((self.access(turn, role)?, stack))
    }
}

pub(super) fn change_set_ref(preview: &Preview) -> String {
    preview.change_set_arn.clone().unwrap_or_else(|| preview.change_set_name())
}

/// What went wrong with a call of CloudFormation, of which no blocker tells.
pub(super) fn trouble_of(error: &TargetError) -> Trouble {
    use syncline_model::sync::BlockerKind;
    let (reason, is_throttled) = (error.to_string(), error.is_throttled());
    match error {
        TargetError::Unavailable { retry_after_ms, .. } => Trouble::Outage {
            blocker: BlockerKind::TargetUnavailable,
            reason,
            retry_after_ms: retry_after_ms.or(is_throttled.then_some(0)),
        },
        _ => outage(BlockerKind::TargetUnavailable, reason),
    }
}
