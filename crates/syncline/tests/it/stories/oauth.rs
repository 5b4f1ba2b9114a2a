//! OAuth: a browser authorizes, and tokens are replaced before they run out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use syncline_seams::{Clock, FaultPlan, Faults, Injected, Moment, NoFaults};
use syncline_testkit::forge::{CLIENT_ID, CLIENT_SECRET, Fault, ForgeDouble, Issued, OAuthDouble, TENANT};
use syncline_testkit::repository::Repository;
use syncline_testkit::rest::Page;
use syncline_testkit::world::World;

use super::forges::is_nowhere;
use super::{deployment, template};

const MINUTE_MS: i64 = 60_000;
const PUBLIC: &str = "https://syncline.example";
const BACK: &str = "/handshakes/oauth";

/// One provider type, and what is its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider {
    pub(super) name: &'static str,
    owner: &'static str,
    has_host: bool,
    /// The user that Git is asked as; none where it is asked with a bearer token.
    git_user: &'static str,
}

pub(super) const PROVIDERS: &[Provider] = &[
    Provider { name: "GitLab", owner: "acme/sub", has_host: false, git_user: "oauth2" },
    Provider { name: "GitLabSelfManaged", owner: "acme/sub", has_host: true, git_user: "oauth2" },
    Provider { name: "Bitbucket", owner: "acme", has_host: false, git_user: "x-token-auth" },
    Provider { name: "AzureDevOps", owner: "acme/shop", has_host: false, git_user: "" },
];

/// A world with a forge and a PENDING connection to it.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) forge: ForgeDouble,
    pub(super) oauth: OAuthDouble,
    pub(super) issued: Arc<Issued>,
    pub(super) repo: Repository,
    pub(super) connection: String,
    pub(super) provider: Provider,
}

/// What a browser has in hand when the forge sends it back.
pub(super) struct Back {
    ticket: String,
    cookie: String,
    code: String,
    state: String,
}

impl Scene {
    pub(super) async fn of(provider: Provider, faults: Arc<dyn FaultPlan>) -> Self {
        let world = World::configured(faults, |config| config.public_url = Some(PUBLIC.to_owned())).await;
        let forge = ForgeDouble::on(&world.git, provider.name);
        let issued = Issued::by(Arc::clone(&world.clock) as Arc<dyn Clock>);
        forge.issue(&issued);
        let oauth = OAuthDouble::on(&world.git, provider.name, &issued, &format!("{PUBLIC}{BACK}"));
        let full_name = format!("{}/infra", provider.owner);
        let repo = world.repository(&full_name).await;
        repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
        repo.require_issued(provider.git_user, &issued);
        forge.add_repository(&full_name);
        let endpoint = provider.has_host.then(|| world.git.endpoint());
        let connection = world.connection_of("forge", provider.name, endpoint.as_deref()).await;
        Self { world, forge, oauth, issued, repo, connection, provider }
    }

