//! GitHub Apps: codes for manifests, installations, and their tokens.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs1KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use syncline_forges::Forge;

use super::{ForgeDouble, Inner, json_answer};

/// The private key of every App that a double makes.
pub const APP_KEY: &str = include_str!("app_key.pem");
/// The private key of no App.
pub const OTHER_KEY: &str = include_str!("other_key.pem");

/// How long an installation's token lasts, in milliseconds.
const LIFETIME_MS: i64 = 60 * 60 * 1000;

/// An App where it is installed.
#[derive(Debug, Clone)]
pub struct KnownInstallation {
    /// The installation's id.
    pub id: u64,
    /// The App's id.
    pub app_id: u64,
    /// The account that installed it.
    pub account: String,
    /// Whether the account has suspended it.
    pub is_suspended: bool,
    /// What it may do.
    pub permissions: Value,
}

/// What a double remembers of Apps.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    /// Codes that were not exchanged yet, with the owners of their Apps.
    codes: Vec<(String, String)>,
    ids: Vec<u64>,
    installations: Vec<KnownInstallation>,
}

impl ForgeDouble {
    /// Takes a manifest as the forge's page does, for an App of `owner`; the code that the browser comes back with.
    ///
    /// # Panics
    /// When it is no manifest.
    pub fn take_manifest(&self, manifest: &str, owner: &str) -> String {
        let manifest: Value = serde_json::from_str(manifest).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let name = text(&manifest["name"]);
        assert!(name.len() <= 34, "GitHub takes 34 characters: {name}");
        for url in ["url", "redirect_url", "setup_url"] {
            assert!(text(&manifest[url]).starts_with("http"), "{url}: {manifest}");
        }
        assert_eq!(manifest["public"], false, "nobody else is to install it");
        assert_eq!(manifest["hook_attributes"]["active"], false);
        let mut memory = self.inner.memory();
        let code = format!("canary-code-{}", memory.new_id());
        memory.apps.codes.push((code.clone(), owner.to_owned()));
        code
    }

    /// Knows an App with [`APP_KEY`].
    pub fn add_app(&self, id: u64) {
        self.inner.memory().apps.ids.push(id);
    }

    /// The Apps that there are.
    #[must_use]
    pub fn apps(&self) -> Vec<u64> {
        self.inner.memory().apps.ids.clone()
    }

    /// Installs an App.
    pub fn install(&self, installation: KnownInstallation) {
        self.inner.memory().apps.installations.push(installation);
    }

    /// Changes every installation.
    pub fn change_installations(&self, change: impl Fn(&mut KnownInstallation)) {
        self.inner.memory().apps.installations.iter_mut().for_each(change);
    }

    /// Has no App any more.
    pub fn forget_apps(&self) {
        self.inner.memory().apps = Apps::default();
    }
}

impl KnownInstallation {
    /// The App's installation for an account, which may do everything.
    #[must_use]
    pub fn of(id: u64, app_id: u64, account: &str) -> Self {
        let permissions = json!({ "contents": "read", "metadata": "read", "statuses": "write" });
        Self { id, app_id, account: account.to_owned(), is_suspended: false, permissions }
    }
}

/// Whether a path is asked for as an App, or with a code, instead of with a token.
pub(super) fn is_of_apps(path: &str) -> bool {
    path.starts_with("/app/") || path.starts_with("/app-manifests/")
}

pub(super) fn routes(forge: Forge) -> Router<Arc<Inner>> {
    if forge != Forge::GitHub {
        return Router::new();
    }
    Router::new()
        .route("/app-manifests/{code}/conversions", post(convert))
        .route("/app/installations/{id}", get(installation))
        .route("/app/installations/{id}/access_tokens", post(mint))
}

