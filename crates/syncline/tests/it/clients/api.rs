//! Every client calls every operation, and knows every refusal for what it is.
//!
//! The clients take the endpoint, the region and the credentials from the environment, in their own variables,
//! and nothing else is set: neither retries nor parsers. Only the SDKs for Rust are told in code, because what
//! would read the environment for them is a crate of its own. Each client has a region for itself, so that it may
//! compare whole lists.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use syncline_seams::Outside;
use syncline_testkit::peers::{self, Boto3};
use syncline_wire::Operation;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{Unseen, seen_by};
use super::rust_api_walk::{self, Caller};
use crate::serving::{Aws, KEY_ID, SECRET, Serve};

/// Nobody listens there: these walks read no repository.
const PROVIDER_ENDPOINT: &str = "http://127.0.0.1:9";

/// The longest that a walk may take: the AWS CLI's needs 50 s of a processor, which it may have to share.
const WALK_LIMIT: Duration = Duration::from_secs(540);

/// The refusals that every walk provokes, each with its HTTP status.
const REFUSALS: [(&str, &str); 8] = [
    ("InvalidInputException", "400"),
    ("LimitExceededException", "429"),
    ("ResourceAlreadyExistsException", "409"),
    ("ResourceNotFoundException", "404"),
    ("ResourceUnavailableException", "400"),
    ("SyncBlockerDoesNotExistException", "404"),
    ("SyncConfigurationStillExistsException", "409"),
    ("ValidationException", "400"),
];

/// A client, and the region that is its own.
#[derive(Debug)]
struct Client {
    name: &'static str,
    region: &'static str,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    /// A script in the client's own language, which has the environment alone.
    Script { program: PathBuf, first: Vec<OsString> },
    /// `clients/rust_api_walk.rs` as a program.
    Rust(PathBuf),
    /// `clients/rust_api_walk.rs` in the test's process, with the newest AWS SDK for Rust.
    Here,
}

impl Runs {
    /// boto3's client of the service by this name; `None` when it is not installed.
    fn boto3(boto3: Boto3, service: &str) -> Option<Self> {
        Some(Self::script(peers::python(boto3)?, "boto3_api_walk.py", Some(service)))
    }

    /// The AWS CLI; `None` when it is not installed.
    fn awscli() -> Option<Self> {
        // The script finds the CLI itself.
        let _installed = peers::aws()?;
        Some(Self::script("bash".into(), "awscli_api_walk.sh", Some("codeconnections")))
    }

    /// The AWS SDK for JavaScript; `None` when it is not installed.
    fn js() -> Option<Self> {
        Some(Self::script(peers::node()?, "js/api_walk.cjs", None))
    }

    fn script(program: PathBuf, file: &str, service: Option<&str>) -> Self {
        let mut first = vec![peers::client(file).into()];
        first.extend(service.into_iter().flat_map(|service| ["--service".into(), service.into()]));
        Self::Script { program, first }
    }
}

impl Client {
    /// Walks, and answers what the walk prints.
    async fn walk(&self, endpoint: &str) -> Result<Value, Unseen> {
        let Self { region, .. } = *self;
        let rest = ["--provider-endpoint", PROVIDER_ENDPOINT, "--syncline", env!("CARGO_BIN_EXE_syncline")];
        let told = [["--region", region].as_slice(), &rest].concat();
        let seen = async {
            match &self.runs {
                Runs::Here => {
                    let caller = Caller { endpoint, key_id: KEY_ID, secret: SECRET };
                    rust_api_walk::run(caller, &told).await.map_err(Unseen::Failed)
                }
                Runs::Rust(program) => {
                    let mut command = Command::new(program);
                    command.args(["--endpoint", endpoint, "api"]).args(told);
                    seen_by(command, &[]).await
                }
                Runs::Script { program, first } => {
                    let mut command = Command::new(program);
                    command.args(first).args(rest);
                    let variables = [
                        ("AWS_ENDPOINT_URL_CODECONNECTIONS", endpoint),
                        ("AWS_ENDPOINT_URL_CODESTAR_CONNECTIONS", endpoint),
                        // boto3 and the AWS CLI read the one, the SDK for JavaScript the other.
                        ("AWS_DEFAULT_REGION", region),
                        ("AWS_REGION", region),
                        // For `syncline connection authorize`.
                        ("SYNCLINE_ENDPOINT", endpoint),
                    ];
                    seen_by(command, &variables).await
                }
            }
        };
        Outside::default().call("tests.run_client", WALK_LIMIT, seen).await
    }
}

