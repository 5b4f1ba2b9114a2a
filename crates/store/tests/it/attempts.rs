//! Attempts: opened once, growing only, unchanged after their end.

use syncline_model::plan::{Phase, Wanted};
use syncline_model::sync::{AttemptStatus, BlockerKind, EventKind, SyncEvent};
use syncline_store::{
    Change, Claim, Ending, Kind, NewBlocker, Progress, RevisionDocument, StoreError, StoredAttempt,
};

use crate::world::{CFN, LEASE_MS, World, ours, sha};

fn event(text: &str) -> SyncEvent {
    SyncEvent { time_ms: 7, kind: EventKind::StackEvent, text: text.to_owned(), external_id: None }
}

fn ending(status: AttemptStatus) -> Ending {
    let kind = if status == AttemptStatus::Succeeded { EventKind::Succeeded } else { EventKind::Failed };
    let last = SyncEvent { time_ms: 8, kind, text: "the end".to_owned(), external_id: None };
    Ending { status, events: vec![last], last_stack_event: None, blocker: None, recovered: false }
}

/// An attempt of `web` for the commit.
async fn opened(world: &World, sha: &str) -> (Claim, String) {
    world.pushed(sha).await;
    let claim = world.claim(Kind::Sync).await;
    world.store.open_attempt(&claim).await.expect("opened");
    let open = world.record(&claim.id).await.open.expect("open");
    (claim, open.id)
}

async fn ended(world: &World, sha: &str, status: AttemptStatus) {
    let (claim, id) = opened(world, sha).await;
    world.store.end_attempt(&claim, &id, ending(status)).await.expect("ended");
    world.store.release(claim, None).await.expect("released");
    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
    // sync_now wakes the sync too; what it had to do is done.
    let claim = world.claim(Kind::Sync).await;
    world.store.release(claim, None).await.expect("released");
}

fn texts(attempt: &StoredAttempt) -> Vec<String> {
    attempt.events.read().expect("events").into_iter().map(|event| event.text).collect()
}

fn sha_of(stored: &RevisionDocument) -> String {
    stored.read().expect("a revision").sha
}

fn first_of(stored: &RevisionDocument) -> char {
    sha_of(stored).chars().next().expect("a digit")
}

async fn status(world: &World) -> syncline_store::SyncStatus {
    world.store.sync_status(&ours(), CFN, "web").await.expect("read").expect("an attempt")
}

#[tokio::test]
async fn an_attempt_is_opened_once_for_what_is_desired() {
    let (world, link, sync) = World::followed("web").await;
    assert_eq!(world.store.sync_status(&ours(), CFN, "web").await.expect("read"), None);
    let (claim, id) = opened(&world, &sha('a')).await;
    let open = world.record(&sync.id).await.open.expect("open");
    assert_eq!(open.wanted, Wanted { seq: 1, generation: 1 });
    assert_eq!((open.phase, open.plan_number, open.failures), (Phase::Opened, 0, 0));
    assert_eq!((open.link_id.as_str(), open.config_file.as_str()), (link.as_str(), "web/deploy.yaml"));
    assert_eq!(open.role_arn, "arn:aws:iam::111111111111:role/deploy");
    assert_eq!(open.change_set_name(), format!("{id}-0"));
    assert!(id.starts_with(|c: char| c.is_ascii_alphabetic()), "{id} names a change set");
    assert_eq!(open.last_event, Some(EventKind::AttemptStarted));

    let latest = status(&world).await.latest;
    assert_eq!((latest.status, latest.target.as_str()), (AttemptStatus::Initiated, "web"));
    assert_eq!(sha_of(&latest.target_revision), sha('a'));
    assert_eq!(latest.initial, latest.target_revision, "on the first sync the target itself");
    assert_eq!(status(&world).await.latest_successful(), None);
    assert_eq!(sha_of(&status(&world).await.desired.expect("desired")), sha('a'));

    let twice = world.store.open_attempt(&claim).await;
    assert!(matches!(twice, Err(StoreError::Corrupt(_))), "{twice:?}");
    assert_eq!(world.store.attempts(&ours(), CFN, "web").await.expect("read").expect("a sync").len(), 1);
}

