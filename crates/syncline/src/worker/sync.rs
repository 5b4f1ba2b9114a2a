//! A sync's turn: driving one stack to one revision.

use syncline_model::plan::{
    self, AfterTrouble, ChangeSetKind, ChangeSetSeen, Look, Outcome, Phase, Seen, StackSeen, Step, Trouble,
    Waiting, after_trouble, poll_delay_ms,
};
use syncline_model::sync::{AttemptStatus, BlockerKind, EventKind, Release, SyncEvent};
use syncline_store::{Claim, Ending, NewBlocker, OpenAttempt, Progress, StoreError, SyncRecord};
use syncline_targets::{
    Access, ChangeSet, ChangeSetKind as TargetKind, ChangeSetRef, ChangeSetRequest, Execution, Stack,
    StackEvent, TargetError, trust_statement,
};
use tracing::info;

use super::files::Files;
use super::remote::outage;
use super::seen::{
    change_set_seen, first_failure, is_failure, outcome, says_no_updates, stack_seen, summary, sync_event,
};
use super::{Due, Worker};

/// Steps taken under one claim before others get their turn.
const STEPS_AT_ONCE: usize = 12;

/// What one step leads to.
pub(super) enum Next {
    /// The next step can be decided at once.
    Now,
    /// Look again at this time, in milliseconds since the Unix epoch.
    At(i64),
    /// Nothing to do until something wakes the sync.
    Rest,
    /// The claim was given back with the last commit.
    Released,
}

/// What was observed for a decision, with what the decision does not need but its performance does.
#[derive(Default)]
struct Observation {
    files: Option<Files>,
    stack: Option<Stack>,
    change_set: Option<ChangeSet>,
    new_events: Vec<StackEvent>,
}

/// Why a step could not be taken.
pub(super) enum Failure {
    Store(StoreError),
    Trouble(Trouble),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A sync whose attempt is open: what every step needs.
struct Open<'a> {
    claim: &'a Claim,
    record: &'a SyncRecord,
    attempt: &'a OpenAttempt,
    access: Access,
}

impl Open<'_> {
    /// Whether the end of an outage is still to be told.
    fn is_after_outage(&self) -> bool {
        self.attempt.failures > 0 || self.record.blockers.iter().copied().any(is_outage)
    }
}

impl Worker {
    /// Takes the steps of a sync that can be taken now. When it is due again; `None` if its claim was given back already.
    /// `known` is what was recorded when it was claimed.
    pub(super) async fn work_on_sync(
        &self,
        claim: &Claim,
        mut known: Option<SyncRecord>,
    ) -> Result<Option<Due>, StoreError> {
        for _ in 0..STEPS_AT_ONCE {
            let record = match known.take() {
                Some(record) => Some(record),
                None => self.store.sync_record(&claim.id).await?,
            };
            let Some(record) = record else { return Ok(Some(None)) };
            let next = match &record.open {
                None => self.without_attempt(claim, &record, &mut known).await?,
                Some(attempt) => self.with_attempt(claim, &record, attempt).await?,
            };
            match next {
                Next::Now => {}
                Next::At(due) => return Ok(Some(Some(due))),
                Next::Rest => return Ok(Some(None)),
                Next::Released => return Ok(None),
            }
        }
        Ok(Some(Some(self.clock.now_ms())))
    }

    async fn without_attempt(
        &self,
        claim: &Claim,
        record: &SyncRecord,
        known: &mut Option<SyncRecord>,
    ) -> Result<Next, StoreError> {
        match plan::next_step(&record.recorded, &Seen::Nothing) {
            Step::Open => {
                *known = self.store.open_attempt(claim).await?;
                Ok(Next::Now)
            }
            Step::Forget => match self.preview(claim, record).await? {
                Next::Rest => {
                    self.store.forget_sync(claim).await?;
                    Ok(Next::Rest)
                }
                next => Ok(next),
            },
            _ => self.preview(claim, record).await,
        }
    }

