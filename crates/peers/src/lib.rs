//! Other people's programs that tests run against: moto, LocalStack, OpenSSH, and the Pythons and the Node.js of AWS's clients.
//!
//! They live in the test environment, which `cargo xtask test` makes. Every peer listens on a port of
//! 127.0.0.1 that the kernel chose, so any number may run at once, and ends with the process that started it,
//! however that ends: it is killed when dropped, and by itself when its standard input is closed. What a peer
//! prints is kept, and shown when the test panics.
//!
//! A peer that is not installed is no failure: its constructor answers `None` after saying in one line on
//! standard error what is skipped and why. A peer that is installed and does not start is one, and panics.

pub mod openssh;
pub mod postgres;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use syncline_seams::{CallError, Outside};
use tempfile::TempDir;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;

/// How long a peer may take until it answers: LocalStack needs 2 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How many bytes of a peer's log a failing test shows.
const LOG_SHOWN: usize = 8_000;

/// The AWS clients' generations, each with a Python environment of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boto3 {
    /// The first 1.36, the oldest that must work.
    V1_36,
    /// The last 1.43.
    V1_43,
    /// The 1.44 of today, beside awscli, moto and cfn-lint.
    V1_44,
}

impl Boto3 {
    fn venv(self) -> &'static str {
        match self {
            Self::V1_36 => "venv-boto3-1.36",
            Self::V1_43 => "venv-boto3-1.43",
            Self::V1_44 => "venv",
        }
    }
}

/// The folder of the test environment: `$SYNCLINE_TEST_ENV`, or the workspace's own `.test-env` if it exists.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "cargo xtask test says by environment where its environment is"
)]
pub fn test_env() -> Option<PathBuf> {
    let named = std::env::var_os("SYNCLINE_TEST_ENV").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(workspace().join(".test-env")).filter(|path| path.is_dir()))
}

/// The Python that has this boto3; `None` when the test environment has not been made.
#[must_use]
pub fn python(boto3: Boto3) -> Option<PathBuf> {
    in_folder(boto3.venv(), "python")
}

/// The `aws` command of awscli; `None` when the test environment has not been made.
#[must_use]
pub fn aws() -> Option<PathBuf> {
    in_folder("venv", "aws")
}

/// The `cfn-lint` command; `None` when the test environment has not been made.
#[must_use]
pub fn cfn_lint() -> Option<PathBuf> {
    in_folder("venv", "cfn-lint")
}

/// The walks of `clients/rust_walk.rs` and `clients/rust_api_walk.rs` with the last AWS SDK for codeconnections
/// that speaks JSON; `None` when they have not been built.
#[must_use]
pub fn rust_json() -> Option<PathBuf> {
    in_folder("rust-json", "rust-json")
}

/// The walk of `clients/rust_api_walk.rs` with the AWS SDK for codestar-connections; `None` when it has not been
/// built.
#[must_use]
pub fn rust_codestar() -> Option<PathBuf> {
    in_folder("rust-json", "rust-codestar")
}

/// The Node.js beside which the AWS SDK for JavaScript is installed; `None` when the test environment has not
/// been made.
#[must_use]
pub fn node() -> Option<PathBuf> {
    in_folder("js", "node")
}

/// GitHub's own examples of webhooks: a folder for each edition, with a file `index.json`.
#[must_use]
pub fn webhook_examples() -> Option<PathBuf> {
    let folder = told(folder_of(test_env().as_deref(), "webhooks"))?;
    Some(folder.join("node_modules/@octokit/webhooks-examples"))
}

/// Samples of the webhooks of GitLab, Bitbucket, Azure DevOps and Gitea, from Weblate's tests: a file of JSON for each, whose name
/// begins with the forge's.
#[must_use]
pub fn webhook_samples() -> Option<PathBuf> {
    told(folder_of(test_env().as_deref(), "webhook-samples"))
}

/// A script of the repository's `clients` folder, by its file name.
#[must_use]
pub fn client(file_name: &str) -> PathBuf {
    workspace().join("clients").join(file_name)
}

/// moto's server: CloudFormation, STS, S3 and EventBridge in memory, empty at the start.
#[derive(Debug)]
pub struct Moto(Peer);

impl Moto {
    /// Starts moto and waits until it answers; `None` when the test environment has not been made.
    ///
    /// # Panics
    /// When moto is installed and does not start, with what it printed.
    pub async fn start() -> Option<Self> {
        let python = python(Boto3::V1_44)?;
        Some(Self(Peer::start("moto", &python, "moto_on_loopback.py", "/moto-api/").await))
    }

