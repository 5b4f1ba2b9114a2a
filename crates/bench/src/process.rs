//! The servers that are measured: child processes that say where they listen.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A server of ours; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How long it took from its start until it said so.
    pub(crate) ready_after: Duration,
    child: Child,
    // A server that prints to a closed pipe would end.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a program, and waits until it prints `ready http://<address>`. What it prints on standard error goes to
    /// the file `log`.
    ///
    /// # Errors
    /// A program that cannot be started or ends before it is ready.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let name = program.display();
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?)
            .spawn()
            .with_context(|| format!("{name}: could not be started"))?;
        let mut stdout = BufReader::new(child.stdout.take().context("a piped standard output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let ready_after = begun.elapsed();
        let Some(address) = line.trim().strip_prefix("ready http://") else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{name} printed {line:?} instead of where it listens; {} says more", log.display());
        };
        let address = address.parse().with_context(|| format!("{name} listens on {address}"))?;
        Ok(Self { address, ready_after, child, _stdout: stdout })
    }

    /// The processor time that it has used so far, in seconds; `None` where the system does not say.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        cpu_seconds(self.child.id())
    }

    /// The processor time that it and its children that have ended have used so far, in seconds.
    ///
    /// # Errors
    /// A system that does not say.
    pub(crate) fn cpu_seconds_with_children(&self) -> anyhow::Result<f64> {
        cpu_seconds_with_children(self.child.id())
    }

    /// A line of what the system says of its memory, such as `VmRSS` or `VmHWM`, in MiB.
    ///
    /// # Errors
    /// A system that does not say.
    pub(crate) fn memory_mib(&self, line: &str) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let found = text.lines().find_map(|of| of.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("{path} has no {line}"))? / 1024.0)
    }
}

/// The processor time of a process and of those of its children that it has waited for, in seconds.
///
/// # Errors
/// A process that there is not, or a system that does not say.
pub(crate) fn cpu_seconds_with_children(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    // proc(5): the name may hold anything, so the fields are counted from its end; utime is the 14th.
    let (_, fields) = text.rsplit_once(") ").with_context(|| path.clone())?;
    let ticks: Vec<u64> = fields.split(' ').skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    if ticks.len() < 4 {
        bail!("{path} does not tell processor times: {text}");
    }
    Ok(ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64)
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time that the threads of a process have been on a processor.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let mut ns = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        ns += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(ns as f64 / 1e9)
}
