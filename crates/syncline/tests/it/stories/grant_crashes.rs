//! A server that dies at every point of getting tokens and of handshakes in a browser: what it leaves behind is gone on with,
//! or says what is to be done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use syncline_seams::{FaultPlan, Injected, Moment, NoFaults};
use syncline_testkit::forge::{Fault, KnownInstallation};

use super::oauth::{self, PROVIDERS};
use super::{deployment, github_apps};

const MINUTE_MS: i64 = 60_000;

/// Lets everything pass up to a point, and nothing from then on: whoever waits for anything is cut off there.
#[derive(Debug, Default)]
struct Deadly {
    point: Mutex<Option<(&'static str, Moment)>>,
    is_dead: AtomicBool,
}

impl Deadly {
    fn set(&self, point: &'static str, moment: Moment) {
        *self.point.lock().expect("no panic") = Some((point, moment));
    }

    /// Does something until it is done or the server is dead; whether it is.
    async fn kills<T>(&self, work: impl Future<Output = T>) -> bool {
        let is_dead = || self.is_dead.load(Ordering::Relaxed);
        tokio::select! {
            _ = work => {}
            () = async { while !is_dead() { tokio::task::yield_now().await } } => {}
        }
        is_dead()
    }
}

impl FaultPlan for Deadly {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        if *self.point.lock().expect("no panic") == Some((point, moment)) {
            self.is_dead.store(true, Ordering::Relaxed);
        }
        self.is_dead.load(Ordering::Relaxed).then_some(Injected::Fail)
    }
}

const MOMENTS: [Moment; 2] = [Moment::Before, Moment::After];

