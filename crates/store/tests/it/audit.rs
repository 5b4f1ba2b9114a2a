//! The audit log: a record with its change, and its place soon after.

use std::collections::BTreeSet;
use std::sync::Arc;

use syncline_model::names::AccountId;
use syncline_seams::{Clock as _, Injected, Moment};
use syncline_store::chain::{Broken, ChainedRecord, Checker};
use syncline_store::{
    Change, Claim, CreateConnection, GATHER_MS, Kind, NewConnection, Store, StoreError, Told,
};
use tokio::task::JoinSet;

use crate::world::{LEASE_MS, START_MS, World, ours, scope_of};

fn theirs() -> AccountId {
    scope_of("222222222222", "eu-west-1").account
}

async fn refuse(world: &World, account: &AccountId, event_id: &str) {
    let text = format!("{{\"eventID\":\"{event_id}\"}}");
    world.store.record_unchanged(account, event_id, move |_| text).await.expect("written");
}

async fn claim(store: &Store, owner: &str) -> Option<Claim> {
    store.claim(Kind::Audit, owner, LEASE_MS).await.expect("claimed")
}

/// Lets every record that waits get its place, as the worker does.
async fn sequence(world: &World) {
    world.clock.advance_ms(GATHER_MS);
    while let Some(claim) = claim(&world.store, "worker").await {
        while world.store.sequence_audit(&claim).await.expect("sequenced") {}
        world.store.release(claim, None).await.expect("released");
    }
}

/// The account's whole chain, read in pages.
async fn log(store: &Store, account: &AccountId) -> Vec<ChainedRecord> {
    let mut records: Vec<ChainedRecord> = Vec::new();
    loop {
        let after = records.last().map_or(0, |last| last.sequence);
        let page = store.audit_page(account, after, 70).await.expect("read");
        if page.records.is_empty() {
            assert_eq!(page.head, records.last().map(ChainedRecord::head));
            return records;
        }
        records.extend(page.records);
    }
}

fn check(records: &[ChainedRecord]) -> Result<(), Broken> {
    let mut checker = Checker::default().of_whole_chain();
    records.iter().try_for_each(|record| checker.check(record))
}

fn event_ids(records: &[ChainedRecord]) -> Vec<&str> {
    records.iter().map(|record| record.event_id.as_str()).collect()
}

#[tokio::test]
async fn records_get_their_places_in_the_order_of_their_times() {
    let world = World::new();
    let account = ours().account;
    refuse(&world, &account, "b").await;
    refuse(&world, &account, "a").await;
    world.clock.advance_ms(1);
    refuse(&world, &account, "0").await;
    let before = world.store.audit_page(&account, 0, 10).await.expect("read");
    assert_eq!((before.records, before.head, before.waiting), (Vec::new(), None, 3));

    sequence(&world).await;
    let first = log(&world.store, &account).await;
    assert_eq!(event_ids(&first), ["a", "b", "0"]);
    assert_eq!(first[2].time_ms, START_MS + 1);
    assert_eq!(check(&first), Ok(()));

    // One that was on its way for longer than it takes to get a place comes later.
    world.clock.advance_ms(-10_000);
    refuse(&world, &account, "late").await;
    sequence(&world).await;
    let second = log(&world.store, &account).await;
    assert_eq!(second[..3], first, "a record that has its place stays as it is");
    assert_eq!(event_ids(&second[3..]), ["late"]);
    assert_eq!(check(&second), Ok(()));
}

#[tokio::test]
async fn accounts_have_chains_of_their_own() {
    let world = World::new();
    let (ours, theirs) = (ours().account, theirs());
    for number in 0..3 {
        refuse(&world, &ours, &format!("ours-{number}")).await;
        refuse(&world, &theirs, &format!("theirs-{number}")).await;
        sequence(&world).await;
    }
    for account in [&ours, &theirs] {
        let records = log(&world.store, account).await;
        assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(records.iter().all(|record| record.account_id == account.as_str()));
        assert_eq!(check(&records), Ok(()));
    }
    assert_ne!(log(&world.store, &ours).await[0].hash, log(&world.store, &theirs).await[0].hash);
}

