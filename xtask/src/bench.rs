//! `cargo xtask bench api|git|sync`: the read path, reading repositories and the engine, measured with release builds.

use std::process::Command;

use anyhow::bail;

use crate::command::{self, cargo};
use crate::environment;

/// Runs `bench api|git|sync [--check] [--no-peers] [<arguments of syncline-bench>]`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    if let Some((&"git", arguments)) = arguments.split_first() {
        return run_git(arguments);
    }
    let Some((&what @ ("api" | "sync"), arguments)) = arguments.split_first() else {
        bail!("usage: cargo xtask bench api|git|sync [<arguments of syncline-bench api|git|sync>]");
    };
    let mut peers = Vec::new();
    let mut environment = None;
    if !arguments.contains(&"--no-peers") {
        if what == "api" {
            let made = environment::prepare_peers()?;
            peers.push(format!("--fakecloud={}", made.fakecloud().display()));
            environment = Some(made);
        } else {
            let made = environment::prepare_deployers()?;
            peers.push(format!("--sceptre={}", made.sceptre().display()));
            environment = Some(made);
        }
    }
    command::run(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "--package=syncline",
        "--package=syncline-bench",
    ]))?;
    let programs = command::workspace_root().join("target").join("release");
    let mut bench = Command::new(programs.join("syncline-bench"));
    bench
        .current_dir(command::workspace_root())
        .arg(what)
        .arg("--syncline")
        .arg(programs.join("syncline"))
        .args(peers)
        .args(arguments);
    if let Some(environment) = &environment {
        bench.env(environment::VARIABLE, &environment.root);
    }
    command::run(&mut bench)
}

/// Runs `bench git [--check]`: reading repositories, beside the git command line.
fn run_git(arguments: &[&str]) -> anyhow::Result<()> {
    command::run(&mut cargo(&["build", "--release", "--locked", "--package=syncline-bench"]))?;
    let root = command::workspace_root();
    let program = root.join("target").join("release").join("syncline-bench");
    command::run(Command::new(program).current_dir(root).arg("git").args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_bench_is_measured() {
        let check = |arguments: &[&str]| {
            let error = run(arguments).expect_err("nothing to measure").to_string();
            assert!(error.starts_with("usage: cargo xtask bench api|git|sync"), "{error}");
        };
        check(&[]);
        check(&["engine"]);
    }
}
