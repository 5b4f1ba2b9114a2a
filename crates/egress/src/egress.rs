//! Which addresses and directories remotes may be at, decided before anything is sent.
//!
//! A host name is resolved once per call, every address it has is checked, and exactly those are dialled, by git or
//! by us; so a name that changes its answer between the check and the dial gains nothing. Whatever cannot be
//! decided is refused.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::proxy::Proxy;
use crate::url::{Host, Place, RemoteUrl, file_url};

/// A text that is not a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a network: it must be an address and a prefix length, as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork(String);

/// A range of addresses, such as `10.0.0.0/8`; a single address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address is in the range; an IPv4 address inside an IPv6 one (`::ffff:…`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(network).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(network).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(s: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(s.chars().take(100).collect());
        let (address, prefix) = s.split_once('/').map_or((s, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|&prefix| prefix <= longest).ok_or_else(invalid)?
            }
            Some(_) => return Err(invalid()),
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Turns host names into addresses.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Every address of `host`.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// The machine's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(
            async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect()) },
        )
    }
}

/// The operator's rules for remotes. The default admits public addresses and nothing else.
#[derive(Debug, Clone)]
pub struct Egress {
    allowed_networks: Vec<Network>,
    file_directories: Vec<PathBuf>,
    proxy: Option<Arc<Proxy>>,
    resolver: Arc<dyn Resolve>,
}

impl Default for Egress {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

/// Why something outside may not, or cannot, be gone to; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// The operator's rules forbid it.
    #[error("refused by the egress rules: {message}")]
    Policy {
        /// Which rule, and the value that breaks it.
        message: String,
    },
    /// Where it is cannot be found out now, or the proxy does not lead there.
    #[error("{message}")]
    Unresolved {
        /// Which name, and what the resolver or the proxy says.
        message: String,
    },
    /// It is to be a directory that does not exist.
    #[error("{message}")]
    Missing {
        /// Which one.
        message: String,
    },
}

/// A remote that was admitted, and how to go there: for this one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The URL: of files where every link leads, else as it was given.
    pub url: String,
    /// The host, or a word for this machine's files.
    pub host: String,
    /// The one protocol that may be spoken: `https`, `http`, `ssh` or `file`.
    pub protocol: &'static str,
    /// `host:port:addresses`, as curl's `--resolve` takes it, for git; `None` when the URL holds the address itself, behind a
    /// proxy, for files, and for SSH, which git never speaks here.
    pub pin: Option<String>,
    /// The port, 0 for files.
    pub port: u16,
    /// Every address there is, to be dialled by us; none for files and behind a proxy.
    pub addresses: Vec<SocketAddr>,
    /// The way through a proxy, where everything goes through one.
    pub via: Option<Via>,
}

/// The way through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The proxy.
    pub proxy: Arc<Proxy>,
    /// Every address that it has.
    pub addresses: Vec<SocketAddr>,
}

impl Route {
    /// Whether this process can connect there, or to the proxy on the way; there is nobody to connect to for files.
    #[must_use]
    pub fn is_dialled(&self) -> bool {
        !self.dialled().is_empty()
    }

    /// The addresses that connections are made to: its own, or the proxy's.
    pub(crate) fn dialled(&self) -> &[SocketAddr] {
        self.via.as_ref().map_or(&self.addresses, |via| &via.addresses)
    }
}

impl Egress {
    /// Admits public addresses, `allowed_networks` (also over plain http), and `file://` remotes below
    /// `file_directories`.
    #[must_use]
    pub fn new(allowed_networks: Vec<Network>, file_directories: Vec<PathBuf>) -> Self {
        Self { allowed_networks, file_directories, proxy: None, resolver: Arc::new(SystemResolver) }
    }

