//! A commit that fails leaves nothing; one whose answer is lost leaves everything.

use syncline_model::sync::{AttemptStatus, BlockerKind, EventKind, SyncEvent};
use syncline_seams::{CallError, Injected, Moment};
use syncline_store::{
    Change, CreateConnection, Ending, Kind, NewConnection, Page, Progress, StoreError, StoreResult,
};

use crate::world::{CFN, LEASE_MS, START_MS, World, configuration, new_link, ours, sha};

fn connection(name: &str) -> NewConnection {
    NewConnection {
        id: format!("id-{name}"),
        service: "codeconnections".to_owned(),
        name: name.to_owned(),
        provider_type: Some("GitHub".to_owned()),
        host_id: None,
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn before_a_commit_nothing_is_there_and_after_it_everything() {
    let world = World::new();
    let scope = ours();
    let create =
        |name: &str| world.store.create_connection(&scope, connection(name), 100, Change::unrecorded());
    for (name, moment, there) in [("before", Moment::Before, false), ("after", Moment::After, true)] {
        for injected in [Injected::Fail, Injected::TimeOut] {
            let name = format!("{name}-{injected:?}");
            world.faults.inject("store.create_connection", moment, injected, 1);
            let refused = create(&name).await;
            match (&refused, injected) {
                (
                    Err(StoreError::Interrupted(CallError::Injected { point, moment: when })),
                    Injected::Fail,
                ) => {
                    assert_eq!((*point, *when), ("store.create_connection", moment));
                }
                (Err(StoreError::Interrupted(CallError::TimedOut { .. })), Injected::TimeOut) => {}
                other => panic!("{other:?}"),
            }
            let found = world.store.connection(&ours(), &format!("id-{name}")).await.expect("read");
            assert_eq!(found.is_some(), there, "{name}");
            // Whoever tries again learns which it was.
            let expected = if there { CreateConnection::NameTaken } else { CreateConnection::Created };
            assert_eq!(create(&name).await.expect("written"), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_store_whose_commits_fail_is_not_ready_until_one_works_again() {
    let world = World::new();
    let is_ready = async || world.store.ping().await.is_ok();
    let create = async |name: &str| {
        world.store.create_connection(&ours(), connection(name), 100, Change::unrecorded()).await.is_ok()
    };
    world.faults.clear();
    assert!(is_ready().await && create("good").await && is_ready().await);
    let is_probe = |(point, _): &(&str, Moment)| *point == "store.probe";
    assert!(!world.faults.seen().iter().any(is_probe), "a store that works is not written to");

    world.faults.inject("store.create_connection", Moment::Before, Injected::Fail, 1);
    world.faults.inject("store.probe", Moment::Before, Injected::Fail, 2);
    assert!(!create("first").await && !is_ready().await && !is_ready().await);
    assert!(is_ready().await, "nobody else had to write anything");

    world.faults.inject("store.create_connection", Moment::Before, Injected::Fail, 1);
    assert!(!create("second").await && create("third").await);
    world.faults.inject("store.probe", Moment::Before, Injected::Fail, 1);
    assert!(is_ready().await, "what works needs no trial");
}

#[tokio::test]
async fn a_read_meets_no_commit_and_no_fault() {
    let (world, link, sync) = World::followed("web").await;
    world.faults.clear();
    world.faults.fail_nth(0);
    let page = Page { after: None, limit: 10 };
    assert_eq!(world.store.links(&ours(), &page).await.expect("read").items.len(), 1);
    assert!(world.store.link_record(&link).await.expect("read").is_some());
    assert!(world.store.sync_record(&sync.id).await.expect("read").is_some());
    assert_eq!(world.store.claim(Kind::Sync, "idle", LEASE_MS).await.expect("looked"), None);
    assert_eq!(world.faults.seen(), [], "an idle look writes nothing");
}

/// A life of a sync that begins anew, from the first thing that is not there yet, whenever it is interrupted.
async fn live(world: &World) -> StoreResult<()> {
    let store = &world.store;
    let scope = ours();
    let page = Page { after: None, limit: 10 };
    store.account(&scope.account).await?;
    if store.connection(&scope, "id-web").await?.is_none() {
        store.create_connection(&scope, connection("web"), 10, Change::unrecorded()).await?;
    }
    store
        .authorize_connection(
            &scope,
            "id-web",
            syncline_store::CredentialRow { sealed: None, tried_at: None },
            Change::unrecorded(),
        )
        .await?;
    if store.links(&scope, &page).await?.items.is_empty() {
        store.create_link(&scope, new_link("id-web", "infra"), 10, Change::unrecorded()).await?;
    }
    let link = store.links(&scope, &page).await?.items[0].id.clone();
    if store.configuration(&scope, CFN, "web").await?.is_none() {
        store
            .create_configuration(
                &scope,
                configuration(&link, "web", "main"),
                crate::world::PLENTY,
                Change::unrecorded(),
            )
            .await?;
    }
    // A fixed number of turns, so that work that nobody woke shows as a life that does not come to its end.
    for _ in 0..4 {
        if let Some(claim) = store.claim(Kind::Link, "worker", LEASE_MS).await? {
            store.renew(&claim, LEASE_MS).await?;
            store.record_heads(&claim, [("main".to_owned(), Some(sha('a')))].into_iter().collect()).await?;
            store.release(claim, None).await?;
        }
        if let Some(claim) = store.claim(Kind::Branch, "worker", LEASE_MS).await? {
            let branch = store.branch_record(&claim.id).await?.expect("a branch");
            let attempt = store.open_repository_attempt(&claim, &sha('a')).await?;
            let wanted = branch.syncs.iter().map(|sync| syncline_store::Consideration {
                sync_id: sync.id.clone(),
                generation: sync.generation,
                desired: Some((crate::world::revision(&sha('a')), "inputs".to_owned())),
                files: None,
            });
            let wanted: Vec<_> = wanted.collect();
            let events = vec![(EventKind::CommitRead, "read".to_owned())];
            store.record_considered(&claim, &branch, &attempt, wanted, events).await?;
            store.release(claim, None).await?;
        }
        if let Some(claim) = store.claim(Kind::Sync, "worker", LEASE_MS).await? {
            drive(world, &claim).await?;
            store.release(claim, None).await?;
        }
    }
    Ok(())
}

async fn drive(world: &World, claim: &syncline_store::Claim) -> StoreResult<()> {
    let store = &world.store;
    let record = store.sync_record(&claim.id).await?.expect("a sync");
    if record.recorded.newest == record.recorded.desired {
        return Ok(());
    }
    if record.open.is_none() {
        store.open_attempt(claim).await?;
    }
    let open = store.sync_record(&claim.id).await?.expect("a sync").open.expect("open");
    if open.last_event != Some(EventKind::ExecutionStarted) {
        let event = SyncEvent {
            time_ms: START_MS,
            kind: EventKind::ExecutionStarted,
            text: "go".into(),
            external_id: None,
        };
        let progress = Progress {
            in_progress: true,
            stack_id: Some("s".into()),
            events: vec![event],
            ..Default::default()
        };
        store.record_progress("store.begin_execution", claim, &open.id, progress).await?;
    }
    let event =
        SyncEvent { time_ms: START_MS, kind: EventKind::Succeeded, text: "done".into(), external_id: None };
    let ending = Ending {
        status: AttemptStatus::Succeeded,
        events: vec![event],
        last_stack_event: None,
        blocker: None,
        recovered: false,
    };
    store.end_attempt(claim, &open.id, ending).await
}

/// The failure sweep: whatever commit fails, before or after, starting over comes to the same end.
#[tokio::test]
async fn any_one_commit_may_fail_and_the_story_ends_the_same() {
    let points = {
        let world = World::new();
        live(&world).await.expect("nothing goes wrong");
        world.faults.seen().len()
    };
    assert!(points > 20, "{points} points");
    for nth in 0..points {
        let world = World::new();
        world.faults.fail_nth(nth);
        for life in 0.. {
            assert!(life < 3, "point {nth}: it does not come to its end");
            match live(&world).await {
                Ok(()) => break,
                Err(StoreError::Interrupted(_)) => world.clock.advance_ms(LEASE_MS),
                Err(other) => panic!("point {nth}: {other}"),
            }
        }
        assert_eq!(world.faults.struck(), 1, "point {nth} was reached");
        let attempts = world.store.attempts(&ours(), CFN, "web").await.expect("read").expect("a sync");
        let story: Vec<_> = attempts
            .iter()
            .flat_map(|attempt| {
                let kinds = attempt.events.iter().map(|event| event.kind.as_str().to_owned());
                std::iter::once(attempt.status.to_string()).chain(kinds)
            })
            .collect();
        assert_eq!(
            story,
            ["SUCCEEDED", "ATTEMPT_STARTED", "EXECUTION_STARTED", "SUCCEEDED"],
            "point {nth} of {points}"
        );
        assert!(world.nothing_due(Kind::Sync).await && world.nothing_due(Kind::Branch).await, "point {nth}");
    }
}

#[tokio::test]
async fn a_fault_in_the_middle_of_a_transaction_s_rows_leaves_none_of_them() {
    let (world, link, sync) = World::followed("web").await;
    let claim = world.claim(Kind::Link).await;
    world.faults.fail("store.record_remote_trouble", Moment::Before);
    let trouble =
        || world.store.record_remote_trouble(&claim, "down", Some(BlockerKind::RepositoryUnavailable));
    assert!(trouble().await.is_err());
    assert_eq!(world.store.link_record(&link).await.expect("read").expect("a link").failures, 0);
    assert_eq!(world.record(&sync.id).await.blockers, []);
    assert_eq!(world.store.repository_status(&ours(), &link, "main").await.expect("read"), Some(None));
    trouble().await.expect("the second time");
    assert_eq!(world.record(&sync.id).await.blockers, [BlockerKind::RepositoryUnavailable]);
}
