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

/// Fails every call of one point before its effect, while it is switched on.
#[derive(Debug)]
pub struct Switch {
    point: &'static str,
    on: AtomicBool,
}

impl Switch {
    /// A switch for `point`, off at first.
    #[must_use]
    pub fn of(point: &'static str) -> Self {
        Self { point, on: AtomicBool::new(false) }
    }

    /// From now on, calls of the point fail, or do not.
    pub fn turn(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }
}

impl FaultPlan for Switch {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        (point == self.point && moment == Moment::Before && self.on.load(Ordering::SeqCst))
            .then_some(Injected::Fail)
    }
}

/// The passing of a fault point at which a process is to die: `<point>:<before|after>:<N>`, N counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deadly {
    /// The point.
    pub point: String,
    /// Before or after.
    pub moment: Moment,
    /// The how-manyeth passing of this point at this moment since the process began.
    pub nth: u32,
}

impl Deadly {
    /// The word for a moment.
    #[must_use]
    pub fn moment_name(moment: Moment) -> &'static str {
        match moment {
            Moment::Before => "before",
            Moment::After => "after",
        }
    }

    /// Whether this is the `nth` passing of `point` at `moment`.
    #[must_use]
    pub fn is(&self, point: &str, moment: Moment, nth: u32) -> bool {
        self.point == point && self.moment == moment && self.nth == nth
    }
}

impl std::fmt::Display for Deadly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.point, Self::moment_name(self.moment), self.nth)
    }
}

impl std::str::FromStr for Deadly {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (rest, nth) = text.rsplit_once(':')?;
            let (point, moment) = rest.rsplit_once(':')?;
            let moments = [Moment::Before, Moment::After];
            let moment = moments.into_iter().find(|&known| Self::moment_name(known) == moment)?;
            Some(Self { point: point.to_owned(), moment, nth: nth.parse().ok()? })
        };
        parsed().ok_or_else(|| format!("'{text}' is not <point>:<before|after>:<N>"))
    }
}
