//! `bench git`: reading repositories over smart HTTP, beside what the git command line needs for the same; and then from
//! servers of other kinds ([`servers`]).
//!
//! The server is `git http-backend` in a process of its own ([`crate::git_host`]) and the same for everybody; they take
//! turns in each round, so that only the ratios of a round are compared. Time is that of whoever waits for the answer.

mod servers;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;
use syncline_git::{Egress, Git, Limits, Remote, Settings};
use syncline_model::names::{BranchName, ObjectId, RepoPath};
use syncline_seams::Outside;

use crate::git_host::{CHANGED, READ};
use crate::process::cpu_seconds;
use crate::report::{self, Bound, Ratio};

/// The arguments of `git`.
#[derive(Debug, Args)]
pub(crate) struct GitArgs {
    /// The folder of the repositories and the report.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Files of the repository.
    #[arg(long, default_value_t = 5_000)]
    files: u32,
    /// Its commits.
    #[arg(long, default_value_t = 3_000)]
    commits: u32,
    /// Rounds, in each of which everybody has a turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Polls without news in each round.
    #[arg(long, default_value_t = 40)]
    polls: u32,
    /// Fail if a goal is missed.
    #[arg(long)]
    check: bool,
}

/// The server, with words for what it should do between the measurements.
#[derive(Debug)]
struct Host {
    url: String,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Host {
    fn start(args: &GitArgs) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("this program's own path")?)
            .args(["git-host", "--files", &args.files.to_string(), "--commits", &args.commits.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the Git host")?;
        let stdin = child.stdin.take().context("a piped standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("a piped standard output")?);
        let mut host = Self { url: String::new(), child, stdin, stdout };
        host.url = host.line()?;
        ensure!(host.url.starts_with("http://"), "the Git host printed {:?}", host.url);
        Ok(host)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, what: &str) -> anyhow::Result<String> {
        writeln!(self.stdin, "{what}")?;
        self.line()
    }

    /// Makes a commit that changes one file; its id.
    fn commit(&mut self) -> anyhow::Result<ObjectId> {
        Ok(self.ask("commit")?.parse()?)
    }

    /// The requests since it was asked last, and the bytes of their answers.
    fn spent(&mut self) -> anyhow::Result<(u64, u64)> {
        let told = self.ask("spent")?;
        let (requests, bytes) = told.split_once(' ').with_context(|| format!("the host said {told:?}"))?;
        Ok((requests.parse()?, bytes.parse()?))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What something cost.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Cost {
    ms: f64,
    requests: f64,
    bytes: f64,
    /// On the disk afterwards, in bytes.
    disk: f64,
    /// Processor time here, that of the programs started included, in milliseconds.
    cpu_ms: f64,
}

/// Something that is measured, in every round.
#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    rounds: Vec<Cost>,
}

impl Measured {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Vec::new() }
    }

    fn median(&self, what: impl Fn(&Cost) -> f64) -> f64 {
        report::median(self.rounds.iter().map(what).collect())
    }

    /// The ratios to another, round by round.
    fn to(&self, other: &Self, what: impl Fn(&Cost) -> f64) -> Vec<f64> {
        self.rounds.iter().zip(&other.rounds).map(|(one, another)| what(one) / what(another)).collect()
    }
}

/// All that is printed and written.
#[derive(Debug, Serialize)]
struct Report<'a> {
    git: String,
    files: u32,
    commits: u32,
    measured: Vec<&'a Measured>,
    ratios: Vec<Ratio>,
}

