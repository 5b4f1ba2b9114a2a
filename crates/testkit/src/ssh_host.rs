//! A real SSH host on 127.0.0.1: OpenSSH's `sshd` in front of the repositories of a [`GitHost`].
//!
//! Each connection gets an `sshd -i` of its own, which reads the configuration anew: so a host's key, the keys it
//! lets in and what it takes from clients change from one connection to the next, and all end with their connections.
//!
//! **Architecture Invariant:** what a test sees without a fault is what OpenSSH and Git themselves answer.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use syncline_peers::openssh::{OpenSsh, openssh};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::git_host::GitHost;
use crate::repository::Repository;

/// What the host does with a connection instead of letting `sshd` answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshFault {
    /// Takes it and says nothing.
    Hang,
    /// Closes it.
    Disconnect,
    /// Answers as a web server does.
    Http,
}

#[derive(Debug)]
struct Shared {
    program: OpenSsh,
    folder: tempfile::TempDir,
    fault: Mutex<Option<SshFault>>,
    accepted: AtomicUsize,
    closing: Notify,
}

/// An SSH server on a random port of 127.0.0.1; it ends when dropped.
#[derive(Debug)]
pub struct SshHost {
    shared: Arc<Shared>,
    address: SocketAddr,
    served: PathBuf,
    user: String,
    accepting: JoinHandle<()>,
}

impl SshHost {
    /// Starts a host of the same repositories that lets nobody in yet; `None` when there is no OpenSSH.
    ///
    /// # Panics
    /// When the machine has no temporary directory, no free port or no `ssh-keygen`.
    pub async fn start(git: &GitHost) -> Option<Self> {
        let program = openssh()?;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let user = match &program.users {
            Some(_) => "git".to_owned(),
            None => output(Command::new("id").arg("-un")).await,
        };
        if let Some(uid) = program.users.as_ref().map(|_| rustix::process::getuid().as_raw()) {
            let gid = rustix::process::getgid().as_raw();
            let home = git.directory();
            let users = format!(
                "sshd:x:65534:65534::/nonexistent:/bin/false\n{user}:x:{uid}:{gid}::{}:/bin/sh\n",
                home.display()
            );
            std::fs::write(folder.path().join("passwd"), users).expect("written");
            std::fs::write(folder.path().join("group"), format!("{user}:x:{gid}:\n")).expect("written");
            // What sshd locks its unprivileged half up in; only root's has one.
            if uid == 0 && !Path::new("/run/sshd").exists() {
                std::fs::create_dir_all("/run/sshd").expect("made");
                std::fs::set_permissions("/run/sshd", Permissions::from_mode(0o755)).expect("restricted");
            }
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the bound address");
        let (fault, accepted, closing) = (Mutex::default(), AtomicUsize::new(0), Notify::new());
        let shared = Arc::new(Shared { program, folder, fault, accepted, closing });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let host = Self { shared, address, served: git.directory(), user, accepting };
        std::fs::write(host.path("authorized_keys"), "").expect("written");
        host.change_host_key("ed25519").await;
        host.take_protocol(true);
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.folder.path().join(name)
    }

    /// What a host's `ProviderEndpoint` is, for repositories of the Git host.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("ssh://{}@{}{}", self.user, self.address, self.served.display())
    }

    /// A repository's clone URL.
    #[must_use]
    pub fn url(&self, repository: &Repository) -> String {
        format!("{}/{}/{}.git", self.endpoint(), repository.owner(), repository.name())
    }

