//! `syncline-soak soak` runs a fleet; everything else is `syncline` itself, so that the fleet's replicas are this program.

use std::process::ExitCode;

use clap::Parser;
use syncline_soak::soak::{self, SoakArgs};

/// That of `syncline`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(version, about)]
enum Command {
    /// Kills replicas at random while commits are pushed, and says whether anything was lost or done twice.
    Soak(SoakArgs),
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_none_or(|first| first != "soak") {
        return syncline::cli::main();
    }
    let Command::Soak(args) = Command::parse();
    match soak::run(&args) {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
