//! What tokens are got with that run out, and getting them: the one way for handshakes and the worker.

use serde::Deserialize;
use serde_json::json;
use syncline_forges::Forge;
use syncline_forges::rest::{
    AppKey, Endpoint, INSTALLATION_TOKEN_MS, OAuthClient, OAuthPlace, Refusal, mint_token,
};
use syncline_seams::Secret;

use crate::forges::Forges;
use crate::worker::StoredCredential;

/// A forge's place, for whoever gets a token there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) forge: Forge,
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

/// An OAuth application that somebody has authorized.
#[derive(Debug, Clone)]
pub(crate) struct OAuthGrant {
    pub(crate) client: OAuthClient,
    pub(crate) refresh_token: Secret,
}

/// What a connection's tokens are got with, as it is sealed: JSON with its kind.
#[derive(Debug, Clone)]
pub(crate) enum StoredGrant {
    GitHubApp(AppGrant),
    OAuth(OAuthGrant),
}

/// The stored form.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Written {
    #[serde(rename_all = "camelCase")]
    GitHubApp { app_id: u64, installation_id: u64, private_key: Secret },
    #[serde(rename_all = "camelCase")]
    OAuth { client_id: String, client_secret: Secret, tenant: Option<String>, refresh_token: Secret },
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
            Self::OAuth(OAuthGrant { client, refresh_token }) => json!({
                "kind": "oAuth",
                "clientId": client.id,
                "clientSecret": client.secret.expose(),
                "tenant": client.tenant,
                "refreshToken": refresh_token.expose(),
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
            Written::OAuth { client_id: id, client_secret: secret, tenant, refresh_token } => {
                Self::OAuth(OAuthGrant { client: OAuthClient { id, secret, tenant }, refresh_token })
            }
        })
    }

    /// Gets a token.
    pub(crate) async fn token(self, forges: &Forges, at: Place<'_>) -> Result<Got, Refusal> {
        match self {
            Self::GitHubApp(app) => token_of_app(forges, at, app).await,
            Self::OAuth(grant) => refreshed(forges, at, grant).await,
        }
    }
}

/// Has a token made for an installation.
pub(crate) async fn token_of_app(forges: &Forges, at: Place<'_>, app: AppGrant) -> Result<Got, Refusal> {
    let access = app.key.access(&at.endpoint.api, forges.now_ms());
    let access = access.map_err(|error| Refusal::Invalid(format!("the App's private key: {error}")))?;
    let token = forges.ask(at.extra_root_pem, mint_token(&access, app.installation)).await?;
    Ok(Got {
        credential: StoredCredential { username: None, token, bearer: false, host_keys: None },
        grant: StoredGrant::GitHubApp(app),
        lifetime_ms: INSTALLATION_TOKEN_MS,
    })
}

/// Where an OAuth application's people authorize it, and its tokens are got.
pub(crate) fn oauth_place(
    forges: &Forges,
    at: Place<'_>,
    client: &OAuthClient,
) -> Result<OAuthPlace, Refusal> {
    let place = OAuthPlace::of(at.forge, forges.endpoints(), at.endpoint, client.tenant.as_deref());
    place.ok_or_else(|| Refusal::Invalid("it has no OAuth".to_owned()))
}

/// Has a token of OAuth replaced.
async fn refreshed(forges: &Forges, at: Place<'_>, grant: OAuthGrant) -> Result<Got, Refusal> {
    let OAuthGrant { client, refresh_token } = grant;
    let place = oauth_place(forges, at, &client)?;
    let got = forges.ask(at.extra_root_pem, place.refresh(&client, &refresh_token)).await?;
    // Who gives none goes on taking the one before.
    let refresh_token = got.refresh_token.unwrap_or(refresh_token);
    Ok(Got {
        credential: StoredCredential { username: None, token: got.token, bearer: true, host_keys: None },
        grant: StoredGrant::OAuth(OAuthGrant { client, refresh_token }),
        lifetime_ms: got.lifetime_ms,
    })
}
