//! The `syncline` binary.

use std::process::ExitCode;

/// Answers are made of many small texts, which libc's allocator is slow with (ADR 0013).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    syncline::cli::main()
}
