//! `cargo xtask test`: all tests, in an environment that it makes itself.

use std::process::Command;

use anyhow::bail;

use crate::command::{self, cargo};
use crate::environment;
use crate::postgres::{self, Postgres};

/// Runs `test [--extended] [-- <arguments of the test runner>]`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let Options { extended, filter } = Options::parse(arguments)?;
    if !command::succeeds(Command::new("git").arg("--version")) {
        bail!("the tests need git on the PATH: none was found");
    }
    let environment = environment::prepare(extended)?;
    println!("test environment: {}", environment.root.display());
    // First, so that the run ends with the summary of the tests proper. A filter names none of these.
    if filter.is_empty() {
        command::run(&mut cargo(&["test", "--doc", "--workspace"]))?;
    }
    let runner: &[&str] = if command::succeeds(&mut cargo(&["nextest", "--version"])) {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    // `cargo test` would run the documentation's tests again.
    let targets: &[&str] = if runner == ["test"] { &["--tests"] } else { &[] };
    let names_packages = filter.iter().any(|argument| ["-p", "--package"].contains(argument));
    let packages: &[&str] = if names_packages { &[] } else { &["--workspace"] };
    let postgres = Postgres::start()?;
    let with_peers = |command: &mut Command| {
        command::run(
            command.env(environment::VARIABLE, &environment.root).env(postgres::SERVER, &postgres.url),
        )
    };
    with_peers(cargo(runner).args(packages).args(targets).args(filter))?;
    if filter.is_empty() {
        for again in ON_POSTGRES {
            with_peers(cargo(runner).args(again).env(postgres::DATABASE, "postgres"))?;
        }
    }
    Ok(())
}

/// The tests that are run again with PostgreSQL in the place of SQLite: those of the store, and the stories, but for
/// the sweep, which tells one of them hundreds of times.
const ON_POSTGRES: [&[&str]; 2] = [
    &["--package", "syncline-store", "--test", "it"],
    &["--package", "syncline", "--test", "it", "stories::", "--", "--skip", "sweep"],
];

#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    extended: bool,
    filter: &'a [&'a str],
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [&'a str]) -> anyhow::Result<Self> {
        let end = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        let (own, filter) = arguments.split_at(end);
        let mut extended = false;
        for argument in own {
            match *argument {
                "--extended" => extended = true,
                other => {
                    bail!("{other}: unknown; usage: cargo xtask test [--extended] [-- <test arguments>]")
                }
            }
        }
        Ok(Self { extended, filter: filter.get(1..).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_dashes_goes_to_the_test_runner() {
        let check = |arguments: &[&str], extended, filter: &[&str]| {
            let options = Options::parse(arguments).expect("good arguments");
            assert_eq!(options, Options { extended, filter }, "{arguments:?}");
        };
        check(&[], false, &[]);
        check(&["--extended"], true, &[]);
        check(&["--", "-p", "xtask"], false, &["-p", "xtask"]);
        check(&["--extended", "--", "--extended"], true, &["--extended"]);
    }

    #[test]
    fn an_unknown_argument_is_refused() {
        let error = Options::parse(&["--extendde"]).expect_err("a typing error").to_string();
        assert!(error.starts_with("--extendde: unknown"), "{error}");
    }
}
