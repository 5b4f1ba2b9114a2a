//! Whatever is pushed, changed and lost on the way, an obedient target ends at the newest head, and no
//! revision of one generation is executed twice.

use std::collections::HashMap;

use proptest::prelude::*;
use syncline_model::plan::{
    ChangeSetSeen, Look, Open, Outcome, Phase, Recorded, Seen, StackSeen, Step, Wanted, look, next_step,
};

/// What happens to the sync between two steps.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// A newer head is wanted.
    Push,
    /// The configuration changes; the head is wanted again under the next generation.
    Change,
    /// The step is decided and performed, but not recorded: the worker died.
    Forgotten,
    /// The step is decided and recorded, but the call it announces is never made.
    Unperformed,
    /// Somebody deletes the current change set.
    ChangeSetDeleted,
    /// The operator has it rest.
    Suspended,
    /// The operator has it go on.
    Resumed,
    /// Nothing.
    Quiet,
}

/// A target that does what it is told, a little later.
#[derive(Debug, Default)]
struct Target {
    stack: Option<Wanted>,
    change_sets: HashMap<(u32, u32), (Wanted, ChangeSetSeen)>,
    executing: Option<(u32, u32)>,
    executed: Vec<Wanted>,
}

#[derive(Debug)]
struct Sync {
    recorded: Recorded,
    attempt: u32,
    plan: u32,
    target: Target,
}

impl Sync {
    fn new() -> Self {
        let recorded = Recorded {
            generation: 1,
            deleted: false,
            desired: Some(Wanted { seq: 1, generation: 1 }),
            open: None,
            newest: None,
            held: false,
            knows_stack: false,
            predecessor: false,
            suspended: false,
        };
        Self { recorded, attempt: 0, plan: 0, target: Target::default() }
    }

    fn name(&self) -> (u32, u32) {
        (self.attempt, self.plan)
    }

    fn change_set(&self) -> ChangeSetSeen {
        self.target.change_sets.get(&self.name()).map_or(ChangeSetSeen::Missing, |(_, seen)| seen.clone())
    }

    /// What the target does by itself between two looks.
    fn time_passes(&mut self) {
        for (_, seen) in self.target.change_sets.values_mut() {
            if *seen == ChangeSetSeen::Pending {
                *seen = ChangeSetSeen::Ready;
            }
        }
        if let Some(name) = self.target.executing.take()
            && let Some((wanted, seen)) = self.target.change_sets.get_mut(&name)
        {
            *seen = ChangeSetSeen::Executed;
            self.target.stack = Some(*wanted);
        }
    }

    fn see(&self) -> Seen {
        let stack = match self.target.stack {
            _ if self.target.executing.is_some() => StackSeen::Changing,
            None => StackSeen::Missing,
            Some(_) => StackSeen::Settled { rolled_back: false },
        };
        match look(&self.recorded) {
            Look::Nothing => Seen::Nothing,
            Look::FilesAndStack => Seen::Stack(stack),
            Look::ChangeSet => Seen::ChangeSet(self.change_set()),
            Look::Execution => {
                let change_set = self.change_set();
                let outcome = (change_set == ChangeSetSeen::Executed).then_some(Outcome::Applied);
                Seen::Execution { change_set, stack, began: outcome.is_some(), outcome }
            }
        }
    }

