//! From the SDK's answers, in which everything is optional, to ours.

use aws_sdk_cloudformation::operation::describe_change_set::DescribeChangeSetOutput;
use aws_sdk_cloudformation::operation::describe_stacks::DescribeStacksOutput;
use aws_sdk_cloudformation::types as sdk;

use crate::scrub::scrub;
use crate::{Change, ChangeDetail, ChangeSet, InProgress, Stack, StackEvent, TargetError};

/// The answer lacks what every such answer has.
pub(super) fn missing(action: &str, what: &str) -> TargetError {
    TargetError::unavailable("MalformedAnswer", format!("the answer to {action} lacks {what}"))
}

pub(super) fn stack(answer: &DescribeStacksOutput) -> Result<Option<Stack>, TargetError> {
    let Some(stack) = answer.stacks().first() else { return Ok(None) };
    let (Some(id), Some(name), Some(status)) = (stack.stack_id(), stack.stack_name(), stack.stack_status())
    else {
        return Err(missing("DescribeStacks", "StackId, StackName or StackStatus"));
    };
    let ms =
        |time: Option<&aws_sdk_cloudformation::primitives::DateTime>| time.and_then(|t| t.to_millis().ok());
    Ok(Some(Stack {
        id: id.to_owned(),
        name: name.to_owned(),
        status: status.as_str().into(),
        status_reason: stack.stack_status_reason().map(scrub),
        change_set_arn: stack.change_set_id().map(str::to_owned),
        created_ms: ms(stack.creation_time()),
        updated_ms: ms(stack.last_updated_time()),
    }))
}

/// A stack of a listing, by its id; `None` for one that lacks what is to be known of it.
pub(super) fn in_progress(stack: &sdk::StackSummary) -> Option<(String, InProgress)> {
    let status = stack.stack_status()?.as_str().into();
    let updated_ms = stack.last_updated_time().and_then(|time| time.to_millis().ok());
    Some((stack.stack_id()?.to_owned(), InProgress { status, updated_ms }))
}

pub(super) fn change_set(
    page: &DescribeChangeSetOutput,
    changes: Vec<Change>,
) -> Result<ChangeSet, TargetError> {
    let (Some(arn), Some(stack_id), Some(status)) = (page.change_set_id(), page.stack_id(), page.status())
    else {
        return Err(missing("DescribeChangeSet", "ChangeSetId, StackId or Status"));
    };
    Ok(ChangeSet {
        arn: arn.to_owned(),
        stack_id: stack_id.to_owned(),
        status: status.as_str().into(),
        status_reason: page.status_reason().map(scrub),
        // A change set that is still being made may have none yet.
        execution_status: page.execution_status().map_or("UNAVAILABLE", |s| s.as_str()).into(),
        changes,
        created_ms: page.creation_time().and_then(|time| time.to_millis().ok()),
    })
}

/// `None` for a change that is not about a resource (hooks).
pub(super) fn change(change: &sdk::Change) -> Option<Change> {
    let change = change.resource_change()?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Some(Change {
        action: change.action().map_or("", |a| a.as_str()).into(),
        logical_id: text(change.logical_resource_id()),
        physical_id: change.physical_resource_id().filter(|id| !id.is_empty()).map(str::to_owned),
        resource_type: text(change.resource_type()),
        replacement: change.replacement().map(|r| r.as_str().into()),
        scope: change.scope().iter().map(|s| s.as_str().to_owned()).collect(),
        policy_action: change.policy_action().map(|p| p.as_str().to_owned()),
        details: change.details().iter().map(detail).collect(),
    })
}

fn detail(detail: &sdk::ResourceChangeDetail) -> ChangeDetail {
    let target = detail.target();
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    ChangeDetail {
        property: text(target.and_then(|target| target.name())),
        path: text(target.and_then(|target| target.path())),
        before: target.and_then(|target| target.before_value()).map(str::to_owned),
        after: target.and_then(|target| target.after_value()).map(str::to_owned),
        cause: text(detail.causing_entity()),
    }
}

/// The parameters of the one stack that was asked for.
pub(super) fn parameters(answer: &DescribeStacksOutput) -> Vec<(String, String)> {
    let stack = answer.stacks().first();
    let parameters = stack.map(|stack| stack.parameters()).unwrap_or_default();
    let pair = |parameter: &sdk::Parameter| {
        Some((parameter.parameter_key()?.to_owned(), parameter.parameter_value()?.to_owned()))
    };
    parameters.iter().filter_map(pair).collect()
}

/// `None` for an event without an id, which could never be told from another.
pub(super) fn event(event: &sdk::StackEvent) -> Option<StackEvent> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Some(StackEvent {
        id: event.event_id()?.to_owned(),
        time_ms: event.timestamp().and_then(|t| t.to_millis().ok()).unwrap_or_default(),
        logical_id: text(event.logical_resource_id()),
        physical_id: event.physical_resource_id().filter(|id| !id.is_empty()).map(str::to_owned),
        resource_type: text(event.resource_type()),
        status: text(event.resource_status().map(|s| s.as_str())),
        reason: event.resource_status_reason().map(scrub),
        client_request_token: event.client_request_token().map(str::to_owned),
    })
}
