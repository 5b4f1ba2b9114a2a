//! Forges that know what they are asked, and nothing else: doubles of their REST APIs, with faults on demand.
//!
//! A double stands beside a [`GitHost`], on the same port, so that one `ProviderEndpoint` has both sides as the real ones do.
//! **It is strict**: a path, a method or a body that its forge would not understand, and a missing header that it wants,
//! fails the test that asked, when the double is dropped.
//!
//! What is asked for is in a file for each topic: its routes are added in `routes`, and what it remembers to `Memory`.

mod accounts;
mod apps;
mod deliveries;
mod hooks;
mod issued;
mod oauth;
mod pulls;
mod statuses;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use syncline_forges::Forge;
use syncline_forges::rest::{Endpoint, Endpoints};

use crate::git_host::{GitHost, Halved, Lost};

pub use apps::{APP_KEY, KnownInstallation, OTHER_KEY};
pub use deliveries::KnownDelivery;
pub use hooks::KnownHook;
pub use issued::Issued;
pub use oauth::{CLIENT_ID, CLIENT_SECRET, OAuthDouble, TENANT, TOKEN_MS};
pub use pulls::{KnownComment, KnownPull};
pub use statuses::{KnownDeployment, KnownStatus};

/// What a forge does with the next request instead of what it should, or after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status, with these headers and the forge's own form of a message.
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Answers 200 with a page for people.
    Html,
    /// Does what was asked, and sends half of the answer.
    HalfAnswer,
    /// Does what was asked, and closes the connection instead of answering.
    LostAnswer,
    /// Takes the request, and never answers.
    Hang,
}

/// What a token may do at a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is; `None` for one that may not ask.
    pub login: Option<String>,
    /// Whether it may manage webhooks.
    pub hooks: bool,
}

/// What a double remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    grants: BTreeMap<String, Grant>,
    pub(crate) apps: apps::Apps,
    repositories: BTreeSet<String>,
    pub(crate) hooks: Vec<KnownHook>,
    pub(crate) deliveries: Vec<KnownDelivery>,
    pub(crate) reach: Option<deliveries::Reach>,
    pub(crate) pulls: Vec<KnownPull>,
    pub(crate) comments: Vec<KnownComment>,
    /// Whether the next comment is made only before the one after it, and its request answered 502.
    pub(crate) is_comment_delayed: bool,
    pub(crate) statuses: Vec<KnownStatus>,
    pub(crate) deployments: Vec<KnownDeployment>,
    /// Each with the method that it waits for, if it waits for one.
    faults: VecDeque<(Option<Method>, Fault)>,
    asked: Vec<String>,
    misunderstood: Vec<String>,
    /// The last id that was given to anything.
    last_id: u64,
}

impl Memory {
    /// An id that nothing else has.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// What the routes of a double share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) forge: Forge,
    provider_type: String,
    /// Where the API is, as the forge itself writes it into links.
    pub(crate) api: String,
    memory: Mutex<Memory>,
    issued: OnceLock<Arc<Issued>>,
}

impl Inner {
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tokens that it issues.
    pub(crate) fn issued(&self) -> &Issued {
        self.issued.get().expect("a double that issues tokens")
    }

    /// Notes what the forge would not understand, and answers 400.
    pub(crate) fn misunderstands(&self, what: impl Into<String>) -> Response {
        let what = format!("{}: {}", self.provider_type, what.into());
        self.memory().misunderstood.push(what.clone());
        self.says(StatusCode::BAD_REQUEST, &what)
    }

    /// An answer with a message, in the forge's own form.
    pub(crate) fn says(&self, status: StatusCode, message: &str) -> Response {
        let body = match self.forge {
            Forge::Bitbucket => json!({ "type": "error", "error": { "message": message } }),
            Forge::GitLab if status == StatusCode::FORBIDDEN && message == "insufficient_scope" => {
                json!({ "error": message, "error_description": "The request requires higher privileges" })
            }
            _ => json!({ "message": message }),
        };
        json_answer(status, &body)
    }