    fn application(&self) -> Value {
        let mut body = json!({ "clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET });
        if self.provider.name == "AzureDevOps" {
            body["tenant"] = json!(TENANT);
            body["organization"] = json!("acme");
        }
        body
    }

    async fn begin(&self, body: &Value) -> (u16, Value) {
        self.begin_for(&self.connection, body).await
    }

    async fn begin_for(&self, connection: &str, body: &Value) -> (u16, Value) {
        let id = connection.rsplit('/').next().expect("an id");
        let (status, begun) = self.world.rest("POST", &format!("/connections/{id}/oauth"), body).await;
        assert!(!begun.to_string().contains("canary"), "{begun}");
        (status, begun)
    }

    /// Begins the handshake and authorizes the application, up to what the browser comes back with.
    pub(super) async fn authorized(&self) -> Back {
        let (status, begun) = self.begin(&self.application()).await;
        assert_eq!((status, &begun["redirectUri"]), (200, &json!(format!("{PUBLIC}{BACK}"))), "{begun}");
        let url = begun["url"].as_str().expect("a URL");
        let ticket = url.strip_prefix(PUBLIC).expect("at the public URL").to_owned();
        let page = self.world.visit(&ticket, None).await;
        is_safe(&page, 200);
        let (code, state) = self.oauth.authorize(&page.attribute("href"));
        Back { ticket, cookie: page.cookie().expect("a cookie"), code, state }
    }

    pub(super) async fn back(&self, back: &Back) -> Page {
        let path = format!("{BACK}?code={}&state={}", back.code, back.state);
        self.world.visit(&path, Some(&back.cookie)).await
    }

    pub(super) async fn status(&self) -> String {
        self.world.connection_status(&self.connection).await
    }

    pub(super) async fn synced(&self) {
        let back = self.authorized().await;
        let page = self.back(&back).await;
        is_safe(&page, 200);
        assert!(page.html.contains("is AVAILABLE, as deploy-bot"), "{}", page.html);
        self.sync().await;
        let ticket = back.ticket.rsplit('/').next().expect("a ticket");
        let cookie = back.cookie.split_once('=').expect("a value").1;
        for secret in [ticket, cookie, &back.code, &back.state] {
            is_nowhere(&self.world, secret);
        }
    }

    pub(super) async fn sync(&self) {
        let link = self.world.link(&self.connection, &self.repo).await;
        self.world.sync(&link, "web", "main", "prod.yaml").await;
        self.world.settle().await;
        let (attempts, blockers) =
            (self.world.attempts("web", &self.repo).await, self.world.blockers("web").await);
        assert_eq!(attempts, "SUCCEEDED   commit 1\n", "{:?}: {blockers}", self.provider);
    }

    pub(super) async fn pass(&self, minutes: i64) {
        for _ in 0..minutes {
            self.world.settle().await;
        }
    }

    pub(super) fn are_nowhere(&self) {
        for secret in [self.issued.all(), self.oauth.refresh_tokens()].concat() {
            is_nowhere(&self.world, &secret);
        }
        is_nowhere(&self.world, CLIENT_SECRET);
    }
}

fn is_safe(page: &Page, status: u16) {
    assert_eq!(page.status, status, "{}", page.html);
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
        ),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.headers[name], value, "{name}");
    }
    assert!(!page.html.contains("canary-secret") && !page.html.contains("canary-issued"), "{}", page.html);
}

fn is_over(page: &Page, what: &str) {
    is_safe(page, 400);
    assert!(page.html.contains("this handshake is over"), "{what}: {}", page.html);
}

#[tokio::test]
async fn every_forge_with_oauth_is_connected_in_a_browser_and_its_pushes_are_synced_for_hours() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, Arc::new(NoFaults)).await;
        scene.synced().await;
        for number in 2..5 {
            scene.repo.commit("prod.yaml", deployment(&format!("{number}"))).await;
            scene.world.clock.advance_ms(80 * MINUTE_MS);
            scene.pass(15).await;
            assert_eq!(scene.status().await, "AVAILABLE", "{provider:?}");
            let attempts = scene.world.attempts("web", &scene.repo).await;
            assert_eq!(attempts.matches("SUCCEEDED").count(), number, "{provider:?}: {attempts}");
        }
        assert_eq!(scene.oauth.counts(), (1, 3), "{provider:?}: each token was replaced once");
        let refused = scene.world.git.requests().iter().filter(|request| request.status == Some(401)).count();
        assert_eq!(refused, 0, "{provider:?}");
        scene.are_nowhere();
    }
}

#[tokio::test]
async fn two_turns_at_once_replace_a_token_once() {
    let scene = Scene::of(PROVIDERS[0], Arc::new(NoFaults)).await;
    scene.synced().await;
    for round in 1..4 {
        scene.world.clock.advance_ms(91 * MINUTE_MS);
        let world = &scene.world;
        let worked = tokio::join!(world.tick(), world.tick(), world.tick());
        assert!(worked.0 || worked.1 || worked.2);
        world.settle().await;
        assert_eq!(scene.oauth.counts(), (1, round));
        assert_eq!(scene.status().await, "AVAILABLE");
    }
}

