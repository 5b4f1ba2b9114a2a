//! Tests of the whole binary.

mod clients;
mod serving;
