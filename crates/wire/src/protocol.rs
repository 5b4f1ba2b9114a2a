//! The two protocols over the same shapes: awsJson1_0 and smithy-rpc-v2-cbor.

mod answer;
pub mod codec;
mod route;

pub use answer::{encode_error, encode_output};
pub use codec::decode;
pub use route::{Routed, protocol_of, route};

/// The largest body the API accepts, in bytes; the server answers RequestEntityTooLarge beyond it.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// awsJson1_0: the operation in `X-Amz-Target`, the body in JSON.
    Json,
    /// smithy-rpc-v2-cbor: the operation in the path, the body in CBOR.
    Cbor,
}

impl Protocol {
    /// The content type of requests and answers.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.0",
            Self::Cbor => "application/cbor",
        }
    }
}
