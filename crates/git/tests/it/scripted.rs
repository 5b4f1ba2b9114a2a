//! An SSH host that lets everybody in and says what it was told to say, whatever is run there.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId};
use syncline_git::{Git, HostKeys, Limits, Remote, Settings, SshAccess};
use syncline_seams::{Outside, Secret};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::world::remote;

/// What the host does when it is to run something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// Says only afterwards, or never, that it runs.
    pub(crate) is_early: bool,
    pub(crate) says: String,
    /// Says this again and again, as long as anybody listens.
    pub(crate) goes_on: &'static str,
    /// Its complaint, once it is told that there is no more input; then it ends. Without one it never ends.
    pub(crate) complains: Option<&'static str>,
}

/// The host; it ends when dropped.
pub(crate) struct Scripted {
    address: SocketAddr,
    open: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A packet of Git's protocol.
pub(crate) fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

impl Scripted {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let config = Arc::new(Config { keys: vec![key(1)], inactivity_timeout: None, ..Config::default() });
        let (counting, open) = watch::channel(0);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (config, script, counting) = (Arc::clone(&config), script.clone(), counting.clone());
                counting.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    if let Ok(session) = run_stream(config, stream, Talker(script)).await {
                        let _ = session.await;
                    }
                    counting.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, open, accepting }
    }

    /// A repository there, asked for with a key that is let in.
    pub(crate) fn remote(&self) -> Remote {
        let remote = remote(&format!("ssh://git@{}/acme/infra.git", self.address));
        let public = key(1).public_key().to_openssh().expect("a public key");
        let host_keys = HostKeys::read(&public, &remote.url).expect("host keys");
        let private = key(2).to_openssh(LineEnding::LF).expect("a private key");
        let access = SshAccess { username: None, key: Secret::new(private.to_string()), host_keys };
        Remote { ssh: Some(access), ..remote }
    }

    /// Waits until nobody is connected.
    pub(crate) async fn is_left(&mut self) {
        self.open.wait_for(|open| *open == 0).await.expect("the host runs");
    }
}

/// Somebody who reads what is on this machine, with these limits.
pub(crate) fn reader(limits: Limits) -> (Git, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings::new(directory.path().join("cache"));
    settings.egress = syncline_git::Egress::new(vec!["127.0.0.1".parse().expect("a network")], Vec::new());
    settings.limits = limits;
    (Git::new(settings, Outside::default()), directory)
}

struct Talker(Script);

impl Handler for Talker {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if !self.0.is_early {
            session.channel_success(channel)?;
        }
        tokio::spawn(talk(session.handle(), channel, self.0.clone()));
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        if let Some(complaint) = self.0.complains {
            session.extended_data(channel, 1, Bytes::from_static(complaint.as_bytes()))?;
            session.exit_status_request(channel, 128)?;
            session.close(channel)?;
        }
        Ok(())
    }
}

async fn talk(to: Handle, channel: ChannelId, script: Script) {
    if !script.says.is_empty() && to.data(channel, script.says).await.is_err() {
        return;
    }
    let again = Bytes::from(script.goes_on.repeat(200));
    while !again.is_empty() && to.data(channel, again.clone()).await.is_ok() {}
}