#[tokio::test]
async fn a_state_is_good_for_its_browser_for_ten_minutes_and_once() {
    let scene = Scene::of(PROVIDERS[0], Arc::new(NoFaults)).await;
    let back = scene.authorized().await;
    let (code, state) = (&back.code, &back.state);
    let path = format!("{BACK}?code={code}&state={state}");
    let wrong = format!("{}=x", back.cookie.split_once('=').expect("a name").0);
    for (what, path, cookie) in [
        ("no state", format!("{BACK}?code={code}"), Some(back.cookie.as_str())),
        ("another state", format!("{BACK}?code={code}&state=x"), Some(&back.cookie)),
        ("no cookie", path.clone(), None),
        ("another cookie", path, Some(&wrong)),
        (
            "another step",
            format!("/handshakes/github-app/made?code={code}&state={state}"),
            Some(&back.cookie),
        ),
    ] {
        is_over(&scene.world.visit(&path, cookie).await, what);
    }
    scene.world.clock.advance_ms(10 * MINUTE_MS);
    is_over(&scene.back(&back).await, "too late");
    assert_eq!((scene.oauth.counts(), scene.status().await.as_str()), ((0, 0), "PENDING"));
    let back = scene.authorized().await;
    is_safe(&scene.back(&back).await, 200);
    is_over(&scene.back(&back).await, "a second time");
    assert_eq!(scene.oauth.counts(), (1, 0));
    // What somebody else began takes nothing from what is there.
    let back = scene.authorized().await;
    let description = format!("The+user%0Adenied+%3Cit%3E{}", "+!".repeat(300));
    let denied = format!("{BACK}?error=access_denied&error_description={description}&state={}", back.state);
    let page = scene.world.visit(&denied, Some(&back.cookie)).await;
    is_safe(&page, 400);
    let words = "was not authorized, so nothing was stored: access_denied: The user denied &lt;it&gt; ! !";
    assert!(page.html.contains(words) && page.html.matches('!').count() < 150, "{}", page.html);
    is_over(&scene.back(&back).await, "after it was denied");
    assert_eq!(scene.status().await, "AVAILABLE");
}

/// Goes on with everything else until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handshake_is_completed_when_its_browser_has_gone_away_and_when_it_takes_long() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, Arc::new(NoFaults)).await;
        let back = scene.authorized().await;
        scene.oauth.hold(true);
        tokio::select! {
            page = scene.back(&back) => panic!("{}", page.html),
            () = until(|| scene.oauth.counts() == (1, 0)) => {}
        }
        scene.oauth.hold(false);
        let mut looks = 0;
        while scene.status().await != "AVAILABLE" {
            looks += 1;
            assert!(looks < 2_000, "{provider:?}");
        }
        is_over(&scene.back(&back).await, "it is complete");

        let back = scene.authorized().await;
        scene.oauth.hold(true);
        let (page, ()) = tokio::join!(scene.back(&back), async {
            until(|| scene.oauth.counts() == (2, 0)).await;
            scene.world.clock.advance_ms(MINUTE_MS);
            tokio::task::yield_now().await;
            scene.oauth.hold(false);
        });
        is_safe(&page, 200);
    }
}

