//! GitHub Apps: made from a manifest, installed by an account, and asked for tokens.
//!
//! Sources: GitHub's documentation of App manifests, of App authentication, and of `/app/installations`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use syncline_seams::Secret;
use thiserror::Error;

use super::access::Access;
use super::question::{Question, segment};
use super::refusal::Refusal;
use crate::Forge;

/// How long an installation's token lasts, in milliseconds. By GitHub's documentation; the time of day in its answer would
/// have to be held against our clock.
pub const INSTALLATION_TOKEN_MS: i64 = 60 * 60 * 1000;
/// How much a claim is dated back, in seconds, for clocks that differ; GitHub recommends it.
const BEFORE_S: i64 = 60;
/// How long a claim holds, in seconds; GitHub takes ten minutes at the most.
const HOLDS_S: i64 = 9 * 60;

/// A text that is no private key that claims can be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is no RSA private key of 2048 to 4096 bits in PEM, as GitHub makes one")]
pub struct NoAppKey;

/// A GitHub App, by what it proves itself with.
#[derive(Clone)]
pub struct AppKey {
    id: u64,
    pem: Secret,
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppKey({})", self.id)
    }
}

impl AppKey {
    /// The App of this id with its private key in PEM.
    ///
    /// # Errors
    /// [`NoAppKey`].
    pub fn new(id: u64, pem: Secret) -> Result<Self, NoAppKey> {
        pair(&pem)?;
        Ok(Self { id, pem })
    }

    /// The App's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The private key in PEM.
    #[must_use]
    pub fn pem(&self) -> &Secret {
        &self.pem
    }

    /// GitHub, whose API is at `api`, asked as the App itself, for some minutes from `now_ms` on, in milliseconds since the
    /// Unix epoch.
    ///
    /// # Errors
    /// [`NoAppKey`].
    pub fn access(&self, api: &str, now_ms: i64) -> Result<Access, NoAppKey> {
        let now_s = now_ms.div_euclid(1000);
        let claims = json!({ "iat": now_s - BEFORE_S, "exp": now_s + HOLDS_S, "iss": self.id.to_string() });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
        let pair = pair(&self.pem)?;
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| NoAppKey)?;
        let token = Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)));
        Ok(Access::new(Forge::GitHub, api, None, Some(token)))
    }
}

fn pair(pem: &Secret) -> Result<RsaKeyPair, NoAppKey> {
    let pair = match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()) {
        Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        _ => return Err(NoAppKey),
    };
    pair.map_err(|_| NoAppKey)
}

/// An App to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, which no other App on the server may have; GitHub takes 34 characters.
    pub name: String,
    /// Where people read about it.
    pub url: String,
    /// Where GitHub sends a browser with the code.
    pub redirect_url: String,
    /// Where GitHub sends a browser once it is installed.
    pub setup_url: String,
}

impl Manifest {
    /// The manifest, in JSON: everything that Syncline does at GitHub, and nothing else.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!({
            "name": self.name,
            "url": self.url,
            // Webhooks are those of repositories, each with a secret of its own.
            "hook_attributes": { "url": self.url, "active": false },
            "redirect_url": self.redirect_url,
            "setup_url": self.setup_url,
            "public": false,
            "default_events": [],
            "default_permissions": {
                "contents": "read",
                "deployments": "write",
                "metadata": "read",
                "pull_requests": "write",
                "repository_hooks": "write",
                "statuses": "write",
            },
        })
        .to_string()
    }
}

/// An App that was made from a manifest.
#[derive(Debug)]
pub struct NewApp {
    /// The App.
    pub key: AppKey,
    /// How its pages are named.
    pub slug: String,
    /// The account that it belongs to.
    pub owner: String,
}

#[derive(Deserialize)]
struct Login {
    login: String,
}

#[derive(Deserialize)]
struct Converted {
    id: u64,
    slug: String,
    pem: Secret,
    owner: Login,
}

/// Exchanges the code that a browser came back with for the App. GitHub takes a code once.
#[must_use]
pub fn convert_manifest(access: &Access, code: &str) -> Question<NewApp> {
    let path = format!("/app-manifests/{}/conversions", segment(code));
    let question = access.send::<Converted>("forges.convert_manifest", Method::POST, &path, &json!({}));
    question.and_then(|made| {
        let unusable = |what: &str| Refusal::Unavailable(format!("it made an App {what}"));
        let is_slug = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if made.slug.is_empty() || !made.slug.chars().all(is_slug) {
            return Err(unusable("whose name cannot be read"));
        }
        let key = AppKey::new(made.id, made.pem).map_err(|_| unusable("whose key cannot be read"))?;
        Ok(NewApp { key, slug: made.slug, owner: made.owner.login })
    })
}

/// An App where it is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The App's id.
    pub app_id: u64,
    /// The account whose repositories it may see.
    pub account: String,
    /// Whether the account has suspended it.
    pub is_suspended: bool,
    /// Whether it may read the content of repositories.
    pub reads_contents: bool,
}

#[derive(Deserialize)]
struct Installed {
    app_id: u64,
    account: Login,
    #[serde(default)]
    suspended_at: Option<String>,
    #[serde(default)]
    permissions: serde_json::Map<String, Value>,
}

/// Asks for an installation, as the App: one of another App is not found.
#[must_use]
pub fn installation(as_app: &Access, id: u64) -> Question<Installation> {
    let question = as_app.get::<Installed>("forges.installation", &format!("/app/installations/{id}"));
    question.map(|found| Installation {
        app_id: found.app_id,
        account: found.account.login,
        is_suspended: found.suspended_at.is_some(),
        reads_contents: found.permissions.contains_key("contents"),
    })
}

#[derive(Deserialize)]
struct Minted {
    token: Secret,
}

/// Has a token made for an installation, as the App. It lasts for [`INSTALLATION_TOKEN_MS`]; those before it go on lasting.
#[must_use]
pub fn mint_token(as_app: &Access, installation: u64) -> Question<Secret> {
    let path = format!("/app/installations/{installation}/access_tokens");
    let question = as_app.send::<Minted>("forges.mint_token", Method::POST, &path, &json!({}));
    question.map(|minted| minted.token)
}
