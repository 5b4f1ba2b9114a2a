//! Requests find their operation, and nothing else does.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use syncline_wire::{
    ErrorCode, ListHostsOutput, Operation, Protocol, Routed, Service, WireError, encode_error, encode_output,
    protocol_of, route,
};

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
            HeaderValue::from_str(value).expect("a header value"),
        );
    }
    headers
}

const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.0");
const CBOR: (&str, &str) = ("content-type", "application/cbor");
const RPC: (&str, &str) = ("smithy-protocol", "rpc-v2-cbor");

#[test]
fn every_operation_is_found_under_every_name() {
    for &service in Service::ALL {
        for operation in Operation::ALL {
            let name = operation.name();
            for prefix in [service.target_prefix(), service.short_name()] {
                let target = format!("{prefix}.{name}");
                let routed = route(&Method::POST, "/", &headers(&[JSON, ("x-amz-target", &target)]));
                assert_eq!(routed, Ok(Routed { service, protocol: Protocol::Json, operation }), "{target}");
            }
            for before in ["", "/some/stage"] {
                let path = format!("{before}/service/{}/operation/{name}", service.short_name());
                let routed = route(&Method::POST, &path, &headers(&[CBOR, RPC]));
                assert_eq!(routed, Ok(Routed { service, protocol: Protocol::Cbor, operation }), "{path}");
            }
        }
    }
}

#[test]
fn the_names_are_those_clients_send() {
    let names = |service: Service| (service.signing_name(), service.target_prefix(), service.short_name());
    assert_eq!(
        names(Service::CodeConnections),
        (
            "codeconnections",
            "com.amazonaws.codeconnections.CodeConnections_20231201",
            "CodeConnections_20231201"
        )
    );
    assert_eq!(
        names(Service::CodeStarConnections),
        (
            "codestar-connections",
            "com.amazonaws.codestar.connections.CodeStar_connections_20191201",
            "CodeStar_connections_20191201"
        )
    );
}

#[test]
fn what_is_not_ours_is_refused() {
    use ErrorCode::{Serialization, UnknownOperation, UnsupportedMediaType};
    const TARGET: (&str, &str) = ("x-amz-target", "CodeConnections_20231201.ListHosts");
    const PATH: &str = "/service/CodeConnections_20231201/operation/ListHosts";
    let check = |method: Method, path: &str, list: &[(&str, &str)], expect: Result<(), ErrorCode>| {
        let found = route(&method, path, &headers(list)).map(|_| ()).map_err(|error| error.code);
        assert_eq!(found, expect, "{method} {path} {list:?}");
    };
    check(Method::POST, "/", &[JSON, TARGET], Ok(()));
    check(
        Method::POST,
        "/",
        &[TARGET, ("content-type", "Application/X-Amz-JSON-1.0; charset=utf-8")],
        Ok(()),
    );
    check(Method::GET, "/", &[JSON, TARGET], Err(UnknownOperation));
    check(Method::POST, "/x", &[JSON, TARGET], Err(UnknownOperation));
    check(Method::POST, "/", &[JSON], Err(UnknownOperation));
    check(Method::POST, "/", &[TARGET], Err(UnsupportedMediaType));
    check(Method::POST, "/", &[TARGET, ("content-type", "application/json")], Err(UnsupportedMediaType));
    check(Method::POST, "/", &[JSON, TARGET, TARGET], Err(Serialization));
    check(Method::POST, "/", &[JSON, JSON, TARGET], Err(Serialization));
    for target in ["ListHosts", ".ListHosts", "Other.ListHosts", "CodeConnections_20231201.listHosts", ""] {
        check(Method::POST, "/", &[JSON, ("x-amz-target", target)], Err(UnknownOperation));
    }
    check(
        Method::POST,
        "/",
        &[JSON, ("x-amz-target", "evil.CodeConnections_20231201.ListHosts")],
        Err(UnknownOperation),
    );

    check(Method::POST, PATH, &[CBOR, RPC], Ok(()));
    check(Method::POST, PATH, &[CBOR, RPC, TARGET], Err(Serialization));
    check(Method::POST, PATH, &[CBOR, RPC, ("x-amzn-target", "x")], Err(Serialization));
    check(Method::POST, PATH, &[CBOR], Err(UnknownOperation));
    check(Method::POST, PATH, &[CBOR, ("smithy-protocol", "rpc-v2-json")], Err(UnknownOperation));
    check(Method::POST, PATH, &[JSON, RPC], Err(UnsupportedMediaType));
    check(Method::POST, PATH, &[JSON, TARGET], Err(Serialization));
    check(Method::POST, "/", &[CBOR, RPC], Err(UnknownOperation));
    for path in [
        "/service/CodeConnections_20231201/operation/Other",
        "/service/Other/operation/ListHosts",
        "/services/CodeConnections_20231201/operation/ListHosts",
        "/service/CodeConnections_20231201/operations/ListHosts",
        "/service/CodeConnections_20231201/operation/ListHosts/",
        "service/CodeConnections_20231201/operation/ListHosts",
    ] {
        check(Method::POST, path, &[CBOR, RPC], Err(UnknownOperation));
    }
}