    /// `http://127.0.0.1:<port>`, to be used as every AWS service's endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }
}

/// LocalStack's community edition, whose CloudFormation is asynchronous and rolls back; empty at the start.
#[derive(Debug)]
pub struct LocalStack(Peer);

impl LocalStack {
    /// Starts LocalStack and waits until it answers; `None` when `cargo xtask test --extended` has not
    /// installed it.
    ///
    /// # Panics
    /// When LocalStack is installed and does not start, with what it printed.
    pub async fn start() -> Option<Self> {
        let python = in_folder("venv-localstack", "python")?;
        let health = "/_localstack/health";
        Some(Self(Peer::start("LocalStack", &python, "localstack_on_loopback.py", health).await))
    }

    /// `http://127.0.0.1:<port>`, to be used as every AWS service's endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A program of one of the environment's folders, or a line on standard error that says why there is none.
fn in_folder(name: &str, program: &str) -> Option<PathBuf> {
    told(installed(test_env().as_deref(), name, program))
}

fn told<T>(found: Result<T, String>) -> Option<T> {
    found.map_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn installed(test_env: Option<&Path>, name: &str, program: &str) -> Result<PathBuf, String> {
    Ok(folder_of(test_env, name)?.join("bin").join(program))
}

/// A folder that lacks its recipe was interrupted while it was made.
fn folder_of(test_env: Option<&Path>, name: &str) -> Result<PathBuf, String> {
    let task = if name == "venv-localstack" { "cargo xtask test --extended" } else { "cargo xtask test" };
    let Some(test_env) = test_env else {
        return Err(format!("no test environment; `{task}` makes it"));
    };
    let folder = test_env.join(name);
    if folder.join(".recipe").exists() {
        Ok(folder)
    } else {
        Err(format!("{} is not installed; `{task}` does it", folder.display()))
    }
}

/// Why a peer did not come up.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("it printed {0:?} where its endpoint was expected")]
    NoEndpoint(String),
    #[error("it answered {0:?} to the first request")]
    NotReady(String),
}

/// A child process that serves HTTP.
#[derive(Debug)]
struct Peer {
    name: &'static str,
    endpoint: String,
    child: Child,
    /// Its end tells the peer to end.
    stdin: Option<ChildStdin>,
    /// Everything the peer writes: its log, its home, its state.
    folder: TempDir,
}

impl Peer {
    async fn start(name: &'static str, python: &Path, script: &str, health: &str) -> Self {
        let mut peer = Self::spawn(name, python, &client(script))
            .unwrap_or_else(|error| panic!("{name} cannot be started with {}: {error}", python.display()));
        match Outside::default().call("testkit.start_peer", START_LIMIT, peer.wait_until_ready(health)).await
        {
            Ok(()) => peer,
            // The peer is dropped by the panic, which prints its log.
            Err(error) => panic!("{name} did not start: {error}"),
        }
    }

    fn spawn(name: &'static str, python: &Path, script: &Path) -> io::Result<Self> {
        let folder = TempDir::with_prefix("syncline-peer-")?;
        let mut child = Command::new(python)
            .arg("-I")
            .arg(script)
            .current_dir(folder.path())
            // Nothing of the developer's AWS settings, proxies or home may reach a peer.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .env("FILESYSTEM_ROOT", folder.path())
            .env("AWS_ACCESS_KEY_ID", "peer")
            .env("AWS_SECRET_ACCESS_KEY", "peer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()?;
        let stdin = child.stdin.take();
        Ok(Self { name, endpoint: String::new(), child, stdin, folder })
    }

    /// Reads the line that names the endpoint, then makes one request, which the peer answers once it can.
    async fn wait_until_ready(&mut self, health: &str) -> Result<(), StartError> {
        let stdout = self.child.stdout.take().ok_or_else(|| io::Error::other("standard output is taken"))?;
        let mut line = String::new();
        BufReader::new(ChildStdout::from_std(stdout)?).read_line(&mut line).await?;
        let endpoint = line.trim().split_once(' ').map(|(_, endpoint)| endpoint);
        let Some(address) = endpoint.and_then(|endpoint| endpoint.strip_prefix("http://")) else {
            return Err(StartError::NoEndpoint(line));
        };
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {health} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if !status.ends_with(b" 200 OK") {
            return Err(StartError::NotReady(String::from_utf8_lossy(status).into_owned()));
        }
        self.endpoint = format!("http://{address}");
        Ok(())
    }

    fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} printed:\n{}---", self.name, self.log());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("peer.py");
        fs::write(&path, text).expect("a script");
        (folder, path)
    }

