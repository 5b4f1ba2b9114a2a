//! A repository that a test commits and pushes to, in the words of a story: `repo.commit("a", "v1").await`.
//!
//! Commits are made by `git fast-import` in a private clone and reach the served repository by a real
//! `git push` on the file system, whatever fault its HTTP side has. Authors, dates and therefore commit ids depend on nothing but the story.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::forge::Issued;
use crate::git_host::{Fault, Inner};

/// The date of a repository's first commit, in seconds since the Unix epoch; each later one is a minute on.
const FIRST_COMMIT_AT: u64 = 1_700_000_000;

/// A git command that reads no configuration and no environment of the machine it runs on.
pub(crate) fn git_command() -> Command {
    let mut command = Command::new("git");
    let inherited = [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_NAMESPACE",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_PROTOCOL",
    ];
    for name in inherited {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    command
}

/// One change of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// A regular file with this content.
    File(&'a str, &'a [u8]),
    /// A regular file that may be executed, with this content.
    Executable(&'a str, &'a [u8]),
    /// A symbolic link to this target.
    Symlink(&'a str, &'a str),
    /// A submodule at this commit.
    Submodule(&'a str, &'a str),
    /// No file at this path any more.
    Remove(&'a str),
}

/// One branch of a repository on a [`crate::git_host::GitHost`]; clones share the repository.
#[derive(Debug, Clone)]
pub struct Repository {
    shared: Arc<Shared>,
    branch: String,
}

#[derive(Debug)]
struct Shared {
    host: Arc<Inner>,
    full_name: String,
    commits: AtomicU64,
    writing: Mutex<()>,
}

impl Shared {
    fn served_path(&self) -> PathBuf {
        self.host.root().join(format!("{}.git", self.full_name))
    }

    fn clone_path(&self) -> PathBuf {
        self.host.directory.path().join("clones").join(format!("{}.git", self.full_name))
    }
}

impl Repository {
    pub(crate) async fn create(host: Arc<Inner>, full_name: &str) -> Self {
        host.change(full_name, |_| {});
        let shared = Arc::new(Shared {
            host,
            full_name: full_name.to_owned(),
            commits: AtomicU64::new(0),
            writing: Mutex::default(),
        });
        for path in [shared.served_path(), shared.clone_path()] {
            assert!(!path.exists(), "the repository '{full_name}' exists already");
            std::fs::create_dir_all(&path).expect("the repository's directory");
            git(&path, &["init", "--quiet", "--bare", "--initial-branch=main"], b"").await;
        }
        for (key, value) in [
            ("uploadpack.allowFilter", "true"),
            ("receive.denyDeleteCurrent", "ignore"),
            ("gc.auto", "0"),
            ("receive.autogc", "false"),
        ] {
            git(&shared.served_path(), &["config", key, value], b"").await;
        }
        Self { shared, branch: "main".to_owned() }
    }

    /// The same repository, seen from `branch`; the branch appears with its first commit.
    #[must_use]
    pub fn on(&self, branch: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), branch: branch.to_owned() }
    }

    /// The part of the full name before its last `/`.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.shared.full_name.rsplit_once('/').map_or("", |(owner, _)| owner)
    }

    /// The part of the full name after its last `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.full_name.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The clone URL over HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        let host = &self.shared.host;
        format!("{}://{}/{}.git", host.scheme, host.address, self.shared.full_name)
    }

    /// The clone URL on this machine's file system.
    #[must_use]
    pub fn file_url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// The served bare repository.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.shared.served_path()
    }

    /// Commits one file to the branch and pushes; answers the commit's id.
    pub async fn commit(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        self.change(&[Change::File(path, content.as_ref())]).await
    }

    /// Commits several files at once and pushes; answers the commit's id.
    pub async fn commit_files(&self, files: &[(&str, &str)]) -> String {
        let changes: Vec<_> =
            files.iter().map(|(path, content)| Change::File(path, content.as_bytes())).collect();
        self.change(&changes).await
    }

    /// Commits the removal of one file and pushes; answers the commit's id.
    pub async fn remove(&self, path: &str) -> String {
        self.change(&[Change::Remove(path)]).await
    }

    /// Commits the changes, on top of the branch, and pushes; answers the commit's id.
    pub async fn change(&self, changes: &[Change<'_>]) -> String {
        self.write(changes, true).await
    }

    /// Replaces the branch by one commit without a parent that holds only the changes, and force-pushes.
    pub async fn rewrite(&self, changes: &[Change<'_>]) -> String {
        self.write(changes, false).await
    }

    /// Makes the branch point at `commit`, whatever it held, as `git push --force` does.
    pub async fn force_push(&self, commit: &str) {
        let _writing = self.shared.writing.lock().await;
        self.push(&format!("+{commit}:refs/heads/{}", self.branch)).await;
    }

    /// Makes another branch at this branch's head and answers it.
    pub async fn branch(&self, name: &str) -> Self {
        let other = self.on(name);
        other.force_push(&self.head().await).await;
        other
    }

    /// The same commits as another repository of the host, `<owner>/<name>`.
    pub async fn copy(&self, full_name: &str) -> Self {
        let shared = Shared {
            host: Arc::clone(&self.shared.host),
            full_name: full_name.to_owned(),
            commits: AtomicU64::new(self.shared.commits.load(Ordering::Relaxed)),
            writing: Mutex::default(),
        };
        shared.host.change(full_name, |_| {});
        let copied = [
            (self.shared.served_path(), shared.served_path()),
            (self.shared.clone_path(), shared.clone_path()),
        ];
        for (from, to) in &copied {
            copy_folder(from, to).expect("a copy of the repository's directory");
        }
        Self { shared: Arc::new(shared), branch: self.branch.clone() }
    }

    /// Deletes the branch.
    pub async fn delete_branch(&self) {
        let _writing = self.shared.writing.lock().await;
        self.push(&format!(":refs/heads/{}", self.branch)).await;
    }

    /// The commit the served branch points at.
    pub async fn head(&self) -> String {
        let branch = format!("refs/heads/{}", self.branch);
        git(&self.path(), &["rev-parse", "--verify", &branch], b"").await
    }

    /// The name of the branch that it is seen from.
    #[must_use]
    pub fn branch_name(&self) -> &str {
        &self.branch
    }

    /// The commit from which this branch and another come.
    pub async fn merge_base(&self, other: &Self) -> String {
        git(&self.path(), &["merge-base", &self.head().await, &other.head().await], b"").await
    }

    /// The subject of a commit, such as `commit 2` for the second one made.
    pub async fn subject(&self, commit: &str) -> String {
        git(&self.shared.clone_path(), &["log", "-1", "--format=%s", commit], b"").await
    }

    /// Drops the objects no branch of the served repository reaches, as a forge does some time after a
    /// force-push.
    pub async fn prune(&self) {
        git(&self.path(), &["gc", "--quiet", "--prune=now"], b"").await;
    }

    /// Answers every HTTP request from now on with `fault`.
    pub fn fail(&self, fault: Fault) {
        self.shared.host.change(&self.shared.full_name, |served| served.fault = Some(fault));
    }

    /// Ends the fault.
    pub fn recover(&self) {
        self.shared.host.change(&self.shared.full_name, |served| served.fault = None);
    }

    /// Demands one of `tokens` as the Basic password; none admits everybody, as at first.
    pub fn require_tokens(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|&token| (None, token.to_owned())).collect();
        self.shared.host.change(&self.shared.full_name, |served| served.tokens = tokens);
    }

    /// Demands this user and token, as one forge or another does.
    pub fn require_login(&self, user: &str, token: &str) {
        let tokens = vec![(Some(user.to_owned()), token.to_owned())];
        self.shared.host.change(&self.shared.full_name, |served| served.tokens = tokens);
    }

    /// Demands this user and a token that is good then; a bearer token where the user is empty.
    pub fn require_issued(&self, user: &str, issued: &Arc<Issued>) {
        let issued = Some((user.to_owned(), Arc::clone(issued)));
        self.shared.host.change(&self.shared.full_name, |served| served.issued = issued);
    }

    /// Speaks only protocol v0 over HTTP from now on, as servers older than 2018 do.
    pub fn speak_only_v0(&self) {
        self.shared.host.change(&self.shared.full_name, |served| served.protocol_v0 = true);
    }

    /// Sets a key of the served repository's configuration, such as `uploadpack.allowFilter`.
    pub async fn configure(&self, key: &str, value: &str) {
        git(&self.path(), &["config", key, value], b"").await;
    }

    /// Runs git in the served repository and answers what it printed, trimmed: for hostile objects and refs
    /// that no well-behaved client would push.
    ///
    /// # Panics
    /// When git fails.
    pub async fn served_git(&self, arguments: &[&str], input: &[u8]) -> String {
        git(&self.path(), arguments, input).await
    }

    async fn write(&self, changes: &[Change<'_>], on_top: bool) -> String {
        let _writing = self.shared.writing.lock().await;
        let clone = self.shared.clone_path();
        let reference = format!("refs/heads/{}", self.branch);
        let known = git(&clone, &["for-each-ref", "--format=%(objectname)", &reference], b"").await;
        let number = self.shared.commits.fetch_add(1, Ordering::Relaxed);
        let at = FIRST_COMMIT_AT + 60 * number;
        let message = format!("commit {}\n", number + 1);
        let mut stream = Vec::new();
        let mut line = |text: String| stream.extend_from_slice(text.as_bytes());
        line(format!("reset {reference}\n"));
        line(format!("commit {reference}\ncommitter Ada <ada@example.com> {at} +0000\n"));
        line(format!("data {}\n{message}\n", message.len()));
        if on_top && !known.is_empty() {
            line(format!("from {known}\n"));
        }
        for change in changes {
            stream.extend_from_slice(&import_command(*change));
        }
        stream.extend_from_slice(b"done\n");
        git(&clone, &["fast-import", "--quiet", "--force", "--done", "--date-format=raw"], &stream).await;
        self.push(&format!("+{reference}:{reference}")).await;
        git(&clone, &["rev-parse", &reference], b"").await
    }

    async fn push(&self, refspec: &str) {
        let served = self.path();
        let clone = self.shared.clone_path();
        let url = served.to_str().expect("a UTF-8 temporary directory");
        git(&clone, &["push", "--quiet", "--", url, refspec], b"").await;
        if let Some(branch) = refspec.strip_prefix(':') {
            git(&clone, &["update-ref", "-d", branch], b"").await;
        } else if let Some((commit, branch)) = refspec.trim_start_matches('+').split_once(':') {
            git(&clone, &["update-ref", branch, commit], b"").await;
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The change as a line of `git fast-import`'s stream.
fn import_command(change: Change<'_>) -> Vec<u8> {
    let inline = |mode: &str, path: &str, content: &[u8]| {
        let mut command = format!("M {mode} inline {}\ndata {}\n", quoted(path), content.len()).into_bytes();
        command.extend_from_slice(content);
        command.push(b'\n');
        command
    };
    match change {
        Change::File(path, content) => inline("100644", path, content),
        Change::Executable(path, content) => inline("100755", path, content),
        Change::Symlink(path, target) => inline("120000", path, target.as_bytes()),
        Change::Submodule(path, commit) => format!("M 160000 {commit} {}\n", quoted(path)).into_bytes(),
        Change::Remove(path) => format!("D {}\n", quoted(path)).into_bytes(),
    }
}

fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

async fn git(directory: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut command = git_command();
    command.current_dir(directory).env("GIT_DIR", directory).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("git is installed");
    let mut stdin = child.stdin.take().expect("a piped stdin");
    let feed = async move {
        // A command that needs no input may be gone already.
        let _ = stdin.write_all(input).await;
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.expect("git runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git_host::GitHost;

    #[tokio::test]
    async fn the_same_story_makes_the_same_commits() {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let host = GitHost::start().await;
            let repo = host.repository("acme/infra").await;
            repo.commit("prod.yaml", "v1").await;
            repo.commit_files(&[("a/b", "x"), ("c", "y")]).await;
            repo.remove("c").await;
            heads.push(repo.head().await);
        }
        assert_eq!(heads[0], heads[1]);
    }

    #[tokio::test]
    async fn branches_are_made_rewritten_deleted_and_made_again() {
        let host = GitHost::start().await;
        let repo = host.repository("acme/infra").await;
        let first = repo.commit("prod.yaml", "v1").await;
        let release = repo.branch("release").await;
        assert_eq!(release.head().await, first);
        let second = release.commit("prod.yaml", "v2").await;
        let files =
            async |commit: &str| repo.served_git(&["ls-tree", "-r", "--name-only", commit], b"").await;
        let parents = async |commit: &str| repo.served_git(&["log", "-1", "--format=%P", commit], b"").await;
        assert_eq!((parents(&second).await, repo.head().await), (first.clone(), first.clone()));

        let root = release.rewrite(&[Change::Executable("tool", b"x")]).await;
        assert_eq!((parents(&root).await, files(&root).await), (String::new(), "tool".to_owned()));
        release.force_push(&second).await;
        assert_eq!(release.head().await, second);
        let third = release.commit("other", "x").await;
        assert_eq!(parents(&third).await, second);

        release.delete_branch().await;
        assert_eq!(repo.served_git(&["branch", "--list", "release"], b"").await, "");
        let again = release.commit("prod.yaml", "v3").await;
        assert_eq!(parents(&again).await, "");
    }
}
