//! The trait, and what goes in and comes out of it.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use crate::{Access, ChangeAction, ChangeSetStatus, ExecutionStatus, Replacement, StackStatus, TargetError};

/// The longest template that can be sent with a request, in bytes (CloudFormation's quota). The caller
/// checks it.
pub const MAX_INLINE_TEMPLATE_BYTES: usize = 51_200;

/// What a [`Target`]'s methods return.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, TargetError>> + Send + 'a>>;

/// Something that holds stacks and changes them through change sets.
///
/// Each method is one outside call, or one per page, and none is repeated on failure. Dropping an answer
/// before it is ready leaves it unknown whether the call took effect, as a timeout does. Every method may
/// answer [`TargetError::Unavailable`], [`TargetError::Denied`] and [`TargetError::RoleNotAssumable`].
/// A `stack` is a name or a stack id; only the id finds a stack that was deleted.
pub trait Target: Debug + Send + Sync {
    /// The ARN that a role's trust policy must name to let us in. An answer may be an hour old, a failure half a
    /// minute: nobody can make us ask AWS more often.
    fn principal(&self) -> Answer<'_, String>;

    /// The stack as it is now; `None` if there is none.
    fn describe_stack<'a>(&'a self, access: &'a Access, stack: &'a str) -> Answer<'a, Option<Stack>>;

    /// The stack, if it is among those that a listing of all stacks in progress shows; the listing began at `asked_ms`
    /// (milliseconds since the Unix epoch) or later, and may have been asked for by others. `None` says nothing of
    /// the stack: describe it. So does what every target answers that has no such listing.
    fn in_progress<'a>(
        &'a self,
        access: &'a Access,
        stack_id: &'a str,
        asked_ms: i64,
    ) -> Answer<'a, Option<InProgress>> {
        let _ = (access, stack_id, asked_ms);
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Asks for a change set, which is then made in the background.
    ///
    /// # Errors
    /// `Refused` for an invalid template and the like, `AlreadyExists` if the stack has a change set of this
    /// name, `NotFound` for an update of no stack, `InvalidState` if the stack cannot be updated now or is
    /// there although it is to be created.
    fn create_change_set<'a>(
        &'a self,
        access: &'a Access,
        request: &'a ChangeSetRequest,
    ) -> Answer<'a, ChangeSetRef>;

    /// The change set with all its changes.
    ///
    /// # Errors
    /// `NotFound` if there is no such change set or stack.
    fn describe_change_set<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ChangeSet>;

    /// The same, with what changed properties are before and after, as far as CloudFormation tells. They may hold
    /// secrets.
    ///
    /// # Errors
    /// `NotFound` if there is no such change set or stack.
    fn describe_changes<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ChangeSet>;

    /// The template that the stack was made from, as it was sent, and its parameters.
    ///
    /// # Errors
    /// `NotFound` if there is no such stack, or it was not made yet.
    fn declared<'a>(&'a self, access: &'a Access, stack: &'a str) -> Answer<'a, Declared>;

    /// Deletes a change set; one that is gone already is deleted.
    ///
    /// # Errors
    /// `InvalidChangeSetStatus` if it is being executed.
    fn delete_change_set<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ()>;

    /// Begins the execution of a change set under a token of ours, which its stack events then carry.
    ///
    /// # Errors
    /// `TokenAlreadyExists` if it was begun before, `NotFound` if the change set is gone,
    /// `InvalidChangeSetStatus` if it is obsolete or not ready, `InvalidState` if the stack is being changed.
    fn execute_change_set<'a>(
        &'a self,
        access: &'a Access,
        change_set: &'a ChangeSetRef,
        token: &'a str,
    ) -> Answer<'a, ()>;

    /// The stack's events newer than the event `since` (all if `None`) and, if an execution is given, of that
    /// one; oldest first.
    ///
    /// At most the newest 20 pages (AWS: 100 events each) are read, and what is older is left out.
    ///
    /// # Errors
    /// `NotFound` if there is no such stack.
    fn stack_events<'a>(
        &'a self,
        access: &'a Access,
        stack_id: &'a str,
        since: Option<&'a str>,
        of: Option<Execution<'a>>,
    ) -> Answer<'a, Vec<StackEvent>>;
}