    /// The grant of the token that a request was sent with.
    fn grant(&self, headers: &HeaderMap) -> Option<Grant> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = text("authorization").unwrap_or_default();
        let basic = || {
            let pair = STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
            String::from_utf8(pair)
                .ok()?
                .split_once(':')
                .map(|(user, token)| (user.to_owned(), token.to_owned()))
        };
        let token = match self.forge {
            Forge::GitHub | Forge::Git => authorization.strip_prefix("Bearer ").map(str::to_owned),
            Forge::GitLab => text("private-token").map(str::to_owned),
            Forge::Gitea => authorization.strip_prefix("token ").map(str::to_owned),
            Forge::AzureDevOps => basic().filter(|(user, _)| user.is_empty()).map(|(_, token)| token),
            Forge::Bitbucket => match authorization.strip_prefix("Bearer ") {
                Some(token) => Some(token.to_owned()),
                None => basic().filter(|(user, _)| user.contains('@')).map(|(_, token)| token),
            },
        };
        // What a forge issues is a bearer token, whatever its own are.
        let bearer = authorization.strip_prefix("Bearer ").unwrap_or_default();
        if self.issued.get().is_some_and(|issued| issued.is_live(bearer)) {
            let login = (self.forge != Forge::GitHub).then(|| "deploy-bot".to_owned());
            return Some(Grant { login, hooks: true });
        }
        self.memory().grants.get(&token?).cloned()
    }

    /// Whether the forge has the repository `<owner>/<name>`.
    pub(crate) fn has(&self, repository: &str) -> bool {
        self.memory().repositories.contains(repository)
    }

    /// The page of `items` that a query asks for, with the header or member that leads to the next one.
    pub(crate) fn page(&self, path: &str, query: &BTreeMap<String, String>, items: Vec<Value>) -> Response {
        let size_name = match self.forge {
            Forge::Bitbucket => "pagelen",
            Forge::Gitea => "limit",
            _ => "per_page",
        };
        let size: usize =
            query.get(size_name).and_then(|size| size.parse().ok()).unwrap_or(100).clamp(1, 100);
        let token = if self.forge == Forge::AzureDevOps { "continuationToken" } else { "page" };
        let page: usize = query.get(token).and_then(|page| page.parse().ok()).unwrap_or(1).max(1);
        let rest = items.len() > page * size;
        let shown: Vec<Value> = items.into_iter().skip((page - 1) * size).take(size).collect();
        let next = format!("{}{path}?{size_name}={size}&page={}", self.api, page + 1);
        let mut response = match self.forge {
            Forge::Bitbucket if rest => {
                json_answer(StatusCode::OK, &json!({ "values": shown, "next": next }))
            }
            Forge::Bitbucket => json_answer(StatusCode::OK, &json!({ "values": shown })),
            Forge::AzureDevOps => {
                json_answer(StatusCode::OK, &json!({ "count": shown.len(), "value": shown }))
            }
            _ => json_answer(StatusCode::OK, &Value::Array(shown)),
        };
        if rest && self.forge == Forge::AzureDevOps {
            response.headers_mut().insert("x-ms-continuationtoken", (page + 1).into());
        } else if rest {
            let link = HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).expect("a header");
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// JSON with a status.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A forge's API on a Git host.
#[derive(Debug)]
pub struct ForgeDouble {
    inner: Arc<Inner>,
}

/// Where the API of a provider type is on a double's host.
fn api_path(provider_type: &str) -> &'static str {
    match provider_type {
        "GitHub" => "/api.github",
        "GitLab" => "/api.gitlab",
        "Bitbucket" => "/api.bitbucket",
        "AzureDevOps" => "/api.azure",
        "GitHubEnterpriseServer" => "/api/v3",
        "GitLabSelfManaged" => "/api/v4",
        "Gitea" => "/api/v1",
        other => panic!("there is no double of {other}"),
    }
}

/// The places of the forges that everybody shares, if their doubles are on this host.
#[must_use]
pub fn endpoints_on(git: &GitHost) -> Endpoints {
    let of = |provider_type: &str| {
        let git = git.endpoint();
        Endpoint { api: format!("{git}{}", api_path(provider_type)), git }
    };
    Endpoints {
        github: of("GitHub"),
        gitlab: of("GitLab"),
        bitbucket: of("Bitbucket"),
        azure_devops: of("AzureDevOps"),
        entra: format!("{}/entra", git.endpoint()),
    }
}

impl ForgeDouble {
    /// The double of a provider type on a Git host, which knows no token and no repository yet.
    ///
    /// # Panics
    /// When there is no double of that type.
    #[must_use]
    pub fn on(git: &GitHost, provider_type: &str) -> Self {
        let forge = Forge::of_provider_type(provider_type).expect("a forge");
        let path = api_path(provider_type);
        let inner = Arc::new(Inner {
            forge,
            provider_type: provider_type.to_owned(),
            api: format!("{}{path}", git.endpoint()),
            memory: Mutex::default(),
            issued: OnceLock::new(),
        });
        git.mount(path, Router::new().nest(path, routes(&inner)));
        Self { inner }
    }

    /// Knows a token from now on, and whose it is.
    pub fn grant(&self, token: &str, login: &str) {
        self.grant_as(token, Grant { login: Some(login.to_owned()), hooks: true });
    }

    /// Knows a token from now on, and what it may do.
    pub fn grant_as(&self, token: &str, grant: Grant) {
        self.inner.memory().grants.insert(token.to_owned(), grant);
    }

    /// Issues tokens that run out, from now on.
    ///
    /// # Panics
    /// When it does already.
    pub fn issue(&self, issued: &Arc<Issued>) {
        self.inner.issued.set(Arc::clone(issued)).expect("it issues none yet");
    }

    /// Forgets a token.
    pub fn revoke(&self, token: &str) {
        self.inner.memory().grants.remove(token);
    }

    /// Has the repository `<owner>/<name>` from now on.
    pub fn add_repository(&self, full_name: &str) {
        self.inner.memory().repositories.insert(full_name.to_owned());
    }

