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

    /// What each of `paths` names in a commit; see [`Git::entries`].
    fn entries<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        paths: &'a [RepoPath],
    ) -> Answer<'a, Vec<Entry>>;

    /// What is in `to` where `from` has something else; see [`Git::changes`].
    fn changes<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        from: &'a ObjectId,
        to: &'a ObjectId,
    ) -> Answer<'a, Option<BTreeMap<String, Entry>>>;

    /// The bytes of a file in a commit; see [`Git::read`].
    fn read<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        path: &'a RepoPath,
        max_bytes: u64,
    ) -> Answer<'a, Vec<u8>>;

    /// The bytes of some files in a commit; see [`Git::read_all`].
    fn read_all<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        paths: &'a [RepoPath],
        max_bytes: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>>;

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

    fn entries<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        paths: &'a [RepoPath],
    ) -> Answer<'a, Vec<Entry>> {
        Box::pin(self.entries(remote, repository, commit, paths))
    }

    fn changes<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        from: &'a ObjectId,
        to: &'a ObjectId,
    ) -> Answer<'a, Option<BTreeMap<String, Entry>>> {
        Box::pin(self.changes(remote, repository, from, to))
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

    fn read_all<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        paths: &'a [RepoPath],
        max_bytes: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(self.read_all(remote, repository, commit, paths, max_bytes))
    }

    fn forget<'a>(&'a self, repository: &'a str) -> Answer<'a, ()> {
        Box::pin(self.forget(repository))
    }
}
