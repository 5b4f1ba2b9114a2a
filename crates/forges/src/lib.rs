//! Git forges: what they send by webhook (is it theirs, and which branches does it speak of?), and what they are asked
//! through their REST APIs ([`rest`]).
//!
//! **Architecture Invariant:** no I/O, no clock and no store. A request is given as its headers, the bytes of its body
//! and the time; nothing of a body is parsed before its proof is found right ([`verify`] makes the only [`Proven`]).
//!
//! **Architecture Invariant:** an event says *look at this branch* and nothing more. What it tells of commits and files
//! is not even read here.
//!
//! Every field may be missing, null, of another type or empty: whatever cannot be understood names no branch.

mod azure_devops;
mod bitbucket;
mod forge;
mod git;
mod gitea;
mod github;
mod gitlab;
mod lenient;
mod proof;
mod received;
pub mod rest;

pub use forge::Forge;
pub use proof::{Proven, Request, decoy, verify};
pub use received::{Branches, Meaning, Received};
