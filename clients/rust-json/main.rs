//! `rust_walk.rs` and `rust_api_walk.rs` with an SDK that speaks JSON, as a program: the command line of
//! `boto3_walk.py`, and the command `api` for the other.

use aws_sdk_codeconnections as sdk;

#[path = "../rust_api_walk.rs"]
mod rust_api_walk;
#[path = "../rust_walk.rs"]
mod rust_walk;

use std::process::ExitCode;

/// The name that the SDK calls the service by.
const SERVICE: &str = "codeconnections";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["--endpoint", endpoint, command @ ..] = arguments.as_slice() else {
        eprintln!("usage: rust-json --endpoint URL setup|wait|teardown|api …");
        return ExitCode::FAILURE;
    };
    let [key_id, secret, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SYNCLINE_WALK_TOKEN"]
        .map(|name| std::env::var(name).unwrap_or_default());
    let (key_id, secret) = (key_id.as_str(), secret.as_str());
    let seen = if let ["api", arguments @ ..] = command {
        rust_api_walk::run(rust_api_walk::Caller { endpoint, key_id, secret }, arguments).await
    } else {
        rust_walk::run(rust_walk::Caller { endpoint, key_id, secret, token: &token }, command).await
    };
    match seen {
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
