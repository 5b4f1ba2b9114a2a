//! Fault plans: what goes wrong at which commit or outside call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use syncline_seams::{FaultPlan, Injected, Moment};

/// A passing of a fault point.
pub type Passing = (&'static str, Moment);

/// Lets everything pass and remembers it; breaks one passing if told which.
#[derive(Debug, Default)]
pub struct Recorder {
    passings: Mutex<Vec<Passing>>,
    broken: Mutex<Option<(usize, Injected)>>,
    held: AtomicBool,
}

impl Recorder {
    /// Breaks the passing with this index, counted from the start.
    #[must_use]
    pub fn breaking(index: usize, how: Injected) -> Self {
        Self {
            passings: Mutex::default(),
            broken: Mutex::new(Some((index, how))),
            held: AtomicBool::new(false),
        }
    }

    /// Lets everything pass unseen until [`Recorder::resume`].
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Ends [`Recorder::hold`].
    pub fn resume(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Every passing so far.
    #[must_use]
    pub fn passings(&self) -> Vec<Passing> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Passing>> {
        self.passings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultPlan for Recorder {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        if self.held.load(Ordering::SeqCst) {
            return None;
        }
        let mut passings = self.lock();
        let index = passings.len();
        passings.push((point, moment));
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.filter(|(at, _)| *at == index).map(|(_, how)| how)
    }
}
