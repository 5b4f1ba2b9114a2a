//! Every decision about a sync: what to look at, and what to do about what is seen.
//!
//! The worker asks [`look`] what must be observed, observes it, and asks [`next_step`] what to do. Both are
//! pure: the same values give the same answer. A call that failed goes to [`after_trouble`].

use crate::sync::BlockerKind;

/// What a sync wants: the observed head it is to follow and the generation of its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The branch's count of observed heads: order of observation, not of ancestry.
    pub seq: i64,
    /// Counts configuration changes, resolved blockers and sync-now.
    pub generation: i64,
}

/// How far an open attempt has come; committed before the outside call that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was sent.
    Opened,
    /// The change set of the current plan number may exist.
    Planning,
    /// The change set of the current plan number may have been executed.
    Executing,
    /// The change set of the current plan number is to be seen gone.
    Abandoning,
}

impl Phase {
    /// The text under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "OPENED",
            Self::Planning => "PLANNING",
            Self::Executing => "EXECUTING",
            Self::Abandoning => "ABANDONING",
        }
    }

    /// The phase of a stored text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Opened, Self::Planning, Self::Executing, Self::Abandoning]
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }
}

/// The attempt that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// What it was opened for.
    pub wanted: Wanted,
    /// How far it has come.
    pub phase: Phase,
    /// Whether the current plan's change set was seen to exist.
    pub change_set_seen: bool,
}

/// What the store says of one sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The configuration's generation.
    pub generation: i64,
    /// The configuration is deleted and only drained.
    pub deleted: bool,
    /// The newest revision that wants to be synced.
    pub desired: Option<Wanted>,
    /// The attempt that has not ended.
    pub open: Option<Open>,
    /// What the newest ended attempt was opened for, unless it was given up.
    pub newest: Option<Wanted>,
    /// A blocker stands that only an operator ends.
    pub held: bool,
    /// A sync has made or updated the stack before, so it ought to exist.
    pub knows_stack: bool,
    /// A deleted configuration of the same stack still drains.
    pub predecessor: bool,
    /// The operator told it, or its account, to rest.
    pub suspended: bool,
}

impl Recorded {
    fn superseded(&self, open: &Open) -> bool {
        self.deleted
            || self.suspended
            || self.generation != open.wanted.generation
            || self.desired.is_some_and(|desired| desired.seq > open.wanted.seq)
    }
}

/// What must be observed before the next decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The records are enough.
    Nothing,
    /// The files at the revision, then the stack.
    FilesAndStack,
    /// The current plan's change set.
    ChangeSet,
    /// The current plan's change set, the stack and its events.
    Execution,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing was looked at.
    Nothing,
    /// The stack.
    Stack(StackSeen),
    /// The current plan's change set.
    ChangeSet(ChangeSetSeen),
    /// An execution.
    Execution {
        /// The current plan's change set.
        change_set: ChangeSetSeen,
        /// The stack.
        stack: StackSeen,
        /// Whether any event of the stack carries our token: the execution has begun.
        began: bool,
        /// How the execution with our token ended, if the stack's events tell.
        outcome: Option<Outcome>,
    },
}

/// A stack, as far as decisions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackSeen {
    /// There is none, or it was deleted.
    Missing,
    /// `REVIEW_IN_PROGRESS`: a change set was made for it, nothing else.
    Review,
    /// A status that a change set can start from (contract §6).
    Settled {
        /// The newest change of it was rolled back.
        rolled_back: bool,
    },
    /// Being changed.
    Changing,
    /// A status that no change set can leave.
    Stuck {
        /// The status, as CloudFormation names it.
        status: String,
    },
}

