//! Carries out operations on stacks: which resource when, what events, and what follows a failure.
//!
//! Nothing runs by itself: [`step`] does what is due next, at the instant it was due, and whoever asks for anything
//! first steps until now.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::faults::{ResourceFaults, ResourceVerb};
use crate::outcome;
use crate::plan::{changed_properties, keeps, record_attribute, undefined};
use crate::settings::Settings;
use crate::stack::{Deployment, OnStackFailure, ResourceRecord, Stack};
use crate::template::{Context, Naming, Place, Recreation, Resources, order};

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create(OnStackFailure),
    Update { disable_rollback: bool },
    Delete,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Creating and updating.
    Apply,
    /// Deleting what an update left over.
    Cleanup,
    /// Putting updated resources back.
    Rollback,
    /// Deleting what a rolled back update had made.
    RollbackCleanup,
    /// Deleting everything, because creating failed.
    Unmake,
    /// Deleting everything, because somebody asked to, or `OnStackFailure` is `DELETE`.
    Delete,
}

/// An operation on a stack.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) token: Option<String>,
    /// What the stack becomes.
    pub(crate) target: Deployment,
    pub(crate) jobs: Vec<Job>,
    /// Resources as they were before this update touched them.
    pub(crate) before: Vec<ResourceRecord>,
    /// Logical ids this update added.
    pub(crate) added: Vec<String>,
    /// Physical resources to delete when the operation is through.
    pub(crate) leftovers: Vec<ResourceRecord>,
    /// What failed in this phase.
    pub(crate) failures: Vec<(ResourceVerb, String)>,
    pub(crate) imports: BTreeSet<String>,
    pub(crate) conditions: BTreeMap<String, bool>,
}

/// One resource's part of a phase.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) logical_id: String,
    pub(crate) work: Work,
    /// Logical ids whose jobs come first.
    pub(crate) needs: Vec<String>,
    pub(crate) state: JobState,
}

/// What a job does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Creates the resource, or updates it where the stack has it already.
    Apply,
    /// Deletes a physical resource; `current` when it is the stack's own and not a replaced one.
    Delete { record: Box<ResourceRecord>, current: bool },
    /// Puts a resource back to how it was.
    Restore(Box<ResourceRecord>),
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobState {
    Waiting,
    /// Running: when the middle event is due (if it still is), when it ends, and whether it creates.
    Running {
        middle_ms: Option<i64>,
        end_ms: i64,
        verb: ResourceVerb,
    },
    Done,
    Failed,
}

/// The world around a stack.
pub(crate) struct Surroundings<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) faults: &'a ResourceFaults,
    /// Every export of the region: its name, its value and its stack's name.
    pub(crate) exports: BTreeMap<String, (String, String)>,
    /// Who reads an export: its name and the readers' names.
    pub(crate) imports: BTreeMap<String, Vec<String>>,
}

impl Operation {
    pub(crate) fn new(kind: Kind, target: Deployment, token: Option<String>) -> Self {
        Self {
            kind,
            phase: if kind == Kind::Delete { Phase::Delete } else { Phase::Apply },
            token,
            target,
            jobs: Vec::new(),
            before: Vec::new(),
            added: Vec::new(),
            leftovers: Vec::new(),
            failures: Vec::new(),
            imports: BTreeSet::new(),
            conditions: BTreeMap::new(),
        }
    }

    /// When something is next to be done.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        self.jobs
            .iter()
            .filter_map(|job| match job.state {
                JobState::Running { middle_ms, end_ms, .. } => Some(middle_ms.unwrap_or(end_ms)),
                _ => None,
            })
            .min()
    }
}

/// The resources of a stack while it changes.
pub(crate) struct Live<'a> {
    pub(crate) stack: &'a Stack,
}

