//! How many of something there may be at one time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::SourceAddress;

/// A number of places. Nobody waits for one: it is there at once or it is not.
#[derive(Debug, Clone)]
pub(in crate::server) struct Places {
    taken: Arc<AtomicU32>,
    all: u32,
}

impl Places {
    pub(in crate::server) fn new(all: u32) -> Self {
        Self { taken: Arc::default(), all }
    }

    /// Takes a place until it is dropped; `None` if there is none.
    pub(in crate::server) fn take(&self) -> Option<Place> {
        let free = |taken: u32| (taken < self.all).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        Some(Place(Arc::clone(&self.taken)))
    }

    /// How many are taken.
    pub(in crate::server) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(in crate::server) struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type TakenBySource = Arc<Mutex<HashMap<IpAddr, u32>>>;

/// How many of something each source may have at one time.
#[derive(Debug)]
pub(in crate::server) struct SourcePlaces {
    taken: TakenBySource,
    each: u32,
}

impl SourcePlaces {
    /// Places for any number of sources, `each` of which has at least one.
    pub(in crate::server) fn new(each: u32) -> Self {
        Self { taken: Arc::default(), each: each.max(1) }
    }

    /// Takes a place of the source's until it is dropped; `None` if it has none left. Who counts as no source always
    /// gets one.
    pub(in crate::server) fn take(&self, source: SourceAddress) -> Option<SourcePlace> {
        let Some(source) = source.counted() else { return Some(SourcePlace::of_nobody()) };
        let mut all_taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all_taken.entry(source).or_default();
        if *taken >= self.each {
            return None;
        }
        *taken += 1;
        Some(SourcePlace(Some((source, Arc::clone(&self.taken)))))
    }

    /// Nobody is kept in mind.
    #[cfg(test)]
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.taken.lock().expect("not poisoned").is_empty()
    }
}

/// A place of a source's that is taken.
#[derive(Debug)]
pub(in crate::server) struct SourcePlace(Option<(IpAddr, TakenBySource)>);

impl SourcePlace {
    /// That of whoever counts as no source.
    pub(in crate::server) fn of_nobody() -> Self {
        Self(None)
    }
}

impl Drop for SourcePlace {
    fn drop(&mut self) {
        let Some((source, taken)) = &self.0 else { return };
        let mut all_taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all_taken.get_mut(source) {
            *taken -= 1;
            if *taken == 0 {
                all_taken.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
    }

    #[test]
    fn each_source_has_places_of_its_own_and_is_forgotten_when_it_leaves_them() {
        let places = SourcePlaces::new(2);
        let take = |address: &str| places.take(SourceAddress(address.parse().expect("an address")));
        let held = [take("192.0.2.1"), take("::ffff:192.0.2.1"), take("192.0.2.2")];
        assert!(held.iter().all(Option::is_some) && take("192.0.2.1").is_none());
        assert!([take("::1"), take("::1"), take("::1")].iter().all(Option::is_some), "loopback is no source");
        drop(held);
        assert!(take("192.0.2.1").is_some());
        assert!(places.is_empty());
    }
}
