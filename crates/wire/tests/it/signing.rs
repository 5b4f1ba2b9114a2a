//! Requests signed by the AWS SDK's signer are verified; whatever is changed on the way is noticed.

use proptest::prelude::*;
use syncline_wire::sigv4::{Expected, Presented, SessionToken, SignedParts, SigningKeys};
use syncline_wire::{CreateConnectionInput, ErrorCode, Operation, ProviderType, Tag, decode, route};

use crate::signed_request::{NOW_MS, Request, SECRET};

#[test]
fn the_sdks_signature_is_verified() {
    let verified = Request::of_the_sdk().verify(NOW_MS).expect("HTTP").expect("verified");
    assert_eq!(verified.session_token.as_ref().map(SessionToken::expose), Some("session-token"));
    assert_eq!(
        format!("{verified:?}"),
        "Verified { access_key_id: \"AKIDEXAMPLE\", region: \"eu-central-1\", service: \"codeconnections\", \
         signed_at_ms: 1763865600000, session_token: Some(SessionToken(…)) }"
    );
}

/// What boto3 1.44.5 sent for `create_connection`, word for word: another signer, which signs fewer headers.
#[test]
fn boto3s_signature_is_verified_and_its_body_read() {
    let body = br#"{"ConnectionName": "demo", "ProviderType": "GitHub", "Tags": [{"Key": "k", "Value": "v \u00e4"}]}"#;
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/eu-central-1/codestar-connections/\
                         aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
                         Signature=091b981c0867df20eec7ff67b70f2ad8e5f34209fc33727add430b0ec5a3f2eb";
    let request = Request::new(
        "POST",
        "/",
        "",
        &[
            ("host", "127.0.0.1:60329"),
            ("accept-encoding", "identity"),
            (
                "x-amz-target",
                "com.amazonaws.codestar.connections.CodeStar_connections_20191201.CreateConnection",
            ),
            ("content-type", "application/x-amz-json-1.0"),
            ("user-agent", "Botocore/1.44.5 ua/2.1 os/linux lang/python#3.11.7"),
            ("x-amz-date", "20261123T041355Z"),
            ("x-amz-security-token", "session-token"),
            ("authorization", authorization),
            ("amz-sdk-invocation-id", "433d9852-486e-42df-97eb-0d0daa34d9c8"),
            ("amz-sdk-request", "attempt=1; max=1"),
            ("content-length", "97"),
        ],
        body,
    );
    let mut sent = http::Request::post(&request.path).body(()).expect("HTTP");
    *sent.headers_mut() = request.header_map().expect("HTTP");
    let (head, ()) = sent.into_parts();
    let routed = route(&head.method, head.uri.path(), &head.headers).expect("routed");
    assert_eq!(routed.operation, Operation::CreateConnection);
    let parts = SignedParts::of(&head, &request.body);
    let expected =
        Expected { service: routed.service.signing_name(), now_ms: 1_795_407_240_000, normalize_path: true };
    let presented = Presented::parse(parts, expected).expect("well-formed");
    presented.verify(SECRET.as_bytes(), &SigningKeys::default()).expect("verified");
    let input: CreateConnectionInput = decode(routed.protocol, &request.body).expect("read");
    assert_eq!(
        input,
        CreateConnectionInput {
            provider_type: Some(ProviderType::GitHub),
            connection_name: "demo".to_owned(),
            tags: Some(vec![Tag { key: "k".to_owned(), value: "v ä".to_owned() }]),
            host_arn: None,
        }
    );
}

