//! Keys: the one that we show to a host, and those that a host is known by.
//!
//! **Architecture Invariant:** a host without a pinned key is not talked to: at most it is looked at, and then no key of
//! ours is shown to it.

use std::fmt;
use std::sync::Arc;

use ring::hmac;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use syncline_egress::RemoteUrl;
use syncline_seams::Secret;
use thiserror::Error;

/// The host keys that a host is known by: its public keys in OpenSSH's form, or their fingerprints (`SHA256:…`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostKeys {
    keys: Vec<PublicKey>,
    fingerprints: Vec<String>,
}

/// What an SSH host is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAccess {
    /// The user, where the URL names none.
    pub username: Option<String>,
    /// The private key, in OpenSSH's format and without a passphrase.
    pub key: Secret,
    /// What the host is known by.
    pub host_keys: HostKeys,
}

/// A private key that cannot be used. No message holds anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// It is in another format.
    #[error("it is not in OpenSSH's format: convert a copy with `ssh-keygen -p -N '' -f <copy>`")]
    Format,
    /// It is the public half.
    #[error("it is a public key, and the private one is needed: the file without .pub")]
    Public,
    /// It has a passphrase.
    #[error(
        "it has a passphrase, which nobody could type here: make a key for this alone with `ssh-keygen -t ed25519 -N ''`, \
         or take the passphrase off a copy with `ssh-keygen -p -N '' -f <copy>`"
    )]
    Encrypted,
    /// It is of a type that cannot sign without a person, or is not spoken.
    #[error("it is of a type that is not supported: Ed25519, ECDSA (NIST P-256, P-384, P-521) and RSA are")]
    Type,
}

/// A line that does not say what a host is known by.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidHostKeys {
    /// It is none of the forms.
    #[error(
        "line {0} is neither a line of known_hosts, nor a public key, nor a fingerprint as `SHA256:…` \
         (`ssh-keyscan <host>` prints lines, `ssh-keygen -lf <file>` fingerprints)"
    )]
    Line(usize),
    /// It has a marker.
    #[error("line {0} is of a certificate authority or revoked: a host is known by its own keys here")]
    Marked(usize),
    /// It is of a type that is not spoken.
    #[error("line {line} has a key of type {algorithm}, which is not supported: Ed25519, ECDSA and RSA are")]
    Type {
        /// Which line, from 1.
        line: usize,
        /// The type.
        algorithm: String,
    },
    /// Only other hosts are named.
    #[error("no line is about {0}")]
    OtherHosts(String),
    /// There are too many.
    #[error("more than {MAX_HOST_KEYS} host keys")]
    TooMany,
}

/// The most keys that a host is known by.
const MAX_HOST_KEYS: usize = 16;

/// The length of a SHA-256 in base64 without padding.
const DIGEST_CHARS: usize = 43;

/// Reads a private key.
pub(crate) fn private_key(text: &Secret) -> Result<Arc<PrivateKey>, InvalidKey> {
    let text = text.expose();
    // Whoever copies a key loses its last line break easily.
    let pem = Secret::new(format!("{}\n", text.trim()));
    let Ok(key) = PrivateKey::from_openssh(pem.expose()) else {
        let is_public = text.trim_start().parse::<PublicKey>().is_ok();
        return Err(if is_public { InvalidKey::Public } else { InvalidKey::Format });
    };
    if key.is_encrypted() {
        return Err(InvalidKey::Encrypted);
    }
    if !is_spoken(&key.algorithm()) {
        return Err(InvalidKey::Type);
    }
    Ok(Arc::new(key))
}

/// Whether keys of this type are used at all.
fn is_spoken(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. })
}

/// The public key in one line, without a comment.
pub(crate) fn shown(key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    key.to_openssh().unwrap_or_default()
}

/// A host's key as it is told to people: its type and fingerprint.
pub(crate) fn told(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm().as_str(), fingerprint(key))
}

pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl SshAccess {
    /// The public half of the key, as it is added at a host.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn public_key(&self) -> Result<String, InvalidKey> {
        private_key(&self.key).map(|key| shown(key.public_key()))
    }
}

