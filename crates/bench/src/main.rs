//! Measures the read path of the API, the reading of repositories and the engine, beside what does the least and beside
//! other people's programs.
//!
//! `cargo xtask bench api` and `cargo xtask bench sync` build and run it. Everything that is measured is a process of its own, and the load comes
//! from this one; they share the machine, so only ratios of loads that took turns in one run mean anything.

mod api;
mod client;
mod constant;
mod generator;
mod git;
mod git_host;
mod peers;
mod process;
mod report;
mod requests;
mod seeding;
mod sync;

use std::process::ExitCode;

use clap::Parser;
use syncline::config::ServeArgs;

/// That of `syncline`, so that the constant answer is on the same footing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(version, about)]
enum Command {
    /// Measures GetResourceSyncStatus, prints a table and writes it as JSON.
    Api(api::ApiArgs),
    /// Measures polls and downloads over smart HTTP, prints a table and writes it as JSON.
    Git(git::GitArgs),
    /// Serves a generated repository, as the server of `git`.
    GitHost(git_host::GitHostArgs),
    /// Measures the engine, prints a table and writes it as JSON.
    Sync(sync::SyncArgs),
    /// Serves the simulated CloudFormation.
    Simulator(sync::simulator::SimulatorArgs),
    /// Serves an answer that never changes, on the HTTP stack of `syncline serve`.
    Constant(constant::ConstantArgs),
    /// Serves as `syncline serve` does; for trying the bench out without the product's own binary.
    Serve(Box<ServeArgs>),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Api(args) => api::run(&args),
        Command::Git(args) => git::run(&args),
        Command::GitHost(args) => git_host::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Sync(args) => sync::run(&args),
        Command::Simulator(args) => sync::simulator::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Constant(args) => constant::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Serve(args) => constant::serve(*args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