/// A change set, as far as decisions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeSetSeen {
    /// There is none.
    Missing,
    /// Being made or deleted.
    Pending,
    /// It can be executed.
    Ready,
    /// It failed because there is nothing to do.
    NoChanges,
    /// It failed.
    Failed {
        /// CloudFormation's reason.
        reason: String,
    },
    /// It can never be executed: the stack was changed since.
    Obsolete,
    /// Being executed.
    Executing,
    /// Executed, well or not.
    Executed,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The stack is at the revision.
    Applied,
    /// The stack was rolled back or deleted.
    Failed {
        /// CloudFormation's reason, naming the failing logical id where it is known.
        reason: String,
    },
}

/// Whether a change set makes the stack or updates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSetKind {
    /// The stack does not exist.
    Create,
    /// It does.
    Update,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something makes the sync due.
    Rest,
    /// The deleted configuration has nothing open: forget it.
    Forget,
    /// Open an attempt for the desired revision.
    Open,
    /// Record the next plan number and ask for its change set.
    Plan(ChangeSetKind),
    /// Ask once more for the change set of the current plan number.
    AskAgain,
    /// Record the execution and execute the change set.
    Execute,
    /// Look again soon.
    Watch(Waiting),
    /// Delete the change set; it must be seen gone.
    Abandon,
    /// Go back to looking at the stack, for the next plan number.
    Replan,
    /// End the attempt: the stack is at the revision.
    Succeed {
        /// There was nothing to change.
        nothing_to_do: bool,
    },
    /// End the attempt and raise a blocker.
    Fail {
        /// The blocker's kind.
        blocker: BlockerKind,
        /// For people.
        reason: String,
    },
    /// End the attempt: something newer follows.
    Supersede,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody else's change of the stack.
    StackBusy,
    /// The change set.
    ChangeSet,
    /// The execution.
    Execution,
}

/// What must be observed before [`next_step`] can decide.
#[must_use]
pub fn look(recorded: &Recorded) -> Look {
    let Some(open) = &recorded.open else { return Look::Nothing };
    match open.phase {
        Phase::Opened if recorded.superseded(open) => Look::Nothing,
        Phase::Opened => Look::FilesAndStack,
        // The change set is deleted whatever it looks like; no need to ask first.
        Phase::Planning if recorded.superseded(open) => Look::Nothing,
        Phase::Planning | Phase::Abandoning => Look::ChangeSet,
        Phase::Executing => Look::Execution,
    }
}

/// What to do, given what is recorded and what was seen.
#[must_use]
pub fn next_step(recorded: &Recorded, seen: &Seen) -> Step {
    let Some(open) = &recorded.open else { return without_attempt(recorded) };
    let superseded = recorded.superseded(open);
    match (open.phase, seen) {
        (Phase::Opened, _) if superseded => Step::Supersede,
        (Phase::Opened, Seen::Stack(stack)) => start_from(recorded, stack),
        (Phase::Planning, _) if superseded => Step::Abandon,
        (Phase::Planning, Seen::ChangeSet(change_set)) => with_plan(open, change_set),
        (Phase::Abandoning, Seen::ChangeSet(change_set)) => match change_set {
            ChangeSetSeen::Missing if superseded => Step::Supersede,
            ChangeSetSeen::Missing => Step::Replan,
            // Somebody executed it by hand: it is watched to its end like our own.
            ChangeSetSeen::Executing | ChangeSetSeen::Executed => Step::Execute,
            _ => Step::Abandon,
        },
        (Phase::Executing, Seen::Execution { change_set, stack, began, outcome }) => {
            while_executing(change_set, stack, *began, outcome.as_ref())
        }
        // What was seen does not fit the phase: look again.
        (Phase::Opened, _) => Step::Watch(Waiting::StackBusy),
        (Phase::Planning | Phase::Abandoning, _) => Step::Watch(Waiting::ChangeSet),
        (Phase::Executing, _) => Step::Watch(Waiting::Execution),
    }
}

