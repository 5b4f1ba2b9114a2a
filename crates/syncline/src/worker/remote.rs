//! From a repository link to the remote and the forge it names.

use serde::Deserialize;
use syncline_forges::Forge;
use syncline_forges::rest::{Access, Endpoint, Endpoints, Repository, git_username};
use syncline_git::{Credential, GitError, HostKeys, Remote, RemoteUrl, SshAccess};
use syncline_model::plan::Trouble;
use syncline_model::sync::BlockerKind;
use syncline_seams::Secret;
use syncline_store::{ConnectionStatus, LinkConnection, LinkRecord, Owner, Store};

use crate::forges::Reached;

/// A connection's credential, as it is sealed: JSON of user name and token.
#[derive(Deserialize)]
pub(crate) struct StoredCredential {
    /// The one that was given with the token.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The token, or a private key.
    pub(crate) token: Secret,
    /// What an SSH host is known by; then the token is a private key for it.
    #[serde(default, rename = "hostKeys")]
    pub(crate) host_keys: Option<String>,
    /// Whether it is one of OAuth, which is sent as a bearer token.
    #[serde(default)]
    pub(crate) bearer: bool,
}

impl StoredCredential {
    /// The bytes to seal.
    pub(crate) fn to_bytes(&self) -> Secret<Vec<u8>> {
        let mut credential = serde_json::json!({ "username": &self.username, "token": self.token.expose() });
        if self.bearer {
            credential["bearer"] = true.into();
        }
        if let Some(keys) = &self.host_keys {
            credential["hostKeys"] = keys.as_str().into();
        }
        serde_json::to_vec(&credential).unwrap_or_default().into()
    }
}

/// A trouble that may pass.
pub(super) fn outage(blocker: BlockerKind, reason: impl Into<String>) -> Trouble {
    Trouble::Outage { blocker, reason: reason.into(), retry_after_ms: None }
}

/// A link's forge, opened.
struct Opened {
    forge: Forge,
    endpoint: Endpoint,
    credential: Option<StoredCredential>,
    extra_root_pem: Option<String>,
}

/// The forge of a link with its credential.
async fn opened(store: &Store, endpoints: &Endpoints, record: &LinkRecord) -> Result<Opened, Trouble> {
    let unusable = |reason: String| outage(BlockerKind::ConnectionUnavailable, reason);
    let Some(connection) = &record.connection else {
        return Err(unusable(format!("the connection {} was deleted", record.link.connection_arn)));
    };
    if connection.status == ConnectionStatus::Pending {
        return Err(unusable(match &connection.status_reason {
            None => format!("the connection {} is PENDING: authorize it", connection.arn),
            Some(why) => {
                format!("the connection {} is PENDING, for {why}: authorize it again", connection.arn)
            }
        }));
    }
    if let Some(why) = &connection.ran_out {
        return Err(unusable(format!("the token of the connection {} ran out: {why}", connection.arn)));
    }
    let provider_type = &record.link.provider_type;
    let endpoint = endpoints.of(provider_type, connection.provider_endpoint.as_deref());
    let Some((forge, endpoint)) = Forge::of_provider_type(provider_type).zip(endpoint) else {
        let arn = &connection.arn;
        return Err(unusable(format!("the connection {arn} of provider type {provider_type} has no host")));
    };
    let credential = credential(store, &record.account, connection).await?;
    let extra_root_pem = extra_root(connection.vpc_configuration.as_deref());
    Ok(Opened { forge, endpoint, credential, extra_root_pem })
}

async fn credential(
    store: &Store,
    account: &str,
    connection: &LinkConnection,
) -> Result<Option<StoredCredential>, Trouble> {
    let Some(sealed) = &connection.credential else { return Ok(None) };
    let owner = Owner { account, arn: &connection.arn };
    let refused = |why: String| outage(BlockerKind::CredentialRefused, why);
    let opened = store.keyring().open_sealed(&owner, sealed).await;
    let opened = opened.map_err(|error| refused(error.to_string()))?;
    let stored = serde_json::from_slice(opened.expose());
    stored.map(Some).map_err(|_| refused("the stored credential is unreadable".to_owned()))
}

/// The certificates that a host's VPC configuration, JSON in the API's shape, names for it.
pub(crate) fn extra_root(vpc_configuration: Option<&str>) -> Option<String> {
    let vpc: serde_json::Value = serde_json::from_str(vpc_configuration?).ok()?;
    vpc.get("TlsCertificate")?.as_str().map(str::to_owned)
}

