//! Doubles of what authorizes OAuth applications: GitLab, Bitbucket, and Microsoft Entra for Azure DevOps.
//!
//! **They are strict**: a parameter that is missing, unknown or in the wrong place fails the test that sent it, when the
//! double is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use syncline_forges::Forge;
use tokio::sync::watch;

use super::{Fault, Issued, json_answer};
use crate::git_host::{GitHost, Halved, Lost};

/// The id of the application that every double knows.
pub const CLIENT_ID: &str = "an-application";
/// Its secret, which is to be seen nowhere.
pub const CLIENT_SECRET: &str = "canary-secret-of-an-application";
/// The tenant that Entra's double knows.
pub const TENANT: &str = "acme.example";
/// How long a token lasts, in milliseconds.
pub const TOKEN_MS: i64 = 2 * 60 * 60 * 1000;

#[derive(Debug)]
struct Granted {
    challenge: String,
    redirect_uri: String,
}

#[derive(Debug, Default)]
struct Memory {
    codes: BTreeMap<String, Granted>,
    /// Those that are good, each with the token that it was given with.
    refresh_tokens: BTreeMap<String, String>,
    all: Vec<String>,
    exchanged: usize,
    refreshed: usize,
    faults: VecDeque<Fault>,
    misunderstood: Vec<String>,
}

#[derive(Debug)]
struct Inner {
    forge: Forge,
    authorize: String,
    redirect_uri: String,
    issued: Arc<Issued>,
    memory: Mutex<Memory>,
    is_held: watch::Sender<bool>,
}

/// The side of a forge that people authorize applications at.
#[derive(Debug)]
pub struct OAuthDouble {
    inner: Arc<Inner>,
}

type Fields = BTreeMap<String, String>;

/// What stands in a form or a query, each name once.
fn fields(text: &str) -> Result<Fields, String> {
    let mut fields = Fields::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("'{pair}' has no value"))?;
        let mut bytes = Vec::new();
        let mut rest = value.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap_or(b'x'), rest.next().unwrap_or(b'x')];
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    u8::from_str_radix(&digits, 16).map_err(|_| format!("'{value}' is not encoded"))?
                }
                byte => byte,
            });
        }
        let value = String::from_utf8(bytes).map_err(|_| format!("'{value}' is no text"))?;
        if fields.insert(name.to_owned(), value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(fields)
}

impl OAuthDouble {
    /// The double for a provider type on a Git host, which issues `issued` and knows one application, whose people come back
    /// to `redirect_uri`.
    ///
    /// # Panics
    /// When there is no double for that type.
    #[must_use]
    pub fn on(git: &GitHost, provider_type: &str, issued: &Arc<Issued>, redirect_uri: &str) -> Self {
        let forge = Forge::of_provider_type(provider_type).expect("a forge");
        let (mounted, authorize, token) = match forge {
            Forge::GitLab => ("/oauth", "/oauth/authorize".to_owned(), "/oauth/token".to_owned()),
            Forge::Bitbucket => {
                ("/site", "/site/oauth2/authorize".to_owned(), "/site/oauth2/access_token".to_owned())
            }
            Forge::AzureDevOps => {
                let below = format!("/entra/{TENANT}/oauth2/v2.0");
                ("/entra", format!("{below}/authorize"), format!("{below}/token"))
            }
            other => panic!("there is no double of {other:?}"),
        };
        let inner = Arc::new(Inner {
            forge,
            authorize: format!("{}{authorize}", git.endpoint()),
            redirect_uri: redirect_uri.to_owned(),
            issued: Arc::clone(issued),
            memory: Mutex::default(),
            is_held: watch::Sender::new(false),
        });
        let router = Router::new()
            .route(&token, axum::routing::any(token_endpoint))
            .fallback(unknown)
            .with_state(Arc::clone(&inner));
        git.mount(mounted, router);
        Self { inner }
    }