fn without_attempt(recorded: &Recorded) -> Step {
    if recorded.deleted {
        return Step::Forget;
    }
    match recorded.desired {
        Some(desired)
            if recorded.newest != Some(desired)
                // A desired revision of an older configuration is about to be replaced by the branch's worker.
                && desired.generation == recorded.generation
                && !recorded.suspended
                && !recorded.held
                && !recorded.predecessor =>
        {
            Step::Open
        }
        _ => Step::Rest,
    }
}

fn start_from(recorded: &Recorded, stack: &StackSeen) -> Step {
    match stack {
        StackSeen::Missing if recorded.knows_stack => Step::Fail {
            blocker: BlockerKind::StackDeleted,
            reason: "the stack was deleted by someone else".to_owned(),
        },
        StackSeen::Missing | StackSeen::Review => Step::Plan(ChangeSetKind::Create),
        StackSeen::Settled { .. } => Step::Plan(ChangeSetKind::Update),
        StackSeen::Changing => Step::Watch(Waiting::StackBusy),
        StackSeen::Stuck { status } => Step::Fail {
            blocker: BlockerKind::StackStuck,
            reason: format!("the stack is in status {status}, which no change set can leave"),
        },
    }
}

fn with_plan(open: &Open, change_set: &ChangeSetSeen) -> Step {
    match change_set {
        // Asked for, but not there: the request was lost, or somebody deleted it.
        ChangeSetSeen::Missing if open.change_set_seen => Step::Replan,
        ChangeSetSeen::Missing => Step::AskAgain,
        ChangeSetSeen::Pending => Step::Watch(Waiting::ChangeSet),
        ChangeSetSeen::Ready | ChangeSetSeen::Executing | ChangeSetSeen::Executed => Step::Execute,
        ChangeSetSeen::NoChanges => Step::Succeed { nothing_to_do: true },
        ChangeSetSeen::Failed { reason } => {
            Step::Fail { blocker: BlockerKind::ChangeSetFailed, reason: reason.clone() }
        }
        ChangeSetSeen::Obsolete => Step::Abandon,
    }
}

fn while_executing(
    change_set: &ChangeSetSeen,
    stack: &StackSeen,
    began: bool,
    outcome: Option<&Outcome>,
) -> Step {
    match (outcome, change_set, stack) {
        (Some(Outcome::Applied), ..) => Step::Succeed { nothing_to_do: false },
        (Some(Outcome::Failed { reason }), ..) => {
            Step::Fail { blocker: BlockerKind::ExecutionFailed, reason: reason.clone() }
        }
        // Recorded but not visible: we died in between. The token makes a second call harmless.
        (None, ChangeSetSeen::Ready, _) => Step::Execute,
        (None, ChangeSetSeen::Executing | ChangeSetSeen::Pending, _) | (None, _, StackSeen::Changing) => {
            Step::Watch(Waiting::Execution)
        }
        // No event carries our token, and the change set cannot say: it never was executed.
        // A stack that is gone as well is for the next plan to judge.
        (
            None,
            ChangeSetSeen::Missing,
            StackSeen::Settled { .. } | StackSeen::Review | StackSeen::Missing,
        ) if !began => Step::Replan,
        (None, ChangeSetSeen::Obsolete | ChangeSetSeen::NoChanges, _) => Step::Abandon,
        (None, ChangeSetSeen::Executed, StackSeen::Settled { rolled_back: false }) => {
            Step::Succeed { nothing_to_do: false }
        }
        (None, _, StackSeen::Missing) => Step::Fail {
            blocker: BlockerKind::ExecutionFailed,
            reason: "the stack was deleted while the change set was executed".to_owned(),
        },
        (None, _, StackSeen::Stuck { status }) => Step::Fail {
            blocker: BlockerKind::ExecutionFailed,
            reason: format!("the execution left the stack in status {status}"),
        },
        // It was executed, and whoever took the change set away ended that too.
        (None, ChangeSetSeen::Missing, StackSeen::Settled { .. } | StackSeen::Review) => Step::Fail {
            blocker: BlockerKind::ExecutionFailed,
            reason: "somebody else changed the stack while the change set was executed".to_owned(),
        },
        (None, ChangeSetSeen::Failed { reason }, _) => {
            Step::Fail { blocker: BlockerKind::ExecutionFailed, reason: reason.clone() }
        }
        (None, ChangeSetSeen::Executed, StackSeen::Settled { rolled_back: true } | StackSeen::Review) => {
            Step::Fail {
                blocker: BlockerKind::ExecutionFailed,
                reason: "the execution failed and was rolled back".to_owned(),
            }
        }
    }
}

