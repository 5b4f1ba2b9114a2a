//! The `syncline` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    syncline::cli::main()
}