    async fn with_attempt(
        &self,
        claim: &Claim,
        record: &SyncRecord,
        attempt: &OpenAttempt,
    ) -> Result<Next, StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt(error.to_string());
        let access = Access {
            account: record.account.parse().map_err(|error| corrupt(&error))?,
            role: attempt.role_arn.parse().map_err(|error| corrupt(&error))?,
            external_id: record.external_id.clone(),
            region: record.region.parse().map_err(|error| corrupt(&error))?,
        };
        let open = Open { claim, record, attempt, access };
        match self.step(&open).await {
            Ok(next) => Ok(next),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Trouble(trouble)) => self.after_trouble(&open, &trouble).await,
        }
    }

    /// Observe, decide, perform, record.
    async fn step(&self, open: &Open<'_>) -> Result<Next, Failure> {
        let (seen, observation) = self.observe(open).await?;
        let next = self.perform(open, &seen, observation).await?;
        // Only a step that was taken to its end shows that what failed works again.
        if open.is_after_outage() && seen != Seen::Nothing && matches!(next, Next::At(_)) {
            let recovered = Progress {
                failures: Some(0),
                recovered: true,
                events: vec![self.event(EventKind::Recovered, "The last call works again", None)],
                ..Progress::default()
            };
            self.record("store.record_recovery", open, recovered).await?;
        }
        Ok(next)
    }

    async fn perform(&self, open: &Open<'_>, seen: &Seen, observation: Observation) -> Result<Next, Failure> {
        match plan::next_step(&open.record.recorded, seen) {
            Step::Rest | Step::Open | Step::Forget => Ok(Next::Rest),
            Step::Plan(kind) => self.plan(open, kind, observation).await,
            Step::AskAgain => self.ask_again(open).await,
            Step::Execute => self.execute(open, observation).await,
            Step::Watch(waiting) => self.watch(open, waiting, &observation).await,
            Step::Abandon => self.abandon(open).await,
            Step::Replan => {
                let text = format!(
                    "Change set {} cannot be executed any more; making another",
                    open.attempt.change_set_name()
                );
                let progress = Progress {
                    phase: Some(Phase::Opened),
                    events: vec![self.event(EventKind::ChangeSetReplaced, text, None)],
                    ..Progress::default()
                };
                self.record("store.record_replan", open, progress).await?;
                Ok(Next::Now)
            }
            Step::Succeed { nothing_to_do } => self.succeed(open, nothing_to_do, &observation).await,
            Step::Fail { blocker, reason } => self.fail(open, blocker, &reason, &observation).await,
            Step::Supersede => self.supersede(open).await,
        }
    }

    async fn observe(&self, open: &Open<'_>) -> Result<(Seen, Observation), Failure> {
        let mut observation = Observation::default();
        let seen = match plan::look(&open.record.recorded) {
            Look::Nothing => Seen::Nothing,
            Look::FilesAndStack => {
                observation.files = Some(self.read_files(open.attempt).await??);
                observation.stack = self.stack(open, &open.record.resource_name).await?;
                Seen::Stack(stack_seen(observation.stack.as_ref()))
            }
            Look::ChangeSet => {
                observation.change_set = self.change_set(open).await?;
                Seen::ChangeSet(change_set_seen(observation.change_set.as_ref()))
            }
            Look::Execution => self.observe_execution(open, &mut observation).await?,
        };
        Ok((seen, observation))
    }

    async fn observe_execution(
        &self,
        open: &Open<'_>,
        observation: &mut Observation,
    ) -> Result<Seen, Failure> {
        if self.is_seen_going_on(open).await? {
            return Ok(Seen::Execution {
                change_set: ChangeSetSeen::Executing,
                stack: StackSeen::Changing,
                began: true,
                outcome: None,
            });
        }
        observation.change_set = self.change_set(open).await?;
        let stack_id = open.attempt.stack_id.as_deref().unwrap_or(&open.record.resource_name);
        observation.stack = self.stack(open, stack_id).await?;
        let token = open.attempt.change_set_name();
        let change_set_created_ms = observation.change_set.as_ref().and_then(|seen| seen.created_ms);
        let execution = Some(Execution { token: &token, change_set_created_ms });
        let since = open.attempt.last_stack_event.as_deref();
        observation.new_events =
            match self.target.stack_events(&open.access, stack_id, since, execution).await {
                Ok(events) => events,
                Err(TargetError::NotFound) => Vec::new(),
                Err(error) => return Err(self.trouble_of(open, error).await.into()),
            };
        let mut outcome = outcome(&observation.new_events, stack_id);
        if let Some(Outcome::Failed { reason }) = &mut outcome {
            // The resource that began it may have failed polls ago.
            if let Ok(all) = self.target.stack_events(&open.access, stack_id, None, execution).await
                && let Some(first) = first_failure(&all, stack_id)
            {
                *reason = first;
            }
        }
        let stack = stack_seen(observation.stack.as_ref());
        let has_begun = open.attempt.last_stack_event.is_some() || !observation.new_events.is_empty();
        if let Some(seen) = observation.stack.as_ref().filter(|_| stack == StackSeen::Changing && has_begun) {
            self.watching.note(&open.access, &open.attempt.id, seen, self.clock.now_ms());
        }
        Ok(Seen::Execution {
            change_set: change_set_seen(observation.change_set.as_ref()),
            stack,
            // Without the change set, only events that carry our token are told.
            began: has_begun,
            outcome,
        })
    }

    /// Whether a listing of stacks in progress, which many share, shows this one just as it was seen after its
    /// execution had begun. Nothing else is to be concluded from a listing.
    async fn is_seen_going_on(&self, open: &Open<'_>) -> Result<bool, Failure> {
        let (access, attempt) = (&open.access, open.attempt);
        let (Some(stack_id), Some(_), 0) =
            (attempt.stack_id.as_deref(), &attempt.last_stack_event, attempt.failures)
        else {
            return Ok(false);
        };
        let Some(expected) = self.watching.expected(access, &attempt.id, self.clock.now_ms()) else {
            return Ok(false);
        };
        match self.target.in_progress(access, stack_id, open.record.due_ms).await {
            Ok(listed) => Ok(listed == Some(expected)),
            Err(TargetError::Denied { .. }) => {
                self.watching.refuse(access, self.clock.now_ms());
                Ok(false)
            }
            Err(error) => Err(self.trouble_of(open, error).await.into()),
        }
    }

    async fn stack(&self, open: &Open<'_>, stack: &str) -> Result<Option<Stack>, Failure> {
        match self.target.describe_stack(&open.access, stack).await {
            Ok(stack) => Ok(stack),
            Err(TargetError::NotFound) => Ok(None),
            Err(error) => Err(self.trouble_of(open, error).await.into()),
        }
    }

    async fn change_set(&self, open: &Open<'_>) -> Result<Option<ChangeSet>, Failure> {
        let name = change_set_ref(open);
        match self.target.describe_change_set(&open.access, stack_ref(open), &name).await {
            Ok(change_set) => Ok(Some(change_set)),
            Err(TargetError::NotFound) => Ok(None),
            Err(error) => Err(self.trouble_of(open, error).await.into()),
        }
    }

    /// Records the next plan number, then asks for its change set.
    async fn plan(&self, open: &Open<'_>, kind: ChangeSetKind, seen: Observation) -> Result<Next, Failure> {
        let Some(files) = seen.files else { return Ok(Next::Now) };
        let number = open.attempt.plan_number + 1;
        let planned = OpenAttempt { plan_number: number, change_set_arn: None, ..open.attempt.clone() };
        let mut events = vec![self.event(
            EventKind::FilesRead,
            format!("Read {} and its template at {}", open.attempt.config_file, open.attempt.target.sha),
            Some(open.attempt.target.sha.clone()),
        )];
        events.extend(self.changed_outside(open, seen.stack.as_ref()).await?);
        let verb = match kind {
            ChangeSetKind::Create => "create",
            ChangeSetKind::Update => "update",
        };
        let name = planned.change_set_name();
        let text = format!("Asking for change set {name} to {verb} stack {}", open.record.resource_name);
        events.push(self.event(EventKind::ChangeSetCreating, text, None));
        let progress = Progress {
            phase: Some(Phase::Planning),
            plan_number: Some(number),
            events,
            ..Progress::default()
        };
        self.record("store.record_plan", open, progress).await?;
        self.create_change_set(open, &planned, kind, files).await
    }

    /// The change set of the current plan number was announced and is not there: asks for it once more.
    async fn ask_again(&self, open: &Open<'_>) -> Result<Next, Failure> {
        let files = self.read_files(open.attempt).await??;
        let stack = self.stack(open, &open.record.resource_name).await?;
        let kind = match stack_seen(stack.as_ref()) {
            StackSeen::Missing | StackSeen::Review => ChangeSetKind::Create,
            StackSeen::Settled { .. } | StackSeen::Changing | StackSeen::Stuck { .. } => {
                ChangeSetKind::Update
            }
        };
        self.create_change_set(open, open.attempt, kind, files).await
    }

    async fn create_change_set(
        &self,
        open: &Open<'_>,
        planned: &OpenAttempt,
        kind: ChangeSetKind,
        files: Files,
    ) -> Result<Next, Failure> {
        let name = planned.change_set_name();
        let kind = match kind {
            ChangeSetKind::Create => TargetKind::Create,
            ChangeSetKind::Update => TargetKind::Update,
        };
        let request = ChangeSetRequest {
            stack: open.record.resource_name.clone(),
            name: name.clone(),
            token: name.clone(),
            kind,
            template_body: files.template,
            parameters: files.deployment.parameters,
            tags: files.deployment.tags,
        };
        match self.target.create_change_set(&open.access, &request).await {
            Ok(made) => {
                let next = self.soon(0);
                let due_again_ms = match next {
                    Next::At(due_ms) if !open.is_after_outage() => Some(due_ms),
                    _ => None,
                };
                self.record_change_set(open, &made, due_again_ms).await?;
                Ok(if due_again_ms.is_some() { Next::Released } else { next })
            }
            // An earlier request arrived after all: it will be seen.
            Err(TargetError::AlreadyExists) => {
                Ok(self.soon(self.clock.now_ms() - open.attempt.phase_since_ms))
            }
            // The stack is not any more what it was a moment ago: look at it again.
            Err(error @ (TargetError::NotFound | TargetError::InvalidState { .. })) => {
                let progress = Progress { phase: Some(Phase::Opened), ..Progress::default() };
                self.record("store.record_replan", open, progress).await?;
                Err(outage(BlockerKind::TargetUnavailable, error.to_string()).into())
            }
            Err(TargetError::Refused { message, .. }) if says_no_updates(&message) => {
                self.end_successfully(open, true, &Observation::default()).await
            }
            Err(error) => Err(self.trouble_of(open, error).await.into()),
        }
    }

    /// Records what was made. With `due_again_ms` the claim is given back.
    async fn record_change_set(
        &self,
        open: &Open<'_>,
        made: &ChangeSetRef,
        due_again_ms: Due,
    ) -> Result<(), Failure> {
        let progress = Progress {
            change_set_arn: Some(made.change_set_arn.clone()),
            stack_id: Some(made.stack_id.clone()),
            due_again_ms,
            ..Progress::default()
        };
        self.record("store.record_change_set", open, progress).await
    }

    /// Records the execution, then executes.
    async fn execute(&self, open: &Open<'_>, seen: Observation) -> Result<Next, Failure> {
        let Some(change_set) = seen.change_set else { return Ok(self.soon(0)) };
        let token = open.attempt.change_set_name();
        #[cfg(feature = "mutants")]
        if syncline_seams::mutant::is(syncline_seams::mutant::Mutant::ExecutesFirst) {
            let (arn, stack_id) = (change_set.arn.clone(), change_set.stack_id.clone());
            let change_set = ChangeSetRef { change_set_arn: arn, stack_id };
            // Whatever comes of it is seen below.
            let _ = self.target.execute_change_set(&open.access, &change_set, &token).await;
        }
        if open.attempt.phase != Phase::Executing {
            let arn = Some(change_set.arn.clone());
            let progress = Progress {
                phase: Some(Phase::Executing),
                in_progress: true,
                change_set_arn: arn.clone(),
                stack_id: Some(change_set.stack_id.clone()),
                events: vec![
                    self.event(EventKind::ChangeSetCreated, summary(&change_set), arn.clone()),
                    self.event(EventKind::ExecutionStarted, format!("Executing change set {token}"), arn),
                ],
                ..Progress::default()
            };
            self.record("store.record_execution", open, progress).await?;
        }
        let change_set = ChangeSetRef { change_set_arn: change_set.arn, stack_id: change_set.stack_id };
        match self.target.execute_change_set(&open.access, &change_set, &token).await {
            Ok(()) => {
                info!(stack = open.record.resource_name, attempt = open.attempt.id, "executing a change set")
            }
            // Begun before, or not executable any more: what is seen next decides.
            Err(
                TargetError::TokenAlreadyExists
                | TargetError::InvalidChangeSetStatus { .. }
                | TargetError::InvalidState { .. }
                | TargetError::NotFound,
            ) => {}
            Err(error) => return Err(self.trouble_of(open, error).await.into()),
        }
        Ok(self.soon(0))
    }

    async fn watch(&self, open: &Open<'_>, waiting: Waiting, seen: &Observation) -> Result<Next, Failure> {
        let mut progress = Progress::default();
        match waiting {
            Waiting::StackBusy if open.attempt.last_event != Some(EventKind::StackBusy) => {
                let status = seen.stack.as_ref().map_or("being changed", |stack| stack.status.as_str());
                let text = format!("Stack {} is {status}; waiting for it", open.record.resource_name);
                progress.events.push(self.event(EventKind::StackBusy, text, None));
            }
            Waiting::StackBusy => {}
            Waiting::ChangeSet => {
                if let Some(change_set) = &seen.change_set
                    && open.attempt.change_set_arn.is_none()
                {
                    progress.change_set_arn = Some(change_set.arn.clone());
                    progress.stack_id = Some(change_set.stack_id.clone());
                }
            }
            Waiting::Execution => {
                progress.last_stack_event = seen.new_events.last().map(|event| event.id.clone());
                progress.events = seen.new_events.iter().map(sync_event).collect();
            }
        }
        if !progress.events.is_empty() || progress.change_set_arn.is_some() {
            self.record("store.record_events", open, progress).await?;
        }
        let now_ms = self.clock.now_ms();
        let waited_ms = now_ms - open.attempt.phase_since_ms;
        Ok(match waiting {
            Waiting::Execution => Next::At(self.watching.next_look_ms(&open.access, now_ms, waited_ms)),
            Waiting::StackBusy | Waiting::ChangeSet => self.soon(waited_ms),
        })
    }

    /// Deletes the current plan's change set; it is looked for again until it is gone.
    async fn abandon(&self, open: &Open<'_>) -> Result<Next, Failure> {
        let started = open.attempt.phase == Phase::Abandoning;
        if !started {
            let progress = Progress { phase: Some(Phase::Abandoning), ..Progress::default() };
            self.record("store.record_abandoning", open, progress).await?;
        }
        self.delete_change_set(open).await?;
        if started {
            return Ok(self.soon(self.clock.now_ms() - open.attempt.phase_since_ms));
        }
        Ok(Next::Now)
    }

    async fn delete_change_set(&self, open: &Open<'_>) -> Result<(), Failure> {
        let name = change_set_ref(open);
        match self.target.delete_change_set(&open.access, stack_ref(open), &name).await {
            // Being executed after all: what is seen next decides.
            Ok(()) | Err(TargetError::InvalidChangeSetStatus { .. } | TargetError::NotFound) => Ok(()),
            Err(error) => Err(self.trouble_of(open, error).await.into()),
        }
    }

    async fn succeed(
        &self,
        open: &Open<'_>,
        nothing_to_do: bool,
        seen: &Observation,
    ) -> Result<Next, Failure> {
        if nothing_to_do {
            if let Some(change_set) = &seen.change_set
                && open.attempt.stack_id.is_none()
            {
                let made = ChangeSetRef {
                    change_set_arn: change_set.arn.clone(),
                    stack_id: change_set.stack_id.clone(),
                };
                self.record_change_set(open, &made, None).await?;
            }
            // Only a failed change set of no use; a stack holds so many of them and no more.
            self.delete_change_set(open).await?;
        }
        self.end_successfully(open, nothing_to_do, seen).await
    }

    async fn end_successfully(
        &self,
        open: &Open<'_>,
        nothing_to_do: bool,
        seen: &Observation,
    ) -> Result<Next, Failure> {
        let (name, sha) = (&open.record.resource_name, &open.attempt.target.sha);
        let mut events: Vec<SyncEvent> = seen.new_events.iter().map(sync_event).collect();
        if nothing_to_do {
            let text = format!("Stack {name} is as commit {sha} says already");
            events.push(self.event(EventKind::NoChanges, text, None));
        }
        let text = format!("Stack {name} is at commit {sha}");
        events.push(self.event(EventKind::Succeeded, text, Some(sha.clone())));
        let next = self.end(open, AttemptStatus::Succeeded, events, None, seen).await?;
        info!(stack = name, commit = sha, attempt = open.attempt.id, "synced");
        Ok(next)
    }

    async fn fail(
        &self,
        open: &Open<'_>,
        kind: BlockerKind,
        reason: &str,
        seen: &Observation,
    ) -> Result<Next, Failure> {
        if kind == BlockerKind::ChangeSetFailed && seen.change_set.is_some() {
            self.delete_change_set(open).await?;
        }
        let mut events: Vec<SyncEvent> = seen.new_events.iter().map(sync_event).collect();
        // An execution whose events do not say why may still have left a reason on the stack.
        let status_reason = seen.stack.as_ref().and_then(|stack| stack.status_reason.as_deref());
        let reason = match status_reason {
            Some(why) if kind == BlockerKind::ExecutionFailed && seen.new_events.is_empty() => {
                format!("{reason}: {why}")
            }
            _ => reason.to_owned(),
        };
        let specific = match kind {
            BlockerKind::InvalidFile => EventKind::InvalidFile,
            BlockerKind::ChangeSetFailed => EventKind::ChangeSetFailed,
            BlockerKind::ExecutionFailed => EventKind::ExecutionFailed,
            BlockerKind::StackStuck => EventKind::StackStuck,
            BlockerKind::StackDeleted => EventKind::StackDeleted,
            // Outages end no attempt, but for a connection or link that is gone.
            BlockerKind::ConnectionUnavailable
            | BlockerKind::BranchMissing
            | BlockerKind::RepositoryUnavailable
            | BlockerKind::RepositoryNotFound
            | BlockerKind::CredentialRefused
            | BlockerKind::RoleNotAssumable
            | BlockerKind::AccessDenied
            | BlockerKind::TargetUnavailable => EventKind::RepositoryUnavailable,
        };
        let arn = open.attempt.change_set_arn.clone();
        events.push(self.event(specific, reason.clone(), arn));
        let text = format!(
            "Stack {} is not at commit {}: {}",
            open.record.resource_name,
            open.attempt.target.sha,
            kind.suggested_fix()
        );
        events.push(self.event(EventKind::Failed, text, Some(open.attempt.target.sha.clone())));
        let blocker = NewBlocker { kind, reason: reason.clone(), contexts: contexts(open, seen) };
        let next = self.end(open, AttemptStatus::Failed, events, Some(blocker), seen).await?;
        info!(stack = open.record.resource_name, attempt = open.attempt.id, reason, "a sync failed");
        Ok(next)
    }

    async fn supersede(&self, open: &Open<'_>) -> Result<Next, Failure> {
        let suspended = open.record.suspension.as_ref().map(|suspension| {
            let what = if suspension.of_account { "account" } else { "sync" };
            format!("The {what} was suspended before anything was executed: {}", suspension.reason)
        });
        let text = if open.record.recorded.deleted {
            "The sync configuration was deleted before anything was executed"
        } else if let Some(suspended) = &suspended {
            suspended
        } else if open.record.recorded.generation == open.attempt.wanted.generation {
            "A newer commit is synced instead"
        } else {
            "The sync configuration was changed or is synced again"
        };
        let event = self.event(EventKind::Superseded, text, None);
        self.end(open, AttemptStatus::Failed, vec![event], None, &Observation::default()).await
    }

    async fn end(
        &self,
        open: &Open<'_>,
        status: AttemptStatus,
        events: Vec<SyncEvent>,
        blocker: Option<NewBlocker>,
        seen: &Observation,
    ) -> Result<Next, Failure> {
        self.watching.forget(&open.access, &open.attempt.id);
        let last_stack_event = seen.new_events.last().map(|event| event.id.clone());
        // Whatever CloudFormation said of the content, it answered.
        let answered = blocker.as_ref().is_some_and(|blocker| {
            matches!(
                blocker.kind,
                BlockerKind::ChangeSetFailed
                    | BlockerKind::ExecutionFailed
                    | BlockerKind::StackStuck
                    | BlockerKind::StackDeleted
            )
        });
        let recovered = answered || status == AttemptStatus::Succeeded;
        let ending = Ending { status, events, last_stack_event, blocker, recovered };
        if open.record.has_previews {
            // They may have something to tell now.
            self.store.end_attempt(open.claim, &open.attempt.id, ending).await?;
            return Ok(Next::Now);
        }
        let given_back = self.store.end_attempt_and_rest(open.claim, &open.attempt.id, ending).await?;
        Ok(if given_back { Next::Released } else { Next::Now })
    }

    async fn record(&self, point: &'static str, open: &Open<'_>, progress: Progress) -> Result<(), Failure> {
        Ok(self.store.record_progress(point, open.claim, &open.attempt.id, progress).await?)
    }

    async fn after_trouble(&self, open: &Open<'_>, trouble: &Trouble) -> Result<Next, StoreError> {
        let recorded = &open.record.recorded;
        let replaced = recorded.deleted || recorded.generation != open.attempt.wanted.generation;
        self.slow_down(open.claim, trouble).await?;
        match after_trouble(trouble, open.attempt.failures, self.outside.jitter(), replaced) {
            AfterTrouble::GiveUp { reason } => {
                let text = format!(
                    "Given up, because the configuration was replaced and its role cannot be used: {reason}"
                );
                let event = self.event(EventKind::Superseded, text, None);
                let nothing = Observation::default();
                match self.end(open, AttemptStatus::Failed, vec![event], None, &nothing).await {
                    Err(Failure::Store(error)) => Err(error),
                    Ok(next) => Ok(next),
                    Err(Failure::Trouble(_)) => Ok(Next::Now),
                }
            }
            AfterTrouble::Fail { blocker, reason } => {
                match self.fail(open, blocker, &reason, &Observation::default()).await {
                    Ok(next) => Ok(next),
                    Err(Failure::Store(error)) => Err(error),
                    // `fail` calls nobody without an observation.
                    Err(Failure::Trouble(_)) => Ok(self.soon(0)),
                }
            }
            AfterTrouble::ReadAgain { reason } => {
                // A head whose files are the same would not supersede this attempt, which could never end.
                let progress = Progress {
                    events: vec![self.event(EventKind::Retrying, reason, None)],
                    read_again: true,
                    ..Progress::default()
                };
                self.store
                    .record_progress("store.record_trouble", open.claim, &open.attempt.id, progress)
                    .await?;
                Ok(Next::Now)
            }
            AfterTrouble::Retry { delay_ms, blocker, reason } => {
                let new_reason = open.attempt.last_event_text.as_deref() != Some(&*reason);
                let progress = Progress {
                    failures: Some(open.attempt.failures + 1),
                    events: new_reason
                        .then(|| self.event(EventKind::Retrying, reason.clone(), None))
                        .into_iter()
                        .collect(),
                    blocker: blocker.map(|kind| NewBlocker {
                        kind,
                        reason: reason.clone(),
                        contexts: contexts(open, &Observation::default()),
                    }),
                    ..Progress::default()
                };
                self.store
                    .record_progress("store.record_trouble", open.claim, &open.attempt.id, progress)
                    .await?;
                Ok(Next::At(self.clock.now_ms() + delay_ms))
            }
        }
    }

    async fn trouble_of(&self, open: &Open<'_>, error: TargetError) -> Trouble {
        let (reason, is_throttled) = (error.to_string(), error.is_throttled());
        match error {
            TargetError::Refused { message, .. } => {
                Trouble::Refused { blocker: BlockerKind::ChangeSetFailed, reason: message }
            }
            TargetError::Unavailable { retry_after_ms, .. } => {
                let retry_after_ms = retry_after_ms.or(is_throttled.then_some(0));
                Trouble::Outage { blocker: BlockerKind::TargetUnavailable, reason, retry_after_ms }
            }
            TargetError::Denied { .. } => outage(BlockerKind::AccessDenied, reason),
            TargetError::RoleNotAssumable { .. } => {
                let principal = self.target.principal().await;
                let hint = principal.map_or_else(
                    |_| {
                        "run `syncline account trust-policy` for the statement its trust policy needs"
                            .to_owned()
                    },
                    |principal| {
                        let statement = trust_statement(&principal, &open.access.external_id);
                        format!("add this statement to its trust policy:\n{statement}")
                    },
                );
                outage(BlockerKind::RoleNotAssumable, format!("{reason}; {hint}"))
            }
            TargetError::NotFound
            | TargetError::AlreadyExists
            | TargetError::TokenAlreadyExists
            | TargetError::InvalidChangeSetStatus { .. }
            | TargetError::InvalidState { .. } => outage(BlockerKind::TargetUnavailable, reason),
        }
    }

    /// An event if the stack was updated after this sync executed anything, or by what it never executed.
    async fn changed_outside(
        &self,
        open: &Open<'_>,
        stack: Option<&Stack>,
    ) -> Result<Option<SyncEvent>, StoreError> {
        let (Some(stack), Some(ended_at_ms)) = (stack, open.record.last_executed_at_ms) else {
            return Ok(None);
        };
        let by_another = match &stack.change_set_arn {
            Some(newest) if open.record.last_executed.as_ref() == Some(newest) => false,
            Some(newest) => !self.store.has_executed(&open.record.id, newest).await?,
            None => false,
        };
        let later = stack.updated_ms.is_some_and(|updated_ms| updated_ms > ended_at_ms);
        if !(by_another || later) {
            return Ok(None);
        }
        let text =
            format!("Stack {} was changed by someone else since the last sync", open.record.resource_name);
        Ok(Some(self.event(EventKind::StackChangedOutside, text, stack.change_set_arn.clone())))
    }

    fn event(&self, kind: EventKind, text: impl Into<String>, external_id: Option<String>) -> SyncEvent {
        SyncEvent { time_ms: self.clock.now_ms(), kind, text: text.into(), external_id }
    }

    fn soon(&self, waited_ms: i64) -> Next {
        Next::At(self.clock.now_ms() + poll_delay_ms(waited_ms))
    }
}

