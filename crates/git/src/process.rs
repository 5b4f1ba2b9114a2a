//! Runs one git process, hardened and bounded.
//!
//! The process sees none of our environment, no configuration of the machine or of a surrounding
//! repository, and no terminal. It leads a process group of its own, which is killed when the call that
//! started it ends, however it ends.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use syncline_seams::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::error::{GitError, internal};
use crate::settings::Settings;

/// How much of git's complaints is kept.
const MAX_STDERR_BYTES: usize = 64 * 1024;

/// Configuration every process gets, over whatever a repository may say.
const HARDENING: &[(&str, &str)] = &[
    ("protocol.version", "2"),
    ("protocol.allow", "never"),
    ("http.followRedirects", "false"),
    ("http.proxy", ""),
    ("credential.helper", ""),
    ("core.askPass", ""),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    // Larger objects are streamed instead of held in memory.
    ("core.bigFileThreshold", "1m"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.writeCommitGraph", "false"),
    // Always a pack, never loose objects: one file to bound, one rename to finish.
    ("fetch.unpackLimit", "1"),
    ("fetch.uriProtocols", ""),
    ("transfer.bundleURI", "false"),
    ("transfer.fsckObjects", "true"),
    // Old slips of honest clients, harmless where only files are read.
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.badEmail", "ignore"),
    ("fetch.fsck.missingEmail", "ignore"),
    ("fetch.fsck.missingNameBeforeEmail", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.missingSpaceBeforeEmail", "ignore"),
    ("fetch.fsck.zeroPaddedDate", "ignore"),
    ("fetch.fsck.gitmodulesMissing", "ignore"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

/// One git process to be run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) settings: &'a Settings,
    /// The repository; a path that does not exist for commands that need none.
    pub(crate) git_dir: &'a Path,
    pub(crate) arguments: Vec<String>,
    /// Configuration beyond the hardening; may hold a credential.
    pub(crate) config: &'a [(String, Secret)],
    pub(crate) stdin: String,
    /// The most it may print, in bytes.
    pub(crate) max_stdout_bytes: usize,
    /// The largest file it may write, in bytes. Enforced on Linux.
    pub(crate) max_file_bytes: Option<u64>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) is_success: bool,
    pub(crate) stderr: String,
}

/// How a process ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) is_success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// It wanted to print more than it may.
    pub(crate) is_cut: bool,
}

impl Run<'_> {
    /// Runs the process to its end.
    pub(crate) async fn finish(mut self) -> Result<Finished, GitError> {
        let (input, limit) = (std::mem::take(&mut self.stdin), self.max_stdout_bytes);
        let talk = |mut stdin: ChildStdin, stdout: ChildStdout| async move {
            let feed = async move {
                // A process that fails early says why on stderr.
                let _ = stdin.write_all(input.as_bytes()).await;
            };
            // Past the limit our end of the pipe closes, which ends the process.
            tokio::join!(read_at_most(stdout, limit), feed).0
        };
        let (read, ended) = self.converse(talk).await?;
        let (stdout, is_cut) = read.map_err(|error| internal("git's output cannot be read", error))?;
        Ok(Finished { is_success: ended.is_success, stdout, stderr: ended.stderr, is_cut })
    }

    /// Runs the process and talks with it; it ends when `talk` drops its pipes.
    pub(crate) async fn converse<T, F>(
        self,
        talk: impl FnOnce(ChildStdin, ChildStdout) -> F,
    ) -> Result<(T, Ended), GitError>
    where
        F: Future<Output = T>,
    {
        let mut child = self.command().spawn().map_err(|error| internal("git cannot be started", error))?;
        let group = Group::of(&child);
        // Before its first input, and every limited command waits for that.
        if let (Some(limit), Some(Group(Some(pid)))) = (self.max_file_bytes, &group) {
            limit_file_size(*pid, limit);
        }
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(internal("git cannot be started", "its pipes are missing"));
        };
        let (value, complaints) = tokio::join!(talk(stdin, stdout), read_at_most(stderr, MAX_STDERR_BYTES));
        let status = child.wait().await.map_err(|error| internal("git cannot be awaited", error))?;
        Group::disarm(group);
        let (stderr, _) = complaints.map_err(|error| internal("git's output cannot be read", error))?;
        let mut stderr = String::from_utf8_lossy(&stderr).into_owned();
        stderr.push_str(&said_by_signal(status));
        Ok((value, Ended { is_success: status.success(), stderr }))
    }

    fn command(&self) -> Command {
        let nowhere = self.settings.cache_dir.join("home");
        let mut command = Command::new(&self.settings.program);
        command
            .args(&self.arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", &self.settings.search_path)
            .env("LC_ALL", "C")
            .env("HOME", &nowhere)
            .env("XDG_CONFIG_HOME", &nowhere)
            .env("GIT_DIR", self.git_dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.settings.global_config())
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            // Missing blobs are asked for by name, within their own limits, or not at all.
            .env("GIT_NO_LAZY_FETCH", "1");
        let hardening = HARDENING.iter().copied();
        let extra = self.config.iter().map(|(key, value)| (key.as_str(), value.expose().as_str()));
        let mut count = 0;
        for (key, value) in hardening.chain(extra) {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command
            .env("GIT_CONFIG_COUNT", count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Reads to the end, or past `limit`; answers the bytes within it and whether there were more.
async fn read_at_most(mut pipe: impl AsyncRead + Unpin, limit: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = pipe.read(&mut chunk).await?;
        if read == 0 {
            return Ok((bytes, false));
        }
        let room = limit - bytes.len();
        bytes.extend_from_slice(&chunk[..read.min(room)]);
        if read > room {
            return Ok((bytes, true));
        }
    }
}

/// The process group of a running child; killed when dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        Some(Self(Pid::from_raw(id)))
    }

    /// The leader has been reaped and every pipe is closed: its number may be another's now.
    fn disarm(group: Option<Self>) {
        if let Some(mut group) = group {
            group.0 = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Already gone is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(target_os = "linux")]
fn limit_file_size(pid: Pid, bytes: u64) {
    use rustix::process::{Resource, Rlimit, prlimit};
    // It can only fail when the process is gone already.
    let _ = prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(bytes), maximum: Some(bytes) });
}

#[cfg(not(target_os = "linux"))]
fn limit_file_size(_: Pid, _: u64) {}

fn said_by_signal(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal().map_or_else(String::new, |signal| format!("\ngit died of signal {signal}"))
}
