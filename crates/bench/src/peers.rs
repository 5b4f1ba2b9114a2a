//! Other people's servers, under the same load.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use syncline_peers::Moto;
use syncline_seams::{Clock as _, SystemClock};

use crate::generator::probe;
use crate::report::Sample;
use crate::requests::{Kind, Requests, Signer};
use crate::seeding::REGION;

/// How many things the peers are asked about.
const THINGS: u32 = 1000;
/// How long fakecloud may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server of other people's.
pub(crate) struct Peer {
    /// Its name, and what it is asked.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it is sent.
    pub(crate) requests: Requests,
    /// The number of the next request.
    pub(crate) next: usize,
    /// What was measured.
    pub(crate) samples: Vec<Sample>,
    /// How many times as fast our reads are to be.
    pub(crate) target: f64,
    // Ends it when dropped.
    _running: Running,
}

enum Running {
    Moto { _moto: Moto },
    Fakecloud { _fakecloud: Fakecloud },
}

/// Starts the peers that are installed, and gives them what they are asked about. `fakecloud` is its program.
///
/// # Errors
/// One that is installed and does not do as it should.
pub(crate) fn start(folder: &Path, fakecloud: Option<&Path>) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(moto) = runtime.block_on(Moto::start()) {
        peers.push(moto_peer(moto)?);
    }
    match fakecloud {
        Some(program) => peers.push(fakecloud_peer(program, folder)?),
        None => eprintln!("skipped: fakecloud is not installed; `cargo xtask bench api` does it"),
    }
    Ok(peers)
}

/// moto has no CodeConnections: its nearest read is CodeCommit's.
fn moto_peer(moto: Moto) -> anyhow::Result<Peer> {
    let address = moto.endpoint().trim_start_matches("http://").parse()?;
    let signer = Signer {
        service: "codecommit",
        target_prefix: "CodeCommit_20150413",
        content_type: "application/x-amz-json-1.1",
        ..signer(address)
    };
    let now_ms = SystemClock.now_ms();
    let body = |i: u32| format!(r#"{{"repositoryName":"repository-{i}"}}"#);
    make(&signer, address, "CreateRepository", body)?;
    let mut requests = Requests::default();
    for i in 0..THINGS {
        requests.push(Kind::Read, &signer, now_ms, "GetRepository", &body(i));
    }
    let name = "moto, CodeCommit GetRepository".to_owned();
    let running = Running::Moto { _moto: moto };
    Ok(Peer { name, address, requests, next: 0, samples: Vec::new(), target: 80.0, _running: running })
}

/// fakecloud keeps sync configurations in memory and runs none, so it has no status to tell and answers
/// GetResourceSyncStatus with an error; the nearest read is that of the configuration. It checks no signatures unless
/// told to.
fn fakecloud_peer(program: &Path, folder: &Path) -> anyhow::Result<Peer> {
    let fakecloud = Fakecloud::start(program, folder)?;
    let address = fakecloud.address;
    let signer = signer(address);
    let body = |i: u32| {
        format!(
            r#"{{"ResourceName":"service-{i:06}-production","SyncType":"CFN_STACK_SYNC","Branch":"main","ConfigFile":"deploy.yaml","RepositoryLinkId":"LINK","RoleArn":"arn:aws:iam::111111111111:role/deploy"}}"#
        )
    };
    let connection = text(
        &probe_operation(
            &signer,
            address,
            "CreateConnection",
            r#"{"ConnectionName":"bench","ProviderType":"GitHub"}"#,
        )?,
        "/ConnectionArn",
    )?;
    let link = format!(r#"{{"ConnectionArn":"{connection}","OwnerId":"acme","RepositoryName":"services"}}"#);
    let link = text(
        &probe_operation(&signer, address, "CreateRepositoryLink", &link)?,
        "/RepositoryLinkInfo/RepositoryLinkId",
    )?;
    make(&signer, address, "CreateSyncConfiguration", |i| body(i).replace("LINK", &link))?;
    let now_ms = SystemClock.now_ms();
    let mut requests = Requests::default();
    for i in 0..THINGS {
        let body = format!(r#"{{"ResourceName":"service-{i:06}-production","SyncType":"CFN_STACK_SYNC"}}"#);
        requests.push(Kind::Read, &signer, now_ms, "GetSyncConfiguration", &body);
    }
    let name = "fakecloud, GetSyncConfiguration".to_owned();
    let running = Running::Fakecloud { _fakecloud: fakecloud };
    Ok(Peer { name, address, requests, next: 0, samples: Vec::new(), target: 1.0, _running: running })
}

fn signer(address: SocketAddr) -> Signer {
    Signer {
        access_key_id: "AKIA0000000000000000".to_owned(),
        secret: "anything".to_owned(),
        region: REGION.to_owned(),
        service: "codeconnections",
        target_prefix: "com.amazonaws.codeconnections.CodeConnections_20231201",
        content_type: "application/x-amz-json-1.0",
        host: address.to_string(),
    }
}

fn make(
    signer: &Signer,
    address: SocketAddr,
    operation: &str,
    body: impl Fn(u32) -> String,
) -> anyhow::Result<()> {
    for i in 0..THINGS {
        probe_operation(signer, address, operation, &body(i))?;
    }
    Ok(())
}

fn probe_operation(
    signer: &Signer,
    address: SocketAddr,
    operation: &str,
    body: &str,
) -> anyhow::Result<Vec<u8>> {
    let mut request = Requests::default();
    request.push(Kind::Write, signer, SystemClock.now_ms(), operation, body);
    probe(address, request.get(0).0).with_context(|| operation.to_owned())
}

fn text(reply: &[u8], pointer: &str) -> anyhow::Result<String> {
    let reply: serde_json::Value = serde_json::from_slice(reply)?;
    let text = reply.pointer(pointer).and_then(serde_json::Value::as_str);
    Ok(text.with_context(|| format!("no {pointer} in {reply}"))?.to_owned())
}

/// A fakecloud of ours; it ends with this value.
struct Fakecloud {
    address: SocketAddr,
    child: Child,
}

impl Fakecloud {
    fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        // It does not say which port it got, so one that was free just now.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let log = folder.join("fakecloud.log");
        let child = Command::new(program)
            .args(["--addr", &address.to_string(), "--log-level", "error", "--region", REGION])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{}: could not be started", program.display()))?;
        let mut fakecloud = Self { address, child };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = fakecloud.child.try_wait()? {
                bail!("fakecloud ended ({status}); {} says more", log.display());
            }
            if begun.elapsed() > START_LIMIT {
                bail!("fakecloud did not listen on {address} within {} s", START_LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(fakecloud)
    }
}

impl Drop for Fakecloud {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