#[tokio::test]
async fn a_change_and_its_record_are_there_together_or_not_at_all() {
    let world = World::new();
    let scope = ours();
    let create = |name: &str| {
        let new = NewConnection {
            id: format!("id-{name}"),
            service: "codeconnections".to_owned(),
            name: name.to_owned(),
            provider_type: Some("GitHub".to_owned()),
            host_id: None,
            tags: Vec::new(),
        };
        let change = Change::recorded(
            scope.account.clone(),
            format!("event-{name}"),
            |outcome: CreateConnection| outcome,
            |answer, now_ms| Told { record: format!("{answer:?} at {now_ms}"), answer: None },
        );
        world.store.create_connection(&scope, new, 100, change)
    };
    for (moment, is_there) in [(Moment::Before, false), (Moment::After, true)] {
        let name = format!("{moment:?}");
        world.faults.inject("store.create_connection", moment, Injected::Fail, 1);
        assert!(create(&name).await.is_err());
        let found = world.store.connection(&scope, &format!("id-{name}")).await.expect("read");
        assert_eq!(found.is_some(), is_there, "{name}");
        let waiting = world.store.audit_page(&scope.account, 0, 1).await.expect("read").waiting;
        assert_eq!(waiting == 1, is_there, "{name}");
    }
    sequence(&world).await;
    let records = log(&world.store, &scope.account).await;
    assert_eq!(records[0].record, format!("Created at {START_MS}"));
}

#[tokio::test]
async fn what_waits_is_due_once_it_was_gathered_and_nothing_else_wakes_it() {
    let world = World::new();
    let (ours, theirs) = (ours().account, theirs());
    let due = async || world.store.next_due_ms(Some(Kind::Audit)).await.expect("read");
    assert_eq!(due().await, None);
    world.faults.clear();
    refuse(&world, &ours, "one").await;
    world.clock.advance_ms(100);
    refuse(&world, &ours, "two").await;
    refuse(&world, &theirs, "three").await;
    let passed: BTreeSet<_> = world.faults.seen().into_iter().map(|(point, _)| point).collect();
    assert_eq!(passed, BTreeSet::from(["store.record_unchanged"]));
    assert_eq!(due().await, Some(START_MS + GATHER_MS));
    assert_eq!(world.store.next_due_ms(None).await.expect("read"), due().await);
    world.clock.advance_ms(GATHER_MS - 101);
    assert_eq!(claim(&world.store, "early").await, None);

    world.clock.advance_ms(1);
    let held = claim(&world.store, "first").await.expect("due");
    assert_eq!((held.kind, held.id.as_str()), (Kind::Audit, ours.as_str()));
    assert_eq!(due().await, Some(START_MS + 100 + GATHER_MS), "the other account's");
    world.clock.advance_ms(100);
    let other = claim(&world.store, "second").await.expect("due");
    assert_eq!(other.id, theirs.as_str());
    assert_eq!((due().await, claim(&world.store, "third").await), (None, None), "both are held");

    assert!(!world.store.sequence_audit(&held).await.expect("sequenced"));
    // What comes while somebody is at it is due when he has gone.
    refuse(&world, &ours, "four").await;
    world.store.release(held, None).await.expect("released");
    assert_eq!(due().await, Some(world.clock.now_ms() + GATHER_MS));
    // Who could not do it says when to try again.
    let later = world.clock.now_ms() + 5000;
    world.store.release(other, Some(later)).await.expect("released");
    assert_eq!(claim(&world.store, "fourth").await, None);
    sequence(&world).await;
    assert_eq!(due().await, Some(later));

    // A clock that is put back keeps nothing waiting.
    world.clock.advance_ms(5000);
    sequence(&world).await;
    assert_eq!(due().await, None);
    refuse(&world, &ours, "five").await;
    world.clock.advance_ms(-3_600_000);
    assert_eq!(due().await, Some(world.clock.now_ms()));
    sequence(&world).await;
    assert_eq!(event_ids(&log(&world.store, &ours).await), ["one", "two", "four", "five"]);
    assert_eq!(event_ids(&log(&world.store, &theirs).await), ["three"]);
}

#[tokio::test]
async fn a_worker_that_lost_its_claim_gives_no_places() {
    let world = World::new();
    let account = ours().account;
    refuse(&world, &account, "one").await;
    world.clock.advance_ms(GATHER_MS);
    let paused = claim(&world.store, "paused").await.expect("due");
    world.clock.advance_ms(LEASE_MS);
    let refused = world.store.sequence_audit(&paused).await;
    assert!(matches!(refused, Err(StoreError::Stale(_))), "{refused:?}");
    let second = claim(&world.store, "second").await.expect("due again");
    assert!(!world.store.sequence_audit(&second).await.expect("sequenced"));
    let before = log(&world.store, &account).await;
    let refused = world.store.sequence_audit(&paused).await;
    assert!(matches!(refused, Err(StoreError::Stale(_))), "{refused:?}");
    assert_eq!(log(&world.store, &account).await, before);
    assert_eq!(before.len(), 1);
}