    /// The address the host listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host's key as a line of known_hosts.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        let key = std::fs::read_to_string(self.path("host_key.pub")).expect("a host key");
        format!("[{}]:{} {}", self.address.ip(), self.address.port(), key.trim())
    }

    /// The host's key as people tell it.
    ///
    /// # Panics
    /// When `ssh-keygen` fails.
    pub async fn fingerprint(&self) -> String {
        let told = output(Command::new("ssh-keygen").arg("-lf").arg(self.path("host_key.pub"))).await;
        told.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// Gives the host a new key of this type, which it shows from its next connection on.
    ///
    /// # Panics
    /// When `ssh-keygen` fails.
    pub async fn change_host_key(&self, kind: &str) {
        let (key, _) = generate(kind, "").await;
        let path = self.path("host_key");
        std::fs::write(&path, key.private).expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("restricted");
        std::fs::write(self.path("host_key.pub"), key.public).expect("written");
    }

    /// Whether the host takes `GIT_PROTOCOL` from clients; many do not, and speak the original protocol then.
    ///
    /// # Panics
    /// When the configuration cannot be written.
    pub fn take_protocol(&self, does: bool) {
        let folder = self.shared.folder.path().display();
        #[expect(clippy::disallowed_methods, reason = "git is where this process finds it")]
        let search_path = std::env::var("PATH").unwrap_or_default();
        let mut text = format!(
            "HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             AllowTcpForwarding no\nX11Forwarding no\nSetEnv \"PATH={search_path}\"\n"
        );
        if does {
            text.push_str("AcceptEnv GIT_PROTOCOL\n");
        }
        std::fs::write(self.path("config"), text).expect("written");
    }

    /// A new private key of this type that the host lets in.
    ///
    /// # Panics
    /// When `ssh-keygen` fails.
    pub async fn key(&self, kind: &str) -> String {
        let (key, _) = generate(kind, "").await;
        self.let_in(&key.public);
        key.private
    }

    /// Lets in whoever has the key of this public one, and nobody else.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn let_in(&self, public: &str) {
        std::fs::write(self.path("authorized_keys"), public).expect("written");
    }

    /// Does this with every connection from now on.
    pub fn fail(&self, fault: SshFault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Serves again.
    pub fn recover(&self) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Closes every connection that is open now.
    pub fn close_connections(&self) {
        self.shared.closing.notify_waiters();
    }

    /// How many connections were made since the start.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for SshHost {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A key pair as `ssh-keygen` writes it.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The private half.
    pub private: String,
    /// The public half, in one line.
    pub public: String,
}

/// Makes a key of this type, as `ssh-keygen -t` knows it, with this passphrase. Its second half is where it was made.
///
/// # Panics
/// When `ssh-keygen` fails.
pub async fn generate(kind: &str, passphrase: &str) -> (Pair, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("key");
    output(
        Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"]).arg(&path),
    )
    .await;
    let read = |path: &Path| std::fs::read_to_string(path).expect("a key");
    (Pair { private: read(&path), public: read(&folder.path().join("key.pub")) }, folder)
}

async fn output(command: &mut Command) -> String {
    let output = command.output().await.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let fault = *shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            tokio::select! {
                () = serve(stream, fault, &shared) => {}
                () = shared.closing.notified() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, fault: Option<SshFault>, shared: &Shared) {
    match fault {
        Some(SshFault::Hang) => std::future::pending().await,
        Some(SshFault::Disconnect) => return,
        Some(SshFault::Http) => {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            return;
        }
        None => {}
    }
    let stream = stream.into_std().expect("a socket");
    stream.set_nonblocking(false).expect("a blocking socket");
    let output = stream.try_clone().expect("a socket");
    let folder = shared.folder.path();
    let mut command = Command::new(&shared.program.sshd);
    command.args(["-i", "-e", "-f"]).arg(folder.join("config"));
    if let Some(users) = &shared.program.users {
        let folders: Vec<_> =
            shared.program.libraries.iter().map(|path| path.display().to_string()).collect();
        command
            .env("LD_LIBRARY_PATH", folders.join(":"))
            .env("LD_PRELOAD", users)
            .env("NSS_WRAPPER_PASSWD", folder.join("passwd"))
            .env("NSS_WRAPPER_GROUP", folder.join("group"));
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
    let child = command
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::from(OwnedFd::from(output)))
        .stderr(log)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.expect("sshd starts");
    // It holds the sockets, not we.
    drop(command);
    let _ = child.wait().await;
}