    /// Authorizes the application as a person does whose browser was sent to `url`; the code and the state that it comes back
    /// with.
    ///
    /// # Panics
    /// When the URL is not one that the forge would understand.
    #[must_use]
    pub fn authorize(&self, url: &str) -> (String, String) {
        let (place, query) = url.split_once('?').expect("a query");
        assert_eq!(place, self.inner.authorize);
        let mut asked = fields(query).expect("a query");
        let mut take = |name: &str| asked.remove(name).unwrap_or_else(|| panic!("{name} is missing: {url}"));
        assert_eq!(take("client_id"), CLIENT_ID);
        assert_eq!(take("response_type"), "code");
        assert_eq!(take("redirect_uri"), self.inner.redirect_uri);
        assert_eq!(take("code_challenge_method"), "S256");
        let (challenge, state) = (take("code_challenge"), take("state"));
        assert!(challenge.len() == 43 && state.len() >= 40, "{url}");
        if let Some(scope) = self.inner.scope() {
            assert_eq!(take("scope"), scope);
        }
        assert!(asked.is_empty(), "{asked:?}");
        let mut memory = self.inner.memory();
        let code = format!("canary-code-{}", memory.all.len() + memory.codes.len());
        let redirect_uri = self.inner.redirect_uri.clone();
        memory.codes.insert(code.clone(), Granted { challenge, redirect_uri });
        (code, state)
    }

    /// Goes wrong at the next request.
    pub fn fail(&self, fault: Fault) {
        self.inner.memory().faults.push_back(fault);
    }

    /// Does what is asked for and keeps its answers back, or lets them go.
    pub fn hold(&self, is_held: bool) {
        self.inner.is_held.send_replace(is_held);
    }

    /// Takes every refresh token back, as the person may who gave it.
    pub fn revoke(&self) {
        self.inner.memory().refresh_tokens.clear();
    }

    /// Codes that were exchanged, and refresh tokens that were taken.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let memory = self.inner.memory();
        (memory.exchanged, memory.refreshed)
    }

    /// Every refresh token that was given.
    #[must_use]
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.inner.memory().all.clone()
    }
}

