//! GitHub Apps: made in a browser or brought, and their tokens, which last an hour.

use std::sync::Arc;

use serde_json::{Value, json};
use syncline_seams::{Clock, Faults, Injected, Moment, NoFaults};
use syncline_testkit::forge::{APP_KEY, Fault, ForgeDouble, Issued, KnownInstallation, OTHER_KEY};
use syncline_testkit::repository::Repository;
use syncline_testkit::rest::Page;
use syncline_testkit::world::World;

use super::forges::is_nowhere;
use super::{deployment, template};

const MINUTE_MS: i64 = 60_000;
const PUBLIC: &str = "https://syncline.example";

/// A world with a GitHub that issues tokens, and a PENDING connection to it.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) forge: ForgeDouble,
    pub(super) issued: Arc<Issued>,
    pub(super) repo: Repository,
    pub(super) connection: String,
}

impl Scene {
    pub(super) async fn of(provider_type: &str, faults: Arc<dyn syncline_seams::FaultPlan>) -> Self {
        let world = World::configured(faults, |config| config.public_url = Some(PUBLIC.to_owned())).await;
        let forge = ForgeDouble::on(&world.git, provider_type);
        let issued = Issued::by(Arc::clone(&world.clock) as Arc<dyn Clock>);
        forge.issue(&issued);
        let repo = world.repository("acme/infra").await;
        repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
        repo.require_issued("x-access-token", &issued);
        forge.add_repository("acme/infra");
        forge.add_app(7);
        forge.install(KnownInstallation::of(70, 7, "Acme"));
        let endpoint = (provider_type != "GitHub").then(|| world.git.endpoint());
        let connection = world.connection_of("forge", provider_type, endpoint.as_deref()).await;
        Self { world, forge, issued, repo, connection }
    }

    async fn github() -> Self {
        Self::of("GitHub", Arc::new(NoFaults)).await
    }

    fn path(&self, rest: &str) -> String {
        format!("/connections/{}{rest}", self.connection.rsplit('/').next().expect("an id"))
    }

    /// Brings an App that exists.
    async fn bring(&self, app: u64, installation: u64, owner: &str, key: &str) -> (u16, Value) {
        let body = json!({ "appId": app, "installationId": installation, "owner": owner, "privateKey": key });
        let (status, answer) = self.world.rest("POST", &self.path("/github-app"), &body).await;
        assert!(!canaries(key).iter().any(|line| answer.to_string().contains(line)), "{answer}");
        (status, answer)
    }

    pub(super) async fn status(&self) -> String {
        self.world.connection_status(&self.connection).await
    }

    /// Syncs the repository.
    pub(super) async fn synced(&self) {
        let (status, answer) = self.bring(7, 70, "acme", APP_KEY).await;
        assert_eq!((status, &answer["connectionStatus"]), (200, &json!("AVAILABLE")), "{answer}");
        self.sync().await;
    }

    pub(super) async fn sync(&self) {
        let link = self.world.link(&self.connection, &self.repo).await;
        self.world.sync(&link, "web", "main", "prod.yaml").await;
        self.world.settle().await;
        let (attempts, blockers) =
            (self.world.attempts("web", &self.repo).await, self.world.blockers("web").await);
        assert_eq!(attempts, "SUCCEEDED   commit 1\n", "{blockers}");
    }

    /// Lets time pass as it does for a server that is up.
    pub(super) async fn pass(&self, minutes: i64) {
        for _ in 0..minutes {
            self.world.settle().await;
        }
    }

    pub(super) fn are_nowhere(&self, more: &[&str]) {
        let secrets = [canaries(APP_KEY), self.issued.all()].concat();
        for secret in secrets.iter().map(String::as_str).chain(more.iter().copied()) {
            is_nowhere(&self.world, secret);
        }
    }

    /// Begins the handshake, and opens it: what the browser sees first.
    pub(super) async fn opened(&self, body: &Value) -> Browser<'_> {
        let (status, begun) = self.world.rest("POST", &self.path("/github-app/manifest"), body).await;
        assert_eq!(status, 200, "{begun}");
        let url = begun["url"].as_str().expect("a URL");
        let ticket = url.strip_prefix(PUBLIC).expect("at the public URL").to_owned();
        let page = self.world.visit(&ticket, None).await;
        assert_eq!(page.status, 200, "{}", page.html);
        let cookie = page.cookie().expect("a cookie");
        Browser { scene: self, ticket, cookie, page }
    }
}

