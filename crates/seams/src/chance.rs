//! Chance: ids that are unique, and the jitter that spreads retries.
//!
//! A simulation seeds the one thread it runs on, and the same seed then makes the same ids and the same waits. What
//! must be unguessable (keys, nonces) does not come from here.

use std::cell::RefCell;

use uuid::{Builder, Uuid};

thread_local! {
    static SEEDED: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// From now on, what this thread draws follows from `seed` alone; with `None`, it is the system's chance again.
///
/// Only a simulation does this, with everything that draws on its own thread.
pub fn seed_this_thread(seed: Option<u64>) {
    SEEDED.set(seed.map(fastrand::Rng::with_seed));
}

/// An id that nobody had before.
#[must_use]
pub fn uuid() -> Uuid {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        None => Uuid::new_v4(),
        Some(chance) => Builder::from_random_bytes(chance.u128(..).to_be_bytes()).into_uuid(),
    })
}

/// A number from 0 up to 1 that spreads what would come at the same time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that draws jitter")]
pub fn jitter() -> f64 {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        None => fastrand::f64(),
        Some(chance) => chance.f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            seed_this_thread(Some(seed));
            let drawn = (uuid(), jitter(), uuid());
            seed_this_thread(None);
            drawn
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(uuid(), uuid(), "and without one, nobody knows");
        assert!((0.0..1.0).contains(&jitter()));
        let (first, _, second) = draw(7);
        assert!(first != second && first.get_version_num() == 4);
    }
}
