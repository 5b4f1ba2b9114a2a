//! What follows when a phase of an operation is through.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{
    Job, JobState, Kind, Live, Operation, Phase, Surroundings, Work, context_of, delete_everything,
    delete_jobs, plain_exports,
};
use crate::faults::ResourceVerb;
use crate::stack::{Execution, OnStackFailure, Output, Stack};

/// Ends the phase; `None` when the operation is over.
pub(crate) fn next_phase(
    stack: &mut Stack,
    mut operation: Operation,
    around: &Surroundings<'_>,
    at_ms: i64,
) -> Option<Operation> {
    match operation.phase {
        Phase::Apply => {
            if operation.failures.is_empty() {
                match outputs(stack, &mut operation, around) {
                    Ok(outputs) => return applied(stack, operation, outputs, at_ms),
                    Err(reason) => return apply_failed(stack, operation, &reason, at_ms),
                }
            }
            let reason = failed_sentence(&operation.failures);
            apply_failed(stack, operation, &reason, at_ms)
        }
        Phase::Cleanup => {
            let reason = leftover_reason("Update", &operation);
            end(stack, operation, "UPDATE_COMPLETE", reason, at_ms, Execution::Complete)
        }
        Phase::Rollback => {
            if !operation.failures.is_empty() {
                let reason = failed_sentence(&operation.failures);
                let token = operation.token.clone();
                stack.turn("UPDATE_ROLLBACK_FAILED", Some(&reason), at_ms, token.as_deref());
                finish_change_set(stack, Execution::Failed);
                // The rest of the rollback waits for ContinueUpdateRollback.
                operation.jobs.retain(|job| job.state != JobState::Done);
                for job in &mut operation.jobs {
                    job.state = JobState::Waiting;
                }
                operation.failures.clear();
                stack.operation = Some(operation);
                return None;
            }
            let token = operation.token.clone();
            stack.turn("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", None, at_ms, token.as_deref());
            let added: Vec<_> = operation
                .added
                .iter()
                .rev()
                .filter_map(|id| stack.resource(id).cloned())
                .map(|record| (record, true))
                .chain(operation.leftovers.drain(..).map(|record| (record, false)))
                .collect();
            operation.jobs = delete_jobs(added);
            operation.phase = Phase::RollbackCleanup;
            Some(operation)
        }
        Phase::RollbackCleanup => {
            let reason = leftover_reason("Rollback", &operation);
            end(stack, operation, "UPDATE_ROLLBACK_COMPLETE", reason, at_ms, Execution::Failed)
        }
        Phase::Unmake => {
            let (status, reason) = match operation.failures.is_empty() {
                true => ("ROLLBACK_COMPLETE", None),
                false => ("ROLLBACK_FAILED", Some(failed_sentence(&operation.failures))),
            };
            end(stack, operation, status, reason, at_ms, Execution::Failed)
        }
        Phase::Delete => {
            let (status, reason) = match operation.failures.is_empty() {
                true => ("DELETE_COMPLETE", None),
                false => ("DELETE_FAILED", Some(failed_sentence(&operation.failures))),
            };
            end(stack, operation, status, reason, at_ms, Execution::Failed)
        }
    }
}

