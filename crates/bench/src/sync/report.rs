//! What `bench sync` found, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

use super::SyncArgs;
use super::floor::Calls;
use super::peers::Cost;
use crate::process::Server;
use crate::report::{Ratio, median, table};

/// One push and the floor after it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    /// From the push until every stack was at the commit, in seconds.
    pub(crate) ours_s: f64,
    /// The server's processor time, its git's included, in seconds.
    pub(crate) ours_cpu_s: f64,
    /// Calls of CloudFormation.
    pub(crate) calls: u64,
    /// The stacks that the push changed.
    pub(crate) stacks: usize,
    /// The same calls by the bare client, and git's fetch before them, in seconds.
    pub(crate) floor_s: f64,
    /// Git's fetch alone.
    pub(crate) floor_fetch_s: f64,
}

impl Round {
    /// Ours to the floor.
    pub(crate) fn ratio(&self) -> f64 {
        self.ours_s / self.floor_s
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s, {:.2} s of processor, {} calls", self.ours_s, self.ours_cpu_s, self.calls)?;
        if self.floor_s.is_nan() {
            return Ok(());
        }
        write!(f, "; floor {:.2} s (fetch {:.2}): {:.2}", self.floor_s, self.floor_fetch_s, self.ratio())
    }
}

/// A number that no goal is set for.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Figure {
    /// A number and its unit.
    pub(crate) fn new(name: &str, value: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), value, unit }
    }

    /// The most memory that a server has had.
    pub(crate) fn of_server(name: &str, server: &Server) -> anyhow::Result<Self> {
        Ok(Self::new(&format!("most resident memory, {name}"), server.memory_mib("VmHWM")?, "MiB"))
    }
}

/// What driving a stack cost.
#[derive(Debug, Serialize)]
struct Driven {
    who: String,
    stacks: usize,
    wall_ms: f64,
    cpu_ms: f64,
}

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct SyncReport {
    processors: usize,
    stacks: usize,
    rounds: BTreeMap<String, Vec<Round>>,
    /// Calls of CloudFormation for all stacks of a push, by the database and the action.
    calls: BTreeMap<String, BTreeMap<String, usize>>,
    figures: Vec<Figure>,
    driven: Vec<Driven>,
    skipped: BTreeMap<String, String>,
    ratios: Vec<Ratio>,
}

impl SyncReport {
    /// Nothing yet.
    pub(crate) fn new(args: &SyncArgs) -> Self {
        Self {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            stacks: args.stacks,
            rounds: BTreeMap::new(),
            calls: BTreeMap::new(),
            figures: Vec::new(),
            driven: Vec::new(),
            skipped: BTreeMap::new(),
            ratios: Vec::new(),
        }
    }

    /// Something with a goal.
    pub(crate) fn ratio(&mut self, ratio: Ratio) {
        self.ratios.push(ratio);
    }

    /// Pushes that were measured.
    pub(crate) fn rounds(&mut self, name: &str, rounds: Vec<Round>) {
        self.rounds.insert(name.to_owned(), rounds);
    }

    /// A number without a goal.
    pub(crate) fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// The calls of a push.
    pub(crate) fn calls(&mut self, name: &str, calls: &[Calls]) {
        let counts = self.calls.entry(name.to_owned()).or_default();
        for action in calls.iter().flatten() {
            *counts.entry(action.clone()).or_default() += 1;
        }
    }

    /// What somebody's driving of a stack cost.
    pub(crate) fn cost(&mut self, who: &str, stacks: usize, cost: Cost) {
        let (wall_ms, cpu_ms) = (cost.wall * 1000.0, cost.cpu * 1000.0);
        self.driven.push(Driven { who: who.to_owned(), stacks, wall_ms, cpu_ms });
    }

    /// Something that was not measured, and why.
    pub(crate) fn skip(&mut self, what: &str, why: &str) {
        self.skipped.insert(what.to_owned(), why.to_owned());
    }

    /// What is wanted.
    pub(crate) fn ratios(&self) -> &[Ratio] {
        &self.ratios
    }

    /// The report as a table.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} processors; CloudFormation is simulated and takes no time by itself\n\n",
            self.processors
        );
        // Writing to a String cannot fail.
        if !self.rounds.is_empty() {
            let _ = writeln!(
                text,
                "{:34} {:>8} {:>10} {:>8} {:>9} {:>9} {:>9}",
                "one push (medians)", "ours s", "ours cpu s", "calls", "floor s", "fetch s", "cpu ms each"
            );
        }
        for (name, rounds) in &self.rounds {
            let middle = |what: fn(&Round) -> f64| median(rounds.iter().map(what).collect());
            let _ = writeln!(
                text,
                "{name:34} {:>8.2} {:>10.2} {:>8.0} {:>9.2} {:>9.2} {:>9.2}",
                middle(|round| round.ours_s),
                middle(|round| round.ours_cpu_s),
                middle(|round| round.calls as f64),
                middle(|round| round.floor_s),
                middle(|round| round.floor_fetch_s),
                middle(|round| 1000.0 * round.ours_cpu_s / round.stacks as f64),
            );
        }
        for (name, counts) in &self.calls {
            let counts: Vec<_> = counts.iter().map(|(action, count)| format!("{action} {count}")).collect();
            let _ = writeln!(text, "\ncalls of a push, {name}: {}", counts.join(", "));
        }
        if !self.driven.is_empty() {
            let _ = writeln!(text, "\n{:58} {:>10} {:>10}", "a stack driven by", "wall ms", "cpu ms");
        }
        for driven in &self.driven {
            let _ = writeln!(text, "{:58} {:>10.1} {:>10.1}", driven.who, driven.wall_ms, driven.cpu_ms);
        }
        if !self.figures.is_empty() {
            text.push('\n');
        }
        for figure in &self.figures {
            let _ = writeln!(text, "{:58} {:>10.1} {}", figure.name, figure.value, figure.unit);
        }
        text = text + "\n" + &table(&self.ratios);
        for (what, why) in &self.skipped {
            let _ = writeln!(text, "not measured: {what}: {why}");
        }
        text
    }
}
