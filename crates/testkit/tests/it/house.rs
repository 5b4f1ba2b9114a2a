//! Houses: data directories that servers live and die in, among peers that outlive them: a Git host and a simulated
//! CloudFormation, both in this process and on real time.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::config::retry::RetryConfig;
use aws_sdk_codeconnections::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_codeconnections::types::{ProviderType, ResourceSyncStatus, SyncConfigurationType};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use syncline::running;
use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_seams::{Clock, Outside, SystemClock};
use syncline_store::{
    Change, CreateNotificationTarget, CredentialRow, NewNotificationTarget, Owner, Scope, Store, StoreError,
    TargetKind, notification_target_owner,
};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::plans::Deadly;
use syncline_testkit::receiver::Receiver;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::{ACCOUNT, REGION, ROLE};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The stack of the one sync configuration of a house.
pub(crate) const STACK: &str = "web-prod";
const KEY: (&str, &str) = ("AKSLKILLABLE", "a-secret-of-tests-only");
/// How long anything may take on a busy machine before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Completes when it is time to give up.
pub(crate) async fn patience() {
    SystemClock.sleep(PATIENCE).await;
}

/// The future's answer, unless it takes too long for a machine of any load.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::select! {
        answer = future => answer,
        () = patience() => panic!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}

/// A Git host with one repository, and a data directory with a connection and a link to it that houses are
/// built from.
pub(crate) struct Neighbourhood {
    pub(crate) repository: Repository,
    /// The link's id.
    pub(crate) link: String,
    /// The first commit.
    pub(crate) first: String,
    http: SharedHttpClient,
    linked: PathBuf,
    configured: PathBuf,
    directory: tempfile::TempDir,
    _git: GitHost,
}

pub(crate) fn deployment(name: &str) -> String {
    format!("template-file-path: template.yaml\nparameters:\n  Name: {name}\n")
}

pub(crate) const TEMPLATE: &str = "Parameters:\n  Name:\n    Type: String\nResources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n      DisplayName: !Ref Name\n";

impl Neighbourhood {
    /// Sets everything up through the API, but for the sync configuration.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let git = GitHost::start().await;
        let repository = git.repository("acme/infra").await;
        let first = repository
            .commit_files(&[("prod.yaml", &deployment("first")), ("template.yaml", TEMPLATE)])
            .await;
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let (linked, configured) = (directory.path().join("linked"), directory.path().join("configured"));
        let link = String::new();
        let mut this = Self { repository, link, first, http, linked, configured, directory, _git: git };
        let house = House::new(this.linked.clone()).await;

        let server = house.start_api(&this).await;
        let host = server
            .client
            .create_host()
            .name("git")
            .provider_type(ProviderType::from("Git"))
            .provider_endpoint(this._git.endpoint())
            .send()
            .await
            .expect("a host");
        let connection = server
            .client
            .create_connection()
            .connection_name("git")
            .host_arn(host.host_arn().expect("its ARN"))
            .send()
            .await
            .expect("a connection");
        server.kill().await;
        let arn = connection.connection_arn();
        let store = house.store().await;
        let id = arn.rsplit('/').next().expect("an id");
        let secret = br#"{"username":"git","token":"t"}"#;
        let sealed = store.keyring().seal(&Owner { account: ACCOUNT, arn }, secret).expect("sealed");
        let authorized = store
            .authorize_connection(
                &scope(),
                id,
                CredentialRow { sealed: Some(sealed), tried_at: None },
                Change::unrecorded(),
            )
            .await;
        assert!(authorized.expect("stored"), "there is no connection {arn}");
        drop(store);
        let server = house.start_api(&this).await;
        let link = server
            .client
            .create_repository_link()
            .connection_arn(arn)
            .owner_id(this.repository.owner())
            .repository_name(this.repository.name())
            .send()
            .await
            .expect("a repository link");
        this.link = link.repository_link_info().expect("its info").repository_link_id().to_owned();
        server.kill().await;

