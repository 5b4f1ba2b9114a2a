//! The jobs of an operation: each creates, updates, deletes or restores one resource.

use serde_json::{Map, Value};

use crate::engine::{JobState, Live, Operation, Phase, Surroundings, Work, context_of, plain_exports};
use crate::faults::ResourceVerb;
use crate::plan::{changed_properties, keeps};
use crate::stack::{ResourceRecord, Stack};
use crate::template::{Naming, Recreation, ResourceDecl};

/// Creates a resource, or updates it where the stack has it already.
pub(crate) fn start_apply(
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
            let existing_before = existing.clone();
            let mut record = existing.unwrap_or_else(|| new_record(stack, &declared, Map::new(), at_ms));
            let status = format!("{}_FAILED", verb.word());
            stack.turn_resource(&mut record, &status, Some(&message), at_ms, token.as_deref());
            match existing_before {
                Some(before) => {
                    operation.touched.insert(logical_id.clone());
                    operation.before.push(before);
                }
                None => operation.added.push(logical_id.clone()),
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
            middle_ms: Some(at_ms.saturating_add(latency / 2)),
            end_ms: at_ms.saturating_add(latency),
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
    operation.touched.insert(logical_id.clone());
    stack.turn_resource(&mut record, "UPDATE_IN_PROGRESS", reason, at_ms, token.as_deref());
    if replace {
        operation.leftovers.push(existing);
        record.naming = naming_of(stack, &record.kind, &logical_id, &record.properties);
    }
    stack.put(record);
    let latency = around.faults.latency(&logical_id, around.settings.update_latency);
    operation.jobs[index].state = JobState::Running {
        middle_ms: replace.then_some(at_ms.saturating_add(latency / 2)),
        end_ms: at_ms.saturating_add(latency),
        verb: ResourceVerb::Update,
    };
}

/// Deletes a physical resource, unless its policy keeps it.
pub(crate) fn start_delete(
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
    operation.jobs[index].state = JobState::Running {
        middle_ms: None,
        end_ms: at_ms.saturating_add(latency),
        verb: ResourceVerb::Delete,
    };
}

/// Puts a resource back to how it was.
pub(crate) fn start_restore(
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
    operation.jobs[index].state = JobState::Running {
        middle_ms: None,
        end_ms: at_ms.saturating_add(latency),
        verb: ResourceVerb::Rollback,
    };
}

/// The middle of a creation: the physical resource has an id from here on.
pub(crate) fn initiate(stack: &mut Stack, operation: &Operation, index: usize, at_ms: i64) {
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

/// The end of a job, good or bad.
pub(crate) fn finish_job(
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

/// Gives up what is still running, because something else failed.
pub(crate) fn cancel_running(stack: &mut Stack, operation: &mut Operation, at_ms: i64) {
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

fn new_record(
    stack: &Stack,
    declared: &ResourceDecl,
    properties: Map<String, Value>,
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

fn naming_of(stack: &Stack, kind: &str, logical_id: &str, properties: &Map<String, Value>) -> Naming {
    Naming::of(
        kind,
        logical_id,
        properties,
        &stack.place,
        syncline_seams::chance::uuid().simple().to_string(),
    )
}
