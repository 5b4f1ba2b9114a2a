//! Where nothing leads out but an HTTP proxy: forges, Git and receivers are reached through it alone.

use std::sync::Arc;

use serde_json::json;
use syncline_git::Proxy as Through;
use syncline_seams::{NoFaults, Secret, VirtualClock};
use syncline_testkit::proxy::{Proxy, ProxyFault};
use syncline_testkit::receiver::Receiver;
use syncline_testkit::world::World;

use super::deployment;
use super::forges::{CANARY, Scene, is_nowhere, named};

const LOGIN: &str = "out:canary-5d0f-password-of-a-proxy@";
const PASSWORD: &str = "canary-5d0f-password-of-a-proxy";

async fn behind(proxy: &Proxy, login: &str) -> World {
    let url = Secret::new(proxy.url(login));
    World::configured(Arc::new(NoFaults), |config| {
        config.egress_proxy = Some(Through::parse(&url).expect("a proxy"));
    })
    .await
}

#[tokio::test]
async fn forges_git_and_receivers_are_reached_through_the_proxy_alone() {
    for name in ["GitHub", "GitLabSelfManaged", "Gitea"] {
        let proxy = Proxy::start().await;
        proxy.require_login("out", PASSWORD);
        let scene = Scene::of(named(name), behind(&proxy, LOGIN).await).await;
        let world = &scene.world;
        let receiver = Receiver::on(&world.git, Arc::<VirtualClock>::clone(&world.clock), "chat");
        let target = json!({ "name": "chat", "kind": "SLACK", "url": receiver.url() });
        let (status, made) = world.rest("POST", "/notification-targets", &target).await;
        assert_eq!(status, 200, "{made}");
        scene.synced().await;
        let (forge, chat) = (scene.forge.asked().len(), receiver.delivered().len());
        assert!(forge > 0 && chat > 0, "{name}: {forge} {chat}");
        let asked = proxy.asked();
        let through = format!("CONNECT {}", world.git.address());
        assert!(asked.iter().all(|one| *one == through), "{asked:?}");
        assert_eq!(asked.len(), world.git.connections(), "{name}: nobody came by another way");
        is_nowhere(world, PASSWORD);
    }
}

#[tokio::test]
async fn a_proxy_that_fails_delays_and_loses_nothing() {
    let proxy = Proxy::start().await;
    let scene = Scene::of(named("GitLab"), behind(&proxy, "").await).await;
    scene.synced().await;
    // Kept connections would not ask the proxy; the host's end of them goes.
    for fault in [ProxyFault::Status(503), ProxyFault::Status(407), ProxyFault::Close] {
        scene.world.git.close_connections();
        (0..3).for_each(|_| proxy.fail(fault));
        let before = proxy.asked().len();
        scene.repo.commit("prod.yaml", deployment(&format!("{fault:?}").replace(['(', ')'], ""))).await;
        scene.world.settle().await;
        scene.world.settle().await;
        assert!(proxy.asked().len() >= before + 3, "{fault:?}: {:?}", proxy.asked());
        let attempts = scene.world.attempts("web", &scene.repo).await;
        assert!(attempts.lines().all(|line| line.starts_with("SUCCEEDED")), "{fault:?}: {attempts}");
    }
    assert_eq!(scene.world.attempts("web", &scene.repo).await.lines().count(), 4);
}

#[tokio::test]
async fn whoever_hands_a_token_over_is_told_that_the_proxy_is_in_the_way() {
    for (fault, expect) in [
        (None, "407"),
        (Some(ProxyFault::Status(403)), "403"),
        (Some(ProxyFault::Close), "closed the connection"),
    ] {
        let proxy = Proxy::start().await;
        let login = if fault.is_none() { LOGIN } else { "" };
        match fault {
            None => proxy.require_login("out", "another"),
            Some(fault) => proxy.fail(fault),
        }
        let scene = Scene::of(named("GitHub"), behind(&proxy, login).await).await;
        let (status, answer) = scene.authorize(CANARY).await;
        let told = answer.to_string();
        assert!(status >= 400 && told.contains("egress proxy") && told.contains(expect), "{status} {told}");
        assert!(!told.contains(PASSWORD), "{told}");
        assert_eq!(scene.forge.asked().len(), 0, "the token was not sent");
        // It is not held against the token.
        assert_eq!(scene.world.connection_status(&scene.connection).await, "PENDING");
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_holds_up_nobody_but_who_asked() {
    let proxy = Proxy::start().await;
    let scene = Scene::of(named("GitLab"), behind(&proxy, "").await).await;
    scene.synced().await;
    let Scene { world, repo, .. } = scene;
    let world = Arc::new(world);
    let target =
        json!({ "name": "chat", "kind": "SLACK", "url": format!("{}/nobody", world.git.endpoint()) });
    assert_eq!(world.rest("POST", "/notification-targets", &target).await.0, 200);
    world.git.close_connections();
    let before = proxy.asked().len();
    proxy.fail(ProxyFault::Hang);
    let testing = Arc::clone(&world);
    let hanging =
        tokio::spawn(
            async move { testing.rest("POST", "/notification-targets/chat/test", &json!({})).await },
        );
    while proxy.asked().len() == before {
        tokio::task::yield_now().await;
    }
    repo.commit("prod.yaml", deployment("two")).await;
    let heads = world.git.requests().len();
    while world.attempts("web", &repo).await.lines().count() < 2 {
        world.clock.advance_ms(60_000);
        world.tick().await;
    }
    assert!(world.git.requests().len() > heads, "it was read meanwhile");
    // Who asked is told in time, by the clock that was moved.
    let (status, answer) = hanging.await.expect("an answer");
    assert_eq!((status, &answer["code"]), (503, &json!("InternalServerException")), "{answer}");
}
