//! A running server, put together from its parts.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use syncline_cloudformation_sim::Simulator;
use syncline_git::{Egress, Git, Settings as GitSettings};
use syncline_model::names::AccountId;
use syncline_seams::{Clock, Outside, Secret};
use syncline_store::{Change, KeySource, Keyring, Store, StoreError};
use syncline_targets::{AwsSource, CloudFormation, Proxy as AwsProxy, Settings as TargetSettings, Target};
use syncline_wire::sigv4::SigningKeys;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::{Config, Role, RootKey};
use crate::credentials::Fresh;
use crate::forges::Forges;
use crate::keyring;
use crate::notify::Notifier;
use crate::server::{self, Connections, Front, Gate, PageTokens, Policies, Proxies, Tls};
use crate::worker::{Pacing, Peers, Worker};

/// How long work that was cut off after its grace period may take to be handed over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// How long a start waits for another process to let go of the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks.
const DATABASE_RETRY: Duration = Duration::from_millis(50);

/// The account of a server that knows no other.
const NOBODYS_ACCOUNT: &str = "000000000000";

/// Time and outside calls: what tests replace.
#[derive(Debug, Clone)]
pub struct Seams {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Holds timeouts and fault points.
    pub outside: Outside,
}

/// The parts of a server, not yet listening or working.
#[derive(Debug)]
pub struct Parts {
    /// The store.
    pub store: Store,
    /// What requests are answered with.
    pub front: Arc<Front>,
    /// What is due is done by.
    pub worker: Arc<Worker>,
    /// The root access key.
    pub key: RootCredentials,
}

/// The root access key and its account.
#[derive(Debug, Clone)]
pub struct RootCredentials {
    /// The key's id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// The account it acts for.
    pub account: AccountId,
}

/// Opens the store and puts the parts together. `aws` says where CloudFormation is.
///
/// # Errors
/// A data directory, database, keyring or credentials file that cannot be used.
pub async fn parts(config: &Config, seams: &Seams, aws: AwsSource) -> anyhow::Result<Parts> {
    let keys = keyring::read(&config.keyring, &seams.outside).await?;
    parts_with(config, seams, aws, keys, None).await
}

async fn parts_with(
    config: &Config,
    seams: &Seams,
    aws: AwsSource,
    keys: KeySource,
    tls: Option<Arc<Tls>>,
) -> anyhow::Result<Parts> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;
    let store = Store::open(&config.database, keys, Arc::clone(&seams.clock), seams.outside.clone())?;
    let fixed = matches!(aws, AwsSource::Fixed { .. });
    let proxy = config.egress_proxy.as_ref().map(|proxy| AwsProxy::parse(&proxy.url()));
    let proxy = proxy.transpose().context("--egress-proxy")?;
    let settings = TargetSettings { proxy, ..TargetSettings::default() };
    let target = CloudFormation::new(aws, seams.outside.clone(), Arc::clone(&seams.clock), settings).await;
    let account = root_account(config, &store, &target, fixed).await?;
    let target = Arc::new(target);
    let buses = Arc::<CloudFormation>::clone(&target);
    let target: Arc<dyn Target> = target;
    let key = root_key(config, account)?;

    let mut egress = Egress::new(config.allow_network.clone(), config.allow_file_remotes.clone());
    if let Some(proxy) = &config.egress_proxy {
        egress = egress.through_proxy(proxy.clone());
    }
    let mut git = GitSettings::new(config.data_dir.join("git-cache"));
    git.egress = egress.clone();
    git.search_path.clone_from(&config.search_path);
    let git = Arc::new(Git::new(git, seams.outside.clone()));
    // Nobody took what forges delivered until now.
    store.wake_redeliveries().await?;
    let forges = Arc::new(Forges::new(
        egress.clone(),
        config.forges.clone(),
        seams.outside.clone(),
        Arc::clone(&seams.clock),
    ));
    let clock = Arc::clone(&seams.clock);
    let notifier = Arc::new(Notifier::new(egress.clone(), seams.outside.clone(), clock, buses));
    let peers = Peers {
        git: Arc::<Git>::clone(&git),
        forges: Arc::clone(&forges),
        notifier: Arc::clone(&notifier),
        target: Arc::clone(&target),
    };
    let worker = Arc::new(Worker::new(
        store.clone(),
        peers,
        Arc::clone(&seams.clock),
        seams.outside.clone(),
        Pacing {
            poll_interval: config.poll_interval,
            remote: config.limits.remote(),
            places: config.places,
            previews: config.previews,
            public_url: config.public_url.clone(),
        },
    ));
    let proxies = Proxies::trusting(config.trusted_proxies.clone());
    let front = Arc::new(Front {
        tokens: PageTokens::new(store.keyring().token_key()),
        store: store.for_requests(config.limits.writes_waiting),
        clock: Arc::clone(&seams.clock),
        root: key.clone(),
        policies: Policies::default(),
        signing_keys: SigningKeys::default(),
        quotas: config.quotas,
        role_accounts: config.role_accounts.clone(),
        egress,
        git,
        forges,
        notifier,
        public_url: config.public_url.clone(),
        gate: Gate::new(config.limits, Arc::clone(&seams.clock)),
        connections: Arc::new(Connections::new(config.limits).with_tls(tls).behind(proxies)),
        principal: target,
    });
    Ok(Parts { store, front, worker, key })
}