#[tokio::test]
async fn a_browser_is_in_several_handshakes_at_once() {
    let scene = Scene::of(PROVIDERS[0], Arc::new(NoFaults)).await;
    let other = scene.world.connection_of("another", "GitLab", None).await;
    let (mut jar, mut backs) = (BTreeMap::new(), Vec::new());
    let cookies = |jar: &BTreeMap<String, String>| {
        jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    };
    for connection in [&scene.connection, &other] {
        let (_, begun) = scene.begin_for(connection, &scene.application()).await;
        let ticket = begun["url"].as_str().expect("a URL").strip_prefix(PUBLIC).expect("at it").to_owned();
        let page = scene.world.visit(&ticket, Some(&cookies(&jar))).await;
        let cookie = page.cookie().expect("a cookie");
        let (name, value) = cookie.split_once('=').expect("a value");
        jar.insert(name.to_owned(), value.to_owned());
        backs.push(scene.oauth.authorize(&page.attribute("href")));
    }
    for (code, state) in backs {
        let path = format!("{BACK}?code={code}&state={state}");
        is_safe(&scene.world.visit(&path, Some(&cookies(&jar))).await, 200);
    }
    for connection in [&scene.connection, &other] {
        assert_eq!(scene.world.connection_status(connection).await, "AVAILABLE");
    }
}

#[tokio::test]
async fn who_may_have_opened_a_handshake_opens_it_again() {
    let faults = Faults::none();
    let scene = Scene::of(PROVIDERS[0], faults.clone()).await;
    for (moment, injected) in [(Moment::Before, Injected::Fail), (Moment::After, Injected::TimeOut)] {
        let (_, begun) = scene.begin(&scene.application()).await;
        let ticket = begun["url"].as_str().expect("a URL").strip_prefix(PUBLIC).expect("at it").to_owned();
        faults.inject("store.open_handshake", moment, injected, 1);
        let page = scene.world.visit(&ticket, None).await;
        is_safe(&page, 503);
        let cookie = page.cookie().expect("a cookie");
        let page = scene.world.visit(&ticket, Some(&cookie)).await;
        is_safe(&page, 200);
        let cookie = page.cookie().unwrap_or(cookie);
        let (code, state) = scene.oauth.authorize(&page.attribute("href"));
        let path = format!("{BACK}?code={code}&state={state}");
        is_safe(&scene.world.visit(&path, Some(&cookie)).await, 200);
    }
}