#[test]
fn every_byte_counts() {
    let original = Request::of_the_sdk();
    assert_eq!(original.code(), Ok(()));
    let mut tried = 0;
    let mut check = |changed: Request| {
        if let Some(found) = changed.verify(NOW_MS) {
            assert!(found.is_err(), "{changed:?}");
            tried += 1;
        }
    };
    for change in [0x01, 0x02, 0x20, 0x40, 0x80] {
        let text = |text: &str, i: usize| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[i] ^= change;
            String::from_utf8(bytes).ok()
        };
        for i in 0..original.method.len() {
            text(&original.method, i)
                .into_iter()
                .for_each(|method| check(Request { method, ..original.clone() }));
        }
        for i in 0..original.path.len() {
            text(&original.path, i).into_iter().for_each(|path| check(Request { path, ..original.clone() }));
        }
        for i in 0..original.body.len() {
            let mut changed = original.clone();
            changed.body[i] ^= change;
            check(changed);
        }
        for (h, (name, value)) in original.headers.iter().enumerate() {
            if name == "user-agent" {
                continue;
            }
            for i in 0..name.len() {
                // HTTP's names have no case.
                if let Some(other) = text(name, i).filter(|other| !other.eq_ignore_ascii_case(name)) {
                    let mut changed = original.clone();
                    changed.headers[h].0 = other;
                    check(changed);
                }
            }
            for i in 0..value.len() {
                let mut changed = original.clone();
                changed.headers[h].1[i] ^= change;
                check(changed);
            }
        }
    }
    assert!(tried > 2000, "only {tried} changes were HTTP");
}

#[test]
fn signed_headers_can_neither_go_nor_come() {
    let original = Request::of_the_sdk();
    for i in 0..original.headers.len() {
        let mut dropped = original.clone();
        let (name, value) = dropped.headers.remove(i);
        assert_eq!(dropped.code().is_ok(), name == "user-agent", "without {name}");
        let mut doubled = original.clone();
        doubled.headers.push((name.clone(), value));
        assert_eq!(doubled.code().is_ok(), name == "user-agent", "{name} twice");
    }
    let with = |name: &str, value: &str| {
        let mut changed = original.clone();
        changed.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        changed.code()
    };
    assert_eq!(with("x-forwarded-for", "192.0.2.1"), Ok(()));
    for name in ["x-amz-target", "X-Amz-Meta", "x-amz-content-sha256", "x-amz-region-set"] {
        assert!(with(name, "x").is_err(), "with {name}");
    }
}

#[test]
fn the_window_is_fifteen_minutes_to_either_side() {
    let request = Request::of_the_sdk();
    let check = |skew_s: i64, expect: Result<(), &str>| {
        let found = request.verify(NOW_MS + skew_s * 1000).expect("HTTP");
        assert_eq!(found.map(|_| ()).map_err(|error| (error.code, error.message)), {
            expect.map_err(|message| (ErrorCode::InvalidSignature, message.to_owned()))
        });
    };
    check(0, Ok(()));
    check(14 * 60 + 59, Ok(()));
    check(-(14 * 60 + 59), Ok(()));
    check(
        15 * 60 + 1,
        Err(
            "Signature expired: 20251123T024000Z is now earlier than 20251123T024001Z (20251123T025501Z - 15 min.)",
        ),
    );
    check(
        -(15 * 60 + 1),
        Err("Signature not yet current: 20251123T024000Z is still later than 20251123T023959Z \
             (20251123T022459Z + 15 min.)"),
    );
}

