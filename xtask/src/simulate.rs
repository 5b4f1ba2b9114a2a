//! `cargo xtask simulate`: histories of the engine in a world that goes wrong.

use std::process::Command;

use anyhow::Context;

use crate::command::{self, cargo};

/// The histories of a full run, and the faults on which it insists for each side of each fault point.
const FULL: [&str; 4] = ["--histories", "10000", "--least", "100"];

/// Runs `simulate [--histories N] [--first S] [--seed S] [--mutant M] …`; without arguments, the full run.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let arguments = if arguments.is_empty() { &FULL[..] } else { arguments };
    command::run(cargo(&["run", "--quiet", "--package", "syncline-simulation", "--"]).args(arguments))
        .context("what is printed above says how to tell a history again")
}

/// The full run, with what the tests have built: a build of this package alone has other features and would build
/// its dependencies again.
pub(crate) fn full() -> anyhow::Result<()> {
    command::run(&mut cargo(&["test", "--quiet", "--workspace", "--locked", "--no-run"]))?;
    let simulation = std::env::current_exe()?.with_file_name("syncline-simulation");
    command::run(Command::new(simulation).args(FULL))
        .context("what is printed above says how to tell a history again")
}