#[tokio::test]
async fn progress_changes_what_it_names_and_events_keep_their_order() {
    let (world, _, sync) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    let progress = async |progress| {
        world.store.record_progress("store.progress", &claim, &id, progress).await.expect("recorded");
        world.record(&sync.id).await.open.expect("open")
    };
    world.clock.advance_ms(5);
    let since = syncline_seams::Clock::now_ms(&*world.clock);
    let open = progress(Progress {
        phase: Some(Phase::Planning),
        change_set_arn: Some("cs-0".into()),
        events: vec![event("1"), event("2")],
        failures: Some(3),
        ..Progress::default()
    })
    .await;
    assert_eq!((open.phase, open.phase_since_ms, open.failures), (Phase::Planning, since, 3));
    assert_eq!(open.change_set_arn.as_deref(), Some("cs-0"));
    assert_eq!(open.last_event_text.as_deref(), Some("2"));

    world.clock.advance_ms(5);
    let open = progress(Progress { stack_id: Some("stack".into()), ..Progress::default() }).await;
    assert_eq!((open.phase, open.phase_since_ms, open.failures), (Phase::Planning, since, 3), "as they were");
    assert_eq!((open.change_set_arn.as_deref(), open.stack_id.as_deref()), (Some("cs-0"), Some("stack")));

    let open = progress(Progress { plan_number: Some(1), ..Progress::default() }).await;
    assert_eq!((open.plan_number, open.change_set_arn), (1, None), "the next plan has its own change set");
    let open = progress(Progress {
        phase: Some(Phase::Executing),
        in_progress: true,
        last_stack_event: Some("e9".into()),
        events: vec![event("3")],
        ..Progress::default()
    })
    .await;
    assert_eq!((open.phase, open.last_stack_event.as_deref()), (Phase::Executing, Some("e9")));
    let latest = status(&world).await.latest;
    assert_eq!(latest.status, AttemptStatus::InProgress);
    assert_eq!(texts(&latest)[1..], ["1", "2", "3"]);
}

#[tokio::test]
async fn an_attempt_that_has_ended_never_changes() {
    for how in [AttemptStatus::Succeeded, AttemptStatus::Failed] {
        let (world, _, sync) = World::followed("web").await;
        let (claim, id) = opened(&world, &sha('a')).await;
        world.store.end_attempt(&claim, &id, ending(how)).await.expect("ended");
        let before = status(&world).await;
        assert_eq!(
            (before.latest.status, texts(&before.latest)[1..].to_vec()),
            (how, vec!["the end".to_owned()])
        );

        let more = Progress { events: vec![event("late")], in_progress: true, ..Progress::default() };
        let late = world.store.record_progress("store.progress", &claim, &id, more).await;
        assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
        for again in [AttemptStatus::Succeeded, AttemptStatus::Failed] {
            let late = world.store.end_attempt(&claim, &id, ending(again)).await;
            assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
        }
        assert_eq!(status(&world).await, before);
        assert_eq!(world.record(&sync.id).await.open, None);
        assert_eq!(world.record(&sync.id).await.recorded.newest, Some(Wanted { seq: 1, generation: 1 }));
    }
}

