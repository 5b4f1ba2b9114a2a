//! Connections to SSH hosts: made, judged, kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use russh::client::{AuthResult, Config, Handle, Handler, connect_stream};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Preferred, SshId};
use sha2::{Digest as _, Sha256};
use syncline_egress::{NoAnswer, Route, dial};
use syncline_seams::{Clock as _, SystemClock};
use tokio::time::Instant;

use super::keys::{self, HostKeys, SshAccess};
use super::tied::{Tie, Tied};
use crate::error::GitError;
use crate::protocol::Capabilities;
use crate::remote::Remote;

/// The most connections that are kept though nobody uses them.
const MAX_IDLE: usize = 64;

/// How long a connection is used at all: a host asks for the key only at its beginning, and may no longer let it in.
const LONGEST_USE: Duration = Duration::from_secs(10 * 60);

/// A host that is silent this long is asked whether it is there, and given up when it does not say so twice.
const SILENCE: Duration = Duration::from_secs(20);

/// The most remotes whose announcement is remembered.
const MAX_REMEMBERED: usize = 20_000;

/// Some hosts know git by this beginning.
const CLIENT_ID: &str = concat!("SSH-2.0-git-syncline-", env!("CARGO_PKG_VERSION"));

/// The user where neither the URL nor the credential names one, as on every forge.
const USER: &str = "git";

/// Who a connection is with and as whom; what it is known by must be the same to use it again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Peer {
    host: String,
    port: u16,
    user: String,
    /// A digest of the private key.
    key: [u8; 32],
    host_keys: HostKeys,
}

/// A connection on which a key was accepted.
pub(crate) struct Session {
    peer: Peer,
    address: SocketAddr,
    made: Instant,
    since: Instant,
    pub(super) handle: Handle<Judge>,
    /// The key that the host showed.
    host_key: PublicKey,
    /// What ends it.
    _tie: Tie,
}

impl Session {
    /// When it is to be closed, if it is kept unused for so long at most.
    fn end(&self, longest_idle: Duration) -> Instant {
        (self.since + longest_idle).min(self.made + LONGEST_USE)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Connections that nobody uses.
#[derive(Debug)]
struct Idle {
    longest: Duration,
    /// The one used last is at the end.
    kept: Vec<Session>,
    /// Whether a task sees to it that none is kept for too long.
    is_swept: bool,
}

impl Idle {
    fn end_the_old(&mut self) {
        let now = Instant::now();
        self.kept.retain(|kept| kept.end(self.longest) > now && !kept.handle.is_closed());
    }

    /// When the next one is to be closed.
    fn next_end(&self) -> Option<Instant> {
        self.kept.iter().map(|kept| kept.end(self.longest)).min()
    }
}

/// Connections that are kept for the next call, and what remotes announced.
#[derive(Debug)]
pub(crate) struct Sessions {
    idle: Arc<Mutex<Idle>>,
    /// Those that speak protocol v2, by their URL.
    announced: Mutex<HashMap<String, Capabilities>>,
}

/// Decides whether a host is the one that is known.
#[derive(Debug)]
pub(crate) struct Judge {
    known: HostKeys,
    shown: Arc<OnceLock<PublicKey>>,
}

impl Handler for Judge {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // Certificates are not asked for, so none is shown.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let _ = self.shown.set(key.clone());
        Ok(self.known.accepts(key))
    }
}

impl Sessions {
    /// Keeps connections so long at most that nobody uses.
    pub(crate) fn keeping(longest: Duration) -> Self {
        let idle = Idle { longest, kept: Vec::new(), is_swept: false };
        Self { idle: Arc::new(Mutex::new(idle)), announced: Mutex::default() }
    }

    /// A connection with the remote's host on which its key was accepted: a kept one, or else a new one.
    pub(super) async fn open(&self, remote: &Remote, route: &Route) -> Result<Session, GitError> {
        let access = access(remote)?;
        let peer = peer(remote, route, access);
        match self.take(&peer, &route.addresses) {
            Some(session) => Ok(session),
            None => connect(peer, route, access).await,
        }
    }

