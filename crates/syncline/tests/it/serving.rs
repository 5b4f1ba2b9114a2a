//! `syncline serve` as a child process, as an operator starts it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use syncline_seams::{CallError, Outside};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The root key's id.
pub(crate) const KEY_ID: &str = "AKSLTESTSOFTHEBINARY";
/// The root key's secret.
pub(crate) const SECRET: &str = "a secret of the tests, 40 characters long";
/// The root key's account.
pub(crate) const ACCOUNT: &str = "123456789012";

/// How long the binary may take until it is ready, on a machine that is busy with other tests.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How many bytes of the log a failing test shows.
const LOG_SHOWN: usize = 16_000;

/// Which CloudFormation the server drives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aws<'a> {
    /// The simulated one, in the server's own process.
    Simulated,
    /// A peer that answers for every AWS service at this URL.
    At(&'a str),
}

/// A running server with a data directory of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Serve {
    /// `http://127.0.0.1:<port>`
    pub(crate) endpoint: String,
    child: Child,
    folder: TempDir,
}

impl Serve {
    /// Starts the server on free ports and waits for its `ready` line. It asks Git hosts on loopback for
    /// their heads twice a second.
    ///
    /// # Panics
    /// When it does not start, with its log.
    pub(crate) async fn start(aws: Aws<'_>) -> Self {
        Self::start_with(aws, |_| {}).await
    }

    /// The same with more arguments or another environment. The folder that it is started in has the log and the
    /// data directory.
    ///
    /// # Panics
    /// When it does not start, with its log.
    pub(crate) async fn start_with(aws: Aws<'_>, adjust: impl FnOnce(&mut Command)) -> Self {
        let folder = TempDir::with_prefix("syncline-serve-").expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--poll-interval", "500ms", "--allow-network", "127.0.0.1/32", "--data-dir"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            // Nothing of the developer's AWS settings, proxies or home may reach it.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", folder.path())
            .env("SYNCLINE_ROOT_ACCESS_KEY_ID", KEY_ID)
            .env("SYNCLINE_ROOT_SECRET_ACCESS_KEY", SECRET)
            .env("SYNCLINE_ROOT_ACCOUNT_ID", ACCOUNT)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        match aws {
            Aws::Simulated => command.arg("--simulate-cloudformation"),
            Aws::At(endpoint) => command
                .env("AWS_ENDPOINT_URL", endpoint)
                .env("AWS_ACCESS_KEY_ID", "AKIASYNCLINESERVER00")
                .env("AWS_SECRET_ACCESS_KEY", "whatever"),
        };
        adjust(&mut command);
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("a piped standard output");
        let mut serve = Self { endpoint: String::new(), child, folder };
        let ready = async {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).await?;
            Ok::<_, Unready>(line)
        };
        let line = Outside::default()
            .call("tests.start_serve", START_LIMIT, ready)
            .await
            .unwrap_or_else(|error| panic!("no ready line: {error:?}; the log:\n{}", serve.log()));
        let endpoint = line.strip_prefix("ready ").map(str::trim_end);
        serve.endpoint = endpoint
            .unwrap_or_else(|| panic!("'{line}' is no ready line; the log:\n{}", serve.log()))
            .to_owned();
        serve
    }

    /// The folder that the server was started in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks the server to stop, as whatever runs it does, and waits for its end.
    ///
    /// # Panics
    /// When it does not end, with its log.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?));
        rustix::process::kill_process(id.expect("it runs"), rustix::process::Signal::TERM).expect("told");
        let ended = async { Ok::<_, Unready>(self.child.wait().await?) };
        Outside::default().call("tests.end_serve", START_LIMIT, ended).await.expect("it ends")
    }

    /// The end of what the server logged.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- serve logged:\n{}---", self.log());
        }
    }
}

/// Why the ready line was not read.
#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug when a test fails")]
enum Unready {
    Io(std::io::Error),
    Call(CallError),
}

impl From<std::io::Error> for Unready {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<CallError> for Unready {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
