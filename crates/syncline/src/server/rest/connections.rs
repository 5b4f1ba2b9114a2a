//! The handshake by token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};
use serde::Deserialize;
use syncline_store::{CredentialRow, Owner};
use syncline_wire::{ErrorCode, ProviderType};
use zeroize::Zeroizing;

use super::super::Front;
use super::super::api::arns::arn;
use super::{RestError, Signed, json};
use crate::worker::StoredCredential;

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorize {
    /// The token; `null` or absent for a remote that needs none.
    #[serde(default)]
    token: Option<Zeroizing<String>>,
    /// The user name the token is sent with; forges that look only at the token take any.
    #[serde(default)]
    username: Option<String>,
}

/// `POST /api/v1/connections/{id}/authorize`
pub(super) async fn authorize(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, RestError> {
    let signed = Signed::verify(&front, request).await?;
    let input: Authorize = signed.json()?;
    let missing = || RestError::new(ErrorCode::ResourceNotFound, format!("Could not find connection:{id}"));
    let connection = front.store.connection(&signed.scope, &id)?.ok_or_else(missing)?;
    if connection.provider_type != ProviderType::Git.as_str() {
        return Err(RestError::new(
            ErrorCode::UnsupportedProviderType,
            format!(
                "connections of provider type {} cannot be authorized by this version; use a host of provider type Git",
                connection.provider_type
            ),
        ));
    }
    let connection_arn = arn(&signed.scope, &connection.service, "connection", &id);
    let sealed = match &input.token {
        None => None,
        Some(token) => {
            check_token(token, input.username.as_deref())?;
            let stored = StoredCredential {
                username: input.username.clone().unwrap_or_else(|| "git".to_owned()),
                token: (**token).clone(),
            };
            let owner = Owner { account: signed.scope.account.as_str(), arn: &connection_arn };
            Some(front.store.keyring().seal(&owner, &stored.to_bytes())?)
        }
    };
    if !front.store.authorize_connection(&signed.scope, &id, CredentialRow { sealed }).await? {
        return Err(missing());
    }
    Ok(json(
        StatusCode::OK,
        &serde_json::json!({ "connectionArn": connection_arn, "connectionStatus": "AVAILABLE" }),
    ))
}

fn check_token(token: &str, username: Option<&str>) -> Result<(), RestError> {
    let invalid = |message: &str| Err(RestError::new(ErrorCode::Validation, message));
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || token.chars().any(char::is_control) {
        return invalid("token: it must have 1 to 4096 bytes and no control characters");
    }
    if username.is_some_and(|name| {
        name.is_empty() || name.len() > 256 || name.contains(':') || name.chars().any(char::is_control)
    }) {
        return invalid("username: it must have 1 to 256 bytes and neither ':' nor control characters");
    }
    Ok(())
}
