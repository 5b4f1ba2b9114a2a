//! What each account has taken of its rates and of the places for requests in progress.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use syncline_model::names::AccountId;

use super::Kind;
use super::bucket::{FullAt, Rate};
use super::places::{Place, Places};
use crate::config::Limits;

/// Accounts remembered at one time, and the keys of theirs.
const CAPACITY: usize = 16_384;

/// The accounts that have proved who they are lately.
#[derive(Debug)]
pub(super) struct Accounts {
    reads: Option<Rate>,
    writes: Option<Rate>,
    in_progress: u32,
    capacity: usize,
    known: Mutex<AllKnown>,
}

#[derive(Debug, Default)]
struct AllKnown {
    /// Only keys that a signature has verified: nobody becomes known by naming one.
    by_key: HashMap<String, Known>,
    by_account: HashMap<AccountId, Known>,
}

/// Why an account has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// For its next token.
    Rate(Duration),
    /// For one of its own requests to end.
    InProgress,
}

/// An account that has proved who it is lately.
pub(super) type Known = Arc<Account>;

/// What an account has taken.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: AccountId,
    reads_full_at: AtomicI64,
    writes_full_at: AtomicI64,
    in_progress: Places,
}

impl Account {
    fn full_at(&self, kind: Kind) -> &AtomicI64 {
        match kind {
            Kind::Read => &self.reads_full_at,
            Kind::Write => &self.writes_full_at,
        }
    }

    /// Nothing would be lost if it were forgotten.
    fn is_idle(&self, now_ms: i64) -> bool {
        let now_ns = now_ms.saturating_mul(1_000_000);
        let full = |kind| self.full_at(kind).load(Ordering::Relaxed) <= now_ns;
        self.in_progress.taken() == 0 && full(Kind::Read) && full(Kind::Write)
    }
}

impl Accounts {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            reads: Rate::of(limits.account_reads()),
            writes: Rate::of(limits.account_writes()),
            in_progress: limits.requests_in_progress_per_account,
            capacity: CAPACITY,
            known: Mutex::default(),
        }
    }

    fn rate(&self, kind: Kind) -> Option<Rate> {
        match kind {
            Kind::Read => self.reads,
            Kind::Write => self.writes,
        }
    }

    /// Whether the account of this key, of which nobody knows yet who sent it, would be let through. Takes
    /// nothing: a stranger could name anybody's key.
    pub(super) fn look(&self, key_id: &str, kind: Kind, now_ms: i64) -> Result<Option<Known>, Wait> {
        let account = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.by_key.get(key_id).map(Arc::clone)
        };
        if let Some((account, rate)) = account.as_ref().zip(self.rate(kind)) {
            let full_at: FullAt = account.full_at(kind).load(Ordering::Relaxed);
            rate.take(full_at, now_ms, 1).map_err(Wait::Rate)?;
        }
        Ok(account)
    }

    /// Takes a token and a place of the account that a signature has verified.
    pub(super) fn charge(&self, account: &Account, kind: Kind, now_ms: i64) -> Result<Place, Wait> {
        let place = account.in_progress.take().ok_or(Wait::InProgress)?;
        let Some(rate) = self.rate(kind) else { return Ok(place) };
        let mut wait = Duration::ZERO;
        let take = |full_at| rate.take(full_at, now_ms, 1).inspect_err(|missing| wait = *missing).ok();
        let taken = account.full_at(kind).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| place).map_err(|_| Wait::Rate(wait))
    }

    /// The account of a key that a signature has verified.
    pub(super) fn account(&self, key_id: &str, id: &AccountId, now_ms: i64) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.by_key.get(key_id) {
            // A key never changes its account.
            return Arc::clone(account);
        }
        known.make_room(self.capacity, now_ms);
        let account = known.by_account.entry(id.clone()).or_insert_with(|| {
            Arc::new(Account {
                id: id.clone(),
                reads_full_at: AtomicI64::new(FullAt::MIN),
                writes_full_at: AtomicI64::new(FullAt::MIN),
                in_progress: Places::new(self.in_progress),
            })
        });
        let account = Arc::clone(account);
        known.by_key.insert(key_id.to_owned(), Arc::clone(&account));
        account
    }
}

