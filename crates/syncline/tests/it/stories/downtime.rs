//! What forges told while nobody listened: their deliveries failed, and nothing is lost, whether they come again or not.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use syncline_seams::{Clock, FaultPlan, Faults, Injected, Moment, NoFaults};
use syncline_testkit::forge::Fault;
use syncline_testkit::world::World;
use tokio::net::TcpListener;

use super::deployment;
use super::forges::{PROVIDERS, Scene, named};
use super::previews::commented;

/// How long the server is away, in milliseconds.
const AWAY_MS: i64 = 3 * 3_600_000;

/// How often a world's server asks for heads, in milliseconds.
const POLL_MS: i64 = 60_000;

#[tokio::test]
async fn what_a_forge_told_while_the_server_was_away_is_found_by_looking() {
    for provider in PROVIDERS {
        let scene = commented(*provider, World::start().await).await;
        let (forge, repo) = (&scene.forge, &scene.repo);
        let before = repo.branch("before").await;
        before.commit("prod.yaml", deployment("before")).await;
        let known = forge.open_pull(&before, repo).await;
        scene.world.clock.advance_ms(5 * 60_000);
        scene.world.work().await;
        assert_eq!(forge.comments().len(), 1, "{provider:?}");

        // Two pushes, a pull request that is closed, one that is opened, and one that comes and goes: each was delivered,
        // to nobody.
        repo.commit("prod.yaml", deployment("two")).await;
        repo.commit("prod.yaml", deployment("three")).await;
        forge.set_pull(known, "closed");
        let during = repo.branch("during").await;
        during.commit("prod.yaml", deployment("during")).await;
        forge.open_pull(&during, repo).await;
        let gone = repo.branch("gone").await;
        gone.commit("prod.yaml", deployment("gone")).await;
        let came_and_went = forge.open_pull(&gone, repo).await;
        forge.set_pull(came_and_went, "closed");
        scene.world.clock.advance_ms(AWAY_MS);

        let Scene { world, forge, repo, .. } = scene;
        let world = world.restart(Arc::new(NoFaults)).await;
        let back_ms = world.clock.now_ms();
        world.work().await;
        let took_ms = world.clock.now_ms() - back_ms;
        assert!(took_ms < POLL_MS, "{provider:?}: {took_ms} ms, so nobody waited for an interval of polling");
        let attempts = world.attempts("web", &repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\nSUCCEEDED   commit 4\n", "{provider:?}");
        let mut comments: Vec<_> = forge.comments().into_iter().map(|comment| comment.body).collect();
        comments.sort_by_key(|body| body.contains("DisplayName: during"));
        assert_eq!(comments.len(), 2, "{provider:?}: {comments:#?}");
        assert!(comments[0].contains("**closed without a merge**"), "{provider:?}: {comments:#?}");
        assert!(comments[1].contains("+   DisplayName: during"), "{provider:?}: {comments:#?}");
    }
}

/// The forges that can be asked for what they could not deliver.
const REDELIVERING: [&str; 2] = ["GitHub", "GitHubEnterpriseServer"];

const PUBLIC_URL: &str = "https://syncline.example";
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A synced scene with a registered webhook, whose server is reached no more, and which polls once a day.
async fn unreachable(provider: &str, faults: Arc<dyn FaultPlan>) -> Scene {
    let world = World::configured(faults, |config| {
        config.poll_interval = Duration::from_secs(24 * 3600);
        config.public_url = Some(PUBLIC_URL.to_owned());
    })
    .await;
    let scene = Scene::of(named(provider), world).await;
    let link = scene.synced().await;
    let path = format!("/repository-links/{link}/webhook");
    let (status, answer) = scene.world.rest("POST", &path, &json!({ "register": true })).await;
    assert_eq!((status, &answer["registered"]), (200, &json!(true)), "{answer}");
    is_down(&scene).await;
    scene
}

/// Nobody listens any more where the forge delivers to.
async fn is_down(scene: &Scene) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let nobody = listener.local_addr().expect("the bound address").to_string();
    drop(listener);
    scene.forge.reach(PUBLIC_URL, &nobody, Arc::clone(&scene.world.clock) as Arc<dyn Clock>);
}

/// A push that the forge tells of in vain.
async fn pushed_in_vain(scene: &Scene, title: &str, guid: &str) {
    scene.repo.commit("prod.yaml", deployment(title)).await;
    assert_eq!(scene.forge.push("acme/infra", "main", guid).await, [502]);
}

