//! What can go wrong, by what the caller does about it.

use std::fmt;

use syncline_egress::NotAdmitted;
use syncline_model::names::RepoPath;
use syncline_seams::CallError;
use thiserror::Error;

/// What a path names when it is not a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A symbolic link; never followed.
    Symlink,
    /// A commit of another repository; never fetched.
    Submodule,
    /// A directory.
    Directory,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Symlink => "a symbolic link",
            Self::Submodule => "a submodule",
            Self::Directory => "a directory",
        })
    }
}

/// Why a remote repository or a file in it could not be read. No message holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GitError {
    /// The remote cannot answer now: try again later.
    #[error("the repository is unavailable: {message}")]
    Unavailable {
        /// What git or the network said.
        message: String,
    },
    /// The remote answers, and wants to be asked less: try again later.
    #[error("the repository's host wants fewer requests: {message}")]
    Throttled {
        /// What git or the host said.
        message: String,
        /// After how many milliseconds it wants to be asked again, if it said so and git did not keep it to itself.
        retry_after_ms: Option<i64>,
    },
    /// The remote refuses the credential, or wants one: a person must act.
    #[error("the repository refused the credential: {message}")]
    Unauthorized {
        /// What git said.
        message: String,
    },
    /// An SSH host does not show a key that it is known by, or none is known: a person must look. No key was shown to it.
    #[error("the host is not known: {message}")]
    UnknownHost {
        /// Which key it shows, and by which it is known.
        message: String,
    },
    /// There is no such repository, or the credential may not know of it.
    #[error("the repository was not found: {message}")]
    RepositoryNotFound {
        /// What git said.
        message: String,
    },
    /// The remote no longer gives this commit out: look at the branch's head again.
    #[error("commit {commit} is no longer in the repository")]
    CommitGone {
        /// The full commit id.
        commit: String,
    },
    /// The operator's egress rules forbid the remote; nothing was sent.
    #[error("refused by the egress rules: {message}")]
    RefusedByPolicy {
        /// Which rule, and the value that breaks it.
        message: String,
    },
    /// The commit has no such path.
    #[error("the commit has no file '{path}'")]
    Missing {
        /// The path asked for.
        path: RepoPath,
    },
    /// The path is there but is not a regular file.
    #[error("'{path}' is {kind}, not a regular file")]
    NotRegularFile {
        /// The path asked for.
        path: RepoPath,
        /// What it is.
        kind: EntryKind,
    },
    /// The file is larger than the caller wants.
    #[error("'{path}' is larger than {limit} bytes")]
    TooLarge {
        /// The path asked for.
        path: RepoPath,
        /// Its size in bytes; unknown when the download was cut off at the limit.
        size: Option<u64>,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The commit's directories alone (or, from a server without filters, its files) exceed the limit.
    #[error("the commit is larger than {limit} bytes")]
    CommitTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The commit holds objects that no well-behaved client makes: another try gives the same.
    #[error("the commit is malformed: {message}")]
    Malformed {
        /// What git's object check said.
        message: String,
    },
    /// This machine is at fault: git is missing or too old, or the cache cannot be written.
    #[error("git cannot work here: {message}")]
    Internal {
        /// What is wrong.
        message: String,
    },
}

impl From<CallError> for GitError {
    fn from(error: CallError) -> Self {
        Self::Unavailable { message: error.to_string() }
    }
}

impl From<NotAdmitted> for GitError {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Policy { message } => Self::RefusedByPolicy { message },
            NotAdmitted::Unresolved { message } => Self::Unavailable { message },
            NotAdmitted::Missing { message } => Self::RepositoryNotFound { message },
        }
    }
}

/// A [`GitError`], or a cache that must be rebuilt before anything can be said.
#[derive(Debug)]
pub(crate) enum Trouble {
    Told(GitError),
    BrokenCache(String),
}

impl From<GitError> for Trouble {
    fn from(error: GitError) -> Self {
        Self::Told(error)
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Told(error.into())
    }
}

pub(crate) fn internal(what: &str, error: impl fmt::Display) -> GitError {
    GitError::Internal { message: format!("{what}: {error}") }
}
