//! `cargo xtask soak`: a fleet in a storm for minutes, and what came of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use syncline_seams::{Clock as _, SystemClock};

use crate::estate::Estate;
use crate::fleet::{Fleet, Kept, Plan};
use crate::storm::{Happened, Weather, configure_all, newest, settle, storm};
use crate::verdict;

/// Of the stacks, one in so many is configured while replicas are killed.
const HELD_BACK: usize = 10;
/// A replica is stopped for longer than its leases of 15 s last.
const PAUSE: Duration = Duration::from_secs(18);

/// The flags of the long run.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// How long replicas are killed.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// How many seconds it may take after the kills until everything is at rest; each lease of a dead replica costs 15.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub settle_seconds: u64,
    /// How many replicas; 3, or 1 on SQLite, unless said otherwise.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub replicas: Option<u64>,
    /// How many stacks.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=5000))]
    pub stacks: u64,
    /// The database.
    #[arg(long, value_enum, default_value_t = Kept::Postgres)]
    pub database: Kept,
    /// Repeats a run's choices; when what happens is up to the machine.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The time between two pushes, in milliseconds.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    pub push_every_ms: u64,
    /// The program whose `serve` is run; this one, which is the same, unless said otherwise.
    #[arg(long)]
    pub program: Option<PathBuf>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What it did, for people.
    pub text: String,
    /// What should not have happened; nothing, if all is well.
    pub found: Vec<String>,
}

/// Runs a fleet, prints what came of it, and says whether all is well.
///
/// # Errors
/// What keeps the fleet from running at all.
pub fn run(args: &SoakArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            report = report(args) => {
                let report = report?.context("PostgreSQL 15 or newer is needed, or --database sqlite")?;
                print!("{}", report.text);
                Ok(if report.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            // The fleet ends with this process.
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::FAILURE),
        }
    })
}

/// Runs a fleet in a storm until it has come to rest; `None` when there is no PostgreSQL for it, which is then said.
///
/// # Errors
/// What keeps the fleet from running at all.
pub async fn report(args: &SoakArgs) -> anyhow::Result<Option<Report>> {
    let seed = args.seed.unwrap_or_else(|| SystemClock.now_ms().unsigned_abs());
    let replicas = args.replicas.unwrap_or(if args.database == Kept::Sqlite { 1 } else { 3 });
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("this program's own path")?,
    };
    let plan = Plan { kept: args.database, ..Plan::of(program, usize::try_from(replicas)?) };
    let Some(fleet) = Fleet::start(&plan).await? else { return Ok(None) };
    let begun_ms = SystemClock.now_ms();
    let mut estate = Estate::link(&fleet, &plan, usize::try_from(args.stacks)?).await?;
    let (held_back, configured): (Vec<_>, Vec<_>) =
        (0..estate.stacks.len()).partition(|number| number % HELD_BACK == HELD_BACK - 1);
    configure_all(&fleet, &estate, &configured).await?;
    println!(
        "{} stacks in {} repositories, {replicas} replicas on {:?}, seed {seed}; logs in {}",
        estate.stacks.len(),
        estate.repositories.len(),
        args.database,
        fleet.folder().display(),
    );
    let weather = Weather {
        lasts: Duration::from_secs(args.seconds),
        push_every: Duration::from_millis(args.push_every_ms),
        kill_every: Some(Duration::from_secs(1)),
        pause: (replicas > 1).then_some(PAUSE),
        seed,
    };
    // The first syncs go on while replicas are killed, too.
    let storm_ms = SystemClock.now_ms();
    let happened = storm(&fleet, &mut estate, held_back, &weather).await;
    let calm_ms = SystemClock.now_ms();
    println!(
        "{} s of kills are over: {} kills, {} pauses of {} s, {} pushes; until everything is at rest …",
        (calm_ms - storm_ms) / 1000,
        happened.kills,
        happened.pauses,
        PAUSE.as_secs(),
        happened.pushes
    );
    let settled = settle(&fleet, &estate, Duration::from_secs(args.settle_seconds)).await;
    let settled_ms = SystemClock.now_ms();
    let mut found = settled.err().unwrap_or_default();
    let mut shown = shown(&fleet, &estate, &found).await;
    let (executed, starts) =
        (fleet.simulator.executions().len(), fleet.replicas.iter().map(|r| r.starts()).collect::<Vec<_>>());
    found.extend(end(&fleet, &estate, &happened).await?);
    let mut text = format!(
        "set up {:.1} s, storm {:.1} s, then {:.1} s until everything was at rest\n\
         kills {}, pauses {}, starts of each replica {starts:?}\n\
         pushes {}, stacks changed by them {}\n\
         requests that change something: {} answered with success, {} not\n\
         executions accepted by CloudFormation {executed}; statuses looked at {}\n",
        seconds(storm_ms - begun_ms),
        seconds(calm_ms - storm_ms),
        seconds(settled_ms - calm_ms),
        happened.kills,
        happened.pauses,
        happened.pushes,
        estate.stacks.iter().map(|stack| stack.history.len() - 1).sum::<usize>(),
        happened.acknowledged.len(),
        happened.failed_requests,
        happened.told.len(),
    );
    if found.is_empty() {
        text.push_str("verdict: nothing lost, nothing twice, every stack at its head or blocked\n");
    } else {
        fleet.keep_folder();
        shown.push_str(&format!("logs are kept in {}\n", fleet.folder().display()));
        text.push_str(&format!(
            "verdict: {} findings, seed {seed}\n{}\n{shown}",
            found.len(),
            found.join("\n")
        ));
    }
    Ok(Some(Report { text, found }))
}

/// Ends a fleet at rest, and everything that is wrong with it.
///
/// # Errors
/// The database's.
pub async fn end(fleet: &Fleet, estate: &Estate, happened: &Happened) -> anyhow::Result<Vec<String>> {
    let mut found = fleet.terminate().await;
    for replica in &fleet.replicas {
        found
            .extend(replica.deaths().into_iter().map(|death| format!("replica {}: {death}", replica.number)));
    }
    let store = fleet.store()?;
    found.extend(verdict::judge(&store, fleet, estate, happened).await?);
    Ok(found)
}

/// What the API tells of the stacks that something was found of.
async fn shown(fleet: &Fleet, estate: &Estate, found: &[String]) -> String {
    let mut text = String::new();
    let Some(client) = fleet.client() else { return text };
    for stack in &estate.stacks {
        if !found.iter().any(|found| found.starts_with(&format!("{}:", stack.name))) {
            continue;
        }
        let commits = stack.history.iter().map(|(at, content)| {
            let sha = &estate.repositories[stack.repository].commits[*at];
            format!("  commit {at} {sha}: {content:?}\n")
        });
        text.push_str(&format!(
            "{} of {}\n",
            stack.name,
            estate.repositories[stack.repository].repository.url()
        ));
        text.extend(commits);
        if let Some(told) = newest(&client, &stack.name).await {
            text.push_str(&format!("  {} {} since {}\n", told.status, told.sha, told.started_at_ms));
            let events = told.events.iter().map(|(kind, event)| format!("    {kind} {event}\n"));
            text.extend(events);
        }
    }
    text
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
