//! `rust_api_walk.rs` with the SDK of the service's older name, which speaks JSON, as a program.

use aws_sdk_codestarconnections as sdk;

#[path = "../rust_api_walk.rs"]
mod rust_api_walk;

use std::process::ExitCode;

use rust_api_walk::{Caller, run};

/// The name that the SDK calls the service by.
const SERVICE: &str = "codestar-connections";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["--endpoint", endpoint, "api", arguments @ ..] = arguments.as_slice() else {
        eprintln!("usage: rust-codestar --endpoint URL api …");
        return ExitCode::FAILURE;
    };
    let [key_id, secret] =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| std::env::var(name).unwrap_or_default());
    match run(Caller { endpoint, key_id: &key_id, secret: &secret }, arguments).await {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rust-codestar: {error}");
            ExitCode::FAILURE
        }
    }
}
