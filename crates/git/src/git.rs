//! The operations: heads, fetch, entry, read.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use syncline_model::names::{BranchName, ObjectId, RepoPath};
use syncline_seams::Outside;
use tokio::sync::{OnceCell, OwnedMutexGuard, Semaphore};

use crate::asking::Asking;
use crate::cache::Cache;
use crate::error::{EntryKind, GitError, Trouble};
use crate::recent::Recent;
use crate::remote::Remote;
use crate::settings::Settings;
use crate::ssh::{HostKeys, Sessions};

/// The longest that somebody who brings a key waits for its host.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// What a path names in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Missing,
    /// Something that is never read.
    NotAFile(EntryKind),
    /// A regular file, executable or not.
    File {
        /// The id of its content.
        blob: ObjectId,
    },
}

/// Reads remote repositories, by itself or through the `git` program.
#[derive(Debug)]
pub struct Git {
    pub(crate) settings: Settings,
    pub(crate) outside: Outside,
    pub(crate) processes: Semaphore,
    /// Leave to talk to each host, so that a slow one does not hold up the others.
    pub(crate) hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// The version of the git program.
    pub(crate) version: OnceCell<(u32, u32)>,
    pub(crate) recent: Recent,
    pub(crate) asking: Asking,
    pub(crate) ssh: Arc<Sessions>,
    pub(crate) connections: Semaphore,
    /// One for each repository's cache.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Git {
    /// Touches nothing yet: the cache directory is made when it is needed.
    #[must_use]
    pub fn new(settings: Settings, outside: Outside) -> Self {
        let processes = Semaphore::new(settings.limits.max_processes.max(1));
        let connections = Semaphore::new(settings.limits.max_connections.max(1));
        let recent = Recent::up_to(settings.limits.max_memory_bytes);
        let ssh = Arc::new(Sessions::keeping(settings.limits.longest_idle));
        Self {
            settings,
            outside,
            processes,
            hosts: Mutex::default(),
            version: OnceCell::new(),
            recent,
            asking: Asking::default(),
            ssh,
            connections,
            locks: Mutex::default(),
        }
    }

    /// The commits that `branches` point at, in one call however many there are. A branch that does not exist
    /// is absent from the answer.
    ///
    /// # Errors
    /// Any [`GitError`] about the remote as a whole.
    pub async fn heads(
        &self,
        remote: &Remote,
        branches: &[BranchName],
    ) -> Result<BTreeMap<BranchName, ObjectId>, GitError> {
        let listed = self.list_heads(remote, branches);
        self.outside.call("git.heads", self.settings.limits.heads_timeout, listed).await
    }

    /// Shows an SSH host the key of `remote`, and answers what it is known by from now on. Nothing is asked of it, and no
    /// key of ours is shown to a host that does not show one it is known by.
    ///
    /// # Errors
    /// [`GitError::UnknownHost`], [`GitError::Unauthorized`], [`GitError::Unavailable`] and
    /// [`GitError::RefusedByPolicy`].
    pub async fn introduce(&self, remote: &Remote) -> Result<HostKeys, GitError> {
        self.outside.call("git.introduce", INTRODUCTION, self.introduce_by_ssh(remote)).await
    }

    /// Makes the directories of `commit` available in the cache of `repository`; does nothing when they are.
    /// No history and, from servers that know filters, no file comes along.
    ///
    /// # Errors
    /// [`GitError::CommitGone`] when the remote does not have it or does not give it out; otherwise any error
    /// about the remote as a whole, [`GitError::CommitTooLarge`] and [`GitError::Malformed`].
    pub async fn fetch(&self, remote: &Remote, repository: &str, commit: &ObjectId) -> Result<(), GitError> {
        let (at, _serialised) = self.hold(remote, repository, commit).await?;
        self.outside.call("git.fetch", self.settings.limits.fetch_timeout, self.ensure(&at)).await
    }

    /// What `path` names in `commit`, without reading it. Fetches the commit if it is not in the cache. What was told
    /// not long ago of the same commit is told from memory.
    ///
    /// # Errors
    /// Those of [`Git::fetch`].
    pub async fn entry(
        &self,
        remote: &Remote,
        repository: &str,
        commit: &ObjectId,
        path: &RepoPath,
    ) -> Result<Entry, GitError> {
        let found = self.entries(remote, repository, commit, std::slice::from_ref(path)).await?;
        Ok(found.into_iter().next().unwrap_or(Entry::Missing))
    }

    /// What each of `paths` names in `commit`, in their order, as [`Git::entry`] says it of one.
    ///
    /// # Errors
    /// Those of [`Git::fetch`].
    pub async fn entries(
        &self,
        remote: &Remote,
        repository: &str,
        commit: &ObjectId,
        paths: &[RepoPath],
    ) -> Result<Vec<Entry>, GitError> {
        if let Some(entries) = self.recent.all_entries(repository, commit, paths) {
            return Ok(entries);
        }
        let (at, _serialised) = self.hold(remote, repository, commit).await?;
        let healed = self.healed(&at, || self.look_up_all(&at, paths));
        self.outside.call("git.read_tree", self.settings.limits.read_timeout, healed).await
    }