/// A stack as CloudFormation describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The stack id (an ARN): another one after the stack was deleted and created again.
    pub id: String,
    /// The stack's name.
    pub name: String,
    /// Its status.
    pub status: StackStatus,
    /// Why it is in this status, if CloudFormation says so.
    pub status_reason: Option<String>,
    /// The ARN of the change set it was last created or updated with.
    pub change_set_arn: Option<String>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_ms: Option<i64>,
    /// When it was last updated, in milliseconds since the Unix epoch.
    pub updated_ms: Option<i64>,
}

/// What a stack was made from.
#[derive(Clone, PartialEq, Eq)]
pub struct Declared {
    /// The template's text.
    pub template: String,
    /// The parameters' names and values; those of NoEcho parameters are masked.
    pub parameters: Vec<(String, String)>,
}

// A derived one would print parameter values.
impl Debug for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Declared")
            .field("template_bytes", &self.template.len())
            .field("parameters", &self.parameters.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish()
    }
}

/// A stack that is being changed, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InProgress {
    /// Its status.
    pub status: StackStatus,
    /// When its last update began, in milliseconds since the Unix epoch.
    pub updated_ms: Option<i64>,
}

/// Whether a change set makes a stack or changes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSetKind {
    /// Makes the stack, and deletes it again if that fails.
    Create,
    /// Changes the stack, and rolls it back if that fails.
    Update,
}

/// A change set to be made. All capabilities are granted; nested stacks are not looked into.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeSetRequest {
    /// The stack's name. Whether it was the stack that the caller had seen, and not a namesake made since,
    /// is told by [`ChangeSetRef::stack_id`].
    pub stack: String,
    /// The change set's name: a letter, then letters, digits and `-`, at most 128; unique in the stack.
    pub name: String,
    /// The idempotency token; at most 128 characters.
    pub token: String,
    /// Create or update.
    pub kind: ChangeSetKind,
    /// The template, sent as it is; at most [`MAX_INLINE_TEMPLATE_BYTES`].
    pub template_body: Arc<str>,
    /// The parameters' names and values. A parameter left out gets the template's default.
    pub parameters: Vec<(String, String)>,
    /// The stack's tags. `None` leaves them as they are; an empty list removes them.
    pub tags: Option<Vec<(String, String)>>,
}

// A derived one would print parameter values, and they may be secrets.
impl Debug for ChangeSetRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeSetRequest")
            .field("stack", &self.stack)
            .field("name", &self.name)
            .field("token", &self.token)
            .field("kind", &self.kind)
            .field("template_bytes", &self.template_body.len())
            .field("parameters", &self.parameters.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("tags", &self.tags)
            .finish()
    }
}

/// Which change set of which stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSetRef {
    /// The change set's ARN.
    pub change_set_arn: String,
    /// The stack's id.
    pub stack_id: String,
}

/// A change set as CloudFormation describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// The change set's ARN.
    pub arn: String,
    /// The stack's id.
    pub stack_id: String,
    /// How far its making has come.
    pub status: ChangeSetStatus,
    /// Why it failed.
    pub status_reason: Option<String>,
    /// Whether it can be executed.
    pub execution_status: ExecutionStatus,
    /// What it would do; complete once `status` is `CreateComplete`.
    pub changes: Vec<Change>,
    /// When it was asked for, in milliseconds since the Unix epoch by CloudFormation's clock.
    pub created_ms: Option<i64>,
}

impl ChangeSet {
    /// Whether it failed only because the stack is as it should be already. CloudFormation has no status for
    /// it, only two sentences.
    #[must_use]
    pub fn no_changes(&self) -> bool {
        let reason = self.status_reason.as_deref().unwrap_or_default();
        self.status == ChangeSetStatus::Failed
            && (reason.contains("didn't contain changes")
                || reason.contains("No updates are to be performed"))
    }
}

