//! Bytes to typed inputs, and anything serde can write to bytes.

use ciborium::Value;
use serde::Serialize;

use super::{MAX_BODY_BYTES, Protocol};
use crate::accept::Acceptance;
use crate::shape::Shape;
use crate::{ErrorCode, Input, WireError};

/// How deep lists and maps of a body may nest. No shape of the API nests deeper than five.
const MAX_DEPTH: usize = 64;

/// Reads an operation's input, with the model's constraints checked.
///
/// # Errors
///
/// `SerializationException` where the body is not readable or has a wrong type,
/// [`Operation::validation_code`](crate::Operation::validation_code) with all broken constraints in one text,
/// `RequestEntityTooLarge` beyond [`MAX_BODY_BYTES`].
pub fn decode<I: Input>(protocol: Protocol, body: &[u8]) -> Result<I, WireError> {
    let document = accept(protocol, I::shape(), read(protocol, body)?)
        .map_err(|refusal| refusal.into_error(|message| WireError::validation(I::OPERATION, message)))?;
    document.deserialized().map_err(|error| unreadable(format!("{}: {error}", I::OPERATION.name())))
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read as the shape.
    Unreadable(WireError),
    /// It breaks constraints; the text tells all of them.
    Invalid(String),
}

impl Refusal {
    fn into_error(self, invalid: impl FnOnce(String) -> WireError) -> WireError {
        match self {
            Self::Unreadable(error) => error,
            Self::Invalid(message) => invalid(message),
        }
    }
}

/// Reads a body into a document, whatever its shape. An empty body is an empty map.
///
/// # Errors
///
/// `SerializationException` where the body is not one whole document or nests too deep, `RequestEntityTooLarge`
/// where it is too long.
pub fn read(protocol: Protocol, body: &[u8]) -> Result<Value, WireError> {
    if body.len() > MAX_BODY_BYTES {
        let message = format!("the body has {} bytes, more than {MAX_BODY_BYTES}", body.len());
        return Err(WireError::new(ErrorCode::RequestEntityTooLarge, message));
    }
    if body.is_empty() {
        return Ok(Value::Map(Vec::new()));
    }
    match protocol {
        Protocol::Json => {
            serde_json::from_slice(body).map_err(|error| unreadable(format!("not JSON: {error}")))
        }
        Protocol::Cbor => {
            let mut rest = body;
            let document = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
                .map_err(|error| unreadable(format!("not CBOR: {error}")))?;
            if rest.is_empty() {
                Ok(document)
            } else {
                Err(unreadable(format!("not CBOR: {} bytes follow the document", rest.len())))
            }
        }
    }
}

/// Holds a document that was read from `protocol` against a shape, and brings it into one form: without nulls and
/// unknown members, blobs as bytes, timestamps under their tag, members in the shape's order.
///
/// # Errors
///
/// [`Refusal::Unreadable`] on a wrong type or a duplicate key, [`Refusal::Invalid`] on broken constraints.
pub fn accept(protocol: Protocol, shape: &'static Shape, document: Value) -> Result<Value, Refusal> {
    let (document, violations) = Acceptance::check(protocol, shape, document)
        .map_err(|wrong| Refusal::Unreadable(unreadable(wrong.message)))?;
    if violations.is_empty() { Ok(document) } else { Err(Refusal::Invalid(violations.message())) }
}

/// Writes a value.
///
/// # Errors
///
/// Fails where the value's own `Serialize` fails; none of the generated structures does.
pub fn write<T: Serialize + ?Sized>(protocol: Protocol, value: &T) -> Result<Vec<u8>, String> {
    match protocol {
        Protocol::Json => {
            let mut bytes = Vec::with_capacity(USUAL_BYTES);
            serde_json::to_writer(&mut bytes, value).map_err(|error| error.to_string())?;
            Ok(bytes)
        }
        Protocol::Cbor => {
            let mut bytes = Vec::with_capacity(USUAL_BYTES);
            ciborium::into_writer(value, &mut bytes).map_err(|error| error.to_string())?;
            Ok(bytes)
        }
    }
}

/// As long as most answers are at the most, in bytes: a buffer that grows is copied each time.
const USUAL_BYTES: usize = 12 * 1024;

fn unreadable(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::Serialization, message)
}
