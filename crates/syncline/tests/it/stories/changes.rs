//! Links, connections and configurations that are changed or deleted while an attempt runs.

use insta::assert_snapshot;
use syncline_store::Change;
use syncline_testkit::world::{ACCOUNT, ANOTHER_ACCOUNT, REGION, ROLE, World};

use super::{deployment, synced, template, unsynced};

async fn delete_sync(world: &World, stack: &str) {
    world
        .client
        .delete_sync_configuration()
        .sync_type("CFN_STACK_SYNC".into())
        .resource_name(stack)
        .send()
        .await
        .expect("deleted");
}

async fn change_sync(world: &World, branch: Option<&str>, file: Option<&str>) {
    world
        .client
        .update_sync_configuration()
        .sync_type("CFN_STACK_SYNC".into())
        .resource_name("web")
        .set_branch(branch.map(str::to_owned))
        .set_config_file(file.map(str::to_owned))
        .send()
        .await
        .expect("updated");
}

async fn change_role(world: &World, role_arn: &str) {
    world
        .client
        .update_sync_configuration()
        .sync_type("CFN_STACK_SYNC".into())
        .resource_name("web")
        .role_arn(role_arn)
        .send()
        .await
        .expect("updated");
}

#[tokio::test]
async fn a_changed_configuration_is_synced_at_once() {
    let (world, repo) = synced().await;
    repo.commit("test.yaml", deployment("from test")).await;
    change_sync(&world, None, Some("test.yaml")).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(stack.parameters[0].1, "from test");
}

#[tokio::test]
async fn a_changed_configuration_supersedes_a_plan() {
    let (world, repo) = synced().await;
    let release = repo.branch("release").await;
    release.commit("prod.yaml", deployment("release")).await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    change_sync(&world, Some("release"), None).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 3  SUPERSEDED
    SUCCEEDED   commit 2
    ");
    assert_snapshot!(world.blockers("web").await, @"");
    assert_eq!(world.executions("web"), 2);
    // Commits of the old branch are nobody's business any more.
    repo.commit("prod.yaml", deployment("three")).await;
    world.settle().await;
    assert_eq!(world.attempt_rows("web").await.len(), 3);
}

#[tokio::test]
async fn a_changed_configuration_lets_an_execution_end() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    repo.commit("test.yaml", deployment("from test")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    change_sync(&world, None, Some("test.yaml")).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 3
    SUCCEEDED   commit 3
    ");
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(stack.parameters[0].1, "from test");
}

#[tokio::test]
async fn a_deleted_configuration_is_gone_at_once_and_drained() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    delete_sync(&world, "web").await;
    delete_sync(&world, "web").await;
    let gone = world
        .client
        .get_sync_configuration()
        .sync_type("CFN_STACK_SYNC".into())
        .resource_name("web")
        .send()
        .await
        .expect_err("not found at once");
    assert!(gone.into_service_error().is_resource_not_found_exception());
    world.work().await;
    assert_eq!(world.executions("web"), 1, "the plan was never executed");
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack is left alone");
    assert_eq!(stack.parameters[0].1, "one");
    assert_eq!(stack.change_sets.len(), 1, "the change set of the plan is gone: {:?}", stack.change_sets);
}

#[tokio::test]
async fn a_name_used_again_has_an_empty_history_and_waits_for_the_old_one() {
    let (world, repo) = unsynced().await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    delete_sync(&world, "web").await;
    world.sync(&link, "web", "main", "prod.yaml").await;
    assert!(world.attempt_rows("web").await.is_empty(), "another configuration, another history");
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 2");
    assert_eq!(world.executions("web"), 2, "the old execution ended, the new sync found nothing to do");
    assert!(world.event("web", "NO_CHANGES").await.contains("already"));
}

#[tokio::test]
async fn a_deleted_connection_blocks_its_syncs_visibly() {
    let (world, repo) = synced().await;
    let connections = world.client.list_connections().send().await.expect("a listing");
    let arn = connections.connections()[0].connection_arn().expect("an ARN").to_owned();
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    world.client.delete_connection().connection_arn(&arn).send().await.expect("deleted");
    world.settle().await;
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!((blocker.kind.as_str(), blocker.status.as_str()), ("CONNECTION_UNAVAILABLE", "ACTIVE"));
    assert!(blocker.created_reason.contains(&arn), "{}", blocker.created_reason);
    world.git.clear_log();
    world.settle().await;
    assert!(world.git.requests().is_empty(), "nobody is asked any more");
    let refused = world
        .client
        .update_sync_blocker()
        .sync_type("CFN_STACK_SYNC".into())
        .resource_name("web")
        .id(&blocker.id)
        .resolved_reason("try")
        .send()
        .await
        .expect_err("it cannot be tried again");
    assert!(refused.into_service_error().is_retry_latest_commit_failed_exception());
}

