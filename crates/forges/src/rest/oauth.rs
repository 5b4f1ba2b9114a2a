//! OAuth's authorization code with PKCE, and the tokens that it gets (RFC 6749, RFC 7636).
//!
//! GitLab and Bitbucket authorize themselves; Azure DevOps is authorized for by Microsoft Entra. Neither the client's secret
//! nor anything that a token is got with stands in a URL, or in what is said of a refusal.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use syncline_seams::Secret;

use super::access::{Access, Endpoint, Endpoints};
use super::question::{Question, segment};
use super::refusal::Refusal;
use crate::Forge;

/// What Azure DevOps is called in Entra, whatever the tenant.
const AZURE_DEVOPS: &str = "499b84ac-1321-427f-aa17-267ca6975798";
/// How long a token lasts whose forge does not say it, in seconds.
const USUAL_S: i64 = 2 * 60 * 60;
/// The shortest and the longest that a token is believed to last, in seconds.
const BELIEVED_S: std::ops::RangeInclusive<i64> = 60..=30 * 24 * 60 * 60;

/// An application that is registered with a forge.
#[derive(Debug, Clone)]
pub struct OAuthClient {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// Azure DevOps: the tenant of Entra that knows it.
    pub tenant: Option<String>,
}

/// Where a forge's people authorize, and where its tokens are got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthPlace {
    forge: Forge,
    authorize: String,
    /// What the path of the token endpoint is put behind.
    base: String,
    token: String,
}

impl OAuthPlace {
    /// The place of a forge; `None` where there is none, or its tenant is missing.
    #[must_use]
    pub fn of(
        forge: Forge,
        endpoints: &Endpoints,
        endpoint: &Endpoint,
        tenant: Option<&str>,
    ) -> Option<Self> {
        let git = &endpoint.git;
        let (base, authorize, token) = match forge {
            Forge::GitLab => (git, "/oauth/authorize".to_owned(), "/oauth/token".to_owned()),
            Forge::Bitbucket => {
                (git, "/site/oauth2/authorize".to_owned(), "/site/oauth2/access_token".to_owned())
            }
            Forge::AzureDevOps => {
                let below = format!("/{}/oauth2/v2.0", segment(tenant?));
                (&endpoints.entra, format!("{below}/authorize"), format!("{below}/token"))
            }
            Forge::GitHub | Forge::Gitea | Forge::Git => return None,
        };
        Some(Self { forge, authorize: format!("{base}{authorize}"), base: base.clone(), token })
    }

    /// What is asked for; Bitbucket's applications are registered with theirs.
    fn scope(&self) -> Option<String> {
        match self.forge {
            Forge::GitLab => Some("api read_repository".to_owned()),
            Forge::AzureDevOps => Some(format!("{AZURE_DEVOPS}/.default offline_access")),
            Forge::Bitbucket | Forge::GitHub | Forge::Gitea | Forge::Git => None,
        }
    }

    /// Where a browser is sent, which is sent back to `redirect_uri` with `state` and a code that only who knows `verifier`
    /// can exchange.
    #[must_use]
    pub fn authorization_url(
        &self,
        client: &OAuthClient,
        redirect_uri: &str,
        state: &str,
        verifier: &Secret,
    ) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
        let mut query = form_urlencoded::Serializer::new(format!("{}?", self.authorize));
        query
            .append_pair("client_id", &client.id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if let Some(scope) = self.scope() {
            query.append_pair("scope", &scope);
        }
        query.finish().replacen("?&", "?", 1)
    }

    /// Exchanges a code for a token. A forge takes a code once.
    #[must_use]
    pub fn exchange(
        &self,
        client: &OAuthClient,
        redirect_uri: &str,
        code: &Secret,
        verifier: &Secret,
    ) -> Question<OAuthToken> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose().as_str()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.expose().as_str()),
        ];
        self.ask("forges.exchange_code", client, &fields, vec![code.clone(), verifier.clone()])
    }

    /// Has a token replaced. GitLab takes the refresh token and the token before it back by that.
    #[must_use]
    pub fn refresh(&self, client: &OAuthClient, refresh_token: &Secret) -> Question<OAuthToken> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose().as_str())];
        self.ask("forges.refresh_token", client, &fields, vec![refresh_token.clone()])
    }

    fn ask(
        &self,
        point: &'static str,
        client: &OAuthClient,
        fields: &[(&str, &str)],
        mut hidden: Vec<Secret>,
    ) -> Question<OAuthToken> {
        hidden.push(client.secret.clone());
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let access = if self.forge == Forge::Bitbucket {
            // It wants to know its clients so, and no other way.
            Access::new(Forge::Bitbucket, &self.base, Some(&client.id), Some(client.secret.clone()))
        } else {
            form.append_pair("client_id", &client.id).append_pair("client_secret", client.secret.expose());
            Access::new(Forge::Git, &self.base, None, None)
        };
        if let Some(scope) = self.scope() {
            form.append_pair("scope", &scope);
        }
        let question = access.hiding(hidden).form::<Answered>(point, &self.token, form.finish());
        question.and_then(|answered| {
            let is_bearer = answered.token_type.eq_ignore_ascii_case("bearer");
            if !is_bearer || answered.access_token.expose().is_empty() {
                return Err(Refusal::Unavailable("its answer has no bearer token".to_owned()));
            }
            let lifetime_s = answered.expires_in.unwrap_or(USUAL_S);
            Ok(OAuthToken {
                token: answered.access_token,
                refresh_token: answered.refresh_token,
                lifetime_ms: lifetime_s.clamp(*BELIEVED_S.start(), *BELIEVED_S.end()) * 1000,
            })
        })
    }
}

/// Whether a refusal says that what a token was to be got with is good for nothing any more: asking again is of no use.
#[must_use]
pub fn is_grant_over(refusal: &Refusal) -> bool {
    let (Refusal::Invalid(said) | Refusal::Unauthorized(said)) = refusal else { return false };
    ["invalid_grant", "interaction_required", "consent_required"].iter().any(|code| said.contains(code))
}

/// A token, and what the next one is got with.
#[derive(Debug)]
pub struct OAuthToken {
    /// The token.
    pub token: Secret,
    /// What the next one is got with; `None` if the forge gives nothing, or nothing new.
    pub refresh_token: Option<Secret>,
    /// How long it lasts, in milliseconds.
    pub lifetime_ms: i64,
}

#[derive(Deserialize)]
struct Answered {
    access_token: Secret,
    token_type: String,
    #[serde(default)]
    expires_in: Option<i64>,
    #[serde(default)]
    refresh_token: Option<Secret>,
}
