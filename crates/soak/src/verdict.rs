//! What must hold once a fleet has come to rest, whatever was killed: nothing lost, nothing twice, nothing silent.
//!
//! How a stack must be follows from what was pushed. What was executed is known from CloudFormation, which no kill
//! reaches; Syncline's records only say which commit each change set was for.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::types::{BlockerStatus, ResourceSyncStatus, SyncConfigurationType};
use aws_smithy_types::error::display::DisplayErrorContext;
use syncline_cloudformation_sim::StackView;
use syncline_model::sync::{AttemptStatus, EventKind};
use syncline_store::chain::Checker;
use syncline_store::{AttemptStatusRow, Store, Tagged};
use syncline_testkit::world::{ACCOUNT, REGION};

use crate::estate::{Content, Estate, Stack};
use crate::fleet::{Fleet, scope};
use crate::storm::{Acknowledged, Happened, Told};

/// Events in one answer: of attempts with more, the oldest are left out.
const EVENTS_TOLD: usize = 100;

/// Whether a stack is at its branch's head, or blocked because its file or its updates are meant to fail.
///
/// # Errors
/// How it is otherwise.
pub async fn at_rest(client: &Client, fleet: &Fleet, estate: &Estate, stack: &Stack) -> Result<(), String> {
    let linked = &estate.repositories[stack.repository];
    let place = |sha: &str| linked.place_of(sha).ok_or_else(|| format!("nobody pushed {sha}"));
    let (touched, content) = stack.newest();
    let needed = if stack.any_change { estate.head_of(stack) } else { touched };
    let answer = client
        .get_resource_sync_status()
        .sync_type(SyncConfigurationType::CfnStackSync)
        .resource_name(&stack.name)
        .send()
        .await
        .map_err(|error| format!("{}", DisplayErrorContext(&error)))?;
    let latest = answer.latest_sync().ok_or("it was never synced")?;
    let latest_place = place(latest.target_revision().map_or("", |revision| revision.sha()))?;
    let desired = place(answer.desired_state().map_or("", |revision| revision.sha()))?;
    if latest_place < needed || desired != latest_place {
        return Err(format!(
            "commit {needed} is to be there; desired is {desired}, and the latest attempt, of {latest_place}, is {}",
            latest.status().as_str()
        ));
    }
    let view = fleet.simulator.stack(ACCOUNT, REGION, &stack.name);
    match latest.status() {
        ResourceSyncStatus::Succeeded => {
            if answer.latest_successful_sync() != Some(latest) {
                return Err("its latest attempt succeeded, and is not its latest successful one".to_owned());
            }
            match content {
                Content::Name(name) => is_deployed(view.as_ref(), name),
                Content::Broken(_) => Err("a file that is not valid was synced".to_owned()),
            }
        }
        ResourceSyncStatus::Failed if matches!(content, Content::Broken(_)) || stack.fails => {
            let blockers = client
                .get_sync_blocker_summary()
                .sync_type(SyncConfigurationType::CfnStackSync)
                .resource_name(&stack.name)
                .send()
                .await
                .map_err(|error| format!("{}", DisplayErrorContext(&error)))?;
            let blockers = blockers.sync_blocker_summary().map(|summary| summary.latest_blockers());
            let is_told = blockers.unwrap_or_default().iter().any(|b| *b.status() == BlockerStatus::Active);
            is_told.then_some(()).ok_or_else(|| "it failed, and no ACTIVE blocker says why".to_owned())
        }
        other => Err(format!("its latest attempt, of commit {latest_place}, is {}", other.as_str())),
    }
}

fn is_deployed(view: Option<&StackView>, name: &str) -> Result<(), String> {
    let view = view.ok_or("its sync succeeded, and CloudFormation has no such stack")?;
    let is_good = ["CREATE_COMPLETE", "UPDATE_COMPLETE"].contains(&&*view.status);
    if !is_good || view.parameters != [("Name".to_owned(), name.to_owned())] {
        return Err(format!(
            "its sync of {name} succeeded, and it is {} with {:?}",
            view.status, view.parameters
        ));
    }
    Ok(())
}

