//! DeleteStack and ContinueUpdateRollback.

use crate::engine::{JobState, Kind, Operation};
use crate::query::Form;
use crate::refusal::Refusal;
use crate::region::Region;
use crate::simulator::Session;

/// DeleteStack. A stack that is not there is deleted already.
pub(crate) fn delete_stack(region: &mut Region, form: &Form, session: &Session<'_>) -> Result<(), Refusal> {
    let name = form.required("StackName")?;
    let token = form.filled("ClientRequestToken").map(str::to_owned);
    let Some(index) = region.find(name) else { return Ok(()) };
    let imports = region.imports();
    let stack = &mut region.stacks[index];
    match stack.status.as_str() {
        "DELETE_COMPLETE" | "DELETE_IN_PROGRESS" => return Ok(()),
        "CREATE_IN_PROGRESS" => {}
        status if status.ends_with("_IN_PROGRESS") && status != "REVIEW_IN_PROGRESS" => {
            return Err(Refusal::validation(format!(
                "Stack [{}] cannot be deleted while in status {status}",
                stack.place.stack_name
            )));
        }
        _ => {}
    }
    for output in &stack.outputs {
        let Some(export) = &output.export_name else { continue };
        if let Some(users) = imports.get(export).filter(|users| !users.is_empty()) {
            let reason = format!(
                "Delete canceled. Cannot delete export {export} as it is in use by {}.",
                users.join(", ")
            );
            let status = stack.status.clone();
            stack.turn(&status, Some(&reason), session.now_ms, token.as_deref());
            return Ok(());
        }
    }
    // Deleting a stack ends whatever it was doing; its change sets go with it.
    stack.operation = None;
    stack.change_sets.retain(|change_set| {
        matches!(change_set.execution_status(session.now_ms), "EXECUTE_COMPLETE" | "EXECUTE_FAILED")
    });
    stack.turn("DELETE_IN_PROGRESS", Some("User Initiated"), session.now_ms, token.as_deref());
    let target = stack.deployment.clone().unwrap_or_default();
    let operation = Operation::new(Kind::Delete, target, token);
    region.begin(index, operation, session.settings, session.faults, session.now_ms);
    Ok(())
}

/// ContinueUpdateRollback.
pub(crate) fn continue_update_rollback(
    region: &mut Region,
    form: &Form,
    session: &Session<'_>,
) -> Result<(), Refusal> {
    let name = form.required("StackName")?;
    let token = form.filled("ClientRequestToken").map(str::to_owned);
    let skip = form.strings("ResourcesToSkip").unwrap_or_default();
    let Some(index) = region.find(name) else {
        return Err(Refusal::validation(format!("Stack [{name}] does not exist")));
    };
    let stack = &mut region.stacks[index];
    if stack.status != "UPDATE_ROLLBACK_FAILED" {
        return Err(Refusal::validation(format!(
            "Stack:{} is in {} state and can not continue rollback.",
            stack.place.stack_id, stack.status
        )));
    }
    let Some(mut operation) = stack.operation.take() else {
        // The state was set from outside: there is nothing left to put back.
        stack.turn("UPDATE_ROLLBACK_IN_PROGRESS", Some("User Initiated"), session.now_ms, token.as_deref());
        stack.turn("UPDATE_ROLLBACK_COMPLETE", None, session.now_ms, token.as_deref());
        return Ok(());
    };
    if let Some(id) = skip.iter().find(|id| !operation.jobs.iter().any(|job| job.logical_id == **id)) {
        let refusal =
            Refusal::validation(format!("Resource {id} did not fail to roll back and cannot be skipped"));
        stack.operation = Some(operation);
        return Err(refusal);
    }
    operation.token.clone_from(&token);
    for job in operation.jobs.iter_mut().filter(|job| skip.contains(&job.logical_id)) {
        job.state = JobState::Done;
    }
    stack.turn("UPDATE_ROLLBACK_IN_PROGRESS", Some("User Initiated"), session.now_ms, token.as_deref());
    for id in &skip {
        if let Some(mut record) = stack.resource(id).cloned() {
            let reason = Some("Resource was skipped during rollback.");
            stack.turn_resource(&mut record, "UPDATE_COMPLETE", reason, session.now_ms, token.as_deref());
            stack.put(record);
        }
    }
    region.resume(index, operation, session.settings, session.faults, session.now_ms);
    Ok(())
}