/// The server is there again, as another process.
async fn is_back(scene: Scene, faults: Arc<dyn FaultPlan>) -> Scene {
    let world = scene.world.restart(faults).await;
    scene.forge.reach(PUBLIC_URL, &world.authority, Arc::clone(&world.clock) as Arc<dyn Clock>);
    Scene { world, ..scene }
}

/// How often the forge was asked to deliver again.
fn attempts_asked(scene: &Scene) -> usize {
    scene
        .forge
        .asked()
        .iter()
        .filter(|asked| asked.starts_with("POST ") && asked.ends_with("/attempts"))
        .count()
}

/// Every try of a delivery: its status, and whether it was asked for.
fn tries(scene: &Scene, guid: &str) -> Vec<(u16, bool)> {
    let all = scene.forge.deliveries();
    all.iter().filter(|one| one.guid == guid).map(|one| (one.status, one.is_redelivery)).collect()
}

async fn synced_to(scene: &Scene) -> String {
    scene.world.attempts("web", &scene.repo).await
}

const BOTH: &str = "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n";

#[tokio::test]
async fn what_github_delivered_to_nobody_is_delivered_again_long_before_a_poll() {
    for provider in REDELIVERING {
        let scene = unreachable(provider, Arc::new(NoFaults)).await;
        scene.world.clock.advance_ms(10 * MINUTE_MS);
        pushed_in_vain(&scene, "two", "guid-1").await;
        scene.world.clock.advance_ms(10 * MINUTE_MS);
        let scene = is_back(scene, Arc::new(NoFaults)).await;
        let back_ms = scene.world.clock.now_ms();
        scene.world.work().await;
        let took_ms = scene.world.clock.now_ms() - back_ms;
        assert!(took_ms < MINUTE_MS, "{provider}: {took_ms} ms, and the next poll is a day away");
        assert_eq!(synced_to(&scene).await, BOTH, "{provider}");
        assert_eq!(tries(&scene, "guid-1"), [(502, false), (202, true)], "{provider}");
        let (_, listed) = scene.world.rest("GET", "/deliveries", &Value::Null).await;
        let received: Vec<_> = listed["deliveries"].as_array().expect("a list").iter().collect();
        assert_eq!((received.len(), &received[0]["forgeDeliveryId"]), (1, &json!("guid-1")), "{listed}");
        assert_eq!(
            (&received[0]["outcome"], &received[0]["duplicates"]),
            (&json!("WOKE"), &json!(0)),
            "{listed}"
        );

        // Somebody presses the button as well: it came, and nothing follows.
        assert_eq!(scene.forge.push("acme/infra", "main", "guid-1").await, [202]);
        let (_, listed) = scene.world.rest("GET", "/deliveries", &Value::Null).await;
        assert_eq!(listed["deliveries"][0]["duplicates"], json!(1), "{listed}");
        assert_eq!(listed["deliveries"].as_array().map(Vec::len), Some(1), "{listed}");

        // It is looked for again and again, and there is nothing to ask for.
        for _ in 0..5 {
            scene.world.clock.advance_ms(HOUR_MS);
            scene.world.work().await;
        }
        assert_eq!(attempts_asked(&scene), 1, "{provider}");
        // One that fails while the process is there is found within the hour.
        is_down(&scene).await;
        pushed_in_vain(&scene, "three", "guid-2").await;
        scene.forge.reach(
            PUBLIC_URL,
            &scene.world.authority,
            Arc::clone(&scene.world.clock) as Arc<dyn Clock>,
        );
        scene.world.clock.advance_ms(HOUR_MS);
        scene.world.work().await;
        assert_eq!(tries(&scene, "guid-2"), [(502, false), (202, true)], "{provider}");
        assert_eq!(synced_to(&scene).await, format!("{BOTH}SUCCEEDED   commit 3\n"), "{provider}");
    }
}

