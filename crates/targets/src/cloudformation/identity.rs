//! Who we are to AWS, remembered: it hardly ever changes, and every account's users may ask.

use std::sync::Arc;

use syncline_seams::Clock;

use crate::TargetError;

/// How long an answer is given again, in milliseconds.
const KEPT_MS: i64 = 3_600_000;
/// How long a failure is given again, in milliseconds: short, because somebody is mending it.
const FAILURE_KEPT_MS: i64 = 30_000;

/// What came of asking for our principal, and until when that is the answer, in milliseconds since the Unix epoch.
type Outcome = (i64, Result<String, TargetError>);

/// The last answer to who we are.
pub(super) struct Identity {
    clock: Arc<dyn Clock>,
    /// Whoever holds the lock is calling AWS; the others wait for what comes of it.
    last: tokio::sync::Mutex<Option<Outcome>>,
}

impl Identity {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: tokio::sync::Mutex::default() }
    }

    /// The remembered answer, or what `ask` answers.
    pub(super) async fn or_ask(
        &self,
        ask: impl Future<Output = Result<String, TargetError>>,
    ) -> Result<String, TargetError> {
        let mut last = self.last.lock().await;
        if let Some((until_ms, outcome)) = &*last
            && self.clock.now_ms() < *until_ms
        {
            return outcome.clone();
        }
        let outcome = ask.await;
        let kept_ms = if outcome.is_ok() { KEPT_MS } else { FAILURE_KEPT_MS };
        *last = Some((self.clock.now_ms() + kept_ms, outcome.clone()));
        outcome
    }
}
