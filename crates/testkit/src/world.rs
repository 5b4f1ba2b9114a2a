//! A whole Syncline among real peers, on virtual time: real router, store, worker and Git, a real AWS SDK as
//! the client, and the simulated CloudFormation.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::config::{BehaviorVersion, Region};
use aws_sdk_codeconnections::types::{ProviderType, SyncConfigurationType};
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use syncline::config::Config;
use syncline::running::{self, Parts, Seams};
use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_peers::postgres::{self, Database};
use syncline_seams::{Clock, FaultPlan, NoFaults, Outside, VirtualClock};
use syncline_store::{
    AttemptStatusRow, Blocker, Change, ConfigurationQuotas, CreateConfiguration, CredentialRow, Kind,
    Location, NewConfiguration, NewConnection, NewHost, NewLink, Owner, Scope, StoreError,
};
use syncline_targets::AwsSource;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::forge::endpoints_on;
use crate::git_host::GitHost;
use crate::repository::Repository;

/// The account and region everything in a world belongs to, unless a story says otherwise.
pub const ACCOUNT: &str = "000000000000";
/// See [`ACCOUNT`].
pub const REGION: &str = "eu-central-1";
/// An account whose roles the syncs of [`ACCOUNT`] may use too.
pub const ANOTHER_ACCOUNT: &str = "111111111111";
/// The role that syncs use.
pub const ROLE: &str = "arn:aws:iam::000000000000:role/sync";

/// 2026-11-01T00:00:00Z, when every world begins.
const BEGINNING_MS: i64 = 1_793_491_200_000;
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Work that waits longer than this is not waited for by [`World::settle`].
const PATIENCE_MS: i64 = 45_000;

#[derive(Debug)]
struct SigningTime(Arc<VirtualClock>);

impl TimeSource for SigningTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.now_ms().unsigned_abs())
    }
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// The clock of everything in it.
    pub clock: Arc<VirtualClock>,
    /// The Git host.
    pub git: GitHost,
    /// The simulated CloudFormation.
    pub simulator: Simulator,
    /// The AWS SDK as a client of the server.
    pub client: Client,
    /// `<address>:<port>` at which the server listens.
    pub authority: String,
    parts: Parts,
    config: Config,
    simulator_url: String,
    stop: watch::Sender<bool>,
    stop_simulator: watch::Sender<bool>,
    directory: tempfile::TempDir,
    // Dropped last, when nothing of the server is left.
    database: Option<Database>,
}

/// What outlives the server.
struct Survivors {
    git: GitHost,
    simulator: Simulator,
    stop_simulator: watch::Sender<bool>,
    directory: tempfile::TempDir,
    database: Option<Database>,
}

impl World {
    /// A world in which nothing goes wrong by itself.
    pub async fn start() -> Self {
        Self::with_faults(Arc::new(NoFaults)).await
    }

    /// A world in which commits and outside calls fail as `plan` says.
    ///
    /// # Panics
    /// When the machine lacks what a world needs: a temporary directory, loopback ports, git.
    pub async fn with_faults(plan: Arc<dyn FaultPlan>) -> Self {
        Self::configured(plan, |_| {}).await
    }

    /// A world whose server is configured by `change`.
    ///
    /// # Panics
    /// As [`World::with_faults`].
    pub async fn configured(plan: Arc<dyn FaultPlan>, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(VirtualClock::starting_at(BEGINNING_MS));
        let settings = Settings { default_account: ACCOUNT.to_owned(), ..Settings::default() };
        let simulator = Simulator::new(Arc::clone(&clock) as Arc<dyn Clock>, settings);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let simulator_url = format!("http://{}", listener.local_addr().expect("the bound address"));
        let (stop_simulator, stopped) = watch::channel(false);
        running::simulate(&simulator, listener, stopped);

        let mut config = Config::on_loopback(directory.path());
        let database = postgres::is_chosen().then(Database::needed);
        if let Some(database) = &database {
            config.database = Location::parse(&database.url).expect("a URL").with_connections(4);
        }
        let git = GitHost::start().await;
        config.forges = endpoints_on(&git);
        config.poll_interval = POLL_INTERVAL;
        let quotas = &mut config.quotas;
        quotas.sync_configurations = 1_000;
        quotas.sync_configurations_per_link = 1_000;
        quotas.sync_configurations_per_branch = 1_000;
        config.allow_network = vec!["127.0.0.1/32".parse().expect("a network")];
        config.root_account = Some(ACCOUNT.parse().expect("an account"));
        config.role_accounts =
            vec![(ACCOUNT.parse().expect("an account"), ANOTHER_ACCOUNT.parse().expect("an account"))];
        change(&mut config);
        let seams = Seams {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            outside: Outside::with_faults(plan).seeded(1),
        };
        let parts = parts(&config, &seams, &simulator_url).await.expect("a server");
        let (stop, stopped) = watch::channel(false);
        let (client, authority) = serve(&parts, &clock, stopped).await;
        Self {
            git,
            clock,
            simulator,
            client,
            authority,
            parts,
            config,
            simulator_url,
            stop,
            stop_simulator,
            directory,
            database,
        }
    }