/// The root key's account: given, else that of an earlier start, else the AWS credentials' own. It never
/// changes by itself, because everything stored belongs to it.
async fn root_account(
    config: &Config,
    store: &Store,
    target: &CloudFormation,
    simulated: bool,
) -> anyhow::Result<AccountId> {
    let recorded = store.root_account().await?;
    if let Some(account) = &config.root_account {
        if recorded.is_none() {
            store.record_root_account(account).await?;
        }
        return Ok(account.clone());
    }
    if let Some(account) = recorded {
        return account.parse().context("the recorded root account");
    }
    let account = if simulated {
        NOBODYS_ACCOUNT.parse()?
    } else {
        match target.caller_identity().await {
            Ok(identity) => identity.account,
            Err(error) => {
                warn!(
                    %error,
                    "AWS does not say who we are; the root key acts for account {NOBODYS_ACCOUNT} from now on \
                     (set SYNCLINE_ROOT_ACCOUNT_ID to choose another)"
                );
                NOBODYS_ACCOUNT.parse()?
            }
        }
    };
    store.record_root_account(&account).await?;
    Ok(account)
}

fn root_key(config: &Config, account: AccountId) -> anyhow::Result<RootCredentials> {
    if let RootKey::Given { id, secret } = &config.root_key {
        return Ok(RootCredentials { access_key_id: id.clone(), secret_access_key: secret.clone(), account });
    }
    let path = config.data_dir.join("credentials");
    match read_credentials(&path)? {
        Some((access_key_id, secret_access_key)) => {
            Ok(RootCredentials { access_key_id, secret_access_key, account })
        }
        None => {
            let Fresh { id: access_key_id, secret } = Fresh::new("AKIA");
            write_credentials(&path, &access_key_id, &secret)
                .with_context(|| format!("cannot write {}", path.display()))?;
            info!("made the first access key; it is in {} (profile syncline)", path.display());
            Ok(RootCredentials { access_key_id, secret_access_key: secret, account })
        }
    }
}

/// The key in an AWS credentials file's profile `syncline`; `None` if there is no such file.
pub(crate) fn read_credentials(path: &Path) -> anyhow::Result<Option<(String, Secret)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Secret::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let value = |name: &str| {
        text.expose().lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some((id, Secret::new(secret)))),
        _ => bail!("{} holds no aws_access_key_id and aws_secret_access_key", path.display()),
    }
}

fn write_credentials(path: &Path, id: &str, secret: &Secret) -> std::io::Result<()> {
    let secret = secret.expose();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    write!(file, "[syncline]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")?;
    file.sync_all()
}

/// A server that listens and works.
#[derive(Debug)]
pub struct Running {
    /// Where the API is; of a worker without one, where the admin endpoints are.
    pub address: SocketAddr,
    /// Where the admin endpoints are.
    pub admin_address: SocketAddr,
    /// The root access key.
    pub key: RootCredentials,
    /// `https` where the main listener speaks TLS, else `http`.
    pub scheme: &'static str,
    /// The simulated CloudFormation, if it runs in this process.
    pub simulator: Option<Simulator>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    store: Store,
    grace: Duration,
}

impl Running {
    /// What seals the store's secrets.
    #[must_use]
    pub fn keyring(&self) -> Keyring<'_> {
        self.store.keyring()
    }

    /// Stops claiming and accepting, lets what runs end within the grace period, hands over what does not, and closes
    /// the store.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let ended = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        let limit = syncline_seams::SystemClock;
        tokio::select! {
            () = ended => {}
            () = limit.sleep(self.grace + HAND_OVER) => warn!("stopping with work in progress; it is taken up at the next start"),
        }
        drop(self.store);
    }
}

/// The parts, as soon as the database is nobody else's. A server that is killed while it starts a git leaves
/// its lock to that child until the child has become git: a restart in that moment waits instead of failing.
async fn parts_once_free(
    config: &Config,
    seams: &Seams,
    aws: AwsSource,
    tls: Option<Arc<Tls>>,
) -> anyhow::Result<Parts> {
    let keys = keyring::read(&config.keyring, &seams.outside).await?;
    let mut waited = Duration::ZERO;
    loop {
        match parts_with(config, seams, aws.clone(), keys.clone(), tls.clone()).await {
            Err(error) if is_in_use(&error) && waited < DATABASE_PATIENCE => {
                seams.clock.sleep(DATABASE_RETRY).await;
                waited += DATABASE_RETRY;
            }
            done => return done,
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::InUse { .. }))
}

