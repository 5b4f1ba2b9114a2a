//! Previews of pull requests: what a merge would change, decided and told.
//!
//! The worker asks [`look`] what must be observed, observes it, and asks [`next_step`] what to do, as it does for attempts
//! ([`crate::plan`]); but it asks only while the sync itself has nothing to do. What is told is made by
//! [`comment`](mod@comment), of values that [`values`] lets through.
//!
//! **Invariant:** no step executes anything. A change set that was asked for is deleted, and seen gone, before the next is
//! asked for and before the preview rests.

mod changes;
pub mod comment;
pub mod escape;
pub mod values;

use crate::plan::{ChangeSetSeen, StackSeen};

/// How far the current round of a preview has come; committed before the outside call that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is no change set.
    Idle,
    /// The change set of the current number may exist.
    Planning,
    /// The change set of the current number is to be seen gone.
    Deleting,
}

impl Phase {
    /// The text under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Planning => "PLANNING",
            Self::Deleting => "DELETING",
        }
    }

    /// The phase of a stored text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Idle, Self::Planning, Self::Deleting].into_iter().find(|phase| phase.as_str() == text)
    }
}

/// What the comment is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// What the merge would change.
    Changes,
    /// That the pull request does not touch the sync any more.
    Untouched,
    /// That comments were switched off, or the sync is gone.
    Off,
    /// That it was closed.
    Closed,
    /// What became of its merge.
    Merged,
}

impl Want {
    /// The text under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "CHANGES",
            Self::Untouched => "UNTOUCHED",
            Self::Off => "OFF",
            Self::Closed => "CLOSED",
            Self::Merged => "MERGED",
        }
    }

    /// What a stored text wants.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Changes, Self::Untouched, Self::Off, Self::Closed, Self::Merged]
            .into_iter()
            .find(|want| want.as_str() == text)
    }
}

/// What the store says of one preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// What the comment is to tell.
    pub want: Want,
    /// Counts what it was to tell: a new head, other files, a changed stack, the end of the pull request.
    pub wanted: i64,
    /// What the comment tells.
    pub done: i64,
    /// What the current change set was asked for.
    pub planned: i64,
    /// How far the current round has come.
    pub phase: Phase,
    /// Whether the current change set was seen to exist.
    pub change_set_seen: bool,
    /// After a merge: the sync has considered a head that holds it.
    pub merge_considered: bool,
    /// The operator told the sync, or its account, to rest: what was begun is cleared away, and nothing else done.
    pub suspended: bool,
}

impl Recorded {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.phase == Phase::Idle && (self.suspended || self.wanted == self.done)
    }

    /// Whether the current change set is of no use any more.
    fn superseded(&self) -> bool {
        self.suspended || self.planned != self.wanted
    }
}

/// What must be observed before the next decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The records are enough.
    Nothing,
    /// The files as the merge would have them, then the stack.
    FilesAndStack,
    /// The current change set.
    ChangeSet,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing was looked at.
    Nothing,
    /// The files cannot be used, whenever they are read.
    Unusable,
    /// The stack; the files can be used.
    Stack(StackSeen),
    /// The current change set.
    ChangeSet(ChangeSetSeen),
}

/// What a comment says of the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The files cannot be used.
    Unusable,
    /// The stack would be made.
    Creates,
    /// The stack is in a status that no change set can start from.
    Stuck(String),
    /// The change set says what would change.
    Changes,
    /// Nothing would.
    Nothing,
    /// The change set could not be made.
    Fails(String),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something is wanted.
    Rest,
    /// Look again soon.
    Watch,
    /// Look again when the sync may have considered the merge.
    AwaitMerge,
    /// Record the next number and ask for its change set.
    Plan,
    /// Ask once more for the change set of the current number.
    AskAgain,
    /// Tell what was seen, and delete the change set if there is one.
    Tell(Verdict),
    /// Tell that there is nothing to preview any more, and why: what is wanted says it.
    TellEnd,
    /// Delete the change set; it must be seen gone.
    Delete,
    /// The change set is gone: record it.
    Gone,
}

