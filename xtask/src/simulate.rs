//! `cargo xtask simulate`: histories of the engine in a world that goes wrong.

use std::process::Command;

use anyhow::Context;

use crate::command::{self, cargo};

/// The histories of a full run, and the faults on which it insists for each side of each fault point.
const FULL: [&str; 4] = ["--histories", "10000", "--least", "100"];

/// How the engine is broken to see that the histories tell, and within how many.
const BROKEN: [&str; 3] = ["lease", "wake", "execute"];
const FOUND_WITHIN: &str = "1000";

/// Runs `simulate [--histories N] [--first S] [--seed S] [--mutant M] …`; without arguments, the full run.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let simulation = || keeping_memory(cargo(&["run", "--quiet", "--package", "syncline-simulation", "--"]));
    if arguments.is_empty() { everything(simulation) } else { told(simulation().args(arguments)) }
}

/// The full run, with what the tests have built: a build of this package alone has other features and would build
/// its dependencies again.
pub(crate) fn full() -> anyhow::Result<()> {
    command::run(&mut cargo(&["test", "--quiet", "--workspace", "--locked", "--no-run"]))?;
    let simulation = std::env::current_exe()?.with_file_name("syncline-simulation");
    everything(|| keeping_memory(Command::new(&simulation)))
}

/// A simulation that gives no memory back between histories: SQLite would take it again with each of its connections.
fn keeping_memory(mut simulation: Command) -> Command {
    simulation.env("MALLOC_TRIM_THRESHOLD_", "1000000000").env("MALLOC_TOP_PAD_", "67108864");
    simulation
}

/// All histories of the engine as it is, and of broken ones until they are found.
fn everything(simulation: impl Fn() -> Command) -> anyhow::Result<()> {
    told(simulation().args(FULL))?;
    for broken in BROKEN {
        println!("\n--- a broken engine: {broken}");
        let broken = ["--histories", FOUND_WITHIN, "--mutant", broken, "--must-be-found"];
        told(simulation().args(broken))?;
    }
    Ok(())
}

fn told(simulation: &mut Command) -> anyhow::Result<()> {
    command::run(simulation).context("what is printed above says how to tell a history again")
}