/// Lines of a key that are in no other.
fn canaries(key: &str) -> Vec<String> {
    key.lines().skip(1).step_by(8).map(str::to_owned).collect()
}

/// A browser in the middle of a handshake.
pub(super) struct Browser<'s> {
    scene: &'s Scene,
    ticket: String,
    pub(super) cookie: String,
    page: Page,
}

/// A parameter of a URL's query.
pub(super) fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').expect("a query").1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("{name} is not in {url}")).to_owned()
}

impl Browser<'_> {
    pub(super) fn state(&self) -> String {
        parameter(&self.page.attribute("action"), "state")
    }

    /// Sends the form to GitHub; the code that it hands back.
    pub(super) fn submit(&self, owner: &str) -> String {
        self.scene.forge.take_manifest(&self.page.attribute("value"), owner)
    }

    async fn visit(&self, path: &str) -> Page {
        self.scene.world.visit(path, Some(&self.cookie)).await
    }

    pub(super) async fn made(&self, code: &str, state: &str) -> Page {
        self.visit(&format!("/handshakes/github-app/made?code={code}&state={state}")).await
    }

    pub(super) async fn installed(&self, installation: u64, state: &str) -> Page {
        let query = format!("installation_id={installation}&setup_action=install&state={state}");
        self.visit(&format!("/handshakes/github-app/installed?{query}")).await
    }

    /// Makes the App; its id, and the state of the next step.
    pub(super) async fn app(&self) -> (u64, String) {
        let page = self.made(&self.submit("Acme"), &self.state()).await;
        assert_eq!(page.status, 200, "{}", page.html);
        let id = *self.scene.forge.apps().last().expect("an App");
        (id, parameter(&page.attribute("href"), "state"))
    }
}

/// Nothing of a page may run, be kept, be framed, or tell the next site where it was.
fn is_safe(page: &Page) {
    let header =
        |name: &str| page.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(header("content-security-policy").starts_with("default-src 'none'; base-uri 'none'; frame-"));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(header(name), value, "{name}");
    }
    assert!(!page.html.contains("<script") && !page.html.contains("style="), "{}", page.html);
}

fn is_over(page: &Page, what: &str) {
    is_safe(page);
    assert_eq!(page.status, 400, "{what}: {}", page.html);
    assert!(page.html.contains("this handshake is over"), "{what}: {}", page.html);
}

#[tokio::test]
async fn an_app_that_exists_authorizes_a_connection_whose_pushes_are_synced() {
    for provider_type in ["GitHub", "GitHubEnterpriseServer"] {
        let scene = Scene::of(provider_type, Arc::new(NoFaults)).await;
        scene.synced().await;
        scene.repo.commit("prod.yaml", deployment("two")).await;
        scene.world.settle().await;
        let attempts = scene.world.attempts("web", &scene.repo).await;
        assert_eq!(attempts, "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n");
        scene.are_nowhere(&[]);
    }
}

#[tokio::test]
async fn an_app_is_taken_only_with_its_key_where_it_is_installed_for_the_owner_that_is_named() {
    let scene = Scene::github().await;
    let refused = async |(status, answer): (u16, Value), words: &str| {
        assert_eq!((status, answer["code"].as_str()), (400, Some("ValidationException")), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(words)), "{answer}");
        assert_eq!(scene.status().await, "PENDING");
    };
    refused(scene.bring(7, 70, "acme", "no key").await, "no RSA private key").await;
    refused(scene.bring(7, 70, "acme", OTHER_KEY).await, "refuses the token").await;
    refused(scene.bring(8, 70, "acme", APP_KEY).await, "refuses the token").await;
    refused(scene.bring(7, 71, "acme", APP_KEY).await, "not there").await;
    refused(scene.bring(7, 70, "somebody", APP_KEY).await, "not of the account somebody").await;
    refused(scene.bring(7, 70, "", APP_KEY).await, "owner").await;
    // That of another App, whose id anybody can know.
    scene.forge.add_app(9);
    refused(scene.bring(9, 70, "acme", APP_KEY).await, "not there").await;
    scene.forge.change_installations(|installation| installation.is_suspended = true);
    refused(scene.bring(7, 70, "acme", APP_KEY).await, "suspended").await;
    scene.forge.change_installations(|installation| {
        installation.is_suspended = false;
        installation.permissions = json!({ "metadata": "read" });
    });
    refused(scene.bring(7, 70, "acme", APP_KEY).await, "contents of repositories").await;
    assert_eq!(scene.issued.all().len(), 0, "no token was made");

    let gitlab = scene.world.connection_of("lab", "GitLab", None).await;
    let id = gitlab.rsplit('/').next().expect("an id");
    let body = json!({ "appId": 7, "installationId": 70, "owner": "acme", "privateKey": APP_KEY });
    let path = format!("/connections/{id}/github-app");
    refused(scene.world.rest("POST", &path, &body).await, "not GitLab").await;
    scene.are_nowhere(&[]);
}

