//! What happens to syncs, told as stories. Everything is real but CloudFormation and time.

use insta::assert_snapshot;
use syncline_testkit::world::World;

fn deployment(parameters: &str) -> String {
    format!("template-file-path: template.yaml\nparameters:\n  Name: {parameters}\n")
}

/// A template with one topic named by the parameter, and with `extra` resources.
fn template(extra: &str) -> String {
    format!(
        "Parameters:\n  Name:\n    Type: String\nResources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n      DisplayName: !Ref Name\n{extra}"
    )
}

#[tokio::test]
async fn a_push_to_the_tracked_branch_updates_the_stack() {
    let world = World::start().await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    world.create_sync("web-prod", &repo, "main", "prod.yaml").await;
    world.settle().await;
    assert_snapshot!(world.attempts("web-prod", &repo).await, @"SUCCEEDED   commit 1");

    repo.commit("prod.yaml", deployment("two")).await;
    world.settle().await;
    assert_snapshot!(world.attempts("web-prod", &repo).await, @r"
    SUCCEEDED   commit 1
    SUCCEEDED   commit 2
    ");
    assert_snapshot!(world.blockers("web-prod"), @"");
}
