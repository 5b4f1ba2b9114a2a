//! Replicas on one database, and the peers that outlive them: a Git host and a simulated CloudFormation in this process, a
//! PostgreSQL server in its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use aws_credential_types::Credentials;
use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::config::retry::RetryConfig;
use aws_sdk_codeconnections::config::timeout::TimeoutConfig;
use aws_sdk_codeconnections::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use clap::ValueEnum;
use syncline::running;
use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_peers::postgres::Server;
use syncline_seams::{Outside, SystemClock};
use syncline_store::{Location, Scope, Store};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::world::{ACCOUNT, REGION};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;

use crate::replica::Replica;

/// The root key of every replica.
const KEY: (&str, &str) = ("AKSLSOAKSOAKSOAKSOAK", "a-secret-of-tests-only-0123456789");
/// How long one request may take: that to a stopped process never ends by itself.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Where a fleet keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kept {
    /// A file, which takes one replica.
    Sqlite,
    /// A PostgreSQL server of the fleet's own.
    Postgres,
}

/// How a fleet is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program that is started with `serve …`.
    pub program: PathBuf,
    /// The database.
    pub kept: Kept,
    /// How many replicas.
    pub replicas: usize,
    /// How many more there are that wait until they are told to begin.
    pub in_reserve: usize,
    /// What the program is started by, such as a shell that limits it first.
    pub wrapper: Vec<OsString>,
    /// How long making a change set takes, and about as long each of its resources.
    pub latency: Duration,
    /// How often each repository is asked for its heads.
    pub poll_interval: Duration,
    /// More arguments of `serve`.
    pub arguments: Vec<String>,
}

impl Plan {
    /// A fleet of so many replicas of `program` on PostgreSQL, whose stacks take moments.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>, replicas: usize) -> Self {
        Self {
            program: program.into(),
            kept: Kept::Postgres,
            replicas,
            in_reserve: 0,
            wrapper: Vec::new(),
            latency: Duration::from_millis(100),
            poll_interval: Duration::from_secs(1),
            arguments: Vec::new(),
        }
    }
}

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    /// The Git host.
    pub git: GitHost,
    /// The simulated CloudFormation.
    pub simulator: Simulator,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// The PostgreSQL server, if that is what the fleet is on.
    pub postgres: Option<Mutex<Server>>,
    location: Location,
    keyring: PathBuf,
    http: SharedHttpClient,
    _stop_simulator: watch::Sender<bool>,
    folder: Folder,
}

/// A temporary folder that is kept when something was found in it.
#[derive(Debug)]
struct Folder(Mutex<Option<tempfile::TempDir>>, PathBuf);

impl Fleet {
    /// Starts the peers and the replicas, the first one alone, because it prepares the database.
    ///
    /// `None` when no PostgreSQL is installed, which is then said.
    ///
    /// # Errors
    /// What keeps a process from starting.
    pub async fn start(plan: &Plan) -> anyhow::Result<Option<Self>> {
        if plan.kept == Kept::Sqlite && plan.replicas != 1 {
            bail!("a SQLite database takes one replica, not {}", plan.replicas);
        }
        let folder = tempfile::Builder::new().prefix("syncline-soak-").tempdir()?;
        let path = folder.path().to_owned();
        let postgres = match plan.kept {
            Kept::Sqlite => None,
            Kept::Postgres => {
                let Some(server) = tokio::task::spawn_blocking(Server::start).await? else { return Ok(None) };
                Some(server)
            }
        };
        let url = match &postgres {
            Some(server) => server.url.clone(),
            None => format!("sqlite:{}", path.join("data-1/syncline.db").display()),
        };
        let settings = Settings {
            default_account: ACCOUNT.to_owned(),
            change_set_latency: plan.latency,
            create_latency: plan.latency,
            update_latency: plan.latency,
            delete_latency: plan.latency,
            ..Settings::default()
        };
        let simulator = Simulator::new(Arc::new(SystemClock), settings);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let simulator_url = format!("http://{}", listener.local_addr()?);
        let (stop_simulator, stopped) = watch::channel(false);
        running::simulate(&simulator, listener, stopped);
        std::fs::write(path.join("syncline.toml"), SETTINGS)?;
        let mut fleet = Self {
            git: GitHost::start().await,
            simulator,
            replicas: Vec::new(),
            location: Location::parse(&url)?.with_connections(4),
            keyring: path.join("keyring"),
            postgres: postgres.map(Mutex::new),
            http: aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https(),
            _stop_simulator: stop_simulator,
            folder: Folder(Mutex::new(Some(folder)), path),
        };
        for number in 1..=plan.replicas + plan.in_reserve {
            std::fs::create_dir(fleet.data_dir(number))?;
            fleet.add_replica(plan, &url, &simulator_url, number);
        }
        // The first one alone, because it makes the keyring.
        for replica in &fleet.replicas[..plan.replicas] {
            replica.begin();
            if replica.number == 1 {
                replica.ready().await;
            }
        }
        for replica in &fleet.replicas[..plan.replicas] {
            replica.ready().await;
        }
        Ok(Some(fleet))
    }

