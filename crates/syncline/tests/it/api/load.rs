//! What happens when there is more to do than can be done: an answer, at once, to everybody.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::Request;
use serde_json::{Value, json};
use syncline::config::Limits;
use syncline::server::{self, SourceAddress};
use syncline_seams::{FaultPlan, Faults, Injected, Moment, Outside};
use tower::ServiceExt as _;

use super::client::{Client, Draft, PROTOCOLS, Reply, Server, THEIRS};

/// Told before it is known what is asked for.
const ANY: &str = "InternalServerException";
/// Told of an operation that does not declare InternalServerException.
const OF_OPERATION: &str = "InternalFailure";

/// A database that takes its time: the writer stands still before a commit until it is let go.
#[derive(Debug, Default)]
struct Slow {
    holding: Mutex<bool>,
    changed: Condvar,
}

impl Slow {
    fn hold(&self) {
        *self.holding.lock().expect("not poisoned") = true;
    }

    fn let_go(&self) {
        *self.holding.lock().expect("not poisoned") = false;
        self.changed.notify_all();
    }
}

impl FaultPlan for Slow {
    fn at(&self, _point: &'static str, moment: Moment) -> Option<Injected> {
        if moment == Moment::Before {
            let holding = self.holding.lock().expect("not poisoned");
            drop(self.changed.wait_while(holding, |holding| *holding).expect("not poisoned"));
        }
        None
    }
}

async fn slow_server(limits: Limits) -> (Server, Arc<Slow>) {
    let slow = Arc::new(Slow::default());
    let outside = Outside::with_faults(Arc::<Slow>::clone(&slow));
    (Server::with_outside(|config| config.limits = limits, Faults::none(), outside).await, slow)
}

fn make(name: &str) -> Value {
    json!({"ConnectionName": name, "ProviderType": "GitHub"})
}

fn creating(client: Client<'_>, name: &str) -> Draft {
    client.sign(client.draft("CreateConnection", &make(name)))
}

fn is_shed(reply: &Reply, expect: &str) {
    let (code, message) = reply.refusal();
    assert_eq!((code.as_str(), message.as_str()), (expect, "the server has too much to do; try again later"));
    assert_eq!((reply.header("x-amz-retry-after"), reply.header("retry-after")), ("1000", "1"));
}

