//! The operations without HTTP, for simulations of many histories: the same rules, no documents.

use std::ops::ControlFlow;

use thiserror::Error;

use crate::query::Form;
use crate::refusal::Refusal;
use crate::region::Region;
use crate::simulator::{Session, Simulator, State};
use crate::xml::Xml;
use crate::{change_sets, describe, sts};

/// An error as CloudFormation or STS answers it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The error code.
    pub code: String,
    /// The message.
    pub message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, code: refusal.code, message: refusal.message }
    }
}

/// A stack as DescribeStacks tells it, as far as its clients here ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectStack {
    /// `StackId`.
    pub id: String,
    /// `StackName`.
    pub name: String,
    /// `StackStatus`.
    pub status: String,
    /// `StackStatusReason`.
    pub reason: Option<String>,
    /// `ChangeSetId`.
    pub change_set_id: Option<String>,
    /// `CreationTime`, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// `LastUpdatedTime`, in milliseconds since the Unix epoch.
    pub updated_ms: Option<i64>,
}

/// A change set as DescribeChangeSet tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectChangeSet {
    /// `ChangeSetId`.
    pub id: String,
    /// `StackId`.
    pub stack_id: String,
    /// `Status`.
    pub status: String,
    /// `StatusReason`.
    pub reason: Option<String>,
    /// `ExecutionStatus`.
    pub execution_status: String,
    /// `CreationTime`, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Action, logical id and type of each change.
    pub changes: Vec<(String, String, String)>,
}

/// A stack event as DescribeStackEvents tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectEvent<'a> {
    /// `EventId`.
    pub id: &'a str,
    /// `LogicalResourceId`.
    pub logical_id: &'a str,
    /// `PhysicalResourceId`; may be empty.
    pub physical_id: &'a str,
    /// `ResourceType`.
    pub kind: &'a str,
    /// `ResourceStatus`.
    pub status: &'a str,
    /// `ResourceStatusReason`.
    pub reason: Option<&'a str>,
    /// `ClientRequestToken`.
    pub token: Option<&'a str>,
    /// `Timestamp`, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// An account's CloudFormation in one region, called without HTTP.
#[derive(Debug, Clone)]
pub struct Direct {
    simulator: Simulator,
    account: String,
    region: String,
}

impl Simulator {
    /// CloudFormation as a role of this account meets it in this region.
    #[must_use]
    pub fn direct(&self, account: &str, region: &str) -> Direct {
        Direct { simulator: self.clone(), account: account.to_owned(), region: region.to_owned() }
    }

    /// AssumeRole; the session's end, in milliseconds since the Unix epoch by the simulator's clock.
    ///
    /// # Errors
    /// `AccessDenied` where the role lets nobody in, or not with this external id.
    pub fn assume_role(&self, role_arn: &str, external_id: &str) -> Result<i64, Refused> {
        let form = Form::of(&[
            ("RoleArn", role_arn),
            ("RoleSessionName", "direct"),
            ("DurationSeconds", "900"),
            ("ExternalId", external_id),
        ]);
        let state = self.lock();
        let caller = sts::Caller {
            account: self.inner.settings.default_account.clone(),
            arn: format!("arn:aws:iam::{}:user/simulated", self.inner.settings.default_account),
            user_id: "AIDASIMULATED".to_owned(),
        };
        let assumed = sts::assume_role(&form, &state.role_faults, &caller, state.now_ms, &mut Xml::default());
        Ok(assumed.map(|(_, holder)| holder.expires_ms)?)
    }

    /// The simulator's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.lock().now_ms
    }
}

impl Direct {
    fn at<T>(&self, act: impl FnOnce(&mut Region, &Session<'_>) -> Result<T, Refusal>) -> Result<T, Refused> {
        let mut state = self.simulator.lock();
        let now_ms = state.now_ms;
        state.region(&self.account, &self.region);
        let State { regions, resource_faults, .. } = &mut *state;
        let region = regions
            .get_mut(&(self.account.clone(), self.region.clone()))
            .ok_or_else(|| Refusal::new(500, "InternalFailure", "the region vanished"))?;
        let session = Session { settings: &self.simulator.inner.settings, faults: resource_faults, now_ms };
        Ok(act(region, &session)?)
    }

    /// CreateChangeSet, with the fields of its form; the change set's and the stack's ARN.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn create_change_set(&self, fields: &[(&str, &str)]) -> Result<(String, String), Refused> {
        let form = Form::of(fields);
        self.at(|region, session| {
            change_sets::create(region, &form, session, &mut Xml::default())?;
            let (s, c) = change_sets::locate(region, &form)?;
            let stack = &region.stacks[s];
            Ok((stack.change_sets[c].id.clone(), stack.place.stack_id.clone()))
        })
    }

