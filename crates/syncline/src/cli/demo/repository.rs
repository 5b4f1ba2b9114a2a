//! The demo's Git repository: a bare one that the server reads, and a clone that commits and really pushes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use syncline_seams::Outside;
use tokio::process::Command;

/// How long one git command may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The branch; named everywhere, because machines differ in what they call the first one.
pub(super) const BRANCH: &str = "main";

/// A pushed commit.
#[derive(Debug)]
pub(super) struct Pushed {
    /// Its id.
    pub(super) sha: String,
    /// The paths it changes.
    pub(super) files: Vec<String>,
    /// The lines it removes (`-`) and adds (`+`).
    pub(super) lines: Vec<String>,
}

/// The repository.
#[derive(Debug)]
pub(super) struct Repository {
    bare: PathBuf,
    clone: PathBuf,
    home: PathBuf,
    search_path: OsString,
    outside: Outside,
}

impl Repository {
    /// Makes the bare repository `<root>/<owner>/<name>.git` and its clone, both empty.
    ///
    /// # Errors
    /// No git, or one that cannot do this.
    pub(super) async fn create(
        directory: &Path,
        root: &Path,
        owner: &str,
        name: &str,
        outside: &Outside,
    ) -> anyhow::Result<Self> {
        let repository = Self {
            bare: root.join(owner).join(format!("{name}.git")),
            clone: directory.join("clone"),
            home: directory.join("home"),
            // As the server, so that both find the same git.
            search_path: syncline_git::Settings::new(directory).search_path,
            outside: outside.clone(),
        };
        for path in [&repository.bare, &repository.clone, &repository.home] {
            std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let (bare, clone) = (&repository.bare, &repository.clone);
        let branch = format!("--initial-branch={BRANCH}");
        repository.git(bare, &["init", "--quiet", "--bare", &branch]).await?;
        // The server asks for the files it reads and no others.
        repository.git(bare, &["config", "uploadpack.allowFilter", "true"]).await?;
        repository.git(clone, &["init", "--quiet", &branch]).await?;
        let url = bare.to_str().context("the temporary directory's name is not UTF-8")?;
        repository.git(clone, &["remote", "add", "origin", url]).await?;
        Ok(repository)
    }

    /// The clone, where the commits are made.
    pub(super) fn clone_path(&self) -> &Path {
        &self.clone
    }

    /// Writes the files, commits them and pushes the branch.
    pub(super) async fn push(&self, message: &str, files: &[(&str, &str)]) -> anyhow::Result<Pushed> {
        for (path, content) in files {
            let path = self.clone.join(path);
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let here = &self.clone;
        self.git(here, &["add", "--all"]).await?;
        self.git(here, &["commit", "--quiet", "--message", message]).await?;
        self.git(here, &["push", "--quiet", "--set-upstream", "origin", BRANCH]).await?;
        let sha = self.git(here, &["rev-parse", "HEAD"]).await?.trim().to_owned();
        let names = self.git(here, &["show", "--format=", "--name-only", "HEAD"]).await?;
        let diff = self.git(here, &["show", "--format=", "--unified=0", "--no-color", "HEAD"]).await?;
        let is_changed_line = |line: &&str| {
            line.starts_with(['+', '-']) && !line.starts_with("+++ ") && !line.starts_with("--- ")
        };
        Ok(Pushed {
            sha,
            files: names.lines().map(str::to_owned).collect(),
            lines: diff.lines().filter(is_changed_line).map(str::to_owned).collect(),
        })
    }

    async fn git(&self, directory: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", &self.search_path)
            .env("LC_ALL", "C")
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Ada")
                .env(format!("GIT_{role}_EMAIL"), "ada@example.com");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let run = async { Ok::<_, anyhow::Error>(command.output().await) };
        let output = match self.outside.call("demo.git", GIT_TIMEOUT, run).await? {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no git program in {}: install git and try again",
                self.search_path.to_string_lossy()
            ),
            Err(error) => return Err(error).context("git cannot be started"),
        };
        if !output.status.success() {
            bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_without_git_is_told_so() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let repository = Repository {
            bare: directory.path().to_owned(),
            clone: directory.path().to_owned(),
            home: directory.path().to_owned(),
            search_path: directory.path().into(),
            outside: Outside::default(),
        };
        let error = repository.git(directory.path(), &["version"]).await.expect_err("there is no git");
        let expect = format!("there is no git program in {}: install git", directory.path().display());
        assert!(error.to_string().starts_with(&expect), "{error}");
    }
}
