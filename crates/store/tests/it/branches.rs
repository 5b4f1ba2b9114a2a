//! Heads, the attempts to read them, and which syncs a commit reaches.

use syncline_model::plan::Wanted;
use syncline_model::sync::{BlockerKind, EventKind, RepositoryAttemptStatus};
use syncline_store::{
    Change, ConfigurationChange, Consideration, HeadsRecorded, Kind, NewConfiguration, StoreError,
};

use crate::world::{CFN, LEASE_MS, PLENTY, World, configuration, ours, revision, sha};

/// The newest attempt to read `main`, in one line: its status, then the kinds of its events.
async fn newest(world: &World, link: &str) -> String {
    let status = world.store.repository_status(&ours(), link, "main").await.expect("read").expect("a link");
    status.map_or_else(String::new, |status| {
        let kinds: Vec<_> =
            status.events.read().expect("events").iter().map(|event| event.kind.as_str()).collect();
        format!("{}: {}", status.status, kinds.join(" "))
    })
}

#[tokio::test]
async fn a_new_head_is_read_and_reaches_the_sync() {
    let (world, link, sync) = World::followed("web").await;
    assert_eq!(newest(&world, &link).await, "");
    world.heads(&[("main", Some(&sha('a')))]).await;
    assert_eq!(newest(&world, &link).await, "", "observed, not read");

    let (claim, branch, attempt) = world.reading().await;
    assert_eq!((branch.name.as_str(), branch.head_seq, branch.failures), ("main", 1, 0));
    assert_eq!(branch.syncs.len(), 1);
    assert_eq!((branch.syncs[0].id.as_str(), branch.syncs[0].generation), (sync.id.as_str(), 1));
    assert_eq!(newest(&world, &link).await, "IN_PROGRESS: HEAD_OBSERVED");
    let again = world.store.open_repository_attempt(&claim, &sha('a')).await.expect("opened");
    assert_eq!(again, attempt, "after a crash the same attempt goes on");

    let desired = Some((revision(&sha('a')), "inputs".to_owned()));
    let considered = Consideration { sync_id: sync.id.clone(), generation: 1, desired, files: None };
    let events = vec![(EventKind::ResourceChanged, "web wants it".to_owned())];
    world
        .store
        .record_considered(&claim, &branch, &attempt, vec![considered], events)
        .await
        .expect("recorded");
    assert_eq!(newest(&world, &link).await, "SUCCEEDED: HEAD_OBSERVED RESOURCE_CHANGED");
    assert_eq!(world.record(&sync.id).await.recorded.desired, Some(Wanted { seq: 1, generation: 1 }));
    assert_eq!(world.claim(Kind::Sync).await.id, sync.id);
    let branch = world.store.branch_record(&claim.id).await.expect("read").expect("a branch");
    assert!(branch.syncs.is_empty(), "nobody waits any more");
}

#[tokio::test]
async fn the_same_head_again_is_no_work() {
    let (world, _, _) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    assert_eq!(
        world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("written"),
        Some(Ok(())),
        "wakes the link"
    );
    let claim = world.claim(Kind::Link).await;
    let heads = || [("main".to_owned(), Some(sha('a')))].into_iter().collect();
    let recorded = world.store.record_heads(&claim, heads()).await.expect("recorded");
    assert_eq!(recorded, HeadsRecorded { new_heads: 0, missing: 0 });
    assert!(!world.nothing_due(Kind::Branch).await, "the new generation wants the old head");
    world.clock.advance_ms(LEASE_MS);
    world.considered("the same").await;
    let claim =
        world.store.claim(Kind::Link, "worker", LEASE_MS).await.expect("claimed").expect("it ran out");
    world.store.record_heads(&claim, heads()).await.expect("recorded");
    assert!(world.nothing_due(Kind::Branch).await);
}

