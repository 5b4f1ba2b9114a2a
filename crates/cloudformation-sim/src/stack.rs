//! The records of a region: stacks, their resources, events and change sets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::engine::Operation;
use crate::plan::Change;
use crate::template::{Naming, ParameterValue, Place, Template};

/// What a stack is made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deployment {
    pub(crate) template: Template,
    pub(crate) parameters: BTreeMap<String, ParameterValue>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) role_arn: Option<String>,
    pub(crate) notification_arns: Vec<String>,
}

/// A stack. Deleted ones stay, found by their id only.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) place: Place,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: Option<i64>,
    pub(crate) deleted_ms: Option<i64>,
    /// What the stack is made from; `None` while it is only under review.
    pub(crate) deployment: Option<Deployment>,
    pub(crate) resources: Vec<ResourceRecord>,
    pub(crate) outputs: Vec<Output>,
    /// The names of the exports this stack reads.
    pub(crate) imports: BTreeSet<String>,
    pub(crate) disable_rollback: bool,
    /// The change set executed last.
    pub(crate) change_set_id: Option<String>,
    /// Oldest first.
    pub(crate) events: Vec<Event>,
    pub(crate) change_sets: Vec<ChangeSet>,
    pub(crate) operation: Option<Operation>,
    /// The tokens of accepted requests, each with what it was used for.
    pub(crate) tokens: BTreeMap<String, String>,
}

/// A resource of a stack.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceRecord {
    pub(crate) logical_id: String,
    pub(crate) kind: String,
    pub(crate) naming: Naming,
    /// `None` until creation was initiated.
    pub(crate) physical_id: Option<String>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) metadata: Option<Value>,
    pub(crate) deletion_policy: Option<String>,
    pub(crate) update_replace_policy: Option<String>,
    /// The logical ids this one depends on.
    pub(crate) needs: Vec<String>,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) changed_ms: i64,
}

/// An output with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) description: Option<String>,
    pub(crate) export_name: Option<String>,
}

/// A stack event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) logical_id: String,
    pub(crate) physical_id: String,
    pub(crate) kind: String,
    pub(crate) at_ms: i64,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) properties: Option<String>,
    pub(crate) token: Option<String>,
}

/// Whether a change set makes a stack or changes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeSetType {
    Create,
    Update,
}

/// What happens when creating (or updating) fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnStackFailure {
    DoNothing,
    Rollback,
    Delete,
}

/// A change set.
#[derive(Debug)]
pub(crate) struct ChangeSet {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) kind: ChangeSetType,
    pub(crate) created_ms: i64,
    /// When its creation ends.
    pub(crate) ready_ms: i64,
    /// Why its creation will have failed.
    pub(crate) failure: Option<String>,
    /// How it was or will be executed, once `ready_ms` has passed without failure.
    pub(crate) execution: Execution,
    pub(crate) deployment: Deployment,
    pub(crate) changes: Vec<Change>,
    pub(crate) on_stack_failure: Option<OnStackFailure>,
    pub(crate) client_token: Option<String>,
    /// The token of the request that executed it.
    pub(crate) execute_token: Option<String>,
}

/// How far a change set's execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Execution {
    Available,
    InProgress,
    Complete,
    Failed,
    Obsolete,
}

impl ChangeSet {
    /// `Status` at this instant. A creation that takes time is pending for its first half.
    pub(crate) fn status(&self, now: i64) -> &'static str {
        if now < self.created_ms + (self.ready_ms - self.created_ms) / 2 {
            "CREATE_PENDING"
        } else if now < self.ready_ms {
            "CREATE_IN_PROGRESS"
        } else if self.failure.is_some() {
            "FAILED"
        } else {
            "CREATE_COMPLETE"
        }
    }

    /// `ExecutionStatus` at this instant.
    pub(crate) fn execution_status(&self, now: i64) -> &'static str {
        match self.execution {
            _ if self.status(now) != "CREATE_COMPLETE" => "UNAVAILABLE",
            Execution::Available => "AVAILABLE",
            Execution::InProgress => "EXECUTE_IN_PROGRESS",
            Execution::Complete => "EXECUTE_COMPLETE",
            Execution::Failed => "EXECUTE_FAILED",
            Execution::Obsolete => "OBSOLETE",
        }
    }
}

