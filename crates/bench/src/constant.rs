//! The yardstick: the same listener and router as the product's, and an answer that never changes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{any, get};
use bytes::Bytes;
use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use syncline::config::{Limits, ServeArgs};
use syncline::running::{self, Seams};
use syncline::server::Connections;
use syncline_seams::{Outside, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The arguments of `constant`.
#[derive(Debug, Args)]
pub(crate) struct ConstantArgs {
    /// The length of the answer's body, in bytes.
    #[arg(long)]
    length: usize,
}

/// Serves the answer until this process is ended.
pub(crate) fn run(args: &ConstantArgs) -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'x'; args.length]);
    let router = Router::new()
        .route("/", any(answer).get(async || "constant"))
        .nest("/api/v1", Router::new().route("/syncs", get(async || "none")))
        .fallback(answer)
        .with_state(Arc::new(body));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("ready http://{}", listener.local_addr()?);
        let connections = Arc::new(Connections::new(Limits::default()));
        let (_stop, stopped) = watch::channel(false);
        running::serve(listener, router, connections, stopped).await.context("the listener")
    })
}

/// Reads the request to its end, as it must be, and answers with headers of the same lengths as the product's.
async fn answer(State(body): State<Arc<Bytes>>, request: Request<Body>) -> Response<Body> {
    // A body that breaks off has no one who waits for its answer.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Body::from(Bytes::clone(&body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    headers.insert("x-amzn-requestid", HeaderValue::from_static("00000000-0000-4000-8000-000000000000"));
    response
}

/// `syncline serve`, until this process is ended.
pub(crate) fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.settle()?;
    let seams = Seams { clock: Arc::new(SystemClock), outside: Outside::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = running::start(&config, &seams).await?;
        println!("ready http://{}", running.address);
        std::future::pending::<()>().await;
        Ok(())
    })
}