#[tokio::test]
async fn a_server_that_dies_while_it_replaces_a_token_of_oauth_loses_no_more_than_the_forge_took_back() {
    // GitLab takes back what Azure DevOps takes again.
    for provider in [PROVIDERS[0], PROVIDERS[3]] {
        for point in
            ["store.begin_renewal", "forges.refresh_token", "store.record_renewal", "store.record_no_renewal"]
        {
            for moment in MOMENTS {
                let what = format!("{}: {point} {moment:?}", provider.name);
                let deadly = Arc::new(Deadly::default());
                let mut scene = oauth::Scene::of(provider, Arc::clone(&deadly) as Arc<dyn FaultPlan>).await;
                scene.synced().await;
                if point == "store.record_no_renewal" {
                    scene.oauth.fail(Fault::Status(500, &[], "down"));
                }
                scene.world.clock.advance_ms(91 * MINUTE_MS);
                deadly.set(point, moment);
                assert!(deadly.kills(scene.world.parts().worker.tick()).await, "{what}");
                scene.world = scene.world.restart(Arc::new(NoFaults)).await;
                scene.repo.commit("prod.yaml", deployment("two")).await;
                scene.pass(20).await;
                let is_lost = provider.name.starts_with("GitLab")
                    && matches!(
                        (point, moment),
                        ("forges.refresh_token", Moment::After) | ("store.record_renewal", Moment::Before)
                    );
                let status = scene.status().await;
                if is_lost {
                    assert_eq!(status, "ERROR", "{what}");
                    let id = scene.connection.rsplit('/').next().expect("an id");
                    let connection = scene.world.parts().store.connection(&scene.world.scope(), id).await;
                    let why = connection.expect("read").expect("a connection").status_reason;
                    let why = why.unwrap_or_default();
                    assert!(why.contains("authorize the connection again"), "{what}: {why}");
                    let back = scene.authorized().await;
                    assert_eq!(scene.back(&back).await.status, 200, "{what}");
                    scene.pass(20).await;
                }
                assert_eq!(scene.status().await, "AVAILABLE", "{what}");
                let attempts = scene.world.attempts("web", &scene.repo).await;
                assert_eq!(attempts.matches("SUCCEEDED").count(), 2, "{what}: {attempts}");
                scene.are_nowhere();
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_while_it_replaces_a_token_of_an_app_gets_the_next_one() {
    for point in
        ["store.begin_renewal", "forges.mint_token", "store.record_renewal", "store.record_no_renewal"]
    {
        for moment in MOMENTS {
            let what = format!("{point} {moment:?}");
            let deadly = Arc::new(Deadly::default());
            let mut scene = github_apps::Scene::of("GitHub", Arc::clone(&deadly) as Arc<dyn FaultPlan>).await;
            scene.synced().await;
            if point == "store.record_no_renewal" {
                scene.forge.fail_at(http::Method::POST, Fault::Status(500, &[], "down"));
            }
            scene.world.clock.advance_ms(46 * MINUTE_MS);
            deadly.set(point, moment);
            assert!(deadly.kills(scene.world.parts().worker.tick()).await, "{what}");
            scene.world = scene.world.restart(Arc::new(NoFaults)).await;
            scene.repo.commit("prod.yaml", deployment("two")).await;
            scene.pass(20).await;
            assert_eq!(scene.status().await, "AVAILABLE", "{what}");
            let attempts = scene.world.attempts("web", &scene.repo).await;
            assert_eq!(attempts.matches("SUCCEEDED").count(), 2, "{what}: {attempts}");
            scene.are_nowhere(&[]);
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_during_a_handshake_of_oauth_leaves_one_that_can_be_begun_again() {
    for point in ["store.take_handshake", "forges.exchange_code", "store.authorize_with_grant"] {
        for moment in MOMENTS {
            let what = format!("{point} {moment:?}");
            let deadly = Arc::new(Deadly::default());
            let plan = Arc::clone(&deadly) as Arc<dyn FaultPlan>;
            let mut scene = oauth::Scene::of(PROVIDERS[0], plan).await;
            let back = scene.authorized().await;
            deadly.set(point, moment);
            assert!(deadly.kills(scene.back(&back)).await, "{what}");
            scene.world = scene.world.restart(Arc::new(NoFaults)).await;
            let again = scene.back(&back).await.status;
            assert_eq!(again == 200, what == "store.take_handshake Before", "{what}");
            let is_done = again == 200 || what == "store.authorize_with_grant After";
            assert_eq!(scene.status().await, if is_done { "AVAILABLE" } else { "PENDING" }, "{what}");
            if !is_done {
                let back = scene.authorized().await;
                assert_eq!(scene.back(&back).await.status, 200, "{what}");
            }
            scene.sync().await;
            scene.are_nowhere();
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_during_a_handshake_of_an_app_keeps_the_key_that_it_has_stored() {
    for point in [
        "store.take_handshake",
        "forges.convert_manifest",
        "store.continue_handshake",
        "forges.installation",
        "forges.mint_token",
        "store.authorize_with_grant",
    ] {
        for moment in MOMENTS {
            let what = format!("{point} {moment:?}");
            let deadly = Arc::new(Deadly::default());
            let mut scene = github_apps::Scene::of("GitHub", Arc::clone(&deadly) as Arc<dyn FaultPlan>).await;
            let browser = scene.opened(&Value::Null).await;
            let (code, state) = (browser.submit("Acme"), browser.state());
            let is_of_code = ["store.take_handshake", "forges.convert_manifest", "store.continue_handshake"];
            if is_of_code.contains(&point) {
                deadly.set(point, moment);
                assert!(deadly.kills(browser.made(&code, &state)).await, "{what}");
                scene.world = scene.world.restart(Arc::new(NoFaults)).await;
                // Where the App may have been made, its key is lost: it is made anew.
                let browser = scene.opened(&Value::Null).await;
                let (id, state) = browser.app().await;
                scene.forge.install(KnownInstallation::of(90, id, "Acme"));
                assert_eq!(browser.installed(90, &state).await.status, 200, "{what}");
            } else {
                let (id, state) = browser.app().await;
                scene.forge.install(KnownInstallation::of(90, id, "Acme"));
                deadly.set(point, moment);
                assert!(deadly.kills(browser.installed(90, &state)).await, "{what}");
                let cookie = browser.cookie.clone();
                scene.world = scene.world.restart(Arc::new(NoFaults)).await;
                if what != "store.authorize_with_grant After" {
                    let query = format!("installation_id=90&setup_action=install&state={state}");
                    let path = format!("/handshakes/github-app/installed?{query}");
                    let page = scene.world.visit(&path, Some(&cookie)).await;
                    assert_eq!(page.status, 200, "{what}: {}", page.html);
                }
            }
            assert_eq!(scene.status().await, "AVAILABLE", "{what}");
            scene.sync().await;
            scene.are_nowhere(&[]);
        }
    }
}
