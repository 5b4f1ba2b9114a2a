//! From a repository link to the remote it names.

use serde::Deserialize;
use syncline_git::{Credential, GitError, Remote, RemoteUrl};
use syncline_model::plan::Trouble;
use syncline_model::sync::BlockerKind;
use syncline_seams::Secret;
use syncline_store::{ConnectionStatus, LinkRecord, Owner, Store};

/// A connection's credential, as it is sealed: JSON of user name and token.
#[derive(Deserialize)]
pub(crate) struct StoredCredential {
    pub(crate) username: String,
    pub(crate) token: Secret,
}

impl StoredCredential {
    /// The bytes to seal.
    pub(crate) fn to_bytes(&self) -> Secret<Vec<u8>> {
        let credential = serde_json::json!({ "username": &self.username, "token": self.token.expose() });
        serde_json::to_vec(&credential).unwrap_or_default().into()
    }
}

/// A trouble that may pass.
pub(super) fn outage(blocker: BlockerKind, reason: impl Into<String>) -> Trouble {
    Trouble::Outage { blocker, reason: reason.into(), retry_after_ms: None }
}

/// The remote of a link, with its credential opened.
pub(crate) async fn remote(store: &Store, record: &LinkRecord) -> Result<Remote, Trouble> {
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
    let Some(endpoint) = &connection.provider_endpoint else {
        return Err(unusable(format!(
            "repositories of provider type {} cannot be read by this version; use a host of provider type Git",
            record.link.provider_type
        )));
    };
    let url = RemoteUrl::of_repository(endpoint, &record.link.owner_id, &record.link.repository_name)
        .map_err(|error| outage(BlockerKind::RepositoryNotFound, error.to_string()))?;
    let credential = match &connection.credential {
        None => None,
        Some(sealed) => {
            let owner = Owner { account: &record.account, arn: &connection.arn };
            let opened = store
                .keyring()
                .open_sealed(&owner, sealed)
                .await
                .map_err(|error| outage(BlockerKind::CredentialRefused, error.to_string()))?;
            let stored: StoredCredential = serde_json::from_slice(opened.expose())
                .map_err(|_| outage(BlockerKind::CredentialRefused, "the stored credential is unreadable"))?;
            Some(Credential { username: stored.username, password: stored.token })
        }
    };
    let extra_root_pem = connection
        .vpc_configuration
        .as_deref()
        .and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok())
        .and_then(|vpc| vpc.get("TlsCertificate")?.as_str().map(str::to_owned));
    Ok(Remote { url, credential, extra_root_pem })
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
