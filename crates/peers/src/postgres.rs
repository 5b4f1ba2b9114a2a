//! A real PostgreSQL server, and a database of its own for each test.

#![expect(clippy::disallowed_methods, reason = "tests reach the database behind the store's back")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use ::postgres::{Client, NoTls};
use rustix::process::{Pid, Signal};

use crate::client;

/// Says where a server is that tests share: `cargo xtask test` starts one. Without it each test process starts its own.
pub const SERVER: &str = "SYNCLINE_TEST_POSTGRES";

/// Says which database the worlds of tests are on: `sqlite`, as without it, or `postgres`.
pub const DATABASE: &str = "SYNCLINE_TEST_DATABASE";

/// Whether the worlds of tests are on PostgreSQL.
///
/// # Panics
/// When the variable names another database.
#[must_use]
pub fn is_chosen() -> bool {
    match std::env::var(DATABASE).as_deref() {
        Err(_) | Ok("" | "sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("{DATABASE}={other}: it must be sqlite or postgres"),
    }
}

/// An empty database, dropped with its handle.
#[derive(Debug)]
pub struct Database {
    /// Its URL.
    pub url: String,
    server: String,
    name: String,
}

impl Database {
    /// Makes one on the server that tests share, or on one of this process; `None` when no PostgreSQL is installed.
    ///
    /// # Panics
    /// When there is a PostgreSQL that does not work.
    #[must_use]
    pub fn new() -> Option<Self> {
        static OWN: OnceLock<Option<Server>> = OnceLock::new();
        let server = match std::env::var(SERVER) {
            Ok(url) if !url.is_empty() => url,
            _ => OWN.get_or_init(Server::start).as_ref()?.url.clone(),
        };
        let name = format!("test_{}_{:x}", std::process::id(), fresh_number());
        run(&server, &format!("CREATE DATABASE {name}"));
        // The server's URL names the database that every server has.
        let url = server.replacen("/postgres?", &format!("/{name}?"), 1);
        assert_ne!(url, server, "{SERVER} must name the database postgres, and then '?'");
        Some(Self { url, server, name })
    }

    /// Makes one, like [`Database::new`].
    ///
    /// # Panics
    /// When no PostgreSQL is installed.
    #[must_use]
    pub fn needed() -> Self {
        Self::new().expect("SYNCLINE_TEST_DATABASE=postgres needs a PostgreSQL of version 15 or newer")
    }

    /// Runs statements outside of any store.
    ///
    /// # Panics
    /// When they fail.
    pub fn run(&self, sql: &str) {
        run(&self.url, sql);
    }

    /// The first column of a query's one row, as text.
    ///
    /// # Panics
    /// When it fails, or there is no row.
    #[must_use]
    pub fn ask(&self, sql: &str) -> String {
        Self::ask_at(&self.url, sql)
    }

    /// The same of the database at a URL.
    ///
    /// # Panics
    /// When it fails, or there is no row.
    pub fn ask_at(url: &str, sql: &str) -> String {
        apart(|| {
            let mut client = Client::connect(url, NoTls).expect("PostgreSQL answers");
            let messages = client.simple_query(sql).expect("it is asked something that it understands");
            let row = messages.iter().find_map(|message| match message {
                ::postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            });
            row.expect("a row")
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Connections of a store that was just closed may still be there.
            run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

/// A number that this process gives once.
fn fresh_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn run(url: &str, sql: &str) {
    apart(|| {
        let mut client = Client::connect(url, NoTls).expect("PostgreSQL answers");
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    });
}

/// The driver may not be used on a thread that runs futures.
fn apart<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(body).join()).expect("what was asked of PostgreSQL is done")
}

/// A server that ends with this process, however that ends.
#[derive(Debug)]
pub struct Server {
    /// The URL of its database `postgres`.
    pub url: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one; `None` when no PostgreSQL is installed.
    ///
    /// # Panics
    /// When there is one that does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one that writes to the disk what it says that it has committed, as servers do that are not for tests.
    ///
    /// # Panics
    /// As [`Server::start`].
    #[must_use]
    pub fn start_durable() -> Option<Self> {
        Self::start_with(&[("SYNCLINE_PG_FSYNC", "on")])
    }

    /// Starts one that also has memory for a database of some gigabytes.
    ///
    /// # Panics
    /// As [`Server::start`].
    #[must_use]
    pub fn start_large() -> Option<Self> {
        Self::start_with(&[("SYNCLINE_PG_FSYNC", "on"), ("SYNCLINE_PG_BUFFERS", "1GB")])
    }

    /// Runs statements outside of any store.
    ///
    /// # Panics
    /// When they fail.
    pub fn run(&self, sql: &str) {
        run(&self.url, sql);
    }

    /// Starts one that also speaks TLS on a port of 127.0.0.1, which is returned; the certificate and its key are PEM.
    ///
    /// # Panics
    /// As [`Server::start`], and when there is no free port.
    #[must_use]
    pub fn start_with_tls(certificate: &str, key: &str) -> Option<(Self, u16)> {
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a port").port();
        let settings = [
            ("SYNCLINE_PG_CERTIFICATE", certificate),
            ("SYNCLINE_PG_KEY", key),
            ("SYNCLINE_PG_PORT", &port.to_string()),
        ];
        Self::start_with(&settings).map(|server| (server, port))
    }

    fn start_with(settings: &[(&str, &str)]) -> Option<Self> {
        let mut child = Command::new("sh")
            .arg(client("postgres_for_tests.sh"))
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It ends a moment after this process, whose output it must not keep open until then.
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        if let Some(url) = ready(&mut stdout) {
            return Some(Self { url, child, stdout });
        }
        let ended = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "PostgreSQL does not start: {told}");
        eprintln!("skipped: {}; `cargo xtask test` installs it", told.trim());
        None
    }

    /// Ends every process of it with SIGKILL, and returns when none is left.
    ///
    /// # Panics
    /// When there is nothing to kill.
    pub fn kill(&self) {
        let folder = self.url.split_once("host=").map_or("", |(_, rest)| rest).split('&').next();
        let folder = Path::new(folder.unwrap_or_default());
        let file = folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).expect("the file of a server that runs");
        let postmaster: i32 = text.lines().next().and_then(|pid| pid.parse().ok()).expect("its process");
        // Stopped, it starts no other one meanwhile.
        signal(postmaster, Signal::STOP);
        let all: Vec<i32> = children(postmaster).into_iter().chain([postmaster]).collect();
        for pid in &all {
            signal(*pid, Signal::KILL);
        }
        while all.iter().any(|pid| parent(*pid).is_some()) {
            std::thread::yield_now();
        }
        // In a container whose first process waits for nobody, the dead still look alive to PostgreSQL.
        let _ = std::fs::remove_file(&file);
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".lock") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Starts it again after [`Server::kill`], on what it left, and returns when it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let orders = self.child.stdin.as_mut().expect("it is piped");
        orders.write_all(b"start\n").and_then(|()| orders.flush()).expect("its script waits for orders");
        let url = ready(&mut self.stdout);
        assert_eq!(url.as_ref(), Some(&self.url), "PostgreSQL does not start again");
    }
}

/// The URL that the script prints when the server answers.
fn ready(stdout: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it says something");
    line.trim().strip_prefix("ready ").map(str::to_owned)
}

fn signal(pid: i32, signal: Signal) {
    // One that has just ended by itself is what was wanted.
    let _ = Pid::from_raw(pid).map(|pid| rustix::process::kill_process(pid, signal));
}

fn children(of: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("a system that shows its processes");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// The parent of a process that has not ended.
fn parent(of: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{of}/stat")).ok()?;
    let mut after_name = stat.rsplit_once(')')?.1.split_whitespace();
    let is_alive = !["Z", "X"].contains(&after_name.next()?);
    after_name.next()?.parse().ok().filter(|_| is_alive)
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