/// What must be observed before [`next_step`] can decide.
#[must_use]
pub fn look(recorded: &Recorded) -> Look {
    match recorded.phase {
        _ if recorded.rests() => Look::Nothing,
        Phase::Idle if recorded.want == Want::Changes => Look::FilesAndStack,
        Phase::Idle => Look::Nothing,
        // It is deleted whatever it looks like; no need to ask first.
        Phase::Planning if recorded.superseded() => Look::Nothing,
        Phase::Planning | Phase::Deleting => Look::ChangeSet,
    }
}

/// What to do, given what is recorded and what was seen; only for a sync that has nothing to do itself.
#[must_use]
pub fn next_step(recorded: &Recorded, seen: &Seen) -> Step {
    if recorded.rests() {
        return Step::Rest;
    }
    match (recorded.phase, seen) {
        (Phase::Idle, _) if recorded.want == Want::Merged && !recorded.merge_considered => Step::AwaitMerge,
        (Phase::Idle, _) if recorded.want != Want::Changes => Step::TellEnd,
        (Phase::Idle, Seen::Unusable) => Step::Tell(Verdict::Unusable),
        (Phase::Idle, Seen::Stack(stack)) => match stack {
            StackSeen::Missing | StackSeen::Review => Step::Tell(Verdict::Creates),
            StackSeen::Settled { .. } => Step::Plan,
            StackSeen::Changing => Step::Watch,
            StackSeen::Stuck { status } => Step::Tell(Verdict::Stuck(status.clone())),
        },
        (Phase::Planning, _) if recorded.superseded() => Step::Delete,
        (Phase::Planning, Seen::ChangeSet(change_set)) => match change_set {
            // Somebody deleted it, or the stack was changed, which deletes them all.
            ChangeSetSeen::Missing if recorded.change_set_seen => Step::Gone,
            ChangeSetSeen::Missing => Step::AskAgain,
            ChangeSetSeen::Pending => Step::Watch,
            ChangeSetSeen::Ready => Step::Tell(Verdict::Changes),
            ChangeSetSeen::NoChanges => Step::Tell(Verdict::Nothing),
            ChangeSetSeen::Failed { reason } => Step::Tell(Verdict::Fails(reason.clone())),
            // The stack is not any more what it was made for; or somebody executes it by hand.
            ChangeSetSeen::Obsolete | ChangeSetSeen::Executing | ChangeSetSeen::Executed => Step::Delete,
        },
        (Phase::Deleting, Seen::ChangeSet(change_set)) => match change_set {
            // What was executed stays in the stack's list as its history.
            ChangeSetSeen::Missing | ChangeSetSeen::Executed => Step::Gone,
            _ => Step::Delete,
        },
        // What was seen does not fit the phase: look again.
        (Phase::Idle | Phase::Planning | Phase::Deleting, _) => Step::Watch,
    }
}

/// Whose version of a file the merge would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The branch's.
    Branch,
    /// The pull request's.
    Head,
    /// Both changed it: the pull request's, as far as can be told without merging lines.
    Both,
}

/// Whose version of a file the merge would have: what is there at the merge base, if that is known, at the pull request's
/// head and at the branch's.
#[must_use]
pub fn side(base: Option<&str>, head: &str, branch: &str) -> Side {
    match base {
        _ if head == branch => Side::Branch,
        Some(base) if base == head => Side::Branch,
        Some(base) if base != branch => Side::Both,
        Some(_) | None => Side::Head,
    }
}

