//! HTTP: one listener for both services.

use std::convert::Infallible;
use std::io::ErrorKind;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::simulator::{Outcome, Simulator};

/// Named in every answer, so that nobody mistakes it for AWS.
const SERVER: &str = "syncline-cloudformation-sim (simulated; provisions nothing)";

/// The largest request body in bytes: a form-encoded template of 51,200 bytes is at most three times as long.
const MAX_BODY: usize = 1 << 20;

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer, as a fault demands")]
struct Lost;

impl Simulator {
    /// The simulator as a router, to be mounted in another server.
    ///
    /// A router cannot close the connection: [`crate::CallFault::LoseAnswer`] is an answer that breaks off in its body
    /// here. [`Simulator::serve`] closes the connection without a byte.
    pub fn router(&self) -> Router {
        Router::new().route("/", post(answer)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(self.clone())
    }

    /// Answers calls on `listener` until the future is dropped, which ends the open connections too.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> std::io::Result<()> {
        tracing::warn!(
            address = %listener.local_addr()?,
            "simulated CloudFormation: nothing is provisioned in any account"
        );
        let mut connections = JoinSet::new();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // The client went away before it was let in.
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                    Err(error) => return Err(error),
                },
                Some(_) = connections.join_next() => continue,
            };
            let simulator = self.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| respond(simulator.clone(), request));
                let ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the simulated CloudFormation broke");
                }
            });
        }
    }
}

async fn respond(simulator: Simulator, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
    let empty = |status| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Ok(named(response))
    };
    if request.method() != Method::POST || request.uri().path() != "/" {
        return empty(StatusCode::NOT_FOUND);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = body.to_bytes();
    match outcome(&simulator, &parts.headers, &body) {
        Outcome::Drop => Err(Lost),
        other => Ok(response(other).await),
    }
}

async fn answer(State(simulator): State<Simulator>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    response(outcome(&simulator, &headers, &body)).await
}

fn outcome(simulator: &Simulator, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    simulator.answer(authorization, target, body)
}

async fn response(outcome: Outcome) -> Response<Body> {
    match outcome {
        Outcome::Answer { status, request_id, body, content_type } => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            if let Ok(id) = request_id.parse() {
                response.headers_mut().insert("x-amzn-requestid", id);
            }
            named(response)
        }
        Outcome::Drop => {
            let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other(Lost)) });
            Response::new(Body::from_stream(broken))
        }
        Outcome::Hang => match std::future::pending::<Infallible>().await {},
    }
}

fn named(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static(SERVER));
    response
}
