//! What all parts of one history share: its dice, its tale, and what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_cloudformation_sim::Simulator;
use syncline_seams::Moment;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::VirtualTime;
use crate::hosts::Hosts;
use crate::points;

/// How often a side of a point was passed, and how often something went wrong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Passings.
    pub passed: u64,
    /// Faults.
    pub struck: u64,
}

/// Tallies by point and side.
pub type Tallies = BTreeMap<(&'static str, Moment), Tally>;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process of this number, with all its workers.
    Process(u64),
    /// One worker, as if it were a replica of its own.
    Worker(u64),
}

/// The world of one history.
pub(crate) struct World {
    pub(crate) clock: VirtualTime,
    pub(crate) hosts: Hosts,
    pub(crate) simulator: Simulator,
    deaths: UnboundedSender<Death>,
    state: Mutex<State>,
}

struct State {
    dice: fastrand::Rng,
    /// Whether anything may go wrong.
    on: bool,
    /// Until when each commit fails, on the history's own clock in milliseconds.
    database_down_until: i64,
    /// Until when CloudFormation answers with this error.
    answer: Option<(i64, Answer)>,
    /// Sessions of an earlier count are expired.
    sessions: u64,
    /// Stacks that somebody else touched.
    touched: BTreeSet<String>,
    tallies: Tallies,
    changes: u64,
    faults: u32,
    digest: u64,
    violations: Vec<String>,
    tale: Option<Vec<String>>,
}

/// What CloudFormation answers while it does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Throttling,
    Failure,
    Denied,
}

impl Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(crate) fn new(
        seed: u64,
        clock: VirtualTime,
        simulator: Simulator,
        deaths: UnboundedSender<Death>,
        tells: bool,
    ) -> Arc<Self> {
        let state = State {
            dice: fastrand::Rng::with_seed(seed),
            on: false,
            database_down_until: 0,
            answer: None,
            sessions: 0,
            touched: BTreeSet::new(),
            tallies: Tallies::new(),
            changes: 0,
            faults: 0,
            digest: 0,
            violations: Vec::new(),
            tale: tells.then(Vec::new),
        };
        Arc::new(Self { clock, hosts: Hosts::default(), simulator, deaths, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Throws the dice.
    pub(crate) fn dice<T>(&self, throw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        throw(&mut self.lock().dice)
    }

    /// Lets things go wrong, or ends everything that is wrong.
    pub(crate) fn set_faults(&self, on: bool) {
        let mut state = self.lock();
        state.on = on;
        if !on {
            state.database_down_until = 0;
            state.answer = None;
        }
    }

    /// Whether anything may go wrong.
    pub(crate) fn is_on(&self) -> bool {
        self.lock().on
    }

    /// Adds to the tale, if it is told.
    pub(crate) fn tell(&self, text: impl FnOnce() -> String) {
        let now = self.clock.elapsed_ms();
        let mut state = self.lock();
        if let Some(tale) = &mut state.tale {
            let text = text();
            tale.push(format!("{:>9.3} {text}", f64::from(i32::try_from(now).unwrap_or(i32::MAX)) / 1000.0));
        }
    }

    /// The tale so far.
    pub(crate) fn tale(&self) -> Vec<String> {
        self.lock().tale.clone().unwrap_or_default()
    }

    /// Something that must never be so.
    pub(crate) fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(|| format!("VIOLATION {what}"));
        self.lock().violations.push(what);
    }

    /// What must never be so and was.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// A passing of one side of a point; whether something is to go wrong there.
    pub(crate) fn pass(&self, point: &'static str, moment: Moment) -> bool {
        let now = self.clock.elapsed_ms();
        let mut state = self.lock();
        // FNV-1a over what happened when.
        for byte in point.bytes().chain(now.to_le_bytes()).chain([moment as u8]) {
            state.digest = (state.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.tallies.entry((point, moment)).or_default().passed += 1;
        if !state.on {
            return false;
        }
        let Some(often) = points::often(point) else { return false };
        let down = moment == Moment::Before && point.starts_with("store.") && state.database_down_until > now;
        let strikes = down || state.dice.u32(..10_000) < often.of_ten_thousand();
        if strikes {
            state.tallies.entry((point, moment)).or_default().struck += 1;
        }
        if strikes && !down {
            state.faults += 1;
        }
        strikes
    }

    /// Counts a commit, after which more may be due than before.
    pub(crate) fn count_change(&self) {
        self.lock().changes += 1;
    }

    /// The commits so far after which more may be due than before.
    pub(crate) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Whether each commit fails.
    pub(crate) fn is_database_down(&self) -> bool {
        let now = self.clock.elapsed_ms();
        self.lock().database_down_until > now
    }

    /// Counts a fault that is at no point.
    pub(crate) fn count_fault(&self) {
        self.lock().faults += 1;
    }

    /// The faults so far.
    pub(crate) fn faults(&self) -> u32 {
        self.lock().faults
    }

    /// Lets each commit fail for a while.
    pub(crate) fn break_database(&self, ms: i64) {
        let until = self.clock.elapsed_ms() + ms;
        self.lock().database_down_until = until;
    }

    /// Lets CloudFormation answer nothing but this for a while.
    pub(crate) fn break_cloudformation(&self, ms: i64, answer: Answer) {
        let until = self.clock.elapsed_ms() + ms;
        self.lock().answer = Some((until, answer));
    }

    /// What CloudFormation answers instead of doing what it is asked.
    pub(crate) fn cloudformation(&self) -> Option<Answer> {
        let now = self.clock.elapsed_ms();
        self.lock().answer.filter(|(until, _)| *until > now).map(|(_, answer)| answer)
    }

    /// Expires every session.
    pub(crate) fn expire_sessions(&self) {
        self.lock().sessions += 1;
    }

    /// The count of sessions that are good.
    pub(crate) fn sessions(&self) -> u64 {
        self.lock().sessions
    }

    /// Somebody else touches a stack.
    pub(crate) fn touch(&self, stack: &str) {
        self.lock().touched.insert(stack.to_owned());
    }

    /// Whether somebody else ever touched the stack.
    pub(crate) fn was_touched(&self, stack: &str) -> bool {
        self.lock().touched.contains(stack)
    }

    /// Somebody dies; what follows him is arranged elsewhere.
    pub(crate) fn kill(&self, who: Death) {
        self.tell(|| format!("{who:?} dies"));
        // Nobody listens any more once the history is over.
        let _ = self.deaths.send(who);
    }

    /// The tallies and the digest of everything that was passed.
    pub(crate) fn tallies(&self) -> (Tallies, u64) {
        let state = self.lock();
        (state.tallies.clone(), state.digest)
    }
}
