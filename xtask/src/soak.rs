//! `cargo xtask soak`: a fleet of real processes, killed at random for minutes.

use crate::command::{self, cargo};
use crate::postgres::Postgres;

/// Runs `soak [<arguments of syncline-soak soak>]`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    if !arguments.iter().any(|argument| argument.ends_with("sqlite")) {
        // The fleet starts one of its own; this makes sure that it can.
        drop(Postgres::start()?);
    }
    command::run(cargo(&["run", "--quiet", "--package", "syncline-soak", "--", "soak"]).args(arguments))
}
