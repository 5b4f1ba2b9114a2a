//! How a sync of a commit stands is shown at its forge, and never as a failure what is none.

use aws_sdk_codeconnections::types::{PublishDeploymentStatus, SyncConfigurationType};
use syncline_seams::{Faults, Moment};
use syncline_store::Change;
use syncline_testkit::forge::Fault;
use syncline_testkit::world::World;

use super::deployment;
use super::forges::{CANARY, PROVIDERS, Scene, is_nowhere, named};

/// What a status is told apart by from the commit's others.
const CONTEXT: &str = "syncline/eu-central-1/web";

impl Scene {
    /// Has the sync's status shown from now on, which syncs the head once more.
    async fn publishes(&self) {
        let update =
            self.world.client.update_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
        let update = update.resource_name("web").publish_deployment_status(PublishDeploymentStatus::Enabled);
        update.send().await.expect("updated");
        self.world.settle().await;
    }

    /// The states of the newest commit's status, oldest first.
    async fn states(&self) -> Vec<String> {
        let head = self.repo.head().await;
        let statuses = self.forge.statuses();
        let of_it = statuses.iter().filter(|one| one.commit == head && one.context == CONTEXT);
        of_it.map(|one| one.state.clone()).collect()
    }
}

/// A forge's words for pending, success and failure.
fn words(provider: &str) -> [&'static str; 3] {
    match provider {
        "GitLab" | "GitLabSelfManaged" => ["pending", "success", "failed"],
        "Bitbucket" => ["INPROGRESS", "SUCCESSFUL", "FAILED"],
        "AzureDevOps" => ["pending", "succeeded", "failed"],
        _ => ["pending", "success", "failure"],
    }
}

#[tokio::test]
async fn every_forge_shows_how_a_sync_of_a_commit_stands() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, World::start().await).await;
        scene.synced().await;
        assert!(scene.forge.statuses().is_empty(), "{}: nobody asked for it", provider.name);
        scene.publishes().await;
        let (world, repo) = (&scene.world, &scene.repo);
        let [pending, success, failure] = words(provider.name);
        repo.commit("prod.yaml", deployment("two")).await;
        world.settle().await;
        let states = scene.states().await;
        assert_eq!(states.first().map(String::as_str), Some(pending), "{}: {states:?}", provider.name);
        assert_eq!(states.last().map(String::as_str), Some(success), "{}: {states:?}", provider.name);
        repo.commit("template.yaml", "Resources: [").await;
        world.settle().await;
        let states = scene.states().await;
        assert_eq!(states.last().map(String::as_str), Some(failure), "{}: {states:?}", provider.name);
        let ended: Vec<_> = scene
            .forge
            .deployments()
            .iter()
            .map(|one| (one.environment.clone(), one.states.last().cloned().unwrap_or_default()))
            .collect();
        let of = |state: &str| ("eu-central-1/web".to_owned(), state.to_owned());
        let expect = match provider.name {
            "GitHub" | "GitHubEnterpriseServer" => vec![of("success"), of("success"), of("failure")],
            "GitLab" | "GitLabSelfManaged" => vec![of("success"), of("success"), of("failed")],
            _ => Vec::new(),
        };
        assert_eq!(ended, expect, "{}", provider.name);
        is_nowhere(world, CANARY);
    }
}

#[tokio::test]
async fn a_status_says_where_there_is_more_if_anybody_knows() {
    let plan = std::sync::Arc::new(syncline_seams::NoFaults);
    let world =
        World::configured(plan, |config| config.public_url = Some("https://sync.example.com".to_owned()))
            .await;
    let scene = Scene::of(named("GitHub"), world).await;
    scene.synced().await;
    scene.publishes().await;
    let urls: Vec<_> = scene.forge.statuses().into_iter().map(|one| one.url).collect();
    assert!(!urls.is_empty());
    assert!(
        urls.iter().all(|url| url.as_deref() == Some("https://sync.example.com/#eu-central-1/web")),
        "{urls:?}"
    );
}

#[tokio::test]
async fn an_attempt_that_was_given_up_is_never_shown_as_a_failure() {
    for name in ["GitHub", "GitLab", "Bitbucket", "AzureDevOps"] {
        let scene = Scene::of(named(name), World::start().await).await;
        scene.synced().await;
        scene.publishes().await;
        let (world, repo) = (&scene.world, &scene.repo);
        repo.commit("prod.yaml", deployment("two")).await;
        let given_up = repo.head().await;
        world.clock.advance_ms(60_000);
        world.work_until("web", "ATTEMPT_STARTED").await;
        repo.commit("prod.yaml", deployment("three")).await;
        world.clock.advance_ms(60_000);
        world.work().await;
        world.settle().await;
        let attempts = world.attempts("web", repo).await;
        assert!(attempts.contains("FAILED      commit 2  SUPERSEDED"), "{name}: {attempts}");
        let [_, success, failure] = words(name);
        assert!(scene.forge.statuses().iter().all(|one| one.state != failure), "{name}");
        assert!(scene.forge.status_of(&given_up, CONTEXT).is_some_and(|state| state != success), "{name}");
        assert_eq!(scene.states().await.last().map(String::as_str), Some(success), "{name}");
        let states: Vec<_> = scene.forge.deployments().into_iter().flat_map(|one| one.states).collect();
        assert!(
            !states.iter().any(|state| ["failure", "failed", "error"].contains(&state.as_str())),
            "{states:?}"
        );
    }
}