/// Why an observation or a step could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The content is wrong: trying the same again is of no use.
    Refused {
        /// The blocker to raise.
        blocker: BlockerKind,
        /// For people.
        reason: String,
    },
    /// It may work later.
    Outage {
        /// The blocker to raise once the limit is reached.
        blocker: BlockerKind,
        /// For people.
        reason: String,
        /// What the other side asked us to wait, in milliseconds. That it asked at all, if only by refusing one
        /// request of many, means that it wants fewer.
        retry_after_ms: Option<i64>,
    },
    /// The commit is not given out any more, as after a force-push: only another head can be read.
    Gone {
        /// For people.
        reason: String,
    },
}

impl Trouble {
    /// What it is, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } | Self::Outage { reason, .. } | Self::Gone { reason } => reason,
        }
    }
}

/// What follows a trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterTrouble {
    /// End the attempt and raise a blocker.
    Fail {
        /// The blocker's kind.
        blocker: BlockerKind,
        /// For people.
        reason: String,
    },
    /// End the attempt without a blocker: the configuration it belongs to is not the one in force any more.
    GiveUp {
        /// For people.
        reason: String,
    },
    /// Give the attempt's commit up and read the branch again, whatever of it changed.
    ReadAgain {
        /// For people.
        reason: String,
    },
    /// Try again.
    Retry {
        /// After so many milliseconds.
        delay_ms: i64,
        /// The blocker to raise now, if the limit is reached.
        blocker: Option<BlockerKind>,
        /// For people.
        reason: String,
    },
}

/// Failures in a row after which an outage becomes a blocker.
pub const OUTAGE_LIMIT: i64 = 5;
/// The longest time between two tries, in milliseconds (contract §5: probed at least every 15 minutes).
pub const LONGEST_DELAY_MS: i64 = 15 * 60 * 1000;

/// What to do about a trouble, after `failures` failures in a row before it; `jitter` is 0 to 1.
///
/// `replaced` says that the attempt belongs to a configuration that was changed or deleted since. Such an
/// attempt is watched to its end with its old role, but not for ever once that role lets nobody in: nobody
/// would mend it, and what replaces it waits.
#[must_use]
pub fn after_trouble(trouble: &Trouble, failures: i64, jitter: f64, replaced: bool) -> AfterTrouble {
    match trouble {
        Trouble::Outage {
            blocker: BlockerKind::RoleNotAssumable | BlockerKind::AccessDenied,
            reason,
            ..
        } if replaced && failures + 1 >= OUTAGE_LIMIT => AfterTrouble::GiveUp { reason: reason.clone() },
        Trouble::Gone { reason } => AfterTrouble::ReadAgain { reason: reason.clone() },
        Trouble::Refused { blocker, reason } => {
            AfterTrouble::Fail { blocker: *blocker, reason: reason.clone() }
        }
        Trouble::Outage { blocker, reason, retry_after_ms } => {
            // A refusal that a person must mend is shown at once; silence gets the benefit of the doubt.
            let patient =
                matches!(blocker, BlockerKind::TargetUnavailable | BlockerKind::RepositoryUnavailable);
            let limit = if patient { OUTAGE_LIMIT } else { 1 };
            AfterTrouble::Retry {
                delay_ms: backoff_ms(failures, jitter).max(retry_after_ms.unwrap_or(0)).min(LONGEST_DELAY_MS),
                blocker: (failures + 1 >= limit).then_some(*blocker),
                reason: reason.clone(),
            }
        }
    }
}