/// Runs the bench.
pub(crate) fn run(args: &GitArgs) -> anyhow::Result<ExitCode> {
    let folder = args.folder.join("git");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut bench = Bench { host: Host::start(args)?, folder, runtime };
    let (ours, before) = (bench.reader("ours", true), bench.reader("before", false));
    let clone = bench.folder.join("clone.git");
    bench.init(&clone)?;
    let mut poll = Measured::new("poll: syncline");
    let mut poll_by_command = Measured::new("poll: syncline, all by git");
    let mut no_op = Measured::new("poll: git fetch --depth=1 --filter=blob:none");
    let mut first = Measured::new("first sight and two files: syncline");
    let mut first_cli = Measured::new("first sight and two files: git fetch, two git cat-file");
    let mut cloned = Measured::new("first sight: git clone --depth=1");
    let mut update = Measured::new("one commit more and its file: syncline");
    let mut update_cli = Measured::new("one commit more and its file: git fetch, git cat-file");
    for round in 0..=args.rounds {
        let head = bench.host.commit()?;
        let nothing = bench.folder.join("nothing");
        let costs = [
            bench.cost(1, &bench.folder.join("ours"), |bench| {
                bench.look(&ours, "updated", &head, &[CHANGED])
            })?,
            bench.cost(1, &clone, |bench| bench.fetch_and_read(&clone, &[CHANGED]))?,
            bench.cost(args.polls, &nothing, |bench| bench.poll(&ours, &head))?,
            bench.cost(args.polls.min(20), &nothing, |bench| bench.poll(&before, &head))?,
            bench.cost(args.polls.min(20), &nothing, |bench| bench.fetch(&clone))?,
            bench.first_sight(round, &head)?,
            bench.first_sight_by_command(round)?,
            bench.clone(round)?,
        ];
        // The first round only warms up: it has the clones' first download in what should be an update.
        if round > 0 {
            let all = [
                &mut update,
                &mut update_cli,
                &mut poll,
                &mut poll_by_command,
                &mut no_op,
                &mut first,
                &mut first_cli,
                &mut cloned,
            ];
            for (measured, cost) in all.into_iter().zip(costs) {
                measured.rounds.push(cost);
            }
        }
    }
    let (ms, bytes, disk) = (|cost: &Cost| cost.ms, |cost: &Cost| cost.bytes, |cost: &Cost| cost.disk);
    let polls = |what: fn(&Cost) -> f64| poll.rounds.iter().map(what).collect::<Vec<_>>();
    let mut ratios = vec![
        Ratio::new("poll, requests", polls(|cost| cost.requests), Bound::AtMost, 1.0),
        Ratio::new("poll, time / no-op fetch", poll.to(&no_op, ms), Bound::AtMost, 1.0),
        Ratio::new("poll, bytes / no-op fetch", poll.to(&no_op, bytes), Bound::AtMost, 1.1),
        Ratio::new("poll, processor time in ms", polls(|cost| cost.cpu_ms), Bound::AtMost, 3.0),
        Ratio::new("first sight, time / git fetch and reads", first.to(&first_cli, ms), Bound::AtMost, 1.0),
        Ratio::new(
            "first sight, bytes / git fetch and reads",
            first.to(&first_cli, bytes),
            Bound::AtMost,
            1.1,
        ),
        Ratio::new("first sight, disk / git fetch and reads", first.to(&first_cli, disk), Bound::AtMost, 1.1),
        Ratio::new("git clone --depth=1, time / first sight", cloned.to(&first, ms), Bound::AtLeast, 8.0),
        Ratio::new("one commit more, time / git", update.to(&update_cli, ms), Bound::AtMost, 1.0),
        Ratio::new("one commit more, bytes / git", update.to(&update_cli, bytes), Bound::AtMost, 1.1),
        Ratio::new("one commit more, disk / git", update.to(&update_cli, disk), Bound::AtMost, 1.1),
    ];
    let others = servers::measure(&mut bench, args)?;
    let mut measured =
        vec![&poll, &poll_by_command, &no_op, &first, &first_cli, &cloned, &update, &update_cli];
    for other in &others {
        measured.extend(other.measured());
        ratios.extend(other.ratios());
    }
    let git = git_version()?;
    let report = Report { git, files: args.files, commits: args.commits, measured, ratios };
    report::tell(&report, &report.table(), &report.ratios, &args.folder.join("git.json"), args.check)
}

impl Report<'_> {
    fn table(&self) -> String {
        let mut text = format!(
            "{}, {} files, {} commits; medians of {} rounds\n\n{:58} {:>8} {:>9} {:>11} {:>11} {:>8}\n",
            self.git,
            self.files,
            self.commits,
            self.measured[0].rounds.len(),
            "",
            "ms",
            "requests",
            "bytes",
            "disk",
            "cpu ms"
        );
        for measured in &self.measured {
            text.push_str(&format!(
                "{:58} {:>8.2} {:>9.1} {:>11.0} {:>11.0} {:>8.2}\n",
                measured.name,
                measured.median(|cost| cost.ms),
                measured.median(|cost| cost.requests),
                measured.median(|cost| cost.bytes),
                measured.median(|cost| cost.disk),
                measured.median(|cost| cost.cpu_ms),
            ));
        }
        text + "\n" + &report::table(&self.ratios)
    }
}

struct Bench {
    host: Host,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// Syncline's reader with a cache of its own.
    fn reader(&self, cache: &str, in_process: bool) -> Git {
        let mut settings = Settings::new(self.folder.join(cache));
        settings.egress = Egress::new(vec!["127.0.0.1".parse().expect("an address")], Vec::new());
        settings.limits = Limits { max_memory_bytes: 0, ..Limits::default() };
        settings.in_process = in_process;
        Git::new(settings, Outside::default())
    }

    fn remote(&self) -> Remote {
        Remote {
            url: self.host.url.parse().expect("a url"),
            credential: None,
            ssh: None,
            extra_root_pem: None,
        }
    }