#[test]
fn what_is_no_signature_of_ours_is_refused() {
    use ErrorCode::{IncompleteSignature, InvalidSignature, MissingAuthenticationToken};
    let check = |change: fn(&mut Request), code: ErrorCode, message: &str| {
        let mut request = Request::of_the_sdk();
        change(&mut request);
        let error = request.verify(NOW_MS).expect("HTTP").expect_err("refused");
        assert_eq!((error.code, error.message.contains(message)), (code, true), "{error} is not {message}");
    };
    fn authorization(request: &mut Request, from: &str, to: &str) {
        let header = request.header("authorization");
        let text = String::from_utf8(header.clone()).expect("text");
        assert!(text.contains(from), "{text}");
        *header = text.replacen(from, to, 1).into_bytes();
    }
    check(
        |request| request.headers.retain(|(name, _)| name != "authorization"),
        MissingAuthenticationToken,
        "Missing Authentication Token",
    );
    check(
        |request| *request.header("authorization") = b"Bearer x".to_vec(),
        IncompleteSignature,
        "Unsupported AWS 'algorithm': 'Bearer'",
    );
    check(
        |request| authorization(request, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        IncompleteSignature,
        "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'",
    );
    check(
        |request| *request.header("authorization") = b"AWS4-HMAC-SHA256".to_vec(),
        IncompleteSignature,
        "requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization \
         header requires 'SignedHeaders' parameter.",
    );
    check(|request| authorization(request, "Signature=", "Sig="), IncompleteSignature, "'Sig=");
    check(
        |request| authorization(request, "Signature=", "Signature=00, Signature="),
        IncompleteSignature,
        "there twice",
    );
    check(
        |request| authorization(request, "Signature=", "Signature=00"),
        IncompleteSignature,
        "64 lower-case",
    );
    check(
        |request| authorization(request, "/eu-central-1", ""),
        IncompleteSignature,
        "Credential must have exactly 5 slash-delimited elements",
    );
    check(
        |request| authorization(request, "/eu-central-1", "/EU!"),
        InvalidSignature,
        "scoped to a valid region",
    );
    check(
        |request| authorization(request, "/codeconnections/", "/codestar-connections/"),
        InvalidSignature,
        "Credential should be scoped to correct service: 'codeconnections'.",
    );
    check(
        |request| authorization(request, "aws4_request", "aws4_other"),
        InvalidSignature,
        "valid terminator: 'aws4_request', not 'aws4_other'",
    );
    check(
        |request| authorization(request, "/20251123/", "/20251122/"),
        InvalidSignature,
        "'20251122' != '20251123', from '20251123T024000Z'.",
    );
    check(|request| authorization(request, "host;", ""), InvalidSignature, "'host' must be a 'SignedHeader'");
    check(
        |request| authorization(request, ";x-amz-user-agent", ""),
        InvalidSignature,
        "'x-amz-user-agent' must be a 'SignedHeader'",
    );
    check(|request| authorization(request, "host;", "host;host;"), IncompleteSignature, "sorted");
    check(|request| authorization(request, "host;", "Host;"), IncompleteSignature, "lower-case");
    check(
        |request| request.headers.retain(|(name, _)| name != "x-amz-date"),
        IncompleteSignature,
        "requires existence of either a 'X-Amz-Date' or a 'Date' header",
    );
    check(
        |request| *request.header("x-amz-date") = b"20251123T024000".to_vec(),
        IncompleteSignature,
        "ISO-8601 'basic format'",
    );
    check(
        |request| request.headers.push(("x-amz-date".to_owned(), b"20251123T024000Z".to_vec())),
        IncompleteSignature,
        "'x-amz-date' is there twice",
    );
    check(
        |request| request.query = "X-Amz-Signature=0".to_owned(),
        IncompleteSignature,
        "a signature in the query is not accepted",
    );
    check(
        |request| request.query = "a=b&x-amz-%43redential=0".to_owned(),
        IncompleteSignature,
        "a signature in the query is not accepted",
    );
    check(|request| request.body.push(0), InvalidSignature, "does not match");
}

#[test]
fn the_payloads_hash_is_always_computed() {
    let signed_with = |sha256: &str| {
        let mut request =
            Request::new("POST", "/", "", &[("host", "localhost"), ("x-amz-content-sha256", sha256)], b"{}");
        request.sign(NOW_MS, None);
        request.code()
    };
    assert_eq!(signed_with("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"), Ok(()));
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(signed_with(of_nothing), Err(ErrorCode::InvalidSignature));
    for refused in
        ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
    {
        assert_eq!(signed_with(refused), Err(ErrorCode::IncompleteSignature), "{refused}");
    }
}

#[test]
fn a_date_header_will_do_when_it_is_signed() {
    let request = |signed_headers: &str| {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20251123/eu-central-1/codeconnections/aws4_request, \
             SignedHeaders={signed_headers}, \
             Signature=cd1911dc7f3bf1fe5d479a61e31c6d658c992ba5fa9566be54f19383ec7b28a5"
        );
        let date = ("date", "Sun, 23 Nov 2025 02:40:00 GMT");
        let headers = [("host", "localhost"), date, ("authorization", &authorization)];
        Request::new("POST", "/", "", &headers, b"{}")
    };
    // Computed with Python's hmac and hashlib, because the SDK's signer always sends x-amz-date.
    assert_eq!(request("date;host").code(), Ok(()));
    let error = request("host").verify(NOW_MS).expect("HTTP").expect_err("the date is not signed");
    assert_eq!(error.code, ErrorCode::InvalidSignature);
    assert!(error.message.contains("'date' must be a 'SignedHeader'"), "{error}");
}

