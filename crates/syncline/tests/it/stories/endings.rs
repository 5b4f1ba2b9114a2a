//! Attempts that are overtaken by what happens around them. Each of these was found by the simulation.

use std::sync::Arc;

use insta::assert_snapshot;
use syncline_seams::{Faults, Injected, Moment};
use syncline_testkit::repository::Change;
use syncline_testkit::world::{ACCOUNT, REGION, ROLE, World};

use super::{deployment, synced, template};

#[tokio::test]
async fn a_commit_that_is_gone_gives_way_to_a_head_with_the_same_files() {
    let unreachable = Faults::none();
    let world = World::with_faults(Arc::clone(&unreachable) as _).await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    let update = world.client.update_sync_configuration().sync_type("CFN_STACK_SYNC".into());
    let update = update.resource_name("web").trigger_resource_update_on("FILE_CHANGE".into());
    update.send().await.expect("updated");
    world.settle().await;
    unreachable.inject("cloudformation.DescribeStacks", Moment::Before, Injected::Fail, usize::MAX);
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;

    let (prod, template) = (deployment("two"), template(""));
    repo.rewrite(&[
        Change::File("README.md", b"nothing to do with it"),
        Change::File("prod.yaml", prod.as_bytes()),
        Change::File("template.yaml", template.as_bytes()),
    ])
    .await;
    repo.prune().await;
    std::fs::remove_dir_all(world.data_dir().join("git-cache")).expect("the cache");
    unreachable.clear();
    // What it has read is in its memory, too.
    let world = world.restart(unreachable).await;
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  SUPERSEDED
    SUCCEEDED   commit 3
    ");
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn a_revision_that_failed_for_want_of_a_connection_is_synced_through_the_next_one() {
    let (world, repo) = synced().await;
    let connections = world.client.list_connections().send().await.expect("a listing");
    let arn = connections.connections()[0].connection_arn().expect("an ARN");
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    // Opened, and then unreadable.
    world.work_until("web", "CHANGE_SET_CREATING").await;
    let stack = world.attempt_rows("web").await.pop().expect("an attempt").id;
    assert!(world.simulator.faults().delete_change_set(ACCOUNT, REGION, "web", &format!("{stack}-1")));
    world.client.delete_connection().connection_arn(arn).send().await.expect("deleted");
    world.settle().await;
    assert_eq!(world.blocker_rows("web").await[0].kind.as_str(), "CONNECTION_UNAVAILABLE");

    let second = world.connect("second", None).await;
    let links = world.client.list_repository_links().send().await.expect("a listing");
    let link = links.repository_links()[0].repository_link_id();
    let update = world.client.update_repository_link().repository_link_id(link).connection_arn(&second);
    update.send().await.expect("updated");
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  REPOSITORY_UNAVAILABLE
    SUCCEEDED   commit 2
    ");
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn a_stack_that_is_deleted_while_it_is_updated_is_not_updated_twice() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    assert!(world.simulator.faults().delete_stack(ACCOUNT, REGION, "web"));
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  EXECUTION_FAILED
    ");
    assert_eq!(world.executions("web"), 2, "each revision once");
}

#[tokio::test]
async fn an_outage_that_nobody_meets_any_more_blocks_no_longer() {
    let (world, repo) = synced().await;
    world.simulator.faults().deny_role(ROLE);
    world.simulator.faults().expire_sessions();
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    let blockers = world.blockers("web").await;
    assert!(blockers.starts_with("ACTIVE   ROLE_NOT_ASSUMABLE"), "{blockers}");
    repo.commit("prod.yaml", "nothing: here\n").await;
    world.settle().await;
    let kinds: Vec<String> = world
        .blocker_rows("web")
        .await
        .iter()
        .map(|blocker| format!("{} {}", blocker.status.as_str(), blocker.kind.as_str()))
        .collect();
    assert_eq!(kinds, ["ACTIVE INVALID_FILE", "RESOLVED ROLE_NOT_ASSUMABLE"]);
}