#[tokio::test]
async fn a_commit_that_arrives_while_one_is_read_is_queued() {
    let (world, link, sync) = World::followed("web").await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (claim, branch, attempt) = world.reading().await;
    for digit in ['b', 'c'] {
        world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
        world.heads(&[("main", Some(&sha(digit)))]).await;
    }
    assert_eq!(newest(&world, &link).await, "QUEUED: NEWER_COMMIT_QUEUED NEWER_COMMIT_QUEUED", "one waits");

    // The older reading still ends, and its revision is not taken for the newest.
    let considered = Consideration {
        sync_id: sync.id.clone(),
        generation: 3,
        desired: Some((revision(&sha('a')), "a".into())),
        files: None,
    };
    world
        .store
        .record_considered(&claim, &branch, &attempt, vec![considered], Vec::new())
        .await
        .expect("recorded");
    world.store.release(claim, None).await.expect("released");
    assert_eq!(world.record(&sync.id).await.recorded.desired, Some(Wanted { seq: 1, generation: 3 }));

    world.considered("c").await;
    let status = world.store.repository_status(&ours(), &link, "main").await.expect("read").expect("a link");
    let status = status.expect("an attempt");
    assert_eq!(status.status, RepositoryAttemptStatus::Succeeded);
    assert_eq!(status.events.read().expect("events").last().expect("events").external_id, Some(sha('c')));
    assert_eq!(world.record(&sync.id).await.recorded.desired, Some(Wanted { seq: 3, generation: 3 }));
    assert!(world.nothing_due(Kind::Branch).await);
}

#[tokio::test]
async fn a_reading_that_was_interrupted_is_superseded_by_the_next_head() {
    let (world, link, _) = World::followed("web").await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (claim, _, first) = world.reading().await;
    let second = world.store.open_repository_attempt(&claim, &sha('b')).await.expect("opened");
    assert_ne!(first, second);
    assert_eq!(newest(&world, &link).await, "IN_PROGRESS: HEAD_OBSERVED");
}

/// What must still be the same for a consideration to reach its sync.
#[tokio::test]
async fn a_commit_reaches_a_sync_only_while_link_branch_and_generation_match() {
    let change = ConfigurationChange::default;
    for (what, change) in [
        ("the branch changed", ConfigurationChange { branch: Some("dev".into()), ..change() }),
        ("the file changed", ConfigurationChange { config_file: Some("x".into()), ..change() }),
        ("the link changed", ConfigurationChange { link_id: Some("other".into()), ..change() }),
        ("it was deleted", ConfigurationChange { link_id: Some("DELETE".into()), ..change() }),
    ] {
        let (world, _, sync) = World::followed("web").await;
        let other = world.link(&ours(), "other").await;
        world.heads(&[("main", Some(&sha('a')))]).await;
        let (claim, branch, attempt) = world.reading().await;

        if change.link_id.as_deref() == Some("DELETE") {
            world
                .store
                .delete_configuration(&ours(), CFN, "web", Change::unrecorded())
                .await
                .expect("written");
        } else {
            let link_id = change.link_id.as_ref().map(|_| other.clone());
            let change = ConfigurationChange { link_id, ..change };
            world
                .store
                .update_configuration(&ours(), CFN, "web", change, PLENTY, Change::unrecorded())
                .await
                .expect("written");
        }
        let desired = Some((revision(&sha('a')), "inputs".to_owned()));
        let considered = Consideration { sync_id: sync.id.clone(), generation: 1, desired, files: None };
        world
            .store
            .record_considered(&claim, &branch, &attempt, vec![considered], Vec::new())
            .await
            .expect("recorded");
        assert_eq!(world.record(&sync.id).await.recorded.desired, None, "{what}");
    }
}

#[tokio::test]
async fn a_late_reading_never_takes_a_sync_back_to_an_older_head() {
    let (world, link, sync) = World::followed("web").await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (lost, old_branch, old_attempt) = world.reading().await;
    world.clock.advance_ms(LEASE_MS);
    // Another sync makes the link look again, and leaves this one's generation as it is.
    world.sync(&link, "api", "main").await;
    world.pushed(&sha('b')).await;
    let newest = world.record(&sync.id).await.recorded.desired;
    assert_eq!(newest, Some(Wanted { seq: 2, generation: 1 }));

    let desired = Some((revision(&sha('a')), "a".to_owned()));
    let considered = Consideration { sync_id: sync.id.clone(), generation: 1, desired, files: None };
    let late = vec![considered];
    let stale =
        world.store.record_considered(&lost, &old_branch, &old_attempt, late.clone(), Vec::new()).await;
    assert!(matches!(stale, Err(StoreError::Stale(_))), "{stale:?}");
    // Even under a good claim an older head changes nothing that is desired.
    world.sync(&link, "third", "main").await;
    world.heads(&[("main", Some(&sha('b')))]).await;
    let claim = world.claim(Kind::Branch).await;
    world
        .store
        .record_considered(&claim, &old_branch, &old_attempt, late, Vec::new())
        .await
        .expect("recorded");
    assert_eq!(world.record(&sync.id).await.recorded.desired, newest);
}

