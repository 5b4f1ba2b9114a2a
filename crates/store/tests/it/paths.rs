//! The path index: whom a commit touches, and who is passed over.

use std::collections::BTreeSet;

use syncline_model::sync::BlockerKind;
use syncline_store::{
    BranchRecord, BranchSync, Change, ConfigurationChange, Consideration, Considered, Kind, NewConfiguration,
    SyncFile,
};

use crate::world::{CFN, PLENTY, World, configuration, ours, revision, sha};

const SYNCS: usize = 250;

fn name(number: usize) -> String {
    format!("sync-{number:03}")
}

fn files(number: usize, version: &str) -> Vec<SyncFile> {
    let file = |path: String, entry: &str| SyncFile { path, entry: entry.to_owned() };
    vec![file(format!("{}/deploy.yaml", name(number)), version), file("template.yaml".to_owned(), "t1")]
}

fn considered(sync: &BranchSync, head: &str, files: Option<Vec<SyncFile>>) -> Consideration {
    Consideration {
        sync_id: sync.id.clone(),
        generation: sync.generation,
        desired: Some((revision(head), format!("inputs at {head}"))),
        files,
    }
}

/// Syncs of FILE_CHANGE, all of which want commit `a`, where their files are known; one more wants every commit.
async fn indexed() -> (World, String) {
    let world = World::new();
    let link = world.link(&ours(), "infra").await;
    for number in 0..SYNCS {
        let trigger = (number > 0).then(|| "FILE_CHANGE".to_owned());
        let new = NewConfiguration {
            trigger_resource_update_on: trigger,
            ..configuration(&link, &name(number), "main")
        };
        world.sync_as(&ours(), new).await;
    }
    world.heads(&[("main", Some(&sha('a')))]).await;
    let (claim, branch, attempt) = world.reading().await;
    assert_eq!((branch.syncs.len(), branch.bases.len()), (SYNCS, 0), "nothing is known yet");
    let all: Vec<_> = branch
        .syncs
        .iter()
        .enumerate()
        .map(|(number, sync)| considered(sync, &sha('a'), Some(files(number, "v1"))))
        .collect();
    world.store.record_considered(&claim, &branch, &attempt, all, Vec::new()).await.expect("recorded");
    world.store.release(claim, None).await.expect("released");
    (world, link)
}

async fn next_head(world: &World, digit: char) {
    world.store.sync_now(&ours(), CFN, &name(0), Change::unrecorded()).await.expect("wakes the link");
    world.heads(&[("main", Some(&sha(digit)))]).await;
}

fn names(syncs: &[BranchSync]) -> BTreeSet<String> {
    syncs.iter().map(|sync| sync.resource_name.clone()).collect()
}

#[tokio::test]
async fn a_commit_touches_those_who_read_a_path_that_it_changes() {
    let (world, _) = indexed().await;
    next_head(&world, 'b').await;
    let (_, branch, _) = world.reading().await;
    assert_eq!(
        names(&branch.syncs),
        BTreeSet::from([name(0)]),
        "only who wants every commit, or was changed"
    );
    assert_eq!(branch.bases, [sha('a')]);
    let of = |range: std::ops::Range<usize>| range.map(name).collect::<BTreeSet<_>>();
    let path = |number: usize| format!("{}/deploy.yaml", name(number));
    let others = |count: usize| (0..count).map(|number| format!("elsewhere/{number}"));
    let check = async |changed: Option<Vec<String>>, expected: BTreeSet<String>| {
        let touched = world.store.touched_syncs(&branch, &sha('a'), changed).await.expect("read");
        assert_eq!(names(&touched), expected);
        for sync in &touched {
            let indexed = sync.indexed.as_ref().expect("known");
            assert_eq!((indexed.sha.as_str(), indexed.files.len()), (sha('a').as_str(), 2));
        }
    };
    check(Some(Vec::new()), BTreeSet::new()).await;
    check(Some(others(500).collect()), BTreeSet::new()).await;
    check(Some(vec![path(7)]), of(7..8)).await;
    check(Some((3..203).map(path).collect()), of(3..203)).await;
    check(Some(vec!["template.yaml".to_owned()]), of(1..SYNCS)).await;
    // More than is looked up.
    check(Some(others(5_000).chain([path(9), path(10)]).collect()), of(9..11)).await;
    check(None, of(1..SYNCS)).await;
    let unknown = world.store.touched_syncs(&branch, &sha('f'), None).await.expect("read");
    assert!(unknown.is_empty(), "nobody's files are known there");
}

#[tokio::test]
async fn who_is_not_touched_is_passed_over_unless_something_else_happened() {
    let (world, link) = indexed().await;
    // A blocker of the repository ends when the branch was read, also for those who are passed over.
    let claim = world.store.claim(Kind::Link, "worker", 15_000).await.expect("claimed");
    assert!(claim.is_none(), "no link is due");
    next_head(&world, 'b').await;
    let (claim, branch, attempt) = world.reading().await;
    let unavailable = Some(BlockerKind::RepositoryUnavailable);
    world
        .store
        .record_read_trouble(&claim, &branch, &attempt, "half a pack", unavailable, false)
        .await
        .expect("recorded");
    let id_of = async |number: usize| {
        let found = world.store.configuration(&ours(), CFN, &name(number)).await.expect("read");
        found.expect("a sync").id
    };
    assert_eq!(world.record(&id_of(99).await).await.blockers, [BlockerKind::RepositoryUnavailable]);
    // While it is read, one is changed, one deleted, one made.
    let change = ConfigurationChange { config_file: Some("x".to_owned()), ..ConfigurationChange::default() };
    let (store, changed) = (&world.store, name(5));
    store
        .update_configuration(&ours(), CFN, &changed, change, PLENTY, Change::unrecorded())
        .await
        .expect("written");
    store.delete_configuration(&ours(), CFN, &name(6), Change::unrecorded()).await.expect("written");
    world.sync(&link, "late", "main").await;

    let touched =
        store.touched_syncs(&branch, &sha('a'), Some(vec![format!("{}/deploy.yaml", name(7))])).await;
    let mut syncs: Vec<_> =
        touched.expect("read").iter().map(|sync| considered(sync, &sha('b'), Some(files(7, "v2")))).collect();
    assert_eq!(syncs.len(), 1);
    syncs.extend(branch.syncs.iter().map(|sync| considered(sync, &sha('b'), None)));
    let all = Considered { syncs, untouched: vec![sha('a')] };
    store.record_considered(&claim, &branch, &attempt, all, Vec::new()).await.expect("recorded");

    let desired = async |number: usize| {
        let id = id_of(number).await;
        world.record(&id).await.recorded.desired.expect("it wants something").seq
    };
    assert_eq!((desired(7).await, desired(0).await), (2, 2));
    assert_eq!((desired(1).await, desired(99).await), (1, 1), "the commit does not concern them");
    assert!(world.record(&id_of(99).await).await.blockers.is_empty(), "the branch was read");
    let branch: BranchRecord = store.branch_record(&claim.id).await.expect("read").expect("a branch");
    assert_eq!(names(&branch.syncs), BTreeSet::from([name(5), "late".to_owned()]));
    assert!(branch.bases.is_empty(), "{:?}", branch.bases);
    let status = store.repository_status(&ours(), &link, "main").await.expect("read").expect("a link");
    let last = status.expect("an attempt").events.read().expect("events").pop().expect("an event").text;
    assert_eq!(last, "246 syncs passed over: the commit changes none of their files");
}