impl Stack {
    /// A stack that exists only for its first change set.
    pub(crate) fn under_review(place: Place, now: i64) -> Self {
        let mut stack = Self {
            place,
            status: String::new(),
            reason: None,
            created_ms: now,
            updated_ms: None,
            deleted_ms: None,
            deployment: None,
            resources: Vec::new(),
            outputs: Vec::new(),
            imports: BTreeSet::new(),
            disable_rollback: false,
            change_set_id: None,
            events: Vec::new(),
            change_sets: Vec::new(),
            operation: None,
            tokens: BTreeMap::new(),
        };
        stack.turn("REVIEW_IN_PROGRESS", Some("User Initiated"), now, None);
        stack
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.status == "DELETE_COMPLETE"
    }

    /// Whether an update may begin, or be planned [CloudFormation stack status codes]. CloudFormation also lets
    /// CREATE_FAILED and UPDATE_FAILED be tried again; here they can only be deleted.
    pub(crate) fn is_updatable(&self) -> bool {
        matches!(
            self.status.as_str(),
            "CREATE_COMPLETE"
                | "UPDATE_COMPLETE"
                | "UPDATE_ROLLBACK_COMPLETE"
                | "IMPORT_COMPLETE"
                | "IMPORT_ROLLBACK_COMPLETE"
        )
    }

    /// Gives the stack a status and writes the event.
    pub(crate) fn turn(&mut self, status: &str, reason: Option<&str>, at_ms: i64, token: Option<&str>) {
        self.status = status.to_owned();
        self.reason = reason.map(str::to_owned);
        if status == "DELETE_COMPLETE" {
            self.deleted_ms = Some(at_ms);
        }
        self.events.push(Event {
            id: syncline_seams::chance::uuid().to_string(),
            logical_id: self.place.stack_name.clone(),
            physical_id: self.place.stack_id.clone(),
            kind: "AWS::CloudFormation::Stack".to_owned(),
            at_ms,
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            properties: None,
            token: token.map(str::to_owned),
        });
    }

    /// Gives a resource a status and writes the event.
    pub(crate) fn turn_resource(
        &mut self,
        record: &mut ResourceRecord,
        status: &str,
        reason: Option<&str>,
        at_ms: i64,
        token: Option<&str>,
    ) {
        record.status = status.to_owned();
        record.reason = reason.map(str::to_owned);
        record.changed_ms = at_ms;
        let deleting = status.starts_with("DELETE");
        let id = if deleting {
            format!("{}-{}", record.logical_id, syncline_seams::chance::uuid())
        } else {
            format!("{}-{status}-{}", record.logical_id, crate::time::iso8601(at_ms))
        };
        // Two events of one resource may share status and instant; an event id names one event.
        let id = if self.events.iter().any(|event| event.id == id) {
            format!("{id}-{}", self.events.len())
        } else {
            id
        };
        self.events.push(Event {
            id,
            logical_id: record.logical_id.clone(),
            physical_id: record.physical_id.clone().unwrap_or_default(),
            kind: record.kind.clone(),
            at_ms,
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            properties: (!deleting && !record.properties.is_empty())
                .then(|| Value::Object(record.properties.clone()).to_string()),
            token: token.map(str::to_owned),
        });
    }

    /// A resource by its logical id.
    pub(crate) fn resource(&self, logical_id: &str) -> Option<&ResourceRecord> {
        self.resources.iter().find(|record| record.logical_id == logical_id)
    }

    /// Puts a resource's record in its place, or at the end.
    pub(crate) fn put(&mut self, record: ResourceRecord) {
        match self.resources.iter_mut().find(|other| other.logical_id == record.logical_id) {
            Some(other) => *other = record,
            None => self.resources.push(record),
        }
    }
}
