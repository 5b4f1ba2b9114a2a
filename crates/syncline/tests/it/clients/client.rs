//! The clients: other people's programs behind one command line (that of `clients/boto3_walk.py`).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use syncline_seams::{CallError, Outside};
use syncline_testkit::peers::{self, Boto3};
use tempfile::TempDir;
use thiserror::Error;
use tokio::process::Command;

use super::rust_walk::{self, Caller};
use crate::serving::{KEY_ID, SECRET};

/// The longest that one command of a client may take: it bounds its own waiting by 180 s, which is only ever
/// near on a machine that is busy with much else.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// An AWS client and the name under which it calls the service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// For the names of resources and for messages: lowercase letters, digits and `-`.
    pub(crate) name: &'static str,
    runs: Runs,
}

#[derive(Debug, Clone)]
enum Runs {
    /// As a program of its own, with these first arguments.
    Program { program: PathBuf, first: Vec<OsString> },
    /// In the test's process: the newest AWS SDK for Rust.
    Here,
}

impl Client {
    /// boto3's client of `codeconnections`; `None` when it is not installed.
    pub(crate) fn boto3(boto3: Boto3) -> Option<Self> {
        let name = match boto3 {
            Boto3::V1_36 => "boto3-1-36",
            Boto3::V1_43 => "boto3-1-43",
            Boto3::V1_44 => "boto3-1-44",
        };
        Some(Self::script(name, peers::python(boto3)?, "boto3_walk.py", "codeconnections"))
    }

    /// boto3's client of `codestar-connections`, the service's older name; `None` when it is not installed.
    pub(crate) fn boto3_by_the_older_name() -> Option<Self> {
        let python = peers::python(Boto3::V1_44)?;
        Some(Self::script("boto3-codestar", python, "boto3_walk.py", "codestar-connections"))
    }

    /// The AWS CLI; `None` when it is not installed.
    pub(crate) fn awscli() -> Option<Self> {
        // The script finds the CLI itself.
        let _installed = peers::aws()?;
        Some(Self::script("awscli", "bash".into(), "awscli_walk.sh", "codeconnections"))
    }

    /// The last AWS SDK for Rust that speaks JSON; `None` when it is not installed.
    pub(crate) fn rust_json() -> Option<Self> {
        Some(Self { name: "rust-json", runs: Runs::Program { program: peers::rust_json()?, first: vec![] } })
    }

    /// The newest AWS SDK for Rust, which speaks CBOR.
    pub(crate) fn rust_cbor() -> Self {
        Self { name: "rust-cbor", runs: Runs::Here }
    }

    fn script(name: &'static str, program: PathBuf, script: &str, service: &str) -> Self {
        let first = vec![peers::client(script).into(), "--service".into(), service.into()];
        Self { name, runs: Runs::Program { program, first } }
    }

    /// Runs one command and answers the JSON it prints.
    ///
    /// # Panics
    /// When it fails, with what it printed.
    pub(crate) async fn run(&self, endpoint: &str, token: &str, arguments: &[&str]) -> Value {
        let seen = self.try_run(endpoint, token, arguments).await;
        seen.unwrap_or_else(|error| panic!("{} {arguments:?}: {error}", self.name))
    }

    /// Runs one command and answers the JSON it prints, or why there is none.
    pub(crate) async fn try_run(
        &self,
        endpoint: &str,
        token: &str,
        arguments: &[&str],
    ) -> Result<Value, Unseen> {
        let seen = async {
            match &self.runs {
                Runs::Here => {
                    let caller = Caller { endpoint, key_id: KEY_ID, secret: SECRET, token };
                    rust_walk::run(caller, arguments).await.map_err(Unseen::Failed)
                }
                Runs::Program { program, first } => {
                    run_program(program, first, endpoint, token, arguments).await
                }
            }
        };
        Outside::default().call("tests.run_client", COMMAND_LIMIT, seen).await
    }
}

async fn run_program(
    program: &Path,
    first: &[OsString],
    endpoint: &str,
    token: &str,
    arguments: &[&str],
) -> Result<Value, Unseen> {
    let mut command = Command::new(program);
    command.args(first).args(["--endpoint", endpoint]).args(arguments);
    seen_by(command, &[("SYNCLINE_WALK_TOKEN", token)]).await
}

/// Runs a client with the root key and these variables as its whole environment, and answers the JSON it prints.
pub(super) async fn seen_by(mut command: Command, variables: &[(&str, &str)]) -> Result<Value, Unseen> {
    let folder = TempDir::with_prefix("syncline-client-")?;
    command
        .current_dir(folder.path())
        // Nothing of the developer's AWS settings, proxies or home may reach a client.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder.path())
        .env("AWS_ACCESS_KEY_ID", KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        // A script that imports another must not leave anything beside it.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(test_env) = peers::test_env() {
        command.env("SYNCLINE_TEST_ENV", test_env);
    }
    let output = command.output().await?;
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    if !output.status.success() {
        return Err(Unseen::Failed(format!("{}: {stderr}{stdout}", output.status)));
    }
    serde_json::from_str(&stdout)
        .map_err(|error| Unseen::Failed(format!("no JSON: {error}: {stdout}{stderr}")))
}

/// Why a client saw nothing.
#[derive(Debug, Error)]
pub(crate) enum Unseen {
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
}