impl Resources for Live<'_> {
    fn reference(&self, logical_id: &str) -> Result<Value, String> {
        match self.stack.resource(logical_id) {
            Some(record) => Ok(record.physical_id.clone().unwrap_or_default().into()),
            None => Err(format!("Template format error: Unresolved resource dependencies [{logical_id}]")),
        }
    }

    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Value, String> {
        match self.stack.resource(logical_id) {
            Some(record) => record_attribute(record, attribute, &self.stack.place),
            None => Err(undefined(logical_id)),
        }
    }
}

/// The exports without their owners.
pub(crate) fn plain_exports(around: &Surroundings<'_>) -> BTreeMap<String, String> {
    around.exports.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
}

/// The context in which a stack's target is evaluated, without the conditions' values.
pub(crate) fn context_of<'a>(
    target: &'a Deployment,
    place: &'a Place,
    exports: &'a BTreeMap<String, String>,
    live: &'a Live<'a>,
) -> Context<'a> {
    Context {
        template: &target.template,
        parameters: &target.parameters,
        place,
        conditions: BTreeMap::new(),
        notification_arns: &target.notification_arns,
        resources: live,
        exports,
        imported: RefCell::default(),
    }
}

/// Begins an operation at `now`: evaluates the conditions, lines up the jobs and starts those that can start.
pub(crate) fn begin(stack: &mut Stack, mut operation: Operation, around: &Surroundings<'_>, now: i64) {
    let exports = plain_exports(around);
    match operation.kind {
        Kind::Delete => operation.jobs = delete_everything(stack),
        Kind::Create(_) | Kind::Update { .. } => {
            let live = Live { stack };
            let mut context = context_of(&operation.target, &stack.place, &exports, &live);
            // The change set's creation has evaluated the same already.
            let ordered = context
                .evaluate_conditions()
                .and_then(|()| order(&operation.target.template, &context.conditions))
                .unwrap_or_default();
            operation.conditions = context.conditions;
            operation.jobs = ordered
                .into_iter()
                .map(|(logical_id, needs)| Job {
                    logical_id,
                    work: Work::Apply,
                    needs,
                    state: JobState::Waiting,
                })
                .collect();
        }
    }
    settle(stack, operation, around, now);
}

/// Does what is due next, at the instant it is due.
pub(crate) fn step(stack: &mut Stack, around: &Surroundings<'_>) {
    let Some(mut operation) = stack.operation.take() else { return };
    let Some(at_ms) = operation.next_due_ms() else {
        stack.operation = Some(operation);
        return;
    };
    for index in 0..operation.jobs.len() {
        let JobState::Running { middle_ms, end_ms, verb } = operation.jobs[index].state else { continue };
        match middle_ms {
            Some(middle) if middle <= at_ms => {
                operation.jobs[index].state = JobState::Running { middle_ms: None, end_ms, verb };
                initiate(stack, &operation, index, at_ms);
            }
            None if end_ms <= at_ms => finish_job(stack, &mut operation, index, around, at_ms),
            _ => {}
        }
    }
    settle(stack, operation, around, at_ms);
}

/// Starts all that can start, and moves to the next phase when this one is through.
pub(crate) fn settle(stack: &mut Stack, mut operation: Operation, around: &Surroundings<'_>, at_ms: i64) {
    loop {
        if operation.failures.is_empty() || deletes(operation.phase) {
            start_ready(stack, &mut operation, around, at_ms);
        }
        let running = operation.jobs.iter().any(|job| matches!(job.state, JobState::Running { .. }));
        let failed = !operation.failures.is_empty() && !deletes(operation.phase);
        if failed && running {
            cancel_running(stack, &mut operation, at_ms);
        } else if running {
            stack.operation = Some(operation);
            return;
        }
        match outcome::next_phase(stack, operation, around, at_ms) {
            Some(next) => operation = next,
            None => return,
        }
    }
}

fn deletes(phase: Phase) -> bool {
    matches!(phase, Phase::Cleanup | Phase::RollbackCleanup | Phase::Unmake | Phase::Delete)
}

