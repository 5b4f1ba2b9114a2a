//! `cargo xtask bench api` and `cargo xtask bench sync`: the read path and the engine, measured with release builds.

use std::process::Command;

use anyhow::bail;

use crate::command::{self, cargo};
use crate::environment;

/// Runs `bench api|sync [--check] [--no-peers] [<arguments of syncline-bench>]`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let Some((&what @ ("api" | "sync"), arguments)) = arguments.split_first() else {
        bail!("usage: cargo xtask bench api|sync [<arguments of syncline-bench api|sync>]");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_and_the_engine_are_measured() {
        let check = |arguments: &[&str]| {
            let error = run(arguments).expect_err("nothing to measure").to_string();
            assert!(error.starts_with("usage: cargo xtask bench api|sync"), "{error}");
        };
        check(&[]);
        check(&["engine"]);
    }
}
