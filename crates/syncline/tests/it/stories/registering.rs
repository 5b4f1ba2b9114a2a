//! Webhooks that are made at the forge by its API.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use syncline::server;
use syncline_forges::Forge;
use syncline_seams::Faults;
use syncline_testkit::forge::{Fault, Grant, KnownHook};
use syncline_testkit::world::World;
use tower::ServiceExt as _;

use super::deployment;
use super::forges::{PROVIDERS, Scene, named};
use crate::api::webhooks::Hook;

const PUBLIC_URL: &str = "https://syncline.example";

/// A world that polls so seldom that nothing is found by it, and is reached from outside.
async fn world() -> World {
    World::configured(Faults::none(), |config| {
        config.poll_interval = Duration::from_secs(3600);
        config.public_url = Some(PUBLIC_URL.to_owned());
    })
    .await
}

/// Makes, or rotates, a link's webhook; the status and the answer.
async fn webhook(scene: &Scene, link: &str, body: Value) -> (u16, Value) {
    scene.world.rest("POST", &format!("/repository-links/{link}/webhook"), &body).await
}

async fn registered(scene: &Scene, link: &str) -> KnownHook {
    let (status, answer) = webhook(scene, link, json!({ "register": true })).await;
    assert_eq!((status, &answer["registered"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer.get("secret"), None, "the forge has it, nobody else needs it");
    let hooks = scene.forge.hooks();
    let found: Vec<_> = hooks.iter().filter(|hook| hook.url == answer["url"]).collect();
    assert_eq!(found.len(), needed(&answer), "{hooks:?}");
    let push = Forge::of_provider_type(answer["providerType"].as_str().expect("a type")).expect("a forge");
    let push = push.events()[0];
    let of_pushes = found.iter().find(|hook| hook.events.iter().any(|event| event == push));
    KnownHook::clone(of_pushes.expect("one that tells of pushes"))
}

/// How many webhooks a forge needs for one of ours: Azure DevOps, one for each event.
fn needed(answer: &Value) -> usize {
    let events = answer["events"].as_array().expect("events").len();
    if answer["providerType"] == "AzureDevOps" { events } else { 1 }
}

/// Delivers a push as the forge does with what it knows of a webhook; the status.
async fn deliver(scene: &Scene, provider_type: &str, known: &KnownHook, id: &str) -> u16 {
    let path = known.url.strip_prefix(PUBLIC_URL).expect("where the server is reached").to_owned();
    let hook = Hook { provider_type: provider_type.to_owned(), path, secret: known.secret.clone() };
    let name = known.repository.strip_prefix("acme/").expect("of acme");
    let (headers, body) = hook.push(name, "main", id);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
    let draft = hook.draft(&hook.secret, &headers, body.to_string().as_bytes());
    let mut request = Request::post(&draft.path);
    for (name, value) in &draft.headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(draft.body)).expect("a request");
    let router = server::router(Arc::clone(&scene.world.parts().front));
    router.oneshot(request).await.expect("infallible").status().as_u16()
}

#[tokio::test]
async fn a_registered_webhook_wakes_its_branch_follows_its_secret_and_leaves_with_its_link() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, world().await).await;
        let link = scene.synced().await;
        let (world, repo) = (&scene.world, &scene.repo);
        let repository = format!("{}/infra", provider.owner);
        scene.forge.add_hook(&repository, "https://ci.example/hook");
        let hook = registered(&scene, &link).await;
        assert_eq!(hook.repository, repository, "{provider:?}");

        repo.commit("prod.yaml", deployment("two")).await;
        assert_eq!(deliver(&scene, provider.name, &hook, "1").await, 202, "{provider:?}");
        world.work().await;
        assert_eq!(world.executions("web"), 2, "{provider:?}");

        // Another secret, not said to be registered: it is all the same.
        let (status, answer) = webhook(&scene, &link, json!({ "overlapSeconds": 0 })).await;
        assert_eq!((status, &answer["registered"]), (200, &json!(true)), "{provider:?}: {answer}");
        assert_eq!(deliver(&scene, provider.name, &hook, "2").await, 401, "{provider:?}");
        let hooks = scene.forge.hooks();
        let newer = hooks.iter().find(|newer| newer.id == hook.id).expect("the same one");
        assert_ne!(newer.secret, hook.secret, "{provider:?}");
        repo.commit("prod.yaml", deployment("three")).await;
        assert_eq!(deliver(&scene, provider.name, newer, "3").await, 202, "{provider:?}");
        world.work().await;
        assert_eq!((world.executions("web"), hooks.len()), (3, needed(&answer) + 1), "{provider:?}");

        // What a person did to it is repaired, and the other webhook is none of our business.
        scene.forge.add_hook(&repository, &hook.url);
        assert_eq!(registered(&scene, &link).await.id, hook.id, "{provider:?}");
        let delete = world.client.delete_sync_configuration();
        let delete = delete.sync_type("CFN_STACK_SYNC".into()).resource_name("web");
        delete.send().await.expect("deleted");
        world.client.delete_repository_link().repository_link_id(&link).send().await.expect("deleted");
        while scene.forge.hooks().len() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.forge.hooks()[0].url, "https://ci.example/hook", "{provider:?}");
    }
}

