//! `cargo xtask bench api`: the read path, measured with release builds.

use std::process::Command;

use anyhow::bail;

use crate::command::{self, cargo};
use crate::environment;

/// Runs `bench api [--check] [--no-peers] [-- <arguments of syncline-bench api>]`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    if let Some((&"git", arguments)) = arguments.split_first() {
        return run_git(arguments);
    }
    let Some((&"api", arguments)) = arguments.split_first() else {
        bail!("usage: cargo xtask bench api [<arguments of syncline-bench api>]");
    };
    let mut peers = Vec::new();
    let mut environment = None;
    if !arguments.contains(&"--no-peers") {
        let made = environment::prepare_peers()?;
        peers.push(format!("--fakecloud={}", made.fakecloud().display()));
        environment = Some(made);
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
        .arg("api")
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
    fn only_the_api_is_measured() {
        let check = |arguments: &[&str]| {
            let error = run(arguments).expect_err("nothing to measure").to_string();
            assert!(error.starts_with("usage: cargo xtask bench api"), "{error}");
        };
        check(&[]);
        check(&["engine"]);
    }
}
