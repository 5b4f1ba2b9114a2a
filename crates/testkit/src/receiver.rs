//! Somebody who is told of changed statuses: strict about what it is sent, with faults on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use syncline_forges::{Forge, Request, verify};
use syncline_seams::{Clock, Secret};

use crate::forge::Fault;
use crate::git_host::{GitHost, Halved, Lost};

/// What a receiver was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What it tells it apart by; empty where the kind has no such thing.
    pub id: String,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The body.
    pub body: Value,
    /// Whether it took it, though it may not have said so.
    pub is_taken: bool,
}

#[derive(Debug, Default)]
struct Memory {
    key: Option<Secret>,
    faults: VecDeque<Fault>,
    is_down: bool,
    delivered: Vec<Delivered>,
    misunderstood: Vec<String>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    memory: Mutex<Memory>,
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver beside a Git host, on its port.
#[derive(Debug)]
pub struct Receiver {
    inner: Arc<Inner>,
    url: String,
}

impl Receiver {
    /// A receiver under a path that holds `name`, with the clock of whoever writes to it.
    #[must_use]
    pub fn on(git: &GitHost, clock: Arc<dyn Clock>, name: &str) -> Self {
        let inner = Arc::new(Inner { clock, memory: Mutex::default() });
        let path = format!("/told/{name}");
        let routes = Router::new().route("/in", post(take)).with_state(Arc::clone(&inner));
        git.mount(&path, Router::new().nest(&path, routes));
        Self { url: format!("{}{path}/in", git.endpoint()), inner }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes only what this key signed, from now on.
    pub fn expect_key(&self, key: &str) {
        self.inner.memory().key = Some(Secret::new(key));
    }

    /// Goes wrong at the next request; several faults, one after the other.
    pub fn fail(&self, fault: Fault) {
        self.inner.memory().faults.push_back(fault);
    }

    /// Answers 500 to everything, or does so no more.
    pub fn set_down(&self, is_down: bool) {
        self.inner.memory().is_down = is_down;
    }

    /// Everything it was sent, oldest first, also what it did not take.
    #[must_use]
    pub fn delivered(&self) -> Vec<Delivered> {
        self.inner.memory().delivered.clone()
    }

    /// What it took, as whoever dedupes by the id sees it.
    #[must_use]
    pub fn taken(&self) -> Vec<Value> {
        let mut ids = std::collections::BTreeSet::new();
        let taken = self.delivered().into_iter().filter(|one| one.is_taken);
        taken.filter(|one| one.id.is_empty() || ids.insert(one.id.clone())).map(|one| one.body).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let misunderstood = std::mem::take(&mut self.inner.memory().misunderstood);
        if !std::thread::panicking() {
            assert!(misunderstood.is_empty(), "what no receiver would take: {misunderstood:#?}");
        }
    }
}

/// Why it would not be taken.
fn complaint(inner: &Inner, headers: &HeaderMap, body: &Bytes) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text("content-type") != "application/json" || !text("user-agent").starts_with("syncline/") {
        return Some(format!("headers: {headers:?}"));
    }
    let key = inner.memory().key.clone()?;
    let request = Request { headers, body, now_ms: inner.clock.now_ms() };
    let secret = Secret::from(key.expose().as_bytes().to_vec());
    // GitLab signs as Standard Webhooks has it, and refuses what is older than five minutes.
    verify(Forge::GitLab, request, &[secret]).is_none().then(|| "the signature is wrong".to_owned())
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let complaint = complaint(&inner, &headers, &body);
    let (fault, is_down) = {
        let mut memory = inner.memory();
        memory.misunderstood.extend(complaint);
        (memory.faults.pop_front(), memory.is_down)
    };
    let is_taken = !is_down
        && matches!(fault, None | Some(Fault::LostAnswer | Fault::HalfAnswer | Fault::Status(200..=299, ..)));
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let at_ms = inner.clock.now_ms();
    inner.memory().delivered.push(Delivered { id, at_ms, body, is_taken });
    let mut response = Response::new(Body::from("ok"));
    if is_down {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    }
    match fault {
        None => {}
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::LostAnswer) => {
            response.extensions_mut().insert(Lost);
        }
        Some(Fault::HalfAnswer) => {
            response.extensions_mut().insert(Halved);
        }
        Some(Fault::Html) => *response.status_mut() = StatusCode::FOUND,
        Some(Fault::Status(status, headers, message)) => {
            response = Response::new(Body::from(message));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            for (name, value) in headers {
                response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
        }
    }
    response
}
