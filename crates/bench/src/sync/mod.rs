//! `bench sync`: the engine, beside a bare client that makes the same calls and the programs that users run instead.
//!
//! Servers, the simulated CloudFormation and other people's programs are processes of their own; Git hosts and the bare
//! client run in this one. Nothing that CloudFormation does takes time by itself, so whatever an engine waits for is
//! its own.

mod floor;
mod peers;
mod report;
pub(crate) mod simulator;
mod world;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use syncline_peers::postgres;

use self::floor::{Calls, Floor};
use self::peers::{Cost, Peer};
use self::report::{Figure, Round, SyncReport};
use self::world::{Around, Syncs, World, now_ms};
use crate::report::{Bound, Ratio, median, tell};
use crate::seeding;

/// The arguments of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// The binary that is measured; this one's `serve` if it is not given.
    #[arg(long)]
    syncline: Option<PathBuf>,
    /// The folder of the databases, the logs and the report.
    #[arg(long, default_value = "target/bench/sync")]
    folder: PathBuf,
    /// Stacks that one push changes.
    #[arg(long, default_value_t = 1_000)]
    stacks: usize,
    /// Pushes that are measured, each followed by the floor.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Stacks of the push that is compared with the one of `--stacks`, if it is to be measured: it takes long.
    #[arg(long)]
    many: Option<usize>,
    /// Sync configurations of the idle server.
    #[arg(long, default_value_t = 10_000)]
    configurations: usize,
    /// Repositories of the idle server.
    #[arg(long, default_value_t = 1_000)]
    repositories: usize,
    /// How long the idle server is watched, in seconds; its repositories are polled as often.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Sync configurations of the database on which a server is started.
    #[arg(long, default_value_t = 100_000)]
    restart: u32,
    /// Stacks that peers deploy.
    #[arg(long, default_value_t = 50)]
    peer_stacks: usize,
    /// The sceptre program, if it is to be measured.
    #[arg(long)]
    sceptre: Option<PathBuf>,
    /// Measure no other programs.
    #[arg(long)]
    no_peers: bool,
    /// Only these: push, postgres, counts, idle, restart, peers. Everything unless given.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Fail if a goal is missed.
    #[arg(long)]
    check: bool,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One push that changes many stacks, on SQLite.
    Push,
    /// The same on PostgreSQL.
    Postgres,
    /// What one commit and one poll call.
    Counts,
    /// Memory and processor time of an idle server.
    Idle,
    /// The time to ready on a large database.
    Restart,
    /// Other people's programs.
    Peers,
}

/// A poll interval during which nothing is polled.
const NEVER: &str = "24h";

/// How many times a server is started on the large database.
const RESTARTS: usize = 5;

/// Runs the bench.
pub(crate) fn run(args: &SyncArgs) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.folder).with_context(|| format!("making {}", args.folder.display()))?;
    let folder = fs::canonicalize(&args.folder)?;
    let bench = std::env::current_exe().context("this program's own path")?;
    let syncline = args.syncline.clone().unwrap_or_else(|| bench.clone());
    let around = Around::start(&bench, syncline, folder)?;
    let mut report = SyncReport::new(args);
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Push) {
        push(args, &around, Database::Sqlite, &mut report)?;
    }
    if wanted(Part::Postgres) {
        match postgres::Server::start_durable() {
            Some(server) => push(args, &around, Database::Postgres(server.url.clone()), &mut report)?,
            None => {
                report.skip("one push on PostgreSQL", "no PostgreSQL of version 15 or newer is installed")
            }
        }
    }
    if wanted(Part::Counts) {
        counts(args, &around, &mut report)?;
    }
    if wanted(Part::Idle) {
        idle(args, &around, &mut report)?;
    }
    if wanted(Part::Restart) {
        restart(args, &around, &mut report)?;
    }
    if wanted(Part::Peers) && !args.no_peers {
        against_peers(args, &around, &mut report)?;
    }
    report.skip("webhook to ExecuteChangeSet", "this bench sends no webhooks");
    tell(&report, &report.table(), report.ratios(), &around.folder.join("sync.json"), args.check)
}

/// Which database a server is on.
enum Database {
    Sqlite,
    Postgres(String),
}

