//! HTTP: one listener for both services.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use tokio::net::TcpListener;

use crate::simulator::{Outcome, Simulator};

/// Named in every answer, so that nobody mistakes it for AWS.
const SERVER: &str = "syncline-cloudformation-sim (simulated; provisions nothing)";

/// The largest request body in bytes: a form-encoded template of 51,200 bytes is at most three times as long.
const MAX_BODY: usize = 1 << 20;

impl Simulator {
    /// The simulator as a router, to be mounted in another server. A lost answer is a broken body here.
    pub fn router(&self) -> Router {
        Router::new().route("/", post(answer)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(self.clone())
    }

    /// Answers calls on `listener` until the future is dropped.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        tracing::warn!(
            address = %listener.local_addr()?,
            "simulated CloudFormation: nothing is provisioned in any account"
        );
        axum::serve(listener, self.router()).await
    }
}

async fn answer(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match simulator.answer(authorization, &body) {
        Outcome::Answer { status, request_id, body } => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let headers = response.headers_mut();
            headers.insert(header::SERVER, header::HeaderValue::from_static(SERVER));
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/xml"));
            if let Ok(id) = request_id.parse() {
                headers.insert("x-amzn-requestid", id);
            }
            response
        }
        Outcome::Drop => {
            let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("the answer is lost")) });
            Response::new(Body::from_stream(broken))
        }
        Outcome::Hang => match std::future::pending::<Infallible>().await {},
    }
}