#[tokio::test]
async fn whatever_a_forge_answers_it_ends_with_the_newest_status_and_one_deployment() {
    let cases = [
        Fault::Status(401, &[], "Bad credentials"),
        Fault::Status(403, &[("x-ratelimit-remaining", "0")], "API rate limit exceeded"),
        Fault::Status(429, &[("retry-after", "30")], "later"),
        Fault::Status(404, &[], "Not Found"),
        Fault::Status(409, &[], "Conflict"),
        Fault::Status(500, &[], "oops"),
        Fault::Html,
        Fault::LostAnswer,
        Fault::HalfAnswer,
    ];
    for name in ["GitHub", "GitLab"] {
        let scene = Scene::of(named(name), World::start().await).await;
        scene.synced().await;
        scene.publishes().await;
        let (world, repo) = (&scene.world, &scene.repo);
        let [_, success, _] = words(name);
        for (number, fault) in cases.iter().enumerate() {
            for _ in 0..2 {
                scene.forge.fail_at(http::Method::POST, fault.clone());
            }
            repo.commit("prod.yaml", deployment(&format!("case-{number}"))).await;
            let head = repo.head().await;
            let is_shown = || {
                let deployments = scene.forge.deployments();
                let of_it: Vec<_> = deployments.iter().filter(|one| one.commit == head).collect();
                let is_deployed =
                    of_it.len() == 1 && of_it[0].states.last().is_some_and(|last| last == success);
                let is_marked = scene.forge.status_of(&head, CONTEXT).as_deref() == Some(success);
                is_deployed && is_marked
            };
            for _ in 0..10 {
                world.settle().await;
                if is_shown() {
                    break;
                }
            }
            assert!(is_shown(), "{name}, {fault:?}: {:#?}", scene.forge.deployments());
            assert_eq!(world.connection_status(&scene.connection).await, "AVAILABLE", "{name}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn what_a_forge_will_never_take_is_given_up_in_sight() {
    let scene = Scene::of(named("Gitea"), World::start().await).await;
    scene.synced().await;
    scene.forge.fail(Fault::Status(422, &[], "sha not found: canary-91f3-token-of-a-forge"));
    scene.publishes().await;
    let (_, rows) = scene.world.rest("GET", "/outbox", &serde_json::Value::Null).await;
    let row = &rows["outbox"][0];
    // What followed it was taken: one thing, whose newest content counts.
    assert_eq!((&row["kind"], &row["state"]), (&"COMMIT_STATUS".into(), &"SENT".into()), "{rows:#}");
    scene.forge.revoke(CANARY);
    scene.repo.commit("prod.yaml", deployment("two")).await;
    scene.world.settle().await;
    let (_, rows) = scene.world.rest("GET", "/outbox?state=WAITING", &serde_json::Value::Null).await;
    let error = rows["outbox"][0]["lastError"].as_str().expect("an error");
    assert!(error.contains("401") && !rows.to_string().contains(CANARY), "{rows:#}");
    scene.forge.grant(CANARY, "deploy-bot");
    for _ in 0..5 {
        scene.world.settle().await;
    }
    assert_eq!(scene.states().await.last().map(String::as_str), Some("success"));
}

#[tokio::test]
async fn a_deployment_whose_making_was_not_recorded_is_found_again() {
    for name in ["GitHub", "GitLab"] {
        for point in ["forges.create_deployment", "forges.set_deployment_status", "store.record_sent"] {
            for moment in [Moment::Before, Moment::After] {
                let faults = Faults::none();
                let scene = Scene::of(named(name), World::with_faults(faults.clone()).await).await;
                scene.synced().await;
                faults.fail(point, moment);
                scene.publishes().await;
                for _ in 0..3 {
                    scene.world.settle().await;
                }
                assert_eq!(faults.struck(), 1, "{name}: {point} {moment:?}");
                let deployments = scene.forge.deployments();
                assert_eq!(deployments.len(), 1, "{name}: {point} {moment:?}: {deployments:#?}");
                let [_, success, _] = words(name);
                assert_eq!(
                    deployments[0].states.last().map(String::as_str),
                    Some(success),
                    "{name}: {point}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_deployment_that_somebody_deleted_is_made_again() {
    for name in ["GitHub", "GitLab"] {
        let scene = Scene::of(named(name), World::start().await).await;
        scene.synced().await;
        scene.publishes().await;
        assert_eq!(scene.forge.deployments().len(), 1, "{name}");
        scene.forge.delete_deployments();
        let (world, scope) = (&scene.world, scene.world.scope());
        let again = world.parts().store.sync_now(&scope, "CFN_STACK_SYNC", "web", Change::unrecorded()).await;
        again.expect("written");
        world.settle().await;
        let deployments = scene.forge.deployments();
        let [_, success, _] = words(name);
        assert_eq!(deployments.len(), 1, "{name}: {deployments:#?}");
        assert_eq!(deployments[0].states.last().map(String::as_str), Some(success), "{name}");
    }
}
