//! Before any operation: who asks, how, and how much.

use aws_credential_types::Credentials;
use serde_json::json;
use syncline_seams::Moment;
use syncline_wire::{ErrorCode, MAX_BODY_BYTES, Operation, Protocol, Service};

use super::client::{Client, Draft, Key, OURS, PROTOCOLS, REGION, Server, THEIRS};
use super::scene::text;

const MINUTE_MS: i64 = 60_000;

async fn refused(server: &Server, draft: Draft, code: &str) -> String {
    let told = format!("{draft:?}");
    let (got, message) = server.send(draft).await.refusal();
    assert_eq!(got, code, "{message}: {told}");
    message
}

fn draft_with_token(client: &Client<'_>) -> Draft {
    let mut draft = client.draft("ListHosts", &json!({}));
    draft.headers.push(("x-amz-security-token".to_owned(), "a session's".to_owned()));
    draft
}

#[tokio::test]
async fn who_does_not_prove_who_they_are_is_refused() {
    let server = Server::start().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..server.client() };
        let draft = || client.draft("ListHosts", &json!({}));
        let signed = || client.sign(draft());
        let with_key = |key: Key| draft().signed(key, REGION, "codeconnections", server.now_ms());
        assert_eq!(server.send(signed()).await.status, 200);

        refused(&server, draft(), "MissingAuthenticationTokenException").await;
        let unknown = Key { id: "AKIANOBODYNOBODYNOBO", ..OURS };
        let unknown = refused(&server, with_key(unknown), "UnrecognizedClientException").await;
        assert_eq!(unknown, "The security token included in the request is invalid.");
        refused(&server, with_key(Key { secret: "guessed", ..OURS }), "InvalidSignatureException").await;
        refused(&server, with_key(Key { id: THEIRS.id, ..OURS }), "InvalidSignatureException").await;

        // The root key has no sessions, so a session's token is nobody's.
        let draft = client.sign(draft_with_token(&client));
        let no_session = refused(&server, draft, "UnrecognizedClientException").await;
        assert_eq!(no_session, unknown, "in the same words");

        let mut draft = signed();
        let authorization = draft.header("authorization");
        let last = authorization.pop().expect("a signature");
        authorization.push(if last == '0' { '1' } else { '0' });
        refused(&server, draft, "InvalidSignatureException").await;
        let mut draft = signed();
        draft.header("authorization").truncate(40);
        refused(&server, draft, "IncompleteSignatureException").await;
        refused(&server, signed().without("x-amz-date"), "IncompleteSignatureException").await;
    }
}

