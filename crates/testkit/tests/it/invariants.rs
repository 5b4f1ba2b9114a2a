//! What must hold in a house at rest, whatever was killed in it.

use std::collections::{BTreeMap, BTreeSet};

use syncline_model::sync::{AttemptStatus, BlockerKind, BlockerStatus, EventKind};
use syncline_store::chain::Checker;
use syncline_store::{AttemptStatusRow, RevisionDocument, Store};
use syncline_testkit::world::{ACCOUNT, REGION};

use crate::house::{House, STACK, TEMPLATE, scope};

/// How a house is to be.
pub(crate) struct Expected<'a> {
    /// The commit at the branch's head.
    pub(crate) head: &'a str,
    /// The deployment file's parameter there.
    pub(crate) name: &'a str,
    /// The head changes the stack.
    pub(crate) executed: bool,
    /// The commits whose execution was made to fail.
    pub(crate) failed: &'a [String],
}

/// Checks a house whose server is dead and has settled before.
pub(crate) async fn check(house: &House, expected: &Expected<'_>) {
    let store = house.store().await;
    let attempts = recorded(&store).await;
    let status =
        store.sync_status(&scope(), "CFN_STACK_SYNC", STACK).await.expect("a read").expect("a status");
    let sha = |stored: &RevisionDocument| stored.read().expect("a revision").sha;
    assert_eq!(sha(status.desired.as_ref().expect("a desired revision")), expected.head, "desired");
    assert_eq!(sha(&status.latest.target_revision), expected.head, "latest");
    assert_eq!(status.latest_successful(), Some(&status.latest), "the latest attempt succeeded");
    for attempt in &attempts {
        let failed = expected.failed.contains(&attempt.target_revision.sha);
        check_attempt(attempt, failed);
    }

    let blockers = store.blockers(&scope(), "CFN_STACK_SYNC", STACK).await.expect("a read").expect("a sync");
    let active: Vec<_> = blockers.iter().filter(|blocker| blocker.status == BlockerStatus::Active).collect();
    assert!(active.is_empty(), "{active:?}");

    check_audit(&store).await;

    let stack = house.simulator.stack(ACCOUNT, REGION, STACK).expect("a stack");
    assert!(["CREATE_COMPLETE", "UPDATE_COMPLETE"].contains(&&*stack.status), "{}", stack.status);
    assert_eq!(stack.template, TEMPLATE);
    assert_eq!(stack.parameters, [("Name".to_owned(), expected.name.to_owned())]);

    let by_revision = executions(house, &attempts);
    let twice: Vec<_> = by_revision.iter().filter(|(_, executed)| executed.len() > 1).collect();
    assert!(twice.is_empty(), "executed more than once: {twice:?}");
    let times = by_revision.get(expected.head).map_or(0, Vec::len);
    assert_eq!(times, usize::from(expected.executed), "executions of the head {}", expected.head);

    let executed: BTreeSet<_> = by_revision.into_values().flatten().collect();
    let left: Vec<_> = stack.change_sets.iter().filter(|name| !executed.contains(*name)).collect();
    assert!(left.is_empty(), "change sets that nobody will ever execute were left: {left:?}");
}

/// Checks that every change that was asked for is recorded, and that the chain of the records has no gap.
async fn check_audit(store: &Store) {
    let page = store.audit_page(&scope().account, 0, 1000).await.expect("a read");
    let mut chain = Checker::default();
    for record in &page.records {
        chain.check(record).unwrap_or_else(|broken| panic!("{broken}"));
    }
    // A host, a connection, a link and a sync were made by requests.
    let records = page.records.len() + usize::try_from(page.waiting).expect("a count");
    assert!(records >= 4, "{page:?}");
}

/// Checks that a commit whose execution fails was tried once and is what stands in the way.
pub(crate) async fn check_failed(house: &House, head: &str) {
    let store = house.store().await;
    let attempts = recorded(&store).await;
    let of_head: Vec<_> = attempts.iter().filter(|a| a.target_revision.sha == head).collect();
    assert_eq!(of_head.len(), 1, "{of_head:?}");
    check_attempt(of_head[0], true);
    assert_eq!(executions(house, &attempts).get(head).map_or(0, Vec::len), 1, "executions of {head}");
    let blockers = store.blockers(&scope(), "CFN_STACK_SYNC", STACK).await.expect("a read").expect("a sync");
    let active = blockers.iter().filter(|blocker| blocker.status == BlockerStatus::Active);
    let kinds: Vec<_> = active.map(|blocker| blocker.kind).collect();
    assert_eq!(kinds, [BlockerKind::ExecutionFailed]);
}

/// Every attempt of the house's sync, oldest first.
pub(crate) async fn attempts(house: &House) -> Vec<AttemptStatusRow> {
    recorded(&house.store().await).await
}

async fn recorded(store: &Store) -> Vec<AttemptStatusRow> {
    store.attempts(&scope(), "CFN_STACK_SYNC", STACK).await.expect("a read").unwrap_or_default()
}

/// Checks that what was recorded once still is: ended attempts unchanged, events only added.
pub(crate) fn check_history(before: &[AttemptStatusRow], after: &[AttemptStatusRow]) {
    assert!(before.len() <= after.len(), "attempts vanished");
    for (old, new) in before.iter().zip(after) {
        if old.status.is_terminal() {
            assert_eq!(old, new, "an ended attempt changed");
        }
        assert_eq!(old.id, new.id);
        // Whole as long as there are fewer than one answer holds.
        assert!(
            old.events.len() < 100 && new.events.starts_with(&old.events),
            "events changed: {old:?} {new:?}"
        );
    }
}

fn check_attempt(attempt: &AttemptStatusRow, may_fail: bool) {
    let kinds: Vec<_> = attempt.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.first(), Some(&EventKind::AttemptStarted), "{attempt:?}");
    let last = match attempt.status {
        AttemptStatus::Succeeded => EventKind::Succeeded,
        AttemptStatus::Failed if may_fail => EventKind::Failed,
        AttemptStatus::Failed => EventKind::Superseded,
        AttemptStatus::Initiated | AttemptStatus::InProgress => panic!("an attempt is open: {attempt:?}"),
    };
    assert_eq!(kinds.last(), Some(&last), "{attempt:?}");
    let once = [EventKind::AttemptStarted, EventKind::ExecutionStarted, last];
    for kind in once {
        assert!(
            kinds.iter().filter(|seen| **seen == kind).count() <= 1,
            "{} twice: {attempt:?}",
            kind.as_str()
        );
    }
    assert!(!kinds.contains(&EventKind::StackChangedOutside), "nobody else is there: {attempt:?}");
    let stack_events = attempt.events.iter().filter(|event| event.kind == EventKind::StackEvent);
    let ids: Vec<_> = stack_events.filter_map(|event| event.external_id.as_deref()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a stack event twice: {attempt:?}");
}

/// The executed change sets' names by commit. CloudFormation keeps the count, our records only say which commit
/// it was for.
fn executions(house: &House, attempts: &[AttemptStatusRow]) -> BTreeMap<String, Vec<String>> {
    let mut by_revision = BTreeMap::<String, Vec<String>>::new();
    for execution in house.simulator.executions() {
        let name = execution.change_set_name;
        let attempt = name.rsplit_once('-').map_or("", |(attempt, _)| attempt);
        let attempt = attempts.iter().find(|known| known.id == attempt);
        let attempt = attempt.unwrap_or_else(|| panic!("'{name}' was executed without an attempt"));
        by_revision.entry(attempt.target_revision.sha.clone()).or_default().push(name);
    }
    by_revision
}
