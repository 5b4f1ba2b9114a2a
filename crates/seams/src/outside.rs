use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

/// Before or after the effect of a commit or an outside call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// The other side has done its work, but nobody here knows.
    After,
}

/// What a fault plan wants to happen at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    /// The connection fails at this moment.
    Fail,
    /// The other side does not answer within the call's timeout.
    TimeOut,
}

/// Decides what goes wrong, where. A plan that kills the process does so inside [`FaultPlan::at`].
pub trait FaultPlan: Debug + Send + Sync {
    /// Asked before and after every commit and every outside call, each of which has a stable name such as
    /// `store.begin_attempt` or `cloudformation.ExecuteChangeSet`. `None` lets it pass.
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected>;
}

/// Nothing goes wrong that the world does not do by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl FaultPlan for NoFaults {
    fn at(&self, _point: &'static str, _moment: Moment) -> Option<Injected> {
        None
    }
}

/// Why an outside call has no answer, beyond what the other side itself says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// No answer within the call's timeout; the effect may or may not have happened.
    #[error("{point} did not answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// The name of the call.
        point: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// A fault plan broke the call.
    #[error("{point} was interrupted by an injected fault ({moment:?})")]
    Injected {
        /// The name of the call.
        point: &'static str,
        /// Whether the effect has happened.
        moment: Moment,
    },
    /// The connection ended before the answer came; the effect may or may not have happened.
    #[error("the connection was lost during {point}: {reason}")]
    Lost {
        /// The name of the call.
        point: &'static str,
        /// Why.
        reason: String,
    },
}

/// The only way to commit or to call somebody else: holds the fault points, the timeouts, and the chance that spreads
/// what is tried again.
#[derive(Debug, Clone)]
pub struct Outside {
    plan: Arc<dyn FaultPlan>,
    chance: Arc<Mutex<fastrand::Rng>>,
}

impl Default for Outside {
    fn default() -> Self {
        Self::with_faults(Arc::new(NoFaults))
    }
}

impl Outside {
    /// Calls that fail as `plan` says.
    #[must_use]
    pub fn with_faults(plan: Arc<dyn FaultPlan>) -> Self {
        Self { plan, chance: Arc::new(Mutex::new(fastrand::Rng::new())) }
    }

    /// The same with the jitter that follows from `seed`: a simulation that is run again has the same delays.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { chance: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))), ..self }
    }

    /// A number from 0 to 1 by which delays differ, so that those who failed together do not come back together.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    /// Makes one outside call named `point`, bounded by `timeout`.
    ///
    /// # Errors
    /// Whatever the call itself answers, or [`CallError`] as `E` when it was cut short.
    #[expect(clippy::disallowed_methods, reason = "the one place that bounds outside calls")]
    pub async fn call<T, E>(
        &self,
        point: &'static str,
        timeout: Duration,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: From<CallError>,
    {
        self.check(point, Moment::Before, timeout)?;
        let answer = tokio::time::timeout(timeout, call)
            .await
            .map_err(|_| CallError::TimedOut { point, after: timeout })?;
        self.check(point, Moment::After, timeout)?;
        answer
    }

    /// The fault point on one side of a step that cannot time out by itself, such as a database commit.
    ///
    /// # Errors
    /// [`CallError::Injected`] (or `TimedOut`, with a zero duration) when the plan says so.
    pub fn point(&self, point: &'static str, moment: Moment) -> Result<(), CallError> {
        self.check(point, moment, Duration::ZERO)
    }

    fn check(&self, point: &'static str, moment: Moment, timeout: Duration) -> Result<(), CallError> {
        match self.plan.at(point, moment) {
            None => Ok(()),
            Some(Injected::Fail) => Err(CallError::Injected { point, moment }),
            Some(Injected::TimeOut) => Err(CallError::TimedOut { point, after: timeout }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_jitter_and_clones_share_it() {
        let of = |seed| {
            let outside = Outside::default().seeded(seed);
            let clone = outside.clone();
            [outside.jitter(), clone.jitter(), outside.jitter()]
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        assert!(of(7).windows(2).all(|pair| pair[0] != pair[1]), "{:?}", of(7));
    }
}
