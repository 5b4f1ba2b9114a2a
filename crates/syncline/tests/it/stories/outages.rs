//! Git hosts, roles and CloudFormation that refuse or do not answer.

use insta::assert_snapshot;
use syncline_cloudformation_sim::{CallFault, Times};
use syncline_testkit::git_host::Fault;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::ROLE;

use super::{deployment, synced, unsynced};

#[tokio::test]
async fn a_git_host_that_refuses_blocks_and_recovers_by_itself() {
    let cases: &[(Fault, &str, &str)] = &[
        (Fault::Status(401), "CREDENTIAL_REFUSED", "ERROR"),
        (Fault::Status(403), "CREDENTIAL_REFUSED", "ERROR"),
        (Fault::Status(404), "REPOSITORY_NOT_FOUND", "AVAILABLE"),
        (Fault::Status(500), "REPOSITORY_UNAVAILABLE", "AVAILABLE"),
        (Fault::Disconnect, "REPOSITORY_UNAVAILABLE", "AVAILABLE"),
        (Fault::HtmlPage, "REPOSITORY_UNAVAILABLE", "AVAILABLE"),
    ];
    let (world, repo) = synced().await;
    for (number, (fault, kind, connection_status)) in cases.iter().enumerate() {
        repo.fail(fault.clone());
        repo.commit("prod.yaml", deployment(&format!("v{number}"))).await;
        for _ in 0..6 {
            world.settle().await;
        }
        let blocker = world.blocker_rows("web").await.remove(0);
        assert_eq!((blocker.kind.as_str(), blocker.status.as_str()), (*kind, "ACTIVE"), "{fault:?}");
        assert_eq!(
            world.attempt_rows("web").await.len(),
            number + 1,
            "{fault:?}: no attempt while nothing can be read"
        );
        let connections = world.client.list_connections().send().await.expect("a listing");
        let status = connections.connections()[0].connection_status().expect("a status");
        assert_eq!(status.as_str(), *connection_status, "{fault:?}");

        repo.recover();
        world.clock.advance_ms(15 * 60 * 1000);
        world.settle().await;
        assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED", "{fault:?}");
        assert_eq!(
            world.attempt_rows("web").await.len(),
            number + 2,
            "{fault:?}: the commit is synced after all"
        );
        let connections = world.client.list_connections().send().await.expect("a listing");
        assert_eq!(connections.connections()[0].connection_status().expect("a status").as_str(), "AVAILABLE");
    }
    let newest = world.attempt_rows("web").await.pop().expect("an attempt");
    assert_eq!(newest.status.as_str(), "SUCCEEDED");
}

/// Makes the head a commit that no well-behaved client makes: the heads are told, but it cannot be fetched.
async fn commit_malformed(repo: &Repository) {
    let blob = repo.served_git(&["hash-object", "-w", "--stdin"], b"x").await;
    let tree = repo.served_git(&["mktree"], format!("100644 blob {blob}\t..\n").as_bytes()).await;
    let body =
        format!("tree {tree}\nauthor A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n\nx\n");
    let commit = repo.served_git(&["hash-object", "-w", "-t", "commit", "--stdin"], body.as_bytes()).await;
    repo.served_git(&["update-ref", "refs/heads/main", &commit], b"").await;
}

#[tokio::test]
async fn a_commit_that_cannot_be_read_blocks_once_and_is_not_fetched_at_every_poll() {
    let (world, repo) = synced().await;
    let good = repo.head().await;
    commit_malformed(&repo).await;
    world.settle().await;
    assert!(world.blockers("web").await.starts_with("ACTIVE   INVALID_FILE: the commit is malformed"));
    world.git.clear_log();
    for _ in 0..5 {
        world.settle().await;
    }
    assert_eq!(world.blocker_rows("web").await.len(), 1, "{}", world.blockers("web").await);
    let polls = world.git.requests().len();
    assert!(polls <= 10, "a poll is one listing, not {polls} requests in five polls");
    world.resolve("web", "try it once more").await;
    world.work().await;
    assert_eq!(world.blocker_rows("web").await.len(), 2, "the operator's word has it read again");

    repo.force_push(&good).await;
    world.settle().await;
    assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED");
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 1
    ");
}

