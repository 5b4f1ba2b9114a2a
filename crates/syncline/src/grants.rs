//! What tokens are got with that run out, and getting them: the one way for handshakes and the worker.

use serde::Deserialize;
use serde_json::json;
use syncline_forges::rest::{AppKey, Endpoint, INSTALLATION_TOKEN_MS, Refusal, mint_token};
use syncline_seams::Secret;

use crate::forges::Forges;
use crate::worker::StoredCredential;

/// A forge's place, for whoever gets a token there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Certificates in PEM that are trusted there, beside the machine's own roots.
    pub(crate) extra_root_pem: Option<&'a str>,
}

/// A GitHub App where it is installed.
#[derive(Debug, Clone)]
pub(crate) struct AppGrant {
    pub(crate) key: AppKey,
    pub(crate) installation: u64,
}

/// What a connection's tokens are got with, as it is sealed: JSON with its kind.
#[derive(Debug, Clone)]
pub(crate) enum StoredGrant {
    GitHubApp(AppGrant),
}

/// The stored form.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Written {
    #[serde(rename_all = "camelCase")]
    GitHubApp { app_id: u64, installation_id: u64, private_key: Secret },
}

/// A token that was got, and what the next one is got with.
pub(crate) struct Got {
    pub(crate) credential: StoredCredential,
    pub(crate) grant: StoredGrant,
    pub(crate) lifetime_ms: i64,
}

impl StoredGrant {
    /// The bytes to seal.
    pub(crate) fn to_bytes(&self) -> Secret<Vec<u8>> {
        let written = match self {
            Self::GitHubApp(AppGrant { key, installation }) => json!({
                "kind": "gitHubApp",
                "appId": key.id(),
                "installationId": installation,
                "privateKey": key.pem().expose(),
            }),
        };
        serde_json::to_vec(&written).unwrap_or_default().into()
    }

    /// What was sealed; `None` if it cannot be read.
    pub(crate) fn from_bytes(bytes: &Secret<Vec<u8>>) -> Option<Self> {
        Some(match serde_json::from_slice(bytes.expose()).ok()? {
            Written::GitHubApp { app_id, installation_id, private_key } => {
                let key = AppKey::new(app_id, private_key).ok()?;
                Self::GitHubApp(AppGrant { key, installation: installation_id })
            }
        })
    }

    /// Gets a token.
    pub(crate) async fn token(self, forges: &Forges, at: Place<'_>) -> Result<Got, Refusal> {
        match self {
            Self::GitHubApp(app) => token_of_app(forges, at, app).await,
        }
    }
}

/// Has a token made for an installation.
pub(crate) async fn token_of_app(forges: &Forges, at: Place<'_>, app: AppGrant) -> Result<Got, Refusal> {
    let access = app.key.access(&at.endpoint.api, forges.now_ms());
    let access = access.map_err(|error| Refusal::Invalid(format!("the App's private key: {error}")))?;
    let token = forges.ask(at.extra_root_pem, mint_token(&access, app.installation)).await?;
    Ok(Got {
        credential: StoredCredential { username: None, token },
        grant: StoredGrant::GitHubApp(app),
        lifetime_ms: INSTALLATION_TOKEN_MS,
    })
}
