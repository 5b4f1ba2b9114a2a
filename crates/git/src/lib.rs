//! Reads remote Git repositories: which commit a branch points at, and single files of one commit.
//!
//! The `git` program does the talking; this crate decides what it may talk to, hands it the credential,
//! bounds it, and turns what it says into decisions. Each repository has a bare cache directory that holds
//! single commits without history and without files but those read; it may vanish or break at any time and
//! is rebuilt from the remote.
//!
//! **Architecture Invariants:** nothing is ever checked out · no text from outside can become an option or a
//! command: what reaches git's command line is of a parsed type, the rest goes through its environment or
//! input · the only network git may use is the address that [`Egress`] admitted for this call · a credential
//! is in git's environment and nowhere else · every git process has a timeout and bounds, and dies with its
//! call · a slow host holds up nobody but itself.

mod cache;
mod egress;
mod error;
mod git;
mod heads;
mod many;
mod objects;
mod process;
mod recent;
mod remote;
mod repositories;
mod roots;
mod running;
mod settings;
mod verdict;

pub use egress::{Egress, InvalidNetwork, Network, Resolve, SystemResolver};
pub use error::{EntryKind, GitError};
pub use git::{Entry, Git};
pub use remote::{Credential, InvalidRemoteUrl, Remote, RemoteUrl};
pub use repositories::{Answer, Repositories};
pub use settings::{Limits, Settings};
