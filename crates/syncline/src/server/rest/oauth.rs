//! The handshake by OAuth: begun here, completed in a browser.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde_json::json;

use super::super::Front;
use super::super::handshakes::{self, AUTHORIZE};
use super::{Resource, Route, read, run};

/// `POST /api/v1/connections/{id}/oauth`
pub(super) async fn begin(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let parameters = json!({ "connectionId": &id, "handshake": "OAUTH_CODE" });
    let route =
        Route::change("BeginHandshake", parameters).needing(AUTHORIZE).on(Resource::Connection(id.clone()));
    run(front, request, route, async move |call, body| {
        handshakes::begin_oauth(&call, &id, read(&body)?).await
    })
    .await
}