/// What a change set would do to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What would happen.
    pub action: ChangeAction,
    /// The resource's name in the template.
    pub logical_id: String,
    /// The resource's own id, if it exists.
    pub physical_id: Option<String>,
    /// The resource's type, such as `AWS::S3::Bucket`.
    pub resource_type: String,
    /// Whether it would be replaced; only for `Modify`.
    pub replacement: Option<Replacement>,
    /// Which of its attributes would change: `Properties`, `Tags`, `Metadata` and so on.
    pub scope: Vec<String>,
    /// What becomes of the resource that is removed or replaced, such as `Delete`, `Retain` or `Snapshot`.
    pub policy_action: Option<String>,
    /// Which of its properties would change, and why.
    pub details: Vec<ChangeDetail>,
}

/// A property that a change set would change.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChangeDetail {
    /// The property; `None` for tags, metadata and the like.
    pub property: Option<String>,
    /// Where the value is, such as `/Properties/Tags/0/Value`; only of [`Target::describe_changes`], as are the values.
    pub path: Option<String>,
    /// The value before: text, or JSON of anything else.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
    /// The parameter, resource or attribute that causes it.
    pub cause: Option<String>,
}

// A derived one would print values.
impl Debug for ChangeDetail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeDetail")
            .field("property", &self.property)
            .field("path", &self.path)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// The execution of a change set, as far as it tells which stack events belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution<'a> {
    /// The token it was begun under.
    pub token: &'a str,
    /// When its change set was asked for, in milliseconds since the Unix epoch by CloudFormation's clock.
    ///
    /// A token is optional in an event. Where none carries this one, those that carry none and are not older
    /// than the change set belong to its execution: whatever else had changed the stack since would have made
    /// the change set obsolete.
    pub change_set_created_ms: Option<i64>,
}

/// One line of a stack's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackEvent {
    /// The event's id, unique in the stack.
    pub id: String,
    /// When it happened, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The resource's name in the template, or the stack's name.
    pub logical_id: String,
    /// The resource's own id, or the stack's id.
    pub physical_id: Option<String>,
    /// The resource's type; `AWS::CloudFormation::Stack` for the stack itself.
    pub resource_type: String,
    /// The status the resource has come to, such as `CREATE_FAILED`.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// The token of the operation it belongs to.
    pub client_request_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_change_is_told_by_two_sentences() {
        let check = |status: ChangeSetStatus, reason: Option<&str>, expect: bool| {
            let set = ChangeSet {
                arn: String::new(),
                stack_id: String::new(),
                status,
                status_reason: reason.map(str::to_owned),
                execution_status: ExecutionStatus::Unavailable,
                changes: Vec::new(),
                created_ms: None,
            };
            assert_eq!(set.no_changes(), expect, "{reason:?}");
        };
        let submitted = "The submitted information didn't contain changes. Submit different information to create a change set.";
        check(ChangeSetStatus::Failed, Some(submitted), true);
        check(ChangeSetStatus::Failed, Some("No updates are to be performed."), true);
        check(ChangeSetStatus::Failed, Some("Transform AWS::Serverless failed"), false);
        check(ChangeSetStatus::Failed, None, false);
        check(ChangeSetStatus::CreateComplete, Some(submitted), false);
    }

    #[test]
    fn a_request_does_not_print_parameter_values() {
        let request = ChangeSetRequest {
            stack: "web".to_owned(),
            name: "a-1".to_owned(),
            token: "a-1".to_owned(),
            kind: ChangeSetKind::Create,
            template_body: "Resources: {}".into(),
            parameters: vec![("Password".to_owned(), "canary".to_owned())],
            tags: None,
        };
        let printed = format!("{request:?}");
        assert!(printed.contains("Password") && !printed.contains("canary"), "{printed}");
    }
}
