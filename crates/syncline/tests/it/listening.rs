//! Connections as hostile or unlucky peers make them, over real sockets. The bounds are made small and then
//! met: each test waits for what the server does, however long it takes, and never for a time to pass.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use syncline::config::{Config, Limits, RootKey};
use syncline::running::{self, Running, Seams};
use syncline_seams::{CallError, Clock as _, FaultPlan, Injected, Moment, Outside, SystemClock};
use syncline_wire::{Protocol, Service};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::api::client::{Draft, OURS, PROTOCOLS, REGION, from_cbor, to_cbor};

/// How long anything may take on a machine that is busy with much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// A bound that is met on purpose.
pub(crate) const SOON: Duration = Duration::from_millis(200);
/// A bound that is never met.
const NEVER: Duration = Duration::from_secs(3600);

/// Bounds of time that no test meets by accident.
pub(crate) fn patient() -> Limits {
    Limits {
        request_time: NEVER,
        body_time: NEVER,
        header_time: NEVER,
        idle_time: NEVER,
        ..Limits::unthrottled()
    }
}

struct Server {
    running: Running,
    _directory: TempDir,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::with(limits, Outside::default()).await
    }

    async fn with(limits: Limits, outside: Outside) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::on_loopback(directory.path());
        config.root_account = Some(OURS.account.parse().expect("an account"));
        config.root_key =
            RootKey::Given { id: OURS.id.to_owned(), secret: syncline_seams::Secret::new(OURS.secret) };
        config.limits = limits;
        let seams = Seams { clock: Arc::new(SystemClock), outside };
        let running = running::start(&config, &seams).await.expect("a server");
        Self { running, _directory: directory }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.address).await.expect("a connection")
    }

    /// The value of a metric.
    async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.running.admin_address).await.expect("a connection");
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let text = exchange(&mut stream, request.as_bytes()).await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }
}

/// Bounded, so that a test that goes wrong ends.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    let outside = Outside::default();
    let done = outside.call("tests.peer", PATIENCE, async { Ok::<_, CallError>(work.await) });
    done.await.expect("it ends")
}

/// A call of ours, signed now.
fn call(protocol: Protocol, operation: &str, input: &Value) -> Draft {
    let body = match protocol {
        Protocol::Json => serde_json::to_vec(input).expect("JSON"),
        Protocol::Cbor => to_cbor(input),
    };
    signed(Draft::new(Service::CodeConnections, protocol, operation, body))
}

fn signed(draft: Draft) -> Draft {
    draft.signed(OURS, REGION, "codeconnections", SystemClock.now_ms())
}

fn listing() -> Vec<u8> {
    bytes(&call(Protocol::Json, "ListHosts", &json!({})))
}

/// The request as HTTP/1.1 writes it.
pub(crate) fn bytes(draft: &Draft) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\n", draft.method, draft.path);
    for (name, value) in draft.headers.iter().filter(|(name, _)| name != "content-length") {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", draft.body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&draft.body);
    bytes
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.head.lines().find_map(|line| line.split_once(':').filter(|(known, _)| *known == name));
        line.map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of an error, in the protocol of the request.
    fn code(&self, protocol: Protocol) -> String {
        assert_eq!(self.header("content-type"), Some(protocol.content_type()), "{self:?}");
        assert_eq!(self.header("x-amzn-requestid").map(str::len), Some(36), "{self:?}");
        assert!(self.header("date").is_some(), "{self:?}");
        let value = match protocol {
            Protocol::Json => serde_json::from_slice(&self.body).expect("JSON"),
            Protocol::Cbor => from_cbor(&self.body),
        };
        let kind = value["__type"].as_str().expect("a code");
        assert!(value["Message"].is_string(), "{value}");
        kind.strip_prefix("com.amazonaws.codeconnections#").expect("the namespace").to_owned()
    }
}

/// Sends a request and reads its answer.
pub(crate) async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Answer {
    // Whoever is refused may be refused before everything is sent.
    let _ = stream.write_all(request).await;
    answer(stream).await.expect("an answer")
}

/// Reads an answer; `None` when the connection is closed without one.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    within(async {
        let mut read = Vec::new();
        let head = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let body = read.split_off(head);
        let mut answer = Answer { head: String::from_utf8_lossy(&read).into_owned(), body };
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while answer.body.len() < length {
            assert!(stream.read_buf(&mut answer.body).await.expect("the whole body") > 0, "{answer:?}");
        }
        Some(answer)
    })
    .await
}

