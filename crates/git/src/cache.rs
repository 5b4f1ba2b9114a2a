//! One repository's cache: a bare repository made and deleted by us, filled by git.
//!
//! `refs/syncline/<commit>` exists exactly when the commit's directories are complete, because git writes a
//! ref only after the objects it needs. Everything in here can be had again from the remote, so whatever
//! looks wrong is thrown away whole.

use std::io;
use std::path::{Path, PathBuf};

use syncline_model::names::ObjectId;

use crate::error::{GitError, internal};
use crate::settings::Limits;

/// The most packs a cache keeps: each is opened by every git process.
const MAX_PACKS: usize = 200;

#[derive(Debug, Clone)]
pub(crate) struct Cache {
    key: String,
    path: PathBuf,
}

impl Cache {
    /// The cache of the repository known as `key`.
    pub(crate) fn of(cache_dir: &Path, key: &str) -> Result<Self, GitError> {
        let is_plain = (1..=128).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !key.starts_with(['.', '-']);
        if !is_plain {
            return Err(internal("a repository has an unusable cache key", format!("'{key}'")));
        }
        let path = cache_dir.join("repositories").join(format!("{key}.git"));
        Ok(Self { key: key.to_owned(), path })
    }

    /// What the repository is known as.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The ref that marks a commit as complete.
    pub(crate) fn mark(commit: &ObjectId) -> String {
        format!("refs/syncline/{commit}")
    }

    /// Whether the commit is marked as complete.
    pub(crate) fn has(&self, commit: &ObjectId) -> bool {
        std::fs::read_to_string(self.path.join(Self::mark(commit)))
            .is_ok_and(|found| found.trim_end() == commit.as_str())
    }

    /// Makes the repository if it is not there, for commits of this one's object format
    /// (gitrepository-layout(5)); a cache of the other format gives way.
    pub(crate) fn make(&self, commit: &ObjectId) -> Result<(), GitError> {
        let format = if commit.as_str().len() == 64 { "\tobjectFormat = sha256\n" } else { "" };
        let config = format!(
            "[core]\n\trepositoryFormatVersion = 1\n\tbare = true\n\tlogAllRefUpdates = false\n\
             [extensions]\n\tpartialClone = origin\n{format}\
             [remote \"origin\"]\n\tpromisor = true\n\tpartialCloneFilter = blob:none\n"
        );
        if std::fs::read_to_string(self.path.join("config")).is_ok_and(|found| found == config) {
            return Ok(());
        }
        self.delete()?;
        let write = || {
            std::fs::create_dir_all(self.path.join("objects/pack"))?;
            std::fs::create_dir_all(self.path.join("refs/syncline"))?;
            std::fs::write(self.path.join("HEAD"), "ref: refs/heads/none\n")?;
            // Last: it says that the rest is there.
            std::fs::write(self.path.join("config"), &config)
        };
        write().map_err(|error| internal("the repository cache cannot be written", error))
    }

    /// Deletes everything; no cache is as good as an empty one.
    pub(crate) fn delete(&self) -> Result<(), GitError> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(internal("the repository cache cannot be deleted", error))
            }
            _ => Ok(()),
        }
    }

    /// Whether the cache holds so much that it is better begun anew.
    pub(crate) fn is_overgrown(&self, limits: &Limits) -> bool {
        let entries = |directory: &str| {
            std::fs::read_dir(self.path.join(directory)).into_iter().flatten().filter_map(Result::ok)
        };
        let sizes: Vec<_> = entries("objects/pack")
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack"))
            .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
            .collect();
        sizes.len() > MAX_PACKS
            || sizes.iter().sum::<u64>() > limits.max_cache_bytes
            || entries("refs/syncline").count() > limits.max_kept_commits
    }

    /// Removes what an interrupted download left behind; answers the size of its largest file, in bytes.
    pub(crate) fn sweep(&self) -> u64 {
        let entries = std::fs::read_dir(self.path.join("objects/pack")).into_iter().flatten();
        let left = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp_"))
            .map(|entry| {
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                // What stays is swept next time.
                let _ = std::fs::remove_file(entry.path());
                size
            });
        left.max().unwrap_or(0)
    }
}