#[tokio::test]
async fn many_records_take_several_transactions_and_several_pages() {
    let world = World::new();
    let account = ours().account;
    for number in 0..1201 {
        refuse(&world, &account, &format!("event-{number:04}")).await;
    }
    world.clock.advance_ms(GATHER_MS);
    let held = claim(&world.store, "worker").await.expect("due");
    for (more, waiting) in [(true, 701), (true, 201), (false, 0)] {
        assert_eq!(world.store.sequence_audit(&held).await.expect("sequenced"), more);
        assert_eq!(world.store.audit_page(&account, 0, 1).await.expect("read").waiting, waiting);
    }
    let records = log(&world.store, &account).await;
    assert_eq!(records.len(), 1201);
    assert_eq!(check(&records), Ok(()));
    assert_eq!(records[1200].event_id, "event-1200");
}

#[tokio::test]
async fn long_records_take_more_transactions() {
    let world = World::new();
    let account = ours().account;
    for number in 0..100 {
        let text = "x".repeat(100_000);
        world
            .store
            .record_unchanged(&account, &format!("{number:03}"), move |_| text)
            .await
            .expect("written");
    }
    world.clock.advance_ms(GATHER_MS);
    let held = claim(&world.store, "worker").await.expect("due");
    // The 42nd makes it more than 4 MiB.
    for (more, waiting) in [(true, 58), (true, 16), (false, 0)] {
        assert_eq!(world.store.sequence_audit(&held).await.expect("sequenced"), more);
        assert_eq!(world.store.audit_page(&account, 0, 1).await.expect("read").waiting, waiting);
    }
    let records = log(&world.store, &account).await;
    assert_eq!(records.len(), 100);
    assert_eq!(check(&records), Ok(()));
}

#[tokio::test]
async fn a_page_of_long_records_is_shorter() {
    let world = World::new();
    let account = ours().account;
    for number in 0..120 {
        let text = "x".repeat(100_000);
        world
            .store
            .record_unchanged(&account, &format!("{number:03}"), move |_| text)
            .await
            .expect("written");
    }
    sequence(&world).await;
    let page = world.store.audit_page(&account, 0, 1000).await.expect("read");
    assert_eq!(page.records.len(), 50, "5 MB");
    assert_eq!(check(&log(&world.store, &account).await), Ok(()));
}

