//! Syncs and accounts that rest because the operator said so.

use insta::assert_snapshot;
use syncline_store::{Change, Suspended};
use syncline_testkit::world::World;

use super::{deployment, synced, unsynced};

fn web() -> Suspended {
    Suspended::Sync { sync_type: "CFN_STACK_SYNC".to_owned(), name: "web".to_owned() }
}

async fn suspend(world: &World, what: Suspended) {
    let suspended = world.parts().store.suspend(&world.scope(), what, "a freeze", Change::unrecorded()).await;
    assert_eq!(suspended.expect("written").expect("there is one").reason, "a freeze");
}

async fn resume(world: &World, what: Suspended) {
    let resumed = world.parts().store.resume(&world.scope(), what, Change::unrecorded()).await;
    assert_eq!(resumed.expect("written"), Some(true));
}

#[tokio::test]
async fn a_suspended_sync_rests_and_does_the_newest_commit_as_soon_as_it_is_resumed() {
    for what in [web(), Suspended::Account] {
        let (world, repo) = synced().await;
        suspend(&world, what.clone()).await;
        for name in ["two", "three"] {
            repo.commit("prod.yaml", deployment(name)).await;
            world.settle().await;
        }
        assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n", "{what:?}");
        // What it would do is known all the same.
        assert!(world.status("web", &repo).await.contains("desired commit 3"), "{what:?}");
        let now =
            world.parts().store.sync_now(&world.scope(), "CFN_STACK_SYNC", "web", Change::unrecorded()).await;
        let why = now.expect("read").expect("a sync").expect_err("it rests");
        assert!(why.contains("a freeze"), "{why}");
        resume(&world, what.clone()).await;
        world.work().await;
        assert_eq!(
            world.attempts("web", &repo).await,
            "SUCCEEDED   commit 1\nSUCCEEDED   commit 3\n",
            "{what:?}"
        );
    }
}

#[tokio::test]
async fn a_suspension_gives_up_a_plan_and_its_resumption_makes_it_anew() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    suspend(&world, web()).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"
    SUCCEEDED   commit 1
    FAILED      commit 2  SUPERSEDED
    ");
    assert!(world.event("web", "SUPERSEDED").await.contains("a freeze"));
    assert_eq!(world.blockers("web").await, "", "nothing is wrong");
    assert_eq!(world.executions("web"), 1);
    resume(&world, web()).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"
    SUCCEEDED   commit 1
    FAILED      commit 2  SUPERSEDED
    SUCCEEDED   commit 2
    ");
}

#[tokio::test]
async fn what_is_executed_already_is_watched_to_its_end() {
    let (world, repo) = unsynced().await;
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.work_until("web", "EXECUTION_STARTED").await;
    suspend(&world, Suspended::Account).await;
    world.settle().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n");
    resume(&world, Suspended::Account).await;
    world.settle().await;
    assert_eq!(
        world.attempts("web", &repo).await,
        "SUCCEEDED   commit 1\n",
        "there is nothing to catch up with"
    );
}
