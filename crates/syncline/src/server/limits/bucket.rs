//! Token buckets, kept as the one number of the generic cell rate algorithm: the time at which the bucket is
//! full again. No bucket is refilled by anybody; time does it.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::Throttle;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// When a bucket is full again, in nanoseconds since the Unix epoch; in the past for a full one.
pub(super) type FullAt = i64;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// The time that one token takes.
    token_ns: i64,
    /// The time that a whole bucket takes.
    bucket_ns: i64,
}

impl Rate {
    /// `None` where nothing is throttled.
    pub(super) fn of(throttle: Throttle) -> Option<Self> {
        let per_second = NonZeroU32::new(throttle.per_second)?;
        let token_ns = NS_PER_SECOND / i64::from(per_second.get());
        Some(Self { token_ns, bucket_ns: token_ns.saturating_mul(i64::from(throttle.burst.max(1))) })
    }

    /// Takes `tokens` out of a bucket, if they are in it; else says how long it takes until they are.
    pub(super) fn take(self, full_at: FullAt, now_ms: i64, tokens: u32) -> Result<FullAt, Duration> {
        let now = now_ns(now_ms);
        let taken = self.with(full_at, now, tokens);
        let missing = taken.saturating_sub(now).saturating_sub(self.bucket_ns);
        match u64::try_from(missing) {
            Ok(missing) if missing > 0 => Err(Duration::from_nanos(missing)),
            _ => Ok(taken),
        }
    }

    /// Takes `tokens` whether they are there or not, into a debt of one bucket at the most.
    pub(super) fn owe(self, full_at: FullAt, now_ms: i64, tokens: u32) -> FullAt {
        let now = now_ns(now_ms);
        self.with(full_at, now, tokens).min(self.deepest(now))
    }

    fn with(self, full_at: FullAt, now: i64, tokens: u32) -> FullAt {
        // No bucket is ever further from full than the deepest debt, unless the clock was set back: that must
        // not lock anybody out until it is where it was.
        let full_at = if full_at > self.deepest(now) { now } else { full_at.max(now) };
        full_at.saturating_add(self.token_ns.saturating_mul(i64::from(tokens)))
    }

    fn deepest(self, now: i64) -> FullAt {
        now.saturating_add(self.bucket_ns.saturating_mul(2))
    }
}

fn now_ns(now_ms: i64) -> i64 {
    now_ms.saturating_mul(1_000_000)
}

/// One bucket for each key; bounded.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    capacity: usize,
    full_at: Mutex<HashMap<K, FullAt>>,
}

impl<K: Eq + Hash + Copy> Buckets<K> {
    /// Buckets of `rate` for `capacity` keys at the most.
    pub(super) fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, capacity, full_at: Mutex::default() }
    }

    /// Takes one token of `key`'s.
    pub(super) fn take(&self, key: K, now_ms: i64) -> Result<(), Duration> {
        self.change(key, now_ms, |rate, full_at| rate.take(full_at, now_ms, 1))
    }

    /// Takes `tokens` of `key`'s, whether they are there or not.
    pub(super) fn owe(&self, key: K, now_ms: i64, tokens: u32) {
        let _ = self.change(key, now_ms, |rate, full_at| Ok(rate.owe(full_at, now_ms, tokens)));
    }

    fn change(
        &self,
        key: K,
        now_ms: i64,
        change: impl FnOnce(Rate, FullAt) -> Result<FullAt, Duration>,
    ) -> Result<(), Duration> {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.get_mut(&key) {
            *full_at = change(self.rate, *full_at)?;
            return Ok(());
        }
        let full_at = change(self.rate, FullAt::MIN)?;
        if buckets.len() >= self.capacity {
            forget(&mut buckets, self.capacity / 2, now_ns(now_ms));
        }
        buckets.insert(key, full_at);
        Ok(())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.full_at.lock().expect("not poisoned").len()
    }
}

