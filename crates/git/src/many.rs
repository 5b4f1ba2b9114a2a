//! Many paths of one commit at once, and what differs between two commits: one process instead of one for each path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use syncline_model::names::{ObjectId, RepoPath};

use crate::error::Trouble;
use crate::git::{Entry, Git, Place};
use crate::objects::entry_of;
use crate::verdict;

/// The most bytes of paths in one command line, far below what systems allow.
const MAX_ARGUMENT_BYTES: usize = 64 * 1024;
/// The longest listing of trees that is read, in bytes. A commit that changes more than this says is looked at whole.
const MAX_LISTING_BYTES: usize = 16 << 20;
/// The most blobs and the most bytes of them that one process prints.
const MAX_BLOBS_AT_ONCE: usize = 500;
const MAX_BYTES_AT_ONCE: u64 = 8 << 20;

/// What a blob of the cache is good for.
enum Held {
    /// It is there; its size in bytes.
    There(u64),
    /// It was not downloaded yet.
    Missing,
}

impl Git {
    /// What each path names in the commit, in the order of the paths.
    pub(crate) async fn look_up_all(
        &self,
        at: &Place<'_>,
        paths: &[RepoPath],
    ) -> Result<Vec<Entry>, Trouble> {
        if let Some(entries) = self.recent.all_entries(at.cache.key(), at.commit, paths) {
            return Ok(entries);
        }
        let mut found: HashMap<String, Entry> = HashMap::new();
        let mut rest = paths;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|path| {
                bytes += path.as_str().len() + 1;
                bytes <= MAX_ARGUMENT_BYTES
            });
            let (chunk, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            // With -t a directory that is asked for is told of although something below it is asked for, too.
            let options = ["ls-tree", "-z", "-t", "--full-tree", at.commit.as_str(), "--"];
            let arguments: Vec<&str> =
                options.into_iter().chain(chunk.iter().map(RepoPath::as_str)).collect();
            let finished = self.local(at.cache.path(), &arguments, String::new(), MAX_LISTING_BYTES).await?;
            if !finished.is_success || finished.is_cut {
                return Err(Trouble::BrokenCache(verdict::scrubbed(&finished.stderr, None)));
            }
            // "<mode> <type> <id>\t<path>\0"
            for line in String::from_utf8_lossy(&finished.stdout).split('\0') {
                let Some((facts, path)) = line.split_once('\t') else { continue };
                let (mode, id) = (facts.split(' ').next(), facts.split(' ').next_back());
                let entry = entry_of(mode.unwrap_or_default(), id.unwrap_or_default())?;
                found.insert(path.to_owned(), entry);
            }
        }
        let entries: Vec<Entry> =
            paths.iter().map(|path| found.get(path.as_str()).cloned().unwrap_or(Entry::Missing)).collect();
        self.recent.remember_entries(at.cache.key(), at.commit, paths.iter().zip(&entries));
        Ok(entries)
    }

    /// What is at each path that the two commits, which are both in the cache, do not have in common, in the second
    /// one. `None` if there is too much of it.
    pub(crate) async fn diff_trees(
        &self,
        at: &Place<'_>,
        from: &ObjectId,
    ) -> Result<Option<BTreeMap<String, Entry>>, Trouble> {
        let arguments =
            ["diff-tree", "-r", "-t", "-z", "--raw", "--no-renames", from.as_str(), at.commit.as_str()];
        let finished = self.local(at.cache.path(), &arguments, String::new(), MAX_LISTING_BYTES).await?;
        if finished.is_cut {
            return Ok(None);
        }
        if !finished.is_success {
            return Err(Trouble::BrokenCache(verdict::scrubbed(&finished.stderr, None)));
        }
        // ":<old mode> <new mode> <old id> <new id> <status>\0<path>\0"
        let mut changed = BTreeMap::new();
        let mut fields = finished.stdout.split(|byte| *byte == 0);
        while let Some(facts) = fields.next().filter(|facts| !facts.is_empty()) {
            let odd = || Trouble::BrokenCache("an odd difference of trees".to_owned());
            let facts = std::str::from_utf8(facts).map_err(|_| odd())?;
            let path = fields.next().ok_or_else(odd)?;
            let mut facts = facts.trim_start_matches(':').split(' ').skip(1);
            let (mode, _, id) = (facts.next(), facts.next(), facts.next());
            let (Some(mode), Some(id)) = (mode, id) else { return Err(odd()) };
            // No path that is ever asked for is anything but UTF-8.
            let Ok(path) = std::str::from_utf8(path) else { continue };
            if mode != "000000" {
                changed.insert(path.to_owned(), entry_of(mode, id)?);
            } else if !changed.contains_key(path) {
                // A directory that a file took the place of is told as gone, and the file apart from it.
                changed.insert(path.to_owned(), Entry::Missing);
            }
        }
        Ok(Some(changed))
    }

    /// The files at the paths; `None` for those about which only reading each by itself says what is wrong.
    pub(crate) async fn read_files(
        &self,
        at: &Place<'_>,
        paths: &[RepoPath],
        max_bytes: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, Trouble> {
        let entries = self.look_up_all(at, paths).await?;
        let blob_of = |entry: &Entry| match entry {
            Entry::File { blob } => Some(blob.clone()),
            Entry::Missing | Entry::NotAFile(_) => None,
        };
        let mut held = HashMap::new();
        let mut blobs: Vec<ObjectId> =
            entries.iter().filter_map(blob_of).collect::<BTreeSet<_>>().into_iter().collect();
        blobs.retain(|blob| {
            let Some(content) = self.recent.blob(at.cache.key(), blob) else { return true };
            if content.len() as u64 <= max_bytes {
                held.insert(blob.clone(), content.to_vec());
            }
            false
        });
        if let [blob] = blobs.as_slice() {
            // Of one, its size need not be asked for first.
            let content = self.one_blob(at, blob, max_bytes).await?;
            held.extend(content.map(|content| (blob.clone(), content)));
            blobs.clear();
        }
        for blobs in blobs.chunks(MAX_BLOBS_AT_ONCE) {
            let Some(mut sizes) = self.sizes(at, blobs).await? else { continue };
            let missing: Vec<&ObjectId> = blobs
                .iter()
                .zip(&sizes)
                .filter(|(_, held)| matches!(held, Held::Missing))
                .map(|(blob, _)| blob)
                .collect();
            if !missing.is_empty() {
                let all = max_bytes.saturating_mul(missing.len() as u64);
                if self.download_blobs(at, &missing, all.min(MAX_BYTES_AT_ONCE)).await.is_err() {
                    continue;
                }
                let Some(now) = self.sizes(at, blobs).await? else { continue };
                sizes = now;
            }
            let mut batch = Vec::new();
            let mut bytes = 0;
            for (blob, size) in blobs.iter().zip(sizes) {
                let Held::There(size) = size else { continue };
                if size > max_bytes {
                    continue;
                }
                if bytes + size > MAX_BYTES_AT_ONCE && !batch.is_empty() {
                    held.extend(self.contents(at, &batch).await?);
                    (bytes, batch) = (0, Vec::new());
                }
                bytes += size;
                batch.push((blob, size));
            }
            held.extend(self.contents(at, &batch).await?);
        }
        Ok(entries.iter().map(|entry| blob_of(entry).and_then(|blob| held.get(&blob).cloned())).collect())
    }

    /// A blob, downloaded if need be; `None` if that is not done, or it is too large.
    async fn one_blob(
        &self,
        at: &Place<'_>,
        blob: &ObjectId,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        if let Some(content) = self.local_blob(at, blob, max_bytes).await? {
            return Ok(content.ok());
        }
        if self.download_blobs(at, &[blob], max_bytes).await.is_err() {
            return Ok(None);
        }
        Ok(self.local_blob(at, blob, max_bytes).await?.and_then(Result::ok))
    }

    /// The sizes of the blobs; `None` if this git cannot say it of blobs that are not there.
    async fn sizes(&self, at: &Place<'_>, blobs: &[ObjectId]) -> Result<Option<Vec<Held>>, Trouble> {
        let asked: String = blobs.iter().map(|blob| format!("{blob}\n")).collect();
        let finished =
            self.local(at.cache.path(), &["cat-file", "--batch-check"], asked, MAX_LISTING_BYTES).await?;
        if !finished.is_success {
            return Ok(None);
        }
        let listed = String::from_utf8_lossy(&finished.stdout);
        let sizes = blobs.iter().zip(listed.lines()).map(|(blob, line)| {
            let facts = line.strip_prefix(blob.as_str())?;
            match facts.strip_prefix(" blob ") {
                Some(size) => size.parse().ok().map(Held::There),
                None => (facts == " missing").then_some(Held::Missing),
            }
        });
        let sizes: Option<Vec<Held>> = sizes.collect();
        Ok(sizes.filter(|sizes| sizes.len() == blobs.len()))
    }

    /// The contents of blobs that are in the cache and have these sizes in bytes.
    async fn contents(
        &self,
        at: &Place<'_>,
        blobs: &[(&ObjectId, u64)],
    ) -> Result<Vec<(ObjectId, Vec<u8>)>, Trouble> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let asked: String = blobs.iter().map(|(blob, _)| format!("{blob}\n")).collect();
        let room: u64 = blobs.iter().map(|(_, size)| size + 200).sum();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let finished = self.local(at.cache.path(), &["cat-file", "--batch"], asked, room).await?;
        let broken = || Trouble::BrokenCache(verdict::scrubbed(&finished.stderr, None));
        let mut rest = finished.stdout.as_slice();
        let mut contents = Vec::with_capacity(blobs.len());
        for (blob, size) in blobs {
            let header = format!("{blob} blob {size}\n");
            let size = usize::try_from(*size).map_err(|_| broken())?;
            let body = rest.strip_prefix(header.as_bytes()).ok_or_else(broken)?;
            let (content, after) = body.split_at_checked(size).ok_or_else(broken)?;
            rest = after.strip_prefix(b"\n").ok_or_else(broken)?;
            self.recent.remember_blob(at.cache.key(), blob, content);
            contents.push(((*blob).clone(), content.to_vec()));
        }
        Ok(contents)
    }
}
