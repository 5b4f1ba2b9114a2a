//! Reads remote Git repositories: which commit a branch points at, and single files of one commit.
//!
//! Servers that speak protocol v2 over HTTP, and all that are reached by SSH, are asked by this process; the `git` program
//! talks to all others, writes what was downloaded, and reads it. This crate decides what may be talked to, hands over the
//! credential, bounds all of it, and turns what is said into decisions. Each repository has a bare cache
//! directory that holds single commits without history and without files but those read; it may vanish or break
//! at any time and is rebuilt from the remote.
//!
//! **Architecture Invariants:** nothing is ever checked out · no text from outside can become an option or a
//! command: what reaches git's command line is of a parsed type, the rest goes through its environment or input
//! · the only network that is used, by git or by us, is the addresses that [`Egress`] admitted for this call, or the operator's proxy ·
//! a credential is in git's environment or in the header of one request, and nowhere else; an SSH key is in this process alone,
//! and is shown to a host only after that has shown the key it is known by · every git process
//! has a timeout and bounds, and dies with its call · a slow host holds up nobody but itself.

mod asking;
mod by_ssh;
mod cache;
mod error;
mod fetching;
mod git;
mod heads;
mod many;
mod objects;
mod packets;
mod process;
mod protocol;
mod recent;
mod remote;
mod repositories;
mod roots;
mod running;
mod settings;
mod ssh;
mod verdict;

pub use error::{EntryKind, GitError};
pub use git::{Entry, Git};
pub use remote::{Credential, Remote};
pub use repositories::{Answer, Repositories};
pub use settings::{Limits, Settings};
pub use ssh::{HostKeys, InvalidHostKeys, InvalidKey, SshAccess};
pub use syncline_egress::{
    Egress, InvalidNetwork, InvalidRemoteUrl, Network, Proxy, RemoteUrl, Resolve, SystemResolver,
};
