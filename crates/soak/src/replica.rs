//! A `syncline serve` in a process of its own that is killed, stopped and started again.
//!
//! Each has a supervisor that starts it again whenever it has died, as the machine's would. One that dies without being
//! told to is a finding.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use syncline_seams::{Clock as _, SystemClock};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::within;

/// How long the supervisor waits before it starts one again that has died by itself.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How long an answer of the admin listener may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(10);
/// How many bytes of a log are shown.
const LOG_SHOWN: usize = 8_000;

/// Makes the command that starts one.
pub(crate) type MakeCommand = Box<dyn Fn() -> Command + Send + Sync>;

/// A server that is started again when it has died.
pub struct Replica {
    /// Which one: 1, 2, …
    pub number: usize,
    log: PathBuf,
    shared: Arc<Shared>,
    command: Arc<MakeCommand>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica({})", self.number)
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Where its API is, while it answers.
    endpoint: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    process: Option<(Pid, OwnedFd)>,
    /// The running process was sent SIGKILL.
    is_killed: bool,
    /// It is not to be started again.
    is_last: bool,
    starts: u32,
    ended: Option<ExitStatus>,
    deaths: Vec<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) -> bool {
        let mut state = self.lock();
        let Some((_, process)) = &state.process else { return false };
        // An error means that it has just ended by itself, which its supervisor sees.
        let is_sent = pidfd_send_signal(process, signal).is_ok();
        state.is_killed |= is_sent && signal == Signal::KILL;
        is_sent
    }
}

impl Replica {
    /// One that nobody has started yet; what it logs is appended to the file `log`.
    pub(crate) fn new(number: usize, log: PathBuf, command: MakeCommand) -> Self {
        let (endpoint, _) = watch::channel(None);
        let shared = Arc::new(Shared { state: Mutex::default(), endpoint });
        Self { number, log, shared, command: Arc::new(command), supervisor: Mutex::default() }
    }

    /// Has a supervisor start it, and start it again whenever it ends.
    pub fn begin(&self) {
        let supervised = supervise(Arc::clone(&self.shared), self.log.clone(), Arc::clone(&self.command));
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(supervised));
    }

    /// Whether it has begun and was not asked to end.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Ends its process with SIGKILL, whatever it is doing; its supervisor starts another one. False if none runs.
    pub fn kill(&self) -> bool {
        self.shared.signal(Signal::KILL)
    }

    /// Stops its process with SIGSTOP. False if none runs.
    pub fn pause(&self) -> bool {
        self.shared.signal(Signal::STOP)
    }

    /// Lets its stopped process go on.
    pub fn go_on(&self) {
        self.shared.signal(Signal::CONT);
    }

    /// Asks it with SIGTERM to end, and waits until it has; it is not started again. How it ended.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn terminate(&self) -> ExitStatus {
        self.shared.lock().is_last = true;
        self.shared.signal(Signal::TERM);
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            let ended = within(Duration::from_secs(90), supervisor).await;
            assert!(ended.is_some(), "replica {} does not end on SIGTERM: {}", self.number, self.log());
        }
        self.shared.lock().ended.expect("its supervisor ends with it")
    }

    /// Where its API is; `None` while it starts.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        self.shared.endpoint.borrow().clone()
    }

    /// Waits until it answers requests; where.
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn ready(&self) -> String {
        let mut endpoint = self.shared.endpoint.subscribe();
        let ready = within(crate::PATIENCE, endpoint.wait_for(Option::is_some)).await;
        let ready = ready.and_then(|ready| ready.ok()?.clone());
        ready.unwrap_or_else(|| panic!("replica {} does not start: {}", self.number, self.log()))
    }

    /// How often it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.shared.lock().starts
    }

    /// How its processes ended that nobody had told to.
    #[must_use]
    pub fn deaths(&self) -> Vec<String> {
        self.shared.lock().deaths.clone()
    }

    /// The id of the process that runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.shared.lock().process.as_ref().map(|(pid, _)| pid.as_raw_nonzero().get())
    }

    /// The status and the body that its admin listener answers to a GET; `None` if it does not answer.
    pub async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let log = self.whole_log();
        let address = admin_address(&log)?;
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        };
        within(ADMIN_PATIENCE, exchange).await.flatten()
    }

    /// The end of what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let from = log.len().saturating_sub(LOG_SHOWN);
        let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
        log[from..].to_owned()
    }

    fn whole_log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// The newest admin address that a log tells of.
fn admin_address(log: &str) -> Option<&str> {
    log.rsplit_once(" admin=")?.1.split_whitespace().next()
}

async fn supervise(shared: Arc<Shared>, log: PathBuf, command: Arc<MakeCommand>) {
    loop {
        let mut child = spawn(&log, &command);
        {
            let mut state = shared.lock();
            state.process = process_of(&child);
            state.is_killed = false;
            state.starts += 1;
            if state.is_last {
                // The order to end came while there was nobody to hear it.
                let _ = child.start_kill();
            }
        }
        let mut lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        if let Some(lines) = &mut lines
            && let Ok(Some(line)) = lines.next_line().await
        {
            shared.endpoint.send_replace(line.strip_prefix("ready ").map(str::to_owned));
        }
        let status = child.wait().await.expect("a child of this process");
        shared.endpoint.send_replace(None);
        let died_by_itself = {
            let mut state = shared.lock();
            state.process = None;
            if state.is_last {
                state.ended = Some(status);
                return;
            }
            let was_told = state.is_killed && status.signal() == Some(9);
            if !was_told {
                let start = state.starts;
                state.deaths.push(format!("its process of start {start} ended by itself: {status}"));
            }
            !was_told
        };
        if died_by_itself {
            SystemClock.sleep(AFTER_FAILURE).await;
        }
    }
}

fn spawn(log: &Path, command: &MakeCommand) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
    let mut command = command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
    command.spawn().expect("the program starts")
}

/// A handle of a child that cannot come to mean another process.
fn process_of(child: &Child) -> Option<(Pid, OwnedFd)> {
    let pid = Pid::from_raw(child.id()?.try_into().ok()?)?;
    Some((pid, pidfd_open(pid, PidfdFlags::empty()).expect("a system with pidfds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_start_says_where_the_admin_listener_is() {
        let check = |log: &str, expect: Option<&str>| assert_eq!(admin_address(log), expect, "{log}");
        check("", None);
        check("serving api=127.0.0.1:1 admin=127.0.0.1:2 data_dir=/x\n", Some("127.0.0.1:2"));
        check("a admin=127.0.0.1:2 b\na admin=127.0.0.1:3 b\n", Some("127.0.0.1:3"));
    }
}