    fn take(&mut self, step: &Step, happening: Happening) {
        let records = !matches!(happening, Happening::Forgotten);
        let performs = !matches!(happening, Happening::Unperformed);
        let before = (self.recorded, self.attempt, self.plan);
        match step {
            Step::Open => {
                self.attempt += 1;
                let wanted = self.recorded.desired.expect("something is desired");
                self.open(Open { wanted, phase: Phase::Opened, change_set_seen: false });
            }
            Step::Plan(_) => {
                self.plan += 1;
                self.phase(Phase::Planning, false);
                if performs && records {
                    self.create();
                }
            }
            Step::AskAgain if performs => self.create(),
            Step::AskAgain => {}
            Step::Execute => {
                self.phase(Phase::Executing, true);
                if performs && records {
                    self.execute();
                }
            }
            Step::Abandon => {
                self.phase(Phase::Abandoning, true);
                if performs
                    && !matches!(self.change_set(), ChangeSetSeen::Executing | ChangeSetSeen::Executed)
                {
                    let name = self.name();
                    self.target.change_sets.remove(&name);
                }
            }
            Step::Replan => self.phase(Phase::Opened, false),
            Step::Succeed { .. } => {
                self.recorded.knows_stack = true;
                self.end();
            }
            Step::Supersede => {
                self.end();
                self.recorded.newest = None;
            }
            Step::Fail { .. } => self.end(),
            Step::Rest | Step::Forget | Step::Watch(_) => {}
        }
        // Intents are recorded before their calls, so a worker that dies unrecorded has performed nothing new.
        if !records {
            (self.recorded, self.attempt, self.plan) = before;
        }
    }

    fn open(&mut self, open: Open) {
        self.recorded.open = Some(open);
    }

    fn phase(&mut self, phase: Phase, change_set_seen: bool) {
        if let Some(open) = &mut self.recorded.open {
            open.phase = phase;
            open.change_set_seen = change_set_seen;
        }
    }

    fn end(&mut self) {
        self.recorded.newest = self.recorded.open.take().map(|open| open.wanted);
    }

    fn create(&mut self) {
        let wanted = self.recorded.open.expect("an attempt").wanted;
        self.target.change_sets.entry(self.name()).or_insert((wanted, ChangeSetSeen::Pending));
    }

    fn execute(&mut self) {
        let name = self.name();
        if let Some((wanted, seen)) = self.target.change_sets.get_mut(&name)
            && *seen == ChangeSetSeen::Ready
        {
            *seen = ChangeSetSeen::Executing;
            self.target.executed.push(*wanted);
            self.target.executing = Some(name);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let desired = self.recorded.desired.expect("something is desired");
        match happening {
            Happening::Push => self.recorded.desired = Some(Wanted { seq: desired.seq + 1, ..desired }),
            Happening::Change => {
                self.recorded.generation += 1;
                self.recorded.desired = Some(Wanted { generation: self.recorded.generation, ..desired });
            }
            Happening::Suspended => self.recorded.suspended = true,
            Happening::Resumed => self.recorded.suspended = false,
            Happening::ChangeSetDeleted
                if !matches!(self.change_set(), ChangeSetSeen::Executing | ChangeSetSeen::Executed) =>
            {
                let name = self.name();
                self.target.change_sets.remove(&name);
            }
            _ => {}
        }
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        3 => Just(Happening::Quiet),
        2 => Just(Happening::Push),
        1 => Just(Happening::Change),
        2 => Just(Happening::Forgotten),
        2 => Just(Happening::Unperformed),
        1 => Just(Happening::ChangeSetDeleted),
        1 => Just(Happening::Suspended),
        2 => Just(Happening::Resumed),
    ];
    prop::collection::vec(happening, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_obedient_target_ends_at_the_newest_head(happenings in happenings()) {
        let mut sync = Sync::new();
        let quiet = std::iter::once(Happening::Resumed).chain(std::iter::repeat_n(Happening::Quiet, 40));
        for happening in happenings.into_iter().chain(quiet) {
            sync.happen(happening);
            let step = next_step(&sync.recorded, &sync.see());
            prop_assert!(!(sync.recorded.suspended && matches!(step, Step::Open | Step::Plan(_))), "{step:?}");
            prop_assert!(!matches!(step, Step::Fail { .. }), "{step:?} in {sync:?}");
            sync.take(&step, happening);
            sync.time_passes();
        }
        prop_assert_eq!(sync.recorded.open, None);
        prop_assert_eq!(sync.target.stack, sync.recorded.desired);
        let mut executed = sync.target.executed.clone();
        executed.dedup();
        prop_assert_eq!(executed.len(), sync.target.executed.len(), "executed twice: {:?}", sync.target.executed);
    }
}
