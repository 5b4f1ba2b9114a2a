//! Which operation a request is for.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use super::Protocol;
use super::answer::{RPC_V2_CBOR, SMITHY_PROTOCOL};
use crate::{ErrorCode, Operation, Service, WireError};

const TARGET: &str = "x-amz-target";
/// Another spelling that rpc-v2-cbor names as forbidden.
const OTHER_TARGET: &str = "x-amzn-target";

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Routed {
    /// The service it was addressed to; its signing name must be the one in the SigV4 scope.
    pub service: Service,
    /// How it is written.
    pub protocol: Protocol,
    /// What it asks for.
    pub operation: Operation,
}

/// The protocol a request looks like, for answering one that cannot be routed.
#[must_use]
pub fn protocol_of(path: &str, headers: &HeaderMap) -> Protocol {
    if headers.contains_key(&SMITHY_PROTOCOL) || rpc_path(path).is_some() {
        Protocol::Cbor
    } else {
        Protocol::Json
    }
}

/// Finds service, protocol and operation of a request to the AWS side: `POST /` or `POST …/service/<S>/operation/<Op>`.
///
/// # Errors
///
/// `UnknownOperationException` where nothing of ours is addressed, `SerializationException` where the request names
/// its operation in both protocols' ways or twice, `UnsupportedMediaType` on another content type.
pub fn route(method: &Method, path: &str, headers: &HeaderMap) -> Result<Routed, WireError> {
    if method != Method::POST {
        return Err(unknown(format!("{method} is not a method of this API")));
    }
    let routed = match protocol_of(path, headers) {
        Protocol::Cbor => route_rpc(path, headers)?,
        Protocol::Json => route_json(path, headers)?,
    };
    check_content_type(routed.protocol, headers)?;
    Ok(routed)
}

fn route_rpc(path: &str, headers: &HeaderMap) -> Result<Routed, WireError> {
    if headers.contains_key(TARGET) || headers.contains_key(OTHER_TARGET) {
        let message = "an rpc-v2-cbor request must not carry X-Amz-Target";
        return Err(WireError::new(ErrorCode::Serialization, message));
    }
    match single(headers, SMITHY_PROTOCOL.as_str())? {
        Some(RPC_V2_CBOR) => {}
        Some(other) => return Err(unknown(format!("the protocol '{other}' is not served"))),
        None => return Err(unknown(format!("'{path}' needs the header smithy-protocol: {RPC_V2_CBOR}"))),
    }
    let Some((service, operation)) = rpc_path(path) else {
        return Err(unknown(format!("'{path}' does not end in /service/<name>/operation/<name>")));
    };
    let known = Service::ALL.iter().find(|known| known.short_name() == service);
    let service = *known.ok_or_else(|| unknown(format!("the service '{service}' is not served")))?;
    Ok(Routed { service, protocol: Protocol::Cbor, operation: operation_named(operation)? })
}

fn route_json(path: &str, headers: &HeaderMap) -> Result<Routed, WireError> {
    if path != "/" {
        return Err(unknown(format!("'{path}' is not a path of this API")));
    }
    let target =
        single(headers, TARGET)?.ok_or_else(|| unknown("the request has no X-Amz-Target".to_owned()))?;
    let (prefix, operation) =
        target.rsplit_once('.').ok_or_else(|| unknown(format!("the target '{target}' names no service")))?;
    let known =
        Service::ALL.iter().find(|known| prefix == known.target_prefix() || prefix == known.short_name());
    let service = *known.ok_or_else(|| unknown(format!("the target '{target}' is not served")))?;
    Ok(Routed { service, protocol: Protocol::Json, operation: operation_named(operation)? })
}

/// Service and operation in the last four segments of a path.
fn rpc_path(path: &str) -> Option<(&str, &str)> {
    let mut segments = path.rsplit('/');
    let operation = segments.next()?;
    let fixed = segments.next()? == "operation";
    let service = segments.next()?;
    (fixed && segments.next()? == "service" && segments.next().is_some()).then_some((service, operation))
}

fn operation_named(name: &str) -> Result<Operation, WireError> {
    Operation::from_name(name).ok_or_else(|| unknown(format!("the operation '{name}' does not exist")))
}

fn check_content_type(protocol: Protocol, headers: &HeaderMap) -> Result<(), WireError> {
    let given = single(headers, CONTENT_TYPE.as_str())?.unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(protocol.content_type()) {
        return Ok(());
    }
    let message = format!("the content type '{given}' is not {}", protocol.content_type());
    Err(WireError::new(ErrorCode::UnsupportedMediaType, message))
}

/// The value of a header that may be there once.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, WireError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(WireError::new(ErrorCode::Serialization, format!("the header {name} is there twice")));
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| WireError::new(ErrorCode::Serialization, format!("the header {name} is not ASCII")))
}

fn unknown(message: String) -> WireError {
    WireError::new(ErrorCode::UnknownOperation, message)
}