/// One push that changes every stack of a repository, in turns with the floor.
fn push(args: &SyncArgs, around: &Around, on: Database, report: &mut SyncReport) -> anyhow::Result<()> {
    let (name, label, goal, url) = match on {
        Database::Sqlite => ("push-sqlite", "SQLite", 1.3, None),
        Database::Postgres(url) => ("push-postgres", "PostgreSQL", 1.5, Some(url)),
    };
    eprintln!("{label}: making {} stacks …", args.stacks);
    let world = World::new(around, name, url, NEVER)?;
    let mut syncs = filled(around, &world, name, args.stacks)?;
    let floor = Floor::prepare(around, &syncs.repository.url(), args.stacks)?;
    let mut rounds = Vec::new();
    let mut last_calls = Vec::new();
    for number in 1..=args.rounds {
        let (mut round, calls) = push_once(around, &world, &mut syncs)?;
        let (fetch, made) = floor.run(around, &calls, number)?;
        round.floor_fetch_s = fetch.as_secs_f64();
        round.floor_s = fetch.as_secs_f64() + made.as_secs_f64();
        eprintln!("  round {number}: {round}");
        rounds.push(round);
        last_calls = calls;
    }
    let ratios = rounds.iter().map(Round::ratio).collect();
    let stacks = args.stacks;
    let title = format!("{stacks} stacks after one push on {label}, to the floor");
    report.ratio(Ratio::new(&title, ratios, Bound::AtMost, goal));
    report.calls(label, &last_calls);
    if let Some(many) = args.many.filter(|_| name == "push-sqlite") {
        eprintln!("{label}: making {many} stacks …");
        let mut all = filled(around, &world, "many", many)?;
        let (round, _) = push_once(around, &world, &mut all)?;
        eprintln!("  {round}");
        let one = median(rounds.iter().map(|round| round.ours_s).collect());
        let title = format!("{many} stacks after one push, to {stacks}");
        report.ratio(Ratio::new(&title, vec![round.ours_s / one], Bound::AtMost, 12.0));
        report.rounds(&format!("{many} stacks, {label}"), vec![round]);
    }
    report.figure(Figure::of_server(&format!("after it, {label}"), world.server())?);
    report.rounds(&format!("{stacks} stacks, {label}"), rounds);
    Ok(())
}

/// A repository with so many stacks, each of which is at its head.
fn filled(around: &Around, world: &World<'_>, name: &str, count: usize) -> anyhow::Result<Syncs> {
    let repository = around.repository(&format!("bench/{name}"));
    let stacks: Vec<String> = (0..count).map(|number| format!("{name}-{number:05}")).collect();
    let connection = world.connection(name)?;
    let first: Vec<_> = (0..count).flat_map(|number| world::files(number, 0)).collect();
    let sha = around.push(&repository, &first);
    let syncs = world.syncs(&connection, repository, stacks)?;
    world.settled_ms(&syncs.stacks, &sha)?;
    Ok(syncs)
}

/// Pushes a change of every stack, has the repository looked at, and waits until all stacks are at the commit.
fn push_once(around: &Around, world: &World<'_>, syncs: &mut Syncs) -> anyhow::Result<(Round, Vec<Calls>)> {
    let files = syncs.files(0..syncs.stacks.len());
    let (calls, executed) = (around.simulated.calls()?, around.simulated.count("ExecuteChangeSet")?);
    let cpu = world.server().cpu_seconds_with_children()?;
    let sha = around.push(&syncs.repository, &files);
    let begun_ms = now_ms();
    world.wake(&syncs.stacks[0])?;
    let ended_ms = world.settled_after_ms(&syncs.stacks, &sha, executed)?;
    let made = around.simulated.calls()? - calls;
    let calls = floor::by_stack(&around.simulated.told(made)?.newest);
    let round = Round {
        ours_s: (ended_ms - begun_ms) as f64 / 1000.0,
        ours_cpu_s: world.server().cpu_seconds_with_children()? - cpu,
        calls: made,
        stacks: syncs.stacks.len(),
        floor_s: f64::NAN,
        floor_fetch_s: f64::NAN,
    };
    Ok((round, calls))
}

/// What one commit plans, and what one poll calls.
fn counts(args: &SyncArgs, around: &Around, report: &mut SyncReport) -> anyhow::Result<()> {
    let count = 2 * args.stacks;
    eprintln!("counts: making {count} stacks …");
    let world = World::new(around, "counts", None, "1s")?;
    let mut syncs = filled(around, &world, "counts", count)?;
    let touched = count / 2;
    let files = syncs.files(touched..touched + 1);
    let plans = around.simulated.count("CreateChangeSet")?;
    let sha = around.push(&syncs.repository, &files);
    // Nobody is woken: a sync that is asked for by its name is planned whatever the commit says.
    world.settled_ms(&syncs.stacks[touched..=touched], &sha)?;
    // Whatever else the commit could have begun would have begun by then.
    thread::sleep(Duration::from_secs(3));
    let plans = around.simulated.count("CreateChangeSet")? - plans;
    let title = format!("plans after a commit that touches 1 of {count} FILE_CHANGE stacks");
    report.ratio(Ratio::new(&title, vec![plans as f64], Bound::AtMost, 1.0));
    ensure!(plans > 0, "the touched stack was not planned");

    let seconds = 10;
    around.remote_calls();
    thread::sleep(Duration::from_secs(seconds));
    let calls = around.remote_calls();
    let title = format!("remote calls a poll of one repository with {count} syncs");
    // The window may begin right before a poll and end right after one.
    let polls = (seconds + 1) as f64;
    ensure!(calls > 0, "nothing was polled");
    report.ratio(Ratio::new(&title, vec![(calls as f64 / polls).ceil()], Bound::AtMost, 1.0));
    Ok(())
}

