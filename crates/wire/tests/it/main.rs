//! The API on the wire, from outside.

mod documents;
mod routing;
mod sample;