    /// What is in `to` at each path at which `from` has something else, directories included; `None` if `from` is
    /// not in the cache (nobody is asked for it), or there is too much to tell. How the commits are related does not
    /// matter, and no file is read.
    ///
    /// # Errors
    /// Those of [`Git::fetch`], about `to`.
    pub async fn changes(
        &self,
        remote: &Remote,
        repository: &str,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<Option<BTreeMap<String, Entry>>, GitError> {
        let (at, _serialised) = self.hold(remote, repository, to).await?;
        let compared = async {
            self.ensure(&at).await?;
            if !at.cache.has(from) {
                return Ok(None);
            }
            match self.diff_trees(&at, from).await {
                Ok(changes) => Ok(changes),
                // Whatever reads `to` next mends the cache.
                Err(Trouble::BrokenCache(_)) => Ok(None),
                Err(Trouble::Told(error)) => Err(error),
            }
        };
        self.outside.call("git.diff_trees", self.settings.limits.read_timeout, compared).await
    }

    /// The bytes of the file at `path` in `commit`. Fetches the commit, and just this file, if they are not in
    /// the cache. What was read not long ago is told from memory.
    ///
    /// # Errors
    /// [`GitError::Missing`], [`GitError::NotRegularFile`], [`GitError::TooLarge`] about the file, and those of
    /// [`Git::fetch`].
    pub async fn read(
        &self,
        remote: &Remote,
        repository: &str,
        commit: &ObjectId,
        path: &RepoPath,
        max_bytes: u64,
    ) -> Result<Vec<u8>, GitError> {
        if let Some(file) = self.recent.file(repository, commit, path, max_bytes) {
            return file;
        }
        let (at, _serialised) = self.hold(remote, repository, commit).await?;
        let healed = self.healed(&at, || self.read_file(&at, path, max_bytes));
        self.outside.call("git.read_blob", self.settings.limits.read_timeout, healed).await
    }

    /// The bytes of the files at `paths` in `commit`, in their order; `None` for a path about which [`Git::read`] has
    /// to be asked: it is missing, no regular file, too large, or was not given out together with the others.
    ///
    /// # Errors
    /// Those of [`Git::fetch`].
    pub async fn read_all(
        &self,
        remote: &Remote,
        repository: &str,
        commit: &ObjectId,
        paths: &[RepoPath],
        max_bytes: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, GitError> {
        let (at, _serialised) = self.hold(remote, repository, commit).await?;
        let healed = self.healed(&at, || self.read_files(&at, paths, max_bytes));
        self.outside.call("git.read_blob", self.settings.limits.read_timeout, healed).await
    }

    /// Deletes the cache of a repository nobody will read again.
    ///
    /// # Errors
    /// [`GitError::Internal`] when it cannot be deleted.
    pub async fn forget(&self, repository: &str) -> Result<(), GitError> {
        let cache = Cache::of(&self.settings.cache_dir, repository)?;
        let lock = self.lock(repository);
        let _serialised = lock.lock().await;
        let deleted = cache.delete();
        self.unlocked(repository);
        deleted
    }

    /// A commit and where it is cached, for this caller alone as long as he has the guard.
    async fn hold<'a>(
        &self,
        remote: &'a Remote,
        repository: &str,
        commit: &'a ObjectId,
    ) -> Result<(Place<'a>, OwnedMutexGuard<()>), GitError> {
        let at = Place { remote, cache: Cache::of(&self.settings.cache_dir, repository)?, commit };
        self.check_program().await?;
        Ok((at, self.lock(repository).lock_owned().await))
    }

    fn lock(&self, repository: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(repository.to_owned()).or_default())
    }

    /// Forgets a lock nobody else waits for.
    fn unlocked(&self, repository: &str) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and the caller's own.
        if locks.get(repository).is_some_and(|lock| Arc::strong_count(lock) <= 2) {
            locks.remove(repository);
        }
    }

    /// Makes the commit available, then runs `act`; a broken cache is deleted and all done once more.
    async fn healed<T, F>(&self, at: &Place<'_>, act: impl Fn() -> F) -> Result<T, GitError>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        self.ensure(at).await?;
        match act().await {
            Ok(value) => return Ok(value),
            Err(Trouble::Told(error)) => return Err(error),
            Err(Trouble::BrokenCache(message)) => self.give_up_cache(at, &message)?,
        }
        self.ensure(at).await?;
        act().await.map_err(told)
    }
}

/// A commit of a repository, and where it is cached.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) remote: &'a Remote,
    pub(crate) cache: Cache,
    pub(crate) commit: &'a ObjectId,
}

/// A cache that breaks twice in a row is not the cache's fault alone; later is the best guess.
pub(crate) fn told(trouble: Trouble) -> GitError {
    match trouble {
        Trouble::Told(error) => error,
        Trouble::BrokenCache(message) => GitError::Unavailable { message },
    }
}