/// Everything that must hold of a fleet at rest and does not, a line each.
///
/// # Errors
/// The database's.
pub async fn judge(
    store: &Store,
    fleet: &Fleet,
    estate: &Estate,
    happened: &Happened,
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut executed = BTreeMap::<&str, Vec<String>>::new();
    let executions = fleet.simulator.executions();
    for execution in &executions {
        executed.entry(&execution.stack_name).or_default().push(execution.change_set_name.clone());
    }
    for stack in &estate.stacks {
        let attempts = store.attempts(&scope(), "CFN_STACK_SYNC", &stack.name).await?;
        let attempts = attempts.unwrap_or_default();
        let executed = executed.remove(&*stack.name).unwrap_or_default();
        let commits = &estate.repositories[stack.repository].commits[..];
        let told = happened.told.iter().filter(|told| told.stack == stack.name);
        let of_stack = History { commits, stack, attempts: &attempts, executed: &executed }.check(told);
        let left = fleet.simulator.stack(ACCOUNT, REGION, &stack.name).map(|view| view.change_sets);
        let left: Vec<_> = left.unwrap_or_default().into_iter().filter(|it| !executed.contains(it)).collect();
        let of_stack = of_stack.into_iter().chain(
            (!left.is_empty())
                .then(|| format!("change sets that nobody will ever execute are left: {left:?}")),
        );
        found.extend(of_stack.map(|what| format!("{}: {what}", stack.name)));
    }
    found.extend(executed.keys().map(|stack| format!("{stack}: it was executed, and nobody configured it")));
    found.extend(check_acknowledged(store, happened).await?);
    Ok(found)
}

/// What is known of one stack.
struct History<'a> {
    commits: &'a [String],
    stack: &'a Stack,
    attempts: &'a [AttemptStatusRow],
    executed: &'a [String],
}

