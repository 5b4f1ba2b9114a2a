//! What a [`crate::Git`] is made of, and its bounds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use syncline_egress::Egress;

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
    /// The most memory for what was looked up and read last, in bytes; 0 for none.
    pub max_memory_bytes: usize,
    /// The most git processes of ours at a time (each may start a few of its own).
    pub max_processes: usize,
    /// The most of them, and of our own connections that are in use, that talk to one host.
    pub max_processes_per_host: usize,
    /// The most of our own connections that are in use at a time.
    pub max_connections: usize,
    /// The longest an SSH connection is kept that nobody uses; what lies between usually forgets it after more than the
    /// default.
    pub longest_idle: Duration,
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
            max_memory_bytes: 24 << 20,
            max_processes: 32,
            max_processes_per_host: 8,
            max_connections: 128,
            longest_idle: Duration::from_secs(90),
        }
    }
}

/// What [`Git`](crate::Git) is made of.
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
    /// Whether this process itself talks to servers that speak protocol v2 over HTTP; git does all of it otherwise.
    pub in_process: bool,
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
            in_process: true,
        }
    }

    /// The file that is git's global configuration.
    pub(crate) fn global_config(&self) -> PathBuf {
        if self.egress.admits_files() { self.cache_dir.join("gitconfig") } else { PathBuf::from("/dev/null") }
    }
}