    /// Ends the server as a crash would, without a word, and starts it again on what it left behind, with
    /// other faults.
    ///
    /// # Panics
    /// When the server does not start again.
    pub async fn restart(self, plan: Arc<dyn FaultPlan>) -> Self {
        let _ = self.stop.send(true);
        let (clock, config, simulator_url) =
            (Arc::clone(&self.clock), self.config.clone(), self.simulator_url.clone());
        let Survivors { git, simulator, stop_simulator, directory, database } = self.survivors();
        let seams = Seams {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            outside: Outside::with_faults(plan).seeded(1),
        };
        // The database's lock is free once the old listener's last connection has let go of the store.
        let mut tries = 0;
        let parts = loop {
            match parts(&config, &seams, &simulator_url).await {
                Ok(parts) => break parts,
                Err(error) if tries > 10_000 => panic!("the server did not start again: {error:#}"),
                Err(_) => {
                    tries += 1;
                    tokio::task::yield_now().await;
                }
            }
        };
        let (stop, stopped) = watch::channel(false);
        let (client, authority) = serve(&parts, &clock, stopped).await;
        Self {
            clock,
            git,
            simulator,
            client,
            authority,
            parts,
            config,
            simulator_url,
            stop,
            stop_simulator,
            directory,
            database,
        }
    }

    fn survivors(self) -> Survivors {
        Survivors {
            git: self.git,
            simulator: self.simulator,
            stop_simulator: self.stop_simulator,
            directory: self.directory,
            database: self.database,
        }
    }

