//! SSH, spoken by this process: connections that are kept for the next call, and `git-upload-pack` at their other end.
//!
//! A connection costs some round trips and signatures, and the host a process or two; so whoever asks the same host with
//! the same key again goes on with the one that was used last. Each is used by one call at a time. What is run there is
//! `git-upload-pack '<path>'` and nothing else: no shell of ours, no forwarding, no terminal.

mod keys;
mod session;
mod talk;
mod tied;

pub(crate) use session::Sessions;
pub(crate) use talk::Talk;

pub use keys::{HostKeys, InvalidHostKeys, InvalidKey, SshAccess};
