//! Where forges are, and as whom they are asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use syncline_seams::Secret;

use crate::Forge;

/// What every forge is told of who asks; GitHub refuses who does not say it.
const AGENT: &str = concat!("syncline/", env!("CARGO_PKG_VERSION"));
/// The version of GitHub's API that answers are read as.
const GITHUB_VERSION: &str = "2022-11-28";

/// A forge's two sides, neither with a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What every path of its REST API is put behind.
    pub api: String,
    /// What the path of a repository is put behind to clone it.
    pub git: String,
}

impl Endpoint {
    fn new(api: impl Into<String>, git: impl Into<String>) -> Self {
        Self { api: api.into(), git: git.into() }
    }
}

/// Where the forges are that everybody shares; tests put doubles in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// github.com
    pub github: Endpoint,
    /// gitlab.com
    pub gitlab: Endpoint,
    /// bitbucket.org
    pub bitbucket: Endpoint,
    /// dev.azure.com
    pub azure_devops: Endpoint,
    /// Where Microsoft Entra authorizes for Azure DevOps, without a slash at the end.
    pub entra: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            github: Endpoint::new("https://api.github.com", "https://github.com"),
            gitlab: Endpoint::new("https://gitlab.com/api/v4", "https://gitlab.com"),
            bitbucket: Endpoint::new("https://api.bitbucket.org/2.0", "https://bitbucket.org"),
            azure_devops: Endpoint::new("https://dev.azure.com", "https://dev.azure.com"),
            entra: "https://login.microsoftonline.com".to_owned(),
        }
    }
}

impl Endpoints {
    /// Where the forge of a provider type is: `host` is the `ProviderEndpoint` of its host, if it has one. `None` for an
    /// unknown type, and for one that needs a host without one. Type `Git` has no API: there the API's place is its host's.
    #[must_use]
    pub fn of(&self, provider_type: &str, host: Option<&str>) -> Option<Endpoint> {
        let host = host.map(|host| host.trim_end_matches('/'));
        let below = |path: &str| host.map(|host| Endpoint::new(format!("{host}{path}"), host));
        match provider_type {
            "GitHub" => Some(self.github.clone()),
            "GitLab" => Some(self.gitlab.clone()),
            "Bitbucket" => Some(self.bitbucket.clone()),
            "AzureDevOps" => Some(self.azure_devops.clone()),
            "GitHubEnterpriseServer" => below("/api/v3"),
            "GitLabSelfManaged" => below("/api/v4"),
            "Gitea" => below("/api/v1"),
            "Git" => below(""),
            _ => None,
        }
    }
}

/// The user name that a token is sent with to a forge's Git server: the one that was given with it where that counts.
#[must_use]
pub fn git_username(forge: Forge, given: Option<&str>) -> String {
    let name = match (forge, given) {
        (Forge::GitHub, _) => "x-access-token",
        (Forge::AzureDevOps, _) => "syncline",
        // An API token belongs to a user, who is named by an e-mail address for REST and not at all here.
        (Forge::Bitbucket, Some(email)) if email.contains('@') => "x-bitbucket-api-token-auth",
        (Forge::Bitbucket, None) => "x-token-auth",
        (Forge::GitLab, None) => "oauth2",
        (Forge::Gitea | Forge::Git, None) => "git",
        (Forge::Bitbucket | Forge::GitLab | Forge::Gitea | Forge::Git, Some(name)) => name,
    };
    name.to_owned()
}

/// A forge as one connection may ask it.
#[derive(Debug, Clone)]
pub struct Access {
    forge: Forge,
    base: String,
    token: Option<Secret>,
    /// The token as it is sent.
    sent: Option<Secret>,
    /// Whether it is sent as a bearer token, whatever the forge's own tokens are sent as.
    is_bearer: bool,
    /// What else is in no message.
    hidden: Vec<Secret>,
}

impl Access {
    /// A forge whose API is at `api`, asked with a token and the user name given with it, or as nobody.
    #[must_use]
    pub fn new(forge: Forge, api: &str, username: Option<&str>, token: Option<Secret>) -> Self {
        let basic = |user: &str, token: &Secret| {
            Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{}", token.expose()))))
        };
        let prefixed = |scheme: &str, token: &Secret| Secret::new(format!("{scheme}{}", token.expose()));
        let sent = token.as_ref().map(|token| match (forge, username) {
            (Forge::Bitbucket, Some(user)) => basic(user, token),
            (Forge::GitHub | Forge::Bitbucket | Forge::Git, _) => prefixed("Bearer ", token),
            (Forge::GitLab, _) => token.clone(),
            (Forge::AzureDevOps, _) => basic("", token),
            (Forge::Gitea, _) => prefixed("token ", token),
        });
        let base = api.trim_end_matches('/').to_owned();
        Self { forge, base, token, sent, is_bearer: false, hidden: Vec::new() }
    }

    /// A forge whose API is at `api`, asked with a token of OAuth.
    #[must_use]
    pub fn bearer(forge: Forge, api: &str, token: Secret) -> Self {
        let sent = Secret::new(format!("Bearer {}", token.expose()));
        Self { token: Some(token), sent: Some(sent), is_bearer: true, ..Self::new(forge, api, None, None) }
    }

    /// The same; these are in no message either.
    pub(crate) fn hiding(self, hidden: Vec<Secret>) -> Self {
        Self { hidden, ..self }
    }

    /// The kind of forge.
    #[must_use]
    pub fn forge(&self) -> Forge {
        self.forge
    }

    /// Whether it is asked without a token.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.token.is_none()
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What every request to the forge is sent with; `None` if the token cannot be written into a header.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let accept = match self.forge {
            Forge::GitHub => "application/vnd.github+json",
            Forge::AzureDevOps | Forge::Bitbucket | Forge::Git | Forge::GitLab | Forge::Gitea => {
                "application/json"
            }
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if self.forge == Forge::GitHub {
            headers.insert("x-github-api-version", HeaderValue::from_static(GITHUB_VERSION));
        }
        if let Some(sent) = &self.sent {
            let mut value = HeaderValue::from_bytes(sent.expose().as_bytes()).ok()?;
            value.set_sensitive(true);
            let name = match self.forge {
                Forge::GitLab if !self.is_bearer => HeaderName::from_static("private-token"),
                Forge::AzureDevOps
                | Forge::Bitbucket
                | Forge::Git
                | Forge::GitHub
                | Forge::GitLab
                | Forge::Gitea => AUTHORIZATION,
            };
            headers.insert(name, value);
        }
        Some(headers)
    }

    /// A text of somebody else without the token, in whatever form it was sent.
    pub(crate) fn without_token(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in [&self.sent, &self.token].into_iter().flatten().chain(&self.hidden) {
            let secret = secret.expose();
            let bare = secret.rsplit(' ').next().unwrap_or(secret);
            for form in [secret.as_str(), bare] {
                if !form.is_empty() {
                    text = text.replace(form, "***");
                }
            }
        }
        text
    }
}
