//! The simulated Git hosts: commits with their files, branches, and what a host says when it does not work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_git::{Answer, Entry, GitError, Remote, Repositories};
use syncline_model::names::{BranchName, ObjectId, RepoPath};

use crate::faults::Caller;

/// What a host says while it does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Nothing.
    Unavailable,
    /// The credential is refused.
    Unauthorized,
    /// There is no such repository.
    NotFound,
    /// This machine cannot run git: its disk is full.
    Internal,
}

/// The files of a commit, by path.
pub(crate) type Files = BTreeMap<String, Arc<str>>;

/// A repository on a host.
#[derive(Debug, Default)]
pub(crate) struct Hosted {
    /// What must be presented to read it.
    pub(crate) token: &'static str,
    /// By commit. What a force-push left behind stays here, but is not given out.
    pub(crate) commits: HashMap<String, Files>,
    /// The commits that are given out no more.
    pub(crate) gone: BTreeSet<String>,
    /// By name; changed by [`Hosted::point`] alone.
    pub(crate) branches: BTreeMap<String, String>,
    /// Until when each commit was a branch's head, on the history's own clock in milliseconds.
    replaced: BTreeMap<(String, String), i64>,
    /// What is wrong, until when.
    pub(crate) outage: Option<(i64, Outage)>,
    /// How often its heads were told.
    pub(crate) told: u64,
}

impl Hosted {
    /// Points a branch at a commit, or at none.
    pub(crate) fn point(&mut self, branch: &str, head: Option<String>, now_ms: i64) {
        let before = match head {
            Some(head) => self.branches.insert(branch.to_owned(), head),
            None => self.branches.remove(branch),
        };
        if let Some(before) = before {
            self.replaced.insert((branch.to_owned(), before), now_ms);
        }
    }

    /// For how long a commit has not been a branch's head any more, in milliseconds.
    pub(crate) fn replaced_for_ms(&self, branch: &str, commit: &str, now_ms: i64) -> i64 {
        if self.branches.get(branch).is_some_and(|head| head == commit) {
            return 0;
        }
        let replaced = self.replaced.get(&(branch.to_owned(), commit.to_owned()));
        replaced.map_or(i64::MAX, |replaced| now_ms - replaced)
    }
}

/// All hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// By URL.
    pub(crate) repositories: BTreeMap<String, Hosted>,
    made: u64,
}

impl State {
    /// The id of a new commit or file.
    pub(crate) fn new_id(&mut self) -> String {
        self.made += 1;
        format!("{:040x}", u128::from(self.made) << 64 | 0xc0)
    }

    /// Adds a commit; its id.
    pub(crate) fn commit(&mut self, url: &str, files: Files) -> String {
        let id = self.new_id();
        if let Some(hosted) = self.repositories.get_mut(url) {
            hosted.commits.insert(id.clone(), files);
        }
        id
    }
}

impl Hosts {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit to each repository's main branch, which changes no stack's files.
    pub(crate) fn push_everywhere(&self, now_ms: i64) {
        let mut state = self.lock();
        let heads: Vec<(String, Files)> = state
            .repositories
            .iter()
            .filter_map(|(url, hosted)| {
                Some((url.clone(), hosted.commits.get(hosted.branches.get("main")?)?.clone()))
            })
            .collect();
        for (url, mut files) in heads {
            let news = state.new_id();
            files.insert("NEWS.md".to_owned(), news.into());
            let head = state.commit(&url, files);
            if let Some(hosted) = state.repositories.get_mut(&url) {
                hosted.point("main", Some(head), now_ms);
            }
        }
    }

    /// Whatever is wrong is over.
    pub(crate) fn mend(&self) {
        for hosted in self.lock().repositories.values_mut() {
            hosted.outage = None;
        }
    }
}

/// The id of a file's content.
fn blob_of(content: &str) -> String {
    // Two halves of FNV-1a; no two files of a history are the same by accident.
    let half = |start: u64| {
        content.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:016x}{:016x}b10bb10b", half(0xcbf2_9ce4_8422_2325), half(0x9e37_79b9_7f4a_7c15))
}

/// The hosts as one worker reads them, with what it keeps of them.
#[derive(Debug)]
pub(crate) struct SimulatedGit {
    caller: Caller,
    /// Repository and commit.
    cache: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl SimulatedGit {
    pub(crate) fn new(caller: Caller) -> Self {
        Self { caller, cache: Arc::default() }
    }

    /// Reads a commit's files as they are in the cache, fetching them first where they are not.
    fn reading<T: Send + 'static>(
        &self,
        point: &'static str,
        remote: &Remote,
        repository: &str,
        commit: &ObjectId,
        look: impl Fn(&Kept<'_>) -> Result<T, GitError> + Send + Sync + 'static,
    ) -> Answer<'_, T> {
        let (world, cache) = (Arc::clone(&self.caller.world), Arc::clone(&self.cache));
        let (remote, place) = (remote.clone(), (repository.to_owned(), commit.as_str().to_owned()));
        Box::pin(self.caller.call(point, move || {
            let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
            // The cache's folder may vanish at any time.
            if world.is_on() && world.dice(|dice| dice.u32(..200)) == 0 {
                cache.clear();
                world.count_fault();
                world.tell(|| "the cache is deleted".to_owned());
            }
            let mut state = world.hosts.lock();
            if !cache.contains(&place) {
                let hosted = admitted(&mut state, &remote, world.clock.elapsed_ms())?;
                if !hosted.commits.contains_key(&place.1) || hosted.gone.contains(&place.1) {
                    return Err(GitError::CommitGone { commit: place.1.clone() });
                }
                cache.insert(place.clone());
            }
            let commits = state.repositories.get(remote.url.as_str()).map(|hosted| &hosted.commits);
            let commits = commits.ok_or_else(|| GitError::CommitGone { commit: place.1.clone() })?;
            let (repository, commit) = (&*place.0, &*place.1);
            let files = commits.get(commit);
            let files = files.ok_or_else(|| GitError::CommitGone { commit: commit.to_owned() })?;
            look(&Kept { repository, files, commits, cache: &cache })
        }))
    }
}

