//! `cargo xtask simulate`: histories of the engine in a world that goes wrong.

use anyhow::Context;

use crate::command::{self, cargo};

/// The histories of a full run, and on how many faults it insists for each side of each fault point.
const FULL: [&str; 4] = ["--histories", "10000", "--least", "100"];

/// Runs `simulate [--histories N] [--first S] [--seed S] [--mutant M] …`; without arguments, the full run.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let arguments = if arguments.is_empty() { &FULL[..] } else { arguments };
    command::run(cargo(&["run", "--quiet", "--package", "syncline-simulation", "--"]).args(arguments))
        .context("what is printed above says how to tell a history again")
}

/// The full run, as CI has it.
pub(crate) fn full() -> anyhow::Result<()> {
    run(&[])
}