#[tokio::test]
async fn every_branch_of_a_link_counts_its_own_heads() {
    let (world, link, on_main) = World::followed("web").await;
    let on_dev = world.sync(&link, "api", "dev").await;
    world.heads(&[("dev", Some(&sha('d'))), ("main", Some(&sha('a'))), ("nobody's", Some(&sha('e')))]).await;
    world.considered("first").await;
    world.considered("second").await;
    assert!(world.nothing_due(Kind::Branch).await, "two branches are followed");
    for sync in [on_main, on_dev] {
        assert_eq!(world.record(&sync.id).await.recorded.desired, Some(Wanted { seq: 1, generation: 1 }));
    }
}

#[tokio::test]
async fn a_sync_made_on_an_old_head_is_served_too() {
    let (world, link, _) = World::followed("web").await;
    world.pushed(&sha('a')).await;
    let late = world.sync(&link, "api", "main").await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (_, branch, _) = world.reading().await;
    let waiting: Vec<_> = branch.syncs.iter().map(|sync| sync.resource_name.as_str()).collect();
    assert_eq!((waiting, branch.head_seq), (vec!["api"], 1));
    assert_eq!(world.record(&late.id).await.recorded.desired, None);
}

#[tokio::test]
async fn a_sync_that_wants_only_file_changes_is_shown_the_files_of_its_newest_attempt() {
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    let new = NewConfiguration {
        trigger_resource_update_on: Some("FILE_CHANGE".to_owned()),
        ..configuration(&link, "web", "main")
    };
    let sync = world.sync_as(&ours(), new).await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (claim, branch, _) = world.reading().await;
    assert!(branch.syncs[0].only_file_changes);
    assert_eq!(branch.syncs[0].newest_inputs, None, "no attempt yet");
    world.store.release(claim, Some(0)).await.expect("released");
    world.considered("inputs of a").await;
    let claim = world.claim(Kind::Sync).await;
    world.store.open_attempt(&claim).await.expect("opened");

    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
    world.heads(&[("main", Some(&sha('b')))]).await;
    let (claim, branch, attempt) = world.reading().await;
    assert_eq!(branch.syncs[0].newest_inputs.as_deref(), Some("inputs of a"));
    assert_eq!((branch.syncs[0].generation, branch.syncs[0].considered_generation), (2, 1));
    let unchanged = Consideration { sync_id: sync.id.clone(), generation: 2, desired: None, files: None };
    world
        .store
        .record_considered(&claim, &branch, &attempt, vec![unchanged], Vec::new())
        .await
        .expect("recorded");
    assert_eq!(
        world.record(&sync.id).await.recorded.desired,
        Some(Wanted { seq: 1, generation: 1 }),
        "as it was"
    );
    let branch = world.store.branch_record(&claim.id).await.expect("read").expect("a branch");
    assert!(branch.syncs.is_empty(), "but considered");
}

