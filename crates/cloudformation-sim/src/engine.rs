//! Carries out operations on stacks: which resource when, what events, and what follows a failure.
//!
//! Nothing runs by itself: [`step`] does what is due next, at the instant it was due, and whoever asks for anything
//! first steps until now.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::faults::{ResourceFaults, ResourceVerb};
use crate::jobs::{cancel_running, finish_job, initiate, start_apply, start_delete, start_restore};
use crate::outcome;
use crate::plan::{record_attribute, undefined};
use crate::settings::Settings;
use crate::stack::{Deployment, OnStackFailure, ResourceRecord, Stack};
use crate::template::{Context, Place, Resources, order};

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
    /// The logical ids of which an update has begun.
    pub(crate) touched: BTreeSet<String>,
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
            touched: BTreeSet::new(),
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