/// Everything was created and updated.
fn applied(
    stack: &mut Stack,
    mut operation: Operation,
    outputs: Vec<Output>,
    at_ms: i64,
) -> Option<Operation> {
    stack.outputs = outputs;
    stack.imports = std::mem::take(&mut operation.imports);
    if let Kind::Create(_) = operation.kind {
        stack.deployment = Some(operation.target.clone());
        return end(stack, operation, "CREATE_COMPLETE", None, at_ms, Execution::Complete);
    }
    let token = operation.token.clone();
    stack.turn("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None, at_ms, token.as_deref());
    let kept: BTreeSet<&str> = operation.jobs.iter().map(|job| job.logical_id.as_str()).collect();
    let removed: Vec<_> = stack
        .resources
        .iter()
        .rev()
        .filter(|record| !kept.contains(record.logical_id.as_str()))
        .map(|record| (record.clone(), true))
        .chain(operation.leftovers.drain(..).map(|record| (record, false)))
        .collect();
    stack.deployment = Some(operation.target.clone());
    operation.jobs = delete_jobs(removed);
    operation.phase = Phase::Cleanup;
    Some(operation)
}

fn apply_failed(stack: &mut Stack, mut operation: Operation, reason: &str, at_ms: i64) -> Option<Operation> {
    let token = operation.token.clone();
    operation.failures.clear();
    match operation.kind {
        Kind::Create(on_failure) => {
            // What a failed creation was made from can still be read (GetTemplate).
            stack.deployment = Some(operation.target.clone());
            match on_failure {
                OnStackFailure::DoNothing => {
                    return end(
                        stack,
                        operation,
                        "CREATE_FAILED",
                        Some(reason.to_owned()),
                        at_ms,
                        Execution::Failed,
                    );
                }
                OnStackFailure::Rollback => {
                    let reason =
                        format!("{}. Rollback requested by user.", reason.trim_end_matches([' ', '.']));
                    stack.turn("ROLLBACK_IN_PROGRESS", Some(&reason), at_ms, token.as_deref());
                    operation.phase = Phase::Unmake;
                }
                OnStackFailure::Delete => {
                    let reason =
                        format!("{}. Delete requested by user.", reason.trim_end_matches([' ', '.']));
                    stack.turn("DELETE_IN_PROGRESS", Some(&reason), at_ms, token.as_deref());
                    operation.phase = Phase::Delete;
                }
            }
            operation.jobs = delete_everything(stack);
        }
        Kind::Update { disable_rollback: true } => {
            stack.deployment = Some(operation.target.clone());
            return end(stack, operation, "UPDATE_FAILED", Some(reason.to_owned()), at_ms, Execution::Failed);
        }
        Kind::Update { disable_rollback: false } | Kind::Delete => {
            stack.turn("UPDATE_ROLLBACK_IN_PROGRESS", Some(reason), at_ms, token.as_deref());
            begin_rollback(stack, &mut operation);
        }
    }
    Some(operation)
}

/// Lines up the restoring of what the update touched; what replaced a resource becomes the leftover.
fn begin_rollback(stack: &mut Stack, operation: &mut Operation) {
    let mut jobs = Vec::new();
    let mut replacements = Vec::new();
    for before in std::mem::take(&mut operation.before) {
        let Some(now) = stack.resource(&before.logical_id).cloned() else { continue };
        if now.naming != before.naming && now.physical_id != before.physical_id {
            replacements.push(now.clone());
        }
        if !operation.touched.remove(&before.logical_id) {
            // The update did not get that far, or had nothing to do here.
            stack.put(before);
            continue;
        }
        jobs.push(Job {
            logical_id: before.logical_id.clone(),
            needs: before.needs.clone(),
            work: Work::Restore(Box::new(before)),
            state: JobState::Waiting,
        });
    }
    operation.leftovers = replacements;
    operation.jobs = jobs;
    operation.phase = Phase::Rollback;
}

fn end(
    stack: &mut Stack,
    operation: Operation,
    status: &str,
    reason: Option<String>,
    at_ms: i64,
    execution: Execution,
) -> Option<Operation> {
    stack.turn(status, reason.as_deref(), at_ms, operation.token.as_deref());
    if operation.kind != Kind::Delete {
        finish_change_set(stack, execution);
    }
    if matches!(status, "DELETE_COMPLETE" | "ROLLBACK_COMPLETE") {
        stack.outputs.clear();
        stack.imports.clear();
    }
    None
}

fn finish_change_set(stack: &mut Stack, execution: Execution) {
    for change_set in &mut stack.change_sets {
        if change_set.execution == Execution::InProgress {
            change_set.execution = execution;
        }
    }
}

/// Names what failed, as stack events do.
fn failed_sentence(failures: &[(ResourceVerb, String)]) -> String {
    let mut sentence = String::new();
    for (verb, what) in
        [(ResourceVerb::Create, "create"), (ResourceVerb::Update, "update"), (ResourceVerb::Delete, "delete")]
    {
        let ids: Vec<&str> = failures
            .iter()
            .filter(|(failed, _)| {
                *failed == verb || (verb == ResourceVerb::Update && *failed == ResourceVerb::Rollback)
            })
            .map(|(_, id)| id.as_str())
            .collect();
        if !ids.is_empty() {
            sentence.push_str(&format!("The following resource(s) failed to {what}: [{}]. ", ids.join(", ")));
        }
    }
    sentence
}

fn leftover_reason(what: &str, operation: &Operation) -> Option<String> {
    (!operation.failures.is_empty())
        .then(|| format!("{what} successful. One or more resources could not be deleted."))
}

/// The outputs' values, if nothing about the exports forbids them.
fn outputs(
    stack: &Stack,
    operation: &mut Operation,
    around: &Surroundings<'_>,
) -> Result<Vec<Output>, String> {
    let exports = plain_exports(around);
    let live = Live { stack };
    let mut context = context_of(&operation.target, &stack.place, &exports, &live);
    context.conditions = operation.conditions.clone();
    let mut outputs = Vec::new();
    for declared in &operation.target.template.outputs {
        if !context.is_active(declared.condition.as_deref()) {
            continue;
        }
        let export_name = match &declared.export_name {
            Some(name) => Some(context.text(name)?),
            None => None,
        };
        outputs.push(Output {
            key: declared.key.clone(),
            value: context.text(&declared.value)?,
            description: declared.description.clone(),
            export_name,
        });
    }
    let imported = context.imported.take();
    operation.imports.extend(imported);
    check_exports(stack, &outputs, around)?;
    Ok(outputs)
}

fn check_exports(stack: &Stack, outputs: &[Output], around: &Surroundings<'_>) -> Result<(), String> {
    let named = |outputs: &[Output]| -> BTreeMap<String, String> {
        outputs.iter().filter_map(|o| Some((o.export_name.clone()?, o.value.clone()))).collect()
    };
    let after = named(outputs);
    for name in after.keys() {
        if let Some((_, owner)) = around.exports.get(name)
            && *owner != stack.place.stack_name
        {
            return Err(format!("Export with name {name} is already exported by stack {owner}. "));
        }
    }
    for (name, value) in named(&stack.outputs) {
        let Some(users) = around.imports.get(&name).filter(|users| !users.is_empty()) else { continue };
        let verb = match after.get(&name) {
            None => "delete",
            Some(new) if *new != value => "update",
            Some(_) => continue,
        };
        return Err(format!("Cannot {verb} export {name} as it is in use by {}. ", users.join(", ")));
    }
    Ok(())
}