    /// The data directory of a replica.
    #[must_use]
    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.folder.1.join(format!("data-{number}"))
    }

    fn add_replica(&mut self, plan: &Plan, url: &str, simulator_url: &str, number: usize) {
        let (plan, folder) = (plan.clone(), self.folder.1.clone());
        let (url, simulator_url) = (url.to_owned(), simulator_url.to_owned());
        let log = folder.join(format!("replica-{number}.log"));
        let command = move || {
            let program = plan.program.as_os_str();
            let line: Vec<_> = plan.wrapper.iter().map(|word| &**word).chain([program]).collect();
            let mut command = Command::new(line[0]);
            command
                .args(&line[1..])
                .current_dir(&folder)
                .arg("serve")
                .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
                .args(["--allow-network", "127.0.0.1/32", "--shutdown-grace", "2s"])
                .arg("--poll-interval")
                .arg(format!("{}ms", plan.poll_interval.as_millis()))
                .arg("--config")
                .arg(folder.join("syncline.toml"))
                .arg("--keyring")
                .arg(format!("file:{}", folder.join("keyring").display()))
                .arg("--data-dir")
                .arg(folder.join(format!("data-{number}")))
                .args(&plan.arguments)
                // Nothing of the developer's AWS settings, proxies or home may reach it.
                .env_clear()
                .env("PATH", path_variable())
                .env("HOME", &folder)
                .env("SYNCLINE_DATABASE_URL", &url)
                .env("AWS_ENDPOINT_URL", &simulator_url)
                .env("AWS_ACCESS_KEY_ID", "simulated")
                .env("AWS_SECRET_ACCESS_KEY", "simulated")
                .env("AWS_REGION", REGION)
                .env("SYNCLINE_ROOT_ACCESS_KEY_ID", KEY.0)
                .env("SYNCLINE_ROOT_SECRET_ACCESS_KEY", KEY.1)
                .env("SYNCLINE_ROOT_ACCOUNT_ID", ACCOUNT);
            command
        };
        self.replicas.push(Replica::new(number, log, Box::new(command)));
    }

    /// Where its logs and caches are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.1
    }

    /// Leaves the folder where it is when the fleet ends.
    pub fn keep_folder(&self) {
        let folder = self.folder.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(folder.map(tempfile::TempDir::keep));
    }

    /// The AWS SDK as a client of the replica at `endpoint`, which asks once.
    #[must_use]
    pub fn client_of(&self, endpoint: &str) -> Client {
        let config = aws_sdk_codeconnections::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .credentials_provider(Credentials::new(KEY.0, KEY.1, None, None, "soak"))
            .region(Region::new(REGION))
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(REQUEST_LIMIT).build())
            .build();
        Client::from_conf(config)
    }

    /// A client of some replica that answers; `None` while none does.
    #[must_use]
    pub fn client(&self) -> Option<Client> {
        let endpoints: Vec<_> = self.replicas.iter().filter_map(Replica::endpoint).collect();
        (!endpoints.is_empty()).then(|| self.client_of(&endpoints[fastrand::usize(..endpoints.len())]))
    }

    /// Completes a connection's handshake, without a token.
    ///
    /// # Errors
    /// What the server says.
    pub async fn authorize(&self, program: &Path, connection_arn: &str) -> anyhow::Result<()> {
        let endpoint = self.replicas[0].ready().await;
        let done = Command::new(program)
            .args(["connection", "authorize", connection_arn, "--no-token"])
            .env_clear()
            .env("SYNCLINE_ENDPOINT", endpoint)
            .env("SYNCLINE_ACCESS_KEY_ID", KEY.0)
            .env("SYNCLINE_SECRET_ACCESS_KEY", KEY.1)
            .env("AWS_REGION", REGION)
            .output()
            .await?;
        if !done.status.success() {
            bail!("connection authorize: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// The database, opened beside the replicas on PostgreSQL, and after them on SQLite.
    ///
    /// # Errors
    /// The store's.
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(&self.location, self.keyring.as_path(), Arc::new(SystemClock), Outside::default())?)
    }

    /// The replicas that have begun and were not asked to end.
    pub fn running(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.is_running())
    }

    /// Asks every replica to end and waits until they have. Those that did not end well.
    pub async fn terminate(&self) -> Vec<String> {
        let mut found = Vec::new();
        for replica in self.running() {
            let status = replica.terminate().await;
            if !status.success() {
                found.push(format!("replica {} ended with {status} on SIGTERM", replica.number));
            }
        }
        found
    }

    /// The ends of all logs, for the message of a failed test.
    #[must_use]
    pub fn logs(&self) -> String {
        let of = |replica: &Replica| format!("--- replica {}\n{}", replica.number, replica.log());
        self.replicas.iter().map(of).collect()
    }
}

/// Whose everything is.
///
/// # Panics
/// Never.
#[must_use]
pub fn scope() -> Scope {
    Scope { account: ACCOUNT.parse().expect("an account"), region: REGION.parse().expect("a region") }
}

/// Nothing is refused for being too much: what is refused must be because something died.
const SETTINGS: &str = "\
[quotas]
repository_links = 1000
sync_configurations = 10000
sync_configurations_per_link = 10000
sync_configurations_per_branch = 10000

[limits]
source_requests_per_second = 0
account_reads_per_second = 0
account_writes_per_second = 0
";

#[expect(clippy::disallowed_methods, reason = "the replicas' git is found as this process would find it")]
fn path_variable() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}