/// What a server with many syncs uses while nothing happens.
fn idle(args: &SyncArgs, around: &Around, report: &mut SyncReport) -> anyhow::Result<()> {
    let (count, repositories) = (args.configurations, args.repositories.max(1));
    eprintln!("idle: making {count} stacks of {repositories} repositories …");
    let interval = format!("{}s", args.idle_seconds);
    let world = World::new(around, "idle", None, &interval)?;
    let connection = world.connection("idle")?;
    let each = count.div_ceil(repositories);
    let first: Vec<_> = (0..each).flat_map(|number| world::files(number, 0)).collect();
    let model = around.repository("bench/idle-0");
    let sha = around.push(&model, &first);
    let mut all = Vec::new();
    for number in 0..repositories {
        let repository = if number == 0 {
            model.clone()
        } else {
            around.runtime.block_on(model.copy(&format!("bench/idle-{number}")))
        };
        let of_it = each.min(count.saturating_sub(number * each));
        let stacks = (0..of_it).map(|stack| format!("idle-{number}-{stack}")).collect();
        all.push(world.syncs(&connection, repository, stacks)?);
    }
    for syncs in &all {
        world.settled_ms(&syncs.stacks, &sha)?;
    }
    let memory = |what: &str, report: &mut SyncReport| -> anyhow::Result<()> {
        let server = world.server();
        let title = format!("resident memory with {count} syncs, {what}, MiB");
        report.ratio(Ratio::new(&title, vec![server.memory_mib("VmRSS")?], Bound::AtMost, 150.0));
        Ok(())
    };
    memory("after all were synced", report)?;
    report.figure(Figure::of_server("idle server, after all were synced", world.server())?);
    // One round of polls, so that those of the beginning are over.
    thread::sleep(Duration::from_secs(args.idle_seconds));
    around.remote_calls();
    let (begun, cpu) = (Instant::now(), world.server().cpu_seconds_with_children()?);
    thread::sleep(Duration::from_secs(args.idle_seconds));
    let used = world.server().cpu_seconds_with_children()? - cpu;
    let share = 100.0 * used / begun.elapsed().as_secs_f64();
    let polls = around.remote_calls();
    let title = format!("idle with {count} syncs on {repositories} repositories, % of a core");
    report.ratio(Ratio::new(&title, vec![share], Bound::AtMost, 5.0));
    report.figure(Figure::new("remote calls while idle", polls as f64, "calls"));
    memory("after idling", report)?;
    let syncs = &mut all[0];
    let files = syncs.files(0..syncs.stacks.len());
    let sha = around.push(&syncs.repository, &files);
    world.wake(&syncs.stacks[0])?;
    world.settled_ms(&syncs.stacks, &sha)?;
    memory("after a push", report)
}

/// How long a server takes on a large database until it is ready.
fn restart(args: &SyncArgs, around: &Around, report: &mut SyncReport) -> anyhow::Result<()> {
    let data = seeding::data_dir(&around.folder.join("restart"), args.restart, 1, 8)?;
    let environment = world::environment(&around.simulated);
    let mut seconds = Vec::new();
    for _ in 0..RESTARTS {
        let log = around.folder.join("restart.log");
        let server = world::serve(&around.syncline, &data, "60s", &environment, &log)?;
        seconds.push(server.ready_after.as_secs_f64());
    }
    let title = format!("seconds from a start with {} syncs to ready", args.restart);
    report.ratio(Ratio::new(&title, seconds, Bound::AtMost, 1.0));
    Ok(())
}

/// The same stacks, driven by what users run instead.
fn against_peers(args: &SyncArgs, around: &Around, report: &mut SyncReport) -> anyhow::Result<()> {
    let count = args.peer_stacks;
    let mut peers = Vec::new();
    match syncline_peers::aws() {
        Some(program) => peers.push(Peer::aws(program)),
        None => report
            .skip("aws cloudformation deploy", "awscli is not installed; `cargo xtask bench sync` does it"),
    }
    match args.sceptre.as_deref().filter(|program| program.exists()) {
        Some(program) => peers.push(Peer::sceptre(program.to_owned())),
        None => report.skip("sceptre", "it is not installed; `cargo xtask bench sync` does it"),
    }
    eprintln!("peers: making {count} stacks …");
    let world = World::new(around, "peers", None, NEVER)?;
    let mut syncs = filled(around, &world, "peers", count)?;
    let url = syncs.repository.url();
    for peer in &peers {
        peer.run(around, &url, count).with_context(|| peer.name.to_owned())?;
    }
    let (round, _) = push_once(around, &world, &mut syncs)?;
    let ours = Cost { wall: round.ours_s, cpu: round.ours_cpu_s }.each(count);
    report.cost("syncline", count, ours);
    for peer in &peers {
        let theirs = peer.run(around, &url, count).with_context(|| peer.name.to_owned())?.each(count);
        report.cost(peer.name, count, theirs);
        for (what, ratio) in [("wall", theirs.wall / ours.wall), ("processor", theirs.cpu / ours.cpu)] {
            let title = format!("{what} time a stack of {}, to ours", peer.name);
            report.ratio(Ratio::new(&title, vec![ratio], Bound::AtLeast, 10.0));
        }
    }
    Ok(())
}
