use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// Where time comes from.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// What the time is where a database that several machines share says that it is `database_ms`, in milliseconds
    /// since the Unix epoch: that, unless time is not the world's.
    fn of_database(&self, database_ms: i64) -> i64 {
        database_ms
    }

    /// Completes once `now_ms` has advanced by `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when told to; for tests and simulations.
#[derive(Debug)]
pub struct VirtualClock {
    now_ms: Mutex<i64>,
    moved: Notify,
}

impl VirtualClock {
    /// A clock that stands at `now_ms` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn starting_at(now_ms: i64) -> Self {
        Self { now_ms: Mutex::new(now_ms), moved: Notify::new() }
    }

    /// Moves the clock by `by_ms` milliseconds; a negative number moves it back, as a real clock may.
    pub fn advance_ms(&self, by_ms: i64) {
        *self.lock() += by_ms;
        self.moved.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, i64> {
        self.now_ms.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        *self.lock()
    }

    fn of_database(&self, _database_ms: i64) -> i64 {
        self.now_ms()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let until = self.now_ms().saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
        Box::pin(async move {
            loop {
                let moved = self.moved.notified();
                if self.now_ms() >= until {
                    return;
                }
                moved.await;
            }
        })
    }
}
