//! Where the database is.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::config::{Host, SslMode};

use crate::postgresql::Tls;
use crate::{StoreError, StoreResult};

/// How long a connection to a PostgreSQL server may take, where its URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was sent to a PostgreSQL server may stay without an acknowledgement of its machine.
const TCP_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections to a PostgreSQL server, where nothing else is said.
const DEFAULT_CONNECTIONS: u32 = 16;

/// Where the database is: a file of SQLite, or a PostgreSQL server. What is printed of it holds no password.
#[derive(Clone)]
pub enum Location {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server.
    Postgres(Box<Server>),
}

/// A database of a PostgreSQL server, and how many connections are kept to it.
#[derive(Clone)]
pub struct Server {
    pub(crate) config: postgres::Config,
    pub(crate) connections: u32,
    /// How it is spoken to, unless in plain text.
    pub(crate) tls: Option<Tls>,
}

impl Location {
    /// Reads `sqlite:<path>` or `postgres://…` as libpq writes it.
    ///
    /// # Errors
    /// [`StoreError::Open`] with what is wrong with it, but never with what is in it, which may be a password.
    pub fn parse(url: &str) -> StoreResult<Self> {
        let refused = |path: &str, reason: &str| {
            Err(StoreError::Open { path: path.to_owned(), reason: reason.to_owned() })
        };
        match url.split_once(':') {
            Some(("sqlite", path)) => match path.strip_prefix("//").unwrap_or(path) {
                "" => refused("sqlite:", "it must name a file, as sqlite:/var/lib/syncline/syncline.db"),
                path => std::path::absolute(path)
                    .map(Self::Sqlite)
                    .map_err(|error| StoreError::Open { path: path.to_owned(), reason: error.to_string() }),
            },
            Some(("postgres" | "postgresql", _)) => match Server::parse(url) {
                Ok(server) => Ok(Self::Postgres(Box::new(server))),
                Err(reason) => refused("postgres:…", &reason),
            },
            _ => refused("of this URL", "it must begin with sqlite: or postgres:"),
        }
    }

    /// The same with so many connections to a PostgreSQL server, at least two: one for reads and one for writes.
    #[must_use]
    pub fn with_connections(mut self, connections: u32) -> Self {
        if let Self::Postgres(server) = &mut self {
            server.connections = connections.max(2);
        }
        self
    }

    /// Whether it is a PostgreSQL server's.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

impl Server {
    /// Reads a URL as libpq writes it. Unlike libpq's, a connection to another machine is by TLS with a certificate that
    /// is checked, unless `sslmode=disable` says otherwise.
    fn parse(url: &str) -> Result<Self, String> {
        let (mut mode, mut roots) = (None, None);
        let (base, settings) = url.split_once('?').unwrap_or((url, ""));
        let mut others = Vec::new();
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let value =
                || form_urlencoded::parse(setting.as_bytes()).next().map(|(_, value)| value.into_owned());
            match setting.split_once('=') {
                Some(("sslmode", _)) => mode = value(),
                Some(("sslrootcert", _)) => roots = value(),
                _ => others.push(setting),
            }
        }
        // The parser's own message may repeat a part of the URL.
        let mut config =
            format!("{base}?{}", others.join("&")).parse::<postgres::Config>().map_err(|_| {
                "it is no URL of a PostgreSQL database, as postgres://syncline@db.example.com/syncline"
                    .to_owned()
            })?;
        let is_here = config.get_hosts().iter().all(is_this_machine) && config.get_hostaddrs().is_empty();
        let by_tls = match mode.as_deref() {
            Some("disable") => false,
            None | Some("allow" | "prefer") => !is_here || roots.is_some(),
            Some("require" | "verify-ca" | "verify-full") => true,
            Some(_) => {
                return Err("sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned());
            }
        };
        config.ssl_mode(if by_tls { SslMode::Require } else { SslMode::Disable });
        let tls = by_tls.then(|| Tls::with_roots(roots.as_deref())).transpose()?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("syncline");
        }
        config.tcp_user_timeout(TCP_TIMEOUT).keepalives_idle(TCP_TIMEOUT);
        Ok(Self { config, connections: DEFAULT_CONNECTIONS, tls })
    }
}

/// Whether nobody else can listen on the way there.
fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(server) => fmt::Display::fmt(server, f),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        write!(f, "postgres://{hosts}/{database}")
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_from_a_url_and_never_shows_a_password() {
        let check = |url: &str, expect: &str| {
            let told = match Location::parse(url) {
                Ok(location) => format!("{location} {location:?}"),
                Err(error) => error.to_string(),
            };
            assert!(!told.contains("hush"), "{told}");
            assert!(told.contains(expect), "{url}: {told}");
        };
        check("sqlite:/var/lib/s.db", "/var/lib/s.db");
        check("sqlite:///var/lib/s.db", "/var/lib/s.db");
        check("sqlite:", "it must name a file");
        check(
            "postgres://me:hush@db.example.com:5433/sync?sslmode=disable",
            "postgres://db.example.com/sync",
        );
        check("postgresql:///sync?host=/run/postgresql&user=me", "postgres:///run/postgresql/sync");
        check("postgres://me:hush@db.example.com/sync?hush=1", "it is no URL of a PostgreSQL database");
        check("mysql://me:hush@db/sync", "it must begin with sqlite: or postgres:");
        check("hush", "it must begin with sqlite: or postgres:");
    }

    #[test]
    fn another_machine_is_spoken_to_by_tls_unless_somebody_says_otherwise() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let roots = folder.path().join("roots.pem");
        let check = |url: &str, by_tls: Result<bool, &str>| {
            let url = url.replace("ROOTS", &roots.display().to_string());
            match (Location::parse(&url), by_tls) {
                (Ok(Location::Postgres(server)), Ok(by_tls)) => {
                    assert_eq!(server.tls.is_some(), by_tls, "{url}")
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{url}: {error}"),
                (told, _) => panic!("{url}: {told:?}"),
            }
        };
        check("postgres://db.example.com/d?sslrootcert=ROOTS", Err("sslrootcert"));
        let certificate = rcgen::generate_simple_self_signed(["db.example.com".to_owned()]).expect("made");
        std::fs::write(&roots, certificate.cert.pem()).expect("written");
        check("postgres://db.example.com/d?sslrootcert=ROOTS", Ok(true));
        check(
            "postgres://db.example.com/d?sslmode=verify-full&sslrootcert=ROOTS&connect_timeout=1",
            Ok(true),
        );
        check("postgres://db.example.com/d?sslmode=disable", Ok(false));
        check("postgres://db.example.com/d?sslmode=hush", Err("sslmode must be disable"));
        check("postgres://localhost/d", Ok(false));
        check("postgres://127.0.0.1:5433/d?sslmode=require&sslrootcert=ROOTS", Ok(true));
        check("postgres:///d?host=/run/postgresql", Ok(false));
        check("postgres://127.0.0.1,db.example.com/d?sslrootcert=ROOTS", Ok(true));
    }

    #[test]
    fn there_are_always_connections_for_reads_and_for_writes() {
        let Ok(Location::Postgres(server)) =
            Location::parse("postgres://localhost/d").map(|location| location.with_connections(0))
        else {
            panic!("a server")
        };
        assert_eq!(server.connections, 2);
    }
}
