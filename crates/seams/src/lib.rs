//! The seams between Syncline and the world: time, chance, outside calls, and what must not be seen.
//!
//! Everything that waits, reads a clock, commits or talks to somebody else does it through this crate, so
//! that tests can run on virtual time and make any single commit or call fail, hang or be the last thing the
//! process does. Production code holds the same types with nothing plugged in.
//!
//! **Architecture Invariant:** no other crate reads the system clock, sleeps, or awaits an outside call
//! without [`Outside::call`] (enforced by `disallowed-methods` in `clippy.toml`).

pub mod chance;
mod clock;
mod faults;
#[cfg(feature = "mutants")]
pub mod mutant;
mod outside;
mod secret;

pub use clock::{Clock, SystemClock, VirtualClock};
pub use faults::Faults;
pub use outside::{CallError, FaultPlan, Injected, Moment, NoFaults, Outside};
pub use secret::Secret;
