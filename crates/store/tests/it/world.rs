//! A store in a temporary directory, and the short ways to fill it.

use std::path::PathBuf;
use std::sync::Arc;

use syncline_model::sync::Revision;
use syncline_peers::postgres::{self, Database};
use syncline_seams::{Faults, VirtualClock};
use syncline_store::{
    BranchRecord, Change, Claim, Configuration, ConfigurationQuotas, Consideration, CreateConfiguration,
    CreateConnection, CreateLink, CredentialRow, Kind, Location, NewConfiguration, NewConnection, NewHost,
    NewLink, Scope, Store, SyncRecord, Tag,
};
use tempfile::TempDir;

/// When every world begins, in milliseconds since the Unix epoch.
pub(crate) const START_MS: i64 = 1_763_865_600_000;
/// How long tests hold a claim.
pub(crate) const LEASE_MS: i64 = 15_000;
/// The one sync type.
pub(crate) const CFN: &str = "CFN_STACK_SYNC";
/// More of everything than any test makes.
pub(crate) const PLENTY: ConfigurationQuotas =
    ConfigurationQuotas { per_account: 1000, per_link: 1000, per_branch: 1000 };

pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) store: Store,
    pub(crate) location: Location,
    pub(crate) postgres: Option<Database>,
}

pub(crate) fn scope_of(account: &str, region: &str) -> Scope {
    Scope { account: account.parse().expect("an account"), region: region.parse().expect("a region") }
}

pub(crate) fn ours() -> Scope {
    scope_of("111111111111", "eu-west-1")
}

/// A commit id that is easy to tell from others.
pub(crate) fn sha(digit: char) -> String {
    digit.to_string().repeat(40)
}

pub(crate) fn role(account: &str) -> syncline_model::names::RoleArn {
    format!("arn:aws:iam::{account}:role/deploy").parse().expect("a role")
}

pub(crate) fn configuration(link_id: &str, name: &str, branch: &str) -> NewConfiguration {
    NewConfiguration {
        sync_type: CFN.to_owned(),
        resource_name: name.to_owned(),
        link_id: link_id.to_owned(),
        branch: branch.to_owned(),
        config_file: format!("{name}/deploy.yaml"),
        role_arn: role("111111111111"),
        publish_deployment_status: None,
        trigger_resource_update_on: None,
        pull_request_comment: None,
    }
}

pub(crate) fn revision(sha: &str) -> Revision {
    Revision {
        branch: "main".to_owned(),
        directory: ".".to_owned(),
        owner_id: "acme".to_owned(),
        repository_name: "infra".to_owned(),
        provider_type: "GitHub".to_owned(),
        sha: sha.to_owned(),
    }
}

impl World {
    /// A new store on the database that `SYNCLINE_TEST_DATABASE` names.
    pub(crate) fn new() -> Self {
        Self::on(postgres::is_chosen().then(Database::needed))
    }

    /// A new store on SQLite, for what is about its file.
    pub(crate) fn on_sqlite() -> Self {
        Self::on(None)
    }

    /// A new store on PostgreSQL, for what SQLite's one writer makes impossible; `None` where none is installed.
    pub(crate) fn on_postgres() -> Option<Self> {
        Database::new().map(|database| Self::on(Some(database)))
    }

    fn on(postgres: Option<Database>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(VirtualClock::starting_at(START_MS));
        let faults = Faults::none();
        let location = match &postgres {
            Some(database) => Location::parse(&database.url).expect("a URL").with_connections(6),
            None => Location::from(&directory.path().join("syncline.db")),
        };
        let store = open_at(&location, &directory, &clock, &faults).expect("a new store opens");
        Self { directory, clock, faults, store, location, postgres }
    }

    /// Another process on the same database, with its own connections and the same keyring.
    pub(crate) fn another(&self) -> Store {
        open_at(&self.location, &self.directory, &self.clock, &self.faults).expect("another process opens")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.path().join("syncline.db")
    }

    /// Runs a statement as somebody does who knows nothing of the store.
    #[expect(clippy::disallowed_methods, reason = "the store itself would do more")]
    pub(crate) fn run(&self, sql: &str) {
        match &self.postgres {
            Some(database) => drop(database.ask(&format!("{sql} RETURNING 1"))),
            None => {
                let database = rusqlite::Connection::open(self.database()).expect("opens");
                database.execute_batch(sql).expect("done");
            }
        }
    }

