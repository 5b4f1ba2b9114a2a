//! Runs histories and says which of them went wrong, and how to tell them again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use clap::Parser;
use syncline_seams::Moment;
use syncline_seams::mutant::{Mutant, break_this_thread};
use syncline_simulation::{Ground, Outcome, POINTS, Tallies};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulated histories of Syncline.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Options {
    /// How many histories.
    #[arg(long, default_value_t = 1_000)]
    histories: u64,
    /// The seed of the first one; each next one has the next number.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// One history alone, told as it happens.
    #[arg(long, conflicts_with_all = ["histories", "first"])]
    seed: Option<u64>,
    /// Faults on each side of each point; a run with fewer fails.
    #[arg(long, default_value_t = 0)]
    least: u64,
    /// Breaks the engine in this way, to see it found.
    #[arg(long)]
    mutant: Option<Broken>,
    /// Succeeds as soon as one history goes wrong, and fails if none does.
    #[arg(long, requires = "mutant")]
    must_be_found: bool,
    /// Threads; the machine's processors otherwise.
    #[arg(long)]
    threads: Option<usize>,
}

/// How the engine can be broken.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Broken {
    /// Nobody checks his lease.
    Lease,
    /// A release overwrites a wake.
    Wake,
    /// A change set is executed before that is committed.
    Execute,
}

impl Broken {
    fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Wake => "wake",
            Self::Execute => "execute",
        }
    }
}

impl From<Broken> for Mutant {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Lease => Self::WritesWithoutLease,
            Broken::Wake => Self::ReleaseForgetsWakes,
            Broken::Execute => Self::ExecutesFirst,
        }
    }
}

/// Histories that went wrong, after which no more are begun.
const ENOUGH: usize = 5;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    let mutant = options.mutant.map(Mutant::from);
    if let Some(seed) = options.seed {
        break_this_thread(mutant);
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .without_time()
            .init();
        let outcome = Ground::prepare()?.history(seed, true)?;
        println!("{}", outcome.tale.join("\n"));
        println!("digest {:016x}, {} faults", outcome.digest, outcome.faults);
        return Ok(tell(seed, &outcome, options.mutant));
    }
    let next = AtomicU64::new(options.first);
    let end = options.first + options.histories;
    let all = Mutex::new((Tallies::new(), Vec::new(), 0_u64));
    let threads = match options.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().map_or(1, Into::into),
    };
    std::thread::scope(|scope| {
        let run = || -> anyhow::Result<()> {
            break_this_thread(mutant);
            let ground = Ground::prepare()?;
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return Ok(());
                }
                let outcome = ground.history(seed, false).with_context(|| format!("seed {seed}"))?;
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                for (side, tally) in &outcome.tallies {
                    let sum = all.0.entry(*side).or_default();
                    sum.passed += tally.passed;
                    sum.struck += tally.struck;
                }
                all.2 += u64::from(outcome.faults);
                if !tell(seed, &outcome, options.mutant) {
                    all.1.push(seed);
                }
                if all.1.len() >= if options.must_be_found { 1 } else { ENOUGH } {
                    next.store(end, Ordering::Relaxed);
                }
            }
        };
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(run)).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => anyhow::bail!("a history panicked"),
        })
    })?;
    let (tallies, failed, faults) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    if options.must_be_found {
        match failed.iter().min() {
            Some(seed) => println!(
                "the broken engine was found by history {} of {}",
                seed + 1 - options.first,
                options.histories
            ),
            None => println!("the broken engine was not found in {} histories", options.histories),
        }
        return Ok(!failed.is_empty());
    }
    let is_enough = table(&tallies, options.least);
    println!("{} histories, {faults} faults, {} violated: {failed:?}", options.histories, failed.len());
    Ok(failed.is_empty() && is_enough)
}

/// Says what went wrong in a history; true if nothing did.
fn tell(seed: u64, outcome: &Outcome, mutant: Option<Broken>) -> bool {
    for violation in &outcome.violations {
        println!("seed {seed}: {violation}");
    }
    if !outcome.violations.is_empty() {
        let mutant = mutant.map_or_else(String::new, |broken| format!(" --mutant {}", broken.name()));
        println!("seed {seed}: tell it again with: cargo xtask simulate --seed {seed}{mutant}");
    }
    outcome.violations.is_empty()
}

/// How often each side of each point was passed and struck; whether that is often enough.
fn table(tallies: &Tallies, least: u64) -> bool {
    let of = |point, moment| tallies.get(&(point, moment)).copied().unwrap_or_default();
    let mut is_enough = true;
    println!("{:<36} {:>10} {:>8} {:>8}", "point", "passed", "before", "after");
    for (point, _) in POINTS {
        let (before, after) = (of(*point, Moment::Before), of(*point, Moment::After));
        let few = before.struck < least || after.struck < least;
        is_enough &= !few;
        let mark = if few { "  too few" } else { "" };
        println!("{point:<36} {:>10} {:>8} {:>8}{mark}", before.passed, before.struck, after.struck);
    }
    for (point, moment) in tallies.keys() {
        if !POINTS.iter().any(|(known, _)| known == point) {
            println!("{point} {moment:?} is passed and is not in the simulation's table of points");
            is_enough = false;
        }
    }
    is_enough
}