/// Whether a blocker says that the target does not answer or refuses.
fn is_outage(kind: BlockerKind) -> bool {
    kind.release() == Release::Recovery && !kind.is_of_repository()
}

/// The stack to name in a call about the current plan. A change set that was not seen yet was asked for by the
/// stack's name: the id may be that of an earlier stack of the name.
fn stack_ref<'a>(open: &'a Open<'_>) -> &'a str {
    match &open.attempt.change_set_arn {
        Some(_) => open.attempt.stack_id.as_deref().unwrap_or(&open.record.resource_name),
        None => &open.record.resource_name,
    }
}

fn change_set_ref(open: &Open<'_>) -> String {
    open.attempt.change_set_arn.clone().unwrap_or_else(|| open.attempt.change_set_name())
}

fn contexts(open: &Open<'_>, seen: &Observation) -> Vec<(String, String)> {
    let mut contexts = vec![
        ("commit".to_owned(), open.attempt.target.sha.clone()),
        ("attempt".to_owned(), open.attempt.id.clone()),
    ];
    if let Some(arn) = &open.attempt.change_set_arn {
        contexts.push(("changeSet".to_owned(), arn.clone()));
    }
    if let Some(stack) = &seen.stack {
        contexts.push(("stackStatus".to_owned(), stack.status.as_str().to_owned()));
    }
    let stack_id = open.attempt.stack_id.as_deref().unwrap_or_default();
    if let Some(event) = seen.new_events.iter().find(|event| is_failure(event, stack_id)) {
        contexts.push(("failingLogicalId".to_owned(), event.logical_id.clone()));
    }
    contexts
}
