//! Who has to wait, and who has not: rates of source addresses and accounts, on virtual time.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use syncline::config::{Config, Limits};
use syncline_wire::Protocol;

use super::client::{Client, Draft, Key, OURS, PROTOCOLS, REGION, Reply, Server, THEIRS};

/// An address that is not ours.
fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(198, 18, high, low))
}

async fn server(limits: Limits) -> Server {
    Server::with(|config: &mut Config| config.limits = limits).await
}

/// A reading call of ours, signed.
fn read(server: &Server) -> Draft {
    let client = server.client();
    client.sign(client.draft("ListHosts", &json!({})))
}

/// The same with our key's id and a guessed secret.
fn forged(client: Client<'_>) -> Draft {
    let guessed = Key { secret: "guessed", ..OURS };
    client.draft("ListHosts", &json!({})).signed(guessed, REGION, "codeconnections", client.server.now_ms())
}

fn code(reply: &Reply) -> String {
    if reply.status == 200 { "200".to_owned() } else { reply.refusal().0 }
}

const THROTTLED: &str = "ThrottlingException";

#[tokio::test]
async fn who_is_throttled_is_told_when_to_come_again_in_both_protocols() {
    let limits = Limits { account_reads_per_second: 4, account_reads_burst: 1, ..Limits::unthrottled() };
    for protocol in PROTOCOLS {
        let server = server(limits).await;
        let client = Client { protocol, ..server.client() };
        client.ok("ListHosts", json!({})).await;
        let reply = client.call("ListHosts", &json!({})).await;
        assert_eq!(reply.refusal(), (THROTTLED.to_owned(), "Rate exceeded".to_owned()));
        assert_eq!((reply.header("x-amz-retry-after"), reply.header("retry-after")), ("250", "1"));
        server.clock.advance_ms(249);
        let reply = client.call("ListHosts", &json!({})).await;
        assert_eq!(reply.header("x-amz-retry-after"), "1");
        server.clock.advance_ms(1);
        client.ok("ListHosts", json!({})).await;
    }
}

#[tokio::test]
async fn the_rest_api_draws_on_the_same_buckets() {
    let limits = Limits { account_reads_per_second: 1, account_reads_burst: 2, ..Limits::unthrottled() };
    let server = server(limits).await;
    let show = || {
        let mut draft = server.client().draft("ListHosts", &json!({}));
        draft.method = "GET".to_owned();
        draft.path = "/api/v1/syncs".to_owned();
        draft.body.clear();
        draft.without("x-amz-target").signed(OURS, REGION, "codeconnections", server.now_ms())
    };
    server.client().ok("ListHosts", json!({})).await;
    assert_eq!(server.send_raw(show()).await.status, 200);
    let reply = server.send_raw(show()).await;
    assert_eq!((reply.status, reply.value["code"].as_str()), (429, Some(THROTTLED)));
    assert_eq!((reply.header("x-amz-retry-after"), reply.header("retry-after")), ("1000", "1"));
    assert_eq!(reply.header("x-amzn-requestid").len(), 36);
    let (code, _) = server.client().refused("ListHosts", json!({})).await;
    assert_eq!(code, THROTTLED);

    // A path that is none costs its source as any other.
    let limits = Limits { source_requests_per_second: 1, source_burst: 1, ..Limits::unthrottled() };
    let server = self::server(limits).await;
    let nowhere =
        || Draft { method: "GET".into(), path: "/api/v1/nowhere".into(), headers: vec![], body: vec![] };
    assert_eq!(server.send_from(address(1), nowhere()).await.status, 404);
    assert_eq!(server.send_from(address(1), nowhere()).await.status, 429);
    assert_eq!(server.send_from(address(2), nowhere()).await.status, 404);
}

#[tokio::test]
async fn writing_much_does_not_keep_anybody_from_reading() {
    let limits = Limits {
        account_reads_per_second: 10,
        account_reads_burst: 10,
        account_writes_per_second: 1,
        account_writes_burst: 2,
        ..Limits::unthrottled()
    };
    let server = server(limits).await;
    let client = server.client();
    let make = |name: &str| json!({"ConnectionName": name, "ProviderType": "GitHub"});
    client.ok("CreateConnection", make("a")).await;
    client.ok("CreateConnection", make("b")).await;
    client.refuses("CreateConnection", make("c"), THROTTLED, "Rate exceeded").await;
    for _ in 0..10 {
        client.ok("ListConnections", json!({})).await;
    }
    client.refuses("ListConnections", json!({}), THROTTLED, "Rate exceeded").await;
    // And each account has its own.
    let theirs = Client { key: THEIRS, ..client };
    theirs.ok("CreateConnection", make("a")).await;
    theirs.ok("ListConnections", json!({})).await;
    // A bucket that is empty fills at its own rate.
    server.clock.advance_ms(100);
    client.ok("ListConnections", json!({})).await;
    client.refuses("CreateConnection", make("c"), THROTTLED, "Rate exceeded").await;
    server.clock.advance_ms(900);
    client.ok("CreateConnection", make("c")).await;
}