impl AllKnown {
    /// Forgets the idle, and if that is not enough, everybody: only who holds a key of ours is remembered, so
    /// nobody can bring it that far on purpose.
    fn make_room(&mut self, capacity: usize, now_ms: i64) {
        if self.by_key.len() >= capacity {
            self.by_key.clear();
        }
        if self.by_account.len() < capacity {
            return;
        }
        self.by_account.retain(|_, account| !account.is_idle(now_ms));
        if self.by_account.len() > capacity / 2 {
            self.by_account.clear();
        }
        self.by_key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_865_600_000;

    fn accounts(capacity: usize) -> Accounts {
        let limits = Limits {
            account_reads_per_second: 10,
            account_reads_burst: 2,
            account_writes_per_second: 1,
            account_writes_burst: 1,
            requests_in_progress_per_account: 2,
            ..Limits::default()
        };
        Accounts { capacity, ..Accounts::new(&limits) }
    }

    fn id(number: usize) -> AccountId {
        format!("{number:012}").parse().expect("an account")
    }

    fn charge_as(
        accounts: &Accounts,
        key: &str,
        number: usize,
        kind: Kind,
        now_ms: i64,
    ) -> Result<Place, Wait> {
        accounts.charge(&accounts.account(key, &id(number), now_ms), kind, now_ms)
    }

    #[test]
    fn an_account_has_one_bucket_of_each_kind_for_all_its_keys() {
        let accounts = accounts(10);
        let charge = |key: &str, kind| charge_as(&accounts, key, 1, kind, NOW).map(drop);
        let look = |key: &str, kind| accounts.look(key, kind, NOW).map(drop);
        assert_eq!(charge("a", Kind::Write), Ok(()));
        assert_eq!(charge("b", Kind::Write), Err(Wait::Rate(Duration::from_secs(1))));
        assert_eq!(look("a", Kind::Write), Err(Wait::Rate(Duration::from_secs(1))));
        assert_eq!(look("b", Kind::Write), Err(Wait::Rate(Duration::from_secs(1))));
        assert_eq!(look("b", Kind::Read), Ok(()), "reading is another bucket");
        assert_eq!(look("c", Kind::Write), Ok(()), "whose key that is, nobody has proved");
        assert_eq!(charge("c", Kind::Write), Err(Wait::Rate(Duration::from_secs(1))));
        assert_eq!(charge_as(&accounts, "d", 2, Kind::Write, NOW).map(drop), Ok(()));
    }

    #[test]
    fn looking_takes_nothing() {
        let accounts = accounts(10);
        drop(charge_as(&accounts, "a", 1, Kind::Read, NOW));
        for _ in 0..100 {
            let found = accounts.look("a", Kind::Read, NOW).expect("a token");
            assert_eq!(found.map(|account| account.id.clone()), Some(id(1)));
        }
        assert!(charge_as(&accounts, "a", 1, Kind::Read, NOW).is_ok());
    }

    #[test]
    fn an_account_has_so_many_requests_in_progress() {
        let accounts = accounts(10);
        let charge = |key: &str, number| charge_as(&accounts, key, number, Kind::Read, NOW);
        let (first, second) = (charge("a", 1), charge("b", 1));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(charge("a", 1).map(drop), Err(Wait::InProgress));
        assert!(charge("z", 2).is_ok());
        drop(first);
        assert_ne!(charge("a", 1).map(drop), Err(Wait::InProgress));
    }

    #[test]
    fn accounts_and_keys_are_bounded() {
        let accounts = accounts(10);
        for number in 0..100 {
            for key in 0..3 {
                let _ = charge_as(&accounts, &format!("{number}-{key}"), number, Kind::Write, NOW);
                let known = accounts.known.lock().expect("not poisoned");
                assert!(known.by_key.len() <= 10 && known.by_account.len() <= 10);
            }
        }
    }

    #[test]
    fn the_idle_are_forgotten_first() {
        let accounts = accounts(10);
        let at = |number: usize, now| charge_as(&accounts, &number.to_string(), number, Kind::Write, now);
        let charge = |number: usize| at(number, NOW);
        assert!((0..6).all(|number| charge(number).is_ok()));
        let later = NOW + 60_000;
        let late = |number: usize| at(number, later);
        assert!((10..14).all(|number| late(number).is_ok()));
        assert!(late(14).is_ok(), "room is made");
        assert_eq!(late(13).map(drop), Err(Wait::Rate(Duration::from_secs(1))), "and 13 is not forgotten");
    }
}
