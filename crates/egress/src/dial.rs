//! HTTP/1.1 from this process: connections to admitted addresses, kept for the next call.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_ok;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use syncline_seams::CallError;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::egress::{NotAdmitted, Route};
use crate::proxy::Proxy;

/// The most connections that are kept though nobody uses them.
const MAX_IDLE: usize = 64;

/// How long a connection is kept unused: less than what lies between usually forgets it after.
const LONGEST_IDLE: Duration = Duration::from_secs(90);

/// The most sets of roots that are remembered; each has the machine's, some 100 KB.
const MAX_ROOTS: usize = 32;

/// The most addresses of a host that are tried, at the same time.
const MAX_DIALS: usize = 4;

/// The longest answer of a proxy's before it leads anywhere, in bytes.
const MAX_PROXY_BYTES: usize = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// It may not, or cannot, be gone to: nothing was sent.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The connection cannot be made: nothing was sent.
    #[error("{0}")]
    Unreachable(String),
    /// The connection ended too early; what was sent may have had its effect.
    #[error("{0}")]
    Broken(String),
    /// TLS could not be agreed on: nothing was sent.
    #[error("{0}")]
    Tls(String),
    /// The answer is longer than the caller's limit, in bytes.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// The request, or the certificates it is to be sent with, cannot be used: nothing was sent.
    #[error("{0}")]
    Here(String),
}

