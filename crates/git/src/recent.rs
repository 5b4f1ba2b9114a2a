//! What was looked up and read last, in memory: a commit that many syncs want is read by one process for all of them.
//!
//! Whatever is in here was told by git of the commit or blob named, and neither ever changes. It is bounded, and kept
//! apart for each repository as its cache is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_model::names::{ObjectId, RepoPath};

use crate::error::GitError;
use crate::git::Entry;

/// What an entry of a commit costs beside its texts, in bytes; a guess.
const ENTRY_BYTES: usize = 200;

/// Values in two generations: those that were used since the last change of generations stay.
#[derive(Debug)]
struct Kept<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_bytes: usize,
    /// The most bytes of one generation.
    limit: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Kept<K, V> {
    fn up_to(bytes: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, limit: bytes / 2 }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, bytes) = self.old.remove(key)?;
        self.put(key.clone(), value.clone(), bytes);
        Some(value)
    }

    fn put(&mut self, key: K, value: V, bytes: usize) {
        if bytes > self.limit {
            return;
        }
        if self.young_bytes + bytes > self.limit {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if let Some((_, replaced)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes -= replaced;
        }
        self.young_bytes += bytes;
    }
}

type EntryKey = (Arc<str>, ObjectId, RepoPath);
type BlobKey = (Arc<str>, ObjectId);

#[derive(Debug)]
struct State {
    entries: Kept<EntryKey, Entry>,
    blobs: Kept<BlobKey, Arc<[u8]>>,
}

/// The memory of all repositories.
#[derive(Debug)]
pub(crate) struct Recent(Mutex<State>);

impl Recent {
    /// A memory of so many bytes at most, of which the contents of files get the most.
    pub(crate) fn up_to(bytes: usize) -> Self {
        Self(Mutex::new(State { entries: Kept::up_to(bytes / 4), blobs: Kept::up_to(bytes - bytes / 4) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a path names in a commit, if that is remembered.
    fn entry(&self, repository: &str, commit: &ObjectId, path: &RepoPath) -> Option<Entry> {
        self.lock().entries.get(&(repository.into(), commit.clone(), path.clone()))
    }

    /// What paths name in a commit, if that is remembered of all of them.
    pub(crate) fn all_entries(
        &self,
        repository: &str,
        commit: &ObjectId,
        paths: &[RepoPath],
    ) -> Option<Vec<Entry>> {
        let repository: Arc<str> = repository.into();
        let mut state = self.lock();
        let mut entry =
            |path: &RepoPath| state.entries.get(&(Arc::clone(&repository), commit.clone(), path.clone()));
        paths.iter().map(&mut entry).collect()
    }

    /// The file at a path of a commit, or why it is not one to be read, if that is remembered.
    pub(crate) fn file(
        &self,
        repository: &str,
        commit: &ObjectId,
        path: &RepoPath,
        max_bytes: u64,
    ) -> Option<Result<Vec<u8>, GitError>> {
        let blob = match self.entry(repository, commit, path)? {
            Entry::Missing => return Some(Err(GitError::Missing { path: path.clone() })),
            Entry::NotAFile(kind) => {
                return Some(Err(GitError::NotRegularFile { path: path.clone(), kind }));
            }
            Entry::File { blob } => blob,
        };
        let content = self.blob(repository, &blob)?;
        let size = content.len() as u64;
        Some(if size > max_bytes {
            Err(GitError::TooLarge { path: path.clone(), size: Some(size), limit: max_bytes })
        } else {
            Ok(content.to_vec())
        })
    }

    /// The content of a blob, if that is remembered.
    pub(crate) fn blob(&self, repository: &str, blob: &ObjectId) -> Option<Arc<[u8]>> {
        self.lock().blobs.get(&(repository.into(), blob.clone()))
    }

    pub(crate) fn remember_entries<'e>(
        &self,
        repository: &str,
        commit: &ObjectId,
        entries: impl IntoIterator<Item = (&'e RepoPath, &'e Entry)>,
    ) {
        let repository: Arc<str> = repository.into();
        let mut state = self.lock();
        for (path, entry) in entries {
            let key = (Arc::clone(&repository), commit.clone(), path.clone());
            state.entries.put(key, entry.clone(), ENTRY_BYTES + path.as_str().len());
        }
    }

    pub(crate) fn remember_blob(&self, repository: &str, blob: &ObjectId, content: &[u8]) {
        let bytes = ENTRY_BYTES + content.len();
        self.lock().blobs.put((repository.into(), blob.clone()), content.into(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes_before_it_is_too_much() {
        let mut kept: Kept<u32, u32> = Kept::up_to(20);
        for number in 0..1_000 {
            kept.put(number, number, 1);
            assert_eq!(kept.get(&0), Some(0), "it is used all the time");
            assert!(kept.young.len() + kept.old.len() <= 20, "{kept:?}");
        }
        assert_eq!(kept.get(&999), Some(999));
        assert_eq!(kept.get(&500), None);
        kept.put(7, 7, 11);
        assert_eq!(kept.get(&7), None, "more than a generation holds");
        kept.put(8, 8, 3);
        kept.put(8, 9, 2);
        assert_eq!(kept.get(&8), Some(9));
        assert_eq!(kept.young_bytes, kept.young.values().map(|(_, bytes)| bytes).sum::<usize>());
        let mut nothing: Kept<u32, u32> = Kept::up_to(0);
        nothing.put(1, 1, 1);
        assert_eq!(nothing.get(&1), None);
    }
}