async fn metric(server: &Server, name: &str) -> u64 {
    let router = server::admin_router(Arc::clone(&server.parts.front));
    let request = Request::get("/metrics").body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("infallible");
    let text = http_body_util::BodyExt::collect(response.into_body()).await.expect("in memory").to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[tokio::test]
async fn beyond_so_many_requests_in_progress_the_next_is_shed_at_once() {
    for protocol in PROTOCOLS {
        let (server, slow) = slow_server(Limits { requests_in_progress: 2, ..Limits::unthrottled() }).await;
        let client = Client { protocol, ..server.client() };
        slow.hold();
        let mut first = pin!(server.send(creating(client, "first")));
        let mut second = pin!(server.send(creating(client, "second")));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert_eq!(metric(&server, "syncline_requests_in_progress").await, 2);

        for _ in 0..3 {
            is_shed(&client.call("ListConnections", &json!({})).await, ANY);
        }
        assert_eq!(metric(&server, "syncline_requests_shed_total").await, 3);
        slow.let_go();
        assert_eq!((first.await.status, second.await.status), (200, 200));
        let listed = client.ok("ListConnections", json!({})).await;
        assert_eq!(listed["Connections"].as_array().expect("a list").len(), 2);
    }
}

#[tokio::test]
async fn one_account_cannot_take_every_place() {
    let limits =
        Limits { requests_in_progress: 10, requests_in_progress_per_account: 2, ..Limits::unthrottled() };
    let (server, slow) = slow_server(limits).await;
    let client = server.client();
    slow.hold();
    let mut first = pin!(server.send(creating(client, "first")));
    let mut second = pin!(server.send(creating(client, "second")));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    let message = "Too many requests of this account are in progress";
    client.refuses("ListConnections", json!({}), "ThrottlingException", message).await;
    Client { key: THEIRS, ..client }.ok("ListConnections", json!({})).await;
    slow.let_go();
    assert_eq!((first.await.status, second.await.status), (200, 200));
    client.ok("ListConnections", json!({})).await;
}

#[tokio::test]
async fn a_full_queue_of_commits_refuses_changes_and_answers_questions() {
    let (server, slow) = slow_server(Limits { writes_waiting: 1, ..Limits::unthrottled() }).await;
    let client = server.client();
    slow.hold();
    let mut first = pin!(server.send(creating(client, "first")));
    let mut waiting = pin!(server.send(creating(client, "waiting")));
    // The first is begun by the writer's thread; until then it waits, and the second may be refused.
    assert!(first.as_mut().now_or_never().is_none());
    let refused_before = loop {
        match waiting.as_mut().now_or_never() {
            None => break metric(&server, "syncline_writes_refused_total").await,
            Some(reply) => {
                is_shed(&reply, OF_OPERATION);
                waiting.set(server.send(creating(client, "waiting")));
            }
        }
    };
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..client };
        is_shed(&client.call("CreateConnection", &make("third")).await, OF_OPERATION);
        client.ok("ListConnections", json!({})).await;
    }
    assert_eq!(metric(&server, "syncline_writes_refused_total").await, refused_before + 2);
    slow.let_go();
    assert_eq!((first.await.status, waiting.await.status), (200, 200));
    client.ok("CreateConnection", make("third")).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_and_not_worked_on() {
    for protocol in PROTOCOLS {
        let (server, slow) = slow_server(Limits::unthrottled()).await;
        let client = Client { protocol, ..server.client() };
        slow.hold();
        let mut first = pin!(server.send_raw(creating(client, "first")));
        let mut second = pin!(server.send_raw(creating(client, "second")));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        server.clock.advance_ms(29_999);
        assert!(second.as_mut().now_or_never().is_none());
        server.clock.advance_ms(1);
        let (code, message) = second.await.refusal();
        assert_eq!(code, "InternalServerException");
        assert_eq!(message, "the server could not complete the request within 30 s; it is safe to try again");
        assert_eq!(first.await.status, 503);
        assert_eq!(metric(&server, "syncline_requests_timed_out_total").await, 2);
        assert_eq!(metric(&server, "syncline_requests_in_progress").await, 0);

        slow.let_go();
        // The first may be committed by now or never; the second was not begun, and is not any more.
        client.ok("CreateConnection", make("third")).await;
        let listed = client.ok("ListConnections", json!({})).await;
        let names: Vec<_> = listed["Connections"].as_array().expect("a list").iter().collect();
        let has = |name: &str| names.iter().any(|connection| connection["ConnectionName"] == name);
        assert!(has("third") && !has("second"), "{listed}");
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    let (server, slow) = slow_server(Limits::unthrottled()).await;
    let client = server.client();
    slow.hold();
    let mut first = pin!(server.send(creating(client, "first")));
    assert!(first.as_mut().now_or_never().is_none());
    // The client hangs up.
    assert!(server.send(creating(client, "gone")).now_or_never().is_none());
    assert_eq!(metric(&server, "syncline_requests_in_progress").await, 1);
    slow.let_go();
    assert_eq!(first.await.status, 200);
    client.ok("CreateConnection", make("gone")).await;
}

#[tokio::test]
async fn bodies_that_are_large_and_slow_crowd_out_only_each_other() {
    let server =
        Server::with(|config| config.limits = Limits { large_bodies: 1, ..Limits::unthrottled() }).await;
    let client = server.client();
    let router = server::router(Arc::clone(&server.parts.front));
    let large = || stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b' '; 16_385]))]);
    let send = |body: Body| {
        let request = Request::post("/").body(body).expect("a request");
        router.clone().oneshot(request).map(|answer| answer.expect("infallible"))
    };
    let mut slow = pin!(send(Body::from_stream(large().chain(stream::pending()))));
    assert!(slow.as_mut().now_or_never().is_none());
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..client };
        let mut draft = client.draft("GetConnection", &json!({}));
        draft.body = vec![b' '; 16_385];
        is_shed(&server.send(client.sign(draft)).await, ANY);
        client.ok("ListConnections", json!({})).await;
    }
    // A small one may be as slow as it likes.
    let small = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b' '; 16_384]))]);
    let mut late = pin!(send(Body::from_stream(small.chain(stream::pending()))));
    assert!(late.as_mut().now_or_never().is_none());

    server.clock.advance_ms(30_000);
    assert_eq!((slow.await.status().as_u16(), late.await.status().as_u16()), (400, 400));
    assert_eq!(metric(&server, "syncline_bodies_timed_out_total").await, 2);
    let whole = send(Body::from_stream(large())).await;
    assert_eq!(whole.status(), 404, "there is room again, and no such operation");
}

#[tokio::test]
async fn one_source_has_few_large_bodies_and_pays_for_those_that_do_not_arrive() {
    let limits = Limits {
        large_bodies: 6,
        large_bodies_per_source: 2,
        source_requests_per_second: 10,
        source_burst: 20,
        failed_signature_cost: 20,
        ..Limits::unthrottled()
    };
    let server = Server::with(|config| config.limits = limits).await;
    let router = server::router(Arc::clone(&server.parts.front));
    let piece = || stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b' '; 16_385]))]);
    let send = |source: &str, body: Body| {
        let source = SourceAddress(source.parse().expect("an address"));
        let request = Request::post("/").extension(source).body(body).expect("a request");
        router.clone().oneshot(request).map(|answer| answer.expect("infallible").status().as_u16())
    };
    let whole = |source: &str| send(source, Body::from_stream(piece()));
    let stalled = |source: &str| Box::pin(send(source, Body::from_stream(piece().chain(stream::pending()))));
    let (staller, other) = ("198.18.0.1", "198.18.0.2");
    let mut waiting = [stalled(staller), stalled(staller), stalled("::1"), stalled("::1"), stalled("::1")];
    for answer in &mut waiting {
        assert!(answer.as_mut().now_or_never().is_none());
    }
    assert_eq!(whole(staller).await, 429, "its third one");
    assert_eq!(whole(other).await, 404, "there is a place for somebody else");
    assert_eq!(metric(&server, "syncline_requests_throttled_by_source_total").await, 1);

    server.clock.advance_ms(30_000);
    for answer in waiting {
        assert_eq!(answer.await, 400);
    }
    // Two that did not arrive cost as much as two wrong signatures, more than its whole bucket.
    assert_eq!(whole(staller).await, 429);
    assert_eq!(metric(&server, "syncline_requests_throttled_by_source_total").await, 2);
    assert_eq!(whole(other).await, 404);
    assert_eq!(whole("::1").await, 404);
}