#[test]
fn an_unknown_key_is_told_apart_only_after_the_same_work() {
    let presented = Request::of_the_sdk().presented(NOW_MS).expect("HTTP").expect("well-formed");
    assert_eq!(presented.access_key_id(), "AKIDEXAMPLE");
    let keys = SigningKeys::default();
    assert_eq!(presented.unknown(&keys).code, ErrorCode::UnrecognizedClient);
    let error = presented.verify(b"other", &keys).expect_err("another secret");
    assert_eq!(error.code, ErrorCode::InvalidSignature);
    assert!(presented.verify(SECRET.as_bytes(), &keys).is_ok());
}

/// Path segments as clients send them: unreserved characters, and others percent-encoded.
fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        "[a-zA-Z0-9._~-]{1,8}",
        "(%[0-9A-F]{2}){1,3}",
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just(String::new())
    ];
    prop::collection::vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn query() -> impl Strategy<Value = String> {
    let parameter = "([a-zA-Z0-9._~-]|%2[0-9A-F]){1,6}(=([a-zA-Z0-9._~+-]|%[2-7][0-9A-F]){0,6})?";
    prop::collection::vec(parameter, 0..5).prop_map(|parameters| parameters.join("&"))
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof!["x-[a-z]{1,5}", "x-amz-[a-z]{1,3}", Just("content-type".to_owned())];
    prop::collection::vec((name, "[!-~]{1,8}( {1,3}[!-~]{1,8}){0,2}"), 0..6)
}

proptest! {
    #[test]
    fn no_authorization_header_panics(
        header in "(AWS4-HMAC-SHA256 )?((Credential|SignedHeaders|Signature|X)?=?[!-~]{0,20}(/[!-~]{0,9}){0,5}, ?){0,5}\\PC{0,20}",
        date in "[0-9TZ]{0,17}|[A-Za-z0-9, :]{0,30}",
    ) {
        let request = Request::new(
            "POST",
            "/",
            "",
            &[("host", "localhost"), ("x-amz-date", &date), ("authorization", &header)],
            b"",
        );
        if let Some(found) = request.verify(NOW_MS) {
            prop_assert!(found.is_err());
        }
    }

    #[test]
    fn whatever_the_sdk_signs_is_verified(
        method in prop_oneof![Just("GET"), Just("POST"), Just("DELETE")],
        path in path(),
        query in query(),
        headers in headers(),
        body in prop::collection::vec(any::<u8>(), 0..64),
        token in prop::option::of("[a-zA-Z0-9/+=]{1,40}"),
        skew_ms in -899_000_i64..899_000,
    ) {
        let mut all = vec![("host", "localhost:7962")];
        all.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut request = Request::new(method, &path, &query, &all, &body);
        request.sign(NOW_MS, token.as_deref());
        let verified = request.verify(NOW_MS + skew_ms).expect("HTTP");
        prop_assert!(verified.is_ok(), "{verified:?} {request:?}");
        let mut changed = request.clone();
        changed.body.push(b'x');
        prop_assert!(changed.verify(NOW_MS).expect("HTTP").is_err());
    }
}
