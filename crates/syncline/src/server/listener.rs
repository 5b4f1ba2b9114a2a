//! Connections: HTTP/1 and HTTP/2, with TLS or without, each bounded in number, size and time.
//!
//! **Architecture Invariant:** accepting never waits for a connection. One that is too many is told so by a few
//! places kept for that, and is closed unheard when these are taken too.
//!
//! The timers here run on the machine's clock and not on the server's [`Clock`]: they bound how long a *peer*
//! keeps a socket, and decide nothing about any record. Were they on a test's virtual clock, each of its jumps
//! would cut the connections that clients keep open.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use syncline_seams::{Clock, SystemClock};
use syncline_wire::{ErrorCode, WireError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error};

use super::forwarded::{Proxies, Unclear};
use super::limits::{Metric, Place, Places, SourcePlace, SourcePlaces, count, overloaded, throttled};
use super::tls::Tls;
use super::{Encrypted, SourceAddress, refuse};
use crate::config::Limits;

/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 32;
/// How often a silent HTTP/2 peer is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Connections that are being told that they are too many.
const REFUSALS: u32 = 64;
/// The longest that one of these may take.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// When to come again.
const REFUSAL_RETRY: Duration = Duration::from_secs(1);
/// What is said to whoever speaks plain HTTP where TLS is spoken.
const TLS_IS_EXPECTED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 56\r\n\
    connection: close\r\n\r\nthis port speaks HTTPS: use https:// in the URL instead\n";
/// The most that is read of what such a one goes on to say, in bytes, and for how long: a socket that is closed with
/// something unread in it is reset, and what was said to the other end may be lost with that.
const MAX_UNHEARD_BYTES: u64 = 16 * 1024;
/// See [`MAX_UNHEARD_BYTES`].
const UNHEARD_TIME: Duration = Duration::from_secs(1);
/// How long accepting rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// The bounds of a listener's connections, and what they have come to.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    open: Places,
    refusals: Places,
    of_sources: SourcePlaces,
    refused: AtomicU64,
    /// What to prove oneself with; `None` for plain HTTP.
    tls: Option<Arc<Tls>>,
    /// Whose word about clients is taken.
    proxies: Arc<Proxies>,
}

