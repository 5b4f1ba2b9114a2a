//! Tokens that a double issues, which run out: one list for its API and for the Git host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_seams::Clock;

/// Tokens that run out.
#[derive(Debug)]
pub struct Issued {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each with its end, in milliseconds since the Unix epoch.
    live: BTreeMap<String, i64>,
    all: Vec<String>,
}

impl Issued {
    /// None yet; they run out by `clock`.
    #[must_use]
    pub fn by(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token.
    pub(crate) fn issue(&self, lifetime_ms: i64) -> String {
        let mut state = self.state();
        let token = format!("canary-issued-token-{}", state.all.len() + 1);
        state.live.insert(token.clone(), self.clock.now_ms() + lifetime_ms);
        state.all.push(token.clone());
        token
    }

    /// Whether a token is good now.
    #[must_use]
    pub fn is_live(&self, token: &str) -> bool {
        self.state().live.get(token).is_some_and(|ends_ms| *ends_ms > self.clock.now_ms())
    }

    /// Takes a token back.
    pub(crate) fn take_back(&self, token: &str) {
        self.state().live.remove(token);
    }

    /// Takes all tokens back that were issued until now.
    pub fn revoke(&self) {
        self.state().live.clear();
    }

    /// Every token that was issued, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.state().all.clone()
    }

    /// The time, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}
