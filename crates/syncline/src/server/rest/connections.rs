//! The handshake by token, or by SSH key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::Deserialize;
use syncline_forges::rest::{Access, is_only_narrow, whoami};
use syncline_seams::Secret;
use syncline_store::{CredentialRow, Owner};
use syncline_wire::{ErrorCode, ProviderType};

use super::super::Front;
use super::super::api::Call;
use super::super::api::arns::arn;
use super::super::authorizing::{Authorized, MOVED, Subject, organization, unsupported};
use super::{Answer, ApiError, Resource, Route, read, run, ssh};
use crate::worker::StoredCredential;

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorize {
    /// The token; `null` or absent where repositories are read without one.
    #[serde(default)]
    pub(super) token: Option<Secret>,
    /// The user name the token is sent with; forges that look only at the token take any.
    #[serde(default)]
    pub(super) username: Option<String>,
    /// Azure DevOps: the organization at which the token is tried.
    #[serde(default)]
    pub(super) organization: Option<String>,
    /// SSH: the private key, in OpenSSH's format.
    #[serde(default, rename = "sshKey")]
    pub(super) ssh_key: Option<Secret>,
    /// SSH: what the host is known by, as lines of known_hosts, public keys or fingerprints.
    #[serde(default, rename = "hostKeys")]
    pub(super) host_keys: Option<String>,
}

/// `POST /api/v1/connections/{id}/authorize`
pub(super) async fn authorize(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("AuthorizeConnection", serde_json::json!({ "connectionId": &id }))
        .on(Resource::Connection(id.clone()));
    run(front, request, route, async move |call, body| authorize_connection(&call, &id, &body).await).await
}

async fn authorize_connection(call: &Call, id: &str, body: &[u8]) -> Answer<Authorized> {
    let input: Authorize = read(body)?;
    let store = &call.front.store;
    let Some(connection) = store.connection(&call.scope, id).await? else {
        return Err(ApiError::not_found("connection", id));
    };
    let connection_arn = arn(&call.scope, &connection.service, "connection", id);
    let mut row = CredentialRow { sealed: None, tried_at: None };
    let (mut account, mut host_keys) = (None, None);
    let owner = Owner { account: call.scope.account.as_str(), arn: &connection_arn };
    if let Some(shown) = ssh::show_key(call, &connection, &input).await? {
        row.sealed = Some(store.keyring().seal(&owner, shown.credential.to_bytes().expose())?);
        row.tried_at = Some(shown.endpoint);
        host_keys = Some(shown.host_keys);
    } else if let Some(token) = &input.token {
        check_token(token.expose(), input.username.as_deref())?;
        let is_git = connection.provider_type == ProviderType::Git.as_str();
        let tried = if is_git {
            Tried::default()
        } else {
            let subject = Subject::of_connection(call, connection).await?;
            try_token(call, &subject, &input, token).await?
        };
        let username = input.username.clone().or_else(|| is_git.then(|| "git".to_owned()));
        let stored = StoredCredential { username, token: token.clone(), bearer: false, host_keys: None };
        row.sealed = Some(store.keyring().seal(&owner, stored.to_bytes().expose())?);
        row.tried_at = tried.host;
        account = tried.account;
    }
    let change = call.asked.change(|is_stored| {
        let authorized = Authorized { connection_arn, connection_status: "AVAILABLE", account, host_keys };
        if is_stored { Ok(authorized) } else { Err(ApiError::new(ErrorCode::Conflict, MOVED)) }
    });
    store.authorize_connection(&call.scope, id, row, change).await?
}

/// What came of trying a token.
#[derive(Debug, Default)]
struct Tried {
    /// The endpoint of the connection's host, if it has one.
    host: Option<String>,
    /// Whose it is, as far as the token may say it.
    account: Option<String>,
}

/// Shows a token to its forge.
async fn try_token(call: &Call, subject: &Subject, input: &Authorize, token: &Secret) -> Answer<Tried> {
    let forges = &call.front.forges;
    let organization = organization(subject.forge, input.organization.as_deref())?;
    let (api, username) = (&subject.endpoint.api, input.username.as_deref());
    let access = Access::new(subject.forge, api, username, Some(token.clone()));
    let question =
        whoami(&access, organization).ok_or_else(|| unsupported(&subject.connection.provider_type))?;
    let account = match forges.ask(subject.place().extra_root_pem, question).await {
        Ok(account) => Some(account),
        Err(refusal) if is_only_narrow(subject.forge, &refusal) => None,
        Err(refusal) => return Err(subject.not_authorized("token", &refusal)),
    };
    Ok(Tried { host: subject.host.clone(), account })
}

fn check_token(token: &str, username: Option<&str>) -> Answer<()> {
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || token.chars().any(char::is_control) {
        return Err(ApiError::validation("token: it must have 1 to 4096 bytes and no control characters"));
    }
    check_username(username)
}

pub(super) fn check_username(username: Option<&str>) -> Answer<()> {
    if username.is_some_and(|name| {
        name.is_empty() || name.len() > 256 || name.contains(':') || name.chars().any(char::is_control)
    }) {
        return Err(ApiError::validation(
            "username: it must have 1 to 256 bytes and neither ':' nor control characters",
        ));
    }
    Ok(())
}