/// Waits until the server closes the connection, unasked.
pub(crate) async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut read = Vec::new();
    let _ = within(stream.read_to_end(&mut read)).await;
    assert!(read.is_empty(), "{}", String::from_utf8_lossy(&read));
}

#[tokio::test]
async fn who_never_ends_his_header_is_cut_off() {
    let server = Server::start(Limits { header_time: SOON, ..patient() }).await;
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: "] {
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.expect("sent");
        is_closed(&mut stream).await;
    }
    // Nor is HTTP/2 waited for that asks for nothing; its settings may have been answered by then.
    let mut stream = server.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut read = Vec::new();
    let _ = within(stream.read_to_end(&mut read)).await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_closed_when_none_comes() {
    let server = Server::start(Limits { idle_time: SOON, ..patient() }).await;
    let mut stream = server.connect().await;
    assert_eq!(exchange(&mut stream, &listing()).await.status(), 200);
    is_closed(&mut stream).await;
    // A second header that does not end is no reason to wait longer.
    let mut stream = server.connect().await;
    assert_eq!(exchange(&mut stream, &listing()).await.status(), 200);
    let _ = stream.write_all(b"POST / HTTP/1.1\r\nhost:").await;
    is_closed(&mut stream).await;

    let server = Server::start(patient()).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        assert_eq!(exchange(&mut stream, &listing()).await.status(), 200);
    }
}

#[tokio::test]
async fn a_body_that_stops_is_answered_and_its_connection_closed() {
    let server = Server::start(Limits { body_time: SOON, ..patient() }).await;
    for protocol in PROTOCOLS {
        let mut request = bytes(&call(protocol, "ListHosts", &json!({"MaxResults": 1})));
        request.pop();
        let mut stream = server.connect().await;
        let answer = exchange(&mut stream, &request).await;
        assert_eq!((answer.status(), answer.code(protocol).as_str()), (400, "SerializationException"));
        is_closed(&mut stream).await;
    }
    assert_eq!(server.metric("syncline_bodies_timed_out_total").await, 2);
}