impl History<'_> {
    fn check<'t>(&self, told: impl Iterator<Item = &'t Told>) -> Vec<String> {
        let mut found = Vec::new();
        let mut newest_place = 0;
        for attempt in self.attempts {
            match self.place(attempt) {
                Some(place) if place >= newest_place => newest_place = place,
                place => found.push(format!("an attempt went back to commit {place:?}: {attempt:?}")),
            }
            found.extend(self.check_attempt(attempt));
        }
        found.extend(self.check_executions());
        found.extend(self.check_told(told));
        found
    }

    fn place(&self, attempt: &AttemptStatusRow) -> Option<usize> {
        self.commits.iter().position(|known| *known == attempt.target_revision.sha)
    }

    fn check_attempt(&self, attempt: &AttemptStatusRow) -> Vec<String> {
        let kinds: Vec<_> = attempt.events.iter().map(|event| event.kind).collect();
        let count = |kind| kinds.iter().filter(|seen| **seen == kind).count();
        let content = self.place(attempt).and_then(|place| self.stack.at(place));
        let may_fail = self.stack.fails || matches!(content, Some(Content::Broken(_)));
        let mut found = Vec::new();
        let is_whole = attempt.events.len() < EVENTS_TOLD;
        if is_whole && kinds.first() != Some(&EventKind::AttemptStarted) {
            found.push("its beginning is missing");
        }
        match (attempt.status, kinds.last()) {
            (AttemptStatus::Succeeded, Some(EventKind::Succeeded))
            | (AttemptStatus::Failed, Some(EventKind::Superseded)) => {}
            (AttemptStatus::Failed, Some(EventKind::Failed)) if may_fail => {}
            _ => found.push("it ended otherwise than it should"),
        }
        let ends = count(EventKind::Succeeded) + count(EventKind::Failed) + count(EventKind::Superseded);
        if ends > 1 || count(EventKind::AttemptStarted) > 1 {
            found.push("it began or ended twice");
        }
        if is_whole && count(EventKind::ExecutionStarted) > count(EventKind::ChangeSetCreating) {
            found.push("a change set is said to have been executed twice");
        }
        if count(EventKind::StackChangedOutside) > 0 {
            found.push("somebody else is said to have changed the stack");
        }
        let stack_events = attempt.events.iter().filter(|event| event.kind == EventKind::StackEvent);
        let ids: Vec<_> = stack_events.filter_map(|event| event.external_id.as_deref()).collect();
        if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
            found.push("an event of the stack is there twice");
        }
        found.into_iter().map(|what| format!("{what}: {attempt:?}")).collect()
    }

    /// Each execution is of a recorded attempt that says so, and no content is executed with effect twice.
    fn check_executions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut by_commit = BTreeMap::<usize, Vec<&str>>::new();
        let mut by_content = BTreeMap::<String, Vec<&str>>::new();
        for name in self.executed {
            let id = name.rsplit_once('-').map_or("", |(attempt, _)| attempt);
            let Some(attempt) = self.attempts.iter().find(|known| known.id == id) else {
                found.push(format!("'{name}' was executed without an attempt"));
                continue;
            };
            if !attempt.events.iter().any(|event| event.kind == EventKind::ExecutionStarted) {
                found.push(format!("'{name}' was executed, and its attempt does not say so: {attempt:?}"));
            }
            let Some(place) = self.place(attempt) else { continue };
            by_commit.entry(place).or_default().push(name);
            match self.stack.at(place) {
                // What is rolled back has no effect; another commit may try it again.
                Some(Content::Name(value)) if !self.stack.fails => {
                    by_content.entry(value.clone()).or_default().push(name);
                }
                Some(Content::Name(_)) => {}
                Some(Content::Broken(_)) | None => {
                    found.push(format!("'{name}' has no valid file: {attempt:?}"))
                }
            }
        }
        let twice = by_commit.iter().filter(|(_, names)| names.len() > 1);
        found.extend(
            twice.map(|(place, names)| format!("commit {place} was executed more than once: {names:?}")),
        );
        let twice = by_content.iter().filter(|(_, names)| names.len() > 1);
        found.extend(twice.map(|(value, names)| format!("{value} was executed more than once: {names:?}")));
        found
    }

    /// What was told once still is: attempts stay, ended ones do not change, events are only added.
    fn check_told<'t>(&self, told: impl Iterator<Item = &'t Told>) -> Vec<String> {
        let mut found = Vec::new();
        let mut newest = 0;
        for told in told {
            let known = self.attempts.iter().position(|attempt| {
                attempt.started_at_ms == told.started_at_ms && attempt.target_revision.sha == told.sha
            });
            let Some(number) = known else {
                found.push(format!("an attempt that was told of is gone: {told:?}"));
                continue;
            };
            let attempt = &self.attempts[number];
            if number < newest {
                found.push(format!("an older attempt was told of after a newer one: {told:?}"));
            }
            newest = newest.max(number);
            let has_ended = ["SUCCEEDED", "FAILED"].contains(&&*told.status);
            if has_ended && attempt.status.as_str() != told.status {
                found.push(format!("an attempt that had ended changed: {told:?}, {attempt:?}"));
            }
            let events: Vec<_> =
                attempt.events.iter().map(|event| (event.kind.as_str(), &*event.text)).collect();
            let before = told.events.iter().map(|(kind, text)| (&**kind, &**text));
            let is_kept = before.clone().zip(&events).all(|(then, now)| then == *now)
                && told.events.len() <= events.len()
                && (!has_ended || told.events.len() == events.len());
            if events.len() < EVENTS_TOLD && !is_kept {
                found.push(format!("events that were told of changed: {told:?}, {attempt:?}"));
            }
        }
        found
    }
}