/// Forgets every full bucket, and of the others as many as it takes to leave `keep`: those that owe least.
/// To be forgotten is to have a full bucket, so a flood of new keys wins nothing by it, and whoever owes most
/// is remembered longest.
fn forget<K: Eq + Hash + Copy>(buckets: &mut HashMap<K, FullAt>, keep: usize, now: i64) {
    buckets.retain(|_, full_at| *full_at > now);
    let Some(surplus) = buckets.len().checked_sub(keep).filter(|surplus| *surplus > 0) else { return };
    let mut times: Vec<FullAt> = buckets.values().copied().collect();
    let (_, &mut last, _) = times.select_nth_unstable(surplus - 1);
    buckets.retain(|_, full_at| *full_at > last);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_865_600_000;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::of(Throttle { per_second, burst }).expect("a rate")
    }

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let buckets = Buckets::new(rate(4, 3), 10);
        let take = |at_ms: i64| buckets.take("a", NOW + at_ms).map_err(|wait| wait.as_millis());
        assert_eq!([take(0), take(0), take(0)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(take(0), Err(250));
        assert_eq!(take(100), Err(150), "a refusal costs nothing");
        assert_eq!(take(250), Ok(()));
        assert_eq!(take(250), Err(250));
        assert_eq!(buckets.take("b", NOW), Ok(()), "each has its own");
        assert_eq!([take(60_000), take(60_000), take(60_000)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(take(60_000), Err(250), "it holds no more than the burst");
    }

    #[test]
    fn a_debt_is_waited_for_and_bounded() {
        let buckets = Buckets::new(rate(10, 5), 10);
        buckets.owe("a", NOW, 7);
        assert_eq!(buckets.take("a", NOW), Err(Duration::from_millis(300)));
        buckets.owe("a", NOW, u32::MAX);
        // A bucket of debt is half a second, and the token itself a tenth.
        assert_eq!(buckets.take("a", NOW), Err(Duration::from_millis(600)));
        assert_eq!(buckets.take("a", NOW + 600), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let buckets = Buckets::new(rate(10, 5), 10);
        assert_eq!(buckets.take("a", NOW), Ok(()));
        buckets.owe("b", NOW, 8);
        // An hour: the buckets are full.
        assert_eq!(buckets.take("a", NOW - 3_600_000), Ok(()));
        assert_eq!(buckets.take("b", NOW - 3_600_000), Ok(()));
        // Less than a debt can be deep: it counts as one.
        buckets.owe("c", NOW, 5);
        assert_eq!(buckets.take("c", NOW - 200), Err(Duration::from_millis(300)));
        assert_eq!(buckets.take("c", NOW + 100), Ok(()));
    }

    #[test]
    fn nothing_overflows() {
        for now_ms in [i64::MIN, -1, 0, i64::MAX] {
            let buckets = Buckets::new(rate(1, u32::MAX), 10);
            assert_eq!(buckets.take("a", now_ms), Ok(()));
            buckets.owe("a", now_ms, u32::MAX);
        }
        assert!(Rate::of(Throttle { per_second: 0, burst: 9 }).is_none());
        assert_eq!(Buckets::new(rate(1, 0), 1).take("a", NOW), Ok(()), "a bucket holds at least one token");
    }

    #[test]
    fn the_keys_are_bounded_and_the_deepest_in_debt_is_remembered() {
        let buckets = Buckets::new(rate(10, 5), 100);
        buckets.owe(u32::MAX, NOW, 8);
        for key in 0..10_000 {
            assert_eq!(buckets.take(key, NOW), Ok(()));
            assert!(buckets.len() <= 100);
        }
        assert_eq!(buckets.take(u32::MAX, NOW), Err(Duration::from_millis(400)));
        // Whoever is quiet for a moment is forgotten first.
        for key in 0..100 {
            assert_eq!(buckets.take(key, NOW + 60_000), Ok(()));
        }
        assert!(buckets.len() <= 100);
    }
}
