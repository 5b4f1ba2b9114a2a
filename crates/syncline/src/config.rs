//! The configuration of `syncline serve`: flags beat the environment, which beats the file.
//!
//! **Architecture Invariant:** this is the only reader of the server's configuration files and environment.
//! The commands that call a server read theirs in `cli/client.rs`, through clap as well.

mod database;
mod environment;
mod first_key;
mod keyring;
mod limits;
mod quotas;
#[cfg(test)]
mod tests;
mod texts;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use syncline_forges::rest::Endpoints;
use syncline_git::{Network, Proxy};
use syncline_model::names::AccountId;
use syncline_seams::Secret;
use syncline_store::Location;

use crate::server::TlsFiles;
use crate::worker::{Places, Previews};
use environment::search_path;
use first_key::FirstKey;
use texts::{parse_pair, parse_public_url};

pub use database::DatabaseArgs;
pub use first_key::RootKey;
pub use keyring::KeyringSource;
pub use limits::{Limits, RemoteBudget, Throttle};
pub use quotas::Quotas;
pub(crate) use texts::parse_duration;

/// How long work in progress may take to end after a stop is asked for, unless said otherwise.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// Which half of the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The API and the worker.
    #[default]
    All,
    /// The API alone.
    Api,
    /// The worker alone.
    Worker,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The flags of `syncline serve`, each also an environment variable and a key of the file.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Where the API listens.
    #[arg(long, env = "SYNCLINE_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, env = "SYNCLINE_ADMIN_LISTEN", value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Where the database, the key file, the caches and the first key are kept.
    #[arg(long, env = "SYNCLINE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The database, as sqlite:PATH or postgres://USER@HOST/DATABASE; a file in the data directory unless said
    /// otherwise. One that holds a password belongs into the environment or the file, where others cannot read it.
    #[arg(long, env = "SYNCLINE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<Secret>,
    /// How many connections are kept to a PostgreSQL server, beside one that listens; 16 unless said otherwise.
    #[arg(long, env = "SYNCLINE_DATABASE_CONNECTIONS", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=1000))]
    database_connections: Option<u32>,
    /// A file of these settings in TOML.
    #[arg(long, env = "SYNCLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The keys that secrets are sealed with: file:PATH, env:NAME of a variable, or command:PROGRAM ARGUMENTS whose
    /// output they are; the file keyring in the data directory unless said otherwise.
    #[arg(long, env = "SYNCLINE_KEYRING", value_name = "SOURCE")]
    keyring: Option<String>,
    /// Which half of the server runs.
    #[arg(long, env = "SYNCLINE_ROLE", value_enum)]
    role: Option<Role>,
    /// How often each repository is asked for its heads, such as 60s or 5m.
    #[arg(long, env = "SYNCLINE_POLL_INTERVAL", value_name = "DURATION", value_parser = parse_duration)]
    poll_interval: Option<Duration>,
    /// How long work in progress may take to end after SIGTERM; what is left then is handed over, such as 30s.
    #[arg(long, env = "SYNCLINE_SHUTDOWN_GRACE", value_name = "DURATION", value_parser = parse_duration)]
    shutdown_grace: Option<Duration>,
    /// Admit remotes in this network, as 10.0.0.0/8 (repeatable). Public addresses are always admitted.
    #[arg(long, env = "SYNCLINE_ALLOW_NETWORK", value_name = "CIDR", value_delimiter = ',')]
    allow_network: Vec<Network>,
    /// Reach forges, Git servers, receivers and AWS through this HTTP proxy, as `http://proxy.example.com:3128`. One with a
    /// user and password belongs into the environment or the file, where others cannot read it.
    #[arg(long, env = "SYNCLINE_EGRESS_PROXY", value_name = "URL", hide_env_values = true)]
    egress_proxy: Option<Secret>,
    /// Admit file:// remotes below this directory (repeatable).
    #[arg(long, env = "SYNCLINE_ALLOW_FILE_REMOTES", value_name = "DIR", value_delimiter = ',')]
    allow_file_remotes: Vec<PathBuf>,
    /// Let an account's syncs use roles of another account (repeatable).
    #[arg(long, env = "SYNCLINE_ALLOW_ROLE_ACCOUNT", value_name = "OWNER=ACCOUNT", value_delimiter = ',')]
    allow_role_account: Vec<String>,
    /// Use a simulated CloudFormation in this process instead of AWS. It provisions nothing.
    #[arg(long, env = "SYNCLINE_SIMULATE_CLOUDFORMATION", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    simulate_cloudformation: Option<bool>,
    /// Speak TLS, with this certificate and the intermediate ones after it, in PEM. A renewed one is taken up by itself.
    #[arg(long, env = "SYNCLINE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, env = "SYNCLINE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Believe what proxies in this network say of their clients, by X-Forwarded-For and its like (repeatable).
    #[arg(long, env = "SYNCLINE_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxy: Vec<Network>,
    /// Listen on other than loopback addresses without TLS.
    #[arg(long, env = "SYNCLINE_INSECURE_HTTP", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    insecure_http: Option<bool>,
    /// Preview pull requests from forks as well: whoever may open one has a change set made of their template.
    #[arg(long, env = "SYNCLINE_PREVIEW_FORKS", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    preview_forks: Option<bool>,
    /// Preview templates that call macros other than AWS's own as well: these run with what a pull request holds.
    #[arg(long, env = "SYNCLINE_PREVIEW_MACROS", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    preview_macros: Option<bool>,
    /// Where this server is reached from outside, such as `https://syncline.example.com`: what the URLs of webhooks begin
    /// with.
    #[arg(long, env = "SYNCLINE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// How logs are written, to stderr.
    #[arg(long, env = "SYNCLINE_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// The first access key, which only the environment may give: an argument could be read by others.
    #[arg(skip)]
    first_key: FirstKey,
}

