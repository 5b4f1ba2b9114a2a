//! The handshake by token, or by SSH key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::{Deserialize, Serialize};
use syncline_forges::Forge;
use syncline_forges::rest::{Access, Refusal, is_only_narrow, whoami};
use syncline_seams::Secret;
use syncline_store::{Connection, CredentialRow, Owner};
use syncline_wire::{ErrorCode, ProviderType};

use super::super::Front;
use super::super::api::Call;
use super::super::api::arns::arn;
use super::{Answer, ApiError, Resource, Route, read, run, ssh};
use crate::worker::{StoredCredential, extra_root};

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// The longest name of an organization, in bytes.
const MAX_ORGANIZATION_BYTES: usize = 100;

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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Authorized {
    connection_arn: String,
    connection_status: &'static str,
    /// Whose the token is, where the forge says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// SSH: the keys by which the host is known from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_keys: Option<String>,
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
        let tried =
            if is_git { Tried::default() } else { try_token(call, &connection, &input, token).await? };
        let username = input.username.clone().or_else(|| is_git.then(|| "git".to_owned()));
        let stored = StoredCredential { username, token: token.clone(), host_keys: None };
        row.sealed = Some(store.keyring().seal(&owner, stored.to_bytes().expose())?);
        row.tried_at = tried.host;
        account = tried.account;
    }
    let change = call.asked.change(|is_stored| {
        let authorized = Authorized { connection_arn, connection_status: "AVAILABLE", account, host_keys };
        let gone = "the connection was deleted, or its host moved, while the credential was tried: nothing was stored";
        if is_stored { Ok(authorized) } else { Err(ApiError::new(ErrorCode::Conflict, gone)) }
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
async fn try_token(call: &Call, connection: &Connection, input: &Authorize, token: &Secret) -> Answer<Tried> {
    let provider_type = &connection.provider_type;
    let host = match &connection.host {
        None => None,
        Some((host, _)) => call.front.store.host(&call.scope, host).await?,
    };
    let host_endpoint = host.as_ref().map(|host| host.provider_endpoint.clone());
    let forges = &call.front.forges;
    let endpoint = forges.endpoints().of(provider_type, host_endpoint.as_deref());
    let unsupported = || {
        let message = format!("connections of provider type {provider_type} cannot be authorized");
        ApiError::new(ErrorCode::UnsupportedProviderType, message)
    };
    let (forge, endpoint) = Forge::of_provider_type(provider_type).zip(endpoint).ok_or_else(unsupported)?;
    let organization = organization(forge, input.organization.as_deref())?;
    let access = Access::new(forge, &endpoint.api, input.username.as_deref(), Some(token.clone()));
    let question = whoami(&access, organization).ok_or_else(unsupported)?;
    let extra_root_pem = host.and_then(|host| extra_root(host.vpc_configuration.as_deref()));
    let account = match forges.ask(extra_root_pem.as_deref(), question).await {
        Ok(account) => Some(account),
        Err(refusal) if is_only_narrow(forge, &refusal) => None,
        Err(refusal) => return Err(not_authorized(provider_type, &endpoint.api, &refusal)),
    };
    Ok(Tried { host: host_endpoint, account })
}

/// The organization that a token is tried at: Azure DevOps has to be told it, nobody else has any.
fn organization(forge: Forge, given: Option<&str>) -> Answer<Option<&str>> {
    let is_name = |name: &str| {
        (1..=MAX_ORGANIZATION_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    match (forge, given) {
        (Forge::AzureDevOps, None) => Err(ApiError::validation(
            "organization: a token of Azure DevOps is good for one organization: name it, as in dev.azure.com/<organization>",
        )),
        (Forge::AzureDevOps, Some(name)) if !is_name(name) => {
            let rule = "letters, digits, '-' and '_', at most 100 of them";
            Err(ApiError::validation(format!("organization: it must consist of {rule}")))
        }
        (Forge::AzureDevOps, Some(name)) => Ok(Some(name)),
        (_, Some(_)) => Err(ApiError::validation("organization: only Azure DevOps has them")),
        (_, None) => Ok(None),
    }
}

/// A token that is not stored, and why.
fn not_authorized(provider_type: &str, api: &str, refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::Throttled { .. } | Refusal::Unavailable(_) => ApiError::new(
            ErrorCode::ResourceUnavailable,
            format!(
                "{provider_type} at {api} cannot be asked about the token now, so nothing was stored; try again: {refusal}"
            ),
        ),
        Refusal::Unauthorized(_) | Refusal::Forbidden(_) | Refusal::NotFound(_) | Refusal::Invalid(_) => {
            ApiError::validation(format!(
                "{provider_type} at {api} does not confirm the token, so nothing was stored: {refusal}"
            ))
        }
    }
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