impl HostKeys {
    /// Reads lines of `known_hosts` about the URL's host, bare public keys and fingerprints; lines about other hosts
    /// are passed over.
    ///
    /// # Errors
    /// [`InvalidHostKeys`].
    pub fn read(text: &str, url: &RemoteUrl) -> Result<Self, InvalidHostKeys> {
        let host = url.host().unwrap_or_default();
        let (name, port) = host.rsplit_once(':').unwrap_or((&host, "22"));
        let name = if port == "22" { name.to_owned() } else { format!("[{name}]:{port}") };
        let (mut found, mut others) = (Self::default(), false);
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(digest) = line.strip_prefix("SHA256:") {
                let is_whole = digest.len() == DIGEST_CHARS
                    && digest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
                if !is_whole {
                    return Err(InvalidHostKeys::Line(number));
                }
                found.fingerprints.push(line.to_owned());
                continue;
            }
            let key = if let Ok(key) = line.parse::<PublicKey>() {
                key
            } else {
                // What is said of other hosts may be anything: the whole file may be given.
                let patterns = patterns(line).ok_or(InvalidHostKeys::Line(number))?;
                if !is_about(&patterns, &name) {
                    others = true;
                    continue;
                }
                if line.starts_with('@') {
                    return Err(InvalidHostKeys::Marked(number));
                }
                let entry: Entry = line.parse().map_err(|_| InvalidHostKeys::Line(number))?;
                entry.public_key().clone()
            };
            if !is_spoken(&key.algorithm()) {
                let algorithm = key.algorithm().as_str().to_owned();
                return Err(InvalidHostKeys::Type { line: number, algorithm });
            }
            found.pin(&key);
        }
        if found.keys.len() + found.fingerprints.len() > MAX_HOST_KEYS {
            return Err(InvalidHostKeys::TooMany);
        }
        if others && found.is_empty() { Err(InvalidHostKeys::OtherHosts(name)) } else { Ok(found) }
    }

    /// Whether nothing but fingerprints is known, which do not say of which type of key they are.
    pub(crate) fn are_fingerprints(&self) -> bool {
        self.keys.is_empty() && !self.fingerprints.is_empty()
    }

    /// Whether nothing is pinned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.fingerprints.is_empty()
    }

    pub(crate) fn pin(&mut self, key: &PublicKey) {
        let mut key = key.clone();
        key.set_comment("");
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    /// The keys by which the host is known now that it has shown `key`: a fingerprint becomes the key it is of.
    pub(crate) fn with(&self, key: &PublicKey) -> Self {
        let mut known = Self { keys: self.keys.clone(), fingerprints: Vec::new() };
        known.pin(key);
        known.fingerprints =
            self.fingerprints.iter().filter(|pinned| **pinned != fingerprint(key)).cloned().collect();
        known
    }

    pub(crate) fn accepts(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|pinned| pinned.key_data() == key.key_data())
            || self.fingerprints.contains(&fingerprint(key))
    }

    /// The types of key to ask the host for: those that are pinned, so that a host with several shows one of them.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let all = russh::Preferred::DEFAULT.key;
        // A signature with SHA-1 is none.
        let mut all: Vec<Algorithm> =
            all.iter().filter(|one| **one != Algorithm::Rsa { hash: None }).cloned().collect();
        if self.fingerprints.is_empty() && !self.keys.is_empty() {
            let is_pinned = |one: &Algorithm| {
                self.keys.iter().any(|key| match (one, key.algorithm()) {
                    (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                    (one, pinned) => *one == pinned,
                })
            };
            all.retain(is_pinned);
        }
        all
    }

    /// What is pinned, as it is told to people.
    #[must_use]
    pub fn told(&self) -> String {
        let keys = self.keys.iter().map(told).chain(self.fingerprints.iter().cloned());
        keys.collect::<Vec<_>>().join(", ")
    }
}

/// Lines that [`HostKeys::read`] reads again, for the same host or another.
impl fmt::Display for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.keys.iter().map(shown).chain(self.fingerprints.iter().cloned()) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// The hosts that a line of known_hosts is about, if it looks like one: a marker perhaps, hosts, and two words or more about a
/// key.
fn patterns(line: &str) -> Option<HostPatterns> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with('@'));
    let (hosts, kind, _) = (words.next()?, words.next()?, words.next()?);
    // A public key that cannot be read: all begin alike, after their type.
    let is_bare_key = kind.starts_with("AAAA");
    if is_bare_key { None } else { hosts.parse().ok() }
}

/// Whether a line of known_hosts is about the host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
fn is_about(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, name.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let is_meant = |pattern: &str| matches(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes());
            let is_excluded = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(is_meant);
            !is_excluded && patterns.iter().any(|pattern| is_meant(pattern))
        }
    }
}

