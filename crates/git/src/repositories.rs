//! What is asked of remote repositories, whoever answers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;

use syncline_model::names::{BranchName, ObjectId, RepoPath};

use crate::error::GitError;
use crate::git::{Entry, Git};
use crate::remote::Remote;

/// What the methods of [`Repositories`] return.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, GitError>> + Send + 'a>>;

/// Remote repositories, read by commit and path: [`Git`], or the simulated hosts of a simulation.
///
/// Each method is that of [`Git`] with the same name, and says there what it does and when it fails.
pub trait Repositories: Debug + Send + Sync {
    /// The commits that `branches` point at; see [`Git::heads`].
    fn heads<'a>(
        &'a self,
        remote: &'a Remote,
        branches: &'a [BranchName],
    ) -> Answer<'a, BTreeMap<BranchName, ObjectId>>;

    /// Makes a commit's directories available; see [`Git::fetch`].
    fn fetch<'a>(&'a self, remote: &'a Remote, repository: &'a str, commit: &'a ObjectId) -> Answer<'a, ()>;

    /// What `path` names in a commit; see [`Git::entry`].
    fn entry<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        path: &'a RepoPath,
    ) -> Answer<'a, Entry>;

    /// The bytes of a file in a commit; see [`Git::read`].
    fn read<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        path: &'a RepoPath,
        max_bytes: u64,
    ) -> Answer<'a, Vec<u8>>;

    /// Deletes what is kept of a repository; see [`Git::forget`].
    fn forget<'a>(&'a self, repository: &'a str) -> Answer<'a, ()>;
}

impl Repositories for Git {
    fn heads<'a>(
        &'a self,
        remote: &'a Remote,
        branches: &'a [BranchName],
    ) -> Answer<'a, BTreeMap<BranchName, ObjectId>> {
        Box::pin(self.heads(remote, branches))
    }

    fn fetch<'a>(&'a self, remote: &'a Remote, repository: &'a str, commit: &'a ObjectId) -> Answer<'a, ()> {
        Box::pin(self.fetch(remote, repository, commit))
    }

    fn entry<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        path: &'a RepoPath,
    ) -> Answer<'a, Entry> {
        Box::pin(self.entry(remote, repository, commit, path))
    }

    fn read<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        path: &'a RepoPath,
        max_bytes: u64,
    ) -> Answer<'a, Vec<u8>> {
        Box::pin(self.read(remote, repository, commit, path, max_bytes))
    }

    fn forget<'a>(&'a self, repository: &'a str) -> Answer<'a, ()> {
        Box::pin(self.forget(repository))
    }
}
