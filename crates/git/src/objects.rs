//! Bringing objects into a cache, and reading them there.

use syncline_model::names::{ObjectId, RepoPath};

use crate::cache::Cache;
use crate::error::{EntryKind, GitError, Trouble};
use crate::fetching::Wanted;
use crate::git::{Entry, Git, Place, told};
use crate::verdict;

/// What a blob's pack and its index may need beyond the blob.
const PACK_OVERHEAD_BYTES: u64 = 64 * 1024;

impl Git {
    /// Makes the commit available; a broken cache is deleted and the download tried once more.
    pub(crate) async fn ensure(&self, at: &Place<'_>) -> Result<(), GitError> {
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

    pub(crate) fn give_up_cache(&self, at: &Place<'_>, why: &str) -> Result<(), GitError> {
        tracing::warn!(cache = %at.cache.path().display(), why, "the repository cache is broken; it is fetched anew");
        at.cache.delete()
    }

    async fn download_commit(&self, at: &Place<'_>, is_filtered: bool) -> Result<(), Trouble> {
        if at.cache.is_overgrown(&self.settings.limits) {
            at.cache.delete()?;
        }
        at.cache.make(at.commit)?;
        let max_bytes = self.settings.limits.max_pack_bytes;
        if at.remote.url.ssh().is_some() {
            return self.download_by_ssh(at, Wanted::Commit, is_filtered, max_bytes).await;
        }
        if is_filtered && self.download_directly(at, Wanted::Commit, max_bytes).await? {
            return Ok(());
        }
        // A server that gives out files only with their commit would be asked twice.
        let is_filtered = is_filtered && !self.asking.keeps_files(at.remote.url.as_str());
        let filter = if is_filtered { "--filter=blob:none" } else { "--no-filter" };
        let wanted = format!("{}:{}\n", at.commit, Cache::mark(at.commit));
        self.download(at, &["fetch", "--depth=1", filter], wanted, max_bytes).await
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
        // A download that was cut off by its timeout could not do it.
        at.cache.sweep();
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

    pub(crate) async fn look_up(&self, at: &Place<'_>, path: &RepoPath) -> Result<Entry, Trouble> {
        let found = self.look_up_all(at, std::slice::from_ref(path)).await?;
        Ok(found.into_iter().next().unwrap_or(Entry::Missing))
    }

    pub(crate) async fn read_file(
        &self,
        at: &Place<'_>,
        path: &RepoPath,
        max_bytes: u64,
    ) -> Result<Vec<u8>, Trouble> {
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
        self.download_blobs(at, &[blob], max_bytes).await
    }

    /// Downloads blobs that have `max_bytes` together at most.
    pub(crate) async fn download_blobs(
        &self,
        at: &Place<'_>,
        blobs: &[&ObjectId],
        max_bytes: u64,
    ) -> Result<(), Trouble> {
        let limit = max_bytes.saturating_add(PACK_OVERHEAD_BYTES).min(self.settings.limits.max_pack_bytes);
        if at.remote.url.ssh().is_some() {
            return self.download_by_ssh(at, Wanted::Blobs(blobs), true, limit).await;
        }
        if self.download_directly(at, Wanted::Blobs(blobs), limit).await? {
            return Ok(());
        }
        // Told of our commits, a server would take their files for granted.
        let options = ["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--filter=blob:none"];
        let wanted = blobs.iter().map(|blob| format!("{blob}\n")).collect();
        self.download(at, &options, wanted, limit).await
    }

    /// The content of a blob in the cache, or `Err` with its size when that exceeds `max_bytes`; `None` when
    /// it is not in the cache.
    pub(crate) async fn local_blob(
        &self,
        at: &Place<'_>,
        blob: &ObjectId,
        max_bytes: u64,
    ) -> Result<Option<Result<Vec<u8>, u64>>, Trouble> {
        let room = usize::try_from(max_bytes.saturating_add(200)).unwrap_or(usize::MAX);
        let finished =
            self.local(at.cache.path(), &["cat-file", "--batch"], format!("{blob}\n"), room).await?;
        let broken = || Trouble::BrokenCache(verdict::scrubbed(&finished.stderr, None));
        // A git that does not know GIT_NO_LAZY_FETCH tries, and may not.
        if finished.stderr.contains(&format!("could not fetch {blob} from promisor remote")) {
            return Ok(None);
        }
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
                self.recent.remember_blob(at.cache.key(), blob, content);
                Ok(Some(Ok(content.to_vec())))
            }
            _ => Err(broken()),
        }
    }
}

/// What a tree says of one of its entries.
pub(crate) fn entry_of(mode: &str, id: &str) -> Result<Entry, Trouble> {
    match (mode, id.parse()) {
        ("100644" | "100755" | "100664", Ok(blob)) => Ok(Entry::File { blob }),
        ("120000", _) => Ok(Entry::NotAFile(EntryKind::Symlink)),
        ("160000", _) => Ok(Entry::NotAFile(EntryKind::Submodule)),
        ("040000", _) => Ok(Entry::NotAFile(EntryKind::Directory)),
        _ => Err(Trouble::BrokenCache(format!("an odd tree entry '{mode} {id}'"))),
    }
}