/// A commit in a cache, and what is beside it.
struct Kept<'a> {
    repository: &'a str,
    files: &'a Files,
    commits: &'a HashMap<String, Files>,
    cache: &'a BTreeSet<(String, String)>,
}

impl Kept<'_> {
    /// What differs from another commit, if that is in the cache too.
    fn changes_since(&self, from: &str) -> Option<BTreeMap<String, Entry>> {
        let before = self
            .cache
            .contains(&(self.repository.to_owned(), from.to_owned()))
            .then(|| self.commits.get(from));
        let before = before.flatten()?;
        let differ = |path: &&String| self.files.get(*path) != before.get(*path);
        let paths: BTreeSet<&String> = self.files.keys().chain(before.keys()).filter(differ).collect();
        Some(paths.into_iter().map(|path| (path.clone(), entry(self.files, path))).collect())
    }
}

/// The repository, if the host lets this caller in.
fn admitted<'s>(state: &'s mut State, remote: &Remote, now_ms: i64) -> Result<&'s mut Hosted, GitError> {
    let message = |text: &str| text.to_owned();
    let hosted = state
        .repositories
        .get_mut(remote.url.as_str())
        .ok_or_else(|| GitError::RepositoryNotFound { message: message("404") })?;
    let presented = remote.credential.as_ref().map(|credential| credential.password.expose().as_str());
    if presented != Some(hosted.token) {
        return Err(GitError::Unauthorized { message: message("401") });
    }
    match hosted.outage.filter(|(until, _)| *until > now_ms) {
        None => Ok(hosted),
        Some((_, Outage::Unavailable)) => Err(GitError::Unavailable { message: message("503") }),
        Some((_, Outage::Unauthorized)) => Err(GitError::Unauthorized { message: message("403") }),
        Some((_, Outage::NotFound)) => Err(GitError::RepositoryNotFound { message: message("404") }),
        Some((_, Outage::Internal)) => Err(GitError::Internal { message: message("no space left") }),
    }
}

fn entry(files: &Files, path: &str) -> Entry {
    match files.get(path).and_then(|content| blob_of(content).parse().ok()) {
        Some(blob) => Entry::File { blob },
        None => Entry::Missing,
    }
}

impl Repositories for SimulatedGit {
    fn heads<'a>(
        &'a self,
        remote: &'a Remote,
        branches: &'a [BranchName],
    ) -> Answer<'a, BTreeMap<BranchName, ObjectId>> {
        let world = Arc::clone(&self.caller.world);
        let (remote, branches) = (remote.clone(), branches.to_vec());
        Box::pin(self.caller.call("git.heads", move || {
            let now_ms = world.clock.elapsed_ms();
            let mut state = world.hosts.lock();
            let hosted = admitted(&mut state, &remote, now_ms)?;
            hosted.told += 1;
            let found = branches.iter().filter_map(|branch| {
                let head = hosted.branches.get(branch.as_str())?;
                Some((branch.clone(), head.parse().ok()?))
            });
            Ok(found.collect())
        }))
    }

    fn fetch<'a>(&'a self, remote: &'a Remote, repository: &'a str, commit: &'a ObjectId) -> Answer<'a, ()> {
        self.reading("git.fetch", remote, repository, commit, |_| Ok(()))
    }

    fn entries<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        paths: &'a [RepoPath],
    ) -> Answer<'a, Vec<Entry>> {
        let paths = paths.to_vec();
        self.reading("git.read_tree", remote, repository, commit, move |kept| {
            Ok(paths.iter().map(|path| entry(kept.files, path.as_str())).collect())
        })
    }

    fn changes<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        from: &'a ObjectId,
        to: &'a ObjectId,
    ) -> Answer<'a, Option<BTreeMap<String, Entry>>> {
        let from = from.as_str().to_owned();
        self.reading("git.diff_trees", remote, repository, to, move |kept| Ok(kept.changes_since(&from)))
    }

    fn read<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        path: &'a RepoPath,
        max_bytes: u64,
    ) -> Answer<'a, Vec<u8>> {
        let path = path.clone();
        self.reading("git.read_blob", remote, repository, commit, move |kept| {
            let content =
                kept.files.get(path.as_str()).ok_or_else(|| GitError::Missing { path: path.clone() })?;
            if content.len() as u64 > max_bytes {
                let size = Some(content.len() as u64);
                return Err(GitError::TooLarge { path: path.clone(), size, limit: max_bytes });
            }
            Ok(content.as_bytes().to_vec())
        })
    }

    fn read_all<'a>(
        &'a self,
        remote: &'a Remote,
        repository: &'a str,
        commit: &'a ObjectId,
        paths: &'a [RepoPath],
        max_bytes: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>> {
        let (world, paths) = (Arc::clone(&self.caller.world), paths.to_vec());
        self.reading("git.read_blob", remote, repository, commit, move |kept| {
            let read = |path: &RepoPath| {
                // Hosts may give files out one by one alone.
                let is_given = !world.is_on() || world.dice(|dice| dice.u32(..50)) > 0;
                let content = kept.files.get(path.as_str()).filter(|_| is_given)?;
                (content.len() as u64 <= max_bytes).then(|| content.as_bytes().to_vec())
            };
            Ok(paths.iter().map(read).collect())
        })
    }

    fn forget<'a>(&'a self, repository: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.retain(|(kept, _)| kept != repository);
            Ok(())
        })
    }
}
