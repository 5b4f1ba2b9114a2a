//! `rust_walk.rs` with an SDK that speaks JSON, as a program with the command line of `boto3_walk.py`.

#[path = "../rust_walk.rs"]
mod rust_walk;

use std::process::ExitCode;

use rust_walk::{Caller, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["--endpoint", endpoint, command @ ..] = arguments.as_slice() else {
        eprintln!("usage: rust-json --endpoint URL setup|wait|teardown …");
        return ExitCode::FAILURE;
    };
    let [key_id, secret, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SYNCLINE_WALK_TOKEN"]
        .map(|name| std::env::var(name).unwrap_or_default());
    match run(Caller { endpoint, key_id: &key_id, secret: &secret, token: &token }, command).await {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rust-json {}: {error}", command.first().unwrap_or(&""));
            ExitCode::FAILURE
        }
    }
}