/// Provokes an error that no operation declares, or says why it never happens.
async fn provoked(server: &Server, client: Client<'_>, code: ErrorCode) -> Result<Draft, &'static str> {
    let good = || client.draft("ListHosts", &json!({}));
    let with_body = |body: Vec<u8>| client.sign(Draft { body, ..good() });
    Ok(match code {
        ErrorCode::UnknownOperation => client.sign(client.draft("ListNothing", &json!({}))),
        ErrorCode::Serialization => with_body(b"{".to_vec()),
        ErrorCode::Validation => client.sign(client.draft("CreateConnection", &json!({}))),
        ErrorCode::MissingAuthenticationToken => good(),
        ErrorCode::IncompleteSignature => client.sign(good()).without("x-amz-date"),
        ErrorCode::InvalidSignature => Draft { body: b"other".to_vec(), ..client.sign(good()) },
        ErrorCode::UnrecognizedClient => client.sign(draft_with_token(&client)),
        ErrorCode::ExpiredToken => {
            let user = "/accounts/333333333333/users/ci";
            assert_eq!(client.rest("PUT", user, &json!({})).await.status, 200);
            let wanted = json!({"temporary": true, "durationSeconds": 900});
            let key = client.rest("POST", &format!("{user}/keys"), &wanted).await.value;
            let token = Some(text(&key, "/sessionToken"));
            let (id, secret) = (text(&key, "/accessKeyId"), text(&key, "/secretAccessKey"));
            server.clock.advance_ms(900_000);
            let credentials = Credentials::new(id, secret, token, None, "test");
            good().signed_by(credentials, REGION, "codeconnections", server.now_ms())
        }
        ErrorCode::RequestExpired => {
            return Err("only presigned requests end so, and they are refused; an old signature is invalid");
        }
        ErrorCode::RequestEntityTooLarge => with_body(vec![b' '; MAX_BODY_BYTES + 1]),
        ErrorCode::UnsupportedMediaType => {
            let mut draft = good();
            "text/plain".clone_into(draft.header("content-type"));
            client.sign(draft)
        }
        ErrorCode::InternalFailure => {
            server.faults.fail("store.create_connection", Moment::Before);
            let input = json!({"ConnectionName": "web", "ProviderType": "GitHub"});
            client.sign(client.draft("CreateConnection", &input))
        }
        declared => panic!("{} is declared by no operation and has no row here", declared.name()),
    })
}

#[tokio::test]
async fn every_error_that_no_operation_declares_is_told_or_never_happens() {
    for protocol in PROTOCOLS {
        for &code in ErrorCode::ALL {
            if Operation::ALL.iter().any(|operation| operation.declares(code)) {
                continue;
            }
            let server = Server::start().await;
            let client = Client { protocol, ..server.client() };
            if let Ok(draft) = provoked(&server, client, code).await {
                refused(&server, draft, code.name()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_signature_is_good_for_its_service_alone() {
    let server = Server::start().await;
    for protocol in PROTOCOLS {
        for &service in Service::ALL {
            let client = Client { protocol, service, ..server.client() };
            let signed_for = |name: &str| {
                client.draft("ListHosts", &json!({})).signed(OURS, REGION, name, server.now_ms())
            };
            for &other in Service::ALL {
                let draft = signed_for(other.signing_name());
                if other == service {
                    assert_eq!(server.send(draft).await.status, 200);
                } else {
                    refused(&server, draft, "InvalidSignatureException").await;
                }
            }
            refused(&server, signed_for("s3"), "InvalidSignatureException").await;
        }
    }
}

#[tokio::test]
async fn whatever_was_signed_cannot_be_changed() {
    let server = Server::start().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..server.client() };
        let signed = || client.sign(client.draft("ListHosts", &json!({"MaxResults": 1})));
        let mut draft = signed();
        *draft.body.last_mut().expect("a body") ^= 1;
        refused(&server, draft, "InvalidSignatureException").await;
        let mut draft = signed();
        draft.header("host").push('1');
        refused(&server, draft, "InvalidSignatureException").await;
        let mut draft = signed();
        draft.path.push_str("?a=b");
        refused(&server, draft, "InvalidSignatureException").await;
        // Another operation under the old signature.
        let mut draft = signed();
        match protocol {
            Protocol::Json => {
                let target = draft.header("x-amz-target");
                *target = target.replace("ListHosts", "ListConnections");
            }
            Protocol::Cbor => draft.path = draft.path.replace("ListHosts", "ListConnections"),
        }
        refused(&server, draft, "InvalidSignatureException").await;
        // A header of Amazon's that nobody signed.
        let mut draft = signed();
        draft.headers.push(("x-amz-sneaked-in".to_owned(), "1".to_owned()));
        refused(&server, draft, "InvalidSignatureException").await;
    }
}

#[tokio::test]
async fn a_clock_may_be_off_by_less_than_a_quarter_of_an_hour() {
    let server = Server::start().await;
    let client = server.client();
    for (skew_ms, accepted) in [
        (0, true),
        (15 * MINUTE_MS - 1000, true),
        (1000 - 15 * MINUTE_MS, true),
        (15 * MINUTE_MS + 1000, false),
        (-15 * MINUTE_MS - 1000, false),
        (24 * 60 * MINUTE_MS, false),
    ] {
        let draft = client.draft("ListHosts", &json!({}));
        let draft = draft.signed(OURS, REGION, "codeconnections", server.now_ms() + skew_ms);
        let reply = server.send(draft).await;
        assert_eq!(reply.status == 200, accepted, "off by {skew_ms} ms: {}", reply.value);
        if !accepted {
            assert_eq!(reply.refusal().0, "InvalidSignatureException", "off by {skew_ms} ms");
        }
    }
}

#[tokio::test]
async fn a_replay_is_refused_once_its_time_is_over() {
    let server = Server::start().await;
    let client = server.client();
    let draft = client.sign(client.draft("ListHosts", &json!({})));
    assert_eq!(server.send(draft.clone()).await.status, 200);
    server.clock.advance_ms(15 * MINUTE_MS + 1000);
    refused(&server, draft, "InvalidSignatureException").await;
}

#[tokio::test]
async fn a_body_has_one_mebibyte_at_the_most() {
    let server = Server::start().await;
    let client = server.client();
    let body_of = |length: usize| {
        let head = br#"{"ConnectionArn":""#.to_vec();
        let mut body = head;
        body.resize(length - 2, b' ');
        body.extend_from_slice(br#""}"#);
        body
    };
    let mut draft = client.draft("GetConnection", &json!({}));
    draft.body = body_of(1024 * 1024);
    refused(&server, client.sign(draft), "ValidationException").await;
    let mut draft = client.draft("GetConnection", &json!({}));
    draft.body = body_of(1024 * 1024 + 1);
    let message = refused(&server, client.sign(draft.clone()), "RequestEntityTooLarge").await;
    assert_eq!(message, "the body has more than 1048576 bytes");
    // It is not read to its end to see who sent it.
    refused(&server, draft, "RequestEntityTooLarge").await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for_for_ever() {
    let server = Server::start().await;
    let never = futures_util::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>();
    let request = http::Request::post("/").body(axum::body::Body::from_stream(never)).expect("a request");
    let router = syncline::server::router(std::sync::Arc::clone(&server.parts.front));
    let answered = tokio::spawn(tower::ServiceExt::oneshot(router, request));
    while !answered.is_finished() {
        server.clock.advance_ms(10_000);
        tokio::task::yield_now().await;
    }
    let answer = answered.await.expect("it ends").expect("an answer");
    assert_eq!(answer.status(), http::StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_request_names_one_operation_in_one_protocol() {
    let server = Server::start().await;
    let json_client = server.client();
    let cbor_client = Client { protocol: Protocol::Cbor, ..json_client };
    let with = |mut draft: Draft, name: &str, value: &str| {
        draft.headers.push((name.to_owned(), value.to_owned()));
        draft
    };
    let cbor = || cbor_client.draft("ListHosts", &json!({}));
    let json = || json_client.draft("ListHosts", &json!({}));
    let check = async |draft: Draft, code: &str| {
        refused(&server, json_client.sign(draft), code).await;
    };
    let target = "CodeConnections_20231201.ListHosts";
    check(with(cbor(), "x-amz-target", target), "SerializationException").await;
    check(with(json(), "x-amz-target", target), "SerializationException").await;
    check(json().without("x-amz-target"), "UnknownOperationException").await;
    check(cbor().without("smithy-protocol"), "UnknownOperationException").await;
    let mut plain = json();
    *plain.header("content-type") = "text/plain".to_owned();
    check(plain, "UnsupportedMediaType").await;
    let mut foreign = json();
    *foreign.header("x-amz-target") = "DynamoDB_20120810.ListTables".to_owned();
    check(foreign, "UnknownOperationException").await;
    let mut foreign = cbor();
    foreign.path = "/service/Nobody/operation/ListHosts".to_owned();
    check(foreign, "UnknownOperationException").await;

    // What is short, or says more than it must, is understood.
    let mut short = json();
    *short.header("x-amz-target") = target.to_owned();
    *short.header("content-type") = "application/x-amz-json-1.0; charset=utf-8".to_owned();
    assert_eq!(server.send(json_client.sign(short)).await.status, 200);
    let mut deep = cbor();
    deep.path = format!("/some/prefix{}", deep.path);
    assert_eq!(server.send(json_client.sign(deep)).await.status, 200);
}

#[tokio::test]
async fn other_methods_and_paths_get_an_answer_of_the_api_too() {
    let server = Server::start().await;
    for (method, path) in [
        ("PUT", "/"),
        ("DELETE", "/"),
        ("OPTIONS", "/"),
        ("GET", "/service/CodeConnections_20231201/operation/ListHosts"),
        ("PUT", "/service/CodeConnections_20231201/operation/ListHosts"),
        ("GET", "/nowhere"),
        ("POST", "/nowhere"),
        ("POST", "/service"),
    ] {
        let mut draft = server.client().draft("ListHosts", &json!({}));
        draft.method = method.to_owned();
        draft.path = path.to_owned();
        refused(&server, draft, "UnknownOperationException").await;
    }
    let draft = Draft {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: vec![("host".to_owned(), "127.0.0.1:7962".to_owned())],
        body: Vec::new(),
    };
    let reply = server.send_raw(draft).await;
    assert_eq!(reply.status, 200);
    assert!(String::from_utf8_lossy(&reply.body).starts_with("Syncline "), "a page for people");
}

#[tokio::test]
async fn every_request_has_an_id_of_its_own() {
    let server = Server::start().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let reply = server.client().call("ListHosts", &json!({})).await;
        ids.insert(reply.header("x-amzn-requestid").to_owned());
        let reply = server.client().call("GetHost", &json!({})).await;
        ids.insert(reply.header("x-amzn-requestid").to_owned());
    }
    assert_eq!(ids.len(), 10);
}
