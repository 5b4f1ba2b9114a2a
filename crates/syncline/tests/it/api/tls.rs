//! The listeners' TLS, with clients that know an authority of the tests' own, and with peers that mean no TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_codeconnections::config::retry::RetryConfig;
use aws_sdk_codeconnections::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use syncline::config::{Config, Limits, RootKey};
use syncline::running::{self, Running, Seams};
use syncline::server::{self, Connections, Tls, TlsFiles};
use syncline_seams::{Clock as _, Outside, SystemClock, VirtualClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::access::{ann, may, scene_with_ann};
use super::client::{Draft, OURS, REGION, Server};
use super::webhooks::{followed, hook};
use crate::cli::{ended, syncline};
use crate::listening::{SOON, bytes, exchange, is_closed, patient, within};
use crate::serving::{Aws, KEY_ID, SECRET, Serve};

/// A certificate authority of the tests.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes a new certificate for 127.0.0.1, and its key.
    fn issue(&self, directory: &Path) -> TlsFiles {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = TlsFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
        std::fs::write(&files.certificate, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        files
    }
}

/// A server with TLS; its API is asked with our key.
struct Encrypted {
    running: Running,
    authority: Authority,
    clock: Arc<VirtualClock>,
    directory: tempfile::TempDir,
}

impl Encrypted {
    async fn start(limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new();
        let mut config = Config::on_loopback(&directory.path().join("data"));
        config.tls = Some(authority.issue(directory.path()));
        config.root_account = Some(OURS.account.parse().expect("an account"));
        config.root_key =
            RootKey::Given { id: OURS.id.to_owned(), secret: syncline_seams::Secret::new(OURS.secret) };
        config.limits = limits;
        let clock = Arc::new(VirtualClock::starting_at(SystemClock.now_ms()));
        let seams = Seams { clock: Arc::<VirtualClock>::clone(&clock), outside: Outside::default() };
        let running = running::start(&config, &seams).await.expect("a server");
        Self { running, authority, clock, directory }
    }

    fn url(&self) -> String {
        format!("{}://{}", self.running.scheme, self.running.address)
    }

    /// Connects with what the authority is trusted for.
    async fn connect(&self) -> TlsStream<TcpStream> {
        within(shake_hands(self.running.address, &self.authority.pem)).await.expect("TLS")
    }
}

async fn shake_hands(address: SocketAddr, root: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM")).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// An AWS SDK that trusts this authority beside no other.
fn sdk(url: &str, root: &str) -> aws_sdk_codeconnections::Client {
    let roots = TrustStore::empty().with_pem_certificate(root);
    let context = TlsContext::builder().with_trust_store(roots).build().expect("a context");
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https();
    let config = aws_sdk_codeconnections::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(Credentials::new(OURS.id, OURS.secret, None, None, "tests"))
        .region(Region::new(REGION))
        .endpoint_url(url)
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_codeconnections::Client::from_conf(config)
}

#[tokio::test]
async fn an_aws_sdk_that_trusts_the_authority_is_answered_and_no_other() {
    let server = Encrypted::start(patient()).await;
    assert!(server.url().starts_with("https://"));
    let hosts = sdk(&server.url(), &server.authority.pem).list_hosts().send().await.expect("an answer");
    assert_eq!(hosts.hosts().len(), 0);
    let stranger = Authority::new();
    let refused = sdk(&server.url(), &stranger.pem).list_hosts().send().await.expect_err("distrusted");
    assert!(format!("{refused:?}").contains("InvalidCertificate"), "{refused:?}");
    // What asks from this machine asks without.
    let mut admin = TcpStream::connect(server.running.admin_address).await.expect("a connection");
    let asked = exchange(&mut admin, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(asked.status(), 200);
    server.running.stop().await;
}

#[tokio::test]
async fn a_server_does_not_start_with_a_key_that_is_another_certificates() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new();
    let files = authority.issue(directory.path());
    std::fs::write(&files.key, KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    let mut config = Config::on_loopback(&directory.path().join("data"));
    config.tls = Some(files);
    let seams = Seams { clock: Arc::new(SystemClock), outside: Outside::default() };
    let refused = running::start(&config, &seams).await.expect_err("refused").to_string();
    assert!(refused.contains("is not the key of the first certificate"), "{refused}");
    assert!(!directory.path().join("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_to_speak_tls() {
    let server = Encrypted::start(patient()).await;
    let mut stream = TcpStream::connect(server.running.address).await.expect("a connection");
    let told =
        exchange(&mut stream, b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((told.status(), told.text().contains("https://")), (400, true), "{told:?}");
    is_closed(&mut stream).await;
    // Whoever still has much to say reads it all the same, and no reset instead.
    let mut stream = TcpStream::connect(server.running.address).await.expect("a connection");
    let long =
        format!("POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4000\r\n\r\n{}", "x".repeat(4_000));
    stream.write_all(long.as_bytes()).await.expect("sent");
    let mut read = Vec::new();
    within(stream.read_to_end(&mut read)).await.expect("no reset");
    assert!(read.ends_with(b"use https:// in the URL instead\n"), "{read:?}");
    // What is neither is closed.
    let mut stream = TcpStream::connect(server.running.address).await.expect("a connection");
    stream.write_all(b"\0\0\0\0\0\0\0\0").await.expect("sent");
    let mut read = Vec::new();
    let _ = within(stream.read_to_end(&mut read)).await;
    assert!(!read.starts_with(b"HTTP"), "{read:?}");
}

/// What is sent of a handshake before nothing more comes.
const BEGUN: [&[u8]; 3] = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];

#[tokio::test]
async fn handshakes_that_hang_stop_nobody_and_end() {
    let server = Encrypted::start(Limits { connections: 16, ..patient() }).await;
    let mut hanging = Vec::new();
    for begun in BEGUN.iter().cycle().take(15) {
        let mut stream = TcpStream::connect(server.running.address).await.expect("a connection");
        stream.write_all(begun).await.expect("sent");
        hanging.push(stream);
    }
    let listed = within(sdk(&server.url(), &server.authority.pem).list_hosts().send()).await;
    assert!(listed.is_ok(), "{listed:?}");
    // Nor do they hold up a stop.
    within(server.running.stop()).await;

    let server = Encrypted::start(Limits { header_time: SOON, ..patient() }).await;
    for begun in BEGUN {
        let mut stream = TcpStream::connect(server.running.address).await.expect("a connection");
        stream.write_all(begun).await.expect("sent");
        is_closed(&mut stream).await;
    }
    // Those that come to an end and ask for nothing.
    is_closed(&mut server.connect().await).await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_in_tls() {
    let server = Encrypted::start(Limits { connections: 1, ..patient() }).await;
    let first = server.connect().await;
    let mut second = server.connect().await;
    let told = exchange(&mut second, b"GET /api/v1/syncs HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(told.status(), 503, "{told:?}");
    drop(first);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let server = Encrypted::start(patient()).await;
    let shown = async || {
        let stream = server.connect().await;
        let certificates = stream.get_ref().1.peer_certificates().expect("a certificate");
        certificates[0].to_vec()
    };
    let old = shown().await;
    assert_eq!(shown().await, old);
    let files = server.authority.issue(server.directory.path());
    let new = CertificateDer::from_pem_file(&files.certificate).expect("PEM").to_vec();
    while shown().await == old {
        server.clock.advance_ms(10_000);
    }
    assert_eq!(shown().await, new);
}

#[tokio::test]
async fn a_forge_delivers_over_tls_and_policies_know_of_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new();
    let tls = Tls::read(&authority.issue(directory.path())).await.expect("fits");
    let scene = scene_with_ann().await;
    let server: &Server = &scene.server;
    let link = followed(server.client(), "GitHub", "infra").await;
    let (hook, _) = hook(server.client(), &link, Value::Null).await;
    may(
        &scene,
        json!([{"Effect": "Allow", "Action": "codeconnections:ListHosts", "Resource": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]),
    )
    .await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let connections = Arc::new(Connections::new(patient()).with_tls(Some(Arc::new(tls))));
    let router = server::router(Arc::clone(&server.parts.front));
    let serving = running::serve(listener, router, connections, stopped);

    let mut stream = shake_hands(address, &authority.pem).await.expect("TLS");
    let (headers, body) = hook.push("infra", "main", "1");
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
    let delivery = hook.draft(&hook.secret, &headers, body.to_string().as_bytes());
    let told = exchange(&mut stream, &bytes(&delivery)).await;
    assert_eq!(told.status(), 202, "{told:?}");
    let refused = shake_hands(address, &Authority::new().pem).await.expect_err("distrusted").to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");

    // Where it was asked for is where its URL leads.
    let rotate = Draft {
        method: "POST".to_owned(),
        path: format!("/api/v1/repository-links/{link}/webhook"),
        headers: vec![("host".to_owned(), "127.0.0.1:7962".to_owned())],
        body: Vec::new(),
    };
    let rotate = rotate.signed(OURS, REGION, "codeconnections", server.now_ms());
    let told = exchange(&mut stream, &bytes(&rotate)).await.text();
    assert!(told.contains("\"https://127.0.0.1:7962/webhooks/"), "{told}");

    let client = ann(&scene);
    let draft = client.draft("ListHosts", &json!({}));
    let told = exchange(&mut stream, &bytes(&client.sign(draft.clone()))).await;
    assert_eq!(told.status(), 200, "{told:?}");
    let without = server.send(client.sign(draft)).await;
    assert_eq!(without.status, 403, "{}", without.value);
    drop(stream);
    stop.send(true).expect("it listens");
    within(serving).await.expect("it stops");
}

#[tokio::test]
async fn the_command_line_trusts_what_the_machine_trusts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new();
    let files = authority.issue(directory.path());
    let server = Serve::start_with(Aws::Simulated, |command| {
        command.arg("--tls-cert").arg(&files.certificate).arg("--tls-key").arg(&files.key);
    })
    .await;
    assert!(server.endpoint.starts_with("https://127.0.0.1:"), "{}", server.endpoint);
    for (trusted, code) in [(&authority, 0), (&Authority::new(), 1)] {
        let roots = directory.path().join("roots.pem");
        std::fs::write(&roots, &trusted.pem).expect("written");
        let mut command = syncline(&["sync", "list", "--endpoint", &server.endpoint]);
        command.env("SSL_CERT_FILE", &roots);
        command.env("SYNCLINE_ACCESS_KEY_ID", KEY_ID).env("SYNCLINE_SECRET_ACCESS_KEY", SECRET);
        let ended = ended(command, b"").await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    }
}
