//! What a sync wants while it is told to rest, and after.

use syncline_model::plan::{Seen, Step, next_step};
use syncline_model::sync::{AttemptStatus, EventKind, SyncEvent};
use syncline_store::{Change, Ending, Kind, Suspended};

use crate::world::{CFN, START_MS, World, ours, scope_of, sha};

#[tokio::test]
async fn an_attempt_that_is_given_up_after_the_sync_was_resumed_is_made_anew_all_the_same() {
    let (world, _, sync) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    let step = async || next_step(&world.record(&sync.id).await.recorded, &Seen::Nothing);
    let claim = world.claim(Kind::Sync).await;
    world.store.open_attempt(&claim).await.expect("opened");
    let web = || Suspended::Sync { sync_type: CFN.to_owned(), name: "web".to_owned() };
    world.store.suspend(&ours(), web(), "a freeze", Change::unrecorded()).await.expect("written");
    assert_eq!(step().await, Step::Supersede);
    // The worker has decided; the operator is faster than its commit.
    world.store.resume(&ours(), web(), Change::unrecorded()).await.expect("written");
    let open = world.record(&sync.id).await.open.expect("open");
    let event = |kind| SyncEvent { time_ms: START_MS, kind, text: String::new(), external_id: None };
    let ending = |status, kind| Ending {
        status,
        events: vec![event(kind)],
        last_stack_event: None,
        blocker: None,
        recovered: false,
    };
    let given_up = ending(AttemptStatus::Failed, EventKind::Superseded);
    world.store.end_attempt(&claim, &open.id, given_up).await.expect("ended");
    assert_eq!(step().await, Step::Open);
    // One that failed by itself is not tried again.
    world.store.open_attempt(&claim).await.expect("opened");
    let open = world.record(&sync.id).await.open.expect("open");
    let failed = ending(AttemptStatus::Failed, EventKind::Failed);
    world.store.end_attempt(&claim, &open.id, failed).await.expect("ended");
    assert_eq!(step().await, Step::Rest);
}

#[tokio::test]
async fn an_account_is_suspended_in_every_region_and_no_other_is() {
    let (world, _, sync) = World::followed("web").await;
    let elsewhere = scope_of(ours().account.as_str(), "us-east-1");
    let suspended = world.store.suspend(&elsewhere, Suspended::Account, "unpaid", Change::unrecorded()).await;
    assert!(suspended.expect("written").expect("a suspension").of_account);
    let shown = world.store.suspension(&ours(), &sync.id).await.expect("read").expect("it rests");
    assert_eq!((shown.reason.as_str(), shown.since_ms), ("unpaid", START_MS));
    assert!(world.record(&sync.id).await.recorded.suspended);
    let other = scope_of("222222222222", "eu-west-1");
    assert_eq!(world.store.suspension(&other, &sync.id).await.expect("read"), None);
    // A sync's own reason is the one that is shown; it rests until both are gone.
    let web = || Suspended::Sync { sync_type: CFN.to_owned(), name: "web".to_owned() };
    world.store.suspend(&ours(), web(), "a freeze", Change::unrecorded()).await.expect("written");
    let shown = world.store.suspension(&ours(), &sync.id).await.expect("read").expect("it rests");
    assert_eq!(shown.reason, "a freeze");
    world.store.resume(&ours(), web(), Change::unrecorded()).await.expect("written");
    assert!(world.record(&sync.id).await.recorded.suspended);
    world.store.resume(&ours(), Suspended::Account, Change::unrecorded()).await.expect("written");
    assert!(!world.record(&sync.id).await.recorded.suspended);
}