/// The same settings in a file; an unknown key is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    database_url: Option<Secret>,
    database_connections: Option<u32>,
    keyring: Option<String>,
    role: Option<Role>,
    poll_interval: Option<String>,
    shutdown_grace: Option<String>,
    allow_network: Vec<String>,
    egress_proxy: Option<Secret>,
    allow_file_remotes: Vec<PathBuf>,
    allow_role_account: Vec<String>,
    simulate_cloudformation: Option<bool>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    trusted_proxy: Vec<String>,
    insecure_http: Option<bool>,
    preview_forks: Option<bool>,
    preview_macros: Option<bool>,
    public_url: Option<String>,
    log_format: Option<LogFormat>,
    quotas: Quotas,
    limits: Limits,
    concurrency: Places,
}

/// What `syncline serve` runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the admin endpoints listen.
    pub admin_listen: SocketAddr,
    /// The data directory; absolute.
    pub data_dir: PathBuf,
    /// The database.
    pub database: Location,
    /// Where the master keys come from.
    pub keyring: KeyringSource,
    /// Which half runs.
    pub role: Role,
    /// How often each repository is asked for its heads.
    pub poll_interval: Duration,
    /// How long work in progress may take to end after a stop is asked for.
    pub shutdown_grace: Duration,
    /// Networks that remotes may be in, beside the public ones.
    pub allow_network: Vec<Network>,
    /// The HTTP proxy that everything outside is reached through.
    pub egress_proxy: Option<Proxy>,
    /// Directories that `file://` remotes may be in.
    pub allow_file_remotes: Vec<PathBuf>,
    /// Pairs of an account and another one whose roles its syncs may use.
    pub role_accounts: Vec<(AccountId, AccountId)>,
    /// Use the simulated CloudFormation.
    pub simulate_cloudformation: bool,
    /// What the main listener speaks TLS with, and the admin listener where it is not on loopback; `None` for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Networks of proxies whose word about their clients is taken.
    pub trusted_proxies: Vec<Network>,
    /// Where this server is reached from outside, without a slash at the end.
    pub public_url: Option<String>,
    /// How logs are written.
    pub log_format: LogFormat,
    /// The first access key.
    pub root_key: RootKey,
    /// The first access key's account, if given.
    pub root_account: Option<AccountId>,
    /// The quotas.
    pub quotas: Quotas,
    /// How much is taken on, and for how long.
    pub limits: Limits,
    /// How much the worker does at a time.
    pub places: Places,
    /// What of pull requests is previewed.
    pub previews: Previews,
    /// Where the forges are that everybody shares.
    pub forges: Endpoints,
    /// Where the git program is looked for.
    pub search_path: OsString,
}

impl Config {
    /// Settings for a server of tests or of the demo: loopback, free ports, everything in `data_dir`, any
    /// number of requests a second.
    #[must_use]
    pub fn on_loopback(data_dir: &Path) -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: any_port,
            admin_listen: any_port,
            data_dir: data_dir.to_owned(),
            database: Location::from(&data_dir.join("syncline.db")),
            keyring: KeyringSource::File(data_dir.join("keyring")),
            role: Role::All,
            poll_interval: Duration::from_secs(60),
            shutdown_grace: SHUTDOWN_GRACE,
            allow_network: Vec::new(),
            egress_proxy: None,
            allow_file_remotes: Vec::new(),
            role_accounts: Vec::new(),
            simulate_cloudformation: true,
            tls: None,
            trusted_proxies: Vec::new(),
            public_url: None,
            log_format: LogFormat::Text,
            root_key: RootKey::InDataDir,
            root_account: None,
            quotas: Quotas::default(),
            limits: Limits::unthrottled(),
            places: Places::default(),
            previews: Previews::default(),
            forges: Endpoints::default(),
            search_path: search_path(),
        }
    }
}

