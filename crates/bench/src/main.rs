//! Measures the read path of the API, beside a server that only answers and beside other people's servers, and the reading
//! of repositories, beside git.
//!
//! `cargo xtask bench api` builds and runs it. Everything that is measured is a process of its own, and the load comes
//! from this one; they share the machine, so only ratios of loads that took turns in one run mean anything.

mod api;
mod constant;
mod generator;
mod git;
mod git_host;
mod peers;
mod process;
mod report;
mod requests;
mod seeding;

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
        Command::Constant(args) => constant::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Serve(args) => constant::serve(*args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
