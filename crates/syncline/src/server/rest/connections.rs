//! The handshake by token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::{Deserialize, Serialize};
use syncline_seams::Secret;
use syncline_store::{CredentialRow, Owner};
use syncline_wire::{ErrorCode, ProviderType};

use super::super::Front;
use super::super::api::Call;
use super::super::api::arns::arn;
use super::{Answer, ApiError, Resource, Route, read, run};
use crate::worker::StoredCredential;

/// The longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorize {
    /// The token; `null` or absent for a remote that needs none.
    #[serde(default)]
    token: Option<Secret>,
    /// The user name the token is sent with; forges that look only at the token take any.
    #[serde(default)]
    username: Option<String>,
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
}

async fn authorize_connection(call: &Call, id: &str, body: &[u8]) -> Answer<Authorized> {
    let input: Authorize = read(body)?;
    let store = &call.front.store;
    let missing = ApiError::not_found("connection", id);
    let Some(connection) = store.connection(&call.scope, id).await? else { return Err(missing) };
    if connection.provider_type != ProviderType::Git.as_str() {
        return Err(ApiError::new(
            ErrorCode::UnsupportedProviderType,
            format!(
                "connections of provider type {} cannot be authorized by this version; use a host of provider type Git",
                connection.provider_type
            ),
        ));
    }
    let connection_arn = arn(&call.scope, &connection.service, "connection", id);
    let sealed = match &input.token {
        None => None,
        Some(token) => {
            check_token(token.expose(), input.username.as_deref())?;
            let stored = StoredCredential {
                username: input.username.clone().unwrap_or_else(|| "git".to_owned()),
                token: token.clone(),
            };
            let owner = Owner { account: call.scope.account.as_str(), arn: &connection_arn };
            Some(store.keyring().seal(&owner, stored.to_bytes().expose())?)
        }
    };
    let change = call.asked.change(|found| {
        let authorized = Authorized { connection_arn, connection_status: "AVAILABLE" };
        if found { Ok(authorized) } else { Err(missing) }
    });
    store.authorize_connection(&call.scope, id, CredentialRow { sealed }, change).await?
}

fn check_token(token: &str, username: Option<&str>) -> Answer<()> {
    let invalid = |message: &str| Err(ApiError::new(ErrorCode::Validation, message));
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