#[tokio::test]
async fn a_code_is_exchanged_once_whatever_comes_of_it() {
    let faults = Faults::none();
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, faults.clone()).await;
        let refused = async |what: &str, words: &str| {
            let back = scene.authorized().await;
            let page = scene.back(&back).await;
            is_safe(&page, 400);
            assert!(page.html.contains(words), "{what}: {}", page.html);
            assert!(!page.html.contains(&back.code), "{what}: {}", page.html);
            is_over(&scene.back(&back).await, what);
            assert_eq!(scene.status().await, "PENDING", "{what}");
        };
        let cases: &[(Fault, &str)] = &[
            (Fault::Status(401, &[], "<b>no</b>"), "&lt;b&gt;no&lt;/b&gt; "),
            (Fault::Status(404, &[], "you sent"), "you sent"),
            (Fault::Status(422, &[], "you sent"), "***"),
            (Fault::Status(429, &[], "you sent"), "fewer requests"),
            (Fault::Status(500, &[], "you sent"), "cannot be asked"),
            (Fault::Html, "no JSON"),
            (Fault::LostAnswer, "cannot be asked"),
            (Fault::HalfAnswer, "cannot be asked"),
        ];
        for (fault, words) in cases {
            scene.oauth.fail(fault.clone());
            refused(&format!("{provider:?}: {fault:?}"), words).await;
        }
        faults.inject("forges.exchange_code", Moment::After, Injected::TimeOut, 1);
        refused("no answer", "cannot be asked").await;
        // The token that it got is not good.
        scene.forge.fail(Fault::Status(401, &[], "no"));
        refused("a bad token", "does not confirm the token").await;
        scene.are_nowhere();
        is_nowhere(&scene.world, "canary-code");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_ends_in_an_error_or_in_a_token_and_never_in_a_loop() {
    for provider in PROVIDERS {
        for fault in [Fault::LostAnswer, Fault::HalfAnswer] {
            let scene = Scene::of(*provider, Arc::new(NoFaults)).await;
            scene.synced().await;
            scene.oauth.fail(fault.clone());
            scene.world.clock.advance_ms(89 * MINUTE_MS);
            scene.pass(60).await;
            let what = format!("{provider:?}, {fault:?}");
            if !provider.name.starts_with("GitLab") {
                // The grant before it is still one.
                assert_eq!(
                    (scene.status().await.as_str(), scene.oauth.counts()),
                    ("AVAILABLE", (1, 2)),
                    "{what}"
                );
                continue;
            }
            assert_eq!((scene.status().await.as_str(), scene.oauth.counts()), ("ERROR", (1, 1)), "{what}");
            let blockers = scene.world.blockers("web").await;
            for words in ["ACTIVE ", "was lost", "authorize the connection again"] {
                assert!(blockers.contains(words), "{what}: '{words}' is not in {blockers}");
            }
            let requests = scene.world.git.received();
            scene.pass(60).await;
            assert_eq!(scene.world.git.received(), requests, "{what}: nobody is asked any more");
            let page = scene.back(&scene.authorized().await).await;
            is_safe(&page, 200);
            scene.repo.commit("prod.yaml", deployment("two")).await;
            scene.pass(2).await;
            assert_eq!(scene.status().await, "AVAILABLE", "{what}");
            let attempts = scene.world.attempts("web", &scene.repo).await;
            assert_eq!(attempts.matches("SUCCEEDED").count(), 2, "{what}: {attempts}");
            scene.are_nowhere();
        }
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_for_a_moment_costs_no_grant() {
    let faults = Faults::none();
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, faults.clone()).await;
        scene.synced().await;
        let mut refreshed = 0;
        for point in ["store.begin_renewal", "store.record_renewal"] {
            for moment in [Moment::Before, Moment::After] {
                for injected in [Injected::Fail, Injected::TimeOut] {
                    let struck = faults.struck();
                    faults.inject(point, moment, injected, 1);
                    scene.world.clock.advance_ms(89 * MINUTE_MS);
                    scene.pass(3).await;
                    refreshed += 1;
                    let what = format!("{provider:?}: {point} {moment:?} {injected:?}");
                    assert_eq!(faults.struck(), struck + 1, "{what}");
                    let found = (scene.status().await, scene.oauth.counts());
                    assert_eq!(found, ("AVAILABLE".to_owned(), (1, refreshed)), "{what}");
                }
            }
        }
        scene.are_nowhere();
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_for_a_moment_does_not_cut_off_who_waits_for_a_forge() {
    let faults = Faults::none();
    let scene = Scene::of(PROVIDERS[0], faults.clone()).await;
    scene.synced().await;
    scene.world.clock.advance_ms(91 * MINUTE_MS);
    scene.oauth.hold(true);
    faults.inject("store.renew", Moment::Before, Injected::Fail, 1);
    tokio::join!(scene.world.tick(), async {
        until(|| scene.oauth.counts() == (1, 1)).await;
        // The lease lasts 15 seconds, and is renewed every five.
        scene.world.clock.advance_ms(6_000);
        until(|| faults.struck() > 0).await;
        // What is written after it is answered after it.
        scene.world.connection_of("another", "GitHub", None).await;
        scene.oauth.hold(false);
    });
    scene.pass(20).await;
    assert_eq!((scene.status().await.as_str(), scene.oauth.counts()), ("AVAILABLE", (1, 1)));
}

#[tokio::test]
async fn a_connection_is_in_error_while_its_application_is_refused_and_recovers_where_it_can() {
    for provider in PROVIDERS {
        let scene = Scene::of(*provider, Arc::new(NoFaults)).await;
        scene.synced().await;
        // What passes is waited for.
        for fault in [Fault::Status(500, &[], "down"), Fault::Html, Fault::Status(429, &[], "slow")] {
            scene.oauth.fail(fault);
        }
        scene.world.clock.advance_ms(89 * MINUTE_MS);
        scene.pass(15).await;
        assert_eq!(
            (scene.status().await.as_str(), scene.oauth.counts()),
            ("AVAILABLE", (1, 1)),
            "{provider:?}"
        );
        // An application that is refused may be mended at the forge.
        for _ in 0..3 {
            scene.oauth.fail(Fault::Status(401, &[], "no such application"));
        }
        scene.world.clock.advance_ms(89 * MINUTE_MS);
        scene.pass(3).await;
        assert_eq!(scene.status().await, "ERROR", "{provider:?}");
        scene.pass(20).await;
        assert_eq!(
            (scene.status().await.as_str(), scene.oauth.counts()),
            ("AVAILABLE", (1, 2)),
            "{provider:?}"
        );
        // Whoever authorized it takes that back.
        scene.oauth.revoke();
        scene.issued.revoke();
        scene.repo.commit("prod.yaml", deployment("two")).await;
        scene.pass(20).await;
        assert_eq!(scene.status().await, "ERROR", "{provider:?}");
        is_safe(&scene.back(&scene.authorized().await).await, 200);
        scene.pass(20).await;
        assert_eq!(scene.status().await, "AVAILABLE", "{provider:?}");
        let attempts = scene.world.attempts("web", &scene.repo).await;
        assert_eq!(attempts.matches("SUCCEEDED").count(), 2, "{provider:?}: {attempts}");
        scene.are_nowhere();
    }
}

#[tokio::test]
async fn an_application_is_refused_where_it_makes_no_sense() {
    let refused = async |provider: Provider, change: &dyn Fn(&mut Value), words: &str| {
        let scene = Scene::of(provider, Arc::new(NoFaults)).await;
        let mut body = scene.application();
        change(&mut body);
        let (status, answer) = scene.begin(&body).await;
        assert!(status == 400 && answer.to_string().contains(words), "{status}: {answer}");
    };
    let azure = PROVIDERS[3];
    refused(azure, &|body| body["tenant"] = Value::Null, "name the tenant").await;
    refused(azure, &|body| body["tenant"] = json!("a/../b"), "name the tenant").await;
    refused(azure, &|body| body["organization"] = Value::Null, "good for one organization").await;
    refused(PROVIDERS[0], &|body| body["tenant"] = json!("x"), "only Azure DevOps").await;
    refused(PROVIDERS[0], &|body| body["organization"] = json!("x"), "only Azure DevOps").await;
    refused(PROVIDERS[0], &|body| body["clientId"] = json!("a b"), "clientId").await;
    refused(PROVIDERS[0], &|body| body["clientSecret"] = json!(""), "clientSecret").await;
    let world =
        World::configured(Arc::new(NoFaults), |config| config.public_url = Some(PUBLIC.to_owned())).await;
    let connection = world.connection_of("forge", "GitHub", None).await;
    let id = connection.rsplit('/').next().expect("an id");
    let body = json!({ "clientId": "a", "clientSecret": "b" });
    let (status, answer) = world.rest("POST", &format!("/connections/{id}/oauth"), &body).await;
    assert!(status == 400 && answer.to_string().contains("not GitHub"), "{answer}");
}

#[tokio::test]
async fn a_host_that_moves_during_a_handshake_ends_it() {
    let scene = Scene::of(PROVIDERS[1], Arc::new(NoFaults)).await;
    let back = scene.authorized().await;
    let hosts = scene.world.client.list_hosts().send().await.expect("hosts");
    let update = scene.world.client.update_host().host_arn(hosts.hosts()[0].host_arn().expect("an ARN"));
    let elsewhere = format!("{}/gitlab", scene.world.git.endpoint());
    update.provider_endpoint(elsewhere).send().await.expect("moved");
    let page = scene.back(&back).await;
    is_safe(&page, 400);
    assert!(page.html.contains("nothing was stored"), "{}", page.html);
    assert_eq!((scene.oauth.counts(), scene.status().await.as_str()), ((0, 0), "PENDING"));
}
