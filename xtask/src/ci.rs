//! `cargo xtask ci`: everything that must hold before a change lands, cheapest first.
//!
//! The steps share what they build: clippy and the documentation both need only the dependencies' metadata,
//! the documentation's tests and the tests proper one debug build; only the demo needs a release build. So no
//! step sets compiler flags of its own, and all but the demo's take the workspace whole: the same features,
//! hence the same artefacts.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::command::{self, cargo};
use crate::{demo, licences, simulate, test};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 8] = [
    ("format", format),
    ("licences", licences::check),
    ("codegen", codegen),
    ("clippy", clippy),
    ("doc", doc),
    ("test", || test::run(&[])),
    ("simulate", simulate::full),
    ("demo", demo::demo_smoke),
];

/// Runs `ci [<step> …]`: the named steps, or all of them, in their order, up to the first that fails.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let steps = chosen(arguments)?;
    let mut report = Vec::new();
    for (name, step) in steps {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs_f32();
        report.push(format!(
            "{name:<9} {} in {seconds:.1} s",
            if result.is_ok() { "passed" } else { "FAILED" }
        ));
        if let Err(error) = result {
            println!("\n{}", report.join("\n"));
            return Err(error.context(format!("ci: {name} failed")));
        }
    }
    println!("\n{}", report.join("\n"));
    Ok(())
}

fn chosen(names: &[&str]) -> anyhow::Result<Vec<Step>> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|(step, _)| step != *name)) {
        let known: Vec<_> = STEPS.iter().map(|(step, _)| *step).collect();
        bail!("{unknown}: no such step; the steps are {}", known.join(", "));
    }
    Ok(STEPS.into_iter().filter(|(step, _)| names.is_empty() || names.contains(step)).collect())
}

fn format() -> anyhow::Result<()> {
    command::run(&mut cargo(&["fmt", "--all", "--check"])).context("`cargo fmt --all` puts it right")
}

/// In a process of its own, as a developer runs it.
fn codegen() -> anyhow::Result<()> {
    let xtask = std::env::current_exe()?;
    command::run(Command::new(xtask).args(["codegen", "--check"]).current_dir(command::workspace_root()))
}

fn clippy() -> anyhow::Result<()> {
    command::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn doc() -> anyhow::Result<()> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expect: &[&str]) {
        let steps = chosen(arguments).expect("known steps");
        assert_eq!(steps.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expect, "{arguments:?}");
    }

    #[test]
    fn all_steps_run_unless_some_are_named() {
        check(&[], &["format", "licences", "codegen", "clippy", "doc", "test", "simulate", "demo"]);
        check(&["clippy"], &["clippy"]);
        check(&["doc", "format"], &["format", "doc"]);
    }

    #[test]
    fn an_unknown_step_is_refused_before_any_runs() {
        assert!(chosen(&["format", "tests"]).is_err());
    }
}
