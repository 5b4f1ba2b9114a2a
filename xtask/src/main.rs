//! The project's own tasks: `cargo xtask <task>`.

mod bench;
mod ci;
mod codegen;
mod command;
mod demo;
mod environment;
mod kill;
mod licences;
mod node;
mod openssh;
mod postgres;
mod python;
mod simulate;
mod soak;
mod test;
mod version;

use std::process::ExitCode;

use anyhow::bail;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Its causes in one line; a backtrace would bury it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments.split_first() {
        Some((&"codegen", rest)) => codegen::run(rest),
        Some((&"test", rest)) => test::run(rest),
        Some((&"ci", rest)) => ci::run(rest),
        Some((&"kill", rest)) => kill::run(rest),
        Some((&"simulate", rest)) => simulate::run(rest),
        Some((&"bench", rest)) => bench::run(rest),
        Some((&"soak", rest)) => soak::run(rest),
        _ => bail!(
            "usage: cargo xtask test [--extended] [-- <test arguments>] | ci [<step> …] | kill [<random kills>] | \
             simulate [--histories <N>] [--first <seed>] [--seed <seed>] | \
             soak [--seconds N] [--replicas N] [--stacks N] [--database sqlite|postgres] [--seed N] | \
             bench api|sync [--check] [--no-peers] | bench git [--check] | \
             codegen [--check | --import <service-2.json[.gz]>]"
        ),
    }
}