    /// What one of `times` in a row costs: the median time, and the mean of the rest.
    fn cost(
        &mut self,
        times: u32,
        disk: &Path,
        mut act: impl FnMut(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Cost> {
        self.host.spent()?;
        let cpu = cpu_ms()?;
        let mut took = Vec::new();
        for _ in 0..times {
            let began = Instant::now();
            act(self)?;
            took.push(ms(began.elapsed()));
        }
        let cpu_ms = cpu_ms()? - cpu;
        let (requests, bytes) = self.host.spent()?;
        let each = f64::from(times);
        Ok(Cost {
            ms: report::median(took),
            requests: requests as f64 / each,
            bytes: bytes as f64 / each,
            disk: size(disk)? as f64,
            cpu_ms: cpu_ms / each,
        })
    }

    fn poll(&self, git: &Git, expect: &ObjectId) -> anyhow::Result<()> {
        self.poll_at(&self.remote(), git, expect)
    }

    fn poll_at(&self, remote: &Remote, git: &Git, expect: &ObjectId) -> anyhow::Result<()> {
        let main: BranchName = "main".parse()?;
        let heads = self.runtime.block_on(git.heads(remote, std::slice::from_ref(&main)))?;
        ensure!(heads.get(&main) == Some(expect), "{heads:?} instead of {expect}");
        Ok(())
    }

    /// Looks for the head, fetches it and reads files.
    fn look(&self, git: &Git, key: &str, expect: &ObjectId, paths: &[&str]) -> anyhow::Result<()> {
        self.look_at(&self.remote(), git, key, expect, paths)
    }

    fn look_at(
        &self,
        remote: &Remote,
        git: &Git,
        key: &str,
        expect: &ObjectId,
        paths: &[&str],
    ) -> anyhow::Result<()> {
        self.poll_at(remote, git, expect)?;
        self.runtime.block_on(async {
            git.fetch(remote, key, expect).await?;
            for path in paths {
                let path: RepoPath = path.parse()?;
                let content = git.read(remote, key, expect, &path, 1 << 20).await?;
                ensure!(content.len() > 100, "{path} is short");
            }
            Ok(())
        })
    }

    /// By a reader that has never seen the remote.
    fn first_sight(&mut self, round: usize, head: &ObjectId) -> anyhow::Result<Cost> {
        let name = format!("first-{round}");
        let git = self.reader(&name, true);
        let disk = self.folder.join(&name);
        let cost = self.cost(1, &disk, |bench| bench.look(&git, "first", head, &READ))?;
        fs::remove_dir_all(disk)?;
        Ok(cost)
    }

    fn first_sight_by_command(&mut self, round: usize) -> anyhow::Result<Cost> {
        let disk = self.folder.join(format!("first-{round}.git"));
        self.init(&disk)?;
        let cost = self.cost(1, &disk, |bench| bench.fetch_and_read(&disk, &READ))?;
        fs::remove_dir_all(disk)?;
        Ok(cost)
    }

    fn clone(&mut self, round: usize) -> anyhow::Result<Cost> {
        let disk = self.folder.join(format!("clone-{round}"));
        let cost = self.cost(1, &disk, |bench| {
            let target = disk.to_str().context("a path in UTF-8")?;
            git(&bench.folder, &["clone", "--quiet", "--depth=1", &bench.host.url, target]).map(drop)
        })?;
        fs::remove_dir_all(disk)?;
        Ok(cost)
    }

    /// A bare repository that may fetch from the host.
    fn init(&self, directory: &Path) -> anyhow::Result<()> {
        self.init_for(directory, &self.host.url)
    }

    fn init_for(&self, directory: &Path, url: &str) -> anyhow::Result<()> {
        fs::create_dir_all(directory)?;
        // As a clone has it; what a template brings along is not the download's.
        git(directory, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main"])?;
        git(directory, &["remote", "add", "origin", url]).map(drop)
    }

    fn fetch(&self, directory: &Path) -> anyhow::Result<()> {
        self.fetch_with(directory, "--filter=blob:none")
    }

    fn fetch_with(&self, directory: &Path, filter: &str) -> anyhow::Result<()> {
        let arguments = ["fetch", "--quiet", "--depth=1", filter, "--no-tags", "origin"];
        git(directory, &[&arguments[..], &["+main:main"]].concat()).map(drop)
    }

    fn fetch_and_read(&self, directory: &Path, paths: &[&str]) -> anyhow::Result<()> {
        self.fetch(directory)?;
        self.read(directory, paths)
    }

    fn read(&self, directory: &Path, paths: &[&str]) -> anyhow::Result<()> {
        for path in paths {
            let content = git(directory, &["cat-file", "blob", &format!("main:{path}")])?;
            ensure!(content.len() > 100, "{path} is short");
        }
        Ok(())
    }
}

/// Runs git as a user would, but for the machine's configuration.
fn git(directory: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .output()
        .context("git could not be started")?;
    if !output.status.success() {
        bail!("git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn git_version() -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&git(Path::new("."), &["version"])?).trim().to_owned())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The bytes of the files below a directory; 0 if there is none.
fn size(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

/// The processor time of this process and the programs that it started and that have ended, in milliseconds.
fn cpu_ms() -> anyhow::Result<f64> {
    let own = cpu_seconds(std::process::id()).context("this system does not tell processor times")?;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // proc_pid_stat(5): after the name in brackets, cutime and cstime are the 14th and 15th, in ticks.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<u64> { Ok(fields.get(index).context("a field")?.parse()?) };
    let children = (ticks(13)? + ticks(14)?) as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok((own + children) * 1e3)
}