#[tokio::test]
async fn a_webhook_whose_answer_is_lost_is_registered_once() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, world().await).await;
        let link = scene.synced().await;
        for fault in [Fault::LostAnswer, Fault::HalfAnswer, Fault::Status(502, &[], "down")] {
            scene.forge.fail_at(Method::POST, fault);
            registered(&scene, &link).await;
        }
    }
}

#[tokio::test]
async fn what_a_forge_refuses_is_said_and_can_be_done_by_hand() {
    let scene = Scene::of(named("GitLab"), world().await).await;
    let link = scene.synced().await;
    scene.forge.grant_as(super::forges::CANARY, Grant { login: Some("me".to_owned()), hooks: false });
    let (status, answer) = webhook(&scene, &link, json!({ "register": true })).await;
    assert_eq!((status, &answer["registered"]), (200, &json!(false)), "{answer}");
    let why = answer["registrationError"].as_str().expect("a reason");
    assert!(why.contains("403") && why.contains("Maintainer"), "{why}");
    assert!(answer["secret"].as_str().is_some_and(|secret| !secret.is_empty()), "{answer}");
    assert_eq!(scene.forge.hooks(), []);
    // Once the token may, the next rotation makes up for it.
    scene.forge.grant(super::forges::CANARY, "me");
    let (_, answer) = webhook(&scene, &link, Value::Null).await;
    assert_eq!((&answer["registered"], scene.forge.hooks().len()), (&json!(true), 1), "{answer}");
}

#[tokio::test]
async fn a_webhook_is_not_registered_where_that_makes_no_sense() {
    let refused = async |world: &World, link: &str, words: &str| {
        let path = format!("/repository-links/{link}/webhook");
        let (status, answer) = world.rest("POST", &path, &json!({ "register": true })).await;
        assert_eq!((status, &answer["code"]), (400, &json!("ValidationException")), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(words)), "{answer}");
    };
    let scene = Scene::of(named("GitHub"), World::start().await).await;
    let link = scene.synced().await;
    refused(&scene.world, &link, "--public-url is not set").await;
    assert_eq!(scene.forge.hooks(), []);

    let world = world().await;
    let repo = world.repository("acme/infra").await;
    let connection = world.connect("git", None).await;
    let link = world.link(&connection, &repo).await;
    refused(&world, &link, "type Git have no API").await;

    let scene = Scene::of(named("GitHub"), self::world().await).await;
    let id = scene.connection.rsplit('/').next().expect("an id");
    let (status, answer) =
        scene.world.rest("POST", &format!("/connections/{id}/authorize"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let link = scene.world.link(&scene.connection, &scene.repo).await;
    refused(&scene.world, &link, "without a token").await;
    assert_eq!(scene.forge.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_webhook_is_found_among_many_others() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, world().await).await;
        let link = scene.synced().await;
        let repository = format!("{}/infra", provider.owner);
        // More than any forge shows at once.
        for number in 0..120 {
            scene.forge.add_hook(&repository, &format!("https://ci.example/{number}"));
        }
        let hook = registered(&scene, &link).await;
        assert_eq!(registered(&scene, &link).await.id, hook.id, "{provider:?}");
        let listed = scene.forge.asked().iter().filter(|asked| asked.starts_with("GET ")).count();
        assert!(listed >= 5, "{provider:?}: a look takes several pages: {:?}", scene.forge.asked());
        let others = scene.forge.hooks().iter().filter(|hook| hook.url.starts_with("https://ci.")).count();
        assert_eq!(others, 120, "{provider:?}");
    }
}

#[tokio::test]
async fn of_two_rotations_at_once_the_forge_is_left_with_the_secret_that_counts() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, world().await).await;
        let link = scene.synced().await;
        for _ in 0..3 {
            let rotate = || webhook(&scene, &link, json!({ "overlapSeconds": 0, "register": true }));
            let (one, other, third) = tokio::join!(rotate(), rotate(), rotate());
            for (status, answer) in [one, other, third] {
                assert_eq!((status, &answer["registered"]), (200, &json!(true)), "{provider:?}: {answer}");
            }
            let hooks = scene.forge.hooks();
            let id = hooks[0].url.rsplit('/').next().expect("an id");
            let newest = scene.world.parts().store.newest_webhook_secret(id).await.expect("read");
            let (_, newest) = newest.expect("a secret");
            let of_forge = hooks.iter().map(|hook| hook.secret.as_bytes()).collect::<Vec<_>>();
            let expected = if provider.name == "AzureDevOps" { Forge::AzureDevOps.events().len() } else { 1 };
            assert_eq!(of_forge, vec![newest.expose().as_slice(); expected], "{provider:?}");
        }
    }
}
