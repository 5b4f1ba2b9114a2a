//! The connections that reads have, and the snapshots they see.
//!
//! **Architecture Invariant:** a read sees every commit that anybody was told of before it began. Only the writer
//! commits, and it counts each commit here before it tells anyone; while the count is what it was, a snapshot is the
//! newest there is, and is read from again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::Wal;

use crate::sql::Tx;
use crate::{StoreResult, raw};

/// The connections that nobody reads on at the moment.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
    commits: AtomicU64,
    reads: AtomicU64,
    /// The pages of the write-ahead log after the newest commit.
    log_pages: AtomicI32,
}

/// The length of the write-ahead log, in pages, from which on it is written back into the database.
const CHECKPOINT_PAGES: i32 = 1000;

/// A connection for reads. To open a snapshot and to end it takes locks that all threads share and costs as much as a
/// small read, so it is kept for the next one.
struct Reader {
    connection: rusqlite::Connection,
    /// The commits that had been counted before the snapshot was opened; `None` without one.
    sees: Option<u64>,
    /// When the snapshot was opened, in milliseconds since the Unix epoch.
    since_ms: i64,
    /// Reads from the snapshot.
    reads: u32,
    /// Whether the file is mapped into memory. Pages are then found without a system call and a copy for each, but
    /// SQLite ends the mapping with every commit of the writer's, and to map each page again costs more than reading it.
    is_mapped: bool,
}

/// How long a snapshot is kept at the most, in milliseconds: so soon is seen what somebody changed with a tool of his own.
const KEPT_MS: u64 = 200;

/// Reads from one snapshot from which on mapping the file pays.
const MAP_AFTER: u32 = 256;

impl Readers {
    /// No connection yet to the database at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
            commits: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            log_pages: AtomicI32::new(0),
        }
    }

    /// Runs a read on this thread; a consistent snapshot, in which nothing is written.
    pub(crate) fn read<T>(
        &self,
        now_ms: i64,
        body: impl FnOnce(&Tx<'_>) -> StoreResult<T>,
    ) -> StoreResult<T> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let commits = self.commits.load(Ordering::Acquire);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => Reader::new(raw::connect_reader(&self.path)?),
        };
        reader.see(commits, now_ms)?;
        let answer = body(&Tx::new(&reader.connection, now_ms));
        // What a failure left of the snapshot, nobody knows.
        if answer.is_ok() || reader.end().is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        answer
    }

    /// How many reads there have been.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Counts what `writer` commits from now on. No read that begins after a commit sees an older snapshot.
    pub(crate) fn follow(self: &Arc<Self>, writer: &mut rusqlite::Connection) -> StoreResult<()> {
        let readers = Arc::clone(self);
        // In the place of SQLite's own checkpoints.
        writer.wal_hook(Some(move |_: &mut Wal, pages| {
            readers.log_pages.store(pages, Ordering::Relaxed);
            readers.commits.fetch_add(1, Ordering::Release);
            Ok(())
        }))?;
        Ok(())
    }

    /// Writes the log back into the database when it is long. It is used anew once nobody reads from it, so the
    /// snapshots that are kept are ended: before, or they would keep the newest pages from being written back, and
    /// after, or they would keep the log in use.
    pub(crate) fn checkpoint_if_due(&self, writer: &rusqlite::Connection) {
        if self.log_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return;
        }
        self.end_idle();
        // One that fails is tried again after the next commit; nothing depends on it but the length of the log.
        let _ = raw::checkpoint(writer);
        self.commits.fetch_add(1, Ordering::Release);
        self.end_idle();
    }

    fn end_idle(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|reader| reader.end().is_ok());
    }
}

impl Reader {
    fn new(connection: rusqlite::Connection) -> Self {
        Self { connection, sees: None, since_ms: 0, reads: 0, is_mapped: false }
    }

    /// Has a snapshot of at least the first `commits` commits.
    fn see(&mut self, commits: u64, now_ms: i64) -> StoreResult<()> {
        self.reads += 1;
        let is_fresh = now_ms.abs_diff(self.since_ms) < KEPT_MS;
        let is_newest = self.sees == Some(commits) && is_fresh;
        if is_newest && (self.is_mapped || self.reads < MAP_AFTER) {
            return Ok(());
        }
        self.end()?;
        if is_newest || self.is_mapped && self.reads < MAP_AFTER {
            self.is_mapped = is_newest;
            raw::map(&self.connection, is_newest)?;
        }
        (self.reads, self.since_ms) = (0, now_ms);
        raw::run(&self.connection, "BEGIN DEFERRED")?;
        // The snapshot is taken by the first statement, and so no older than the count.
        self.sees = Some(commits);
        Ok(())
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        if self.sees.take().is_some() && !self.connection.is_autocommit() {
            raw::run(&self.connection, "ROLLBACK")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::params;

    struct Numbers {
        _folder: tempfile::TempDir,
        log: PathBuf,
        writer: rusqlite::Connection,
        readers: Arc<Readers>,
    }

    impl Numbers {
        #[expect(clippy::disallowed_methods, reason = "the test plays the writer")]
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("numbers.db");
            let mut writer = raw::connect(&path).expect("a new database");
            writer.execute_batch("CREATE TABLE number (value BIGINT, filler TEXT)").expect("a table");
            let readers = Arc::new(Readers::new(path));
            readers.follow(&mut writer).expect("followed");
            let log = folder.path().join("numbers.db-wal");
            Self { _folder: folder, log, writer, readers }
        }

        fn add(&self) {
            self.add_with(1);
        }

        #[expect(clippy::disallowed_methods, reason = "the test plays the writer")]
        fn add_with(&self, pages: usize) {
            let sql = "INSERT INTO number (value, filler) VALUES (1, ?1)";
            self.writer.execute(sql, ["x".repeat(4000 * pages)]).expect("written");
            self.readers.checkpoint_if_due(&self.writer);
        }

        fn count(&self) -> i64 {
            let count = |tx: &Tx<'_>| tx.count("SELECT count(*) FROM number", params![]);
            self.readers.read(0, count).expect("read")
        }

        fn is_mapped(&self) -> bool {
            self.readers.idle.lock().expect("not poisoned")[0].is_mapped
        }
    }

    #[test]
    fn a_read_sees_every_commit_before_it_mapped_or_not() {
        let numbers = Numbers::new();
        let mut written = 0;
        for reads in [0, 1, 2, MAP_AFTER - 1, MAP_AFTER, MAP_AFTER + 1, 1, 0, 2 * MAP_AFTER] {
            numbers.add();
            written += 1;
            for _ in 0..=reads {
                assert_eq!(numbers.count(), written);
            }
            assert_eq!(numbers.is_mapped(), reads >= MAP_AFTER, "{reads}");
        }
    }

    #[test]
    fn the_log_stays_short_although_snapshots_are_kept() {
        let numbers = Numbers::new();
        for written in 1..=50 {
            numbers.add_with(100);
            assert_eq!(numbers.count(), written);
        }
        let pages = std::fs::metadata(&numbers.log).expect("a log").len() / 4096;
        assert!(pages < 2 * u64::try_from(CHECKPOINT_PAGES).expect("positive"), "{pages} pages");
    }

    #[test]
    fn a_read_that_fails_leaves_no_snapshot_behind() {
        let numbers = Numbers::new();
        let failed = numbers.readers.read(0, |tx| tx.count("SELECT count(*) FROM nowhere", params![]));
        assert!(failed.is_err());
        numbers.add();
        assert_eq!(numbers.count(), 1);
    }
}