#[tokio::test]
async fn boto3_of_every_age_calls_every_operation_and_knows_every_refusal() {
    let (new, older) = ("codeconnections", "codestar-connections");
    every(vec![
        ("boto3 1.36", "eu-west-1", Runs::boto3(Boto3::V1_36, new)),
        ("boto3 1.36 by the older name", "eu-west-2", Runs::boto3(Boto3::V1_36, older)),
        ("boto3 1.44", "eu-west-3", Runs::boto3(Boto3::V1_44, new)),
        ("boto3 1.44 by the older name", "eu-north-1", Runs::boto3(Boto3::V1_44, older)),
    ])
    .await;
}

#[tokio::test]
async fn the_aws_cli_calls_every_operation_and_knows_every_refusal() {
    every(vec![("the AWS CLI", "eu-central-1", Runs::awscli())]).await;
}

#[tokio::test]
async fn the_sdks_for_rust_and_javascript_call_every_operation_and_know_every_refusal() {
    every(vec![
        ("aws-sdk-codeconnections in JSON", "us-east-1", peers::rust_json().map(Runs::Rust)),
        ("aws-sdk-codeconnections in CBOR", "us-east-2", Some(Runs::Here)),
        ("aws-sdk-codestarconnections", "us-west-1", peers::rust_codestar().map(Runs::Rust)),
        ("@aws-sdk/client-codestar-connections", "us-west-2", Runs::js()),
    ])
    .await;
}

/// All of these that are installed, two at a time, at one server. What is not installed has been told.
async fn every(clients: Vec<(&'static str, &'static str, Option<Runs>)>) {
    // The clients share an account, whose rates are not what is tried here.
    let settings = tempfile::NamedTempFile::new().expect("a temporary file");
    let unlimited = "[limits]\naccount_reads_per_second = 0\naccount_writes_per_second = 0\n";
    std::fs::write(settings.path(), unlimited).expect("written");
    let serve = Serve::start_with(Aws::Simulated, |command| {
        command.arg("--config").arg(settings.path());
    });
    let serve = Arc::new(serve.await);
    let turns = Arc::new(Semaphore::new(2));
    let mut walks = JoinSet::new();
    for (name, region, runs) in clients {
        let Some(runs) = runs else { continue };
        let client = Client { name, region, runs };
        let (serve, turns) = (Arc::clone(&serve), Arc::clone(&turns));
        walks.spawn(async move {
            let _turn = turns.acquire().await.expect("never closed");
            let seen = client.walk(&serve.endpoint).await;
            let seen = seen.unwrap_or_else(|error| panic!("{}: {error}", client.name));
            let operations: BTreeSet<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
            assert_eq!(words(&seen["called"]), operations, "{}: what was called", client.name);
            let refusals = REFUSALS.map(|(code, status)| format!("{code} {status}"));
            let refusals: BTreeSet<_> = refusals.iter().map(String::as_str).collect();
            assert_eq!(words(&seen["refused"]), refusals, "{}: what was refused", client.name);
        });
    }
    let mut failed = 0;
    while let Some(ended) = walks.join_next().await {
        // The panic has been printed with the client's name.
        failed += usize::from(ended.is_err());
    }
    assert_eq!(failed, 0, "clients could not walk to the end");
}

fn words(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
