//! Stacks that fail, roll back, or are changed by someone else.

use insta::assert_snapshot;
use syncline_cloudformation_sim::ResourceVerb;
use syncline_testkit::world::{ACCOUNT, REGION};

use super::{deployment, synced, template, unsynced};

#[tokio::test]
async fn a_rolled_back_update_names_the_resource_that_failed() {
    let (world, repo) = synced().await;
    world.simulator.faults().fail_resource(
        "web",
        "Queue",
        ResourceVerb::Create,
        "the quota of queues is reached",
    );
    repo.commit("template.yaml", template("  Queue:\n    Type: AWS::SQS::Queue\n")).await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"FAILED: desired commit 2, from commit 1 to commit 2, last good commit 1");
    assert_snapshot!(world.blockers("web").await,
        @"ACTIVE   EXECUTION_FAILED: Queue (AWS::SQS::Queue) CREATE_FAILED: the quota of queues is reached");
    let contexts = world.blocker_rows("web").await.remove(0).contexts;
    let keys: Vec<&str> = contexts.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        ["kind", "commit", "attempt", "changeSet", "stackStatus", "failingLogicalId", "suggestedFix"]
    );

    // The same commit once more, when the operator says so.
    world.simulator.faults().heal_resource("Queue");
    world.settle().await;
    assert_eq!(
        world.attempt_rows("web").await.len(),
        2,
        "a revision that failed is not tried again by itself"
    );
    world.resolve("web", "the quota was raised").await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  EXECUTION_FAILED
    SUCCEEDED   commit 2
    ");
}

#[tokio::test]
async fn a_stack_that_could_not_be_created_is_created_by_the_next_commit() {
    let (world, repo) = unsynced().await;
    world.simulator.faults().fail_resource("web", "Topic", ResourceVerb::Create, "no");
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    assert!(
        world.blockers("web").await.starts_with("ACTIVE   EXECUTION_FAILED: Topic"),
        "{}",
        world.blockers("web").await
    );
    assert_eq!(world.stack_template("web"), None, "it was deleted again");

    world.simulator.faults().heal_resource("Topic");
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 2 to commit 2, last good commit 2");
}

#[tokio::test]
async fn a_template_that_cloudformation_refuses_fails_with_its_words() {
    let (world, repo) = synced().await;
    repo.commit("template.yaml", template("  Queue:\n    Type: AWS::SQS::Queue\n    DependsOn: Nobody\n"))
        .await;
    world.settle().await;
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!(blocker.kind.as_str(), "CHANGE_SET_FAILED");
    assert!(blocker.created_reason.contains("Nobody"), "{}", blocker.created_reason);
    assert_eq!(world.executions("web"), 1);
    repo.commit("template.yaml", template("")).await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  CHANGE_SET_FAILED
    SUCCEEDED   commit 3
    ");
}

#[tokio::test]
async fn a_stack_changed_by_someone_else_is_an_event_and_the_next_revision_plans_on_top() {
    let (world, repo) = synced().await;
    let theirs = template("  Theirs:\n    Type: AWS::SQS::Queue\n");
    world.clock.advance_ms(1);
    assert!(world.simulator.faults().modify_stack(ACCOUNT, REGION, "web", &theirs));
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 1 to commit 2, last good commit 2");
    assert_eq!(world.stack_template("web"), Some(template("")));
    assert_snapshot!(world.event("web", "STACK_CHANGED_OUTSIDE").await,
        @"Stack web was changed by someone else since the last sync");
}

#[tokio::test]
async fn a_stack_deleted_by_someone_else_waits_for_the_operator() {
    let (world, repo) = synced().await;
    assert!(world.simulator.faults().delete_stack(ACCOUNT, REGION, "web"));
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.blockers("web").await, @"ACTIVE   STACK_DELETED: the stack was deleted by someone else");
    repo.commit("prod.yaml", deployment("three")).await;
    world.settle().await;
    assert_eq!(world.attempt_rows("web").await.len(), 2, "newer commits wait for the operator");
    assert_eq!(world.stack_template("web"), None);

    world.resolve("web", "create it again").await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 3, from commit 3 to commit 3, last good commit 3");
    assert_eq!(world.blocker_rows("web").await[0].resolved_reason.as_deref(), Some("create it again"));
}

#[tokio::test]
async fn a_stuck_stack_says_what_to_do() {
    let (world, repo) = synced().await;
    world.simulator.faults().set_status(ACCOUNT, REGION, "web", "UPDATE_ROLLBACK_FAILED", "stuck");
    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!(blocker.kind.as_str(), "STACK_STUCK");
    assert!(
        blocker
            .contexts
            .iter()
            .any(|(key, value)| key == "suggestedFix" && value.contains("continue-update-rollback"))
    );
    world.simulator.faults().set_status(ACCOUNT, REGION, "web", "UPDATE_ROLLBACK_COMPLETE", "mended");
    world.resolve("web", "mended").await;
    world.work().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 1 to commit 2, last good commit 2");
}

#[tokio::test]
async fn a_change_set_deleted_behind_our_back_is_made_again() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    let newest = world.attempt_rows("web").await.pop().expect("an attempt").id;
    assert!(world.simulator.faults().delete_change_set(ACCOUNT, REGION, "web", &format!("{newest}-1")));
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    assert!(
        world.simulator.executions().last().expect("one").change_set_name.ends_with("-2"),
        "the next plan number"
    );
}

#[tokio::test]
async fn a_busy_stack_is_waited_for() {
    let (world, repo) = synced().await;
    world.simulator.faults().set_status(ACCOUNT, REGION, "web", "UPDATE_IN_PROGRESS", "somebody's change");
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "STACK_BUSY").await;
    for _ in 0..20 {
        world.tick().await;
        world.clock.advance_ms(1000);
    }
    let busy = world.attempt_rows("web").await.pop().expect("an attempt");
    assert_eq!(
        busy.events.iter().filter(|event| event.kind.as_str() == "STACK_BUSY").count(),
        1,
        "said once"
    );
    world.simulator.faults().set_status(ACCOUNT, REGION, "web", "UPDATE_COMPLETE", "done");
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 1 to commit 2, last good commit 2");
}
