//! Branches that move, vanish and come back.

use std::sync::Arc;

use insta::assert_snapshot;
use syncline_seams::{Faults, Injected, Moment};
use syncline_testkit::repository::Change;
use syncline_testkit::world::World;

use super::{deployment, synced, template, unsynced};

#[tokio::test]
async fn a_force_push_is_just_the_next_head() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    let (prod, template) = (deployment("rewritten"), template(""));
    repo.rewrite(&[
        Change::File("prod.yaml", prod.as_bytes()),
        Change::File("template.yaml", template.as_bytes()),
    ])
    .await;
    repo.prune().await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    SUCCEEDED   commit 3
    ");
    let stack = world.simulator.stack("000000000000", "eu-central-1", "web").expect("the stack");
    assert_eq!(stack.parameters[0].1, "rewritten");
}

#[tokio::test]
async fn a_branch_that_is_deleted_blocks_until_it_returns() {
    let (world, repo) = synced().await;
    let head = repo.head().await;
    repo.delete_branch().await;
    world.settle().await;
    assert_snapshot!(world.blockers("web").await, @"ACTIVE   BRANCH_MISSING: branch 'main' does not exist in the repository");
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n");
    assert!(world.stack_template("web").is_some(), "the stack is untouched");
    world.settle().await;
    assert_eq!(world.blocker_rows("web").await.len(), 1, "it is raised once");

    repo.force_push(&head).await;
    world.settle().await;
    assert_snapshot!(world.blockers("web").await, @"RESOLVED BRANCH_MISSING: branch 'main' does not exist in the repository");
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 1 to commit 2, last good commit 2");
}

#[tokio::test]
async fn a_branch_that_never_was_has_no_attempt_but_says_why() {
    let (world, repo) = unsynced().await;
    let link = world.create_sync("web", &repo, "release", "prod.yaml").await;
    world.settle().await;
    assert_snapshot!(world.blockers("web").await, @"ACTIVE   BRANCH_MISSING: branch 'release' does not exist in the repository");
    let status = |name: &'static str| {
        world.client.get_resource_sync_status().sync_type("CFN_STACK_SYNC".into()).resource_name(name).send()
    };
    let error = status("web").await.expect_err("no attempt yet").into_service_error();
    assert!(error.is_resource_not_found_exception());
    assert_eq!(error.meta().message(), Some("Could not find a sync status for resource:web"));
    let repository = world
        .client
        .get_repository_sync_status()
        .sync_type("CFN_STACK_SYNC".into())
        .repository_link_id(&link)
        .branch("release")
        .send()
        .await
        .expect("the repository's status");
    let latest = repository.latest_sync().expect("an attempt");
    assert_eq!(latest.status().as_str(), "FAILED");
    assert_eq!(latest.events()[0].r#type(), "BRANCH_MISSING");

    repo.on("release").commit("x", "y").await;
    world.settle().await;
    assert!(
        world.blockers("web").await.contains("RESOLVED BRANCH_MISSING"),
        "{}",
        world.blockers("web").await
    );
    assert_eq!(world.attempt_rows("web").await.len(), 1);
}

#[tokio::test]
async fn a_repository_sync_tells_what_was_read() {
    let (world, repo) = unsynced().await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    let status = world
        .client
        .get_repository_sync_status()
        .sync_type("CFN_STACK_SYNC".into())
        .repository_link_id(&link)
        .branch("main")
        .send()
        .await
        .expect("the repository's status");
    let latest = status.latest_sync().expect("an attempt");
    let told: Vec<String> = latest.events().iter().map(|event| event.r#type().to_owned()).collect();
    assert_eq!(latest.status().as_str(), "SUCCEEDED");
    assert_eq!(told, ["HEAD_OBSERVED", "COMMIT_READ", "RESOURCE_CHANGED"]);
    assert_eq!(latest.events()[0].external_id(), Some(repo.head().await.as_str()));
}

#[tokio::test]
async fn a_commit_that_arrives_while_another_is_read_is_queued() {
    let unreadable = Faults::none();
    let world = World::with_faults(Arc::clone(&unreadable) as _).await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    unreadable.inject("git.fetch", Moment::Before, Injected::Fail, usize::MAX);
    world.settle().await;
    let told = async || {
        let status = world
            .client
            .get_repository_sync_status()
            .sync_type("CFN_STACK_SYNC".into())
            .repository_link_id(&link)
            .branch("main")
            .send()
            .await
            .expect("the repository's status");
        let latest = status.latest_sync().expect("an attempt");
        let types: Vec<&str> = latest.events().iter().map(|event| event.r#type()).collect();
        format!("{} {}", latest.status().as_str(), types.join(" "))
    };
    let reading = told().await;
    assert!(reading.contains("HEAD_OBSERVED RETRYING"), "{reading}");
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.tick().await;
    let next = told().await;
    unreadable.clear();
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    assert_snapshot!(format!("{next}\n{}", told().await), @r"
    IN_PROGRESS NEWER_COMMIT_QUEUED HEAD_OBSERVED RETRYING
    SUCCEEDED NEWER_COMMIT_QUEUED HEAD_OBSERVED RETRYING COMMIT_READ RESOURCE_CHANGED
    ");
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 2");
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}