    /// Resolves names with `resolver` instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Reaches every host through this HTTP proxy, which then resolves and judges names itself; literal
    /// addresses, and names of this machine, are checked here all the same. The proxy may be anywhere.
    #[must_use]
    pub fn through_proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(Arc::new(proxy));
        self
    }

    /// The HTTP proxy, if the operator named one.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// Whether the operator admits `file://` remotes at all.
    #[must_use]
    pub fn admits_files(&self) -> bool {
        !self.file_directories.is_empty()
    }

    /// Checks one address: public, or in an allowed network.
    ///
    /// # Errors
    /// [`NotAdmitted::Policy`] for loopback, private, link-local, metadata and other special addresses
    /// outside the allowed networks.
    pub fn check_address(&self, address: IpAddr) -> Result<(), NotAdmitted> {
        if self.is_allowed(address) || is_public(address) {
            return Ok(());
        }
        let message = format!(
            "{address} is not a public address and in none of the allowed networks (--allow-network)"
        );
        Err(NotAdmitted::Policy { message })
    }

    /// Checks what can be known of a remote before it is asked for: a literal address, whether a way leads to SSH
    /// hosts, or whether a `file://` path is below one of the directories. Names are resolved and links followed at
    /// every call.
    ///
    /// # Errors
    /// [`NotAdmitted::Policy`].
    pub fn check_literal(&self, url: &RemoteUrl) -> Result<(), NotAdmitted> {
        match url.place() {
            Place::Ssh { host, .. } if self.proxy.is_some() => Err(no_way_by_ssh(host)),
            Place::Http { host: Host::Address(address), .. }
            | Place::Ssh { host: Host::Address(address), .. } => self.check_address(*address),
            Place::Http { host: Host::Name(_), .. } | Place::Ssh { host: Host::Name(_), .. } => Ok(()),
            Place::File(path)
                if self.file_directories.iter().any(|directory| path.starts_with(directory)) =>
            {
                Ok(())
            }
            Place::File(path) => Err(outside_of_directories(path)),
        }
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allowed_networks.iter().any(|network| network.contains(address))
    }

    /// Decides about a remote and how to reach it.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub async fn admit(&self, url: &RemoteUrl) -> Result<Route, NotAdmitted> {
        match url.place() {
            Place::File(path) => {
                let found = self.admit_directory(path)?;
                let (url, host) = (file_url(&found), "files".to_owned());
                Ok(Route {
                    url,
                    host,
                    protocol: "file",
                    pin: None,
                    port: 0,
                    addresses: Vec::new(),
                    via: None,
                })
            }
            Place::Ssh { host, port, .. } => {
                if self.proxy.is_some() {
                    return Err(no_way_by_ssh(host));
                }
                let shown = shown(host);
                let addresses = match host {
                    Host::Address(address) => vec![*address],
                    Host::Name(name) => self.resolved(name).await?,
                };
                for address in &addresses {
                    self.check_address(*address)?;
                }
                let addresses =
                    addresses.into_iter().map(|address| SocketAddr::new(address, *port)).collect();
                let url = url.as_str().to_owned();
                Ok(Route { url, host: shown, protocol: "ssh", pin: None, port: *port, addresses, via: None })
            }
            Place::Http { is_tls, host, port } => {
                let (shown, addresses, is_pinned) = match host {
                    Host::Address(address) => (address.to_string(), vec![*address], false),
                    Host::Name(name) if self.proxy.is_some() => {
                        // It would be the proxy's own machine (RFC 6761).
                        if name == "localhost" || name.ends_with(".localhost") {
                            self.check_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
                        }
                        (name.clone(), Vec::new(), false)
                    }
                    Host::Name(name) => (name.clone(), self.resolved(name).await?, true),
                };
                for address in &addresses {
                    self.check_address(*address)?;
                }
                let is_allowed =
                    !addresses.is_empty() && addresses.iter().all(|&address| self.is_allowed(address));
                if !is_tls && !is_allowed {
                    let message =
                        format!("plain http to {shown}: only allowed networks may be read without tls");
                    return Err(NotAdmitted::Policy { message });
                }
                let pin = is_pinned.then(|| {
                    let listed: Vec<_> = addresses.iter().map(shown_for_curl).collect();
                    format!("{shown}:{port}:{}", listed.join(","))
                });
                let protocol = if *is_tls { "https" } else { "http" };
                let url = url.as_str().to_owned();
                let via = match &self.proxy {
                    Some(proxy) => Some(self.via(proxy).await?),
                    None => None,
                };
                let addresses = match via {
                    Some(_) => Vec::new(),
                    None => addresses.into_iter().map(|address| SocketAddr::new(address, *port)).collect(),
                };
                Ok(Route { url, host: shown, protocol, pin, port: *port, addresses, via })
            }
        }
    }

    /// The way to the proxy, which the operator vouches for: it may be at any address.
    async fn via(&self, proxy: &Arc<Proxy>) -> Result<Via, NotAdmitted> {
        let addresses = match &proxy.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolved(name).await?,
        };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, proxy.port)).collect();
        Ok(Via { proxy: Arc::clone(proxy), addresses })
    }

    async fn resolved(&self, name: &str) -> Result<Vec<IpAddr>, NotAdmitted> {
        let unresolved = |why: &dyn fmt::Display| NotAdmitted::Unresolved {
            message: format!("the host '{name}' cannot be resolved: {why}"),
        };
        let mut addresses = self.resolver.resolve(name).await.map_err(|error| unresolved(&error))?;
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Err(unresolved(&"it has no address")) } else { Ok(addresses) }
    }

    /// The repository directory a `file://` path leads to, after every symbolic link.
    fn admit_directory(&self, path: &Path) -> Result<PathBuf, NotAdmitted> {
        let refused = || outside_of_directories(path);
        let is_below = |path: &Path| {
            self.file_directories
                .iter()
                .filter_map(|directory| directory.canonicalize().ok())
                .any(|directory| path.starts_with(directory))
        };
        let Ok(found) = path.canonicalize() else {
            // Whether something exists outside is nobody's business.
            let is_plainly_below = self.file_directories.iter().any(|directory| path.starts_with(directory));
            let message = format!("'{}' does not exist", path.display());
            return Err(if is_plainly_below { NotAdmitted::Missing { message } } else { refused() });
        };
        if !is_below(&found) {
            return Err(refused());
        }
        // git would look into `.git` by itself, and follow it as a file or link to anywhere.
        let inner = found.join(".git");
        let repository = if inner.symlink_metadata().is_ok() { inner } else { found };
        let is_plain = repository.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if is_plain { Ok(repository) } else { Err(refused()) }
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.clone(),
    }
}