#[tokio::test]
async fn naming_somebody_s_key_takes_nothing_from_them() {
    let limits = Limits {
        source_requests_per_second: 10,
        source_burst: 10,
        account_reads_per_second: 1,
        account_reads_burst: 3,
        ..Limits::default()
    };
    let server = server(limits).await;
    for number in 0..200 {
        let client = Client { protocol: PROTOCOLS[usize::from(number) % 2], ..server.client() };
        let reply = server.send_from(address(number), forged(client)).await;
        assert_eq!(code(&reply), "InvalidSignatureException");
    }
    for expected in ["200", "200", "200", THROTTLED] {
        assert_eq!(code(&server.send_from(address(1000), read(&server)).await), expected);
    }
    // Now that the account has nothing left, a forged request is told so as well: nobody verified anything.
    assert_eq!(code(&server.send_from(address(1001), forged(server.client())).await), THROTTLED);
    server.clock.advance_ms(1000);
    assert_eq!(
        code(&server.send_from(address(1002), forged(server.client())).await),
        "InvalidSignatureException"
    );
    assert_eq!(code(&server.send_from(address(1003), read(&server)).await), "200");
}

#[tokio::test]
async fn a_wrong_signature_costs_its_source_extra() {
    let limits = Limits {
        source_requests_per_second: 10,
        source_burst: 30,
        failed_signature_cost: 10,
        ..Limits::unthrottled()
    };
    let server = server(limits).await;
    let guesser = address(1);
    for _ in 0..3 {
        let reply = server.send_from(guesser, forged(server.client())).await;
        assert_eq!(code(&reply), "InvalidSignatureException");
    }
    let reply = server.send_from(guesser, read(&server)).await;
    assert_eq!(reply.refusal().1, "Rate exceeded for this source address");
    // Three signatures cost thirty, their requests three, and the next one is the first that is too many.
    assert_eq!(reply.header("x-amz-retry-after"), "400");
    for _ in 0..30 {
        assert_eq!(code(&server.send_from(address(2), read(&server)).await), "200");
    }
    assert_eq!(code(&server.send_from(address(2), read(&server)).await), THROTTLED);
    server.clock.advance_ms(400);
    assert_eq!(code(&server.send_from(guesser, read(&server)).await), "200");
    // Behind a proxy on this machine everybody comes from here.
    for _ in 0..40 {
        assert_eq!(code(&server.send_raw(forged(server.client())).await), "InvalidSignatureException");
    }
}

#[tokio::test]
async fn a_source_is_throttled_before_anything_is_read_of_what_it_sends() {
    let limits = Limits { source_requests_per_second: 1, source_burst: 1, ..Limits::unthrottled() };
    let server = server(limits).await;
    let source = address(7);
    assert_eq!(code(&server.send_from(source, read(&server)).await), "200");
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..server.client() };
        let mut draft = client.draft("NoSuchThing", &json!({}));
        draft.body = vec![0xff; 2 << 20];
        let reply = server.send_from(source, draft).await;
        assert_eq!(code(&reply), THROTTLED);
        assert_eq!(reply.header("content-type"), protocol.content_type());
        let echoed = reply.headers.contains_key("smithy-protocol");
        assert_eq!(echoed, protocol == Protocol::Cbor);
    }
}

#[tokio::test]
async fn a_flood_from_many_sources_leaves_a_quiet_account_alone() {
    let limits = Limits {
        source_requests_per_second: 5,
        source_burst: 10,
        failed_signature_cost: 5,
        account_reads_per_second: 5,
        account_reads_burst: 10,
        ..Limits::default()
    };
    let server = server(limits).await;
    let home = address(60_000);
    let (mut refused, mut throttled) = (0, 0);
    for second in 0..20 {
        for number in 0..20 {
            // Each comes back for the whole time, names our key and cannot prove it.
            for _ in 0..4 {
                match code(&server.send_from(address(number), forged(server.client())).await).as_str() {
                    THROTTLED => throttled += 1,
                    "InvalidSignatureException" => refused += 1,
                    other => panic!("{other}"),
                }
            }
        }
        for _ in 0..5 {
            let reply = server.send_from(home, read(&server)).await;
            assert_eq!(code(&reply), "200", "in second {second}");
        }
        server.clock.advance_ms(1000);
    }
    assert!(throttled > refused, "{throttled} of {} were throttled", throttled + refused);
}
