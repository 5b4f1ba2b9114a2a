//! The REST API under `/api/v1`: what the AWS API has no operation for. Requests are signed with SigV4 for
//! the service `codeconnections`, as `curl --aws-sigv4` does.

mod connections;
mod syncs;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use syncline_store::Scope;
use syncline_wire::{ErrorCode, Service, WireError};
use tracing::info;
use uuid::Uuid;

use super::error::ApiError;
use super::{Front, auth, aws};

/// The routes below `/api/v1`.
pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/connections/{id}/authorize", post(connections::authorize))
        .route("/account", get(syncs::account))
        .route("/syncs", get(syncs::list))
        .route("/syncs/{name}", get(syncs::show))
        .route("/syncs/{name}/sync-now", post(syncs::sync_now))
        .fallback(async || RestError(WireError::new(ErrorCode::ResourceNotFound, "there is no such path")))
        .layer(axum::middleware::from_fn(with_request_id))
}

/// Every answer carries the id under which it is logged.
async fn with_request_id(request: Request<Body>, next: Next) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if !response.status().is_success() {
        info!(request_id, %method, path, status = response.status().as_u16(), "refused");
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

/// What a REST request is refused with: `{"code": …, "message": …}`.
pub(super) struct RestError(WireError);

impl RestError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(WireError::new(code, message))
    }
}

impl From<WireError> for RestError {
    fn from(error: WireError) -> Self {
        Self(error)
    }
}

impl From<ApiError> for RestError {
    fn from(error: ApiError) -> Self {
        Self(error.0)
    }
}

impl From<syncline_store::StoreError> for RestError {
    fn from(error: syncline_store::StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::json!({ "code": self.0.code.name(), "message": self.0.message });
        json(status, &body)
    }
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    (status, [(http::header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A verified request: for whom it acts, and its body.
struct Signed {
    scope: Scope,
    body: Bytes,
}

impl Signed {
    async fn verify(front: &Front, request: Request<Body>) -> Result<Self, RestError> {
        let (mut parts, body) = request.into_parts();
        // A nested route sees the path without its prefix; the client signed the whole one.
        if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
            parts.uri = original.0.clone();
        }
        let body = aws::read_body(front, body).await?;
        let scope = auth::authenticate(front, &parts, &body, Service::CodeConnections.signing_name())?;
        Ok(Self { scope, body })
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T, RestError> {
        // A structure could also be read from a list of its members, and an empty list would be all defaults.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(RestError::new(ErrorCode::Serialization, "the body: it must be a JSON object"));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| RestError::new(ErrorCode::Serialization, format!("the body: {error}")))
    }
}