impl From<CallError> for NoAnswer {
    fn from(error: CallError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Who a connection is with, and what made it trusted.
#[derive(Debug, Clone)]
struct Peer {
    host: String,
    port: u16,
    /// `None` without TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl Peer {
    fn is(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        };
        same_tls && self.port == other.port && self.host == other.host
    }
}

/// An open connection.
#[derive(Debug)]
struct Connection {
    peer: Peer,
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    response: Response<Incoming>,
    connection: Connection,
}

/// Connections that are kept for the next call.
#[derive(Debug, Default)]
pub struct Connections {
    /// The one used last is at the end.
    idle: Mutex<Vec<Connection>>,
    /// By the extra roots.
    tls: Mutex<HashMap<Option<String>, Arc<ClientConfig>>>,
    system: OnceLock<RootCertStore>,
}

impl Connections {
    /// Sends a request to where `route` leads and awaits the head of the answer; `extra_root_pem` is trusted beside the
    /// machine's roots. A request that finds its kept connection closed is sent once more, on a new one, if it was not sent
    /// yet or may be `repeated`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn send(
        &self,
        route: &Route,
        extra_root_pem: Option<&str>,
        request: Request<Full<Bytes>>,
        repeated: bool,
    ) -> Result<Answer, NoAnswer> {
        let tls = match route.protocol {
            "https" => Some(self.tls(extra_root_pem)?),
            _ => None,
        };
        let peer = Peer { host: route.host.clone(), port: route.port, tls };
        let mut request = request;
        if let Some(mut kept) = self.take(&peer, route.dialled())
            && kept.sender.ready().await.is_ok()
        {
            let again = repeated.then(|| request.clone());
            match kept.sender.try_send_request(request).await {
                Ok(response) => return Ok(Answer { response, connection: kept }),
                Err(mut error) => match error.take_message().or(again) {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.error())),
                },
            }
        }
        let mut connection = connect(peer, route).await?;
        let response = connection.sender.send_request(request).await.map_err(|error| broken(&error))?;
        Ok(Answer { response, connection })
    }

    /// The body of an answer, `limit` bytes of it at most, and whether that is all of it; then its connection is kept.
    ///
    /// # Errors
    /// [`NoAnswer::Broken`].
    pub async fn read(&self, answer: Answer, limit: usize) -> Result<(Bytes, bool), NoAnswer> {
        let mut reading = answer.reading();
        let mut read = Vec::new();
        while let Some(data) = reading.more().await? {
            let room = limit - read.len();
            read.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((read.into(), false));
            }
        }
        self.keep(reading.connection);
        Ok((read.into(), true))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection with the peer, at one of the addresses.
    fn take(&self, peer: &Peer, addresses: &[SocketAddr]) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < LONGEST_IDLE);
        let found = idle.iter().rposition(|kept| kept.peer.is(peer) && addresses.contains(&kept.address))?;
        Some(idle.remove(found))
    }

    fn keep(&self, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        connection.since = Instant::now();
        let mut idle = self.idle();
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push(connection);
    }

    /// The machine's roots with these.
    fn tls(&self, extra: Option<&str>) -> Result<Arc<ClientConfig>, NoAnswer> {
        let mut made = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        // Cloned, since a map of options cannot be asked by a reference to what is in them.
        let key = extra.map(str::to_owned);
        if let Some(config) = made.get(&key) {
            return Ok(Arc::clone(config));
        }
        let system = || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        };
        let mut roots = self.system.get_or_init(system).clone();
        if let Some(extra) = extra {
            let unusable =
                |why: &str| NoAnswer::Here(format!("the extra root certificate cannot be used: {why}"));
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(extra.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| unusable("it is not in PEM"))?;
            if certificates.is_empty() {
                return Err(unusable("it is not in PEM"));
            }
            roots.add_parsable_certificates(certificates);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| NoAnswer::Here(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if made.len() >= MAX_ROOTS {
            made.clear();
        }
        let config = Arc::new(config);
        made.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

/// An answer whose body is being read.
#[derive(Debug)]
pub struct Reading {
    body: Incoming,
    connection: Connection,
}

impl Reading {
    /// More of the body; `None` at its end.
    ///
    /// # Errors
    /// [`NoAnswer::Broken`].
    pub async fn more(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Keeps the connection, if nothing is left of the body.
    pub async fn keep(mut self, connections: &Connections) {
        if let Ok(None) = self.more().await {
            connections.keep(self.connection);
        }
    }
}

impl Answer {
    /// Begins to read the body.
    #[must_use]
    pub fn reading(self) -> Reading {
        Reading { body: self.response.into_body(), connection: self.connection }
    }

    /// The answer's status and headers.
    #[must_use]
    pub fn head(&self) -> &Response<Incoming> {
        &self.response
    }
}

/// Dials the first addresses of a route at the same time and takes who answers first, so that one that is unreachable
/// costs nothing; for who speaks another protocol than HTTP there.
///
/// # Errors
/// [`NoAnswer::Broken`], also where the route has no address.
pub async fn dial(route: &Route) -> Result<(TcpStream, SocketAddr), NoAnswer> {
    let broken = |error| NoAnswer::Broken(unreachable(&route.host, route.port, &error));
    dial_any(&route.addresses).await.map_err(broken)
}

fn unreachable(host: &str, port: u16, error: &io::Error) -> String {
    format!("{host}:{port} cannot be reached: {error}")
}

async fn dial_any(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    if addresses.is_empty() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let dials = addresses.iter().take(MAX_DIALS).map(|&address| Box::pin(TcpStream::connect(address)));
    let (stream, _) = select_ok(dials).await?;
    let address = stream.peer_addr()?;
    // It only saves time.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// A connection with the peer, at its own addresses or through the proxy.
async fn connect(peer: Peer, route: &Route) -> Result<Connection, NoAnswer> {
    let via = route.via.as_ref().map(|via| &*via.proxy);
    let (mut stream, address) = dial_any(route.dialled()).await.map_err(|error| match via {
        None => NoAnswer::Unreachable(unreachable(&peer.host, peer.port, &error)),
        Some(proxy) => no_way(proxy, format_args!("cannot be reached: {error}")),
    })?;
    if let Some(proxy) = via {
        tunnel(&mut stream, proxy, &peer).await?;
    }
    let sender = match &peer.tls {
        None => talk(stream).await?,
        Some(config) => {
            let name = ServerName::try_from(peer.host.clone())
                .map_err(|error| NoAnswer::Tls(format!("'{}' is no name for TLS: {error}", peer.host)))?;
            let agreed = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
            talk(agreed.map_err(|error| no_tls(&error))?).await?
        }
    };
    Ok(Connection { peer, address, sender, since: Instant::now() })
}

/// Has the proxy lead the stream to the peer.
async fn tunnel(stream: &mut TcpStream, proxy: &Proxy, peer: &Peer) -> Result<(), NoAnswer> {
    let host = if peer.host.contains(':') { format!("[{}]", peer.host) } else { peer.host.clone() };
    let authority = format!("{host}:{}", peer.port);
    let fails = |why: &dyn fmt::Display| no_way(proxy, format_args!("does not lead to {authority}: {why}"));
    stream.write_all(proxy.question(&authority).expose().as_bytes()).await.map_err(|error| fails(&error))?;
    let mut said = Vec::new();
    let end = loop {
        if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if said.len() >= MAX_PROXY_BYTES {
            return Err(fails(&"its answer does not end"));
        }
        if stream.read_buf(&mut said).await.map_err(|error| fails(&error))? == 0 {
            return Err(fails(&"it closed the connection"));
        }
    };
    let line = String::from_utf8_lossy(&said[..end]);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    match status {
        // Nobody but the peer may speak now, and it has not been asked anything.
        Some(200..=299) if said.len() > end => Err(fails(&"it speaks before it is asked")),
        Some(200..=299) => Ok(()),
        Some(407) => Err(fails(&"it wants a login, or another one (status 407)")),
        Some(status) => Err(fails(&format_args!("it answers with status {status}"))),
        None => Err(fails(&"what it answers is not HTTP")),
    }
}

/// The way ends at the proxy: nothing was sent to anybody beyond it.
fn no_way(proxy: &Proxy, why: fmt::Arguments<'_>) -> NoAnswer {
    NotAdmitted::Unresolved { message: format!("the egress proxy {} {why}", proxy.authority()) }.into()
}

/// Begins to speak HTTP; the connection's task ends with its sender, or when the server closes it.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // How it ends is told to whoever waits for an answer.
    drop(tokio::spawn(async move { drop(connection.await) }));
    Ok(sender)
}

fn no_tls(error: &io::Error) -> NoAnswer {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(disagreed) => NoAnswer::Tls(disagreed.to_string()),
        None => NoAnswer::Broken(format!("TLS was broken off: {error}")),
    }
}

/// Why hyper gave up, with what made it.
fn broken(error: &hyper::Error) -> NoAnswer {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    NoAnswer::Broken(text)
}
