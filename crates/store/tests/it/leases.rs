//! Who may do a piece of work, and until when.

use std::collections::BTreeMap;

use syncline_store::{Change, Kind, StoreError};

use crate::world::{LEASE_MS, START_MS, World, ours, sha};

#[tokio::test]
async fn one_piece_of_work_has_one_holder() {
    let (world, link, _) = World::followed("web").await;
    let store = &world.store;
    let first = store.claim(Kind::Link, "first", LEASE_MS).await.expect("claimed").expect("the link is due");
    assert_eq!((first.kind, first.id.as_str()), (Kind::Link, link.as_str()));
    assert_eq!(store.claim(Kind::Link, "second", LEASE_MS).await.expect("looked"), None);
    assert_eq!(store.claim(Kind::Link, "first", LEASE_MS).await.expect("looked"), None, "not even twice");

    world.clock.advance_ms(LEASE_MS - 1);
    assert_eq!(store.claim(Kind::Link, "second", LEASE_MS).await.expect("looked"), None);
    world.clock.advance_ms(1);
    let second = store.claim(Kind::Link, "second", LEASE_MS).await.expect("claimed").expect("it ran out");
    assert_eq!(second.id, link);

    // The first one wakes from its pause: it can neither hold on, nor write, nor give back what is not its own.
    let stale = |result: Result<(), StoreError>| match result {
        Err(StoreError::Stale(what)) => assert!(what.contains(&link), "{what}"),
        other => panic!("{other:?}"),
    };
    stale(store.renew(&first, LEASE_MS).await);
    let heads = BTreeMap::from([("main".to_owned(), Some(sha('a')))]);
    stale(store.record_heads(&first, heads).await.map(drop));
    stale(store.record_credential(&first, None, Some("refused".to_owned())).await.map(drop));
    stale(store.record_remote_trouble(&first, "down", None).await);
    store.release(first, None).await.expect("no error: the new holder decides");
    assert!(world.nothing_due(Kind::Link).await, "the second one still holds it");
    let record = store.link_record(&link).await.expect("read").expect("a link");
    assert_eq!(record.failures, 0);
    store.renew(&second, LEASE_MS).await.expect("held");
    assert!(world.nothing_due(Kind::Branch).await, "no head was recorded");
}

#[tokio::test]
async fn a_lease_that_ran_out_is_no_lease_even_if_nobody_took_it() {
    let (world, link, _) = World::followed("web").await;
    let claim = world.claim(Kind::Link).await;
    world.clock.advance_ms(LEASE_MS);
    let refused = world.store.record_remote_trouble(&claim, "down", None).await;
    assert!(matches!(refused, Err(StoreError::Stale(_))), "{refused:?}");
    assert_eq!(world.store.link_record(&link).await.expect("read").expect("a link").failures, 0);
}

#[tokio::test]
async fn the_same_owner_does_not_inherit_its_own_lost_claim() {
    let (world, _, _) = World::followed("web").await;
    let lost = world.claim(Kind::Link).await;
    world.clock.advance_ms(LEASE_MS);
    let again = world.claim(Kind::Link).await;
    assert!(matches!(world.store.renew(&lost, LEASE_MS).await, Err(StoreError::Stale(_))), "an older epoch");
    world.store.renew(&again, LEASE_MS).await.expect("held");
}

#[tokio::test]
async fn renewing_holds_a_claim() {
    let (world, _, _) = World::followed("web").await;
    let claim = world.claim(Kind::Link).await;
    for _ in 0..5 {
        world.clock.advance_ms(LEASE_MS - 1);
        world.store.renew(&claim, LEASE_MS).await.expect("held");
        assert!(world.nothing_due(Kind::Link).await);
    }
}

#[tokio::test]
async fn a_release_says_when_the_work_is_due_again() {
    let (world, link, _) = World::followed("web").await;
    let claim = world.claim(Kind::Link).await;
    assert_eq!(
        world.store.next_due_ms(Some(Kind::Link)).await.expect("read"),
        None,
        "held work is not counted"
    );
    world.store.release(claim, Some(START_MS + 60_000)).await.expect("released");
    assert_eq!(world.store.next_due_ms(Some(Kind::Link)).await.expect("read"), Some(START_MS + 60_000));
    assert_eq!(world.store.next_due_ms(None).await.expect("read"), Some(START_MS + 60_000));
    world.clock.advance_ms(59_999);
    assert!(world.nothing_due(Kind::Link).await);
    world.clock.advance_ms(1);
    assert_eq!(world.claim(Kind::Link).await.id, link);
}

#[tokio::test]
async fn it_is_known_when_the_next_lease_runs_out() {
    let (world, _, _) = World::followed("web").await;
    let next = async || world.store.next_lease_end_ms().await.expect("read");
    assert_eq!(next().await, None);
    let claim = world.claim(Kind::Link).await;
    assert_eq!(next().await, Some(START_MS + LEASE_MS));
    world.clock.advance_ms(10);
    world.store.renew(&claim, LEASE_MS).await.expect("held");
    assert_eq!(next().await, Some(START_MS + 10 + LEASE_MS));
    world.clock.advance_ms(LEASE_MS);
    assert_eq!(next().await, None, "it has run out: the work is due");
}

#[tokio::test]
async fn a_wake_during_a_claim_keeps_the_work_due() {
    let (world, link, _) = World::followed("web").await;
    let claim = world.claim(Kind::Link).await;
    let woken =
        world.store.sync_now(&ours(), crate::world::CFN, "web", Change::unrecorded()).await.expect("written");
    assert_eq!(woken, Some(Ok(())));
    assert!(world.nothing_due(Kind::Link).await, "it is still held");
    world.store.release(claim, Some(START_MS + 60_000)).await.expect("released");
    let again = world.claim(Kind::Link).await;
    assert_eq!(again.id, link, "the release did not undo the wake");
    world.store.release(again, None).await.expect("released");
    assert!(world.nothing_due(Kind::Link).await, "one wake, one more turn");
}

#[tokio::test]
async fn the_most_overdue_work_comes_first() {
    let world = World::new();
    let mut links = Vec::new();
    for name in ["c", "a", "b"] {
        let link = world.link(&ours(), name).await;
        world.sync(&link, name, "main").await;
        links.push(link);
        world.clock.advance_ms(10);
    }
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.push(world.claim(Kind::Link).await.id);
    }
    assert_eq!(claimed, links);
}

#[tokio::test]
async fn opening_voids_the_leases_of_a_dead_process() {
    let (world, link, _) = World::on_sqlite().following("web").await;
    let before = world.claim(Kind::Link).await;
    let world = world.reopened();
    assert_eq!(world.claim(Kind::Link).await.id, link, "due at once, not after the dead lease");
    assert!(matches!(world.store.renew(&before, LEASE_MS).await, Err(StoreError::Stale(_))));
}

#[tokio::test]
async fn waiting_for_a_wake_ends_with_the_commit_that_wakes() {
    let (world, _, _) = World::followed("web").await;
    // What was woken while nobody waited is not lost either.
    world.store.woken().await;
    let waiting = world.store.clone();
    let waiter = tokio::spawn(async move { waiting.woken().await });
    world.store.sync_now(&ours(), crate::world::CFN, "web", Change::unrecorded()).await.expect("written");
    waiter.await.expect("it ends");
}