#[tokio::test]
async fn a_refusal_or_a_lost_answer_of_github_loses_nothing_and_asks_for_nothing_twice() {
    // What goes wrong, and how often deliveries are asked for then, of which the forge took two.
    let check = async |method: Method, fault: Fault, asked: usize| {
        let scene = unreachable("GitHub", Arc::new(NoFaults)).await;
        pushed_in_vain(&scene, "two", "guid-1").await;
        pushed_in_vain(&scene, "three", "guid-2").await;
        let scene = is_back(scene, Arc::new(NoFaults)).await;
        let what = format!("{method} {fault:?}");
        scene.forge.fail_at(method, fault);
        for _ in 0..30 {
            scene.world.work().await;
            scene.world.clock.advance_ms(5 * MINUTE_MS);
        }
        assert_eq!(attempts_asked(&scene), asked, "{what}");
        for guid in ["guid-1", "guid-2"] {
            assert_eq!(tries(&scene, guid), [(502, false), (202, true)], "{what}");
        }
        let heads = synced_to(&scene).await;
        assert_eq!(heads, "SUCCEEDED   commit 1\nSUCCEEDED   commit 3\n", "{what}");
    };
    for method in [Method::GET, Method::POST] {
        // Of the second question, the first was asked and refused.
        let once_more = if method == Method::POST { 3 } else { 2 };
        check(method.clone(), Fault::Status(401, &[], "Bad credentials"), once_more).await;
        check(method.clone(), Fault::Status(403, &[], "Resource not accessible"), once_more).await;
        check(method.clone(), Fault::Status(404, &[], "Not Found"), once_more).await;
        check(method.clone(), Fault::Status(422, &[], "spammed"), once_more).await;
        check(method.clone(), Fault::Status(429, &[("retry-after", "600")], "slow down"), once_more).await;
        check(method.clone(), Fault::Status(500, &[], "down"), once_more).await;
        // What was not answered may have been done, and is looked for.
        check(method, Fault::LostAnswer, 2).await;
    }
    check(Method::GET, Fault::Html, 2).await;
}

#[tokio::test]
async fn of_what_failed_the_newest_is_asked_for_and_none_without_end() {
    let scene = unreachable("GitHub", Arc::new(NoFaults)).await;
    for number in 0..130 {
        pushed_in_vain(&scene, &format!("title {number}"), &format!("guid-{number}")).await;
    }
    scene.world.clock.advance_ms(HOUR_MS - MINUTE_MS);
    let scene = is_back(scene, Arc::new(NoFaults)).await;
    scene.world.work().await;
    let again: Vec<_> = scene.forge.deliveries().into_iter().filter(|one| one.is_redelivery).collect();
    let guids: Vec<_> = again.iter().map(|one| one.guid.clone()).collect();
    let newest: Vec<_> = (80..130).rev().map(|number| format!("guid-{number}")).collect();
    assert_eq!(guids, newest);
    let pages = scene.forge.asked().iter().filter(|asked| asked.contains("/deliveries?")).count();
    assert_eq!(pages, 2, "130 are on two pages");
    for _ in 0..5 {
        scene.world.clock.advance_ms(HOUR_MS);
        scene.world.work().await;
    }
    assert_eq!(attempts_asked(&scene), 50, "a poll finds what the others told of");

    // One that never arrives is asked for three times, and no more.
    is_down(&scene).await;
    pushed_in_vain(&scene, "never", "guid-never").await;
    for _ in 0..10 {
        scene.world.clock.advance_ms(HOUR_MS);
        scene.world.work().await;
    }
    assert_eq!(tries(&scene, "guid-never"), [(502, false), (502, true), (502, true), (502, true)]);
}

#[tokio::test]
async fn a_crash_while_deliveries_are_asked_for_neither_loses_nor_repeats_them() {
    let points = [
        ("store.begin_redeliveries", Moment::Before),
        ("store.begin_redeliveries", Moment::After),
        ("forges.redeliver", Moment::Before),
        ("forges.redeliver", Moment::After),
        ("store.record_hook_look", Moment::Before),
        ("store.record_hook_look", Moment::After),
    ];
    for (point, moment) in points {
        let scene = unreachable("GitHub", Arc::new(NoFaults)).await;
        pushed_in_vain(&scene, "two", "guid-1").await;
        let faults = Faults::none();
        let scene = is_back(scene, Arc::clone(&faults) as _).await;
        faults.inject(point, moment, Injected::Fail, 1);
        scene.world.tick().await;
        assert_eq!(faults.struck(), 1, "{point} {moment:?}");
        let scene = is_back(scene, Arc::new(NoFaults)).await;
        for _ in 0..4 {
            scene.world.work().await;
            scene.world.clock.advance_ms(5 * MINUTE_MS);
        }
        assert_eq!(tries(&scene, "guid-1"), [(502, false), (202, true)], "{point} {moment:?}");
        assert_eq!(synced_to(&scene).await, BOTH, "{point} {moment:?}");
    }
}
