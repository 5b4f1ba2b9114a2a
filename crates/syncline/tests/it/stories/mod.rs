//! What happens to syncs, told as stories. Everything is real but CloudFormation and time.

mod branches;
mod changes;
mod detection;
mod downtime;
mod endings;
mod fairness;
mod files;
mod forge_faults;
mod forges;
mod github_apps;
mod grant_crashes;
mod moves;
mod notifications;
mod oauth;
mod outages;
mod previews;
mod proxied;
mod publishing;
mod pull_requests;
mod registering;
mod ssh;
mod stacks;
mod suspending;
mod sweep;
mod syncing;
mod watching;
mod webhooks;

use syncline_testkit::repository::Repository;
use syncline_testkit::world::World;

/// A deployment file of `template.yaml` whose parameter `Name` is `name`.
fn deployment(name: &str) -> String {
    format!("template-file-path: template.yaml\nparameters:\n  Name: {name}\n")
}

/// A template with a topic named by the parameter `Name`, followed by `more` resources.
fn template(more: &str) -> String {
    format!(
        "Parameters:\n  Name:\n    Type: String\nResources:\n  Topic:\n    Type: AWS::SNS::Topic\n    \
         Properties:\n      DisplayName: !Ref Name\n{more}"
    )
}

/// A world with one repository, whose `prod.yaml` says `one`, and the sync `web` of its branch `main`, at rest.
async fn synced() -> (World, Repository) {
    let (world, repo) = unsynced().await;
    world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n");
    (world, repo)
}

/// The same before the sync is made.
async fn unsynced() -> (World, Repository) {
    let world = World::start().await;
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    (world, repo)
}