impl Default for Connections {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Connections {
    /// Bounds that nothing has met yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            open: Places::new(limits.connections),
            refusals: Places::new(REFUSALS),
            of_sources: SourcePlaces::new(limits.connections_per_source),
            refused: AtomicU64::new(0),
            limits,
            tls: None,
            proxies: Arc::default(),
        }
    }

    /// The same with TLS, and nothing but TLS, if there is what to prove oneself with.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// The same, believing what these proxies say of their clients.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies: Arc::new(proxies), ..self }
    }

    /// Serves a router until the stop is asked for, and then until the requests in progress are answered.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        router: Router,
        stopped: watch::Receiver<bool>,
    ) {
        let (alive, mut all_ended) = mpsc::channel::<Infallible>(1);
        let mut stop = pin!(asked(stopped.clone()));
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        rest_after(&error).await;
                        continue;
                    }
                },
            };
            let connections = Arc::clone(&self);
            let (router, stopped, alive) = (router.clone(), stopped.clone(), alive.clone());
            match self.place(peer.ip()) {
                Ok(place) => {
                    tokio::spawn(async move {
                        connections.attend(stream, peer, router, stopped).await;
                        drop((place, alive));
                    });
                }
                Err(too_many) => {
                    count(&self.refused);
                    let Some(place) = self.refusals.take() else { continue };
                    tokio::spawn(async move {
                        connections.send_away(stream, too_many).await;
                        drop((place, alive));
                    });
                }
            }
        }
        drop((listener, alive));
        let _ = all_ended.recv().await;
    }

    /// A place for a connection, of all places and of its source's. A trusted proxy is everybody's, and no source.
    fn place(&self, peer: IpAddr) -> Result<(Place, SourcePlace), TooMany> {
        let place = self.open.take().ok_or(TooMany::OfAll)?;
        if self.proxies.trusts(peer) {
            return Ok((place, SourcePlace::of_nobody()));
        }
        let of_source = self.of_sources.take(SourceAddress(peer)).ok_or(TooMany::OfSource)?;
        Ok((place, of_source))
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let limits = &self.limits;
        let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // Between an answer and the next header; `Activity` sees to the first.
            .header_read_timeout(limits.idle_time)
            .max_buf_size(header_bytes)
            .max_headers(usize::try_from(limits.header_fields).unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(limits.header_bytes)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(limits.header_time);
        builder
    }

    async fn attend(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        router: Router,
        stopped: watch::Receiver<bool>,
    ) {
        // Answers are written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let begun = Instant::now();
        let Some(tls) = &self.tls else {
            return self.converse(stream, peer, begun, router, stopped).await;
        };
        let agreed = tokio::select! {
            agreed = shake_hands(tls, stream) => agreed,
            () = SystemClock.sleep(self.limits.header_time) => Err(ErrorKind::TimedOut.into()),
            () = asked(stopped.clone()) => return,
        };
        match agreed {
            Ok(stream) => self.converse(stream, peer, begun, router, stopped).await,
            Err(error) => debug!(%peer, %error, "a connection did not come to speak TLS"),
        }
    }

    /// Answers the requests of a connection that was `begun` then.
    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        begun: Instant,
        router: Router,
        stopped: watch::Receiver<bool>,
    ) {
        let activity = Arc::new(Activity::default());
        let service = Attended {
            router: TowerToHyperService::new(router),
            source: SourceAddress(peer.ip()),
            is_encrypted: self.tls.is_some(),
            proxies: self.proxies.trusts(peer.ip()).then(|| Arc::clone(&self.proxies)),
            activity: Arc::clone(&activity),
        };
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stop = pin!(asked(stopped));
        // What a handshake took is taken from the first header's time.
        let first = self.limits.header_time.saturating_sub(begun.elapsed());
        let mut quiet = pin!(activity.quiet(first, self.limits.idle_time));
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%peer, %error, "a connection ended");
                    }
                    return;
                }
                () = &mut stop, if !ending => {
                    connection.as_mut().graceful_shutdown();
                    ending = true;
                }
                () = quiet.as_mut() => {
                    // It never asked for anything, or it was told to end and does not take its answers.
                    if ending || !activity.has_asked() {
                        debug!(%peer, "a connection did nothing for too long");
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    ending = true;
                    quiet.set(activity.quiet(self.limits.header_time, self.limits.idle_time));
                }
            }
        }
    }

    /// Answers the first request of a connection that is too many, and closes it.
    async fn send_away(&self, stream: TcpStream, too_many: TooMany) {
        let builder = self.builder();
        let told = async {
            match &self.tls {
                None => drop(builder.serve_connection(TokioIo::new(stream), SentAway(too_many)).await),
                Some(tls) => {
                    if let Ok(stream) = shake_hands(tls, stream).await {
                        drop(builder.serve_connection(TokioIo::new(stream), SentAway(too_many)).await);
                    }
                }
            }
        };
        tokio::select! {
            () = told => {}
            () = SystemClock.sleep(REFUSAL_TIME) => {}
        }
    }

    /// What `/metrics` shows: what only grows, what comes and goes.
    pub(super) fn metrics(&self) -> ([Metric; 1], [Metric; 1]) {
        (
            [(
                "syncline_connections_refused_total",
                "Connections refused because too many were open.",
                self.refused.load(Ordering::Relaxed),
            )],
            [("syncline_connections", "Open connections.", u64::from(self.open.taken()))],
        )
    }
}

/// Agrees on TLS. Whoever begins as plain HTTP does is told in plain HTTP what is expected of him.
async fn shake_hands(tls: &Tls, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    // A TLS client's first record is a handshake's (22); methods are in capitals.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        stream.write_all(TLS_IS_EXPECTED).await?;
        stream.shutdown().await?;
        let (mut unheard, mut nowhere) = (stream.take(MAX_UNHEARD_BYTES), tokio::io::sink());
        tokio::select! {
            _ = tokio::io::copy(&mut unheard, &mut nowhere) => {}
            () = SystemClock.sleep(UNHEARD_TIME) => {}
        }
        return Err(io::Error::new(ErrorKind::InvalidData, "it speaks plain HTTP"));
    }
    tls.accept(stream).await
}

/// Completes when the stop is asked for, or when nobody is left who could.
async fn asked(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Which bound a connection is beyond.
#[derive(Debug, Clone, Copy)]
enum TooMany {
    OfAll,
    OfSource,
}

/// After a failure to accept: a peer that left before its turn costs nothing, a system without sockets gets a
/// moment to have some again.
async fn rest_after(error: &io::Error) {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        error!(%error, "a connection could not be accepted");
        SystemClock.sleep(ACCEPT_REST).await;
    }
}

/// What a connection has asked for.
#[derive(Debug, Default)]
struct Activity {
    asked: AtomicU64,
    answered: AtomicU64,
    first: Notify,
}

