//! What tests look at and turn from outside, without HTTP.

use std::time::Duration;

use crate::faults::{CallFault, CallFaults, ResourceFaults, ResourceVerb, RoleFaults, Times};
use crate::simulator::{Simulator, State};
use crate::stack::{Execution, Stack};
use crate::template::Template;

/// A stack as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackView {
    /// The stack's ARN.
    pub id: String,
    /// The stack's name.
    pub name: String,
    /// `StackStatus`.
    pub status: String,
    /// `StackStatusReason`.
    pub reason: Option<String>,
    /// The template as it was sent; empty while under review.
    pub template: String,
    /// Keys and values; hidden ones too.
    pub parameters: Vec<(String, String)>,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
    /// Keys and values.
    pub outputs: Vec<(String, String)>,
    /// The resources in the order of their creation.
    pub resources: Vec<ResourceView>,
    /// The events, oldest first.
    pub events: Vec<EventView>,
    /// The names of the change sets that exist.
    pub change_sets: Vec<String>,
}

/// A resource as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceView {
    /// The logical id.
    pub logical_id: String,
    /// The physical id, once creation was initiated.
    pub physical_id: Option<String>,
    /// The type.
    pub kind: String,
    /// `ResourceStatus`.
    pub status: String,
}

/// A stack event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// `EventId`.
    pub id: String,
    /// The logical id; the stack's name in the stack's own events.
    pub logical_id: String,
    /// `ResourceStatus`.
    pub status: String,
    /// `ResourceStatusReason`.
    pub reason: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl Simulator {
    /// A stack by name (the newest of that name, deleted or not) or ARN.
    #[must_use]
    pub fn stack(&self, account: &str, region: &str, name_or_id: &str) -> Option<StackView> {
        let state = self.lock();
        let region = state.regions.get(&(account.to_owned(), region.to_owned()))?;
        let stacks = region.stacks.iter().rev();
        let mut named = stacks.filter(|s| s.place.stack_name == name_or_id || s.place.stack_id == name_or_id);
        named.next().map(view)
    }

    /// All stacks of an account in a region, oldest first, deleted ones too.
    #[must_use]
    pub fn stacks(&self, account: &str, region: &str) -> Vec<StackView> {
        let state = self.lock();
        let region = state.regions.get(&(account.to_owned(), region.to_owned()));
        region.map(|region| region.stacks.iter().map(view).collect()).unwrap_or_default()
    }

    /// What goes wrong on demand.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults { simulator: self.clone() }
    }
}

fn view(stack: &Stack) -> StackView {
    let deployment = stack.deployment.as_ref();
    StackView {
        id: stack.place.stack_id.clone(),
        name: stack.place.stack_name.clone(),
        status: stack.status.clone(),
        reason: stack.reason.clone(),
        template: deployment.map(|d| d.template.body.clone()).unwrap_or_default(),
        parameters: deployment
            .map(|d| d.parameters.iter().map(|(key, value)| (key.clone(), value.text.clone())).collect())
            .unwrap_or_default(),
        tags: deployment.map(|d| d.tags.clone()).unwrap_or_default(),
        outputs: stack.outputs.iter().map(|o| (o.key.clone(), o.value.clone())).collect(),
        resources: stack
            .resources
            .iter()
            .map(|record| ResourceView {
                logical_id: record.logical_id.clone(),
                physical_id: record.physical_id.clone(),
                kind: record.kind.clone(),
                status: record.status.clone(),
            })
            .collect(),
        events: stack
            .events
            .iter()
            .map(|event| EventView {
                id: event.id.clone(),
                logical_id: event.logical_id.clone(),
                status: event.status.clone(),
                reason: event.reason.clone(),
                at_ms: event.at_ms,
            })
            .collect(),
        change_sets: stack.change_sets.iter().map(|c| c.name.clone()).collect(),
    }
}

/// Makes things go wrong. What is set stays until [`Faults::clear`] or, where said so, until it has happened.
#[derive(Debug, Clone)]
pub struct Faults {
    simulator: Simulator,
}

impl Faults {
    /// Does something else to calls of `action` (`*` for all) instead of answering them.
    pub fn on_call(&self, action: &str, fault: CallFault, times: Times) {
        self.simulator.lock().call_faults.add(action, fault, times);
    }

    /// Throttles what the account calls more often than so many times in a second.
    pub fn limit_rate(&self, account: &str, calls_per_second: u32) {
        self.simulator.lock().call_faults.limit(account, calls_per_second);
    }

    /// Fails a resource, in the stack of this name or (`*`) in any, whenever it comes to `verb`.
    pub fn fail_resource(&self, stack: &str, logical_id: &str, verb: ResourceVerb, reason: &str) {
        self.simulator.lock().resource_faults.fail(stack, logical_id, verb, reason);
    }