    /// A new connection, whatever is kept.
    pub(super) async fn open_anew(&self, remote: &Remote, route: &Route) -> Result<Session, GitError> {
        let access = access(remote)?;
        self.idle().end_the_old();
        connect(peer(remote, route, access), route, access).await
    }

    /// Shows the host the key, and answers what it is known by from now on.
    pub(crate) async fn introduce(&self, remote: &Remote, route: &Route) -> Result<HostKeys, GitError> {
        let session = self.open_anew(remote, route).await?;
        let known = session.peer.host_keys.with(&session.host_key);
        self.keep(session);
        Ok(known)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection with the peer, at one of the addresses that are admitted for this call.
    fn take(&self, peer: &Peer, addresses: &[SocketAddr]) -> Option<Session> {
        let mut idle = self.idle();
        idle.end_the_old();
        let is_meant = |kept: &Session| kept.peer == *peer && addresses.contains(&kept.address);
        let found = idle.kept.iter().rposition(is_meant)?;
        Some(idle.kept.remove(found))
    }

    pub(super) fn keep(&self, mut session: Session) {
        session.since = Instant::now();
        let mut idle = self.idle();
        idle.kept.push(session);
        idle.end_the_old();
        if idle.kept.len() > MAX_IDLE {
            idle.kept.remove(0);
        }
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }

    pub(crate) fn announced(&self, url: &str) -> Option<Capabilities> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    pub(crate) fn remember(&self, url: &str, announced: Option<Capabilities>) {
        let mut all = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        match announced {
            None => drop(all.remove(url)),
            Some(announced) => {
                if all.len() >= MAX_REMEMBERED {
                    all.clear();
                }
                all.insert(url.to_owned(), announced);
            }
        }
    }
}

/// Ends what is kept for too long, though nobody may ever ask for a connection again, until there is none left. By the
/// machine's time, since it decides about sockets alone.
async fn sweep(of: Weak<Mutex<Idle>>) {
    loop {
        let rest = {
            let Some(idle) = of.upgrade() else { return };
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.end_the_old();
            match idle.next_end() {
                Some(end) => end.saturating_duration_since(Instant::now()),
                None => {
                    idle.is_swept = false;
                    return;
                }
            }
        };
        SystemClock.sleep(rest).await;
    }
}

fn access(remote: &Remote) -> Result<&SshAccess, GitError> {
    remote.ssh.as_ref().ok_or_else(|| GitError::Unauthorized {
        message: format!("'{}' is asked with an SSH key, and there is none", remote.url),
    })
}

fn peer(remote: &Remote, route: &Route, access: &SshAccess) -> Peer {
    let named = remote.url.ssh().and_then(|(user, _)| user);
    let user = named.or(access.username.as_deref()).unwrap_or(USER).to_owned();
    let key = Sha256::digest(access.key.expose()).into();
    let host_keys = access.host_keys.clone();
    Peer { host: route.host.clone(), port: route.port, user, key, host_keys }
}

async fn connect(peer: Peer, route: &Route, access: &SshAccess) -> Result<Session, GitError> {
    let key = keys::private_key(&access.key)
        .map_err(|why| GitError::Unauthorized { message: format!("the SSH key cannot be used: {why}") })?;
    let place = format!("{}:{}", peer.host, peer.port);
    let unavailable = |error: &dyn std::fmt::Display| GitError::Unavailable {
        message: format!("unable to access '{place}' by SSH: {error}"),
    };
    let (stream, address) = dial(route).await.map_err(|error| match error {
        NoAnswer::Broken(why) => GitError::Unavailable { message: why },
        other => unavailable(&other),
    })?;
    let shown = Arc::new(OnceLock::new());
    let judge = Judge { known: peer.host_keys.clone(), shown: Arc::clone(&shown) };
    let known = &peer.host_keys;
    let (stream, tie) = Tied::new(stream);
    let connected = connect_stream(Arc::new(config(known)), stream, judge).await;
    let mut handle = match (connected, shown.get()) {
        (Ok(handle), Some(_)) => handle,
        (_, Some(host_key)) if !known.accepts(host_key) => return Err(not_known(&place, known, host_key)),
        (Err(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. }), _) => {
            return Err(no_such_type(&place, known, &theirs));
        }
        (Err(error), _) => return Err(unavailable(&error)),
        (Ok(_), None) => return Err(unavailable(&"it showed no key")),
    };
    let host_key = shown.get().cloned().ok_or_else(|| unavailable(&"it showed no key"))?;
    let hash = match key.algorithm().is_rsa() {
        // A host that does not say what it takes gets what all have taken for years; SHA-1 nobody gets.
        true => match handle.best_supported_rsa_hash().await {
            Ok(Some(Some(hash))) => Some(hash),
            _ => Some(HashAlg::Sha512),
        },
        false => None,
    };
    let with = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
    match handle.authenticate_publickey(peer.user.clone(), with).await {
        Ok(AuthResult::Success) => {
            let now = Instant::now();
            Ok(Session { peer, address, made: now, since: now, handle, host_key, _tie: tie })
        }
        Ok(AuthResult::Failure { partial_success, .. }) => {
            let more = if partial_success { ", or wants more than a key" } else { "" };
            let message = format!(
                "'{place}' does not let '{}' in with the SSH key {}{more}: add its public key there, which is \"{}\"",
                peer.user,
                keys::fingerprint(key.public_key()),
                keys::shown(key.public_key()),
            );
            Err(GitError::Unauthorized { message })
        }
        Err(error) => Err(unavailable(&error)),
    }
}

fn config(known: &HostKeys) -> Config {
    Config {
        client_id: SshId::Standard(Cow::Borrowed(CLIENT_ID)),
        preferred: Preferred { key: Cow::Owned(known.algorithms()), ..Preferred::DEFAULT },
        keepalive_interval: Some(SILENCE),
        keepalive_max: 2,
        // It is asked only once it has let us in, and between two exchanges of keys.
        inactivity_timeout: Some(3 * SILENCE),
        ..Config::default()
    }
}

/// The host shows a key that it is not known by.
fn not_known(place: &str, known: &HostKeys, shown: &PublicKey) -> GitError {
    let (shown, kind) = (keys::told(shown), shown.algorithm());
    let message = if known.are_fingerprints() {
        format!(
            "'{place}' shows the host key {shown}, and is known by {}: either it has several keys, of which this is the one \
             of type {}, and whoever runs it can tell that one's fingerprint, too, to authorize the connection with; or \
             somebody stands in between",
            known.told(),
            kind.as_str()
        )
    } else if known.is_empty() {
        format!(
            "'{place}' shows the host key {shown}; find out from whoever runs it whether that is its key, and then \
             authorize the connection with it"
        )
    } else {
        format!(
            "'{place}' shows the host key {shown}, and is known by {}: either its operator has changed the key, who can \
             say so, and the connection is to be authorized again with the new one, or somebody stands in between",
            known.told()
        )
    };
    GitError::UnknownHost { message }
}

/// The host has no key of a type that it is known by, or of any that we know.
fn no_such_type(place: &str, known: &HostKeys, theirs: &[String]) -> GitError {
    let theirs = theirs.join(", ");
    let message = if known.is_empty() {
        format!("'{place}' has host keys of types that are not supported: {theirs}")
    } else {
        format!(
            "'{place}' has only host keys of the types {theirs}, and is known by {}: authorize the connection again with \
             a key that it has",
            known.told()
        )
    };
    GitError::UnknownHost { message: message.chars().take(600).filter(|c| !c.is_control()).collect() }
}