impl ServeArgs {
    /// Settles the configuration from flags, environment and file.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value that breaks its rule, or a combination that is
    /// refused; the message names it.
    pub fn settle(self) -> anyhow::Result<Config> {
        let file = self.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let listen = self.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7962)));
        let admin_listen =
            self.admin_listen.or(file.admin_listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7963)));
        let insecure_http = self.insecure_http.or(file.insecure_http).unwrap_or_default();
        let data_dir = database::data_dir(self.data_dir, &file)?;
        let tls = match (self.tls_cert.or(file.tls_cert), self.tls_key.or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => bail!("--tls-cert and --tls-key must be given together or not at all"),
        };
        for (flag, address) in [("--listen", listen), ("--admin-listen", admin_listen)] {
            if !(address.ip().is_loopback() || tls.is_some() || insecure_http) {
                bail!(
                    "{flag} {address}: plain HTTP on other than loopback addresses needs --insecure-http; \
                     give --tls-cert and --tls-key, or put a TLS proxy before a loopback address, instead"
                );
            }
        }
        let mut database = database::location(self.database_url.or(file.database_url), &data_dir)?;
        if let Some(connections) = self.database_connections.or(file.database_connections) {
            if !(2..=1000).contains(&connections) {
                bail!("database_connections = {connections}: it must be from 2 to 1000");
            }
            database = database.with_connections(connections);
        }
        let keyring = match self.keyring.or(file.keyring) {
            None => KeyringSource::File(data_dir.join("keyring")),
            Some(source) => KeyringSource::parse(&source)?,
        };
        let poll_interval = match (self.poll_interval, &file.poll_interval) {
            (Some(interval), _) => interval,
            (None, Some(text)) => {
                parse_duration(text).map_err(anyhow::Error::msg).context("poll_interval in the file")?
            }
            (None, None) => Duration::from_secs(60),
        };
        let shutdown_grace = match (self.shutdown_grace, &file.shutdown_grace) {
            (Some(grace), _) => grace,
            (None, Some(text)) => {
                parse_duration(text).map_err(anyhow::Error::msg).context("shutdown_grace in the file")?
            }
            (None, None) => SHUTDOWN_GRACE,
        };
        let allow_network = networks(self.allow_network, &file.allow_network, "allow_network")?;
        let egress_proxy = self.egress_proxy.or(file.egress_proxy);
        let egress_proxy =
            egress_proxy.map(|url| Proxy::parse(&url)).transpose().context("--egress-proxy")?;
        let trusted_proxies = networks(self.trusted_proxy, &file.trusted_proxy, "trusted_proxy")?;
        let pairs = either(self.allow_role_account, file.allow_role_account);
        let (root_key, root_account) = self.first_key.settle()?;
        Ok(Config {
            listen,
            admin_listen,
            data_dir,
            database,
            keyring,
            role: self.role.or(file.role).unwrap_or_default(),
            poll_interval,
            shutdown_grace,
            allow_network,
            egress_proxy,
            allow_file_remotes: either(self.allow_file_remotes, file.allow_file_remotes),
            role_accounts: pairs.iter().map(|pair| parse_pair(pair)).collect::<anyhow::Result<_>>()?,
            simulate_cloudformation: self
                .simulate_cloudformation
                .or(file.simulate_cloudformation)
                .unwrap_or_default(),
            tls,
            trusted_proxies,
            public_url: self.public_url.or(file.public_url).as_deref().map(parse_public_url).transpose()?,
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
            root_key,
            root_account,
            quotas: file.quotas,
            limits: file.limits.check().map_err(anyhow::Error::msg).context("[limits] in the file")?,
            places: file
                .concurrency
                .check()
                .map_err(anyhow::Error::msg)
                .context("[concurrency] in the file")?,
            previews: Previews {
                forks: self.preview_forks.or(file.preview_forks).unwrap_or_default(),
                macros: self.preview_macros.or(file.preview_macros).unwrap_or_default(),
            },
            forges: Endpoints::default(),
            search_path: search_path(),
        })
    }
}

fn either<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    if first.is_empty() { second } else { first }
}

fn networks(given: Vec<Network>, file: &[String], key: &str) -> anyhow::Result<Vec<Network>> {
    if !given.is_empty() {
        return Ok(given);
    }
    let parsed = file.iter().map(|text| text.parse::<Network>()).collect::<Result<_, _>>();
    parsed.with_context(|| format!("{key} in the file"))
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("--config {}", path.display()))
}
