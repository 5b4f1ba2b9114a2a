//! The stacks in progress of one role and region, listed once for all who ask meanwhile.
//!
//! **Invariant:** nobody is told what a listing found that began before the moment for which he asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_seams::Clock;

use crate::{Access, InProgress, TargetError};

/// The most roles and regions whose listings are kept.
const MAX_LISTINGS: usize = 1_000;

/// Stacks by their ids.
pub type Listed = Arc<HashMap<String, InProgress>>;

/// What the last call found, or how it failed.
#[derive(Debug, Clone)]
struct Last {
    begun_ms: i64,
    number: u64,
    found: Result<Listed, TargetError>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that were begun.
    begun: u64,
    last: Option<Last>,
}

/// One role and region. Whoever holds `asking` is calling AWS.
#[derive(Debug, Default)]
struct Slot {
    asking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listings of all roles and regions; also for targets that are simulated.
#[derive(Debug)]
pub struct Listings {
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<Access, Arc<Slot>>>,
}

impl Listings {
    /// No listing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, slots: Mutex::default() }
    }

    /// What a listing found that began at `asked_ms` (milliseconds since the Unix epoch) or later: one that is there
    /// already, one that somebody else makes now, or else `list`. A failure is told to all who asked for that moment, too.
    ///
    /// # Errors
    /// Those of `list`.
    pub async fn since(
        &self,
        access: &Access,
        asked_ms: i64,
        list: impl Future<Output = Result<Listed, TargetError>>,
    ) -> Result<Listed, TargetError> {
        let slot = self.slot(access);
        let begun_before = {
            let state = slot.state();
            // A clock that was put back must not make an old listing a new one.
            let fits = |last: &&Last| (asked_ms..=self.clock.now_ms()).contains(&last.begun_ms);
            if let Some(last) = state.last.as_ref().filter(fits) {
                return last.found.clone();
            }
            state.begun
        };
        let _asking = slot.asking.lock().await;
        let number = {
            let mut state = slot.state();
            if let Some(last) = state.last.as_ref().filter(|last| last.number > begun_before) {
                return last.found.clone();
            }
            state.begun += 1;
            state.begun
        };
        let begun_ms = self.clock.now_ms();
        let found = list.await;
        slot.state().last = Some(Last { begun_ms, number, found: found.clone() });
        found
    }

    fn slot(&self, access: &Access) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_LISTINGS && !slots.contains_key(access) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(access.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use syncline_seams::VirtualClock;
    use tokio::sync::Notify;

    use super::*;

    fn access() -> Access {
        Access {
            account: "111111111111".parse().expect("an account"),
            role: "arn:aws:iam::222222222222:role/deploy".parse().expect("a role"),
            external_id: "x".to_owned(),
            region: "eu-west-1".parse().expect("a region"),
        }
    }

    #[tokio::test]
    async fn nobody_is_told_what_began_before_he_asked() {
        let clock = Arc::new(VirtualClock::starting_at(1_000));
        let listings = Listings::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let calls = AtomicUsize::new(0);
        let ask = async |asked_ms: i64| {
            let list = async {
                calls.fetch_add(1, Ordering::Relaxed);
                Ok(Listed::default())
            };
            listings.since(&access(), asked_ms, list).await.expect("listed");
            calls.load(Ordering::Relaxed)
        };
        assert_eq!(ask(1_000).await, 1);
        assert_eq!(ask(1_000).await, 1, "it began when this was asked");
        assert_eq!(ask(400).await, 1, "and after this");
        clock.advance_ms(1);
        assert_eq!(ask(1_001).await, 2, "a millisecond later is later");
        assert_eq!(ask(1_000).await, 2);
        clock.advance_ms(-500);
        assert_eq!(ask(400).await, 3, "what the clock says is yet to come is not known");
    }

    #[tokio::test]
    async fn those_who_ask_while_a_call_runs_share_the_next_one_and_its_failure() {
        let clock = Arc::new(VirtualClock::starting_at(1_000));
        let listings = Arc::new(Listings::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let (calls, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = |asked_ms: i64| {
            let (listings, calls, go) = (Arc::clone(&listings), Arc::clone(&calls), Arc::clone(&go));
            tokio::spawn(async move {
                let list = async {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    go.notified().await;
                    if call == 0 { Ok(Listed::default()) } else { Err(TargetError::NotFound) }
                };
                listings.since(&access(), asked_ms, list).await
            })
        };
        let first = ask(1_000);
        while calls.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance_ms(10);
        let waiting: Vec<_> = (0..20).map(|_| ask(1_010)).collect();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1, "they wait");
        go.notify_one();
        assert!(first.await.expect("no panic").is_ok());
        while calls.load(Ordering::Relaxed) == 1 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        for waiting in waiting {
            assert_eq!(waiting.await.expect("no panic").err(), Some(TargetError::NotFound));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        assert!(ask(1_010).await.expect("no panic").is_err(), "of the moment that was asked for");
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        // A failure is nothing to be told later.
        clock.advance_ms(1);
        go.notify_one();
        assert!(ask(1_011).await.expect("no panic").is_err());
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }
}