/// The remote of a link, with its credential opened.
pub(crate) async fn remote(
    store: &Store,
    endpoints: &Endpoints,
    record: &LinkRecord,
) -> Result<Remote, Trouble> {
    let Opened { forge, endpoint, credential, extra_root_pem } = opened(store, endpoints, record).await?;
    let url = clone_url(forge, &endpoint.git, &record.link.owner_id, &record.link.repository_name)
        .map_err(|reason| outage(BlockerKind::RepositoryNotFound, reason))?;
    let (credential, ssh) = match credential {
        Some(StoredCredential { username, token: key, host_keys: Some(lines), .. }) => {
            let host_keys = HostKeys::read(&lines, &url)
                .map_err(|error| outage(BlockerKind::CredentialRefused, format!("its host keys: {error}")))?;
            (None, Some(SshAccess { username, key, host_keys }))
        }
        Some(StoredCredential { username, token: password, bearer, host_keys: None }) => {
            let username = match forge {
                // The others take one as a password.
                Forge::AzureDevOps if bearer => String::new(),
                _ => git_username(forge, username.as_deref()),
            };
            (Some(Credential { username, password }), None)
        }
        None => (None, None),
    };
    if ssh.is_some() != url.ssh().is_some() {
        let arn = record.connection.as_ref().map_or("", |connection| &connection.arn);
        let reason =
            format!("the connection {arn} was authorized for another kind of remote: authorize it again");
        return Err(outage(BlockerKind::CredentialRefused, reason));
    }
    Ok(Remote { url, credential, ssh, extra_root_pem })
}

/// The forge of a link as its connection may ask it; `None` for type `Git`, which has no API.
pub(crate) async fn reached(
    store: &Store,
    endpoints: &Endpoints,
    record: &LinkRecord,
) -> Result<Option<Reached>, Trouble> {
    let Opened { forge, endpoint, credential, extra_root_pem } = opened(store, endpoints, record).await?;
    if forge == Forge::Git {
        return Ok(None);
    }
    let access = match credential {
        Some(stored) if stored.bearer => Access::bearer(forge, &endpoint.api, stored.token),
        Some(stored) => Access::new(forge, &endpoint.api, stored.username.as_deref(), Some(stored.token)),
        None => Access::new(forge, &endpoint.api, None, None),
    };
    let repository =
        Repository { owner: record.link.owner_id.clone(), name: record.link.repository_name.clone() };
    Ok(Some(Reached { access, repository, extra_root_pem }))
}

/// Where a repository is cloned from, or why that is no place.
pub(crate) fn clone_url(forge: Forge, git: &str, owner: &str, name: &str) -> Result<RemoteUrl, String> {
    let url = match (forge, owner.split_once('/')) {
        (Forge::AzureDevOps, Some((organization, project))) if !project.contains('/') => {
            RemoteUrl::below(git, &[organization, project, "_git", name])
        }
        (Forge::AzureDevOps, _) => {
            return Err(format!(
                "OwnerId '{owner}' is not <organization>/<project>, as Azure DevOps needs it"
            ));
        }
        _ => RemoteUrl::of_repository(git, owner, name),
    };
    url.map_err(|error| error.to_string())
}

/// What a failure to read a repository means for its syncs.
pub(crate) fn trouble_of(error: &GitError) -> Trouble {
    let reason = error.to_string();
    match error {
        GitError::Unavailable { .. } | GitError::CommitGone { .. } | GitError::Internal { .. } => {
            outage(BlockerKind::RepositoryUnavailable, reason)
        }
        GitError::Throttled { retry_after_ms, .. } => Trouble::Outage {
            blocker: BlockerKind::RepositoryUnavailable,
            reason,
            retry_after_ms: Some(retry_after_ms.unwrap_or(0)),
        },
        GitError::Unauthorized { .. } => outage(BlockerKind::CredentialRefused, reason),
        // Nothing is wrong with the repository: the connection does not lead to it any more.
        GitError::UnknownHost { .. } => outage(BlockerKind::ConnectionUnavailable, reason),
        GitError::RepositoryNotFound { .. } | GitError::RefusedByPolicy { .. } => {
            outage(BlockerKind::RepositoryNotFound, reason)
        }
        GitError::Missing { .. }
        | GitError::NotRegularFile { .. }
        | GitError::TooLarge { .. }
        | GitError::CommitTooLarge { .. }
        | GitError::Malformed { .. } => Trouble::Refused { blocker: BlockerKind::InvalidFile, reason },
    }
}
