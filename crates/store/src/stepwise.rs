//! A store without a thread of its own, for simulations: whoever opened it says when what waits is committed.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use syncline_seams::{Clock, Outside};
use tokio::sync::Notify;

use crate::database::{Database, Sqlite, Writing};
use crate::{KeySource, Location, Store, StoreResult, keyring, raw};

/// What the thread of other stores does: the writes, in their order, those that wait together in one commit.
pub struct Writer {
    writing: Writing,
    arrived: Arc<Notify>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Is notified when a write waits that was not there before.
    #[must_use]
    pub fn arrivals(&self) -> Arc<Notify> {
        Arc::clone(&self.arrived)
    }

    /// Commits what waits, as far as it shares a commit; false if nothing does.
    pub fn turn(&mut self) -> bool {
        let Writing { connection, readers, jobs } = &self.writing;
        let Ok(first) = jobs.try_recv() else { return false };
        // A moment that is over: nothing is waited for.
        raw::turn(connection, readers, first, jobs, Instant::now());
        true
    }
}

impl Store {
    /// Opens the database as [`Store::open`] does, and leaves its writing to the caller. A write that was sent when
    /// the writer is dropped never happens.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_stepwise(
        path: &Path,
        keys: impl Into<KeySource>,
        clock: Arc<dyn Clock>,
        outside: Outside,
    ) -> StoreResult<(Self, Writer)> {
        let (location, keys) = (Location::from(path), keys.into());
        let (sqlite, writing, keys) = Sqlite::open(path, &*clock, |starting, is_new| {
            keyring::open(starting, &location, &keys, is_new)
        })?;
        let database = Database::Sqlite(sqlite);
        let store = Self::of(location, database, keys, Arc::default(), clock, outside)?;
        let arrived = Arc::clone(&store.inner.arrived);
        Ok((store, Writer { writing, arrived }))
    }
}
