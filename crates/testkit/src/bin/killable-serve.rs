//! `syncline serve`, but for its seams: it writes every fault point it passes to a file and may kill itself at
//! one of them. For tests of crashes; never shipped.
//!
//! The arguments of `syncline serve`, and `--passings FILE` and `--kill-at POINT:MOMENT:N`.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use syncline::config::ServeArgs;
use syncline::running::{self, Seams};
use syncline_seams::{FaultPlan, Injected, Moment, Outside, SystemClock};
use syncline_testkit::plans::Deadly;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    serve: ServeArgs,
    /// The file that every passed fault point is appended to, a line each: `<point>:<before|after>`.
    #[arg(long)]
    passings: PathBuf,
    /// Ends this process with SIGKILL at the N-th passing (from 1) of a point: `<point>:<before|after>:<N>`.
    #[arg(long)]
    kill_at: Option<Deadly>,
}

/// Remembers every passing outside of this process, which may be gone the next moment.
#[derive(Debug)]
struct Plan {
    deadly: Option<Deadly>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    passings: std::fs::File,
    counts: HashMap<(&'static str, Moment), u32>,
}

impl FaultPlan for Plan {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let name = Deadly::moment_name(moment);
        // One write to a file opened for appending: whole, in order, and there whatever becomes of us.
        if let Err(error) = state.passings.write_all(format!("{point}:{name}\n").as_bytes()) {
            eprintln!("killable-serve: cannot note a passing: {error}");
            std::process::abort();
        }
        let count = state.counts.entry((point, moment)).or_default();
        *count += 1;
        if self.deadly.as_ref().is_some_and(|deadly| deadly.is(point, moment, *count)) {
            let killed =
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // The signal takes this thread before the call returns; another end would be a failed test.
            eprintln!("killable-serve: still alive after SIGKILL: {killed:?}");
            std::process::abort();
        }
        None
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("killable-serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .init();
    let config = arguments.serve.settle()?;
    let passings = std::fs::OpenOptions::new().create(true).append(true).open(&arguments.passings)?;
    let state = Mutex::new(State { passings, counts: HashMap::new() });
    let plan = Plan { deadly: arguments.kill_at, state };
    let seams = Seams { clock: Arc::new(SystemClock), outside: Outside::with_faults(Arc::new(plan)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let running = running::start(&config, &seams).await?;
        println!("ready http://{}", running.address);
        // Only a signal ends it.
        std::future::pending::<()>().await;
        Ok(())
    })
}