    #[tokio::test]
    async fn moto_answers_and_ends_with_its_handle() {
        let Some(moto) = Moto::start().await else { return };
        let address = moto.endpoint().strip_prefix("http://").expect("an http endpoint").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        TcpStream::connect(&address).await.expect("moto accepts connections");
        drop(moto);
        TcpStream::connect(&address).await.expect_err("nobody listens any more");
    }

    #[tokio::test]
    async fn moto_ends_with_a_test_that_was_killed() {
        let Some(mut moto) = Moto::start().await else { return };
        drop(moto.0.stdin.take()); // which is what the kernel does for a process that is no more
        assert!(moto.0.child.wait().expect("it ends").success());
    }

    #[tokio::test]
    async fn two_motos_do_not_meet() {
        let (Some(one), Some(other)) = tokio::join!(Moto::start(), Moto::start()) else { return };
        assert_ne!(one.endpoint(), other.endpoint());
    }

    #[tokio::test]
    async fn localstack_answers_and_ends_with_its_handle() {
        let Some(localstack) = LocalStack::start().await else { return };
        let address = localstack.endpoint().strip_prefix("http://").expect("an http endpoint").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        drop(localstack);
        TcpStream::connect(&address).await.expect_err("nobody listens any more");
    }

    #[tokio::test]
    async fn a_peer_that_ends_at_once_is_reported_with_what_it_printed() {
        let (_folder, script) = script("import sys; sys.exit('out of order')");
        let Some(python) = python(Boto3::V1_44) else { return };
        let mut peer = Peer::spawn("test peer", &python, &script).expect("a Python that starts");
        let error = peer.wait_until_ready("/").await.expect_err("it has ended");
        assert!(matches!(&error, StartError::NoEndpoint(line) if line.is_empty()), "{error}");
        peer.child.wait().expect("it has ended");
        assert_eq!(peer.log(), "out of order\n");
    }

    #[tokio::test]
    async fn a_peer_that_answers_with_an_error_is_not_ready() {
        let (_folder, script) = script(concat!(
            "import http.server\n",
            "server = http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)\n",
            "print('ready http://127.0.0.1:%d' % server.server_port, flush=True)\n",
            "server.serve_forever()\n",
        ));
        let Some(python) = python(Boto3::V1_44) else { return };
        let mut peer = Peer::spawn("test peer", &python, &script).expect("a Python that starts");
        let error = peer.wait_until_ready("/").await.expect_err("it has no such page");
        assert!(matches!(&error, StartError::NotReady(status) if status.contains(" 501 ")), "{error}");
    }

    #[test]
    fn every_client_is_of_the_generation_it_is_asked_for() {
        let check = |program: Option<PathBuf>, arguments: &[&str], expect: &str| {
            let Some(program) = program else { return };
            let output = Command::new(&program).args(arguments).output().expect("a program that starts");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(printed.starts_with(expect), "{}: {output:?}", program.display());
        };
        let version = ["-I", "-c", "import boto3; print(boto3.__version__)"];
        check(python(Boto3::V1_36), &version, "1.36.0");
        check(python(Boto3::V1_43), &version, "1.43.");
        check(python(Boto3::V1_44), &version, "1.44.");
        check(aws(), &["--version"], "aws-cli/1.46.");
        check(cfn_lint(), &["--version"], "cfn-lint 1.");
        check(node(), &["--version"], "v");
    }

    #[test]
    fn what_is_not_installed_is_skipped_with_the_reason_and_the_remedy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let check = |test_env: Option<&Path>, venv: &str, expect: Result<PathBuf, String>| {
            assert_eq!(installed(test_env, venv, "python"), expect);
        };
        let root = folder.path();
        check(None, "venv", Err("no test environment; `cargo xtask test` makes it".into()));
        fs::create_dir_all(root.join("venv/bin")).expect("a half-made venv");
        let half = format!("{}/venv is not installed; `cargo xtask test` does it", root.display());
        check(Some(root), "venv", Err(half));
        fs::write(root.join("venv/.recipe"), "").expect("a recipe");
        check(Some(root), "venv", Ok(root.join("venv/bin/python")));
        let extended = format!(
            "{}/venv-localstack is not installed; `cargo xtask test --extended` does it",
            root.display()
        );
        check(Some(root), "venv-localstack", Err(extended));
    }
}
