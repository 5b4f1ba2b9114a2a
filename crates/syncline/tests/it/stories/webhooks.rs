//! Pushes that a webhook tells of.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hmac::{Hmac, Mac as _};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use sha2::Sha256;
use syncline::server;
use syncline_seams::{FaultPlan, Faults, Injected, Moment};
use syncline_store::{Change, NewWebhookSecret, Owner, Page, webhook_secret_owner};
use syncline_testkit::repository::Repository;
use syncline_testkit::world::{ACCOUNT, World};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{deployment, template};

/// An hour.
const POLL_MS: i64 = 3_600_000;

/// Gives the link's webhook a secret whose text is `secret`; the webhook's id.
async fn hook(world: &World, link: &str, secret: &str, overlap_ms: i64) -> String {
    let store = &world.parts().store;
    let id = Uuid::new_v4().to_string();
    let arn = webhook_secret_owner(&id);
    let sealed =
        store.keyring().seal(&Owner { account: ACCOUNT, arn: &arn }, secret.as_bytes()).expect("sealed");
    let new =
        NewWebhookSecret { webhook_id: Uuid::new_v4().to_string(), id, sealed, overlap_ms, register: false };
    let rotated = store.rotate_webhook(&world.scope(), link, new, Change::unrecorded()).await;
    rotated.expect("written").expect("a link").webhook_id
}