#[tokio::test]
async fn a_header_has_a_size_and_a_number_of_fields() {
    let server = Server::start(Limits { header_bytes: 8192, header_fields: 20, ..patient() }).await;
    let with = |fields: usize, bytes_each: usize| {
        let mut draft = Draft::new(Service::CodeConnections, Protocol::Json, "ListHosts", b"{}".to_vec());
        draft.headers.extend((0..fields).map(|number| (format!("x-{number}"), "v".repeat(bytes_each))));
        bytes(&signed(draft))
    };
    for (fields, bytes_each, status) in [(5, 1000, 200), (1, 40_000, 431), (9, 1000, 431), (50, 1, 431)] {
        let mut stream = server.connect().await;
        let answer = exchange(&mut stream, &with(fields, bytes_each)).await;
        assert_eq!(answer.status(), status, "{fields} fields of {bytes_each} bytes");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_in_both_protocols() {
    let server = Server::start(patient()).await;
    for protocol in PROTOCOLS {
        let mut draft = Draft::new(Service::CodeConnections, protocol, "GetConnection", Vec::new());
        draft.body = vec![b' '; 3 << 20];
        let request = bytes(&draft);
        let mut stream = server.connect().await;
        // All of it is read, so that the answer is not lost with a connection closed too early.
        within(stream.write_all(&request)).await.expect("sent");
        let answer = answer(&mut stream).await.expect("an answer");
        assert_eq!((answer.status(), answer.code(protocol).as_str()), (413, "RequestEntityTooLarge"));
    }
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_accepting_goes_on() {
    let server = Server::start(Limits { connections: 2, ..patient() }).await;
    let (mut first, second) = (server.connect().await, server.connect().await);
    while server.metric("syncline_connections").await < 2 {}
    for protocol in PROTOCOLS {
        let mut stream = server.connect().await;
        let answer = exchange(&mut stream, &bytes(&call(protocol, "ListHosts", &json!({})))).await;
        assert_eq!((answer.status(), answer.code(protocol).as_str()), (503, "InternalServerException"));
        let told = ["x-amz-retry-after", "retry-after", "connection"].map(|name| answer.header(name));
        assert_eq!(told, [Some("1000"), Some("1"), Some("close")]);
        is_closed(&mut stream).await;
    }
    let show = b"GET /api/v1/syncs HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let answer = exchange(&mut server.connect().await, show).await;
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((answer.status(), body["code"].as_str()), (503, Some("InternalServerException")));
    assert_eq!(server.metric("syncline_connections_refused_total").await, 3);

    // Those that say nothing are let go as well, however many they are.
    let mut silent = Vec::new();
    for _ in 0..150 {
        silent.push(server.connect().await);
    }
    for stream in &mut silent {
        is_closed(stream).await;
    }
    assert_eq!(server.metric("syncline_connections_refused_total").await, 153);

    // Whoever is in is served as ever, and whoever leaves makes room.
    assert_eq!(exchange(&mut first, &listing()).await.status(), 200);
    drop(second);
    while server.metric("syncline_connections").await > 1 {}
    assert_eq!(exchange(&mut server.connect().await, &listing()).await.status(), 200);
}

/// A database that stands still before a commit until it is let go.
#[derive(Debug, Default)]
struct Slow {
    holding: Mutex<bool>,
    changed: Condvar,
}

impl FaultPlan for Slow {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        if (point, moment) == ("store.create_host", Moment::Before) {
            let holding = self.holding.lock().expect("not poisoned");
            drop(self.changed.wait_while(holding, |holding| *holding).expect("not poisoned"));
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answers_what_it_has_begun() {
    let slow = Arc::new(Slow { holding: Mutex::new(true), ..Slow::default() });
    let server = Server::with(patient(), Outside::with_faults(Arc::<Slow>::clone(&slow))).await;
    let address = server.running.address;
    let mut idle = server.connect().await;
    assert_eq!(exchange(&mut idle, &listing()).await.status(), 200);
    let host = json!({"Name": "forge", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com"});
    let mut busy = server.connect().await;
    busy.write_all(&bytes(&call(Protocol::Json, "CreateHost", &host))).await.expect("sent");
    while server.metric("syncline_requests_in_progress").await < 1 {}

    let stopping = tokio::spawn(server.running.stop());
    while TcpStream::connect(address).await.is_ok() {}
    is_closed(&mut idle).await;
    *slow.holding.lock().expect("not poisoned") = false;
    slow.changed.notify_all();
    assert_eq!(answer(&mut busy).await.expect("an answer").status(), 200);
    is_closed(&mut busy).await;
    within(stopping).await.expect("it stops");
}

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// Asks over HTTP/2 without TLS.
async fn ask(sender: &mut Http2, address: SocketAddr, draft: Draft) -> Response<Bytes> {
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .method(draft.method.as_str())
        .uri(format!("http://{address}{}", draft.path));
    // HTTP/2 has `:authority` for it.
    for (name, value) in draft.headers.iter().filter(|(name, _)| name != "host") {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(draft.body))).expect("a request");
    let response = within(sender.send_request(request)).await.expect("an answer");
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.expect("a body").to_bytes())
}

async fn connect_http_2(server: &Server) -> (Http2, JoinHandle<hyper::Result<()>>) {
    let stream = TokioIo::new(server.connect().await);
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (sender, connection) = shaken.expect("a connection");
    (sender, tokio::spawn(connection))
}

fn listing_for(address: SocketAddr, protocol: Protocol) -> Draft {
    let mut draft = Draft::new(Service::CodeConnections, protocol, "ListHosts", Vec::new());
    draft.header("host").clone_from(&address.to_string());
    draft.body = match protocol {
        Protocol::Json => b"{}".to_vec(),
        Protocol::Cbor => to_cbor(&json!({})),
    };
    draft
}

#[tokio::test]
async fn http_2_is_bounded_alike() {
    let server = Server::start(Limits { connections: 1, header_bytes: 8192, ..patient() }).await;
    let address = server.running.address;
    let (mut sender, _connection) = connect_http_2(&server).await;
    for protocol in PROTOCOLS {
        let answer = ask(&mut sender, address, signed(listing_for(address, protocol))).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    let mut large = listing_for(address, Protocol::Json);
    large.headers.push(("x-large".to_owned(), "v".repeat(10_000)));
    assert_eq!(ask(&mut sender, address, signed(large)).await.status(), 431);

    let (mut too_many, _connection) = connect_http_2(&server).await;
    let refused = ask(&mut too_many, address, signed(listing_for(address, Protocol::Cbor))).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["smithy-protocol"], "rpc-v2-cbor");
    let kind = &from_cbor(refused.body())["__type"];
    assert_eq!(kind, "com.amazonaws.codeconnections#InternalServerException");
}

#[tokio::test]
async fn http_2_that_is_idle_is_told_to_go() {
    let server = Server::start(Limits { idle_time: SOON, ..patient() }).await;
    let address = server.running.address;
    let (mut sender, connection) = connect_http_2(&server).await;
    let answer = ask(&mut sender, address, signed(listing_for(address, Protocol::Cbor))).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    // In order, or cut off where this side is too slow to say good-bye.
    let _ = within(connection).await.expect("no panic");
}
