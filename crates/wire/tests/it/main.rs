//! The API on the wire, from outside.

mod constraints;
mod documents;
mod routing;
mod sample;
mod signed_request;
mod signing;
mod signing_suite;
mod smithy_vectors;