/// To go there would be to go past the proxy, which is the one way out.
fn no_way_by_ssh(host: &Host) -> NotAdmitted {
    let message = format!(
        "ssh to {}: only HTTP leads through the proxy that everything goes through (--egress-proxy): give the \
         repository's https:// URL",
        shown(host)
    );
    NotAdmitted::Policy { message }
}

fn outside_of_directories(path: &Path) -> NotAdmitted {
    let message = format!("'{}' is in no directory for file remotes (--allow-file-remotes)", path.display());
    NotAdmitted::Policy { message }
}

fn shown_for_curl(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Whether an address belongs to the public internet, by IANA's special-purpose registries.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // Azure's host agent and name server, public only in form.
    let is_azure_host = address == Ipv4Addr::new(168, 63, 129, 16);
    !(is_azure_host
        || matches!(a, 0 | 10 | 127 | 224..=255)
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && matches!(c, 0 | 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && matches!(b, 18 | 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, ORCHID and the other protocol assignments; documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_by_the_registries() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_public(text.parse().expect("an address")), expected, "{text}");
        };
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.0.1",
            "169.255.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.1.1",
            "192.169.1.1",
            "198.17.1.1",
            "198.20.1.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2001:4860:4860::8888",
        ] {
            check(text, true);
        }
        for text in [
            "0.0.0.0",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2001:10::1",
            "2002:7f00:1::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "3fff::1",
            "5f00::1",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let check = |network: &str, address: &str, expected: bool| {
            let parsed: Network = network.parse().expect("a network");
            assert_eq!(
                parsed.contains(address.parse().expect("an address")),
                expected,
                "{address} in {network}"
            );
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("127.0.0.1/32", "::ffff:127.0.0.1", true);
        check("0.0.0.0/0", "200.1.1.1", true);
        check("0.0.0.0/0", "2606::1", false);
        check("::/0", "2606::1", true);
        check("::/0", "::ffff:1.1.1.1", false);
        check("fd00::/8", "fdff::1", true);
        check("fd00::/8", "fe00::1", false);
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "x/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse::<Network>().expect("a network").to_string(), "10.1.2.3/8");
    }
}
