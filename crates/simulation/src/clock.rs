//! The clocks of a history: virtual time, which moves when nothing else can happen, and the machine's idea of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use syncline_seams::Clock;
use tokio::time::Instant;

/// 2026-11-01T00:00:00Z, when every history begins.
const BEGINNING_MS: i64 = 1_793_491_200_000;

/// A clock on the paused time of the runtime. A wrong one is ahead or behind; what it measures is right all the same.
#[derive(Debug, Clone)]
pub(crate) struct VirtualTime {
    beginning: Instant,
    ahead_ms: Arc<AtomicI64>,
}

impl VirtualTime {
    /// A right clock. Must be made within the history's runtime.
    pub(crate) fn new() -> Self {
        Self { beginning: Instant::now(), ahead_ms: Arc::default() }
    }

    /// The same time on a clock that nobody sets.
    pub(crate) fn right(&self) -> Self {
        Self { beginning: self.beginning, ahead_ms: Arc::default() }
    }

    /// Sets the clock forward by so many milliseconds; back by a negative number.
    pub(crate) fn set_ahead(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// How long the history is, in milliseconds.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.beginning.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Lets virtual time pass.
#[expect(clippy::disallowed_methods, reason = "virtual time is the runtime's")]
pub(crate) async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Clock for VirtualTime {
    fn now_ms(&self) -> i64 {
        BEGINNING_MS + self.elapsed_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time is the runtime's")]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