#[tokio::test]
async fn a_repository_that_needs_a_token_is_read_with_it() {
    let (world, repo) = unsynced().await;
    repo.require_tokens(&["canary-token"]);
    let connection = world.connect("git", Some("wrong")).await;
    let link = world.link(&connection, &repo).await;
    world.sync(&link, "web", "main", "prod.yaml").await;
    world.settle().await;
    assert!(
        world.blockers("web").await.starts_with("ACTIVE   CREDENTIAL_REFUSED"),
        "{}",
        world.blockers("web").await
    );

    world.authorize(&connection, Some("canary-token")).await;
    world.work().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 1");
    assert!(!format!("{:?}", world.blocker_rows("web").await).contains("canary-token"));
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_shows_the_trust_policy_and_is_probed() {
    let (world, repo) = unsynced().await;
    world.simulator.faults().deny_role(ROLE);
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    let blocker = world.blocker_rows("web").await.remove(0);
    assert_eq!((blocker.kind.as_str(), blocker.status.as_str()), ("ROLE_NOT_ASSUMABLE", "ACTIVE"));
    let external_id =
        world.parts().store.external_id(&world.scope().account).await.expect("a read").expect("an id");
    assert!(blocker.created_reason.contains(&external_id), "{}", blocker.created_reason);
    assert!(world.event("web", "RETRYING").await.contains("sts:ExternalId"));
    assert_snapshot!(world.attempts("web", &repo).await, @"INITIATED   commit 1");

    world.simulator.faults().allow_role(ROLE);
    for _ in 0..16 {
        world.settle().await;
    }
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 1");
    assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED");
}

#[tokio::test]
async fn roles_are_assumed_with_the_accounts_external_id() {
    let (world, repo) = unsynced().await;
    let account = world.parts().store.account(&world.scope().account).await.expect("the account");
    world.simulator.faults().require_external_id(ROLE, &account.external_id);
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @"SUCCEEDED   commit 1");
}

#[tokio::test]
async fn cloudformation_that_fails_now_and_then_costs_time_and_nothing_else() {
    let (world, repo) = synced().await;
    let actions = [
        "CreateChangeSet",
        "DescribeChangeSet",
        "ExecuteChangeSet",
        "DescribeStacks",
        "DescribeStackEvents",
        "AssumeRole",
    ];
    let mut expected = 1;
    for action in actions {
        for fault in [CallFault::Throttle, CallFault::InternalFailure, CallFault::LoseAnswer] {
            world.simulator.faults().expire_sessions();
            world.simulator.faults().on_call(action, fault.clone(), Times::Next(2));
            expected += 1;
            repo.commit("prod.yaml", deployment(&format!("v{expected}"))).await;
            world.settle().await;
            world.settle().await;
            let newest = world.attempt_rows("web").await.pop().expect("an attempt");
            assert_eq!(newest.status.as_str(), "SUCCEEDED", "{action} {fault:?}: {:#?}", newest.events);
            assert_eq!(world.executions("web"), expected, "{action} {fault:?}");
            world.simulator.faults().clear();
        }
    }
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn cloudformation_that_is_down_for_long_becomes_a_blocker_and_recovers() {
    let (world, repo) = synced().await;
    world.simulator.faults().on_call("DescribeStacks", CallFault::InternalFailure, Times::Always);
    repo.commit("prod.yaml", deployment("two")).await;
    for _ in 0..4 {
        world.settle().await;
    }
    assert!(
        world.blockers("web").await.starts_with("ACTIVE   TARGET_UNAVAILABLE"),
        "{}",
        world.blockers("web").await
    );
    world.simulator.faults().clear();
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    assert_eq!(world.blocker_rows("web").await[0].status.as_str(), "RESOLVED");
}

#[tokio::test]
async fn a_missing_permission_is_one_blocker_however_often_it_is_probed() {
    let (world, repo) = synced().await;
    world.simulator.faults().on_call("CreateChangeSet", CallFault::AccessDenied, Times::Always);
    repo.commit("prod.yaml", deployment("two")).await;
    for _ in 0..10 {
        world.settle().await;
    }
    assert_eq!(world.blocker_rows("web").await.len(), 1, "{}", world.blockers("web").await);
    assert!(
        world.blockers("web").await.starts_with("ACTIVE   ACCESS_DENIED"),
        "{}",
        world.blockers("web").await
    );
    let events = world.attempt_rows("web").await.pop().expect("an attempt").events;
    assert_eq!(events.iter().filter(|event| event.kind.as_str() == "RETRYING").count(), 1, "{events:#?}");

    world.simulator.faults().clear();
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    assert_snapshot!(world.attempts("web", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    assert_eq!(world.blocker_rows("web").await[0].resolved_reason.as_deref(), Some("the outage is over"));
}

#[tokio::test]
async fn an_outage_ends_even_when_what_follows_is_refused() {
    let (world, repo) = synced().await;
    world.simulator.faults().deny_role(ROLE);
    world.simulator.faults().expire_sessions();
    repo.commit("prod.yaml", "template-file-path: template.yaml\nparameters: {Nobody: x}\n").await;
    world.settle().await;
    assert!(
        world.blockers("web").await.starts_with("ACTIVE   ROLE_NOT_ASSUMABLE"),
        "{}",
        world.blockers("web").await
    );
    world.simulator.faults().allow_role(ROLE);
    world.clock.advance_ms(15 * 60 * 1000);
    world.settle().await;
    let lines = world.blockers("web").await;
    assert!(lines.starts_with("ACTIVE   CHANGE_SET_FAILED"), "{lines}");
    assert!(lines.contains("RESOLVED ROLE_NOT_ASSUMABLE"), "{lines}");
}