/// Delivers a push; the status, and what came of it.
async fn deliver(world: &World, hook: &str, secret: &str, id: &str) -> (u16, String) {
    let body = format!("{{\"told\": \"{id}\"}}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let request = Request::post(format!("/webhooks/{hook}"))
        .header("x-hub-signature-256", format!("sha256={digits}"))
        .header("x-delivery-id", id)
        .body(Body::from(body))
        .expect("a request");
    let response = server::router(Arc::clone(&world.parts().front)).oneshot(request).await;
    let (parts, body) = response.expect("infallible").into_parts();
    let body = body.collect().await.expect("in memory").to_bytes();
    let value: Value = serde_json::from_slice(&body).expect("JSON");
    (parts.status.as_u16(), value["outcome"].as_str().unwrap_or_default().to_owned())
}

fn woke() -> (u16, String) {
    (202, "WOKE".to_owned())
}

/// A world that polls so seldom that nothing is found by it unless a story waits for it.
async fn seldom_polling(plan: Arc<dyn FaultPlan>) -> World {
    World::configured(plan, |config| config.poll_interval = Duration::from_millis(POLL_MS.unsigned_abs()))
        .await
}

/// A world whose sync `web` of the repository's `main` is at rest, the link of both, and a webhook of the link.
async fn told(world: World) -> (World, Repository, String, String) {
    let repo = world.repository("acme/infra").await;
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    let link = world.create_sync("web", &repo, "main", "prod.yaml").await;
    world.settle().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n");
    let hook = hook(&world, &link, "secret", 0).await;
    (world, repo, link, hook)
}

#[tokio::test]
async fn a_push_that_a_webhook_tells_of_is_synced_before_the_next_poll() {
    let (world, repo, _, hook) = told(seldom_polling(Faults::none()).await).await;
    repo.commit("prod.yaml", deployment("two")).await;
    world.work().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\n", "no poll is due yet");
    assert_eq!(deliver(&world, &hook, "secret", "1").await, woke());
    world.work().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
    assert_eq!(world.executions("web"), 2);
}

#[tokio::test]
async fn what_a_webhook_tells_a_hundred_times_or_long_after_is_synced_once() {
    let (world, repo, _, hook) = told(seldom_polling(Faults::none()).await).await;
    repo.commit("prod.yaml", deployment("two")).await;
    assert_eq!(deliver(&world, &hook, "secret", "the same").await, woke());
    for _ in 1..100 {
        assert_eq!(deliver(&world, &hook, "secret", "the same").await, (202, "DUPLICATE".to_owned()));
    }
    world.work().await;
    world.git.clear_log();
    // Late, and about what was synced long ago: a look that finds nothing new.
    assert_eq!(deliver(&world, &hook, "secret", "another").await, woke());
    world.work().await;
    assert!(!world.git.requests().is_empty(), "it was looked at");
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
    assert_eq!(world.executions("web"), 2);
    // The poll goes on all the same, for what no webhook tells.
    repo.commit("prod.yaml", deployment("three")).await;
    world.clock.advance_ms(POLL_MS);
    world.work().await;
    assert_eq!(world.executions("web"), 3);
}

#[tokio::test]
async fn a_replayed_delivery_has_the_branch_looked_at_again() {
    let (world, repo, _, hook) = told(seldom_polling(Faults::none()).await).await;
    assert_eq!(deliver(&world, &hook, "secret", "1").await, woke());
    world.work().await;
    repo.commit("prod.yaml", deployment("two")).await;
    let store = &world.parts().store;
    let page = Page { after: None, limit: 10 };
    let delivery = store.deliveries(&world.scope(), None, &page).await.expect("read").items.remove(0);
    let replayed = store.replay_delivery(&world.scope(), &delivery.id, Change::unrecorded()).await;
    assert_eq!(replayed.expect("written").expect("a delivery").woken, ["main"]);
    world.work().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
}

#[tokio::test]
async fn pushes_are_told_of_with_the_old_secret_until_its_overlap_ends_and_never_with_another_s() {
    let (world, repo, link, first) = told(seldom_polling(Faults::none()).await).await;
    let second = hook(&world, &link, "second", POLL_MS).await;
    assert_eq!(first, second);
    let theirs =
        world.create_sync_of("222222222222", "theirs", &world.git.endpoint(), ("acme", "infra")).await;
    // Theirs has a webhook of its own, whose secret is good for nothing else.
    let scope =
        syncline_store::Scope { account: "222222222222".parse().expect("an account"), ..world.scope() };
    let store = &world.parts().store;
    let id = Uuid::new_v4().to_string();
    let arn = webhook_secret_owner(&id);
    let sealed =
        store.keyring().seal(&Owner { account: "222222222222", arn: &arn }, b"theirs").expect("sealed");
    let new =
        NewWebhookSecret { webhook_id: "theirs".to_owned(), id, sealed, overlap_ms: 0, register: false };
    store.rotate_webhook(&scope, &theirs, new, Change::unrecorded()).await.expect("written");
    let refused = (401, String::new());
    assert_eq!(deliver(&world, &first, "theirs", "0").await, refused);
    assert_eq!(deliver(&world, "theirs", "second", "0").await, refused);

    repo.commit("prod.yaml", deployment("two")).await;
    assert_eq!(deliver(&world, &first, "secret", "1").await, woke());
    world.work().await;
    assert_eq!(world.executions("web"), 2);
    world.clock.advance_ms(POLL_MS);
    world.work().await;
    repo.commit("prod.yaml", deployment("three")).await;
    assert_eq!(deliver(&world, &first, "secret", "2").await, refused);
    assert_eq!(deliver(&world, &first, "second", "3").await, woke());
    world.work().await;
    assert_eq!(world.executions("web"), 3);
}

#[tokio::test]
async fn a_crash_between_the_commit_and_the_answer_loses_nothing() {
    let faults = Faults::none();
    let (world, repo, _, hook) = told(seldom_polling(Arc::clone(&faults) as _).await).await;
    repo.commit("prod.yaml", deployment("two")).await;
    faults.inject("store.accept_delivery", Moment::After, Injected::Fail, 1);
    assert_eq!(deliver(&world, &hook, "secret", "1").await.0, 503, "the answer is lost");
    let world = world.restart(Faults::none()).await;
    assert_eq!(deliver(&world, &hook, "secret", "1").await, (202, "DUPLICATE".to_owned()));
    world.work().await;
    assert_eq!(world.attempts("web", &repo).await, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");

    // Before the commit nothing is there, and the forge is told so.
    repo.commit("prod.yaml", deployment("three")).await;
    let faults = Faults::none();
    let world = world.restart(Arc::clone(&faults) as _).await;
    faults.inject("store.accept_delivery", Moment::Before, Injected::Fail, 1);
    assert_eq!(deliver(&world, &hook, "secret", "2").await.0, 503);
    assert_eq!(deliver(&world, &hook, "secret", "2").await, woke());
    world.work().await;
    assert_eq!(world.executions("web"), 3);
}