async fn convert(State(inner): State<Arc<Inner>>, Path(code): Path<String>, request: Request) -> Response {
    if request.headers().contains_key("authorization") {
        return inner.misunderstands("a code is exchanged by nobody in particular");
    }
    let mut memory = inner.memory();
    let Some(at) = memory.apps.codes.iter().position(|(known, _)| *known == code) else {
        drop(memory);
        return inner.says(StatusCode::NOT_FOUND, "Not Found");
    };
    let (_, owner) = memory.apps.codes.remove(at);
    let id = 4_000 + memory.new_id();
    memory.apps.ids.push(id);
    drop(memory);
    let made = json!({
        "id": id,
        "slug": format!("app-{id}"),
        "node_id": "A_kw",
        "owner": { "login": owner, "id": 7, "type": "Organization" },
        "name": format!("app {id}"),
        "html_url": "https://elsewhere.example/apps/app",
        "client_id": "Iv1.8a61f9b3a7aba766",
        "client_secret": "canary-client-secret-of-an-app",
        "webhook_secret": "canary-webhook-secret-of-an-app",
        "pem": APP_KEY,
        "permissions": { "contents": "read" },
        "events": [],
    });
    json_answer(StatusCode::CREATED, &made)
}

/// The App that a request proves to come from; else the answer.
fn app_of(inner: &Inner, headers: &HeaderMap) -> Result<u64, Box<Response>> {
    let refused = |why: &str| Box::new(inner.says(StatusCode::UNAUTHORIZED, why));
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| refused("A JSON web token could not be decoded"))?;
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        return Err(refused("A JSON web token could not be decoded"));
    };
    let json =
        |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let (Some(head), Some(claim)) = (json(head), json(claims)) else {
        return Err(Box::new(inner.misunderstands("a claim that is no JSON in base64")));
    };
    if head != json!({ "alg": "RS256", "typ": "JWT" }) {
        return Err(Box::new(inner.misunderstands(format!("a claim signed as {head}"))));
    }
    let issuer = claim["iss"].as_str().and_then(|iss| iss.parse::<u64>().ok());
    let (Some(app), Some(since), Some(until)) = (issuer, claim["iat"].as_i64(), claim["exp"].as_i64()) else {
        return Err(Box::new(inner.misunderstands(format!("the claim {claim}"))));
    };
    if !inner.memory().apps.ids.contains(&app) {
        return Err(refused("Integration not found"));
    }
    let der = PrivatePkcs1KeyDer::from_pem_slice(APP_KEY.as_bytes()).expect("a key");
    let pair = RsaKeyPair::from_der(der.secret_pkcs1_der()).expect("a key");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    let signed = &token[..token.rfind('.').expect("two dots")];
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if public.verify(signed.as_bytes(), &signature).is_err() {
        return Err(refused("A JSON web token could not be decoded"));
    }
    let now_s = inner.issued().now_ms().div_euclid(1000);
    if since > now_s || until <= now_s || until > now_s + 600 {
        return Err(refused("'Expiration time' claim ('exp') is too far in the future"));
    }
    Ok(app)
}

fn found(inner: &Inner, app: u64, id: u64) -> Result<KnownInstallation, Box<Response>> {
    let installations = inner.memory().apps.installations.clone();
    let found = installations.into_iter().find(|known| known.id == id && known.app_id == app);
    found.ok_or_else(|| Box::new(inner.says(StatusCode::NOT_FOUND, "Not Found")))
}

async fn installation(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, request: Request) -> Response {
    let answer = app_of(&inner, request.headers()).and_then(|app| found(&inner, app, id));
    let installed = match answer {
        Ok(installed) => installed,
        Err(response) => return *response,
    };
    let suspended_at = installed.is_suspended.then_some("2026-11-01T00:00:00Z");
    let body = json!({
        "id": installed.id,
        "app_id": installed.app_id,
        "account": { "login": installed.account, "id": 7, "type": "Organization" },
        "repository_selection": "selected",
        "permissions": installed.permissions,
        "suspended_at": suspended_at,
    });
    json_answer(StatusCode::OK, &body)
}

async fn mint(State(inner): State<Arc<Inner>>, Path(id): Path<u64>, request: Request<Body>) -> Response {
    let answer = app_of(&inner, request.headers()).and_then(|app| found(&inner, app, id));
    let installed = match answer {
        Ok(installed) => installed,
        Err(response) => return *response,
    };
    if installed.is_suspended {
        return inner.says(StatusCode::FORBIDDEN, "This installation has been suspended");
    }
    let token = inner.issued().issue(LIFETIME_MS);
    let body = json!({
        "token": token,
        "expires_at": "2026-11-01T01:00:00Z",
        "permissions": installed.permissions,
        "repository_selection": "selected",
    });
    json_answer(StatusCode::CREATED, &body)
}