    /// The server's parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Where the server keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The scope of [`ACCOUNT`] and [`REGION`].
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope { account: ACCOUNT.parse().expect("an account"), region: REGION.parse().expect("a region") }
    }

    /// An empty repository `<owner>/<name>` on the Git host.
    pub async fn repository(&self, full_name: &str) -> Repository {
        self.git.repository(full_name).await
    }

    /// Makes an authorised connection to the Git host; its ARN.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect(&self, name: &str, token: Option<&str>) -> String {
        let host = self
            .client
            .create_host()
            .name(format!("{name}-host"))
            .provider_type(ProviderType::from("Git"))
            .provider_endpoint(self.git.endpoint())
            .send()
            .await
            .expect("a host");
        let connection = self
            .client
            .create_connection()
            .connection_name(name)
            .host_arn(host.host_arn().expect("its ARN"))
            .send()
            .await
            .expect("a connection");
        self.authorize(connection.connection_arn(), token).await;
        connection.connection_arn().to_owned()
    }

    /// Completes a connection's handshake, as the REST API does.
    ///
    /// # Panics
    /// When there is no such connection.
    pub async fn authorize(&self, arn: &str, token: Option<&str>) {
        let id = arn.rsplit('/').next().expect("an id");
        let sealed = token.map(|token| {
            let secret = serde_json::json!({ "username": "git", "token": token }).to_string();
            let keyring = self.parts.store.keyring();
            keyring.seal(&Owner { account: ACCOUNT, arn }, secret.as_bytes()).expect("sealed")
        });
        let authorized = self
            .parts
            .store
            .authorize_connection(
                &self.scope(),
                id,
                CredentialRow { sealed, tried_at: None },
                Change::unrecorded(),
            )
            .await;
        assert!(authorized.expect("stored"), "there is no connection {arn}");
    }

    /// Links a repository to a connection; the link's id.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn link(&self, connection_arn: &str, repository: &Repository) -> String {
        let link = self
            .client
            .create_repository_link()
            .connection_arn(connection_arn)
            .owner_id(repository.owner())
            .repository_name(repository.name())
            .send()
            .await
            .expect("a repository link");
        link.repository_link_info().expect("its info").repository_link_id().to_owned()
    }

    /// Makes a sync configuration on a link.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn sync(&self, link_id: &str, stack: &str, branch: &str, file: &str) {
        self.client
            .create_sync_configuration()
            .sync_type(SyncConfigurationType::CfnStackSync)
            .resource_name(stack)
            .repository_link_id(link_id)
            .branch(branch)
            .config_file(file)
            .role_arn(ROLE)
            .send()
            .await
            .expect("a sync configuration");
    }

    /// Host, connection, link and sync configuration in one go; the link's id.
    pub async fn create_sync(
        &self,
        stack: &str,
        repository: &Repository,
        branch: &str,
        file: &str,
    ) -> String {
        let connection = self.connect(stack, None).await;
        let link = self.link(&connection, repository).await;
        self.sync(&link, stack, branch, file).await;
        link
    }

    /// Host, connection, link and sync configuration of an account that has no key here; the link's id.
    ///
    /// # Panics
    /// When the store refuses.
    pub async fn create_sync_of(
        &self,
        account: &str,
        stack: &str,
        provider_endpoint: &str,
        repository: (&str, &str),
    ) -> String {
        let scope = Scope {
            account: account.parse().expect("an account"),
            region: REGION.parse().expect("a region"),
        };
        let (store, of) = (&self.parts.store, |what: &str| format!("{what}-{account}-{stack}"));
        let [service, connection_id, link_id] = ["codeconnections".to_owned(), of("connection"), of("link")];
        let host = NewHost {
            id: of("host"),
            service: service.clone(),
            name: stack.to_owned(),
            provider_type: "Git".to_owned(),
            provider_endpoint: provider_endpoint.to_owned(),
            vpc_configuration: None,
            tags: Vec::new(),
        };
        store.create_host(&scope, host, 1_000, Change::unrecorded()).await.expect("a host");
        let connection = NewConnection {
            id: connection_id.clone(),
            service: service.clone(),
            name: stack.to_owned(),
            provider_type: None,
            host_id: Some(of("host")),
            tags: Vec::new(),
        };
        store.create_connection(&scope, connection, 1_000, Change::unrecorded()).await.expect("a connection");
        let nothing = CredentialRow { sealed: None, tried_at: None };
        let authorized =
            store.authorize_connection(&scope, &connection_id, nothing, Change::unrecorded()).await;
        assert!(authorized.expect("stored"), "the connection is there");
        let link = NewLink {
            id: link_id.clone(),
            service,
            connection_id,
            owner_id: repository.0.to_owned(),
            repository_name: repository.1.to_owned(),
            encryption_key_arn: None,
            tags: Vec::new(),
        };
        store.create_link(&scope, link, 1_000, Change::unrecorded()).await.expect("a link");
        let sync = NewConfiguration {
            sync_type: "CFN_STACK_SYNC".to_owned(),
            resource_name: stack.to_owned(),
            link_id: link_id.clone(),
            branch: "main".to_owned(),
            config_file: "prod.yaml".to_owned(),
            role_arn: format!("arn:aws:iam::{account}:role/sync").parse().expect("a role"),
            publish_deployment_status: None,
            trigger_resource_update_on: None,
            pull_request_comment: None,
        };
        let quotas = ConfigurationQuotas { per_account: 1_000, per_link: 1_000, per_branch: 1_000 };
        let made = store.create_configuration(&scope, sync, quotas, Change::unrecorded()).await;
        assert!(matches!(made.expect("stored"), CreateConfiguration::Created(_)), "{stack} of {account}");
        link_id
    }

    /// Lets the poll interval pass and does everything that follows, until nothing is due within three
    /// quarters of a minute but the next poll. Time passes only here and where a story says so.
    ///
    /// # Panics
    /// When the worker does not come to rest.
    pub async fn settle(&self) {
        self.clock.advance_ms(i64::try_from(POLL_INTERVAL.as_millis()).expect("small"));
        self.work().await;
    }

    /// Like [`World::settle`], without letting the poll interval pass first.
    ///
    /// # Panics
    /// When the worker does not come to rest.
    pub async fn work(&self) {
        for _ in 0..10_000 {
            match self.parts.worker.tick().await {
                Ok(true) => continue,
                Ok(false) => {}
                // An injected fault of a claim: the next tick tries again.
                Err(StoreError::Interrupted(_)) => continue,
                Err(error) => panic!("the worker cannot work: {error}"),
            }
            let now = self.clock.now_ms();
            let mut next = self.leased_until().await;
            for kind in [
                Kind::Sync,
                Kind::Branch,
                Kind::Link,
                Kind::Audit,
                Kind::Outbox,
                Kind::Pulls,
                Kind::Token,
                Kind::Redelivery,
            ] {
                let due = self.parts.store.next_due_ms(Some(kind)).await.expect("the next due time");
                next = next.into_iter().chain(due).min();
            }
            match next {
                Some(at) if at - now <= PATIENCE_MS => self.clock.advance_ms((at - now).max(1)),
                _ => return,
            }
        }
        panic!("the world does not come to rest");
    }

    /// Works until a sync has an attempt that has not ended and has an event of this type, and not a tick
    /// further.
    ///
    /// # Panics
    /// When it never gets one.
    pub async fn work_until(&self, stack: &str, event: &str) {
        for _ in 0..5_000 {
            let rows = self.attempt_rows(stack).await;
            let open = rows.last().filter(|newest| !newest.status.is_terminal());
            if open.is_some_and(|open| open.events.iter().any(|e| e.kind.as_str() == event)) {
                return;
            }
            if !self.tick().await {
                let next = self.parts.store.next_due_ms(None).await.expect("the next due time");
                let now = self.clock.now_ms();
                self.clock.advance_ms(next.map_or(1000, |at| (at - now).max(1)));
            }
        }
        panic!("{stack} got no event {event}");
    }

    /// The status of a sync as the API tells it: latest status, and the subjects of the commits that are
    /// desired, initial, targeted and last synced.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn status(&self, stack: &str, repository: &Repository) -> String {
        let answer = self
            .client
            .get_resource_sync_status()
            .sync_type(SyncConfigurationType::CfnStackSync)
            .resource_name(stack)
            .send()
            .await
            .expect("a status");
        let latest = answer.latest_sync().expect("the latest sync");
        let name = async |sha: Option<&str>| match sha {
            Some(sha) => repository.subject(sha).await,
            None => "-".to_owned(),
        };
        let successful = answer.latest_successful_sync().and_then(|sync| sync.target_revision());
        format!(
            "{}: desired {}, from {} to {}, last good {}",
            latest.status().as_str(),
            name(answer.desired_state().map(|revision| revision.sha())).await,
            name(latest.initial_revision().map(|revision| revision.sha())).await,
            name(latest.target_revision().map(|revision| revision.sha())).await,
            name(successful.map(|revision| revision.sha())).await,
        )
    }

    /// Resolves the newest ACTIVE blocker of a sync.
    ///
    /// # Panics
    /// When there is none or the server refuses.
    pub async fn resolve(&self, stack: &str, reason: &str) {
        let blockers = self.blocker_rows(stack).await;
        let active =
            blockers.iter().find(|blocker| blocker.status.as_str() == "ACTIVE").expect("an ACTIVE blocker");
        self.client
            .update_sync_blocker()
            .sync_type(SyncConfigurationType::CfnStackSync)
            .resource_name(stack)
            .id(&active.id)
            .resolved_reason(reason)
            .send()
            .await
            .expect("resolved");
    }

    /// The text of the newest attempt's newest event of this type.
    ///
    /// # Panics
    /// When there is none.
    pub async fn event(&self, stack: &str, event: &str) -> String {
        let rows = self.attempt_rows(stack).await;
        let newest = rows.last().expect("an attempt");
        let found = newest.events.iter().rev().find(|e| e.kind.as_str() == event);
        found.unwrap_or_else(|| panic!("no event {event} in {:#?}", newest.events)).text.clone()
    }

    /// How many executions CloudFormation has accepted for a stack.
    #[must_use]
    pub fn executions(&self, stack: &str) -> usize {
        self.simulator.executions().iter().filter(|execution| execution.stack_name == stack).count()
    }

    async fn leased_until(&self) -> Option<i64> {
        self.parts.store.next_lease_end_ms().await.expect("the next end of a lease")
    }

    /// One claim-and-do of each kind of work that is due.
    ///
    /// # Panics
    /// When the store fails.
    pub async fn tick(&self) -> bool {
        self.parts.worker.tick().await.expect("the worker works")
    }

    /// Every attempt of a sync, oldest first.
    ///
    /// # Panics
    /// When there is no such sync.
    pub async fn attempt_rows(&self, stack: &str) -> Vec<AttemptStatusRow> {
        let rows = self.parts.store.attempts(&self.scope(), "CFN_STACK_SYNC", stack).await.expect("a read");
        rows.unwrap_or_else(|| panic!("there is no sync of {stack}"))
    }

    /// Every attempt of a sync, a line each: status, commit's subject, and the type of the last event if the
    /// attempt failed.
    pub async fn attempts(&self, stack: &str, repository: &Repository) -> String {
        let mut text = String::new();
        for attempt in self.attempt_rows(stack).await {
            let subject = repository.subject(&attempt.target_revision.sha).await;
            let _ = write!(text, "{:<11} {subject}", attempt.status.as_str());
            if attempt.status.as_str() == "FAILED" {
                let last = attempt.events.iter().rev().find(|event| event.kind.as_str() != "FAILED");
                let _ = write!(text, "  {}", last.map_or("", |event| event.kind.as_str()));
            }
            text.push('\n');
        }
        text
    }

    /// The newest blockers of a sync, newest first.
    ///
    /// # Panics
    /// When there is no such sync.
    pub async fn blocker_rows(&self, stack: &str) -> Vec<Blocker> {
        let rows = self.parts.store.blockers(&self.scope(), "CFN_STACK_SYNC", stack).await.expect("a read");
        rows.unwrap_or_else(|| panic!("there is no sync of {stack}"))
    }

    /// The newest blockers of a sync, newest first, a line each: status, kind and reason's first line.
    pub async fn blockers(&self, stack: &str) -> String {
        let mut text = String::new();
        for blocker in self.blocker_rows(stack).await {
            let reason = blocker.created_reason.lines().next().unwrap_or_default();
            let _ = writeln!(text, "{:<8} {}: {reason}", blocker.status.as_str(), blocker.kind.as_str());
        }
        text
    }

    /// The template that a stack has, if there is such a stack.
    #[must_use]
    pub fn stack_template(&self, stack: &str) -> Option<String> {
        let stack = self.simulator.stack(ACCOUNT, REGION, stack)?;
        let exists = !["REVIEW_IN_PROGRESS", "DELETE_COMPLETE"].contains(&stack.status.as_str());
        exists.then_some(stack.template)
    }
}

async fn parts(config: &Config, seams: &Seams, simulator_url: &str) -> anyhow::Result<Parts> {
    let aws = AwsSource::Fixed {
        endpoint_url: simulator_url.to_owned(),
        access_key_id: "simulated".to_owned(),
        secret_access_key: syncline_seams::Secret::new("simulated"),
    };
    running::parts(config, seams, aws).await
}

/// Serves the API on loopback and makes the client of it; that, and where it is served.
async fn serve(parts: &Parts, clock: &Arc<VirtualClock>, stopped: watch::Receiver<bool>) -> (Client, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let authority = listener.local_addr().expect("the bound address").to_string();
    let url = format!("http://{authority}");
    let router = syncline::server::router(Arc::clone(&parts.front));
    running::serve(listener, router, Arc::clone(&parts.front.connections), stopped);
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let key =
        Credentials::new(&parts.key.access_key_id, parts.key.secret_access_key.expose(), None, None, "world");
    let config = aws_sdk_codeconnections::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(key)
        .region(Region::new(REGION))
        .endpoint_url(url)
        .time_source(SigningTime(Arc::clone(clock)))
        .retry_config(aws_sdk_codeconnections::config::retry::RetryConfig::disabled())
        .build();
    (Client::from_conf(config), authority)
}