#[tokio::test]
async fn only_the_holder_of_the_claim_writes_attempts() {
    let (world, link, _) = World::followed("web").await;
    let (lost, id) = opened(&world, &sha('a')).await;
    world.clock.advance_ms(LEASE_MS);
    let held = world.claim(Kind::Sync).await;
    let before = status(&world).await;
    let stale =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Stale(_))), "{result:?}");
    let more = || Progress { events: vec![event("late")], ..Progress::default() };
    stale(world.store.record_progress("store.progress", &lost, &id, more()).await);
    stale(world.store.end_attempt(&lost, &id, ending(AttemptStatus::Succeeded)).await);
    stale(world.store.open_attempt(&lost).await.map(drop));
    stale(world.store.forget_sync(&lost).await);
    assert_eq!(status(&world).await, before);

    // A claim is good for its own sync alone.
    world.sync(&link, "api", "main").await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    world.considered("api").await;
    let other = world.claim(Kind::Sync).await;
    stale(world.store.record_progress("store.progress", &other, &id, more()).await);
    stale(world.store.end_attempt(&other, &id, ending(AttemptStatus::Succeeded)).await);
    assert_eq!(status(&world).await, before);
    world.store.record_progress("store.progress", &held, &id, more()).await.expect("the holder may");
}

#[tokio::test]
async fn the_newest_success_stays_while_newer_attempts_fail() {
    let (world, _, sync) = World::followed("web").await;
    let shas = |status: &syncline_store::SyncStatus| {
        let successful = status.latest_successful();
        let successful = successful.map(|attempt| first_of(&attempt.target_revision));
        let latest = &status.latest;
        (first_of(&latest.initial), first_of(&latest.target_revision), successful)
    };
    ended(&world, &sha('a'), AttemptStatus::Failed).await;
    assert_eq!(shas(&status(&world).await), ('a', 'a', None));
    ended(&world, &sha('b'), AttemptStatus::Succeeded).await;
    assert_eq!(shas(&status(&world).await), ('b', 'b', Some('b')), "nothing was applied before");
    ended(&world, &sha('c'), AttemptStatus::Failed).await;
    assert_eq!(shas(&status(&world).await), ('b', 'c', Some('b')));
    ended(&world, &sha('d'), AttemptStatus::Succeeded).await;
    assert_eq!(shas(&status(&world).await), ('b', 'd', Some('d')), "from what was applied last");
    let (_, _) = opened(&world, &sha('e')).await;
    assert_eq!(shas(&status(&world).await), ('d', 'e', Some('d')));

    let attempts = world.store.attempts(&ours(), CFN, "web").await.expect("read").expect("a sync");
    let story: Vec<_> = attempts
        .iter()
        .map(|a| format!("{} {}", a.status, a.target_revision.sha.chars().next().expect("a digit")))
        .collect();
    assert_eq!(story, ["FAILED a", "SUCCEEDED b", "FAILED c", "SUCCEEDED d", "INITIATED e"]);
    assert_eq!(
        world.record(&sync.id).await.recorded.newest.map(|wanted| wanted.seq),
        Some(4),
        "the newest ended"
    );
}

#[tokio::test]
async fn an_answer_holds_the_newest_hundred_events() {
    let (world, _, _) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    for batch in 0..15 {
        let events = (0..10).map(|n| event(&format!("{}", batch * 10 + n))).collect();
        let progress = Progress { events, ..Progress::default() };
        world.store.record_progress("store.progress", &claim, &id, progress).await.expect("recorded");
    }
    let latest = status(&world).await.latest;
    let expected: Vec<_> = (50..150).map(|n| n.to_string()).collect();
    assert_eq!(texts(&latest), expected, "oldest first, the newest kept");
}

