//! The operations: heads, fetch, entry, read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use syncline_model::names::{BranchName, ObjectId, RepoPath};
use syncline_seams::Outside;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::cache::Cache;
use crate::egress::{Egress, Route};
use crate::error::{EntryKind, GitError, Trouble, internal};
use crate::process::{Finished, Run};
use crate::remote::Remote;
use crate::{roots, verdict};

/// The oldest git that honours every setting the safety rests on: `http.curloptResolve` came with 2.37.
const OLDEST_GIT: (u32, u32) = (2, 37);

/// What a blob's pack and its index may need beyond the blob.
const PACK_OVERHEAD_BYTES: u64 = 64 * 1024;

/// Bounds on every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest a listing of heads may take.
    pub heads_timeout: Duration,
    /// The longest a download of a commit may take.
    pub fetch_timeout: Duration,
    /// The longest a look at, or a read of, one file may take, its download included.
    pub read_timeout: Duration,
    /// The largest listing of heads, in bytes.
    pub max_heads_bytes: usize,
    /// The largest pack of a commit, in bytes.
    pub max_pack_bytes: u64,
    /// A cache with more than this in packs, in bytes, is begun anew at the next download.
    pub max_cache_bytes: u64,
    /// A cache with more commits than this is begun anew at the next download.
    pub max_kept_commits: usize,
    /// The most git processes of ours at a time (each may start a few of its own).
    pub max_processes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heads_timeout: Duration::from_secs(30),
            fetch_timeout: Duration::from_secs(120),
            read_timeout: Duration::from_secs(60),
            max_heads_bytes: 16 << 20,
            max_pack_bytes: 256 << 20,
            max_cache_bytes: 1 << 30,
            max_kept_commits: 64,
            max_processes: 8,
        }
    }
}

/// What [`Git`] is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of the caches; ours alone, and disposable. Must be absolute.
    pub cache_dir: PathBuf,
    /// The git program: a path, or a name to be found in `search_path`.
    pub program: PathBuf,
    /// The `PATH` git sees, and with it the shell it uses for `file://` remotes.
    pub search_path: OsString,
    /// Where remotes may be.
    pub egress: Egress,
    /// Bounds on every call.
    pub limits: Limits,
}

impl Settings {
    /// Public remotes only, the default limits, and git where systems usually have it.
    #[must_use]
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            program: PathBuf::from("git"),
            search_path: OsString::from("/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"),
            egress: Egress::default(),
            limits: Limits::default(),
        }
    }

    /// The file that is git's global configuration.
    pub(crate) fn global_config(&self) -> PathBuf {
        if self.egress.admits_files() { self.cache_dir.join("gitconfig") } else { PathBuf::from("/dev/null") }
    }
}

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

/// Reads remote repositories through the `git` program.
#[derive(Debug)]
pub struct Git {
    pub(crate) settings: Settings,
    outside: Outside,
    processes: Semaphore,
    is_new_enough: OnceCell<()>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Git {
    /// Touches nothing yet: the cache directory is made when it is needed.
    #[must_use]
    pub fn new(settings: Settings, outside: Outside) -> Self {
        let processes = Semaphore::new(settings.limits.max_processes.max(1));
        Self { settings, outside, processes, is_new_enough: OnceCell::new(), locks: Mutex::default() }
    }

    /// Checks that git is there and new enough; every other operation does so by itself, once.
    ///
    /// # Errors
    /// [`GitError::Internal`] when it is not.
    pub async fn check_program(&self) -> Result<(), GitError> {
        self.is_new_enough.get_or_try_init(|| self.check_version()).await.copied()
    }

    async fn check_version(&self) -> Result<(), GitError> {
        let finished = self.local(Path::new("/dev/null"), &["version"], String::new(), 1000).await?;
        let text = String::from_utf8_lossy(&finished.stdout).into_owned();
        let mut numbers =
            text.trim_start_matches("git version ").split(['.', ' ', '\n']).map_while(|n| n.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) if (major, minor) >= OLDEST_GIT => Ok(()),
            _ => {
                let (major, minor) = OLDEST_GIT;
                Err(internal("git is too old", format!("'{}', needed is {major}.{minor}", text.trim())))
            }
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
        self.check_program().await?;
        let listed = self.list_heads(remote, branches);
        self.outside.call("git.heads", self.settings.limits.heads_timeout, listed).await
    }

    /// Makes the directories of `commit` available in the cache of `repository`; does nothing when they are.
    /// No history and, from servers that know filters, no file comes along.
    ///
    /// # Errors
    /// [`GitError::CommitGone`] when the remote does not have it or does not give it out; otherwise any error
    /// about the remote as a whole, [`GitError::CommitTooLarge`] and [`GitError::Malformed`].
    pub async fn fetch(&self, remote: &Remote, repository: &str, commit: &ObjectId) -> Result<(), GitError> {
        let at = self.place(remote, repository, commit)?;
        self.check_program().await?;
        let lock = self.lock(repository);
        let _serialised = lock.lock().await;
        self.outside.call("git.fetch", self.settings.limits.fetch_timeout, self.ensure(&at)).await
    }

    /// What `path` names in `commit`, without reading it. Fetches the commit if it is not in the cache.
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
        let at = self.place(remote, repository, commit)?;
        self.check_program().await?;
        let lock = self.lock(repository);
        let _serialised = lock.lock().await;
        let healed = self.healed(&at, || self.look_up(&at, path));
        self.outside.call("git.read_tree", self.settings.limits.read_timeout, healed).await
    }