    /// Change sets of the stack of this name (or `*`) end as FAILED with this reason.
    pub fn fail_change_sets(&self, stack: &str, reason: &str) {
        self.simulator.lock().resource_faults.fail_change_set(stack, reason);
    }

    /// Makes everything about a resource take this long.
    pub fn slow_resource(&self, logical_id: &str, latency: Duration) {
        self.simulator.lock().resource_faults.slow(logical_id, latency);
    }

    /// Takes back what was set for a resource.
    pub fn heal_resource(&self, logical_id: &str) {
        self.simulator.lock().resource_faults.heal(logical_id);
    }

    /// Nobody may assume this role.
    pub fn deny_role(&self, role_arn: &str) {
        self.simulator.lock().role_faults.denied.insert(role_arn.to_owned());
    }

    /// The role may be assumed again.
    pub fn allow_role(&self, role_arn: &str) {
        self.simulator.lock().role_faults.denied.remove(role_arn);
    }

    /// The role may be assumed with this external id only.
    pub fn require_external_id(&self, role_arn: &str, external_id: &str) {
        let mut state = self.simulator.lock();
        state.role_faults.external_ids.insert(role_arn.to_owned(), external_id.to_owned());
    }

    /// Expires all credentials that AssumeRole has given out.
    pub fn expire_sessions(&self) {
        let mut state = self.simulator.lock();
        let State { sessions, now_ms, .. } = &mut *state;
        for role in sessions.values_mut() {
            role.expires_ms = *now_ms;
        }
    }

    /// Deletes a stack at once, behind everybody's back. False when there is none.
    pub fn delete_stack(&self, account: &str, region: &str, name: &str) -> bool {
        self.with_stack(account, region, name, |stack, now| {
            stack.operation = None;
            stack.change_sets.clear();
            for mut record in std::mem::take(&mut stack.resources) {
                stack.turn_resource(&mut record, "DELETE_COMPLETE", None, now, None);
                stack.resources.push(record);
            }
            stack.outputs.clear();
            stack.imports.clear();
            stack.turn("DELETE_COMPLETE", None, now, None);
        })
    }

    /// Deletes a change set behind everybody's back. False when there is none.
    pub fn delete_change_set(&self, account: &str, region: &str, stack: &str, name: &str) -> bool {
        let mut found = false;
        self.with_stack(account, region, stack, |stack, _| {
            let before = stack.change_sets.len();
            stack.change_sets.retain(|change_set| change_set.name != name && change_set.id != name);
            found = stack.change_sets.len() < before;
        });
        found
    }

    /// Somebody else updates a stack: its template is this one from now on and its change sets are obsolete. The
    /// resources stay as they are. False when there is no such stack or the template is not one.
    pub fn modify_stack(&self, account: &str, region: &str, name: &str, template: &str) -> bool {
        let Ok(template) = Template::parse(template) else { return false };
        self.with_stack(account, region, name, |stack, now| {
            if let Some(deployment) = &mut stack.deployment {
                deployment.template = template;
            }
            for change_set in &mut stack.change_sets {
                if change_set.execution == Execution::Available {
                    change_set.execution = Execution::Obsolete;
                }
            }
            stack.updated_ms = Some(now);
            stack.turn("UPDATE_IN_PROGRESS", Some("User Initiated"), now, None);
            stack.turn("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None, now, None);
            stack.turn("UPDATE_COMPLETE", None, now, None);
        })
    }

    /// Puts a stack in any status, such as `UPDATE_ROLLBACK_FAILED`; what it was doing is over. False when there is
    /// none.
    pub fn set_status(&self, account: &str, region: &str, name: &str, status: &str, reason: &str) -> bool {
        self.with_stack(account, region, name, |stack, now| {
            stack.operation = None;
            stack.turn(status, Some(reason), now, None);
        })
    }

    /// Nothing goes wrong any more. What has happened stays.
    pub fn clear(&self) {
        let mut state = self.simulator.lock();
        let State { call_faults, resource_faults, role_faults, .. } = &mut *state;
        *call_faults = CallFaults::default();
        *resource_faults = ResourceFaults::default();
        *role_faults = RoleFaults::default();
    }

    fn with_stack(&self, account: &str, region: &str, name: &str, act: impl FnOnce(&mut Stack, i64)) -> bool {
        let mut state = self.simulator.lock();
        let now = state.now_ms;
        match state.region(account, region).stack(name) {
            Ok(stack) => {
                act(stack, now);
                true
            }
            Err(_) => false,
        }
    }
}