    /// How many rows a table has.
    #[expect(clippy::disallowed_methods, reason = "nothing that the store answers tells what it keeps")]
    pub(crate) fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        match &self.postgres {
            Some(database) => database.ask(&sql).parse().expect("a number"),
            None => {
                let database = rusqlite::Connection::open(self.database()).expect("opens");
                database.query_row(&sql, [], |row| row.get(0)).expect("a number")
            }
        }
    }

    /// As a restart does.
    pub(crate) fn reopened(self) -> Self {
        let Self { directory, clock, faults, store, location, postgres } = self;
        drop(store);
        let store = open_at(&location, &directory, &clock, &faults).expect("the store opens again");
        Self { directory, clock, faults, store, location, postgres }
    }

    pub(crate) async fn connection(&self, scope: &Scope, name: &str) -> String {
        let id = format!("connection-{name}");
        let new = NewConnection {
            id: id.clone(),
            service: "codeconnections".to_owned(),
            name: name.to_owned(),
            provider_type: Some("GitHub".to_owned()),
            host_id: None,
            tags: Vec::new(),
        };
        let created =
            self.store.create_connection(scope, new, 1000, Change::unrecorded()).await.expect("written");
        assert_eq!(created, CreateConnection::Created);
        id
    }

    pub(crate) async fn available_connection(&self, scope: &Scope, name: &str) -> String {
        let id = self.connection(scope, name).await;
        let credential = CredentialRow { sealed: None, tried_at: None };
        assert!(
            self.store
                .authorize_connection(scope, &id, credential, Change::unrecorded())
                .await
                .expect("written")
        );
        id
    }

    pub(crate) async fn link_on(&self, scope: &Scope, connection: &str, repository: &str) -> String {
        match self
            .store
            .create_link(scope, new_link(connection, repository), 1000, Change::unrecorded())
            .await
            .expect("written")
        {
            CreateLink::Created(link) => link.id,
            other => panic!("{other:?}"),
        }
    }

    /// A link of an AVAILABLE connection.
    pub(crate) async fn link(&self, scope: &Scope, repository: &str) -> String {
        let connection = self.available_connection(scope, repository).await;
        self.link_on(scope, &connection, repository).await
    }

    pub(crate) async fn sync_as(&self, scope: &Scope, new: NewConfiguration) -> Configuration {
        match self
            .store
            .create_configuration(scope, new, PLENTY, Change::unrecorded())
            .await
            .expect("written")
        {
            CreateConfiguration::Created(configuration) => *configuration,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn sync(&self, link: &str, name: &str, branch: &str) -> Configuration {
        self.sync_as(&ours(), configuration(link, name, branch)).await
    }

    /// Claims the one piece of work of a kind that is due.
    pub(crate) async fn claim(&self, kind: Kind) -> Claim {
        let claim = self.store.claim(kind, "worker", LEASE_MS).await.expect("claimed");
        claim.unwrap_or_else(|| panic!("nothing of {kind:?} is due"))
    }

    pub(crate) async fn nothing_due(&self, kind: Kind) -> bool {
        self.store.claim(kind, "looker", LEASE_MS).await.expect("looked").is_none()
    }

    /// The link's turn: its branches are at these heads.
    pub(crate) async fn heads(&self, heads: &[(&str, Option<&str>)]) {
        let claim = self.claim(Kind::Link).await;
        let heads = heads.iter().map(|(name, sha)| ((*name).to_owned(), sha.map(str::to_owned))).collect();
        self.store.record_heads(&claim, heads).await.expect("recorded");
        self.store.release(claim, None).await.expect("released");
    }

    /// The branch's turn begins: what it has to consider, and its attempt.
    pub(crate) async fn reading(&self) -> (Claim, BranchRecord, String) {
        let claim = self.claim(Kind::Branch).await;
        let branch = self.store.branch_record(&claim.id).await.expect("read").expect("a branch");
        let head = branch.head_sha.clone().expect("a head");
        let attempt = self.store.open_repository_attempt(&claim, &head).await.expect("opened");
        (claim, branch, attempt)
    }

    /// The branch's whole turn: every waiting sync wants the head, its files being `inputs`.
    pub(crate) async fn considered(&self, inputs: &str) {
        let (claim, branch, attempt) = self.reading().await;
        let head = branch.head_sha.clone().expect("a head");
        let considerations: Vec<_> = branch
            .syncs
            .iter()
            .map(|sync| Consideration {
                sync_id: sync.id.clone(),
                generation: sync.generation,
                desired: Some((revision(&head), inputs.to_owned())),
                files: None,
            })
            .collect();
        self.store
            .record_considered(&claim, &branch, &attempt, considerations, Vec::new())
            .await
            .expect("recorded");
        self.store.release(claim, None).await.expect("released");
    }

    /// A push that every sync of `main` wants.
    pub(crate) async fn pushed(&self, sha: &str) {
        self.heads(&[("main", Some(sha))]).await;
        self.considered(&format!("files of {sha}")).await;
    }

    /// A link whose `main` one sync follows.
    pub(crate) async fn followed(name: &str) -> (Self, String, Configuration) {
        Self::new().following(name).await
    }

    /// The same in this world.
    pub(crate) async fn following(self, name: &str) -> (Self, String, Configuration) {
        let world = self;
        let link = world.link(&ours(), "infra").await;
        let sync = world.sync(&link, name, "main").await;
        (world, link, sync)
    }

    pub(crate) async fn record(&self, id: &str) -> SyncRecord {
        self.store.sync_record(id).await.expect("read").expect("a sync")
    }
}

pub(crate) fn new_host(id: &str) -> NewHost {
    NewHost {
        id: id.to_owned(),
        service: "codestar-connections".to_owned(),
        name: "forge".to_owned(),
        provider_type: "Git".to_owned(),
        provider_endpoint: "https://git.example.com".to_owned(),
        vpc_configuration: Some(r#"{"VpcId":"vpc-01234567"}"#.to_owned()),
        tags: vec![Tag { key: "team".to_owned(), value: "a".to_owned() }],
    }
}

pub(crate) fn new_link(connection: &str, repository: &str) -> NewLink {
    NewLink {
        id: uuid::Uuid::new_v4().to_string(),
        service: "codeconnections".to_owned(),
        connection_id: connection.to_owned(),
        owner_id: "acme".to_owned(),
        repository_name: repository.to_owned(),
        encryption_key_arn: None,
        tags: Vec::new(),
    }
}

pub(crate) fn open(
    directory: &TempDir,
    clock: &Arc<VirtualClock>,
    faults: &Arc<Faults>,
) -> syncline_store::StoreResult<Store> {
    open_at(&Location::from(&directory.path().join("syncline.db")), directory, clock, faults)
}

fn open_at(
    location: &Location,
    directory: &TempDir,
    clock: &Arc<VirtualClock>,
    faults: &Arc<Faults>,
) -> syncline_store::StoreResult<Store> {
    let clock: Arc<dyn syncline_seams::Clock> = Arc::<VirtualClock>::clone(clock);
    Store::open(location, &directory.path().join("keyring"), clock, faults.outside())
}
