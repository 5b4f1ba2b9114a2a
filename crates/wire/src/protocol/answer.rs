//! Answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::codec::write;
use super::{Protocol, Routed};
use crate::constraint::{MAX_MESSAGE_CHARS, cut};
use crate::{Answered, WireError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
pub(super) const SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
pub(super) const RPC_V2_CBOR: &str = "rpc-v2-cbor";

/// The namespace of the codes in `__type`.
const NAMESPACE: &str = "com.amazonaws.codeconnections";

/// What every error answers.
#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(rename = "Message")]
    message: &'a str,
}

/// Writes the answer of an operation that succeeded.
#[must_use]
pub fn encode_output(routed: Routed, output: impl Answered, request_id: &str) -> Response<Bytes> {
    match output.into_body(routed.protocol) {
        Ok(body) => respond(routed.protocol, StatusCode::OK, body, request_id),
        Err(reason) => {
            let error =
                WireError::new(routed.operation.failure_code(), format!("writing the answer: {reason}"));
            encode_error(routed.protocol, &error, request_id)
        }
    }
}

/// Writes an error, its text cut to 600 characters.
#[must_use]
pub fn encode_error(protocol: Protocol, error: &WireError, request_id: &str) -> Response<Bytes> {
    let message = cut(&error.message, MAX_MESSAGE_CHARS);
    let body = ErrorBody { kind: format!("{NAMESPACE}#{}", error.code.name()), message: &message };
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A map of two texts is always written.
    let mut response = respond(protocol, status, write(protocol, &body).unwrap_or_default(), request_id);
    response.headers_mut().extend(error.retry_headers());
    response
}

fn respond(protocol: Protocol, status: StatusCode, body: Vec<u8>, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(protocol.content_type()));
    if let Ok(request_id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, request_id);
    }
    if protocol == Protocol::Cbor {
        headers.insert(SMITHY_PROTOCOL, HeaderValue::from_static(RPC_V2_CBOR));
    }
    response
}
