//! A store without a thread of its own, for simulations: whoever opened it says when what waits is committed.

use std::path::Path;
use std::sync::{Arc, mpsc};

use syncline_seams::{Clock, Outside};
use tokio::sync::Notify;

use crate::{KeySource, Store, StoreResult, raw};

/// What the thread of other stores does: the writes, in their order, those that wait together in one commit.
pub struct Writer {
    connection: rusqlite::Connection,
    jobs: mpsc::Receiver<raw::Job>,
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
        let Ok(first) = self.jobs.try_recv() else { return false };
        raw::turn(&self.connection, first, &self.jobs);
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
        let (prepared, connection) = Self::prepared(path, &keys.into(), &clock)?;
        let (sender, jobs) = mpsc::channel();
        let store = Self::written_by(sender, None, prepared, clock, outside);
        let arrived = Arc::clone(&store.inner.arrived);
        Ok((store, Writer { connection, jobs, arrived }))
    }
}