    /// DescribeChangeSet.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn describe_change_set(&self, stack: &str, name: &str) -> Result<DirectChangeSet, Refused> {
        let form = Form::of(&[("StackName", stack), ("ChangeSetName", name)]);
        self.at(|region, session| {
            let (s, c) = change_sets::locate(region, &form)?;
            let change_set = &region.stacks[s].change_sets[c];
            let status = change_set.status(session.now_ms);
            let is_made = matches!(status, "CREATE_COMPLETE" | "FAILED");
            Ok(DirectChangeSet {
                id: change_set.id.clone(),
                stack_id: region.stacks[s].place.stack_id.clone(),
                status: status.to_owned(),
                reason: change_set.failure.clone().filter(|_| status == "FAILED"),
                execution_status: change_set.execution_status(session.now_ms).to_owned(),
                created_ms: change_set.created_ms,
                changes: change_set
                    .changes
                    .iter()
                    .filter(|_| is_made)
                    .map(|change| (change.action.to_owned(), change.logical_id.clone(), change.kind.clone()))
                    .collect(),
            })
        })
    }

    /// DeleteChangeSet.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn delete_change_set(&self, stack: &str, name: &str) -> Result<(), Refused> {
        let form = Form::of(&[("StackName", stack), ("ChangeSetName", name)]);
        self.at(|region, session| change_sets::delete(region, &form, session))
    }

    /// ExecuteChangeSet.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn execute_change_set(&self, stack: &str, name: &str, token: &str) -> Result<(), Refused> {
        let form = Form::of(&[("StackName", stack), ("ChangeSetName", name), ("ClientRequestToken", token)]);
        let accepted = self.at(|region, session| change_sets::execute(region, &form, session))?;
        self.simulator.lock().executions.extend(accepted);
        Ok(())
    }

    /// DescribeStacks of one stack.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn describe_stack(&self, name: &str) -> Result<DirectStack, Refused> {
        self.at(|region, _| {
            let stack = region.stack(name)?;
            Ok(DirectStack {
                id: stack.place.stack_id.clone(),
                name: stack.place.stack_name.clone(),
                status: stack.status.clone(),
                reason: stack.reason.clone(),
                change_set_id: stack.change_set_id.clone(),
                created_ms: stack.created_ms,
                updated_ms: stack.updated_ms,
            })
        })
    }

    /// ListStacks of all that are in progress: `StackId`, `StackStatus` and `LastUpdatedTime` of each.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn stacks_in_progress(&self) -> Result<Vec<(String, String, Option<i64>)>, Refused> {
        self.at(|region, _| {
            let listed = region.stacks.iter().filter(|stack| stack.status.ends_with("_IN_PROGRESS"));
            let summary = |stack: &crate::stack::Stack| {
                (stack.place.stack_id.clone(), stack.status.clone(), stack.updated_ms)
            };
            Ok(listed.map(summary).collect())
        })
    }

    /// DescribeStackEvents: shows `look` each event, newest first, until it breaks off.
    ///
    /// # Errors
    /// CloudFormation's.
    pub fn stack_events(
        &self,
        name: &str,
        mut look: impl FnMut(DirectEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(), Refused> {
        self.at(|region, _| {
            let stack = &region.stacks[describe::stack_of_events(region, name)?];
            for event in stack.events.iter().rev() {
                let seen = look(DirectEvent {
                    id: &event.id,
                    logical_id: &event.logical_id,
                    physical_id: &event.physical_id,
                    kind: &event.kind,
                    status: &event.status,
                    reason: event.reason.as_deref(),
                    token: event.token.as_deref(),
                    at_ms: event.at_ms,
                });
                if seen.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}