impl Activity {
    fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Completes when nothing was asked for during `first`, or after the first request, nothing asked for and
    /// nothing in progress during `later`. A request costs no timer: the look is taken once in each such time.
    async fn quiet(&self, first: Duration, later: Duration) {
        if !self.has_asked() {
            tokio::select! {
                () = self.first.notified() => {}
                () = SystemClock.sleep(first) => return,
            }
        }
        loop {
            let asked = self.asked.load(Ordering::Relaxed);
            SystemClock.sleep(later).await;
            let in_progress = self.answered.load(Ordering::Relaxed) != asked;
            if self.asked.load(Ordering::Relaxed) == asked && !in_progress {
                return;
            }
        }
    }
}

/// A request in progress, however it ends.
struct Asking(Arc<Activity>);

impl Asking {
    fn begin(activity: &Arc<Activity>) -> Self {
        if activity.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            activity.first.notify_one();
        }
        Self(Arc::clone(activity))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        count(&self.0.answered);
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The router, for one connection.
struct Attended {
    router: TowerToHyperService<Router>,
    source: SourceAddress,
    is_encrypted: bool,
    /// If its other end is one of them.
    proxies: Option<Arc<Proxies>>,
    activity: Arc<Activity>,
}

impl Attended {
    /// Notes on a request where it comes from.
    fn note(&self, request: &mut Request<Incoming>) -> Result<(), Unclear> {
        let Some(proxies) = &self.proxies else {
            request.extensions_mut().insert(self.source);
            if self.is_encrypted {
                request.extensions_mut().insert(Encrypted(Some(true)));
            }
            return Ok(());
        };
        let arrival = proxies.arrival(self.source.0, request.headers())?;
        if let Some(host) = arrival.host {
            request.headers_mut().insert(HOST, host);
        }
        let extensions = request.extensions_mut();
        extensions.insert(SourceAddress(arrival.source));
        // How the proxy itself was spoken to says nothing of its client.
        extensions.insert(Encrypted(arrival.is_encrypted));
        Ok(())
    }
}

impl Service<Request<Incoming>> for Attended {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let asking = Asking::begin(&self.activity);
        if let Err(unclear) = self.note(&mut request) {
            debug!(proxy = %self.source.0, %unclear, "a request was refused");
            let error = WireError::new(ErrorCode::Validation, unclear.to_string());
            let refused = refuse(request.uri().path(), request.headers(), &error);
            return Box::pin(async move {
                drop(asking);
                Ok(refused)
            });
        }
        let answer = self.router.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(asking);
            answer
        })
    }
}

/// What answers on a connection that is too many.
struct SentAway(TooMany);

impl Service<Request<Incoming>> for SentAway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let error = match self.0 {
            TooMany::OfAll => overloaded(),
            TooMany::OfSource => throttled("Too many connections from this source address", REFUSAL_RETRY),
        };
        let mut response = refuse(request.uri().path(), request.headers(), &error);
        if request.version() < http::Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        std::future::ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_so_many_connections_and_loopback_all_of_them() {
        let limits = Limits { connections: 6, connections_per_source: 2, ..Limits::default() };
        let connections = Connections::new(limits);
        let place = |address: &str| connections.place(address.parse().expect("an address"));
        let first = place("192.0.2.1");
        let second = place("192.0.2.1");
        assert!(first.is_ok() && second.is_ok());
        assert!(matches!(place("192.0.2.1"), Err(TooMany::OfSource)));
        assert!(matches!(place("::ffff:192.0.2.1"), Err(TooMany::OfSource)));
        let others = [place("192.0.2.2"), place("127.0.0.1"), place("127.0.0.1"), place("127.0.0.1")];
        assert!(others.iter().all(Result::is_ok));
        assert!(matches!(place("127.0.0.1"), Err(TooMany::OfAll)));
        drop((first, others));
        assert!(place("192.0.2.1").is_ok());
        drop(second);
        assert!(connections.of_sources.is_empty(), "nobody is kept in mind");
        assert_eq!(connections.open.taken(), 0);

        let proxy = "192.0.2.9".parse().expect("a network");
        let connections = Connections::new(limits).behind(Proxies::trusting(vec![proxy]));
        let place = |address: &str| connections.place(address.parse().expect("an address"));
        let of_proxy = [place("192.0.2.9"), place("192.0.2.9"), place("::ffff:192.0.2.9")];
        assert!(of_proxy.iter().all(Result::is_ok), "what comes from a proxy is everybody's");
    }
}
