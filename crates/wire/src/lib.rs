//! The AWS CodeConnections API on the wire: its shapes, its two protocols, and who signed a request.
//!
//! A request goes through four steps, each of which can end it with a [`WireError`]:
//! [`route`] finds the service, protocol and operation; [`sigv4`] says which key signed it; [`decode`] reads the
//! body, checks it against the model's constraints and makes the typed input; the answer is written by
//! [`encode_output`] or [`encode_error`].
//!
//! **Architecture Invariant:** this crate does no I/O, reads no clock and knows nothing of the rest of Syncline;
//! shapes, operations and error codes are generated from `api-models/` (`cargo xtask codegen`), never written by
//! hand.

mod accept;
mod constraint;
mod error;
mod generated;
mod operation;
mod protocol;
pub mod shape;
pub mod sigv4;
mod text_enum;
mod timestamp;
mod written;

pub use error::WireError;
pub use generated::*;
pub use operation::{Input, Output};
pub use protocol::{
    MAX_BODY_BYTES, Protocol, Routed, codec, decode, encode_error, encode_output, protocol_of, route,
};
pub use text_enum::UnknownValue;
pub use timestamp::Timestamp;
pub use written::{Answered, Writing, Written};