/// Every request that was answered with success was done, and is in the audit log, whose chain has no gap.
async fn check_acknowledged(store: &Store, happened: &Happened) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut chain = Checker::default();
    let mut recorded = BTreeMap::<(String, String), usize>::new();
    let mut after = 0;
    loop {
        let page = store.audit_page(&scope().account, after, 1000).await?;
        let Some(last) = page.records.last() else { break };
        after = last.sequence;
        for record in &page.records {
            if let Err(broken) = chain.check(record) {
                found.push(format!("the audit log: {broken}"));
            }
            let record: serde_json::Value = serde_json::from_str(&record.record)?;
            if record["errorCode"].is_null() {
                let name = record["eventName"].as_str().unwrap_or_default().to_owned();
                *recorded.entry((name, subject(&record["requestParameters"]))).or_default() += 1;
            }
        }
    }
    let mut answered = BTreeMap::<(String, String), usize>::new();
    for acknowledged in &happened.acknowledged {
        let of = match acknowledged {
            Acknowledged::Tagged { key, .. } => ("TagResource", key),
            Acknowledged::Configured(stack) => ("CreateSyncConfiguration", stack),
            Acknowledged::Reconfigured(stack) => ("UpdateSyncConfiguration", stack),
        };
        *answered.entry((of.0.to_owned(), of.1.clone())).or_default() += 1;
    }
    for (what, times) in &answered {
        let recorded = recorded.get(what).copied().unwrap_or_default();
        if recorded < *times {
            found.push(format!("{what:?} was answered {times} times, and recorded {recorded} times"));
        }
    }
    for acknowledged in &happened.acknowledged {
        let is_there = match acknowledged {
            Acknowledged::Tagged { link_arn, key } => {
                let id = link_arn.rsplit('/').next().unwrap_or_default();
                let tags = store.tags(&scope(), &Tagged::Link(id.to_owned())).await?.unwrap_or_default();
                tags.iter().any(|tag| tag.key == *key)
            }
            Acknowledged::Configured(stack) | Acknowledged::Reconfigured(stack) => {
                store.configuration(&scope(), "CFN_STACK_SYNC", stack).await?.is_some()
            }
        };
        if !is_there {
            found.push(format!("{acknowledged:?} was answered with success, and is not there"));
        }
    }
    Ok(found)
}