#[tokio::test]
async fn a_token_is_replaced_once_before_it_runs_out() {
    let scene = Scene::github().await;
    scene.synced().await;
    assert_eq!(scene.issued.all().len(), 1);
    scene.pass(43).await;
    assert_eq!(scene.issued.all().len(), 1);
    scene.pass(3).await;
    assert_eq!(scene.issued.all().len(), 2);
    // Several look for work in the same moment.
    scene.world.clock.advance_ms(45 * MINUTE_MS);
    let turns = tokio::join!(scene.world.tick(), scene.world.tick(), scene.world.tick(), scene.world.tick());
    assert!(turns.0 || turns.1 || turns.2 || turns.3, "there was work");
    scene.world.settle().await;
    assert_eq!(scene.issued.all().len(), 3);
    for hour in 0..4 {
        scene.repo.commit("prod.yaml", deployment(&format!("of {hour}"))).await;
        scene.pass(60).await;
        assert_eq!(scene.status().await, "AVAILABLE");
    }
    let tokens = scene.issued.all().len();
    assert!((8..=9).contains(&tokens), "{tokens} tokens in five and a half hours");
    let attempts = scene.world.attempts("web", &scene.repo).await;
    assert_eq!(attempts.lines().filter(|line| line.starts_with("SUCCEEDED")).count(), 5, "{attempts}");
    scene.are_nowhere(&[]);
}

#[tokio::test]
async fn after_a_long_sleep_the_next_token_comes_before_the_first_question() {
    let scene = Scene::github().await;
    scene.synced().await;
    scene.repo.commit("prod.yaml", deployment("two")).await;
    scene.world.clock.advance_ms(5 * 60 * MINUTE_MS);
    scene.world.settle().await;
    assert_eq!(scene.status().await, "AVAILABLE");
    assert_eq!(
        scene.world.attempts("web", &scene.repo).await,
        "SUCCEEDED   commit 1\nSUCCEEDED   commit 2\n"
    );
    let refused = scene.world.git.requests().iter().filter(|request| request.status == Some(401)).count();
    assert_eq!(refused, 0, "nobody was asked with a token that had run out");
}