/// Changes of two accounts arrive while two workers sequence them, lose their claims, die after their commits, or
/// are told that a commit failed which did not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_leave_no_gap_and_no_place_twice() {
    const EACH: usize = 150;
    let world = Arc::new(World::new());
    let accounts = [ours().account, theirs()];
    let mut writers = JoinSet::new();
    for account in &accounts {
        for number in 0..EACH {
            let (world, account) = (Arc::clone(&world), account.clone());
            writers.spawn(async move {
                refuse(&world, &account, &format!("{account}-{number:03}")).await;
                world.clock.advance_ms(7);
            });
        }
    }
    let mut workers = JoinSet::new();
    for worker in 0..2 {
        let world = Arc::clone(&world);
        workers.spawn(async move {
            for turn in 0..60 {
                world.clock.advance_ms(GATHER_MS / 2);
                let Some(claim) = claim(&world.store, &format!("worker-{worker}-{turn}")).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                match turn % 5 {
                    0 => world.faults.fail("store.sequence_audit", Moment::Before),
                    1 => world.faults.fail("store.sequence_audit", Moment::After),
                    _ => {}
                }
                let sequenced = world.store.sequence_audit(&claim).await;
                if turn % 3 == 0 {
                    // It dies here; its claim runs out.
                    world.clock.advance_ms(LEASE_MS);
                    continue;
                }
                drop(sequenced);
                world.store.release(claim, None).await.expect("released");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("written");
    }
    while let Some(done) = workers.join_next().await {
        done.expect("no worker fails");
    }
    world.faults.clear();
    world.clock.advance_ms(LEASE_MS);
    sequence(&world).await;
    for account in &accounts {
        let records = log(&world.store, account).await;
        assert_eq!(check(&records), Ok(()));
        assert_eq!(records.last().expect("records").sequence, i64::try_from(EACH).expect("small"));
        let ids: BTreeSet<_> = event_ids(&records).into_iter().map(str::to_owned).collect();
        assert_eq!(ids.len(), EACH);
        assert_eq!(world.store.audit_page(account, 0, 1).await.expect("read").waiting, 0);
    }
}

#[tokio::test]
async fn a_sequencing_that_is_interrupted_is_done_once() {
    for moment in [Moment::Before, Moment::After] {
        for injected in [Injected::Fail, Injected::TimeOut] {
            let world = World::new();
            let account = ours().account;
            refuse(&world, &account, "one").await;
            refuse(&world, &account, "two").await;
            world.clock.advance_ms(GATHER_MS);
            let held = claim(&world.store, "worker").await.expect("due");
            world.faults.inject("store.sequence_audit", moment, injected, 1);
            assert!(world.store.sequence_audit(&held).await.is_err());
            let placed = log(&world.store, &account).await;
            assert_eq!(placed.len(), if moment == Moment::Before { 0 } else { 2 });
            // The process dies; its claim is void once the store is opened, or when the lease has run out.
            let world = world.reopened();
            world.clock.advance_ms(LEASE_MS);
            sequence(&world).await;
            let records = log(&world.store, &account).await;
            assert_eq!(event_ids(&records), ["one", "two"], "{moment:?} {injected:?}");
            assert!(records.starts_with(&placed));
            assert_eq!(check(&records), Ok(()));
        }
    }
}

/// Changes the database behind the store's back.
#[expect(clippy::disallowed_methods, reason = "the test plays somebody else who opens the file")]
fn tamper(world: &World, sql: &str) {
    if let Some(postgres) = &world.postgres {
        return postgres.run(sql);
    }
    let database = rusqlite::Connection::open(world.database()).expect("opens");
    assert!(database.execute(sql, []).expect(sql) > 0, "{sql} changed nothing");
    // So long a reader may keep what it saw before.
    world.clock.advance_ms(200);
}

#[tokio::test]
async fn whoever_changes_a_row_in_the_database_is_found_out() {
    let find = async |sql: &str, expect: &str| {
        let world = World::new();
        let account = ours().account;
        for id in ["one", "two", "three", "four"] {
            refuse(&world, &account, id).await;
            world.clock.advance_ms(1);
        }
        sequence(&world).await;
        assert_eq!(check(&log(&world.store, &account).await), Ok(()));
        tamper(&world, sql);
        let found = check(&log(&world.store, &account).await).expect_err(sql);
        assert_eq!(found.to_string(), expect, "{sql}");
    };
    let changed = "record 2 was changed: its hash is not that of its content";
    let missing = "record 2 is missing: record 3 stands in its place";
    find("UPDATE audit_record SET id = 'other' WHERE id = 'two'", changed).await;
    find("UPDATE audit_record SET time_ms = time_ms + 1 WHERE id = 'two'", changed).await;
    find("UPDATE audit_record SET record = replace(record, 'two', 'owt') WHERE id = 'two'", changed).await;
    find("UPDATE audit_record SET hash = NULL WHERE id = 'two'", changed).await;
    find(&format!("UPDATE audit_record SET hash = '{}' WHERE id = 'two'", "0".repeat(64)), changed).await;
    find("UPDATE audit_record SET account_id = '222222222222' WHERE id = 'two'", missing).await;
    find("UPDATE audit_record SET sequence = NULL WHERE id = 'two'", missing).await;
    find("UPDATE audit_record SET sequence = 9 WHERE id = 'two'", missing).await;
    find("DELETE FROM audit_record WHERE id = 'two'", missing).await;
}

#[tokio::test]
async fn the_gauges_tell_the_lag_and_the_length() {
    let world = World::new();
    let gauge = async |name: &str| {
        let gauges = world.store.gauges().await.expect("read");
        gauges.into_iter().find(|(known, ..)| *known == name).expect("a gauge").2
    };
    let told = async || {
        let mut values = Vec::new();
        for name in ["records", "waiting", "lag_milliseconds"] {
            values.push(gauge(&format!("syncline_audit_{name}")).await);
        }
        values
    };
    assert_eq!(told().await, [0, 0, 0]);
    refuse(&world, &ours().account, "one").await;
    refuse(&world, &theirs(), "two").await;
    world.clock.advance_ms(40);
    refuse(&world, &ours().account, "three").await;
    assert_eq!(told().await, [0, 3, 40]);
    sequence(&world).await;
    assert_eq!(told().await, [3, 0, 0]);
    assert_eq!(gauge("syncline_work_due").await, 0);
}
