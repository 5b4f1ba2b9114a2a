//! Pushes.

use insta::assert_snapshot;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::{ACCOUNT, REGION, ROLE, World};

use super::{deployment, synced, template, unsynced};

#[tokio::test]
async fn a_push_to_the_tracked_branch_updates_the_stack() {
    let (world, repo) = synced().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 1, from commit 1 to commit 1, last good commit 1");

    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 2, from commit 1 to commit 2, last good commit 2");
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(stack.parameters, [("Name".to_owned(), "two".to_owned())]);
    assert_eq!(stack.template, template(""), "the template's bytes are sent unchanged");
    assert_eq!(world.executions("web"), 2);
    assert_snapshot!(world.blockers("web").await, @"");
}

#[tokio::test]
async fn every_event_of_a_first_sync_is_told_in_order() {
    let (world, _repo) = synced().await;
    let attempt = world.attempt_rows("web").await.pop().expect("an attempt");
    let kinds: Vec<&str> = attempt.events.iter().map(|event| event.kind.as_str()).collect();
    let mut told = kinds.clone();
    told.dedup();
    assert_eq!(
        told,
        [
            "ATTEMPT_STARTED",
            "FILES_READ",
            "CHANGE_SET_CREATING",
            "CHANGE_SET_CREATED",
            "EXECUTION_STARTED",
            "STACK_EVENT",
            "SUCCEEDED"
        ]
    );
    let texts: Vec<&str> = attempt.events.iter().map(|event| event.text.as_str()).collect();
    assert!(texts.contains(&"The change set has 1 change: Add Topic (AWS::SNS::Topic)"), "{texts:#?}");
    assert!(
        texts.iter().any(|text| text.starts_with("Topic (AWS::SNS::Topic) CREATE_COMPLETE")),
        "{texts:#?}"
    );
    assert!(attempt.events.is_sorted_by_key(|event| event.time_ms), "oldest first");
}

#[tokio::test]
async fn a_broken_commit_blocks_and_its_fix_syncs_without_a_click() {
    let (world, repo) = synced().await;
    repo.commit("template.yaml", "Resources:\n  Topic:\n    Type: [\n").await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"FAILED: desired commit 2, from commit 1 to commit 2, last good commit 1");
    let reason = world.blocker_rows("web").await.remove(0).created_reason;
    assert!(reason.starts_with("template.yaml:"), "it names file, line and column: {reason}");
    assert_eq!(world.stack_template("web"), Some(template("")), "the stack is untouched");

    repo.commit("template.yaml", template("  Queue:\n    Type: AWS::SQS::Queue\n")).await;
    world.settle().await;
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 3, from commit 1 to commit 3, last good commit 3");
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!(blocker.status.as_str(), "RESOLVED");
    assert_eq!(blocker.resolved_reason.as_deref(), Some("a newer sync succeeded"));
}

#[tokio::test]
async fn a_commit_without_changes_to_the_stack_succeeds_with_nothing_to_do() {
    let (world, repo) = synced().await;
    repo.commit("README.md", "hello").await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    assert_eq!(world.event("web", "NO_CHANGES").await.split(" is as commit").next(), Some("Stack web"));
    assert_eq!(world.executions("web"), 1);
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(stack.change_sets.len(), 1, "the failed one is deleted: {:?}", stack.change_sets);
}

/// The sync `web` of the branch `main`, triggered by changes of its files alone, at rest.
async fn synced_by_file_changes() -> (World, Repository) {
    let (world, repo) = unsynced().await;
    let connection = world.connect("git", None).await;
    let link = world.link(&connection, &repo).await;
    world
        .client
        .create_sync_configuration()
        .sync_type("CFN_STACK_SYNC".into())
        .resource_name("web")
        .repository_link_id(&link)
        .branch("main")
        .config_file("./prod.yaml")
        .role_arn(ROLE)
        .trigger_resource_update_on("FILE_CHANGE".into())
        .send()
        .await
        .expect("a sync configuration");
    world.settle().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n");
    (world, repo)
}

#[tokio::test]
async fn file_change_syncs_only_what_its_files_concern() {
    let (world, repo) = synced_by_file_changes().await;
    repo.commit("README.md", "nothing to do with it").await;
    world.settle().await;
    repo.commit("template.yaml", "not: [a template").await;
    world.settle().await;
    // Reverting a broken commit syncs, although the files are those of an older success.
    repo.commit("template.yaml", template("")).await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 3  INVALID_FILE
    SUCCEEDED   commit 4
    ");
}

#[tokio::test]
async fn a_commit_reverted_while_it_waits_is_never_synced() {
    let (world, repo) = synced_by_file_changes().await;
    world.simulator.faults().slow_resource("Topic", std::time::Duration::from_secs(300));
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    // The files of the third commit wait for the execution; those of the fourth are what is being executed.
    for name in ["three", "two"] {
        repo.commit("prod.yaml", deployment(name)).await;
        world.clock.advance_ms(60_000);
        world.tick().await;
        world.tick().await;
    }
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    SUCCEEDED   commit 4
    ");
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(stack.parameters, [("Name".to_owned(), "two".to_owned())]);
}

#[tokio::test]
async fn the_newest_commit_wins_and_what_lies_between_is_skipped() {
    let (world, repo) = synced().await;
    world.simulator.faults().slow_resource("Topic", std::time::Duration::from_secs(300));
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "EXECUTION_STARTED").await;
    repo.commit("prod.yaml", deployment("three")).await;
    world.clock.advance_ms(60_000);
    assert!(world.tick().await, "the next poll sees the third commit");
    assert_snapshot!(world.status("web", &repo).await,
        @"IN_PROGRESS: desired commit 3, from commit 1 to commit 2, last good commit 1");
    repo.commit("prod.yaml", deployment("four")).await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    SUCCEEDED   commit 4
    ");
    assert_eq!(world.executions("web"), 3);
    assert_snapshot!(world.status("web", &repo).await,
        @"SUCCEEDED: desired commit 4, from commit 2 to commit 4, last good commit 4");
}

#[tokio::test]
async fn a_planned_attempt_gives_way_to_a_newer_commit() {
    let (world, repo) = synced().await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.clock.advance_ms(60_000);
    world.work_until("web", "CHANGE_SET_CREATING").await;
    repo.commit("prod.yaml", deployment("three")).await;
    // The next poll sees the newer commit before the change set is looked at again.
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    FAILED      commit 2  SUPERSEDED
    SUCCEEDED   commit 3
    ");
    assert_eq!(world.executions("web"), 2, "the superseded change set was never executed");
    assert_snapshot!(world.blockers("web").await, @"");
    let stack = world.simulator.stack(ACCOUNT, REGION, "web").expect("the stack");
    assert_eq!(stack.parameters, [("Name".to_owned(), "three".to_owned())]);
}

#[tokio::test]
async fn many_syncs_of_one_repository_make_one_remote_call_a_poll() {
    let (world, repo) = unsynced().await;
    let connection = world.connect("git", None).await;
    let link = world.link(&connection, &repo).await;
    for number in 0..5 {
        world.sync(&link, &format!("web-{number}"), "main", "prod.yaml").await;
    }
    world.settle().await;
    world.git.clear_log();
    world.settle().await;
    let polls = world.git.requests().len();
    assert!(polls <= 2, "an unchanged poll is one listing (capabilities and ls-refs), not {polls} requests");
    for number in 0..5 {
        assert_eq!(world.attempts(&format!("web-{number}"), &repo).await, "SUCCEEDED   commit 1\n");
    }
}
