//! The failure sweep: a story is told once to find every commit and outside call it makes, and then again for
//! each of them, failing before its effect, after it, and without an answer. Every telling must end alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use syncline_seams::{Faults, Injected, Moment};
use syncline_testkit::world::World;
use tokio::task::JoinSet;

use super::{deployment, template};

/// A first sync, a broken commit and its fix; the ending.
async fn tell(plan: Arc<Faults>) -> String {
    plan.hold();
    let world = World::with_faults(Arc::clone(&plan) as _).await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    plan.resume();
    world.settle().await;
    repo.commit("template.yaml", "Resources: [").await;
    world.settle().await;
    repo.commit_files(&[("prod.yaml", &deployment("three")), ("template.yaml", &template(""))]).await;
    world.settle().await;
    world.settle().await;
    let stack = world.simulator.stack("000000000000", "eu-central-1", "web").expect("the stack");
    let executed: BTreeSet<_> = world.simulator.executions().into_iter().map(|e| e.change_set_name).collect();
    format!(
        "{}{} {:?} {} executions of {} change sets, {} blockers active",
        world.attempts("web", &repo).await,
        stack.status,
        stack.parameters,
        world.executions("web"),
        executed.len(),
        world.blocker_rows("web").await.iter().filter(|blocker| blocker.status.as_str() == "ACTIVE").count(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_the_story_ends_alike() {
    let recorder = Faults::none();
    let ending = tell(Arc::clone(&recorder)).await;
    assert_eq!(
        ending,
        "SUCCEEDED   commit 1\nFAILED      commit 2  INVALID_FILE\nSUCCEEDED   commit 3\n\
         UPDATE_COMPLETE [(\"Name\", \"three\")] 2 executions of 2 change sets, 0 blockers active"
    );
    let passings = recorder.seen();
    let points: BTreeSet<&str> = passings.iter().map(|(point, _)| *point).collect();
    for point in [
        "cloudformation.CreateChangeSet",
        "cloudformation.DescribeChangeSet",
        "cloudformation.DescribeStackEvents",
        "cloudformation.DescribeStacks",
        "cloudformation.ExecuteChangeSet",
        "git.fetch",
        "git.heads",
        "git.read_blob",
        "git.read_tree",
        "store.claim",
        "store.end_attempt",
        "store.open_attempt",
        "store.open_repository_attempt",
        "store.record_change_set",
        "store.record_considered",
        "store.record_execution",
        "store.record_heads",
        "store.record_plan",
        "store.release",
        "sts.AssumeRole",
    ] {
        assert!(points.contains(point), "the story passes {point}: {points:?}");
    }
    let mut tellings = JoinSet::new();
    let mut told_points = BTreeMap::new();
    let mut tellings_made = 0;
    for (index, (point, moment)) in passings.into_iter().enumerate() {
        let occurrence = told_points.entry((point, moment)).or_insert(0);
        *occurrence += 1;
        if *occurrence > occurrences() {
            continue;
        }
        let ways: &[Injected] =
            if moment == Moment::Before { &[Injected::Fail] } else { &[Injected::Fail, Injected::TimeOut] };
        for way in ways {
            if tellings.len() >= AT_ONCE {
                tellings.join_next().await.expect("one runs").expect("it ends alike");
            }
            let (way, ending) = (*way, ending.clone());
            tellings_made += 1;
            tellings.spawn(async move {
                let faults = Faults::none();
                faults.inject_nth(index, way);
                let again = tell(faults).await;
                assert_eq!(again, ending, "{way:?} {moment:?} {point} (passing {index})");
            });
        }
    }
    while let Some(told) = tellings.join_next().await {
        told.expect("it ends alike");
    }
    println!("told {tellings_made} times, failing at {} points", told_points.len());
}

/// Stories told at the same time.
const AT_ONCE: usize = 4;

/// How often each point is made to fail: the first two passings of it, or all with `SYNCLINE_SWEEP=full`.
#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn occurrences() -> usize {
    if std::env::var("SYNCLINE_SWEEP").is_ok_and(|sweep| sweep == "full") { usize::MAX } else { 2 }
}