/// Whether a name is one of those that a pattern with `*` and `?` describes.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[of] => (at, of) = (at + 1, of + 1),
            _ => match star {
                // The star takes one byte more.
                Some((back, taken)) => {
                    star = Some((back, taken + 1));
                    (at, of) = (back + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G2sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn url(text: &str) -> RemoteUrl {
        text.parse().expect("a url")
    }

    fn read(lines: &str, of: &str) -> Result<String, InvalidHostKeys> {
        HostKeys::read(lines, &url(of)).map(|keys| keys.to_string())
    }

    #[test]
    fn a_host_is_known_by_the_lines_about_it() {
        let one = Ok(format!("{ONE}\n"));
        for lines in [
            ONE.to_owned(),
            format!("{ONE} a comment"),
            format!("# a comment\n\n host.example {ONE}\n other.example {OTHER}\n"),
            format!("Host.Example,192.0.2.1 {ONE} me@here"),
            format!("*.example {ONE}"),
            format!("h?st.* {ONE}"),
            format!("*.example,!host.example {OTHER}\nhost.example {ONE}"),
            format!("host.example {ONE}\nhost.example {ONE}"),
            // What is about others may be what could not be taken here.
            format!("@cert-authority *.other.example {OTHER}\nhost.example {ONE}"),
            format!("@revoked other.example,other {OTHER} comment\nhost.example {ONE}"),
            format!("other.example ssh-unheard-of AAAAB3Nza== comment\nhost.example {ONE}"),
            format!("other.example 1024 35 1234567890\nhost.example {ONE}"),
            format!("ssh-gateway.example ssh-ed25519 AAAA\nhost.example {ONE}"),
        ] {
            assert_eq!(read(&lines, "ssh://git@host.example/a"), one, "{lines}");
        }
        assert_eq!(read(&format!("[host.example]:2222 {ONE}"), "ssh://host.example:2222/a"), one);
        assert_eq!(read(&format!("[::1]:2222 {ONE}"), "ssh://[::1]:2222/a"), one);
        let both = read(&format!("{ONE}\n{OTHER}"), "ssh://host.example/a").expect("both");
        assert_eq!(both, format!("{ONE}\n{OTHER}\n"));
        assert_eq!(read(&both, "git@elsewhere:a"), Ok(both));
        assert_eq!(read("", "ssh://host.example/a"), Ok(String::new()));
    }

    #[test]
    fn a_hashed_line_is_about_the_host_that_was_hashed() {
        // HMAC-SHA1 with the salt as its key.
        let salt = [7; 20];
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        let encode = |bytes: &[u8]| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(bytes)
        };
        let hash = hmac::sign(&key, b"host.example");
        let line = format!("|1|{}|{} {ONE}", encode(&salt), encode(hash.as_ref()));
        assert_eq!(read(&line, "ssh://host.example/a"), Ok(format!("{ONE}\n")));
        let other = read(&line, "ssh://other.example/a");
        assert_eq!(other, Err(InvalidHostKeys::OtherHosts("other.example".to_owned())));
    }

    #[test]
    fn what_says_nothing_of_the_host_is_refused() {
        let check = |lines: &str, expect: InvalidHostKeys| {
            assert_eq!(read(lines, "ssh://host.example:2222/a"), Err(expect), "{lines}");
        };
        let others = || InvalidHostKeys::OtherHosts("[host.example]:2222".to_owned());
        check(&format!("host.example {ONE}"), others());
        check(&format!("other {ONE}"), others());
        check("nonsense", InvalidHostKeys::Line(1));
        check("\nSHA256:short", InvalidHostKeys::Line(2));
        check(&format!("SHA256:{}", "é".repeat(43)), InvalidHostKeys::Line(1));
        check("MD5:00:11:22", InvalidHostKeys::Line(1));
        check("[host.example]:2222 ssh-ed25519 AAAA", InvalidHostKeys::Line(1));
        check("host.example ssh-ed25519 AAAA", others());
        check("ssh-ed25519 AAAAC3Nza comment", InvalidHostKeys::Line(1));
        check(&format!("@revoked [host.example]:2222,other {ONE}"), InvalidHostKeys::Marked(1));
        check(&format!("@revoked other {ONE}"), others());
        check(&format!("@cert-authority * {ONE}"), InvalidHostKeys::Marked(1));
        check(&format!("@revoked * {ONE}"), InvalidHostKeys::Marked(1));
        let fingerprint = format!("SHA256:{}\n", "a".repeat(43));
        check(&fingerprint.repeat(MAX_HOST_KEYS + 1), InvalidHostKeys::TooMany);
        let dss = "ssh-dss AAAAB3NzaC1kc3MAAAADAQABAAAAAwEAAQAAAAMBAAEAAAADAQAB";
        assert!(read(dss, "ssh://host.example/a").is_err());
    }

    #[test]
    fn a_fingerprint_becomes_the_key_it_is_of() {
        let (key, other): (PublicKey, PublicKey) =
            (ONE.parse().expect("a key"), OTHER.parse().expect("a key"));
        let pinned = HostKeys::read(&fingerprint(&key), &url("ssh://host/a")).expect("a fingerprint");
        assert!(pinned.accepts(&key) && !pinned.accepts(&other));
        assert_eq!(pinned.with(&key).to_string(), format!("{ONE}\n"));
        assert_eq!(pinned.told(), fingerprint(&key));
        assert!(!HostKeys::default().accepts(&key));
    }

    #[test]
    fn a_host_is_asked_for_the_types_that_are_pinned() {
        let algorithms =
            |keys: &HostKeys| keys.algorithms().iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>();
        let pinned = HostKeys::read(ONE, &url("ssh://host/a")).expect("a key");
        assert_eq!(algorithms(&pinned), ["ssh-ed25519"]);
        let any = algorithms(&HostKeys::default());
        assert!(any.len() > 4 && !any.contains(&"ssh-rsa".to_owned()), "{any:?}");
    }
}
