//! `bench api`: the read path.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use syncline_peers::postgres;
use syncline_seams::{Clock as _, SystemClock};
use syncline_store::Seed;

use crate::generator::{Load, probe};
use crate::peers::{self, Peer};
use crate::process::Server;
use crate::report::{self, Bound, Measured, Ratio, Report, Sample};
use crate::requests::{Kind, Requests, Signer};
use crate::seeding::{self, ACCOUNT, REGION, USERS};

/// The arguments of `api`.
#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// The binary that is measured; this one's `serve` if it is not given.
    #[arg(long)]
    syncline: Option<PathBuf>,
    /// The folder of the database, the logs and the report.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
    /// Stored sync configurations.
    #[arg(long, default_value_t = 100_000)]
    syncs: u32,
    /// Attempts of each.
    #[arg(long, default_value_t = 10)]
    attempts: u32,
    /// Events of each attempt.
    #[arg(long, default_value_t = 20)]
    events: u32,
    /// Requests under way at any time.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Rounds, in each of which every load has its turn.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a load lasts in a round, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The fakecloud program, if it is to be measured.
    #[arg(long)]
    fakecloud: Option<PathBuf>,
    /// Measure no other servers.
    #[arg(long)]
    no_peers: bool,
    /// Measure no reads on PostgreSQL, whose database is copied anew for each run.
    #[arg(long)]
    no_postgres: bool,
    /// Fail if a ratio is not what is wanted.
    #[arg(long)]
    check: bool,
}

/// One request in so many writes, where there are writes.
const WRITE_EVERY: u32 = 10;

/// Long enough to read nearly every sync once, in seconds.
const WARM_UP_SECONDS: f64 = 10.0;

const CONSTANT: &str = "constant answer of equal length, not authenticated";
const READS: &str = "GetResourceSyncStatus";
const POSTGRES: &str = "GetResourceSyncStatus, on PostgreSQL";
const MIXED: &str = "GetResourceSyncStatus, 10 % UpdateSyncConfiguration";

/// Something that is measured: a server and the requests it is sent.
struct Subject {
    name: String,
    address: SocketAddr,
    server: Option<Server>,
    requests: Requests,
    next: usize,
    samples: Vec<Sample>,
}

/// Runs the bench.
pub(crate) fn run(args: &ApiArgs) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.folder).with_context(|| format!("making {}", args.folder.display()))?;
    let data = seeding::data_dir(&args.folder, args.syncs, args.attempts, args.events)?;
    let bench = std::env::current_exe().context("this program's own path")?;
    let program = args.syncline.as_deref().unwrap_or(&bench);
    // Ends after the server that uses it.
    let database = if args.no_postgres { None } else { postgres::Server::start_large() };
    let on_postgres = match &database {
        Some(database) => {
            let data = seeding::on_postgres(database, &data, &args.folder)?;
            Some(serve(program, &data, Some(&database.url), &args.folder, "syncline-postgres.log")?)
        }
        None => None,
    };
    let syncline = serve(program, &data, None, &args.folder, "syncline.log")?;
    let signed_by = signers(syncline.address);
    let order = shuffled(args.syncs);
    let reads = sign(&signed_by, &order, u32::MAX);
    check_answer(args, &syncline, &reads)?;

    let first = load(args, syncline.address, &reads, 0, 0.2).run()?;
    let answer_bytes = usize::try_from(first.body_bytes / first.replies()).context("the answers' length")?;
    let length = answer_bytes.to_string();
    let constant = Server::start(
        &bench,
        ["constant", "--length", length.as_str()],
        &[],
        &args.folder.join("constant.log"),
    )?;

    let mut peers =
        if args.no_peers { Vec::new() } else { peers::start(&args.folder, args.fakecloud.as_deref())? };
    // A server that has run for a while is measured, not one that touches each page for the first time.
    load(args, syncline.address, &reads, 0, WARM_UP_SECONDS).run()?;
    let mixed = sign(&signed_by, &order, WRITE_EVERY);
    let syncline_address = syncline.address;
    let subject = |name: &str, address, server, requests| Subject {
        name: name.to_owned(),
        address,
        server,
        requests,
        next: 0,
        samples: Vec::new(),
    };
    let mut subjects = vec![
        subject(CONSTANT, constant.address, Some(constant), sign(&signed_by, &order, u32::MAX)),
        subject(READS, syncline_address, Some(syncline), reads),
        subject(MIXED, syncline_address, None, mixed),
    ];
    if let Some(server) = on_postgres {
        let reads = sign(&signers(server.address), &order, u32::MAX);
        check_answer(args, &server, &reads)?;
        load(args, server.address, &reads, 0, WARM_UP_SECONDS).run()?;
        subjects.push(subject(POSTGRES, server.address, Some(server), reads));
    }
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for i in 0..subjects.len() {
            // The mixed load goes to the same server as the reads.
            let server = if subjects[i].server.is_some() { i } else { i - 1 };
            let cpu = |subjects: &[Subject]| subjects[server].server.as_ref().and_then(Server::cpu_seconds);
            let subject = &subjects[i];
            let (before, load) =
                (cpu(&subjects), load(args, subject.address, &subject.requests, subject.next, args.seconds));
            let outcome = load.run().with_context(|| subject.name.clone())?;
            let used = cpu(&subjects).zip(before).map(|(after, before)| after - before);
            let subject = &mut subjects[i];
            subject.next = outcome.next;
            subject.samples.push(Sample::of(&outcome, used));
        }
        for peer in &mut peers {
            measure_peer(args, peer)?;
        }
    }
    let report = measured(args, answer_bytes, subjects, peers);
    report::tell(&report, &report.table(), &report.ratios, &args.folder.join("api.json"), args.check)
}

