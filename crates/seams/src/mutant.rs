//! Engines that are broken on purpose, to see that the simulation finds them. Only with the feature `mutants`, which
//! no release can be built with.

use std::cell::Cell;

#[cfg(not(debug_assertions))]
compile_error!("the feature `mutants` breaks the engine on demand and is not for releases");

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Nobody checks whether the lease is still held before he writes.
    WritesWithoutLease,
    /// Giving a lease back overwrites a wake that came meanwhile.
    ReleaseForgetsWakes,
    /// A change set is executed before that is committed.
    ExecutesFirst,
}

thread_local! {
    static BROKEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Breaks this thread's engine in one way; with `None`, it is whole again.
pub fn break_this_thread(mutant: Option<Mutant>) {
    BROKEN.set(mutant);
}

/// Whether this thread's engine is broken in this way.
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    BROKEN.get() == Some(mutant)
}
