//! Chance: ids that are unique.
//!
//! A simulation seeds the one thread it runs on, and the same seed then makes the same ids. What must be unguessable
//! (keys, nonces) does not come from here; the jitter that spreads retries is that of [`crate::Outside`].

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

/// Bytes of the system's chance that are asked for at once: a system call for each id costs more than the id.
const DRAWN: usize = 16 * 64;

thread_local! {
    /// What is left of the bytes that were drawn last, and where it begins.
    static LEFT: RefCell<([u8; DRAWN], usize)> = const { RefCell::new(([0; DRAWN], DRAWN)) };
}

fn drawn() -> Uuid {
    LEFT.with_borrow_mut(|(bytes, begin)| {
        if *begin == DRAWN {
            if getrandom::fill(bytes).is_err() {
                return Uuid::new_v4();
            }
            *begin = 0;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[*begin..*begin + 16]);
        *begin += 16;
        Builder::from_random_bytes(id).into_uuid()
    })
}

/// An id that nobody had before.
#[must_use]
pub fn uuid() -> Uuid {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        None => drawn(),
        Some(chance) => Builder::from_random_bytes(chance.u128(..).to_be_bytes()).into_uuid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            seed_this_thread(Some(seed));
            let drawn = (uuid(), uuid());
            seed_this_thread(None);
            drawn
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(ids.len(), 1000, "and without one, nobody knows");
        let (first, second) = draw(7);
        assert!(first != second && first.get_version_num() == 4);
    }
}