/// Starts the product on the seeded database.
fn serve(
    program: &Path,
    data: &Path,
    database_url: Option<&str>,
    folder: &Path,
    log: &str,
) -> anyhow::Result<Server> {
    // All limits are in force; those on the rates of an account would measure themselves.
    let config = folder.join("syncline.toml");
    let limits = ["reads_per_second", "reads_burst", "writes_per_second", "writes_burst"]
        .map(|limit| format!("account_{limit} = 10_000_000\n"));
    fs::write(&config, format!("[limits]\n{}", limits.concat()))?;
    let arguments = [
        "serve".as_ref(),
        "--role=api".as_ref(),
        "--simulate-cloudformation".as_ref(),
        "--listen=127.0.0.1:0".as_ref(),
        "--admin-listen=127.0.0.1:0".as_ref(),
        "--data-dir".as_ref(),
        data.as_os_str(),
        "--config".as_ref(),
        config.as_os_str(),
    ];
    let mut environment = vec![("SYNCLINE_ROOT_ACCOUNT_ID", ACCOUNT)];
    environment.extend(database_url.map(|url| ("SYNCLINE_DATABASE_URL", url)));
    Server::start(program, arguments, &environment, &folder.join(log))
}

/// The users, each with an access key that is in the database.
fn signers(address: SocketAddr) -> Vec<Signer> {
    (0..USERS).map(|user| signer(address, user)).collect()
}

fn signer(address: SocketAddr, user: u32) -> Signer {
    let (access_key_id, secret) = Seed::access_key(user);
    Signer {
        access_key_id,
        secret,
        region: REGION.to_owned(),
        service: "codeconnections",
        target_prefix: "com.amazonaws.codeconnections.CodeConnections_20231201",
        content_type: "application/x-amz-json-1.0",
        host: address.to_string(),
    }
}

/// The numbers below `count`, in an order without any.
fn shuffled(count: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for i in (1..numbers.len()).rev() {
        // Knuth's MMIX generator; its upper bits are good enough to shuffle by.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let j = usize::try_from(state >> 33).unwrap_or_default() % (i + 1);
        numbers.swap(i, j);
    }
    numbers
}