fn start_ready(stack: &mut Stack, operation: &mut Operation, around: &Surroundings<'_>, at_ms: i64) {
    loop {
        let unfinished: BTreeSet<String> = operation
            .jobs
            .iter()
            .filter(|job| matches!(job.state, JobState::Waiting | JobState::Running { .. }))
            .map(|job| job.logical_id.clone())
            .collect();
        let ready = operation.jobs.iter().position(|job| {
            job.state == JobState::Waiting
                && !job.needs.iter().any(|id| *id != job.logical_id && unfinished.contains(id))
        });
        let Some(index) = ready else { return };
        let work = operation.jobs[index].work.clone();
        match work {
            Work::Apply => start_apply(stack, operation, index, around, at_ms),
            Work::Delete { record, current } => {
                start_delete(stack, operation, index, *record, current, around, at_ms);
            }
            Work::Restore(record) => start_restore(stack, operation, index, *record, around, at_ms),
        }
        if !operation.failures.is_empty() && !deletes(operation.phase) {
            return;
        }
    }
}

fn start_apply(
    stack: &mut Stack,
    operation: &mut Operation,
    index: usize,
    around: &Surroundings<'_>,
    at_ms: i64,
) {
    let logical_id = operation.jobs[index].logical_id.clone();
    let token = operation.token.clone();
    let Some(declared) = operation.target.template.resource(&logical_id).cloned() else {
        operation.jobs[index].state = JobState::Done;
        return;
    };
    let exports = plain_exports(around);
    let evaluated = {
        let live = Live { stack };
        let mut context = context_of(&operation.target, &stack.place, &exports, &live);
        context.conditions = operation.conditions.clone();
        let properties = context.members(&declared.properties);
        let metadata = declared.metadata.as_ref().map_or(Ok(None), |metadata| context.value(metadata));
        operation.imports.extend(context.imported.borrow().iter().cloned());
        properties.and_then(|properties| Ok((properties, metadata?)))
    };
    let existing = stack.resource(&logical_id).cloned();
    let verb = if existing.is_some() { ResourceVerb::Update } else { ResourceVerb::Create };
    let (properties, metadata) = match evaluated {
        Ok(evaluated) => evaluated,
        Err(message) => {
            let mut record =
                existing.unwrap_or_else(|| new_record(stack, &declared, serde_json::Map::new(), at_ms));
            let status = format!("{}_FAILED", verb.word());
            stack.turn_resource(&mut record, &status, Some(&message), at_ms, token.as_deref());
            if verb == ResourceVerb::Create {
                operation.added.push(logical_id.clone());
            }
            stack.put(record);
            operation.failures.push((verb, logical_id));
            operation.jobs[index].state = JobState::Failed;
            return;
        }
    };
    let needs = operation.jobs[index].needs.clone();
    let Some(existing) = existing else {
        let mut record = new_record(stack, &declared, properties, at_ms);
        record.metadata = metadata;
        record.needs = needs;
        stack.turn_resource(&mut record, "CREATE_IN_PROGRESS", None, at_ms, token.as_deref());
        stack.put(record);
        operation.added.push(logical_id.clone());
        let latency = around.faults.latency(&logical_id, around.settings.create_latency);
        operation.jobs[index].state = JobState::Running {
            middle_ms: Some(at_ms + latency / 2),
            end_ms: at_ms + latency,
            verb: ResourceVerb::Create,
        };
        return;
    };
    let changed = changed_properties(&existing.properties, &properties);
    let tags_changed = stack.deployment.as_ref().is_some_and(|before| before.tags != operation.target.tags);
    let mut record = existing.clone();
    record.needs = needs;
    record.deletion_policy.clone_from(&declared.deletion_policy);
    record.update_replace_policy.clone_from(&declared.update_replace_policy);
    record.metadata.clone_from(&metadata);
    operation.before.push(existing.clone());
    if changed.is_empty() && existing.metadata == metadata && !tags_changed {
        stack.put(record);
        operation.jobs[index].state = JobState::Done;
        return;
    }
    let replace = changed.iter().any(|name| Recreation::of(&record.kind, name) == Recreation::Always);
    record.properties = properties;
    let reason = replace
        .then_some("Requested update requires the creation of a new physical resource; hence creating one.");
    stack.turn_resource(&mut record, "UPDATE_IN_PROGRESS", reason, at_ms, token.as_deref());
    if replace {
        operation.leftovers.push(existing);
        record.naming = naming_of(stack, &record.kind, &logical_id, &record.properties);
    }
    stack.put(record);
    let latency = around.faults.latency(&logical_id, around.settings.update_latency);
    operation.jobs[index].state = JobState::Running {
        middle_ms: replace.then_some(at_ms + latency / 2),
        end_ms: at_ms + latency,
        verb: ResourceVerb::Update,
    };
}