#[tokio::test]
async fn a_branch_that_is_gone_blocks_its_syncs_until_it_is_back() {
    let (world, link, sync) = World::followed("web").await;
    let on_dev = world.sync(&link, "api", "dev").await;
    world.heads(&[("main", None), ("dev", Some(&sha('d')))]).await;
    assert_eq!(newest(&world, &link).await, "FAILED: BRANCH_MISSING");
    assert_eq!(world.record(&sync.id).await.blockers, [BlockerKind::BranchMissing]);
    assert_eq!(world.record(&on_dev.id).await.blockers, []);

    // Looking again says nothing new.
    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
    world.heads(&[("main", None)]).await;
    assert_eq!(newest(&world, &link).await, "FAILED: BRANCH_MISSING");
    let blockers = world.store.blockers(&ours(), CFN, "web").await.expect("read").expect("a sync");
    assert_eq!(blockers.len(), 1);
    assert!(blockers[0].contexts.contains(&("branch".to_owned(), "main".to_owned())), "{blockers:?}");

    world.store.sync_now(&ours(), CFN, "web", Change::unrecorded()).await.expect("wakes the link");
    world.heads(&[("main", Some(&sha('a')))]).await;
    assert_eq!(world.record(&sync.id).await.blockers, []);
    world.considered("dev").await;
    world.considered("main").await;
    assert!(newest(&world, &link).await.starts_with("SUCCEEDED"), "{}", newest(&world, &link).await);
}

#[tokio::test]
async fn a_remote_that_cannot_be_asked_is_counted_and_blocks_when_it_lasts() {
    let (world, link, sync) = World::followed("web").await;
    let on_dev = world.sync(&link, "api", "dev").await;
    let claim = world.claim(Kind::Link).await;
    let failures = async || world.store.link_record(&link).await.expect("read").expect("a link").failures;
    let trouble = async |reason: &str, blocker| {
        world.store.record_remote_trouble(&claim, reason, blocker).await.expect("recorded");
    };
    trouble("no route", None).await;
    assert_eq!(
        (failures().await, newest(&world, &link).await.as_str()),
        (1, ""),
        "nobody is told of the first"
    );
    for _ in 0..3 {
        trouble("still no route", Some(BlockerKind::RepositoryUnavailable)).await;
    }
    assert_eq!(failures().await, 4);
    assert_eq!(newest(&world, &link).await, "FAILED: REPOSITORY_UNAVAILABLE", "told once");
    for sync in [&sync, &on_dev] {
        assert_eq!(world.record(&sync.id).await.blockers, [BlockerKind::RepositoryUnavailable], "once each");
    }
    trouble("another trouble", Some(BlockerKind::RepositoryUnavailable)).await;
    let status = world.store.repository_status(&ours(), &link, "main").await.expect("read").expect("a link");
    assert_eq!(status.expect("an attempt").events.read().expect("events")[0].text, "another trouble");
    world.store.release(claim, Some(0)).await.expect("released");

    world.heads(&[("main", Some(&sha('a'))), ("dev", Some(&sha('d')))]).await;
    assert_eq!(failures().await, 0);
    for sync in [&sync, &on_dev] {
        assert_eq!(world.record(&sync.id).await.blockers, [], "it answers again");
    }
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_tried_again_and_then_fails() {
    let (world, link, sync) = World::followed("web").await;
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (claim, branch, attempt) = world.reading().await;
    let trouble = async |blocker, hopeless| {
        world
            .store
            .record_read_trouble(&claim, &branch, &attempt, "half a pack", blocker, hopeless)
            .await
            .expect("recorded");
    };
    trouble(None, false).await;
    assert_eq!(newest(&world, &link).await, "IN_PROGRESS: HEAD_OBSERVED RETRYING");
    assert_eq!(world.record(&sync.id).await.blockers, []);
    trouble(Some(BlockerKind::RepositoryUnavailable), false).await;
    assert_eq!(newest(&world, &link).await, "IN_PROGRESS: HEAD_OBSERVED RETRYING", "said once");
    assert_eq!(world.record(&sync.id).await.blockers, [BlockerKind::RepositoryUnavailable]);
    trouble(Some(BlockerKind::RepositoryUnavailable), true).await;
    assert_eq!(newest(&world, &link).await, "FAILED: HEAD_OBSERVED RETRYING REPOSITORY_UNAVAILABLE");
    assert_eq!(world.store.branch_record(&claim.id).await.expect("read").expect("a branch").failures, 3);
    world.store.release(claim, Some(0)).await.expect("released");

    world.considered("read at last").await;
    assert!(newest(&world, &link).await.starts_with("SUCCEEDED"), "a new attempt");
    assert_eq!(world.record(&sync.id).await.blockers, [], "the branch was read");
}
