//! Whatever a forge's API answers to whatever it is asked, it ends with one comment, and with the newest of everything.

use aws_sdk_codeconnections::types::{PublishDeploymentStatus, SyncConfigurationType};
use http::Method;
use syncline_testkit::forge::Fault;
use syncline_testkit::world::World;

use super::deployment;
use super::forges::{CANARY, Provider, is_nowhere, named};
use super::previews::{branch, change_sets, commented, look, only};

/// What goes wrong, one after the other.
const FAULTS: [Fault; 9] = [
    Fault::Status(401, &[], "Bad credentials"),
    Fault::Status(403, &[("x-ratelimit-remaining", "0"), ("retry-after", "30")], "rate limit exceeded"),
    Fault::Status(404, &[], "Not Found"),
    Fault::Status(409, &[], "Conflict"),
    Fault::Status(422, &[], "Unprocessable"),
    Fault::Status(500, &[], "oops"),
    Fault::Html,
    Fault::HalfAnswer,
    Fault::LostAnswer,
];

/// How a forge is asked to change a comment.
fn change(provider: Provider) -> Method {
    match provider.name {
        "GitLab" | "GitLabSelfManaged" | "Bitbucket" => Method::PUT,
        _ => Method::PATCH,
    }
}

/// Its word for a sync that succeeded.
fn success(provider: Provider) -> &'static str {
    match provider.name {
        "AzureDevOps" => "succeeded",
        "Bitbucket" => "SUCCESSFUL",
        _ => "success",
    }
}

async fn survives(provider: &str) {
    let provider = named(provider);
    let scene = commented(provider, World::start().await).await;
    let (world, repo) = (&scene.world, &scene.repo);
    let update = world.client.update_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
    let update = update.resource_name("web").publish_deployment_status(PublishDeploymentStatus::Enabled);
    update.send().await.expect("updated");
    world.settle().await;
    let feature = branch(repo, "feature", "first").await;
    let number = scene.forge.open_pull(&feature, repo).await;
    look(world).await;
    let push = async |what: &str| {
        repo.commit("prod.yaml", deployment(&format!("main-{what}"))).await;
        feature.commit("prod.yaml", deployment(&format!("feature-{what}"))).await;
        scene.forge.push_to_pull(number, &feature, repo).await;
    };
    for (case, fault) in FAULTS.iter().enumerate() {
        for method in [Method::GET, Method::POST, change(provider)] {
            scene.forge.fail_at(method, fault.clone());
        }
        push(&format!("{case}-spoilt")).await;
        for turn in 0.. {
            look(world).await;
            if scene.forge.faults_left() == 0 {
                break;
            }
            assert!(
                turn < 20,
                "{provider:?}, {fault:?}: it is not asked any more: {:?}",
                scene.forge.asked()
            );
            // What a forge will not have is not told again: something else is.
            push(&format!("{case}-spoilt-{turn}")).await;
        }
        push(&format!("{case}-whole")).await;
        let shown = format!("+   DisplayName: feature-{case}-whole\n");
        let head = repo.head().await;
        let success = success(provider);
        let is_told = || {
            let state = scene.forge.status_of(&head, "syncline/eu-central-1/web");
            only(&scene).0.contains(&shown) && state.as_deref() == Some(success)
        };
        for _ in 0..12 {
            if is_told() {
                break;
            }
            look(world).await;
        }
        assert!(is_told(), "{provider:?}, {fault:?}: {}\n{:#?}", only(&scene).0, scene.forge.statuses());
        assert_eq!(world.connection_status(&scene.connection).await, "AVAILABLE", "{provider:?}, {fault:?}");
    }
    assert_eq!(change_sets(&world.simulator, "web"), [""; 0], "none is left");
    is_nowhere(world, CANARY);
}

#[tokio::test]
async fn github_may_answer_what_it_will() {
    survives("GitHub").await;
}

#[tokio::test]
async fn github_enterprise_server_may_answer_what_it_will() {
    survives("GitHubEnterpriseServer").await;
}

#[tokio::test]
async fn gitlab_may_answer_what_it_will() {
    survives("GitLab").await;
}

#[tokio::test]
async fn a_gitlab_of_ones_own_may_answer_what_it_will() {
    survives("GitLabSelfManaged").await;
}

#[tokio::test]
async fn bitbucket_may_answer_what_it_will() {
    survives("Bitbucket").await;
}

#[tokio::test]
async fn azure_devops_may_answer_what_it_will() {
    survives("AzureDevOps").await;
}

#[tokio::test]
async fn gitea_may_answer_what_it_will() {
    survives("Gitea").await;
}