#[tokio::test]
async fn a_connection_is_in_error_while_its_app_gets_no_token_and_recovers_by_itself() {
    let scene = Scene::github().await;
    scene.synced().await;
    type Change = fn(&ForgeDouble);
    let cases: &[(&str, Change, Change)] = &[
        (
            "suspended",
            |forge| forge.change_installations(|installation| installation.is_suspended = true),
            |forge| forge.change_installations(|installation| installation.is_suspended = false),
        ),
        (
            "not there",
            |forge| forge.change_installations(|installation| installation.id = 1),
            |forge| forge.change_installations(|installation| installation.id = 70),
        ),
        ("refuses the token", ForgeDouble::forget_apps, |forge| {
            forge.add_app(7);
            forge.install(KnownInstallation::of(70, 7, "Acme"));
        }),
    ];
    for (number, (words, breaks, mends)) in cases.iter().enumerate() {
        breaks(&scene.forge);
        scene.pass(70).await;
        assert_eq!(scene.status().await, "ERROR", "{words}");
        let blockers = scene.world.blockers("web").await;
        assert!(blockers.starts_with("ACTIVE ") && blockers.contains(words), "{words}: {blockers}");
        let asked = scene.forge.asked().len();
        scene.pass(60).await;
        let asked = scene.forge.asked().len() - asked;
        assert!((3..=8).contains(&asked), "{words}: asked {asked} times in an hour");
        mends(&scene.forge);
        scene.repo.commit("prod.yaml", deployment(&format!("after {words}"))).await;
        scene.pass(20).await;
        assert_eq!(scene.status().await, "AVAILABLE", "{words}");
        let attempts = scene.world.attempts("web", &scene.repo).await;
        assert_eq!(attempts.matches("SUCCEEDED").count(), number + 2, "{words}: {attempts}");
    }
    scene.are_nowhere(&[]);
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_replaced_and_one_that_is_refused_at_once_is_not_over_and_over() {
    let scene = Scene::github().await;
    scene.synced().await;
    scene.pass(10).await;
    scene.issued.revoke();
    scene.pass(3).await;
    assert_eq!((scene.status().await.as_str(), scene.issued.all().len()), ("AVAILABLE", 2));
    // The Git side takes none, whatever the API says.
    let nothing = Issued::by(Arc::clone(&scene.world.clock) as Arc<dyn Clock>);
    scene.repo.require_issued("x-access-token", &nothing);
    scene.pass(40).await;
    assert_eq!(scene.status().await, "ERROR");
    let tokens = scene.issued.all().len();
    assert!((3..=11).contains(&tokens), "{tokens}");
    scene.repo.require_issued("x-access-token", &scene.issued);
    scene.pass(20).await;
    assert_eq!(scene.status().await, "AVAILABLE");
}

#[tokio::test]
async fn whatever_goes_wrong_once_while_a_token_is_replaced_is_no_loss() {
    let faults = Faults::none();
    let scene = Scene::of("GitHub", faults.clone()).await;
    scene.synced().await;
    let mut commits = 1;
    let mut goes_on = async |what: &str| {
        commits += 1;
        scene.repo.commit("prod.yaml", deployment(&format!("{commits}"))).await;
        scene.world.clock.advance_ms(40 * MINUTE_MS);
        scene.pass(14).await;
        assert_eq!(scene.status().await, "AVAILABLE", "{what}");
        let attempts = scene.world.attempts("web", &scene.repo).await;
        assert_eq!(attempts.matches("SUCCEEDED").count(), commits, "{what}: {attempts}");
        assert!(scene.issued.all().len() >= commits, "{what}: a token was got");
    };
    for fault in [
        Fault::Status(403, &[("retry-after", "60")], "limit"),
        Fault::Status(429, &[], "limit"),
        Fault::Status(500, &[], "down"),
        Fault::Html,
        Fault::LostAnswer,
        Fault::HalfAnswer,
    ] {
        scene.forge.fail_at(http::Method::POST, fault.clone());
        goes_on(&format!("{fault:?}")).await;
    }
    for point in ["forges.mint_token", "store.begin_renewal", "store.record_renewal"] {
        for moment in [Moment::Before, Moment::After] {
            for injected in [Injected::Fail, Injected::TimeOut] {
                faults.inject(point, moment, injected, 1);
                goes_on(&format!("{point} {moment:?} {injected:?}")).await;
            }
        }
    }
    for moment in [Moment::Before, Moment::After] {
        scene.forge.fail_at(http::Method::POST, Fault::Status(500, &[], "down"));
        faults.inject("store.record_no_renewal", moment, Injected::Fail, 1);
        goes_on(&format!("store.record_no_renewal {moment:?}")).await;
    }
    scene.are_nowhere(&[]);
}

#[tokio::test]
async fn an_app_is_made_and_installed_in_a_browser() {
    for (provider_type, body, settings, apps) in [
        ("GitHub", Value::Null, "/settings/apps/new?", "/apps/app-"),
        (
            "GitHubEnterpriseServer",
            json!({ "organization": "acme" }),
            "/organizations/acme/settings/apps/new?",
            "/github-apps/app-",
        ),
    ] {
        let scene = Scene::of(provider_type, Arc::new(NoFaults)).await;
        let browser = scene.opened(&body).await;
        is_safe(&browser.page);
        let set = browser.page.headers["set-cookie"].to_str().expect("a text");
        assert!(
            set.starts_with("__Host-")
                && set.ends_with("; Path=/; Max-Age=1200; HttpOnly; SameSite=Lax; Secure")
        );
        let (git, action) = (scene.world.git.endpoint(), browser.page.attribute("action"));
        assert!(action.starts_with(&format!("{git}{settings}")), "{action}");
        let policy = browser.page.headers["content-security-policy"].to_str().expect("a text");
        assert!(policy.ends_with(&format!("form-action {git}")), "{policy}");
        // A page that is loaded again goes on; another browser's does not.
        let again = browser.visit(&browser.ticket).await;
        assert_eq!((again.status, again.cookie()), (200, None));
        is_over(&scene.world.visit(&browser.ticket, None).await, "another browser");
        let browser = Browser { page: again, ..browser };

        let state = browser.state();
        let code = browser.submit("Acme");
        let page = browser.made(&code, &state).await;
        is_safe(&page);
        assert_eq!(page.status, 200, "{}", page.html);
        let install = page.attribute("href");
        assert!(install.starts_with(&format!("{git}{apps}")), "{install}");
        assert_eq!(scene.status().await, "PENDING");
        is_over(&browser.made(&code, &state).await, "the state a second time");

        let id = *scene.forge.apps().last().expect("an App");
        scene.forge.install(KnownInstallation::of(90, id, "Acme"));
        let page = browser.installed(90, &parameter(&install, "state")).await;
        is_safe(&page);
        assert!(page.status == 200 && page.html.contains("is AVAILABLE"), "{}", page.html);
        assert_eq!(scene.status().await, "AVAILABLE");
        scene.sync().await;
        scene.pass(60).await;
        assert_eq!(scene.status().await, "AVAILABLE");
        let asked = scene.forge.asked();
        let exchanged = asked.iter().filter(|asked| asked.contains("/conversions")).count();
        assert_eq!(exchanged, 1, "{asked:?}");
        let ticket = browser.ticket.rsplit('/').next().expect("a ticket");
        let cookie = browser.cookie.split_once('=').expect("a value").1;
        scene.are_nowhere(&[
            &code,
            &state,
            ticket,
            cookie,
            "canary-client-secret-of-an-app",
            "canary-webhook-secret-of-an-app",
        ]);
    }
}

#[tokio::test]
async fn a_state_is_good_for_its_browser_for_ten_minutes_and_once() {
    let scene = Scene::github().await;
    let browser = scene.opened(&Value::Null).await;
    let (code, state) = (browser.submit("Acme"), browser.state());
    let wrong = format!("{}=x", browser.cookie.split_once('=').expect("a name").0);
    for (what, path, cookie) in [
        ("no state", format!("/handshakes/github-app/made?code={code}"), Some(browser.cookie.as_str())),
        ("another state", format!("/handshakes/github-app/made?code={code}&state=x"), Some(&browser.cookie)),
        ("no cookie", format!("/handshakes/github-app/made?code={code}&state={state}"), None),
        ("another cookie", format!("/handshakes/github-app/made?code={code}&state={state}"), Some(&wrong)),
        (
            "another step",
            format!("/handshakes/github-app/installed?installation_id=1&state={state}"),
            Some(&browser.cookie),
        ),
        ("no ticket", "/handshakes/x".to_owned(), None),
    ] {
        is_over(&scene.world.visit(&path, cookie).await, what);
    }
    assert_eq!(scene.forge.asked().len(), 0, "nothing was exchanged");
    scene.world.clock.advance_ms(10 * MINUTE_MS);
    is_over(&browser.made(&code, &state).await, "too late");
    is_over(&browser.visit(&browser.ticket).await, "opened too late");

    // The newest handshake is the only one.
    let old = scene.opened(&Value::Null).await;
    let browser = scene.opened(&Value::Null).await;
    is_over(&old.made(&old.submit("Acme"), &old.state()).await, "an older one");
    let (_, state) = browser.app().await;
    scene.world.clock.advance_ms(10 * MINUTE_MS);
    is_over(&browser.installed(90, &state).await, "installed too late");
    assert_eq!(scene.status().await, "PENDING");
}

#[tokio::test]
async fn a_browser_is_not_believed_what_was_installed() {
    for (what, installation, account, words) in [
        ("of another App", 70, "Acme", "not there"),
        ("of another account", 90, "somebody", "not of the account Acme"),
        ("of nobody", 91, "Acme", "not there"),
    ] {
        let scene = Scene::github().await;
        let browser = scene.opened(&Value::Null).await;
        let (id, state) = browser.app().await;
        scene.forge.install(KnownInstallation::of(90, id, account));
        let page = browser.installed(installation, &state).await;
        is_safe(&page);
        assert!(page.status == 400 && page.html.contains(words), "{what}: {}", page.html);
        assert_eq!((scene.status().await.as_str(), scene.issued.all().len()), ("PENDING", 0), "{what}");
        // The key is kept for whoever installs it where it was meant to be.
        scene.forge.change_installations(|installation| installation.account = "Acme".to_owned());
        let page = browser.installed(90, &state).await;
        assert!(page.status == 200 && page.html.contains("is AVAILABLE"), "{what}: {}", page.html);
        is_over(&browser.installed(90, &state).await, what);
    }
}

#[tokio::test]
async fn an_installation_is_looked_at_again_until_the_connection_is_authorized() {
    let faults = Faults::none();
    for provider_type in ["GitHub", "GitHubEnterpriseServer"] {
        let scene = Scene::of(provider_type, faults.clone()).await;
        let browser = scene.opened(&Value::Null).await;
        let (id, state) = browser.app().await;
        scene.forge.install(KnownInstallation::of(90, id, "Acme"));
        let refused = async |what: &str, status: u16, words: &str| {
            let page = browser.installed(90, &state).await;
            is_safe(&page);
            assert!(page.status == status && page.html.contains(words), "{what}: {}", page.html);
            assert_eq!(scene.status().await, "PENDING", "{what}");
        };
        for fault in [Fault::Status(500, &[], "down"), Fault::Html, Fault::LostAnswer, Fault::HalfAnswer] {
            // A question whose answer is lost is asked again.
            if fault != Fault::LostAnswer {
                scene.forge.fail(fault.clone());
                refused(&format!("{fault:?}"), 400, "try again").await;
            }
            scene.forge.fail_at(http::Method::POST, fault.clone());
            refused(&format!("{fault:?} of the token"), 400, "try again").await;
        }
        for point in ["forges.installation", "forges.mint_token"] {
            for moment in [Moment::Before, Moment::After] {
                for injected in [Injected::Fail, Injected::TimeOut] {
                    faults.inject(point, moment, injected, 1);
                    refused(&format!("{point} {moment:?} {injected:?}"), 400, "try again").await;
                }
            }
        }
        for injected in [Injected::Fail, Injected::TimeOut] {
            faults.inject("store.authorize_with_grant", Moment::Before, injected, 1);
            refused(&format!("not stored: {injected:?}"), 503, "try again").await;
        }
        let path = format!("/handshakes/github-app/installed?setup_action=request&state={state}");
        let page = browser.visit(&path).await;
        assert!(page.status == 400 && page.html.contains("make another private key"), "{}", page.html);
        let page = browser.installed(90, &state).await;
        assert!(page.status == 200 && page.html.contains("is AVAILABLE"), "{}", page.html);
        scene.sync().await;
        scene.are_nowhere(&[]);
    }
}

#[tokio::test]
async fn a_code_is_exchanged_once_whatever_comes_of_it() {
    let faults = Faults::none();
    let scene = Scene::of("GitHub", faults.clone()).await;
    let refused = async |what: &str, status: u16, words: &str| {
        let browser = scene.opened(&Value::Null).await;
        let (code, state) = (browser.submit("Acme"), browser.state());
        let page = browser.made(&code, &state).await;
        is_safe(&page);
        assert!(page.status == status && page.html.contains(words), "{what}: {}", page.html);
        is_over(&browser.made(&code, &state).await, what);
        assert_eq!(scene.status().await, "PENDING", "{what}");
    };
    let lost = "delete the App in its settings, and begin again";
    let cases: &[(Fault, &str)] = &[
        (Fault::Status(401, &[], "<b>no</b>"), "&lt;b&gt;no&lt;/b&gt;"),
        (Fault::Status(404, &[], "Not Found"), "not there"),
        (Fault::Status(422, &[], "bad"), "422"),
        (Fault::Status(429, &[], "slow"), "fewer requests"),
        (Fault::Status(500, &[], "down"), lost),
        (Fault::Html, lost),
        (Fault::LostAnswer, lost),
        (Fault::HalfAnswer, lost),
    ];
    for (fault, words) in cases {
        scene.forge.fail(fault.clone());
        refused(&format!("{fault:?}"), 400, words).await;
    }
    for (moment, injected) in [(Moment::Before, Injected::TimeOut), (Moment::After, Injected::Fail)] {
        faults.inject("forges.convert_manifest", moment, injected, 1);
        refused(&format!("{injected:?}"), 400, lost).await;
    }
    for injected in [Injected::Fail, Injected::TimeOut] {
        faults.inject("store.continue_handshake", Moment::Before, injected, 1);
        refused("not stored", 503, "its key is lost").await;
    }
    let exchanged = scene.forge.asked().iter().filter(|asked| asked.contains("/conversions")).count();
    assert_eq!(exchanged, cases.len() + 3, "each code once");
    scene.are_nowhere(&["canary-code-"]);
}

#[tokio::test]
async fn a_host_that_moves_during_a_handshake_ends_it() {
    let scene = Scene::of("GitHubEnterpriseServer", Arc::new(NoFaults)).await;
    let hosts = scene.world.client.list_hosts().send().await.expect("hosts");
    let host = hosts.hosts()[0].host_arn().expect("an ARN").to_owned();
    let moved = async |endpoint: &str| {
        let update = scene.world.client.update_host().host_arn(&host).provider_endpoint(endpoint);
        update.send().await.expect("moved");
    };
    let browser = scene.opened(&Value::Null).await;
    let (code, state) = (browser.submit("Acme"), browser.state());
    moved("https://elsewhere.example").await;
    is_over(&browser.made(&code, &state).await, "elsewhere");
    assert_eq!(scene.forge.asked().len(), 0, "the code was sent nowhere");
    moved(&scene.world.git.endpoint()).await;
    let browser = scene.opened(&Value::Null).await;
    let (id, state) = browser.app().await;
    scene.forge.install(KnownInstallation::of(90, id, "Acme"));
    // Only the path is another: the credential stays, what is under way does not.
    moved(&format!("{}/github", scene.world.git.endpoint())).await;
    let page = browser.installed(90, &state).await;
    assert!(page.status == 400 && page.html.contains("nothing was stored"), "{}", page.html);
    assert_eq!(scene.status().await, "PENDING");
}

#[tokio::test]
async fn a_handshake_needs_a_public_url_and_a_connection_of_github() {
    let scene = Scene::github().await;
    let gitlab = scene.world.connection_of("lab", "GitLab", None).await;
    let id = gitlab.rsplit('/').next().expect("an id").to_owned();
    let begin = async |id: &str, body: Value| {
        scene.world.rest("POST", &format!("/connections/{id}/github-app/manifest"), &body).await
    };
    let (status, answer) = begin(&id, Value::Null).await;
    assert!(status == 400 && answer.to_string().contains("not GitLab"), "{answer}");
    assert_eq!(begin("none", Value::Null).await.0, 404);
    let own = scene.connection.rsplit('/').next().expect("an id");
    let (status, answer) = begin(own, json!({ "organization": "a/../b" })).await;
    assert!(status == 400 && answer.to_string().contains("letters, digits"), "{answer}");
    let world = World::start().await;
    let connection = world.connection_of("forge", "GitHub", None).await;
    let id = connection.rsplit('/').next().expect("an id");
    let (status, answer) =
        world.rest("POST", &format!("/connections/{id}/github-app/manifest"), &Value::Null).await;
    assert!(status == 400 && answer.to_string().contains("--public-url is not set"), "{answer}");
}

#[tokio::test]
async fn what_a_repository_s_webhook_failed_to_deliver_is_asked_for_with_an_installation_s_token() {
    let scene = Scene::github().await;
    scene.synced().await;
    let links = scene.world.client.list_repository_links().send().await.expect("links");
    let link = links.repository_links()[0].repository_link_id().to_owned();
    let path = format!("/repository-links/{link}/webhook");
    let (status, answer) = scene.world.rest("POST", &path, &json!({ "register": true })).await;
    assert_eq!((status, &answer["registered"]), (200, &json!(true)), "{answer}");
    // The forge reaches nobody there.
    let clock = Arc::clone(&scene.world.clock) as Arc<dyn Clock>;
    scene.forge.reach("https://elsewhere.example", "127.0.0.1:9", Arc::clone(&clock));
    assert_eq!(scene.forge.push("acme/infra", "main", "guid-1").await, [502]);
    scene.forge.reach(PUBLIC, &scene.world.authority, clock);
    scene.pass(65).await;
    let tries: Vec<_> = scene.forge.deliveries().iter().map(|one| (one.status, one.is_redelivery)).collect();
    assert_eq!(tries, [(502, false), (202, true)]);
}