fn start_delete(
    stack: &mut Stack,
    operation: &mut Operation,
    index: usize,
    mut record: ResourceRecord,
    current: bool,
    around: &Surroundings<'_>,
    at_ms: i64,
) {
    let token = operation.token.clone();
    let policy = if current { &record.deletion_policy } else { &record.update_replace_policy };
    let skipped = match (operation.phase, policy.as_deref()) {
        // What a failed creation or update made is not kept under RetainExceptOnCreate.
        (Phase::Unmake | Phase::RollbackCleanup, Some("RetainExceptOnCreate")) => false,
        (_, policy) => keeps(policy),
    };
    if skipped {
        stack.turn_resource(&mut record, "DELETE_SKIPPED", None, at_ms, token.as_deref());
        operation.jobs[index].state = JobState::Done;
        if current {
            forget(stack, operation.phase, record);
        }
        return;
    }
    stack.turn_resource(&mut record, "DELETE_IN_PROGRESS", None, at_ms, token.as_deref());
    let latency = around.faults.latency(&record.logical_id, around.settings.delete_latency);
    if current {
        stack.put(record.clone());
    }
    operation.jobs[index].work = Work::Delete { record: Box::new(record), current };
    operation.jobs[index].state =
        JobState::Running { middle_ms: None, end_ms: at_ms + latency, verb: ResourceVerb::Delete };
}

fn start_restore(
    stack: &mut Stack,
    operation: &mut Operation,
    index: usize,
    before: ResourceRecord,
    around: &Surroundings<'_>,
    at_ms: i64,
) {
    let mut record = before.clone();
    stack.turn_resource(&mut record, "UPDATE_IN_PROGRESS", None, at_ms, operation.token.as_deref());
    stack.put(record);
    let latency = around.faults.latency(&before.logical_id, around.settings.update_latency);
    operation.jobs[index].state =
        JobState::Running { middle_ms: None, end_ms: at_ms + latency, verb: ResourceVerb::Rollback };
}

/// The middle of a creation: the physical resource has an id from here on.
fn initiate(stack: &mut Stack, operation: &Operation, index: usize, at_ms: i64) {
    let job = &operation.jobs[index];
    let Some(mut record) = stack.resource(&job.logical_id).cloned() else { return };
    record.physical_id = Some(record.naming.physical_id(&record.properties, &stack.place));
    let status = record.status.clone();
    stack.turn_resource(
        &mut record,
        &status,
        Some("Resource creation Initiated"),
        at_ms,
        operation.token.as_deref(),
    );
    stack.put(record);
}