/// Starts a server.
///
/// # Errors
/// Those of [`parts`], or an address that cannot be listened on.
pub async fn start(config: &Config, seams: &Seams) -> anyhow::Result<Running> {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = Vec::new();
    let (aws, simulator) = if config.simulate_cloudformation {
        let simulator =
            Simulator::new(Arc::clone(&seams.clock), syncline_cloudformation_sim::Settings::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint_url = format!("http://{}", listener.local_addr()?);
        tasks.push(simulate(&simulator, listener, stopped.clone()));
        warn!(
            "CLOUDFORMATION IS SIMULATED at {endpoint_url}: stacks exist in this process only and nothing is provisioned"
        );
        let aws = AwsSource::Fixed {
            endpoint_url,
            access_key_id: "simulated".to_owned(),
            secret_access_key: Secret::new("simulated"),
        };
        (aws, Some(simulator))
    } else {
        (AwsSource::Chain, None)
    };
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let admin = bind(config.admin_listen).await?;
    let admin_address = admin.local_addr()?;
    let main = if config.role == Role::Worker { None } else { Some(bind(config.listen).await?) };
    let address = main.as_ref().map_or(Ok(admin_address), TcpListener::local_addr)?;
    let tls = match &config.tls {
        Some(files) => Some(Arc::new(Tls::read(files).await?)),
        None => None,
    };
    let parts = parts_once_free(config, seams, aws, tls.clone()).await?;
    // What asks from this machine knows it as localhost, for which the certificate is not.
    let tls_of_admin = tls.clone().filter(|_| !admin_address.ip().is_loopback());
    // Connections of its own: whoever asks how the server is must get in when nobody else does.
    let of_admin = Arc::new(Connections::new(config.limits).with_tls(tls_of_admin));
    tasks.push(serve(admin, server::admin_router(Arc::clone(&parts.front)), of_admin, stopped.clone()));
    if let Some(main) = main {
        let connections = Arc::clone(&parts.front.connections);
        tasks.push(serve(main, server::router(Arc::clone(&parts.front)), connections, stopped.clone()));
    }
    if let Some(tls) = tls {
        let (clock, mut stopped) = (Arc::clone(&seams.clock), stopped.clone());
        tasks.push(tokio::spawn(async move {
            tokio::select! {
                () = tls.renew(&*clock) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }));
    }
    if parts.store.keyring().is_rotating().await? {
        tasks.push(tokio::spawn(finish_rotation(parts.store.clone(), stopped.clone())));
    }
    if config.role != Role::Api {
        tasks.push(tokio::spawn(Arc::clone(&parts.worker).run(stopped, config.shutdown_grace)));
    }
    // A worker without an API says where the admin endpoints are.
    let is_encrypted =
        config.tls.is_some() && (config.role != Role::Worker || !admin_address.ip().is_loopback());
    let scheme = if is_encrypted { "https" } else { "http" };
    let (key, store, grace) = (parts.key, parts.store, config.shutdown_grace);
    Ok(Running { address, admin_address, key, scheme, simulator, stop, tasks, store, grace })
}

/// Completes a rotation of the keys that an earlier process began.
async fn finish_rotation(store: Store, mut stopped: watch::Receiver<bool>) {
    let rotation = async {
        let keyring = store.keyring();
        // Somebody else may complete it; another one is not begun.
        while keyring.is_rotating().await? {
            let (_, done) = keyring.rotate(usize::MAX, Change::unrecorded()).await?;
            info!(resealed = done.resealed, "went on with a rotation of keys that an earlier process began");
        }
        Ok::<_, StoreError>(())
    };
    let rotation = async {
        if let Err(error) = rotation.await {
            warn!(%error, "a rotation of keys is not complete; run syncline keyring rotate");
        }
    };
    tokio::select! {
        () = rotation => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Serves a simulated CloudFormation until the stop is asked for.
pub fn simulate(
    simulator: &Simulator,
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let simulator = simulator.clone();
    tokio::spawn(async move {
        tokio::select! {
            served = simulator.serve(listener) => if let Err(error) = served {
                warn!(%error, "the simulated CloudFormation ended");
            },
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    })
}

/// Serves a router on bounded connections until the stop is asked for.
pub fn serve(
    listener: TcpListener,
    router: axum::Router,
    connections: Arc<Connections>,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(connections.serve(listener, router, stopped))
}