/// Whether a merge would change a sync's files: what they are at the merge base, if that is known, at the head and at the
/// branch.
#[must_use]
pub fn touches(base: Option<&str>, head: &str, branch: &str) -> bool {
    head != branch && base != Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_takes_what_was_changed() {
        let check = |base: Option<&str>, head, branch, expect: Side, touched| {
            assert_eq!(side(base, head, branch), expect, "{base:?} {head} {branch}");
            assert_eq!(touches(base, head, branch), touched, "{base:?} {head} {branch}");
        };
        check(Some("1"), "1", "1", Side::Branch, false);
        check(Some("1"), "2", "1", Side::Head, true);
        check(Some("1"), "1", "2", Side::Branch, false);
        check(Some("1"), "2", "2", Side::Branch, false);
        check(Some("1"), "2", "3", Side::Both, true);
        check(None, "2", "1", Side::Head, true);
        check(None, "1", "1", Side::Branch, false);
    }

    #[test]
    fn texts_that_are_stored_are_read_again() {
        for phase in [Phase::Idle, Phase::Planning, Phase::Deleting] {
            assert_eq!(Phase::from_text(phase.as_str()), Some(phase));
        }
        for want in [Want::Changes, Want::Untouched, Want::Off, Want::Closed, Want::Merged] {
            assert_eq!(Want::from_text(want.as_str()), Some(want));
        }
        assert_eq!(Phase::from_text("PLANNED"), None);
        assert_eq!(Want::from_text(""), None);
    }

    #[test]
    fn a_round_ends_with_its_change_set_gone() {
        let idle = Recorded {
            want: Want::Changes,
            wanted: 2,
            done: 1,
            planned: 1,
            phase: Phase::Idle,
            change_set_seen: false,
            merge_considered: false,
            suspended: false,
        };
        let planning = Recorded { phase: Phase::Planning, planned: 2, ..idle };
        let deleting = Recorded { phase: Phase::Deleting, done: 2, ..planning };
        let check = |recorded: Recorded, seen: Seen, expect: Step| {
            assert_eq!(next_step(&recorded, &seen), expect, "{recorded:?} {seen:?}");
        };
        let stack = |stack| Seen::Stack(stack);
        check(idle, stack(StackSeen::Settled { rolled_back: true }), Step::Plan);
        check(idle, stack(StackSeen::Missing), Step::Tell(Verdict::Creates));
        check(idle, stack(StackSeen::Changing), Step::Watch);
        check(
            idle,
            stack(StackSeen::Stuck { status: "X".to_owned() }),
            Step::Tell(Verdict::Stuck("X".to_owned())),
        );
        check(idle, Seen::Unusable, Step::Tell(Verdict::Unusable));
        check(Recorded { done: 2, ..idle }, Seen::Nothing, Step::Rest);
        check(Recorded { want: Want::Closed, ..idle }, Seen::Nothing, Step::TellEnd);
        check(Recorded { want: Want::Merged, ..idle }, Seen::Nothing, Step::AwaitMerge);
        let considered = Recorded { want: Want::Merged, merge_considered: true, ..idle };
        check(considered, Seen::Nothing, Step::TellEnd);
        let change_set = |change_set| Seen::ChangeSet(change_set);
        check(planning, change_set(ChangeSetSeen::Missing), Step::AskAgain);
        check(Recorded { change_set_seen: true, ..planning }, change_set(ChangeSetSeen::Missing), Step::Gone);
        check(planning, change_set(ChangeSetSeen::Pending), Step::Watch);
        check(planning, change_set(ChangeSetSeen::Ready), Step::Tell(Verdict::Changes));
        check(planning, change_set(ChangeSetSeen::Obsolete), Step::Delete);
        check(Recorded { wanted: 3, ..planning }, Seen::Nothing, Step::Delete);
        check(deleting, change_set(ChangeSetSeen::Ready), Step::Delete);
        check(deleting, change_set(ChangeSetSeen::Missing), Step::Gone);
        // Even where nothing is wanted any more.
        check(Recorded { want: Want::Closed, ..deleting }, change_set(ChangeSetSeen::Pending), Step::Delete);
        check(Recorded { suspended: true, ..idle }, Seen::Nothing, Step::Rest);
        check(Recorded { suspended: true, ..planning }, Seen::Nothing, Step::Delete);
        check(Recorded { suspended: true, ..deleting }, change_set(ChangeSetSeen::Missing), Step::Gone);
        assert_eq!(look(&Recorded { suspended: true, ..idle }), Look::Nothing);
        assert_eq!(look(&Recorded { wanted: 3, ..planning }), Look::Nothing);
        assert_eq!(look(&deleting), Look::ChangeSet);
        assert_eq!(look(&idle), Look::FilesAndStack);
    }
}