    /// The bytes of the file at `path` in `commit`. Fetches the commit, and just this file, if they are not in
    /// the cache.
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
        let at = self.place(remote, repository, commit)?;
        self.check_program().await?;
        let lock = self.lock(repository);
        let _serialised = lock.lock().await;
        let healed = self.healed(&at, || self.read_file(&at, path, max_bytes));
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
        self.unlocked(repository);
        cache.delete()
    }

    fn place<'a>(
        &self,
        remote: &'a Remote,
        repository: &str,
        commit: &'a ObjectId,
    ) -> Result<Place<'a>, GitError> {
        Ok(Place { remote, cache: Cache::of(&self.settings.cache_dir, repository)?, commit })
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

    /// Makes the commit available; a broken cache is deleted and the download tried once more.
    async fn ensure(&self, at: &Place<'_>) -> Result<(), GitError> {
        if at.cache.has(at.commit) {
            return Ok(());
        }
        match self.download_commit(at, true).await {
            Err(Trouble::BrokenCache(message)) => {
                self.give_up_cache(at, &message)?;
                self.download_commit(at, true).await.map_err(told)
            }
            other => other.map_err(told),
        }
    }

    fn give_up_cache(&self, at: &Place<'_>, why: &str) -> Result<(), GitError> {
        tracing::warn!(cache = %at.cache.path().display(), why, "the repository cache is broken; it is fetched anew");
        at.cache.delete()
    }

    async fn download_commit(&self, at: &Place<'_>, is_filtered: bool) -> Result<(), Trouble> {
        if at.cache.is_overgrown(&self.settings.limits) {
            at.cache.delete()?;
        }
        at.cache.make(at.commit)?;
        let filter = if is_filtered { "--filter=blob:none" } else { "--no-filter" };
        let wanted = format!("{}:{}\n", at.commit, Cache::mark(at.commit));
        self.download(at, &["fetch", "--depth=1", filter], wanted, self.settings.limits.max_pack_bytes).await
    }

    async fn download(
        &self,
        at: &Place<'_>,
        options: &[&str],
        wanted: String,
        max_bytes: u64,
    ) -> Result<(), Trouble> {
        let always =
            ["--stdin", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-progress"];
        let last = ["--quiet", "--recurse-submodules=no", "--", "origin"];
        let arguments = [options, &always, &last].concat();
        let finished =
            self.remote(at.cache.path(), at.remote, &arguments, wanted, 64 * 1024, Some(max_bytes)).await?;
        if finished.is_success {
            return Ok(());
        }
        // A process that is stopped at the file size limit says nothing, but its file has just that size.
        if at.cache.sweep() >= max_bytes {
            return Err(GitError::CommitTooLarge { limit: max_bytes }.into());
        }
        let credential = at.remote.credential.as_ref();
        Err(verdict::of_conversation(&finished.stderr, credential, Some(at.commit)))
    }

    async fn look_up(&self, at: &Place<'_>, path: &RepoPath) -> Result<Entry, Trouble> {
        let arguments = ["ls-tree", "-z", "--full-tree", at.commit.as_str(), "--", path.as_str()];
        let finished = self.local(at.cache.path(), &arguments, String::new(), 64 * 1024).await?;
        if !finished.is_success {
            return Err(Trouble::BrokenCache(verdict::scrubbed(&finished.stderr, None)));
        }
        let listed = String::from_utf8_lossy(&finished.stdout);
        // "<mode> <type> <id>\t<path>\0"
        let Some((facts, _)) = listed
            .split('\0')
            .filter_map(|line| line.split_once('\t'))
            .find(|(_, name)| *name == path.as_str())
        else {
            return Ok(Entry::Missing);
        };
        let (mode, id) = (facts.split(' ').next(), facts.split(' ').next_back());
        match (mode, id.and_then(|id| id.parse().ok())) {
            (Some("100644" | "100755" | "100664"), Some(blob)) => Ok(Entry::File { blob }),
            (Some("120000"), _) => Ok(Entry::NotAFile(EntryKind::Symlink)),
            (Some("160000"), _) => Ok(Entry::NotAFile(EntryKind::Submodule)),
            (Some("040000"), _) => Ok(Entry::NotAFile(EntryKind::Directory)),
            _ => Err(Trouble::BrokenCache(format!("an odd tree entry '{facts}'"))),
        }
    }

    async fn read_file(&self, at: &Place<'_>, path: &RepoPath, max_bytes: u64) -> Result<Vec<u8>, Trouble> {
        let blob = match self.look_up(at, path).await? {
            Entry::Missing => return Err(GitError::Missing { path: path.clone() }.into()),
            Entry::NotAFile(kind) => return Err(GitError::NotRegularFile { path: path.clone(), kind }.into()),
            Entry::File { blob } => blob,
        };
        let too_large =
            |size| Trouble::Told(GitError::TooLarge { path: path.clone(), size, limit: max_bytes });
        if let Some(content) = self.local_blob(at, &blob, max_bytes).await? {
            return content.map_err(|size| too_large(Some(size)));
        }
        match self.download_blob(at, &blob, max_bytes).await {
            Err(Trouble::Told(GitError::CommitTooLarge { .. })) => return Err(too_large(None)),
            // A server that filters but does not give out single blobs.
            Err(Trouble::Told(GitError::CommitGone { .. })) => {
                at.cache.delete()?;
                self.download_commit(at, false).await?;
            }
            other => other?,
        }
        match self.local_blob(at, &blob, max_bytes).await? {
            Some(content) => content.map_err(|size| too_large(Some(size))),
            None => Err(Trouble::BrokenCache(format!("blob {blob} is missing after its download"))),
        }
    }

    async fn download_blob(&self, at: &Place<'_>, blob: &ObjectId, max_bytes: u64) -> Result<(), Trouble> {
        let limit = max_bytes.saturating_add(PACK_OVERHEAD_BYTES).min(self.settings.limits.max_pack_bytes);
        // Told of our commits, a server would take their files for granted.
        let options = ["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--filter=blob:none"];
        self.download(at, &options, format!("{blob}\n"), limit).await
    }

    /// The content of a blob in the cache, or `Err` with its size when that exceeds `max_bytes`; `None` when
    /// it is not in the cache.
    async fn local_blob(
        &self,
        at: &Place<'_>,
        blob: &ObjectId,
        max_bytes: u64,
    ) -> Result<Option<Result<Vec<u8>, u64>>, Trouble> {
        let room = usize::try_from(max_bytes.saturating_add(200)).unwrap_or(usize::MAX);
        let finished =
            self.local(at.cache.path(), &["cat-file", "--batch"], format!("{blob}\n"), room).await?;
        let broken = || Trouble::BrokenCache(verdict::scrubbed(&finished.stderr, None));
        let header_end = finished.stdout.iter().position(|&byte| byte == b'\n').ok_or_else(broken)?;
        let header = String::from_utf8_lossy(&finished.stdout[..header_end]);
        if header == format!("{blob} missing") {
            return Ok(None);
        }
        let size: u64 = header
            .strip_prefix(&format!("{blob} blob "))
            .and_then(|size| size.parse().ok())
            .ok_or_else(broken)?;
        if size > max_bytes {
            return Ok(Some(Err(size)));
        }
        let content = &finished.stdout[header_end + 1..];
        match content.strip_suffix(b"\n") {
            Some(content) if finished.is_success && content.len() as u64 == size => {
                Ok(Some(Ok(content.to_vec())))
            }
            _ => Err(broken()),
        }
    }

    /// Runs git without any network.
    async fn local(
        &self,
        git_dir: &Path,
        arguments: &[&str],
        stdin: String,
        max_stdout_bytes: usize,
    ) -> Result<Finished, GitError> {
        self.run(git_dir, arguments, &[], stdin, max_stdout_bytes, None).await
    }

    /// Runs git with the network that this remote needs, and no other.
    pub(crate) async fn remote(
        &self,
        git_dir: &Path,
        remote: &Remote,
        arguments: &[&str],
        stdin: String,
        max_stdout_bytes: usize,
        max_file_bytes: Option<u64>,
    ) -> Result<Finished, GitError> {
        let route = self.settings.egress.admit(&remote.url).await?;
        let config = self.configuration(remote, &route)?;
        self.run(git_dir, arguments, &config, stdin, max_stdout_bytes, max_file_bytes).await
    }

    async fn run(
        &self,
        git_dir: &Path,
        arguments: &[&str],
        config: &[(String, Zeroizing<String>)],
        stdin: String,
        max_stdout_bytes: usize,
        max_file_bytes: Option<u64>,
    ) -> Result<Finished, GitError> {
        let _permit = self.permit().await?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let settings = &self.settings;
        Run { settings, git_dir, arguments, config, stdin, max_stdout_bytes, max_file_bytes }.finish().await
    }

    /// Leave to run one more process.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, GitError> {
        self.processes.acquire().await.map_err(|error| internal("no more processes", error))
    }

    /// What git must know to reach this remote, and no other.
    pub(crate) fn configuration(
        &self,
        remote: &Remote,
        route: &Route,
    ) -> Result<Vec<(String, Zeroizing<String>)>, GitError> {
        let mut config = vec![
            (format!("protocol.{}.allow", route.protocol), Zeroizing::new("always".to_owned())),
            ("remote.origin.url".to_owned(), Zeroizing::new(route.url.clone())),
        ];
        let mut set = |key: &str, value: String| config.push((key.to_owned(), Zeroizing::new(value)));
        if let Some(pin) = &route.pin {
            set("http.curloptResolve", pin.clone());
        }
        if let Some(credential) = &remote.credential {
            set("http.extraHeader", format!("Authorization: Basic {}", verdict::basic(credential)));
        }
        if let Some(pem) = &remote.extra_root_pem {
            let bundle = roots::bundle(&self.settings.cache_dir.join("roots"), pem)?;
            set("http.sslCAInfo", bundle.to_string_lossy().into_owned());
        }
        if route.protocol == "file" {
            // The operator vouches for the directories; their repositories may belong to somebody else.
            let path = self.settings.global_config();
            let content = "[safe]\n\tdirectory = *\n";
            if !std::fs::read_to_string(&path).is_ok_and(|found| found == content) {
                roots::write_whole(&path, content.as_bytes())
                    .map_err(|error| internal("git's configuration cannot be written", error))?;
            }
        }
        Ok(config)
    }
}

/// A commit of a repository, and where it is cached.
#[derive(Debug)]
struct Place<'a> {
    remote: &'a Remote,
    cache: Cache,
    commit: &'a ObjectId,
}

/// A cache that breaks twice in a row is not the cache's fault alone; later is the best guess.
fn told(trouble: Trouble) -> GitError {
    match trouble {
        Trouble::Told(error) => error,
        Trouble::BrokenCache(message) => GitError::Unavailable { message },
    }
}