impl Drop for OAuthDouble {
    fn drop(&mut self) {
        let misunderstood = std::mem::take(&mut self.inner.memory().misunderstood);
        if !std::thread::panicking() {
            assert!(misunderstood.is_empty(), "what would not be understood: {misunderstood:#?}");
        }
    }
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scope(&self) -> Option<&'static str> {
        match self.forge {
            Forge::GitLab => Some("api read_repository"),
            Forge::AzureDevOps => Some("499b84ac-1321-427f-aa17-267ca6975798/.default offline_access"),
            _ => None,
        }
    }

    fn misunderstands(&self, what: impl Into<String>) -> Response {
        let what = what.into();
        self.memory().misunderstood.push(what.clone());
        refused(StatusCode::BAD_REQUEST, "invalid_request", &what)
    }

    /// The application that a request says it is from; takes what says so out of the form.
    fn client(&self, authorization: Option<&str>, form: &mut Fields) -> Option<(String, String)> {
        if self.forge == Forge::Bitbucket {
            let pair = STANDARD.decode(authorization?.strip_prefix("Basic ")?).ok()?;
            let pair = String::from_utf8(pair).ok()?;
            return pair.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        }
        let given = (form.remove("client_id")?, form.remove("client_secret")?);
        authorization.is_none().then_some(given)
    }

    /// Gives a token, and what the next one is got with.
    fn give(&self, before: Option<&str>) -> Response {
        let token = self.issued.issue(TOKEN_MS);
        let mut memory = self.memory();
        let refresh_token = match (self.forge, before) {
            // Bitbucket's stays what it is.
            (Forge::Bitbucket, Some(before)) => before.to_owned(),
            _ => format!("canary-refresh-token-{}", memory.all.len()),
        };
        if self.forge == Forge::GitLab
            && let Some(old) = before.and_then(|before| memory.refresh_tokens.remove(before))
        {
            self.issued.take_back(&old);
        }
        memory.refresh_tokens.insert(refresh_token.clone(), token.clone());
        memory.all.push(refresh_token.clone());
        let body = json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": TOKEN_MS / 1000,
            "refresh_token": refresh_token,
            "scope": self.scope(),
        });
        json_answer(StatusCode::OK, &body)
    }

    fn answer(&self, authorization: Option<&str>, mut form: Fields) -> Response {
        let Some(client) = self.client(authorization, &mut form) else {
            return self.misunderstands(format!("who asks is said in the wrong place: {form:?}"));
        };
        if client != (CLIENT_ID.to_owned(), CLIENT_SECRET.to_owned()) {
            return refused(StatusCode::UNAUTHORIZED, "invalid_client", "Client authentication failed");
        }
        if form.remove("scope").as_deref() != self.scope() {
            return self.misunderstands("another scope than was authorized");
        }
        let over =
            || refused(StatusCode::BAD_REQUEST, "invalid_grant", "The grant is invalid, expired or revoked");
        let kind = form.remove("grant_type").unwrap_or_default();
        let response = match kind.as_str() {
            "authorization_code" => {
                let mut take = |name: &str| form.remove(name).unwrap_or_default();
                let (code, redirect_uri, verifier) =
                    (take("code"), take("redirect_uri"), take("code_verifier"));
                let granted = self.memory().codes.remove(&code);
                let Some(granted) = granted else { return over() };
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
                if granted.challenge != challenge || granted.redirect_uri != redirect_uri {
                    return self.misunderstands("a code for another verifier or redirect URI");
                }
                self.memory().exchanged += 1;
                self.give(None)
            }
            "refresh_token" => {
                let token = form.remove("refresh_token").unwrap_or_default();
                if !self.memory().refresh_tokens.contains_key(&token) {
                    return over();
                }
                self.memory().refreshed += 1;
                self.give(Some(&token))
            }
            other => return self.misunderstands(format!("the grant type '{other}'")),
        };
        if form.is_empty() { response } else { self.misunderstands(format!("{form:?}")) }
    }
}

/// A refusal as RFC 6749 has it.
fn refused(status: StatusCode, error: &str, description: &str) -> Response {
    json_answer(status, &json!({ "error": error, "error_description": description }))
}

async fn unknown(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    inner.misunderstands(format!("{} {} is nothing that it knows", request.method(), request.uri()))
}

async fn token_endpoint(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let text = |name: header::HeaderName| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let is_form = text(header::CONTENT_TYPE).as_deref() == Some("application/x-www-form-urlencoded");
    let is_ours = text(header::USER_AGENT).is_some_and(|agent| agent.starts_with("syncline/"));
    let takes_json = text(header::ACCEPT).as_deref() == Some("application/json");
    if head.method != Method::POST || head.uri.query().is_some() || !is_form || !is_ours || !takes_json {
        return inner.misunderstands(format!("{} {} with {:?}", head.method, head.uri, head.headers));
    }
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let form = String::from_utf8(body).map_err(|_| "no text".to_owned()).and_then(|body| fields(&body));
    let form = match form {
        Ok(form) => form,
        Err(why) => return inner.misunderstands(why),
    };
    let fault = inner.memory().faults.pop_front();
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => {
            let mut page = Response::new(Body::from("<!doctype html><title>Sign in</title>"));
            page.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            return page;
        }
        Some(Fault::Status(status, _, message)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            // Whatever it was sent, it repeats.
            let all = form.values().cloned().collect::<Vec<_>>().join(" ");
            return refused(status, "temporarily_unavailable", &format!("{message} {all}"));
        }
        _ => {}
    }
    let mut response = inner.answer(text(header::AUTHORIZATION).as_deref(), form);
    let _ = inner.is_held.subscribe().wait_for(|is_held| !is_held).await;
    match fault {
        Some(Fault::LostAnswer) => drop(response.extensions_mut().insert(Lost)),
        Some(Fault::HalfAnswer) => drop(response.extensions_mut().insert(Halved)),
        _ => {}
    }
    response
}
