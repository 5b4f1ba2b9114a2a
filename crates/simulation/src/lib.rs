//! Simulated histories: the real worker and the real store, in a world where everything else is simulated and goes
//! wrong as its dice say.
//!
//! A history is a seed. Everything in it happens on one thread and on virtual time, which moves when nothing else can
//! happen, so the same seed tells the same history: commits to two or three repositories, requests, and what others
//! do to stacks; and on every side of every commit and outside call, failures, hangs, doubled, late and lost calls,
//! pauses beyond a lease, deaths of workers and of whole processes. Then everything is mended, time passes until
//! nothing is due, and what `invariants` says must hold.
//!
//! **Architecture Invariant:** nothing here decides anything about a sync: the worker, the store, the decisions and
//! the simulator's rules are those of the product. What is simulated is what is outside of it.

mod administration;
mod clock;
mod faults;
mod files;
mod history;
mod hosts;
mod invariants;
mod oracle;
mod points;
mod process;
mod requests;
mod stacks;
mod story;
mod world;

pub use history::{Ground, Outcome};
pub use points::{ELSEWHERE, Often, POINTS};
pub use world::{Tallies, Tally};
