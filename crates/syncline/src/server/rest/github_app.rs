//! Handshakes by GitHub App: one that exists already, and one that is made in a browser.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::Deserialize;
use serde_json::json;
use syncline_seams::Secret;

use super::super::Front;
use super::super::api::Call;
use super::super::authorizing::{Authorized, Subject, app_key};
use super::super::handshakes::{self, AUTHORIZE};
use super::{Answer, ApiError, Resource, Route, read, run};
use crate::grants::AppGrant;

/// The longest private key, in bytes.
const MAX_KEY_BYTES: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Input {
    /// The App's id.
    app_id: u64,
    /// The id of its installation.
    installation_id: u64,
    /// The account that the installation must be of.
    owner: String,
    /// One of the App's private keys, in PEM.
    private_key: Secret,
}

/// `POST /api/v1/connections/{id}/github-app`
pub(super) async fn authorize(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let parameters = json!({ "connectionId": &id, "handshake": "GITHUB_APP" });
    let route = Route::change(AUTHORIZE, parameters).on(Resource::Connection(id.clone()));
    run(front, request, route, async move |call, body| authorize_by_app(&call, &id, &body).await).await
}

async fn authorize_by_app(call: &Call, id: &str, body: &[u8]) -> Answer<Authorized> {
    let input: Input = read(body)?;
    let subject = Subject::of(call, id).await?;
    subject.needs_github()?;
    if input.private_key.expose().len() > MAX_KEY_BYTES {
        return Err(ApiError::validation("privateKey: it must have at most 16384 bytes"));
    }
    if !(1..=100).contains(&input.owner.len()) || input.owner.chars().any(char::is_control) {
        return Err(ApiError::validation("owner: it must have 1 to 100 bytes and no control characters"));
    }
    let key = app_key(input.app_id, input.private_key)?;
    let app = AppGrant { key, installation: input.installation_id };
    let got = subject.token_of_app(call, app, &input.owner).await?;
    subject.store(call, got, Some(input.owner)).await
}

/// `POST /api/v1/connections/{id}/github-app/manifest`
pub(super) async fn begin(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let route =
        Route::change("BeginHandshake", json!({ "connectionId": &id, "handshake": "GITHUB_APP_MANIFEST" }))
            .needing(AUTHORIZE)
            .on(Resource::Connection(id.clone()));
    run(front, request, route, async move |call, body| {
        let choice = if body.is_empty() { handshakes::Choice::default() } else { read(&body)? };
        handshakes::begin_github_app(&call, &id, choice).await
    })
    .await
}