/// The delay before the next try, in milliseconds, after `failures` failures in a row: 1 s doubled each
/// time, up to [`LONGEST_DELAY_MS`], of which a tenth at most is taken off by `jitter` (0 to 1).
#[must_use]
pub fn backoff_ms(failures: i64, jitter: f64) -> i64 {
    let doublings = u32::try_from(failures.clamp(0, 20)).unwrap_or(20);
    let full = 1000_i64.saturating_mul(1 << doublings).min(LONGEST_DELAY_MS);
    #[expect(clippy::cast_possible_truncation, reason = "at most a tenth of 15 minutes")]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let off = (full as f64 * 0.1 * jitter.clamp(0.0, 1.0)) as i64;
    full - off
}

/// The delay before a change set or a stack is looked at again, in milliseconds: a quarter of the time
/// already waited, between 200 ms and 5 s.
#[must_use]
pub fn poll_delay_ms(waited_ms: i64) -> i64 {
    (waited_ms / 4).clamp(200, 5000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(seq: i64) -> Wanted {
        Wanted { seq, generation: 1 }
    }

    fn at_rest() -> Recorded {
        Recorded {
            generation: 1,
            deleted: false,
            desired: Some(wanted(1)),
            open: None,
            newest: Some(wanted(1)),
            held: false,
            knows_stack: true,
            predecessor: false,
            suspended: false,
        }
    }

    fn in_phase(phase: Phase) -> Recorded {
        Recorded {
            open: Some(Open { wanted: wanted(2), phase, change_set_seen: false }),
            desired: Some(wanted(2)),
            ..at_rest()
        }
    }

    #[test]
    fn an_attempt_opens_only_when_something_new_is_wanted() {
        let rest = at_rest();
        let check = |recorded: Recorded, step: Step| {
            assert_eq!(look(&recorded), Look::Nothing);
            assert_eq!(next_step(&recorded, &Seen::Nothing), step, "{recorded:?}");
        };
        check(rest, Step::Rest);
        check(Recorded { desired: None, ..rest }, Step::Rest);
        check(Recorded { desired: Some(wanted(2)), ..rest }, Step::Open);
        check(Recorded { newest: None, ..rest }, Step::Open);
        check(Recorded { desired: Some(wanted(2)), held: true, ..rest }, Step::Rest);
        check(Recorded { desired: Some(wanted(2)), predecessor: true, ..rest }, Step::Rest);
        check(Recorded { desired: Some(wanted(2)), suspended: true, ..rest }, Step::Rest);
        check(Recorded { deleted: true, suspended: true, ..rest }, Step::Forget);
        check(Recorded { desired: Some(wanted(2)), generation: 2, ..rest }, Step::Rest);
        check(
            Recorded { desired: Some(Wanted { seq: 1, generation: 2 }), generation: 2, ..rest },
            Step::Open,
        );
        check(Recorded { deleted: true, ..rest }, Step::Forget);
    }

    #[test]
    fn the_stack_decides_how_an_attempt_starts() {
        let opened = in_phase(Phase::Opened);
        assert_eq!(look(&opened), Look::FilesAndStack);
        let fresh = Recorded { knows_stack: false, ..opened };
        let check = |recorded: &Recorded, stack: StackSeen, is: fn(&Step) -> bool| {
            let step = next_step(recorded, &Seen::Stack(stack.clone()));
            assert!(is(&step), "{stack:?} gave {step:?}");
        };
        check(&fresh, StackSeen::Missing, |s| *s == Step::Plan(ChangeSetKind::Create));
        check(&fresh, StackSeen::Review, |s| *s == Step::Plan(ChangeSetKind::Create));
        check(&opened, StackSeen::Missing, |s| {
            matches!(s, Step::Fail { blocker: BlockerKind::StackDeleted, .. })
        });
        check(&opened, StackSeen::Settled { rolled_back: true }, |s| *s == Step::Plan(ChangeSetKind::Update));
        check(&opened, StackSeen::Changing, |s| *s == Step::Watch(Waiting::StackBusy));
        check(
            &opened,
            StackSeen::Stuck { status: "ROLLBACK_COMPLETE".into() },
            |s| matches!(s, Step::Fail { blocker: BlockerKind::StackStuck, reason } if reason.contains("ROLLBACK_COMPLETE")),
        );
    }

    #[test]
    fn the_change_set_decides_how_a_plan_goes_on() {
        let planning = in_phase(Phase::Planning);
        let mut seen_before = planning;
        seen_before.open = planning.open.map(|open| Open { change_set_seen: true, ..open });
        let check = |recorded: &Recorded, change_set: ChangeSetSeen, step: Step| {
            assert_eq!(next_step(recorded, &Seen::ChangeSet(change_set)), step);
        };
        assert_eq!(look(&planning), Look::ChangeSet);
        check(&planning, ChangeSetSeen::Missing, Step::AskAgain);
        check(&seen_before, ChangeSetSeen::Missing, Step::Replan);
        check(&planning, ChangeSetSeen::Pending, Step::Watch(Waiting::ChangeSet));
        check(&planning, ChangeSetSeen::Ready, Step::Execute);
        check(&planning, ChangeSetSeen::NoChanges, Step::Succeed { nothing_to_do: true });
        check(&planning, ChangeSetSeen::Obsolete, Step::Abandon);
        check(
            &planning,
            ChangeSetSeen::Failed { reason: "no".into() },
            Step::Fail { blocker: BlockerKind::ChangeSetFailed, reason: "no".into() },
        );
    }

    #[test]
    fn whatever_is_superseded_is_given_up_unless_it_executes() {
        let newer = |phase| Recorded { desired: Some(wanted(3)), ..in_phase(phase) };
        let gone = Seen::ChangeSet(ChangeSetSeen::Missing);
        assert_eq!(next_step(&newer(Phase::Opened), &Seen::Nothing), Step::Supersede);
        assert_eq!(look(&newer(Phase::Planning)), Look::Nothing);
        assert_eq!(next_step(&newer(Phase::Planning), &Seen::Nothing), Step::Abandon);
        assert_eq!(
            next_step(&newer(Phase::Abandoning), &Seen::ChangeSet(ChangeSetSeen::Ready)),
            Step::Abandon
        );
        assert_eq!(next_step(&newer(Phase::Abandoning), &gone), Step::Supersede);
        assert_eq!(next_step(&in_phase(Phase::Abandoning), &gone), Step::Replan);
        assert_eq!(look(&newer(Phase::Executing)), Look::Execution);
        let reconfigured = Recorded { generation: 2, ..in_phase(Phase::Planning) };
        assert_eq!(next_step(&reconfigured, &Seen::Nothing), Step::Abandon);
        let suspended = |phase| Recorded { suspended: true, ..in_phase(phase) };
        assert_eq!(next_step(&suspended(Phase::Opened), &Seen::Nothing), Step::Supersede);
        assert_eq!(next_step(&suspended(Phase::Planning), &Seen::Nothing), Step::Abandon);
        assert_eq!(
            look(&suspended(Phase::Executing)),
            Look::Execution,
            "what has begun is watched to its end"
        );
        let deleted = Recorded { deleted: true, ..in_phase(Phase::Opened) };
        assert_eq!(next_step(&deleted, &Seen::Nothing), Step::Supersede);
    }

    #[test]
    fn an_execution_is_watched_to_its_end() {
        let executing = in_phase(Phase::Executing);
        let settled = || StackSeen::Settled { rolled_back: false };
        let check = |change_set, stack, outcome: Option<Outcome>, is: fn(&Step) -> bool| {
            let seen = Seen::Execution { change_set, stack, began: outcome.is_some(), outcome };
            let step = next_step(&executing, &seen);
            assert!(is(&step), "{seen:?} gave {step:?}");
        };
        check(ChangeSetSeen::Ready, settled(), None, |s| *s == Step::Execute);
        check(ChangeSetSeen::Executing, settled(), None, |s| *s == Step::Watch(Waiting::Execution));
        check(ChangeSetSeen::Missing, StackSeen::Changing, None, |s| *s == Step::Watch(Waiting::Execution));
        check(ChangeSetSeen::Missing, settled(), Some(Outcome::Applied), |s| {
            *s == Step::Succeed { nothing_to_do: false }
        });
        check(ChangeSetSeen::Missing, settled(), None, |s| *s == Step::Replan);
        check(ChangeSetSeen::Executed, settled(), None, |s| *s == Step::Succeed { nothing_to_do: false });
        check(ChangeSetSeen::Executed, StackSeen::Settled { rolled_back: true }, None, |s| {
            matches!(s, Step::Fail { .. })
        });
        check(ChangeSetSeen::Executed, StackSeen::Missing, None, |s| matches!(s, Step::Fail { .. }));
        for stack in [StackSeen::Missing, StackSeen::Review, settled()] {
            let gone = |began| {
                let (change_set, stack) = (ChangeSetSeen::Missing, stack.clone());
                next_step(&executing, &Seen::Execution { change_set, stack, began, outcome: None })
            };
            assert_eq!(gone(false), Step::Replan, "{stack:?}: it never was executed");
            assert!(matches!(gone(true), Step::Fail { .. }), "{stack:?}: it is not executed twice");
        }
        check(
            ChangeSetSeen::Executed,
            StackSeen::Settled { rolled_back: true },
            Some(Outcome::Failed { reason: "Topic".into() }),
            |s| matches!(s, Step::Fail { blocker: BlockerKind::ExecutionFailed, reason } if reason == "Topic"),
        );
    }

    #[test]
    fn outages_back_off_and_become_blockers_but_content_fails_at_once() {
        let outage = |blocker| Trouble::Outage { blocker, reason: "503".into(), retry_after_ms: None };
        let retry = |trouble: &Trouble, failures| match after_trouble(trouble, failures, 0.0, false) {
            AfterTrouble::Retry { delay_ms, blocker, .. } => (delay_ms, blocker),
            other => panic!("an outage is retried, not {other:?}"),
        };
        let silent = outage(BlockerKind::TargetUnavailable);
        assert_eq!(retry(&silent, 0), (1000, None));
        assert_eq!(retry(&silent, 3), (8000, None));
        assert_eq!(retry(&silent, 4), (16_000, Some(BlockerKind::TargetUnavailable)));
        assert_eq!(retry(&silent, 1000).0, LONGEST_DELAY_MS);
        let refused = outage(BlockerKind::RoleNotAssumable);
        assert_eq!(retry(&refused, 0), (1000, Some(BlockerKind::RoleNotAssumable)));
        let content = Trouble::Refused { blocker: BlockerKind::InvalidFile, reason: "no".into() };
        assert!(matches!(after_trouble(&content, 0, 0.0, false), AfterTrouble::Fail { .. }));
        let gone = Trouble::Gone { reason: "no".into() };
        assert!(matches!(after_trouble(&gone, 0, 0.0, false), AfterTrouble::ReadAgain { .. }));
        assert!(matches!(after_trouble(&refused, 3, 0.0, true), AfterTrouble::Retry { .. }));
        assert!(matches!(after_trouble(&refused, 4, 0.0, true), AfterTrouble::GiveUp { .. }));
        assert!(matches!(after_trouble(&silent, 4, 0.0, true), AfterTrouble::Retry { .. }));
        assert_eq!(backoff_ms(0, 1.0), 900);
        assert_eq!((poll_delay_ms(0), poll_delay_ms(4000), poll_delay_ms(1 << 40)), (200, 1000, 5000));
    }
}