#[tokio::test]
async fn events_that_need_another_page_are_told_with_the_step_or_the_end_that_brings_them() {
    // The document holds a hundred: with the one of its beginning it has room for 99 more.
    for (before, with_the_end) in [(98, 1), (98, 2), (99, 1), (99, 3), (0, 100), (150, 99)] {
        let (world, _, _) = World::followed("web").await;
        let (claim, id) = opened(&world, &sha('a')).await;
        let events = (0..before).map(|n| event(&n.to_string())).collect();
        let progress = Progress { events, in_progress: true, ..Progress::default() };
        world.store.record_progress("store.progress", &claim, &id, progress).await.expect("recorded");
        let mut last = ending(AttemptStatus::Failed);
        last.events = (before..before + with_the_end).map(|n| event(&n.to_string())).collect();
        world.store.end_attempt(&claim, &id, last.clone()).await.expect("ended");
        let latest = status(&world).await.latest;
        assert_eq!(latest.status, AttemptStatus::Failed);
        let told: i32 = before + with_the_end;
        let expected: Vec<_> = (0..told).map(|n| n.to_string()).collect();
        let newest = texts(&latest);
        let newest: Vec<_> = newest.into_iter().filter(|text| text.parse::<i32>().is_ok()).collect();
        assert!(expected.ends_with(&newest) && newest.len() >= 99.min(expected.len()), "{newest:?}");
        let again = world.store.end_attempt(&claim, &id, last).await;
        assert!(matches!(again, Err(StoreError::Stale(_))), "{again:?}");
        assert_eq!(status(&world).await.latest, latest, "an ended attempt does not change");
    }
}

#[tokio::test]
async fn an_attempt_keeps_the_configuration_it_was_opened_with() {
    let (world, _, sync) = World::followed("web").await;
    let (_, _) = opened(&world, &sha('a')).await;
    let change = syncline_store::ConfigurationChange {
        config_file: Some("other.yaml".into()),
        role_arn: Some(crate::world::role("222222222222")),
        ..Default::default()
    };
    world
        .store
        .update_configuration(&ours(), CFN, "web", change, crate::world::PLENTY, Change::unrecorded())
        .await
        .expect("written");
    let open = world.record(&sync.id).await.open.expect("open");
    assert_eq!(open.config_file, "web/deploy.yaml");
    assert_eq!(open.role_arn, "arn:aws:iam::111111111111:role/deploy");
}

#[tokio::test]
async fn success_of_the_old_account_says_nothing_of_the_new_stack() {
    let (world, _, sync) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    let change = syncline_store::ConfigurationChange {
        role_arn: Some(crate::world::role("222222222222")),
        ..Default::default()
    };
    world
        .store
        .update_configuration(&ours(), CFN, "web", change, crate::world::PLENTY, Change::unrecorded())
        .await
        .expect("written");
    let progress = Progress { stack_id: Some("old stack".into()), ..Progress::default() };
    world.store.record_progress("store.progress", &claim, &id, progress).await.expect("recorded");
    world.store.end_attempt(&claim, &id, ending(AttemptStatus::Succeeded)).await.expect("ended");
    assert!(!world.record(&sync.id).await.recorded.knows_stack);
    world.store.release(claim, None).await.expect("released");
    let (_, _) = opened(&world, &sha('b')).await;
    assert_eq!(sha_of(&status(&world).await.latest.initial), sha('b'), "nothing was applied there yet");
}

#[tokio::test]
async fn an_end_may_raise_a_blocker_and_success_resolves_the_failures_before() {
    let (world, _, sync) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    let blocker =
        NewBlocker { kind: BlockerKind::ExecutionFailed, reason: "rolled back".into(), contexts: Vec::new() };
    let failed = Ending { blocker: Some(blocker), ..ending(AttemptStatus::Failed) };
    world.store.end_attempt(&claim, &id, failed).await.expect("ended");
    assert_eq!(world.record(&sync.id).await.blockers, [BlockerKind::ExecutionFailed]);
    world.store.release(claim, None).await.expect("released");
    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
    let (claim, id) = opened(&world, &sha('b')).await;
    assert_eq!(
        world.record(&sync.id).await.blockers,
        [BlockerKind::ExecutionFailed],
        "it stands while it is tried"
    );
    world.store.end_attempt(&claim, &id, ending(AttemptStatus::Succeeded)).await.expect("ended");
    assert_eq!(world.record(&sync.id).await.blockers, []);
}

