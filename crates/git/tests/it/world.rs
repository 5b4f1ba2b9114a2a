//! A Git host, a cache and a [`Git`] that may read the host.

use std::time::Duration;

use syncline_git::{Credential, Egress, Git, GitError, Limits, Remote, Settings};
use syncline_model::names::{BranchName, ObjectId, RepoPath};
use syncline_seams::{Outside, Secret};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::repository::Repository;
use tempfile::TempDir;

/// Where the tests' repositories are cached.
pub(crate) const KEY: &str = "link-1";

/// Who talks to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// This process, where it can.
    Direct,
    /// git, always.
    Command,
}

impl Way {
    pub(crate) fn is_direct(self) -> bool {
        self == Self::Direct
    }
}

/// Each story is told both ways: what a remote does is the same decision, whoever talked to it.
macro_rules! both_ways {
    ($($story:ident),* $(,)?) => {
        mod directly {
            $(
                #[tokio::test]
                async fn $story() {
                    super::$story(crate::world::Way::Direct).await;
                }
            )*
        }

        mod by_command {
            $(
                #[tokio::test]
                async fn $story() {
                    super::$story(crate::world::Way::Command).await;
                }
            )*
        }
    };
}
pub(crate) use both_ways;

pub(crate) struct World {
    pub(crate) way: Way,
    pub(crate) host: GitHost,
    pub(crate) directory: TempDir,
    pub(crate) git: Git,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn start_by(way: Way) -> Self {
        Self::with(|settings| settings.in_process = way.is_direct()).await
    }

    /// As [`World::with`], and whoever talks is chosen.
    pub(crate) async fn by(way: Way, change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(|settings| {
            settings.in_process = way.is_direct();
            change(settings);
        })
        .await
    }

    /// A world whose settings were changed by `change`, but that nothing is remembered: what the cache on disk is good
    /// for would not be seen.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::remembering(0, change).await
    }

    /// A world that remembers so many bytes.
    pub(crate) async fn remembering(bytes: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let host = GitHost::start().await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings::new(directory.path().join("cache"));
        settings.egress =
            Egress::new(vec!["127.0.0.1/32".parse().expect("a network")], vec![host.directory()]);
        change(&mut settings);
        settings.limits.max_memory_bytes = bytes;
        let way = if settings.in_process { Way::Direct } else { Way::Command };
        Self { way, host, directory, git: Git::new(settings, Outside::default()) }
    }

    pub(crate) fn egress(&self) -> Egress {
        egress(&self.host)
    }

    pub(crate) async fn head(&self, remote: &Remote, name: &str) -> Result<Option<ObjectId>, GitError> {
        let branch = branch(name);
        Ok(self.git.heads(remote, std::slice::from_ref(&branch)).await?.remove(&branch))
    }

    pub(crate) async fn read(&self, remote: &Remote, commit: &str, name: &str) -> Result<Vec<u8>, GitError> {
        self.git.read(remote, KEY, &id(commit), &path(name), 1 << 20).await
    }

    pub(crate) fn cache(&self) -> std::path::PathBuf {
        self.directory.path().join("cache/repositories").join(format!("{KEY}.git"))
    }
}

pub(crate) fn remote(url: &str) -> Remote {
    Remote { url: url.parse().expect("a url"), credential: None, ssh: None, extra_root_pem: None }
}

pub(crate) fn http(repository: &Repository) -> Remote {
    remote(&repository.url())
}

pub(crate) fn with_token(repository: &Repository, token: &str) -> Remote {
    let credential = Credential { username: "x-access-token".into(), password: Secret::new(token) };
    Remote { credential: Some(credential), ..http(repository) }
}

pub(crate) fn branch(name: &str) -> BranchName {
    name.parse().expect("a branch name")
}

pub(crate) fn id(commit: &str) -> ObjectId {
    commit.parse().expect("a commit id")
}

pub(crate) fn path(name: &str) -> RepoPath {
    name.parse().expect("a path")
}

/// Limits that cut a hanging server off soon.
pub(crate) fn impatient() -> Limits {
    let soon = Duration::from_millis(300);
    Limits { heads_timeout: soon, fetch_timeout: soon, read_timeout: soon, ..Limits::default() }
}

/// Admits the host, over HTTP and as files, beside public addresses.
fn egress(host: &GitHost) -> Egress {
    Egress::new(vec!["127.0.0.1/32".parse().expect("a network")], vec![host.directory()])
}
