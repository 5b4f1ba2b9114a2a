//! A real Git host on 127.0.0.1: `git http-backend` behind a small HTTP server, with faults on demand.
//!
//! **Architecture Invariant:** what a test sees without a fault is what Git itself answers; this file only
//! carries bytes between the socket and `git http-backend`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tower::ServiceExt as _;

use crate::forge::Issued;
use crate::repository::Repository;

/// What a repository's HTTP endpoint does instead of answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers this status with an empty body.
    Status(u16),
    /// Takes the request and never answers.
    Hang,
    /// Answers the first half of the true answer and closes the connection.
    HalfBody,
    /// Answers 200 with a page for people.
    HtmlPage,
    /// Closes the connection without an answer.
    Disconnect,
    /// Answers 302 to this prefix followed by the request's path.
    RedirectTo(String),
    /// Answers this status with a `Retry-After` of so many seconds.
    RetryAfter(u16, u32),
}

/// One request as the host received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// The path, with its query.
    pub target: String,
    /// The `Git-Protocol` header.
    pub protocol: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The status answered; `None` when a fault left the request unanswered.
    pub status: Option<u16>,
    /// The bytes of the answer's body.
    pub answered_bytes: usize,
}

/// How one repository is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    /// Each with the user name it must come with, if it must.
    pub(crate) tokens: Vec<(Option<String>, String)>,
    /// Any of these instead, with this user name; as a bearer token where it is empty.
    pub(crate) issued: Option<(String, Arc<Issued>)>,
    pub(crate) fault: Option<Fault>,
    pub(crate) protocol_v0: bool,
}

/// The server's shared state.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) scheme: &'static str,
    served: Mutex<BTreeMap<String, Served>>,
    log: Mutex<Vec<LoggedRequest>>,
    /// What answers below a path, instead of Git.
    mounted: Mutex<Vec<(String, axum::Router)>>,
    received: AtomicUsize,
    accepted: AtomicUsize,
    closing: Notify,
}

impl Inner {
    /// The directory `git http-backend` serves from.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("served")
    }

    /// Changes how `<owner>/<name>` is served.
    pub(crate) fn change(&self, full_name: &str, change: impl FnOnce(&mut Served)) {
        change(lock(&self.served).entry(full_name.to_owned()).or_default());
    }
}

/// A smart-HTTP(S) server on a random port of 127.0.0.1; it ends when dropped.
#[derive(Debug)]
pub struct GitHost {
    inner: Arc<Inner>,
    accepting: JoinHandle<()>,
}

impl GitHost {
    /// Starts a host without repositories.
    ///
    /// # Panics
    /// When the machine has no temporary directory or no free port.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// Starts a host without repositories that speaks TLS with this certificate chain and private key (PEM).
    ///
    /// # Panics
    /// As [`GitHost::start`], and when chain and key are no PEM or do not belong together.
    pub async fn start_tls(chain_pem: &str, key_pem: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().expect("a certificate chain in PEM");
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a private key in PEM");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider's protocol versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a chain and its key");
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory for repositories");
        std::fs::create_dir_all(directory.path().join("served")).expect("the served directory");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let inner = Arc::new(Inner {
            directory,
            address: listener.local_addr().expect("the bound address"),
            scheme: if tls.is_some() { "https" } else { "http" },
            served: Mutex::default(),
            log: Mutex::default(),
            mounted: Mutex::default(),
            received: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            closing: Notify::new(),
        });
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&inner)));
        Self { inner, accepting }
    }

    /// What a connection's `ProviderEndpoint` is, without a trailing slash.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.inner.scheme, self.inner.address)
    }

    /// Has `router` answer whatever is asked below `path`, such as a forge's API.
    pub(crate) fn mount(&self, path: &str, router: axum::Router) {
        lock(&self.inner.mounted).push((format!("{path}/"), router));
    }

    /// The address the host listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The directory that holds the repositories as `<owner>/<name>.git`, for `file://` remotes.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.inner.root()
    }

    /// Makes the empty repository `<owner>/<name>`, whose default branch will be `main`.
    ///
    /// # Panics
    /// When `full_name` is not `<owner>/<name>`, exists already, or git fails.
    pub async fn repository(&self, full_name: &str) -> Repository {
        assert!(full_name.split('/').filter(|part| !part.is_empty()).count() >= 2, "'{full_name}'");
        Repository::create(Arc::clone(&self.inner), full_name).await
    }

    /// Every request since the start or the last [`GitHost::clear_log`], in order of their answers. The
    /// pushes of [`Repository`] do not come through here.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.inner.log).clone()
    }

    /// How many requests have arrived since the start, those included that a fault leaves hanging.
    #[must_use]
    pub fn received(&self) -> usize {
        self.inner.received.load(Ordering::Relaxed)
    }

    /// How many connections were made since the start.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.accepted.load(Ordering::Relaxed)
    }

    /// Closes every connection that is open now, whatever is under way on it.
    pub fn close_connections(&self) {
        self.inner.closing.notify_waiters();
    }

    /// Forgets the requests seen so far.
    pub fn clear_log(&self) {
        lock(&self.inner.log).clear();
    }
}