        copy(&this.linked, &this.configured);
        let house = House::new(this.configured.clone()).await;
        let server = house.start_api(&this).await;
        server.create_sync(&this.link).await.expect("a sync configuration");
        server.kill().await;
        this
    }

    /// A house whose link has no sync configuration yet.
    pub(crate) async fn linked_house(&self) -> House {
        self.house_like(&self.linked).await
    }

    /// A house with a sync configuration that no worker has seen yet.
    pub(crate) async fn configured_house(&self) -> House {
        self.house_like(&self.configured).await
    }

    /// A house with a sync configuration and a CloudFormation that makes no change sets while the time is held.
    pub(crate) async fn slow_house(&self) -> House {
        let mut house = self.configured_house().await;
        house.simulate(Duration::from_millis(50)).await;
        house
    }

    /// Somebody who is told of the changed statuses of a house, and takes only what is signed for them.
    pub(crate) async fn listener(&self, house: &House) -> Receiver {
        const KEY: &str = "whsec_c29tZWJvZHkncyBrZXk=";
        let name = house.directory.file_name().expect("a name").to_string_lossy().into_owned();
        let receiver = Receiver::on(&self._git, Arc::new(SystemClock), &name);
        receiver.expect_key(KEY);
        let store = house.store().await;
        let owner = notification_target_owner(&name);
        let owner = Owner { account: ACCOUNT, arn: &owner };
        let secret = serde_json::json!({ "url": receiver.url(), "key": KEY }).to_string();
        let new = NewNotificationTarget {
            id: name.clone(),
            name,
            kind: TargetKind::Webhook,
            shown: String::new(),
            role_arn: None,
            sealed: store.keyring().seal(&owner, secret.as_bytes()).expect("sealed"),
            syncs: Some(vec![STACK.to_owned()]),
            statuses: None,
        };
        let made = store.create_notification_target(&scope(), new, 1, Change::unrecorded()).await;
        assert!(matches!(made.expect("stored"), CreateNotificationTarget::Created(_)));
        receiver
    }

    async fn house_like(&self, model: &Path) -> House {
        let name = format!("house-{}", std::fs::read_dir(self.directory.path()).expect("readable").count());
        let house = House::new(self.directory.path().join(name)).await;
        copy(model, &house.directory);
        house.forget_passings();
        house
    }

    fn client(&self, url: &str) -> Client {
        let config = aws_sdk_codeconnections::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .credentials_provider(Credentials::new(KEY.0, KEY.1, None, None, "house"))
            .region(Region::new(REGION))
            .endpoint_url(url)
            .retry_config(RetryConfig::disabled())
            .build();
        Client::from_conf(config)
    }
}

pub(crate) fn scope() -> Scope {
    Scope { account: ACCOUNT.parse().expect("an account"), region: REGION.parse().expect("a region") }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// A clock that can be held for a while; it never runs ahead of the machine's.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    state: Mutex<Braked>,
}

#[derive(Debug, Default)]
struct Braked {
    held_at_ms: Option<i64>,
    behind_ms: i64,
}

impl Brake {
    /// Holds the time until it is let go.
    pub(crate) fn hold(&self) {
        let now = self.now_ms();
        self.lock().held_at_ms = Some(now);
    }

    /// Lets the time go on from where it was held.
    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        if let Some(held_at_ms) = state.held_at_ms.take() {
            state.behind_ms = SystemClock.now_ms() - held_at_ms;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Braked> {
        self.state.lock().expect("no panic while it is locked")
    }
}

impl Clock for Brake {
    fn now_ms(&self) -> i64 {
        let state = self.lock();
        state.held_at_ms.unwrap_or_else(|| SystemClock.now_ms() - state.behind_ms)
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        panic!("the simulator looks at the time and waits for nothing")
    }
}

/// A data directory and the CloudFormation that its servers drive.
pub(crate) struct House {
    pub(crate) directory: PathBuf,
    /// The simulator's time: how long stacks and change sets take is up to the story.
    pub(crate) brake: Arc<Brake>,
    pub(crate) simulator: Simulator,
    simulator_url: String,
    stop: watch::Sender<bool>,
}

impl House {
    async fn new(directory: PathBuf) -> Self {
        let simulator = Simulator::new(Arc::new(SystemClock), Settings::default());
        let (stop, _) = watch::channel(false);
        let brake = Arc::new(Brake::default());
        let mut this = Self { directory, brake, simulator, simulator_url: String::new(), stop };
        this.simulate(Duration::ZERO).await;
        this
    }

    /// Puts another CloudFormation, without stacks, in the place of the one that was there.
    async fn simulate(&mut self, change_set_latency: Duration) {
        let settings = Settings {
            default_account: ACCOUNT.to_owned(),
            change_set_latency,
            // As long as the time is held, a stack is seen at work.
            create_latency: Duration::from_millis(50),
            update_latency: Duration::from_millis(50),
            ..Settings::default()
        };
        self.simulator = Simulator::new(Arc::clone(&self.brake) as Arc<dyn Clock>, settings);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        self.simulator_url = format!("http://{}", listener.local_addr().expect("the bound address"));
        let (stop, stopped) = watch::channel(false);
        running::serve(listener, self.simulator.router(), Arc::default(), stopped);
        // The one before ends with its sender.
        self.stop = stop;
    }

    /// What the servers of this house left, read while none runs.
    pub(crate) async fn store(&self) -> Store {
        let (database, keyring) = (self.directory.join("syncline.db"), self.directory.join("keyring"));
        let open = async || loop {
            match Store::open(&database, &keyring, Arc::new(SystemClock), Outside::default()) {
                Ok(store) => return store,
                // A child that was about to be started holds every lock of its parent for a moment.
                Err(StoreError::InUse { .. }) => SystemClock.sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("the database does not open: {error}"),
            }
        };
        within("the database's lock", open()).await
    }

