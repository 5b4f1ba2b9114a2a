//! What a sync is and what happens to it next.
//!
//! **Architecture Invariant:** this crate has no I/O, no clock and no async. Everything in it is a value or
//! a pure function of values, so that every decision about a sync can be tested without a world around it.

pub mod names;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod schedule;
pub mod sync;
