//! Requests that a proxy hands on, over real sockets: whom they are taken to be of, and what they are signed for.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use syncline::config::Limits;
use syncline::running;
use syncline::server::{self, Connections, Proxies};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::access::{ann, may, scene_with_ann};
use super::audit::records;
use super::client::{Client, Draft, OURS, Server};
use crate::listening::{Answer, bytes, exchange, patient};

/// A listener of a server's, and what keeps it.
struct Listening {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

/// Listens behind the proxies in these networks. Whoever connects does so from 127.0.0.1.
async fn listen(server: &Server, trusted: &[&str]) -> Listening {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let proxies = Proxies::trusting(trusted.iter().map(|text| text.parse().expect("a network")).collect());
    let connections = Arc::new(Connections::new(patient()).behind(proxies));
    running::serve(listener, server::router(Arc::clone(&server.parts.front)), connections, stopped);
    Listening { address, _stop: stop }
}

impl Listening {
    /// Sends a request as a proxy does that adds these headers.
    async fn send(&self, draft: &Draft, added: &[(&str, &str)]) -> Answer {
        let mut draft = draft.clone();
        draft.headers.extend(added.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        exchange(&mut stream, &bytes(&draft)).await
    }
}

const FOR: &str = "x-forwarded-for";

fn listing(client: Client<'_>) -> Draft {
    client.sign(client.draft("ListHosts", &json!({})))
}

#[tokio::test]
async fn policies_and_the_audit_log_have_the_client_s_address() {
    let scene = scene_with_ann().await;
    may(
        &scene,
        json!([
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "*", "Resource": "*",
             "Condition": {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}},
            {"Effect": "Deny", "Action": "codeconnections:CreateHost", "Resource": "*",
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        ]),
    )
    .await;
    let behind = listen(&scene.server, &["127.0.0.1", "10.0.0.0/8"]).await;
    let alone = listen(&scene.server, &["10.0.0.0/8"]).await;
    let draft = listing(ann(&scene));
    for (told, expect) in [
        (&[(FOR, "203.0.113.9")][..], 200),
        (&[(FOR, "203.0.113.9, 10.1.1.1")], 200),
        (&[(FOR, "198.51.100.1")], 403),
        // What a client claims stands before what the proxy has seen.
        (&[(FOR, "203.0.113.9, 198.51.100.1")], 403),
        (&[(FOR, "203.0.113.9"), (FOR, "198.51.100.1")], 403),
        (&[("forwarded", "for=198.51.100.1"), (FOR, "198.51.100.1")], 403),
        (&[], 403),
    ] {
        assert_eq!(behind.send(&draft, told).await.status(), expect, "{told:?}");
        assert_eq!(alone.send(&draft, told).await.status(), 403, "{told:?}");
    }

    let client = ann(&scene);
    let host = |name: &str| {
        let input =
            json!({"Name": name, "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com"});
        client.sign(client.draft("CreateHost", &input))
    };
    let plain = [(FOR, "203.0.113.9"), ("x-forwarded-proto", "http")];
    assert_eq!(behind.send(&host("plain"), &plain).await.status(), 403);
    // Where the proxy does not say, a denial of what is insecure denies nothing.
    assert_eq!(behind.send(&host("unknown"), &[(FOR, "203.0.113.9")]).await.status(), 200);
    let secure = [(FOR, "2001:db8::1, 203.0.113.9"), ("x-forwarded-proto", "https")];
    assert_eq!(behind.send(&host("secure"), &secure).await.status(), 200);
    let log = records(&scene.server, OURS).await;
    let made = log.iter().filter(|record| record["eventName"] == "CreateHost");
    let made = made.filter(|record| record["userIdentity"]["userName"] == "ann");
    let sources: Vec<_> =
        made.map(|record| record["sourceIPAddress"].as_str().expect("an address")).collect();
    assert_eq!(sources, ["203.0.113.9"; 3], "{log:#?}");
}

#[tokio::test]
async fn a_client_s_rate_is_its_own_and_nobody_else_s() {
    let limits = Limits { source_requests_per_second: 1, source_burst: 2, ..patient() };
    let server = Server::with(|config| config.limits = limits).await;
    let behind = listen(&server, &["127.0.0.1"]).await;
    let draft = listing(server.client());
    let statuses = async |told: &str| {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(behind.send(&draft, &[(FOR, told)]).await.status());
        }
        statuses
    };
    assert_eq!(statuses("203.0.113.9").await, [200, 200, 429]);
    assert_eq!(statuses("198.51.100.1").await, [200, 200, 429]);
    // Nor does it get another by what it makes up.
    assert_eq!(statuses("192.0.2.77, 203.0.113.9").await, [429, 429, 429]);
}

#[tokio::test]
async fn what_does_not_say_whom_it_comes_from_is_taken_for_nobody_s() {
    let limits = Limits { source_requests_per_second: 1, source_burst: 2, ..patient() };
    let server = Server::with(|config| config.limits = limits).await;
    let behind = listen(&server, &["127.0.0.1"]).await;
    let alone = listen(&server, &[]).await;
    let draft = listing(server.client());
    for (told, expect) in [
        (&[(FOR, "203.0.113.9"), ("forwarded", "for=198.51.100.1")][..], "must remove the one of the two"),
        (&[(FOR, "203.0.113.9"), ("forwarded", "for=\"")], "the header Forwarded does not say"),
        (&[("forwarded", "host=a.example")], "the header Forwarded does not say"),
        (&[(FOR, "203.0.113.9, unknown")], "the header X-Forwarded-For does not say"),
    ] {
        for _ in 0..3 {
            let refused = behind.send(&draft, told).await;
            assert_eq!(refused.status(), 400, "{told:?}");
            assert!(refused.text().contains(expect), "{refused:?}");
        }
        // Of anybody else it means nothing.
        assert_eq!(alone.send(&draft, told).await.status(), 200, "{told:?}");
    }
}

#[tokio::test]
async fn a_request_is_signed_for_the_host_that_the_client_asked_for() {
    let server = Server::start().await;
    let behind = listen(&server, &["127.0.0.1"]).await;
    let alone = listen(&server, &[]).await;
    let client = server.client();
    let mut draft = client.draft("ListHosts", &json!({}));
    *draft.header("host") = "syncline.example.com".to_owned();
    let mut draft = client.sign(draft);
    // As a proxy does that asks its own name for what it is behind.
    *draft.header("host") = "10.0.0.7:7962".to_owned();
    let by = (FOR, "203.0.113.9");
    let told = [by, ("x-forwarded-host", "syncline.example.com")];
    assert_eq!(behind.send(&draft, &told).await.status(), 200);
    let standard = ("forwarded", "for=203.0.113.9;host=syncline.example.com");
    assert_eq!(behind.send(&draft, &[standard]).await.status(), 200);
    for other in [
        &[][..],
        &[by],
        &[by, ("x-forwarded-host", "other.example.com")],
        // What came with no client's name, or with another header than the client's name did, may be the client's.
        &[("x-forwarded-host", "syncline.example.com")],
        &[by, standard],
    ] {
        assert_eq!(behind.send(&draft, other).await.status(), 403, "{other:?}");
    }
    assert_eq!(alone.send(&draft, &told).await.status(), 403);
}
