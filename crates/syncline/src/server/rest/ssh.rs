//! The handshake by SSH key: the host shows its key first, and ours is shown only to a host that is known.

use syncline_git::{GitError, HostKeys, Remote, RemoteUrl, SshAccess};
use syncline_seams::Secret;
use syncline_store::Connection;
use syncline_wire::{ErrorCode, ProviderType};

use super::super::api::Call;
use super::connections::{Authorize, check_username};
use super::{Answer, ApiError};
use crate::worker::StoredCredential;

/// The longest private key, in bytes; one of RSA with 16,384 bits has 13,000.
const MAX_KEY_BYTES: usize = 32 * 1024;

/// What came of showing a key.
pub(super) struct Shown {
    /// What is to be stored.
    pub(super) credential: StoredCredential,
    /// Where it was shown.
    pub(super) endpoint: String,
    /// The keys by which the host is known from now on, as they are told to people.
    pub(super) host_keys: String,
}

/// Shows a key to a connection's host; `None` where the connection is not one by SSH and none is given.
pub(super) async fn show_key(
    call: &Call,
    connection: &Connection,
    input: &Authorize,
) -> Answer<Option<Shown>> {
    let host = match &connection.host {
        Some((host, _)) if connection.provider_type == ProviderType::Git.as_str() => {
            call.front.store.host(&call.scope, host).await?
        }
        _ => None,
    };
    let endpoint = host.map(|host| host.provider_endpoint);
    let url = endpoint.as_deref().and_then(|at| RemoteUrl::of_repository(at, "owner", "repository").ok());
    let reached = url.filter(|url| url.ssh().is_some()).zip(endpoint);
    let Some((url, endpoint)) = reached else {
        return match (&input.ssh_key, &input.host_keys) {
            (None, None) => Ok(None),
            _ => Err(ApiError::validation(
                "sshKey: the connection's host is not reached by SSH: keys are for hosts of ProviderType Git whose \
                 ProviderEndpoint begins with ssh:// or is user@host:path",
            )),
        };
    };
    let Some(key) = &input.ssh_key else {
        return Err(ApiError::validation(format!(
            "sshKey: {endpoint} is reached by SSH, which takes a private key and nothing else (--ssh-key)"
        )));
    };
    if input.token.is_some() || input.organization.is_some() {
        return Err(ApiError::validation("token: a connection has a token or an SSH key"));
    }
    check_username(input.username.as_deref())?;
    if let (Some((Some(named), _)), Some(given)) = (url.ssh(), &input.username)
        && named != given
    {
        return Err(ApiError::validation(format!("username: {endpoint} names the user '{named}' already")));
    }
    let remote = remote(url, key, input)?;
    let known = call.front.git.introduce(&remote).await.map_err(|error| refused(&error))?;
    let credential = StoredCredential {
        username: input.username.clone(),
        token: key.clone(),
        bearer: false,
        host_keys: Some(known.to_string()),
    };
    Ok(Some(Shown { credential, endpoint, host_keys: known.told() }))
}

fn remote(url: RemoteUrl, key: &Secret, input: &Authorize) -> Answer<Remote> {
    if key.expose().len() > MAX_KEY_BYTES {
        return Err(ApiError::validation(format!("sshKey: it must have at most {MAX_KEY_BYTES} bytes")));
    }
    let lines = input.host_keys.as_deref().unwrap_or_default();
    let host_keys = HostKeys::read(lines, &url)
        .map_err(|error| ApiError::validation(format!("hostKeys: {error}; nothing was stored")))?;
    let ssh = SshAccess { username: input.username.clone(), key: key.clone(), host_keys };
    // Before anybody is called for it.
    ssh.public_key().map_err(|error| ApiError::validation(format!("sshKey: {error}; nothing was stored")))?;
    Ok(Remote { url, credential: None, ssh: Some(ssh), extra_root_pem: None })
}

/// A key that is not stored, and why.
fn refused(error: &GitError) -> ApiError {
    match error {
        GitError::UnknownHost { message } => {
            ApiError::validation(format!("hostKeys: {message} (--host-key); nothing was stored"))
        }
        GitError::Unauthorized { message } => {
            ApiError::validation(format!("sshKey: {message}; nothing was stored"))
        }
        GitError::RefusedByPolicy { .. } => ApiError::validation(format!("{error}; nothing was stored")),
        _ => ApiError::new(ErrorCode::ResourceUnavailable, format!("{error}; nothing was stored: try again")),
    }
}