/// What a request was about: a sync's name, or a tag's key.
fn subject(parameters: &serde_json::Value) -> String {
    let tag = parameters.pointer("/tags/0/key").or_else(|| parameters.pointer("/Tags/0/Key"));
    let name = parameters.get("resourceName").or_else(|| parameters.get("ResourceName"));
    tag.or(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use syncline_model::sync::{Revision, SyncEvent};

    use super::*;

    /// An attempt of a commit, with an event of each of these kinds.
    fn attempt(id: &str, sha: &str, status: AttemptStatus, kinds: &[EventKind]) -> AttemptStatusRow {
        let revision = Revision {
            branch: "main".to_owned(),
            directory: "stacks".to_owned(),
            owner_id: "acme".to_owned(),
            repository_name: "infra".to_owned(),
            provider_type: "Git".to_owned(),
            sha: sha.to_owned(),
        };
        let event = |kind: &EventKind| SyncEvent {
            time_ms: 0,
            kind: *kind,
            text: kind.as_str().to_owned(),
            external_id: None,
        };
        AttemptStatusRow {
            id: id.to_owned(),
            status,
            started_at_ms: 1,
            initial: revision.clone(),
            target_revision: revision,
            target: "web".to_owned(),
            events: kinds.iter().map(event).collect(),
        }
    }

    const DONE: [EventKind; 4] = [
        EventKind::AttemptStarted,
        EventKind::ChangeSetCreating,
        EventKind::ExecutionStarted,
        EventKind::Succeeded,
    ];
    const GIVEN_UP: [EventKind; 2] = [EventKind::AttemptStarted, EventKind::Superseded];

    fn done(id: &str, sha: &str) -> AttemptStatusRow {
        attempt(id, sha, AttemptStatus::Succeeded, &DONE)
    }

    /// What is found in a stack whose file says one thing at commits `a` and `b`, and another one at `c`.
    fn found(attempts: &[AttemptStatusRow], executed: &[&str], told: &[Told]) -> String {
        let commits = ["a", "b", "c"].map(str::to_owned).to_vec();
        let name = |value: &str| Content::Name(value.to_owned());
        let history = vec![(0, name("one")), (2, name("two"))];
        let stack = Stack { name: "web".to_owned(), repository: 0, any_change: false, fails: false, history };
        let executed: Vec<_> = executed.iter().map(|&name| name.to_owned()).collect();
        let history = History { commits: &commits, stack: &stack, attempts, executed: &executed };
        let found = history.check(told.iter()).into_iter();
        // What comes after is for the reader.
        found.map(|what| what.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>().join(", ")
    }

    fn told(sha: &str, status: &str, events: &[EventKind]) -> Told {
        Told {
            stack: "web".to_owned(),
            started_at_ms: 1,
            sha: sha.to_owned(),
            status: status.to_owned(),
            events: events.iter().map(|kind| (kind.as_str().to_owned(), kind.as_str().to_owned())).collect(),
        }
    }

    #[test]
    fn a_history_without_faults_is_found_to_be_one() {
        let given_up = attempt("y", "b", AttemptStatus::Failed, &GIVEN_UP);
        let attempts = [done("x", "a"), given_up, done("z", "c")];
        let told = [
            told("a", "IN_PROGRESS", &DONE[..1]),
            told("b", "FAILED", &GIVEN_UP),
            told("c", "SUCCEEDED", &DONE),
        ];
        assert_eq!(found(&attempts, &["x-1", "z-2"], &told), "");
    }

    #[test]
    fn each_fault_of_a_history_is_found() {
        let check = |attempts: &[AttemptStatusRow], executed: &[&str], expect: &str| {
            assert_eq!(found(attempts, executed, &[]), expect, "{attempts:?} {executed:?}");
        };
        let (x, z) = (done("x", "a"), done("z", "c"));
        let both = [x.clone(), z.clone()];
        check(
            &both,
            &["x-1", "x-2"],
            "commit 0 was executed more than once, one was executed more than once",
        );
        check(&[x.clone(), done("y", "b")], &["x-1", "y-1"], "one was executed more than once");
        check(&both, &["x-1", "w-1"], "'w-1' was executed without an attempt");
        check(&[z.clone(), x.clone()], &[], "an attempt went back to commit Some(0)");
        check(&[done("x", "d")], &[], "an attempt went back to commit None");
        let ended = |status, kinds: &[EventKind]| [attempt("x", "a", status, kinds)];
        let otherwise = "it ended otherwise than it should";
        check(&ended(AttemptStatus::InProgress, &DONE[..3]), &[], otherwise);
        check(&ended(AttemptStatus::Failed, &[DONE[0], EventKind::Failed]), &[], otherwise);
        check(&ended(AttemptStatus::Succeeded, &DONE[1..]), &[], "its beginning is missing");
        let twice = [DONE[0], DONE[3], DONE[3]];
        check(&ended(AttemptStatus::Succeeded, &twice), &[], "it began or ended twice");
        let executed = [DONE[0], DONE[1], DONE[2], DONE[2], DONE[3]];
        let again = "a change set is said to have been executed twice";
        check(&ended(AttemptStatus::Succeeded, &executed), &[], again);
        let silent = ended(AttemptStatus::Succeeded, &[DONE[0], DONE[3]]);
        check(&silent, &["x-1"], "'x-1' was executed, and its attempt does not say so");
        let outside = [DONE[0], EventKind::StackChangedOutside, DONE[3]];
        let outside = ended(AttemptStatus::Succeeded, &outside);
        check(&outside, &[], "somebody else is said to have changed the stack");
    }

    #[test]
    fn what_was_told_and_is_not_so_any_more_is_found() {
        let check = |then: &[Told], expect: &str| {
            let attempts = [done("x", "a"), done("z", "c")];
            assert_eq!(found(&attempts, &[], then), expect, "{then:?}");
        };
        check(&[told("b", "SUCCEEDED", &DONE)], "an attempt that was told of is gone");
        check(
            &[told("c", "SUCCEEDED", &DONE), told("a", "SUCCEEDED", &DONE)],
            "an older attempt was told of after a newer one",
        );
        check(&[told("a", "FAILED", &DONE)], "an attempt that had ended changed");
        check(&[told("a", "SUCCEEDED", &DONE[..3])], "events that were told of changed");
        check(&[told("a", "IN_PROGRESS", &[DONE[0], DONE[3]])], "events that were told of changed");
    }
}