impl Drop for GitHost {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, inner: Arc<Inner>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        inner.accepted.fetch_add(1, Ordering::Relaxed);
        let (tls, inner) = (tls.clone(), Arc::clone(&inner));
        connections.spawn(async move {
            let host = Arc::clone(&inner);
            let served = async {
                match tls {
                    None => converse(stream, inner).await,
                    Some(tls) => {
                        // A client that does not trust us hangs up here.
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, inner).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                () = host.closing.notified() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, inner: Arc<Inner>) {
    let service = hyper::service::service_fn(move |request| answer_logged(Arc::clone(&inner), request));
    // A connection that breaks is what several faults are for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<Truncated>;

async fn answer_logged(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Answer, Unanswered> {
    let path = request.uri().path();
    let mounted = lock(&inner.mounted).iter().find(|(prefix, _)| path.starts_with(prefix)).cloned();
    if let Some((_, router)) = mounted {
        return answer_mounted(router, request).await;
    }
    inner.received.fetch_add(1, Ordering::Relaxed);
    let text =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut entry = LoggedRequest {
        method: request.method().to_string(),
        target: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        protocol: text("git-protocol"),
        authorization: text("authorization"),
        status: None,
        answered_bytes: 0,
    };
    let answer = answer(&inner, request).await;
    if let Ok(response) = &answer {
        entry.status = Some(response.status().as_u16());
        entry.answered_bytes = response.body().bytes.len();
    }
    lock(&inner.log).push(entry);
    answer
}

/// The answer of what is mounted; it is lost if that says so.
async fn answer_mounted(router: axum::Router, request: Request<Incoming>) -> Result<Answer, Unanswered> {
    let request = request.map(axum::body::Body::new);
    let (head, body) = router.oneshot(request).await.unwrap_or_else(|never| match never {}).into_parts();
    if head.extensions.get::<Lost>().is_some() {
        return Err(Unanswered);
    }
    let body = body.collect().await.map_err(|_| Unanswered)?.to_bytes();
    let mut response = whole(body);
    response.body_mut().is_cut = head.extensions.get::<Halved>().is_some();
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// Put into the extensions of a response that never arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost;

/// Put into the extensions of a response of which half arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Halved;

async fn answer(inner: &Inner, request: Request<Incoming>) -> Result<Answer, Unanswered> {
    let (request, path) = renamed(request);
    let full_name = path.trim_start_matches('/').split(".git").next().unwrap_or_default().to_owned();
    let Some(served) = lock(&inner.served).get(&full_name).cloned() else {
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    match &served.fault {
        Some(Fault::Status(status)) => {
            return Ok(empty(StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)));
        }
        Some(Fault::RetryAfter(status, seconds)) => {
            let mut refused =
                empty(StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            let _ = refused.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
            return Ok(refused);
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Disconnect) => return Err(Unanswered),
        Some(Fault::HtmlPage) => {
            let mut page = whole(Bytes::from_static(b"<!doctype html><title>Sign in</title>"));
            let _ = page
                .headers_mut()
                .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/html"));
            return Ok(page);
        }
        Some(Fault::RedirectTo(elsewhere)) => {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            let mut moved = empty(StatusCode::FOUND);
            if let Ok(location) = format!("{elsewhere}{path}{query}").parse() {
                let _ = moved.headers_mut().insert(header::LOCATION, location);
            }
            return Ok(moved);
        }
        Some(Fault::HalfBody) | None => {}
    }
    if !is_admitted(&served, request.headers()) {
        let mut refused = empty(StatusCode::UNAUTHORIZED);
        let challenge = header::HeaderValue::from_static("Basic realm=\"git\"");
        let _ = refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return Ok(refused);
    }
    match run_backend(&inner.root(), request, served.protocol_v0).await {
        Ok(mut response) => {
            response.body_mut().is_cut = served.fault == Some(Fault::HalfBody);
            Ok(response)
        }
        Err(error) => {
            let mut failed = whole(Bytes::from(format!("git http-backend: {error}")));
            *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(failed)
        }
    }
}

/// The request and its path, which for Azure DevOps' names of repositories is made into that of all others.
fn renamed(mut request: Request<Incoming>) -> (Request<Incoming>, String) {
    let path = request.uri().path().to_owned();
    let Some((owner, (name, rest))) =
        path.split_once("/_git/").map(|(owner, rest)| (owner, rest.split_once('/').unwrap_or((rest, ""))))
    else {
        return (request, path);
    };
    let renamed = format!("{owner}/{name}.git/{rest}");
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{renamed}{query}").parse() {
        *request.uri_mut() = uri;
    }
    (request, renamed)
}

/// Whether the request's Basic user and password are among those that are taken; without any everybody is admitted.
fn is_admitted(served: &Served, headers: &HeaderMap) -> bool {
    let Served { tokens, issued, .. } = served;
    if tokens.is_empty() && issued.is_none() {
        return true;
    }
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((user, issued)) = issued
        && user.is_empty()
    {
        return authorization
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|token| issued.is_live(token));
    }
    authorization
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| base64::engine::general_purpose::STANDARD.decode(encoded).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .is_some_and(|pair| {
            let (user, password) = pair.split_once(':').unwrap_or(("", &pair));
            tokens.iter().any(|(of, token)| token == password && of.as_deref().is_none_or(|of| of == user))
                || issued.as_ref().is_some_and(|(of, issued)| of == user && issued.is_live(password))
        })
}

/// Runs `git http-backend` for one request, as CGI (RFC 3875) has it.
async fn run_backend(root: &Path, request: Request<Incoming>, protocol_v0: bool) -> io::Result<Answer> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let text = |name: header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut command = crate::repository::git_command();
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text(header::CONTENT_TYPE))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text(header::CONTENT_ENCODING))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if let Some(protocol) = parts.headers.get("git-protocol").and_then(|value| value.to_str().ok())
        && !protocol_v0
    {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("no stdin"))?;
    let feed = async move {
        // A backend that has read enough closes its end early; its answer says why.
        let _ = stdin.write_all(&body).await;
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    parse_cgi(output?.stdout)
}

fn parse_cgi(output: Vec<u8>) -> io::Result<Answer> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| io::Error::other("an answer without a header"))?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = whole(Bytes::from(output).slice(end + 4..));
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = code.parse().map_err(io::Error::other)?;
        } else {
            let name: header::HeaderName = name.parse().map_err(io::Error::other)?;
            let _ = response.headers_mut().insert(name, value.parse().map_err(io::Error::other)?);
        }
    }
    Ok(response)
}

fn whole(bytes: Bytes) -> Answer {
    Response::new(Truncated { bytes, is_cut: false, is_sent: false })
}

fn empty(status: StatusCode) -> Answer {
    let mut response = whole(Bytes::new());
    *response.status_mut() = status;
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the connection instead of answering.
#[derive(Debug)]
struct Unanswered;

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer, as the fault demands")
    }
}

impl std::error::Error for Unanswered {}

/// A body that announces all its bytes and, when cut, breaks off after half of them.
#[derive(Debug)]
struct Truncated {
    bytes: Bytes,
    is_cut: bool,
    is_sent: bool,
}

impl Body for Truncated {
    type Data = Bytes;
    type Error = Unanswered;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unanswered>>> {
        Poll::Ready(match (self.is_sent, self.is_cut) {
            (false, is_cut) => {
                self.is_sent = true;
                let sent = if is_cut { self.bytes.len() / 2 } else { self.bytes.len() };
                Some(Ok(Frame::data(self.bytes.slice(..sent))))
            }
            (true, true) => Some(Err(Unanswered)),
            (true, false) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.is_cut && (self.is_sent || self.bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.is_sent { 0 } else { self.bytes.len() as u64 })
    }
}
