//! The clients: other people's programs behind one command line (that of `clients/boto3_walk.py`).

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use syncline_seams::{CallError, Outside};
use syncline_testkit::peers::{self, Boto3};
use tempfile::TempDir;
use tokio::process::Command;

use crate::serving::{KEY_ID, SECRET};

/// The longest that one command of a client may take: it bounds its own waiting by 60 s.
const COMMAND_LIMIT: Duration = Duration::from_secs(100);

/// An AWS client and the name under which it calls the service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// For the names of resources and for messages: lowercase letters, digits and `-`.
    pub(crate) name: String,
    program: PathBuf,
    script: PathBuf,
    service: &'static str,
}

impl Client {
    /// boto3's client of this service; `None` when it is not installed.
    pub(crate) fn boto3(boto3: Boto3, service: &'static str) -> Option<Self> {
        let version = match boto3 {
            Boto3::V1_43 => "boto3-1-43",
            Boto3::V1_44 => "boto3-1-44",
        };
        let name = if service == "codeconnections" { version.to_owned() } else { format!("{version}-star") };
        Some(Self { name, program: peers::python(boto3)?, script: peers::client("boto3_walk.py"), service })
    }

    /// The AWS CLI; `None` when it is not installed.
    pub(crate) fn awscli() -> Option<Self> {
        // The script finds the CLI itself.
        let _installed = peers::aws()?;
        Some(Self {
            name: "awscli".to_owned(),
            program: "bash".into(),
            script: peers::client("awscli_walk.sh"),
            service: "codeconnections",
        })
    }

    /// Runs one command and answers the JSON it prints.
    ///
    /// # Panics
    /// When it fails, with what it printed.
    pub(crate) async fn run(&self, endpoint: &str, token: &str, arguments: &[&str]) -> Value {
        let folder = TempDir::with_prefix("syncline-client-").expect("a temporary folder");
        let mut command = Command::new(&self.program);
        command
            .arg(&self.script)
            .args(["--endpoint", endpoint, "--service", self.service])
            .args(arguments)
            .current_dir(folder.path())
            // Nothing of the developer's AWS settings, proxies or home may reach a client.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", folder.path())
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("SYNCLINE_WALK_TOKEN", token)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(test_env) = peers::test_env() {
            command.env("SYNCLINE_TEST_ENV", test_env);
        }
        let ended = async { command.output().await.map_err(|error| error.to_string()) };
        let ended = async { ended.await.map_err(Unended::Io) };
        let output = Outside::default()
            .call("tests.run_client", COMMAND_LIMIT, ended)
            .await
            .unwrap_or_else(|error| panic!("{} {arguments:?}: {error:?}", self.name));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {}\n{stderr}", self.name, output.status);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            let stdout = String::from_utf8_lossy(&output.stdout);
            panic!("{} {arguments:?} printed no JSON: {error}\n{stdout}\n{stderr}", self.name)
        })
    }
}

/// Why a client's end was not seen.
#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug when a test fails")]
enum Unended {
    Io(String),
    Call(CallError),
}

impl From<CallError> for Unended {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