#[test]
fn answers_are_in_the_protocol_of_the_request() {
    assert_eq!(protocol_of("/", &headers(&[])), Protocol::Json);
    assert_eq!(protocol_of("/", &headers(&[RPC])), Protocol::Cbor);
    assert_eq!(protocol_of("/service/x/operation/y", &headers(&[])), Protocol::Cbor);

    let routed = Routed {
        service: Service::CodeConnections,
        protocol: Protocol::Json,
        operation: Operation::ListHosts,
    };
    let answer = encode_output(routed, ListHostsOutput::default(), "request-1");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-amz-json-1.0");
    assert_eq!(answer.headers()["x-amzn-requestid"], "request-1");
    assert!(!answer.headers().contains_key("smithy-protocol"));
    assert_eq!(answer.body().as_ref(), b"{}");

    let answer =
        encode_output(Routed { protocol: Protocol::Cbor, ..routed }, ListHostsOutput::default(), "request-2");
    assert_eq!(answer.headers()["content-type"], "application/cbor");
    assert_eq!(answer.headers()["smithy-protocol"], "rpc-v2-cbor");
    assert_eq!(answer.body().as_ref(), [0xa0]);
}

#[test]
fn errors_carry_code_and_a_message_of_at_most_600_characters() {
    let error = WireError::new(ErrorCode::ResourceNotFound, "ä".repeat(601));
    let answer = encode_error(Protocol::Json, &error, "request-1");
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["x-amzn-requestid"], "request-1");
    let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(body["__type"], "com.amazonaws.codeconnections#ResourceNotFoundException");
    assert_eq!(body["Message"], format!("{}…", "ä".repeat(599)));

    let answer = encode_error(Protocol::Cbor, &error, "request-1");
    let again: serde_json::Value = ciborium::from_reader(answer.body().as_ref()).expect("CBOR");
    assert_eq!(again, body);
}

#[test]
fn statuses_are_those_of_the_contract() {
    let expect = |code: ErrorCode| match code.name() {
        "AccessDeniedException" => 403,
        "ResourceNotFoundException" | "SyncBlockerDoesNotExistException" => 404,
        "ConcurrentModificationException"
        | "ConditionalCheckFailedException"
        | "ConflictException"
        | "ResourceAlreadyExistsException"
        | "SyncConfigurationStillExistsException"
        | "UpdateOutOfSyncException" => 409,
        "LimitExceededException" | "ThrottlingException" => 429,
        "InternalServerException" | "RetryLatestCommitFailedException" => 503,
        "UnknownOperationException" => 404,
        "MissingAuthenticationTokenException"
        | "InvalidSignatureException"
        | "UnrecognizedClientException"
        | "ExpiredTokenException" => 403,
        "InternalFailure" => 500,
        "RequestEntityTooLarge" => 413,
        "UnsupportedMediaType" => 415,
        _ => 400,
    };
    for &code in ErrorCode::ALL {
        assert_eq!(code.status(), expect(code), "{}", code.name());
    }
    assert_eq!(ErrorCode::ALL.len(), 17 + 12);
    let declare_invalid_input =
        Operation::ALL.iter().filter(|operation| operation.validation_code() == ErrorCode::InvalidInput);
    assert_eq!(declare_invalid_input.count(), 15);
}