fn finish_job(
    stack: &mut Stack,
    operation: &mut Operation,
    index: usize,
    around: &Surroundings<'_>,
    at_ms: i64,
) {
    let JobState::Running { verb, .. } = operation.jobs[index].state else { return };
    let logical_id = operation.jobs[index].logical_id.clone();
    let token = operation.token.clone();
    let failure = around.faults.failure(&stack.place.stack_name, &logical_id, verb);
    let deleted = match &operation.jobs[index].work {
        Work::Delete { record, current } => Some((record.as_ref().clone(), *current)),
        _ => None,
    };
    let current = deleted.as_ref().is_none_or(|(_, current)| *current);
    let Some(mut record) = deleted.map(|(record, _)| record).or_else(|| stack.resource(&logical_id).cloned())
    else {
        operation.jobs[index].state = JobState::Done;
        return;
    };
    match &failure {
        Some(reason) => {
            let status = format!("{}_FAILED", verb.word());
            stack.turn_resource(&mut record, &status, Some(reason), at_ms, token.as_deref());
            operation.failures.push((verb, logical_id));
            operation.jobs[index].state = JobState::Failed;
        }
        None => {
            let status = format!("{}_COMPLETE", verb.word());
            stack.turn_resource(&mut record, &status, None, at_ms, token.as_deref());
            operation.jobs[index].state = JobState::Done;
        }
    }
    if verb == ResourceVerb::Delete && failure.is_none() {
        if current {
            forget(stack, operation.phase, record);
        }
    } else if current {
        stack.put(record);
    }
}

/// Takes a deleted resource out of the stack. A deleted stack still lists what it had.
fn forget(stack: &mut Stack, phase: Phase, record: ResourceRecord) {
    match phase {
        Phase::Delete | Phase::Unmake => stack.put(record),
        _ => stack.resources.retain(|other| other.logical_id != record.logical_id),
    }
}

fn cancel_running(stack: &mut Stack, operation: &mut Operation, at_ms: i64) {
    for index in 0..operation.jobs.len() {
        let JobState::Running { verb, .. } = operation.jobs[index].state else { continue };
        let logical_id = operation.jobs[index].logical_id.clone();
        let Some(mut record) = stack.resource(&logical_id).cloned() else { continue };
        let what = if verb == ResourceVerb::Create { "creation" } else { "update" };
        stack.turn_resource(
            &mut record,
            &format!("{}_FAILED", verb.word()),
            Some(&format!("Resource {what} cancelled")),
            at_ms,
            operation.token.as_deref(),
        );
        stack.put(record);
        operation.failures.push((verb, logical_id));
        operation.jobs[index].state = JobState::Failed;
    }
}

/// Jobs that delete all resources of a stack, each after those that need it.
pub(crate) fn delete_everything(stack: &Stack) -> Vec<Job> {
    let present = stack
        .resources
        .iter()
        .rev()
        .filter(|r| !matches!(r.status.as_str(), "DELETE_COMPLETE" | "DELETE_SKIPPED"));
    delete_jobs(present.map(|record| (record.clone(), true)).collect())
}

/// Jobs that delete resources (each with whether it is the stack's current one), each after those that need it.
pub(crate) fn delete_jobs(records: Vec<(ResourceRecord, bool)>) -> Vec<Job> {
    let needed_by = |id: &str| {
        let users = records.iter().filter(|(other, _)| other.needs.iter().any(|need| need == id));
        users.map(|(other, _)| other.logical_id.clone()).collect::<Vec<_>>()
    };
    records
        .iter()
        .map(|(record, current)| Job {
            logical_id: record.logical_id.clone(),
            needs: needed_by(&record.logical_id),
            work: Work::Delete { record: Box::new(record.clone()), current: *current },
            state: JobState::Waiting,
        })
        .collect()
}

fn new_record(
    stack: &Stack,
    declared: &crate::template::ResourceDecl,
    properties: serde_json::Map<String, Value>,
    at_ms: i64,
) -> ResourceRecord {
    ResourceRecord {
        naming: naming_of(stack, &declared.kind, &declared.logical_id, &properties),
        logical_id: declared.logical_id.clone(),
        kind: declared.kind.clone(),
        physical_id: None,
        properties,
        metadata: None,
        deletion_policy: declared.deletion_policy.clone(),
        update_replace_policy: declared.update_replace_policy.clone(),
        needs: Vec::new(),
        status: String::new(),
        reason: None,
        changed_ms: at_ms,
    }
}

fn naming_of(
    stack: &Stack,
    kind: &str,
    logical_id: &str,
    properties: &serde_json::Map<String, Value>,
) -> Naming {
    Naming::of(kind, logical_id, properties, &stack.place, uuid::Uuid::new_v4().simple().to_string())
}
