//! What goes wrong on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a resource fails at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceVerb {
    /// Being created.
    Create,
    /// Being updated.
    Update,
    /// Being deleted.
    Delete,
    /// Being put back after a failed update; leaves the stack in `UPDATE_ROLLBACK_FAILED`.
    Rollback,
}

impl ResourceVerb {
    /// The word of its statuses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update | Self::Rollback => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// What happens to a call instead of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// `Throttling`, before any effect.
    Throttle,
    /// `InternalFailure` (500), before any effect.
    InternalFailure,
    /// `AccessDenied`, before any effect.
    AccessDenied,
    /// No answer ever, and no effect.
    HangBefore,
    /// The effect, and no answer ever.
    HangAfter,
    /// The connection is closed before any effect.
    DropBefore,
    /// The effect, and the connection is closed without an answer.
    LoseAnswer,
    /// Any other error, before any effect.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: String,
        /// The message.
        message: String,
    },
}

/// How often a [`CallFault`] happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next so many calls.
    Next(u32),
    /// Every so-many-th call, beginning with the first.
    Every(u32),
    /// Every call until [`crate::Faults::clear`].
    Always,
}

/// What resources do differently.
#[derive(Debug, Default)]
pub(crate) struct ResourceFaults {
    /// By stack name (`*` for any), logical id and verb: the reason.
    failing: BTreeMap<(String, String, ResourceVerb), String>,
    /// By logical id.
    slow: BTreeMap<String, Duration>,
    /// By stack name: why the creation of its next change set fails.
    change_sets: BTreeMap<String, String>,
}

impl ResourceFaults {
    pub(crate) fn fail(&mut self, stack: &str, logical_id: &str, verb: ResourceVerb, reason: &str) {
        self.failing.insert((stack.to_owned(), logical_id.to_owned(), verb), reason.to_owned());
    }

    pub(crate) fn fail_change_set(&mut self, stack: &str, reason: &str) {
        self.change_sets.insert(stack.to_owned(), reason.to_owned());
    }

    pub(crate) fn change_set_failure(&self, stack: &str) -> Option<String> {
        self.change_sets.get(stack).or_else(|| self.change_sets.get("*")).cloned()
    }

    pub(crate) fn heal(&mut self, logical_id: &str) {
        self.failing.retain(|(_, id, _), _| id != logical_id);
        self.slow.remove(logical_id);
    }

    pub(crate) fn slow(&mut self, logical_id: &str, latency: Duration) {
        self.slow.insert(logical_id.to_owned(), latency);
    }

    pub(crate) fn failure(&self, stack: &str, logical_id: &str, verb: ResourceVerb) -> Option<String> {
        [stack, "*"]
            .iter()
            .find_map(|stack| self.failing.get(&((*stack).to_owned(), logical_id.to_owned(), verb)).cloned())
    }

    /// Milliseconds.
    pub(crate) fn latency(&self, logical_id: &str, usual: Duration) -> i64 {
        let latency = self.slow.get(logical_id).copied().unwrap_or(usual);
        i64::try_from(latency.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What AssumeRole demands.
#[derive(Debug, Default)]
pub(crate) struct RoleFaults {
    /// Roles nobody may assume.
    pub(crate) denied: BTreeSet<String>,
    /// Roles that need this external id.
    pub(crate) external_ids: BTreeMap<String, String>,
}

/// A rule about calls.
#[derive(Debug)]
struct Rule {
    /// An action, or `*`.
    action: String,
    fault: CallFault,
    times: Times,
    seen: u32,
}

/// All rules about calls, first match wins.
#[derive(Debug, Default)]
pub(crate) struct CallFaults {
    rules: Vec<Rule>,
    /// By account: calls a second, the second and how many calls it has had.
    rates: BTreeMap<String, (u32, i64, u32)>,
}

impl CallFaults {
    pub(crate) fn limit(&mut self, account: &str, calls_per_second: u32) {
        self.rates.insert(account.to_owned(), (calls_per_second, 0, 0));
    }

    /// Whether a call of the account is one more than it may make in this second.
    pub(crate) fn is_beyond_rate(&mut self, account: &str, now_ms: i64) -> bool {
        let Some((limit, second, calls)) = self.rates.get_mut(account) else { return false };
        if *second != now_ms / 1000 {
            (*second, *calls) = (now_ms / 1000, 0);
        }
        *calls += 1;
        *calls > *limit
    }

    pub(crate) fn add(&mut self, action: &str, fault: CallFault, times: Times) {
        self.rules.push(Rule { action: action.to_owned(), fault, times, seen: 0 });
    }

    /// The fault of this call, if it has one.
    pub(crate) fn of_call(&mut self, action: &str) -> Option<CallFault> {
        let mut hit = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.action == "*" || rule.action == action) {
            rule.seen += 1;
            let applies = match rule.times {
                Times::Next(n) => rule.seen <= n,
                Times::Every(n) => (rule.seen - 1).is_multiple_of(n.max(1)),
                Times::Always => true,
            };
            if applies {
                hit = Some(rule.fault.clone());
                break;
            }
        }
        self.rules.retain(|rule| !matches!(rule.times, Times::Next(n) if rule.seen >= n));
        hit
    }
}
