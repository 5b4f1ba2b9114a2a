//! The API on the wire, from outside.

mod constraints;
mod documents;
mod routing;
mod sample;
mod smithy_vectors;