#[tokio::test]
async fn an_outage_ends_when_what_failed_works_again_and_not_by_a_success_elsewhere() {
    for recovered in [false, true] {
        let (world, _, sync) = World::followed("web").await;
        let (claim, id) = opened(&world, &sha('a')).await;
        let outage =
            NewBlocker { kind: BlockerKind::TargetUnavailable, reason: "503".into(), contexts: Vec::new() };
        let progress = Progress { blocker: Some(outage), ..Progress::default() };
        world.store.record_progress("store.progress", &claim, &id, progress).await.expect("recorded");
        let ending = Ending { recovered, ..ending(AttemptStatus::Succeeded) };
        world.store.end_attempt(&claim, &id, ending).await.expect("ended");
        let left = world.record(&sync.id).await.blockers;
        let expected = if recovered { vec![] } else { vec![BlockerKind::TargetUnavailable] };
        assert_eq!(left, expected);
    }
}

#[tokio::test]
async fn the_change_set_executed_last_is_known_once_its_attempt_has_ended() {
    let (world, _, sync) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    let executing = Progress {
        phase: Some(Phase::Executing),
        change_set_arn: Some("cs-0".into()),
        in_progress: true,
        ..Progress::default()
    };
    world.store.record_progress("store.progress", &claim, &id, executing).await.expect("recorded");
    assert_eq!(world.record(&sync.id).await.last_executed_at_ms, None, "it may still be going on");
    world.clock.advance_ms(5);
    world.store.end_attempt(&claim, &id, ending(AttemptStatus::Succeeded)).await.expect("ended");
    assert_eq!(world.record(&sync.id).await.last_executed_at_ms, Some(crate::world::START_MS + 5));
    assert!(world.store.has_executed(&sync.id, "cs-0").await.expect("read"));
    assert!(!world.store.has_executed(&sync.id, "somebody else's").await.expect("read"));
}

async fn nothing_is_due(world: &World) -> bool {
    world.store.claim(Kind::Sync, "worker", LEASE_MS).await.expect("asked").is_none()
}

#[tokio::test]
async fn a_claim_is_given_back_with_the_success_that_leaves_nothing_to_do() {
    let (world, ..) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    let success = ending(AttemptStatus::Succeeded);
    assert!(world.store.end_attempt_and_rest(&claim, &id, success).await.expect("ended"));
    assert!(nothing_is_due(&world).await);
    let late = world.store.record_progress("store.progress", &claim, &id, Progress::default()).await;
    assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
    // Its holder need not know: to give it back again does nothing.
    world.store.release(claim, Some(0)).await.expect("released");
    assert!(nothing_is_due(&world).await);
}

#[tokio::test]
async fn a_claim_is_kept_where_something_is_left_to_do() {
    let failed = ending(AttemptStatus::Failed);
    let (world, ..) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    assert!(!world.store.end_attempt_and_rest(&claim, &id, failed).await.expect("ended"), "it failed");

    let (world, ..) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
    world.pushed(&sha('b')).await;
    let success = ending(AttemptStatus::Succeeded);
    assert!(
        !world.store.end_attempt_and_rest(&claim, &id, success).await.expect("ended"),
        "it is not the newest"
    );
    world.store.open_attempt(&claim).await.expect("the claim still stands");
}

#[tokio::test]
async fn a_sync_that_was_woken_before_its_claim_was_given_back_is_due_at_once() {
    let (world, ..) = World::followed("web").await;
    let (claim, id) = opened(&world, &sha('a')).await;
    let progress = Progress { due_again_ms: Some(crate::world::START_MS + 500), ..Progress::default() };
    world.store.record_progress("store.progress", &claim, &id, progress.clone()).await.expect("recorded");
    assert!(nothing_is_due(&world).await);
    world.clock.advance_ms(500);
    let claim = world.claim(Kind::Sync).await;

    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("woken");
    let progress = Progress { due_again_ms: Some(crate::world::START_MS + 9_000), ..progress };
    world.store.record_progress("store.progress", &claim, &id, progress).await.expect("recorded");
    world.claim(Kind::Sync).await;
}
