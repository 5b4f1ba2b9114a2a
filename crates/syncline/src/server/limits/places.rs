//! How many of something there may be at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
}