#[tokio::test]
async fn a_link_with_configurations_cannot_be_deleted_and_goes_with_the_last_one() {
    let (world, repo) = unsynced().await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    let delete = || world.client.delete_repository_link().repository_link_id(&link).send();
    let refused = delete().await.expect_err("in use").into_service_error();
    assert!(refused.is_sync_configuration_still_exists_exception());
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    delete_sync(&world, "web").await;
    delete().await.expect("deleted while its last execution runs");
    world.settle().await;
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!((stack.status.as_str(), stack.parameters[0].1.as_str()), ("UPDATE_COMPLETE", "two"));
}

#[tokio::test]
async fn a_role_changed_while_it_cannot_be_assumed_takes_over() {
    let (world, repo) = unsynced().await;
    world.simulator.faults().deny_role(ROLE);
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    change_role(&world, &format!("arn:aws:iam::{ACCOUNT}:role/another")).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    FAILED      commit 1  SUPERSEDED
    SUCCEEDED   commit 1
    ");
    assert_eq!(world.stack_template("web"), Some(template("")));
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn sync_now_syncs_the_head_again() {
    let (world, repo) = synced().await;
    let asked =
        world.parts().store.sync_now(&world.scope(), "CFN_STACK_SYNC", "web", Change::unrecorded()).await;
    assert_eq!(asked.expect("stored"), Some(Ok(())));
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 1
    ");
}

#[tokio::test]
async fn a_plan_whose_role_is_gone_for_good_does_not_hold_up_its_replacement() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    world.simulator.faults().deny_role(ROLE);
    world.simulator.faults().expire_sessions();
    change_role(&world, &format!("arn:aws:iam::{ACCOUNT}:role/another")).await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  SUPERSEDED
    SUCCEEDED   commit 2
    ");
    assert_eq!(world.executions("web"), 2);
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn a_blocker_of_the_old_branch_goes_with_it() {
    let (world, _repo) = synced().await;
    change_sync(&world, Some("old"), None).await;
    world.work().await;
    world.clock.advance_ms(1);
    change_sync(&world, Some("new"), None).await;
    world.work().await;
    assert_snapshot!(world.blockers("web").await, @r"
    ACTIVE   BRANCH_MISSING: branch 'new' does not exist in the repository
    RESOLVED BRANCH_MISSING: branch 'old' does not exist in the repository
    ");
}

#[tokio::test]
async fn a_link_shows_its_connections_arn_as_it_was_made() {
    let (world, repo) = unsynced().await;
    let made = world.connect("git", None).await;
    let other = made.replace(":codeconnections:", ":codestar-connections:");
    assert_ne!(made, other);
    let link = world.link(&other, &repo).await;
    let shown = world.client.get_repository_link().repository_link_id(link).send().await.expect("the link");
    assert_eq!(shown.repository_link_info().expect("its info").connection_arn(), made);
}

#[tokio::test]
async fn a_stack_taken_over_while_its_last_owner_executes_waits_for_the_end() {
    let (world, repo) = unsynced().await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    delete_sync(&world, "web").await;
    world.sync(&link, "web", "main", "prod.yaml").await;
    world.simulator.faults().deny_role(ROLE);
    world.simulator.faults().expire_sessions();
    for _ in 0..3 {
        world.clock.advance_ms(1000);
        world.tick().await;
    }
    let waiting = world.blockers("web").await;
    assert!(waiting.starts_with("ACTIVE   ROLE_NOT_ASSUMABLE: an earlier sync of this stack"), "{waiting}");
    assert!(world.attempt_rows("web").await.is_empty(), "it waits, and says why");

    world.simulator.faults().allow_role(ROLE);
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 2");
    assert_eq!(world.executions("web"), 2);
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn a_deleted_link_leaves_no_cached_commit_behind() {
    let (world, repo) = unsynced().await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    let caches = || {
        let directory =
            std::fs::read_dir(world.data_dir().join("git-cache/repositories")).expect("the caches");
        directory.map(|entry| entry.expect("an entry").file_name()).collect::<Vec<_>>()
    };
    let before = caches();
    assert!(!before.is_empty());
    delete_sync(&world, "web").await;
    world.client.delete_repository_link().repository_link_id(&link).send().await.expect("deleted");
    world.work().await;
    assert_eq!(caches(), [] as [&str; 0], "{before:?}");
}

#[tokio::test]
async fn a_role_of_another_account_means_another_stack_and_no_history_of_it() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    change_role(&world, &format!("arn:aws:iam::{ANOTHER_ACCOUNT}:role/sync")).await;
    world.work().await;
    // What was executing is watched to its end in its own account; then the other account's stack is made.
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    SUCCEEDED   commit 2
    ");
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 2 to commit 2, last good commit 2");
    for account in [ACCOUNT, ANOTHER_ACCOUNT] {
        let stack = world.simulator.stack(account, REGION, "web").expect("a stack in each account");
        assert_eq!(stack.parameters[0].1, "two", "{account}");
    }
    let other = world.simulator.stack(ANOTHER_ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(other.status, "CREATE_COMPLETE");
    assert!(world.blocker_rows("web").await.is_empty());
}