/// A request for each sync; every `write_every`th changes its sync.
fn sign(signers: &[Signer], order: &[u32], write_every: u32) -> Requests {
    let now_ms = SystemClock.now_ms();
    let mut requests = Requests::default();
    for ((i, &sync), signer) in (1_u32..).zip(order).zip(signers.iter().cycle()) {
        let name = Seed::resource_name(sync);
        if i.is_multiple_of(write_every) {
            let body = format!(
                r#"{{"ResourceName":"{name}","SyncType":"CFN_STACK_SYNC","PublishDeploymentStatus":"ENABLED"}}"#
            );
            requests.push(Kind::Write, signer, now_ms, "UpdateSyncConfiguration", &body);
        } else {
            let body = format!(r#"{{"ResourceName":"{name}","SyncType":"CFN_STACK_SYNC"}}"#);
            requests.push(Kind::Read, signer, now_ms, "GetResourceSyncStatus", &body);
        }
    }
    requests
}

/// What is measured must be right: the first answer has the events that were stored.
fn check_answer(args: &ApiArgs, server: &Server, requests: &Requests) -> anyhow::Result<()> {
    let body = probe(server.address, requests.get(0).0)?;
    let answer: Value = serde_json::from_slice(&body).context("the answer is not JSON")?;
    let events = |pointer: &str| answer.pointer(pointer).and_then(Value::as_array).map(Vec::len);
    let expect = Some(args.events as usize);
    for pointer in ["/LatestSync/Events", "/LatestSuccessfulSync/Events"] {
        if events(pointer) != expect {
            bail!("{pointer} has {:?} events, not {expect:?}: {answer}", events(pointer));
        }
    }
    Ok(())
}

fn load<'r>(
    args: &ApiArgs,
    address: SocketAddr,
    requests: &'r Requests,
    first: usize,
    seconds: f64,
) -> Load<'r> {
    Load {
        address,
        connections: args.connections,
        requests,
        first,
        warm_up: Duration::from_secs_f64(seconds / 4.0),
        duration: Duration::from_secs_f64(seconds),
    }
}

fn measure_peer(args: &ApiArgs, peer: &mut Peer) -> anyhow::Result<()> {
    let load = load(args, peer.address, &peer.requests, peer.next, args.seconds);
    let outcome = load.run().with_context(|| peer.name.clone())?;
    peer.next = outcome.next;
    peer.samples.push(Sample::of(&outcome, None));
    Ok(())
}

fn measured(args: &ApiArgs, answer_bytes: usize, subjects: Vec<Subject>, peers: Vec<Peer>) -> Report {
    let [constant, reads, mixed] = [0, 1, 2].map(|i| &subjects[i].samples);
    let rates = |over: &[Sample], under: &[Sample]| -> Vec<f64> {
        over.iter().zip(under).map(|(over, under)| over.per_second / under.per_second).collect()
    };
    let on_postgres = subjects.get(3).map(|subject| rates(&subject.samples, constant));
    let tail = |samples: &[Sample]| samples.iter().map(|sample| sample.p99_ms / sample.p50_ms).collect();
    let mut ratios = vec![
        Ratio::new("reads to constant answers", rates(reads, constant), Bound::AtLeast, 0.5),
        Ratio::new("p99 to p50 of reads", tail(reads), Bound::AtMost, 5.0),
        Ratio::new("with 10 % writes to reads alone", rates(mixed, reads), Bound::AtLeast, 0.7),
    ];
    if let Some(rates) = on_postgres {
        ratios.push(Ratio::new("reads on PostgreSQL to constant answers", rates, Bound::AtLeast, 0.3));
    }
    for peer in &peers {
        let name = format!("reads to {}", peer.name);
        ratios.push(Ratio::new(&name, rates(reads, &peer.samples), Bound::AtLeast, peer.target));
    }
    let measured = |name: String, samples: Vec<Sample>| Measured { name, samples };
    let mut loads: Vec<Measured> =
        subjects.into_iter().map(|subject| measured(subject.name, subject.samples)).collect();
    loads.extend(peers.into_iter().map(|peer| measured(peer.name, peer.samples)));
    Report {
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        connections: args.connections,
        stored: [args.syncs, args.attempts, args.events],
        answer_bytes,
        seconds: args.seconds,
        loads,
        ratios,
    }
}
