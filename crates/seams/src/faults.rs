use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{FaultPlan, Injected, Moment, Outside};

/// A fault plan that can be changed while the world runs; for tests. It also remembers which points were
/// reached, so that a sweep can fail each of them in turn.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    /// Counts down with every point; the fault strikes at zero.
    until: Option<usize>,
    seen: Vec<(&'static str, Moment)>,
    struck: usize,
}

#[derive(Debug)]
struct Rule {
    point: String,
    moment: Moment,
    injected: Injected,
    times: usize,
}

impl Faults {
    /// A plan in which nothing goes wrong yet.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    /// Outside calls that fail as this plan says.
    #[must_use]
    pub fn outside(self: &Arc<Self>) -> Outside {
        let plan: Arc<dyn FaultPlan> = Arc::<Self>::clone(self);
        Outside::with_faults(plan)
    }

    /// Fails the next passing of a named point, such as `store.create_link`, once.
    pub fn fail(&self, point: &str, moment: Moment) {
        self.inject(point, moment, Injected::Fail, 1);
    }

    /// Injects a fault into the next `times` passings of a named point.
    pub fn inject(&self, point: &str, moment: Moment, injected: Injected, times: usize) {
        self.lock().rules.push(Rule { point: point.to_owned(), moment, injected, times });
    }

    /// Fails the `nth` point from now, whatever its name; 0 is the next one. Before and after a call are two
    /// points.
    pub fn fail_nth(&self, nth: usize) {
        self.lock().until = Some(nth);
    }

    /// From now on nothing goes wrong, and what was seen is forgotten.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    /// The points that were reached, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<(&'static str, Moment)> {
        self.lock().seen.clone()
    }

    /// How many faults have struck.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.lock().struck
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultPlan for Faults {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        let mut state = self.lock();
        state.seen.push((point, moment));
        let by_count = match state.until {
            Some(0) => {
                state.until = None;
                Some(Injected::Fail)
            }
            Some(left) => {
                state.until = Some(left - 1);
                None
            }
            None => None,
        };
        let rule = state
            .rules
            .iter_mut()
            .find(|rule| rule.times > 0 && rule.point == point && rule.moment == moment);
        let by_name = rule.map(|rule| {
            rule.times -= 1;
            rule.injected
        });
        let injected = by_count.or(by_name);
        state.struck += usize::from(injected.is_some());
        injected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_point_fails_as_often_as_asked() {
        let faults = Faults::none();
        faults.fail("store.x", Moment::After);
        faults.inject("git.heads", Moment::Before, Injected::TimeOut, 2);
        let at = |point, moment| faults.at(point, moment);
        assert_eq!(at("store.x", Moment::Before), None);
        assert_eq!(at("store.x", Moment::After), Some(Injected::Fail));
        assert_eq!(at("store.x", Moment::After), None);
        assert_eq!(at("git.heads", Moment::Before), Some(Injected::TimeOut));
        assert_eq!(at("git.heads", Moment::Before), Some(Injected::TimeOut));
        assert_eq!(at("git.heads", Moment::Before), None);
        assert_eq!((faults.struck(), faults.seen().len()), (3, 6));
    }

    #[test]
    fn the_nth_point_fails_once_whatever_its_name() {
        let faults = Faults::none();
        faults.fail_nth(2);
        let struck: Vec<_> = (0..5).map(|_| faults.at("store.x", Moment::Before).is_some()).collect();
        assert_eq!(struck, [false, false, true, false, false]);
        faults.clear();
        assert_eq!((faults.struck(), faults.seen().len()), (0, 0));
    }
}