    /// Goes wrong at the next request; several faults, one after the other.
    pub fn fail(&self, fault: Fault) {
        self.inner.memory().faults.push_back((None, fault));
    }

    /// Goes wrong at the next request of this method, once whatever is to go wrong before it has.
    pub fn fail_at(&self, method: Method, fault: Fault) {
        self.inner.memory().faults.push_back((Some(method), fault));
    }

    /// How much of what is to go wrong has not yet.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.inner.memory().faults.len()
    }

    /// The webhooks of all repositories, oldest first.
    #[must_use]
    pub fn hooks(&self) -> Vec<KnownHook> {
        self.inner.memory().hooks.clone()
    }

    /// Has a webhook that somebody else made.
    pub fn add_hook(&self, repository: &str, url: &str) {
        let mut memory = self.inner.memory();
        let id = memory.new_id();
        memory.hooks.push(KnownHook::of_somebody(id, repository, url));
    }

    /// Every request since the start, as `GET /user`, oldest first.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.inner.memory().asked.clone()
    }
}

impl Drop for ForgeDouble {
    fn drop(&mut self) {
        let misunderstood = std::mem::take(&mut self.inner.memory().misunderstood);
        if !std::thread::panicking() {
            assert!(misunderstood.is_empty(), "what the forge would not understand: {misunderstood:#?}");
        }
    }
}

/// Everything that the double of a forge answers.
fn routes(inner: &Arc<Inner>) -> Router {
    Router::new()
        .merge(accounts::routes(inner.forge))
        .merge(apps::routes(inner.forge))
        .merge(hooks::routes(inner.forge))
        .merge(deliveries::routes(inner.forge))
        .merge(pulls::routes(inner.forge))
        .merge(statuses::routes(inner.forge))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(inner), received))
        .with_state(Arc::clone(inner))
}

async fn unknown(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    inner.misunderstands(format!("{} {} is nothing that it knows", request.method(), request.uri()))
}

/// What every request is held against, before what it asks for.
async fn received(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    inner.memory().asked.push(format!("{} {}", request.method(), request.uri()));
    let is_meant = |fault: &mut (Option<Method>, Fault)| {
        fault.0.as_ref().is_none_or(|method| method == request.method())
    };
    let fault = inner.memory().faults.pop_front_if(is_meant).map(|(_, fault)| fault);
    let missing = missing_headers(inner.forge, &request);
    if !missing.is_empty() {
        return inner.misunderstands(format!("{} {}: {missing:?}", request.method(), request.uri()));
    }
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => {
            let mut page = Response::new(Body::from("<!doctype html><title>Sign in</title>"));
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            page.headers_mut().insert(header::CONTENT_TYPE, html);
            page
        }
        Some(Fault::Status(status, headers, message)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut response = inner.says(status, message);
            for (name, value) in headers {
                response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            response
        }
        Some(Fault::LostAnswer) => {
            let mut response = known(&inner, request, next).await;
            response.extensions_mut().insert(Lost);
            response
        }
        Some(Fault::HalfAnswer) => {
            let mut response = known(&inner, request, next).await;
            response.extensions_mut().insert(Halved);
            response
        }
        None => known(&inner, request, next).await,
    }
}

/// Refuses who has no token that is known here.
async fn known(inner: &Arc<Inner>, mut request: Request, next: Next) -> Response {
    if apps::is_of_apps(request.uri().path()) {
        return next.run(request).await;
    }
    let Some(grant) = inner.grant(request.headers()) else {
        return match inner.forge {
            Forge::AzureDevOps => {
                let mut page = Response::new(Body::from("<!doctype html><title>Sign in</title>"));
                *page.status_mut() = StatusCode::NON_AUTHORITATIVE_INFORMATION;
                page
            }
            _ => inner.says(StatusCode::UNAUTHORIZED, "Bad credentials"),
        };
    };
    request.extensions_mut().insert(grant);
    next.run(request).await
}

/// What a forge wants to see in every request.
fn missing_headers(forge: Forge, request: &Request) -> Vec<&'static str> {
    let has = |name: &str, value: &str| {
        request
            .headers()
            .get(name)
            .and_then(|found| found.to_str().ok())
            .is_some_and(|f| f.starts_with(value))
    };
    let mut missing = Vec::new();
    if !has("user-agent", "syncline/") {
        missing.push("User-Agent");
    }
    let accept = if forge == Forge::GitHub { "application/vnd.github+json" } else { "application/json" };
    if !has("accept", accept) {
        missing.push("Accept");
    }
    if forge == Forge::GitHub && !has("x-github-api-version", "2022-11-28") {
        missing.push("X-GitHub-Api-Version");
    }
    let is_versioned = request.uri().query().is_some_and(|query| query.contains("api-version=7.1"));
    if forge == Forge::AzureDevOps && !is_versioned {
        missing.push("api-version");
    }
    let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    if has_body && !has("content-type", "application/json") {
        missing.push("Content-Type");
    }
    missing
}