    /// Starts a server that answers the API and does nothing else.
    pub(crate) async fn start_api(&self, around: &Neighbourhood) -> Server {
        let mut command = self.command();
        command.args(["--role", "api"]);
        Server::start(command, around).await.expect("nothing ends it")
    }

    /// Starts a server; none if it was dead before it was ready.
    pub(crate) async fn start(&self, around: &Neighbourhood, deadly: Option<&Deadly>) -> Option<Server> {
        let mut command = self.command();
        if let Some(deadly) = deadly {
            command.arg("--kill-at").arg(deadly.to_string());
        }
        Server::start(command, around).await
    }

    /// The passings of fault points since they were last forgotten, as `<point>:<before|after>`.
    pub(crate) fn passings(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.passings_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a server passes this.
    pub(crate) async fn passes(&self, passing: &str) {
        while !self.passings().iter().any(|passed| passed == passing) {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Forgets the passings so far.
    pub(crate) fn forget_passings(&self) {
        let _ = std::fs::remove_file(self.passings_path());
    }

    /// What the servers have logged, for the message of a failed test.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("server.log")).unwrap_or_default()
    }

    fn passings_path(&self) -> PathBuf {
        self.directory.join("passings")
    }

    fn command(&self) -> Command {
        std::fs::create_dir_all(&self.directory).expect("a directory");
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.directory.join("server.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_killable-serve"));
        command
            .env_clear()
            .env("PATH", path_variable())
            .env("AWS_ENDPOINT_URL", &self.simulator_url)
            .env("AWS_ACCESS_KEY_ID", "simulated")
            .env("AWS_SECRET_ACCESS_KEY", "simulated")
            .env("AWS_REGION", REGION)
            .env("SYNCLINE_ROOT_ACCESS_KEY_ID", KEY.0)
            .env("SYNCLINE_ROOT_SECRET_ACCESS_KEY", KEY.1)
            .env("SYNCLINE_ROOT_ACCOUNT_ID", ACCOUNT)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--allow-network", "127.0.0.1/32", "--poll-interval", "400ms"])
            .arg("--data-dir")
            .arg(&self.directory)
            .arg("--passings")
            .arg(self.passings_path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .kill_on_drop(true);
        command
    }
}

#[expect(clippy::disallowed_methods, reason = "the server's git is found as this process would find it")]
fn path_variable() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// A server in a process of its own.
pub(crate) struct Server {
    pub(crate) client: Client,
    child: Child,
}

impl Server {
    async fn start(mut command: Command, around: &Neighbourhood) -> Option<Self> {
        let mut child = command.spawn().expect("killable-serve starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
        let line = within("the server's first line", lines.next_line()).await.expect("a readable stdout");
        match line {
            Some(line) => {
                let url = line.strip_prefix("ready ").unwrap_or_else(|| panic!("'{line}'"));
                Some(Self { client: around.client(url), child })
            }
            None => {
                assert_killed(&mut child).await;
                None
            }
        }
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().expect("a process to kill");
        assert_killed(&mut self.child).await;
    }

    /// Asks for the sync configuration's deletion.
    pub(crate) async fn delete_sync(&self) {
        let deleted = self
            .client
            .delete_sync_configuration()
            .sync_type(SyncConfigurationType::CfnStackSync)
            .resource_name(STACK)
            .send()
            .await;
        deleted.expect("it is deleted");
    }

    /// Waits until a fault point has killed it.
    pub(crate) async fn dies(&mut self) {
        assert_killed(&mut self.child).await;
    }

    /// Makes the sync configuration.
    pub(crate) async fn create_sync(&self, link: &str) -> Result<(), String> {
        self.client
            .create_sync_configuration()
            .sync_type(SyncConfigurationType::CfnStackSync)
            .resource_name(STACK)
            .repository_link_id(link)
            .branch("main")
            .config_file("prod.yaml")
            .role_arn(ROLE)
            .send()
            .await
            .map(drop)
            .map_err(|error| format!("{error:?}"))
    }

    /// Waits until the newest attempt has succeeded at `head`.
    pub(crate) async fn settles_at(&self, head: &str) {
        ends_at(&self.client, head, ResourceSyncStatus::Succeeded).await;
    }
}

/// Waits until the newest attempt has ended at `head`, as `status` says.
pub(crate) async fn ends_at(client: &Client, head: &str, status: ResourceSyncStatus) {
    loop {
        let answer = client
            .get_resource_sync_status()
            .resource_name(STACK)
            .sync_type(SyncConfigurationType::CfnStackSync)
            .send()
            .await;
        if let Ok(answer) = &answer
            && let Some(latest) = answer.latest_sync()
            && *latest.status() == status
            && latest.target_revision().is_some_and(|revision| revision.sha() == head)
        {
            return;
        }
        SystemClock.sleep(Duration::from_millis(25)).await;
    }
}

async fn assert_killed(child: &mut Child) {
    let status = child.wait().await.expect("an exit status");
    assert_eq!(status.signal(), Some(9), "the server ended by itself: {status}");
}
