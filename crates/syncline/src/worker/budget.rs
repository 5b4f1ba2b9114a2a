//! How often Git hosts are called: a rate for each host, however many repositories it holds.
//!
//! Whoever comes too early is given a time of his own and comes back then; the times of many are spread as the rate
//! has it. Polls have a rate of their own below that of all calls, so that they leave room for what was woken.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::config::{RemoteBudget, Throttle};

/// Turns that nobody came back for are forgotten after this long.
const FORGOTTEN_AFTER_MS: f64 = 600_000.0;

/// The budgets of all hosts.
#[derive(Debug)]
pub(super) struct Budgets {
    budget: RemoteBudget,
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Debug, Default)]
struct Host {
    polls: Pace,
    calls: Pace,
}

/// One rate, as the generic cell rate algorithm has it (ITU-T I.371): the time at which the next call would come if
/// all came evenly.
#[derive(Debug, Default)]
struct Pace {
    next_ms: f64,
    /// Who was told to come back, and when.
    turns: HashMap<String, f64>,
}

impl Pace {
    /// Takes a call of `who`, or says when he is to come back: everybody another time, at which he is let pass.
    fn take(&mut self, rate: Throttle, now_ms: f64, who: &str) -> Result<(), f64> {
        if rate.per_second == 0 {
            return Ok(());
        }
        match self.turns.get(who) {
            Some(turn_ms) if *turn_ms > now_ms => return Err(*turn_ms),
            Some(_) => {
                self.turns.remove(who);
                return Ok(());
            }
            None => {}
        }
        let every_ms = 1000.0 / f64::from(rate.per_second);
        let ahead_ms = every_ms * f64::from(rate.burst.max(1) - 1);
        let turn_ms = self.next_ms.max(now_ms);
        self.next_ms = turn_ms + every_ms;
        if turn_ms - now_ms <= ahead_ms {
            return Ok(());
        }
        if self.turns.len().is_multiple_of(1024) {
            self.turns.retain(|_, turn_ms| *turn_ms + FORGOTTEN_AFTER_MS > now_ms);
        }
        let back_ms = turn_ms - ahead_ms;
        self.turns.insert(who.to_owned(), back_ms);
        Err(back_ms)
    }

    /// Counts a call that is made in any case.
    fn spend(&mut self, rate: Throttle, now_ms: f64) {
        if rate.per_second > 0 {
            self.next_ms = self.next_ms.max(now_ms) + 1000.0 / f64::from(rate.per_second);
        }
    }
}

impl Budgets {
    pub(super) fn new(budget: RemoteBudget) -> Self {
        Self { budget, hosts: Mutex::default() }
    }

    /// Takes a listing of heads for the link `who` from the budget of `host`, or says when to come back, in
    /// milliseconds since the Unix epoch; `jitter` (0 to 1) spreads that within the time between two calls.
    pub(super) fn take(
        &self,
        host: &str,
        who: &str,
        is_poll: bool,
        now_ms: i64,
        jitter: f64,
    ) -> Result<(), i64> {
        let RemoteBudget { polls, calls } = self.budget;
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(host.to_owned()).or_default();
        let now = now_ms as f64;
        let later = |back_ms: f64, rate: Throttle| {
            let within_ms = 1000.0 / f64::from(rate.per_second.max(1));
            (back_ms + jitter * within_ms).ceil() as i64
        };
        if is_poll {
            host.polls.take(polls, now, who).map_err(|back_ms| later(back_ms, polls))?;
        } else {
            // Its turn as a poll is somebody else's.
            host.polls.turns.remove(who);
        }
        host.calls.take(calls, now, who).map_err(|back_ms| {
            if is_poll {
                // It had its turn among the polls.
                host.polls.turns.insert(who.to_owned(), now);
            }
            later(back_ms, calls)
        })
    }

    /// Counts a call of another kind, which waits for nobody: the next ones make room for it.
    pub(super) fn spend(&self, host: &str, now_ms: i64) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(host.to_owned()).or_default().calls.spend(self.budget.calls, now_ms as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(polls: (u32, u32), calls: (u32, u32)) -> Budgets {
        let throttle = |(per_second, burst)| Throttle { per_second, burst };
        Budgets::new(RemoteBudget { polls: throttle(polls), calls: throttle(calls) })
    }

    /// Lets `count` links, all due at 0, poll until each had its turn; the times at which they were let pass, and how
    /// often all of them asked.
    fn all_at_once(budgets: &Budgets, count: usize) -> (Vec<i64>, usize) {
        let mut due: Vec<(i64, String)> = (0..count).map(|link| (0, format!("link-{link}"))).collect();
        let (mut passed, mut asked) = (Vec::new(), 0);
        while let Some(first) = due.iter().min().cloned() {
            due.retain(|other| *other != first);
            let (now_ms, link) = first;
            asked += 1;
            match budgets.take("git.example.com", &link, true, now_ms, 0.5) {
                Ok(()) => passed.push(now_ms),
                Err(back_ms) => due.push((back_ms, link)),
            }
        }
        (passed, asked)
    }

    #[test]
    fn a_thousand_polls_that_are_due_at_once_are_spread_as_the_rate_has_it() {
        let (passed, asked) = all_at_once(&budgets((20, 20), (0, 0)), 1_000);
        assert_eq!(passed.len(), 1_000);
        assert!(asked < 2_000, "each is sent away once at most: {asked}");
        assert_eq!(passed.iter().filter(|at| **at == 0).count(), 20, "the burst");
        for window in passed.windows(42) {
            assert!(window[41] - window[0] >= 1_000, "more than 20 a second and the burst: {window:?}");
        }
        let last = passed.last().copied().unwrap_or_default();
        assert!((48_000..=50_000).contains(&last), "{last}");
    }

    #[test]
    fn what_is_woken_does_not_wait_for_polls_and_takes_its_share_of_all_calls() {
        let budgets = budgets((10, 1), (20, 20));
        let _ = all_at_once(&budgets, 100);
        for link in 0..20 {
            let woken = budgets.take("another.example.com", &format!("woken-{link}"), false, 0, 0.0);
            assert_eq!(woken, Ok(()), "hosts are apart");
        }
        let first_after = budgets.take("another.example.com", "late", false, 0, 0.0);
        assert_eq!(first_after, Err(50));
        assert_eq!(budgets.take("another.example.com", "late", false, 49, 0.0), Err(50), "one turn, kept");
        assert_eq!(budgets.take("another.example.com", "late", false, 50, 0.0), Ok(()));
        budgets.spend("another.example.com", 50);
        assert_eq!(budgets.take("another.example.com", "later", false, 50, 0.0), Err(150), "it made room");
        assert_eq!(budgets.take("another.example.com", "poll", true, 50, 0.0), Err(200));
        assert_eq!(
            budgets.take("another.example.com", "poll", true, 200, 0.0),
            Ok(()),
            "one turn for both rates"
        );
    }

    #[test]
    fn without_a_rate_everybody_is_let_pass() {
        let (passed, asked) = all_at_once(&Budgets::new(RemoteBudget::UNLIMITED), 500);
        assert_eq!((passed, asked), (vec![0; 500], 500));
    }
}
