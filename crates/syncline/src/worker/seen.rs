//! From what CloudFormation answers to what decisions and events are made of.

use syncline_model::plan::{ChangeSetSeen, Outcome, StackSeen};
use syncline_model::sync::{EventKind, SyncEvent};
use syncline_targets::{ChangeSet, ChangeSetStatus, ExecutionStatus, Stack, StackEvent, StackStatus};

pub(super) fn summary(change_set: &ChangeSet) -> String {
    let count = change_set.changes.len();
    let mut parts: Vec<String> = change_set
        .changes
        .iter()
        .take(20)
        .map(|change| format!("{} {} ({})", change.action, change.logical_id, change.resource_type))
        .collect();
    if count > parts.len() {
        parts.push(format!("and {} more", count - parts.len()));
    }
    format!("The change set has {count} change{}: {}", if count == 1 { "" } else { "s" }, parts.join(", "))
}

pub(super) fn says_no_updates(message: &str) -> bool {
    message.contains("No updates are to be performed") || message.contains("didn't contain changes")
}

pub(super) fn sync_event(event: &StackEvent) -> SyncEvent {
    let mut text = format!("{} ({}) {}", event.logical_id, event.resource_type, event.status);
    if let Some(reason) = &event.reason {
        text.push_str(": ");
        text.push_str(reason);
    }
    SyncEvent {
        time_ms: event.time_ms,
        kind: EventKind::StackEvent,
        text,
        external_id: Some(event.id.clone()),
    }
}

/// The statuses a change set can start from (contract §6), and what the others mean.
pub(super) fn stack_seen(stack: Option<&Stack>) -> StackSeen {
    use StackStatus as S;
    let Some(stack) = stack else { return StackSeen::Missing };
    match &stack.status {
        S::DeleteComplete => StackSeen::Missing,
        S::ReviewInProgress => StackSeen::Review,
        S::CreateComplete | S::UpdateComplete | S::ImportComplete => {
            StackSeen::Settled { rolled_back: false }
        }
        S::UpdateRollbackComplete | S::ImportRollbackComplete => StackSeen::Settled { rolled_back: true },
        status if status.as_str().ends_with("_IN_PROGRESS") => StackSeen::Changing,
        status => StackSeen::Stuck { status: status.as_str().to_owned() },
    }
}

pub(super) fn change_set_seen(change_set: Option<&ChangeSet>) -> ChangeSetSeen {
    let Some(change_set) = change_set else { return ChangeSetSeen::Missing };
    match (&change_set.status, &change_set.execution_status) {
        (ChangeSetStatus::DeleteComplete, _) => ChangeSetSeen::Missing,
        (_, ExecutionStatus::ExecuteInProgress) => ChangeSetSeen::Executing,
        (_, ExecutionStatus::ExecuteComplete | ExecutionStatus::ExecuteFailed) => ChangeSetSeen::Executed,
        (_, ExecutionStatus::Obsolete) => ChangeSetSeen::Obsolete,
        (ChangeSetStatus::Failed, _) if change_set.no_changes() => ChangeSetSeen::NoChanges,
        (ChangeSetStatus::Failed | ChangeSetStatus::DeleteFailed, _) => ChangeSetSeen::Failed {
            reason: change_set.status_reason.clone().unwrap_or_else(|| "no reason was given".to_owned()),
        },
        (ChangeSetStatus::CreateComplete, ExecutionStatus::Available) => ChangeSetSeen::Ready,
        _ => ChangeSetSeen::Pending,
    }
}

pub(super) fn is_of_stack(event: &StackEvent, stack_id: &str) -> bool {
    event.resource_type == "AWS::CloudFormation::Stack" && event.physical_id.as_deref() == Some(stack_id)
}

pub(super) fn is_failure(event: &StackEvent, stack_id: &str) -> bool {
    let cancelled =
        event.reason.as_deref().is_some_and(|reason| reason.to_ascii_lowercase().contains("cancelled"));
    !is_of_stack(event, stack_id) && event.status.ends_with("_FAILED") && !cancelled
}

pub(super) fn first_failure(events: &[StackEvent], stack_id: &str) -> Option<String> {
    let event = events.iter().find(|event| is_failure(event, stack_id))?;
    let reason = event.reason.as_deref().unwrap_or("no reason was given");
    Some(format!("{} ({}) {}: {reason}", event.logical_id, event.resource_type, event.status))
}

/// How the execution ended, by the stack's own last event in it.
pub(super) fn outcome(events: &[StackEvent], stack_id: &str) -> Option<Outcome> {
    let last = events.iter().rev().find(|event| is_of_stack(event, stack_id))?;
    match last.status.as_str() {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => Some(Outcome::Applied),
        status if status.ends_with("_IN_PROGRESS") => None,
        status => Some(Outcome::Failed {
            reason: first_failure(events, stack_id).unwrap_or_else(|| {
                let reason = last.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
                format!("the execution ended in {status}{reason}")
            }),
        }),
    }
}
