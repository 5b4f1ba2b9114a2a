//! A server with one of everything in it.

use serde_json::{Value, json};
use syncline::config::Config;
use syncline_model::names::{AccountId, Region};
use syncline_model::sync::{AttemptStatus, BlockerKind, EventKind, Revision, SyncEvent};
use syncline_store::{
    Change, Claim, Consideration, CredentialRow, Ending, Kind, NewBlocker, Progress, Scope, Store,
};
use syncline_wire::Service;

use super::client::{Client, Key, OURS, REGION, Server};

/// The commit that everybody is at.
pub(crate) const SHA: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// A well-formed id of nothing.
pub(crate) const NOTHING: &str = "00000000-1111-2222-3333-444444444444";
/// The one sync type.
pub(crate) const CFN: &str = "CFN_STACK_SYNC";
/// A role of our account.
pub(crate) const ROLE: &str = "arn:aws:iam::111111111111:role/deploy";

pub(crate) struct Scene {
    pub(crate) server: Server,
    /// A host with a connection on it.
    pub(crate) host: String,
    /// An AVAILABLE connection without a host.
    pub(crate) connection: String,
    /// A PENDING connection, on the host.
    pub(crate) pending: String,
    /// The link's id; the sync `web` follows its `main`.
    pub(crate) link: String,
    /// An ACTIVE blocker of `web`.
    pub(crate) blocker: String,
}

pub(crate) fn scope_of(key: Key) -> Scope {
    let (account, region): (AccountId, Region) =
        (key.account.parse().expect("an account"), REGION.parse().expect("a region"));
    Scope { account, region }
}

/// The last part of an ARN.
pub(crate) fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().expect("a part")
}

/// Completes a connection's handshake.
pub(crate) async fn authorize(server: &Server, key: Key, connection_arn: &str) {
    let credential = CredentialRow { sealed: None, tried_at: None };
    let store = &server.parts.store;
    let done = store
        .authorize_connection(&scope_of(key), id_of(connection_arn), credential, Change::unrecorded())
        .await;
    assert!(done.expect("written"), "no connection {connection_arn}");
}

/// Makes an AVAILABLE connection.
pub(crate) async fn connection(client: Client<'_>, name: &str) -> String {
    let made = client.ok("CreateConnection", json!({"ConnectionName": name, "ProviderType": "GitHub"})).await;
    let arn = text(&made, "/ConnectionArn");
    authorize(client.server, client.key, &arn).await;
    arn
}

/// Makes a link of `acme/<repository>`; its id.
pub(crate) async fn link(client: Client<'_>, connection: &str, repository: &str) -> String {
    let input = json!({"ConnectionArn": connection, "OwnerId": "acme", "RepositoryName": repository});
    text(&client.ok("CreateRepositoryLink", input).await, "/RepositoryLinkInfo/RepositoryLinkId")
}

/// The ARN of our link of that id.
pub(crate) fn link_arn(id: &str) -> String {
    format!("arn:aws:codeconnections:{REGION}:{}:repository-link/{id}", OURS.account)
}

/// The input that makes a sync of `main`.
pub(crate) fn sync_input(link: &str, name: &str) -> Value {
    json!({
        "Branch": "main", "ConfigFile": "deploy/web.yaml", "RepositoryLinkId": link, "ResourceName": name,
        "RoleArn": ROLE, "SyncType": CFN,
    })
}

pub(crate) fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}

/// The ARN in the other service's spelling.
pub(crate) fn respelled(arn: &str) -> String {
    let [one, other] = [Service::CodeConnections, Service::CodeStarConnections].map(Service::signing_name);
    let mut parts: Vec<_> = arn.split(':').collect();
    parts[2] = if parts[2] == one { other } else { one };
    parts.join(":")
}

/// The input that names a sync.
pub(crate) fn by_name(name: &str) -> Value {
    json!({"SyncType": CFN, "ResourceName": name})
}

/// The input that names a link's syncs.
pub(crate) fn of_link(id: &str) -> Value {
    json!({"RepositoryLinkId": id, "SyncType": CFN})
}

/// The input with some members changed; `null` leaves one out.
pub(crate) fn but(mut input: Value, changes: Value) -> Value {
    let (Some(members), Value::Object(changes)) = (input.as_object_mut(), changes) else { panic!("objects") };
    for (name, value) in changes {
        members.insert(name, value);
    }
    input
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let server = Server::with(adjust).await;
        let client = server.client();
        let host = json!({
            "Name": "forge", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com",
        });
        let host = text(&client.ok("CreateHost", host).await, "/HostArn");
        let connection = connection(client, "github").await;
        let pending = json!({"ConnectionName": "pending", "HostArn": host});
        let pending = text(&client.ok("CreateConnection", pending).await, "/ConnectionArn");
        let link = link(client, &connection, "infra").await;
        client.ok("CreateSyncConfiguration", sync_input(&link, "web")).await;
        let mut scene = Self { server, host, connection, pending, link, blocker: String::new() };
        let claim = scene.pushed(1).await;
        scene.fail(&claim, BlockerKind::ExecutionFailed, "the stack was rolled back").await;
        scene.blocker = scene.newest_blocker().await;
        scene
    }

    pub(crate) fn client(&self) -> Client<'_> {
        self.server.client()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.server.parts.store
    }

    async fn claim(&self, kind: Kind) -> Claim {
        let claim = self.store().claim(kind, "test", 15_000).await.expect("claimed");
        claim.unwrap_or_else(|| panic!("nothing of {kind:?} is due"))
    }

    /// What the worker does when `main` is at [`SHA`]: reads it and opens an attempt of `web`, whose claim is
    /// given.
    pub(crate) async fn pushed(&self, generation: i64) -> Claim {
        let store = self.store();
        let claim = self.claim(Kind::Link).await;
        let heads = [("main".to_owned(), Some(SHA.to_owned()))].into_iter().collect();
        store.record_heads(&claim, heads).await.expect("recorded");
        store.release(claim, None).await.expect("released");
        let claim = self.claim(Kind::Branch).await;
        let branch = store.branch_record(&claim.id).await.expect("read").expect("a branch");
        let attempt = store.open_repository_attempt(&claim, SHA).await.expect("opened");
        let revision = Revision {
            branch: "main".to_owned(),
            directory: "deploy".to_owned(),
            owner_id: "acme".to_owned(),
            repository_name: "infra".to_owned(),
            provider_type: "GitHub".to_owned(),
            sha: SHA.to_owned(),
        };
        let sync_id = branch.syncs[0].id.clone();
        let desired = Some((revision, "inputs".to_owned()));
        let wanted = vec![Consideration { sync_id, generation, desired, files: None }];
        let events = vec![(EventKind::ResourceChanged, "web changed".to_owned())];
        store.record_considered(&claim, &branch, &attempt, wanted, events).await.expect("recorded");
        store.release(claim, None).await.expect("released");
        let claim = self.claim(Kind::Sync).await;
        store.open_attempt(&claim).await.expect("opened");
        claim
    }

    fn ending(&self, status: AttemptStatus, kind: EventKind) -> Ending {
        let event = SyncEvent {
            time_ms: self.server.now_ms(),
            kind,
            text: "it ended".to_owned(),
            external_id: Some("change-set".to_owned()),
        };
        Ending { status, events: vec![event], last_stack_event: None, blocker: None, recovered: false }
    }

    pub(crate) async fn succeed(&self, claim: &Claim) {
        let open =
            self.store().sync_record(&claim.id).await.expect("read").expect("a sync").open.expect("open");
        let ending = self.ending(AttemptStatus::Succeeded, EventKind::Succeeded);
        self.store().end_attempt(claim, &open.id, ending).await.expect("ended");
        self.store().release(claim.clone(), None).await.expect("released");
    }

    pub(crate) async fn fail(&self, claim: &Claim, kind: BlockerKind, reason: &str) {
        let open =
            self.store().sync_record(&claim.id).await.expect("read").expect("a sync").open.expect("open");
        let begun = Progress { in_progress: true, ..Progress::default() };
        self.store().record_progress("store.begin_execution", claim, &open.id, begun).await.expect("begun");
        let contexts = vec![("commit".to_owned(), SHA.to_owned())];
        let blocker = Some(NewBlocker { kind, reason: reason.to_owned(), contexts });
        let ending = Ending { blocker, ..self.ending(AttemptStatus::Failed, EventKind::Failed) };
        self.store().end_attempt(claim, &open.id, ending).await.expect("ended");
        self.store().release(claim.clone(), None).await.expect("released");
    }

    async fn newest_blocker(&self) -> String {
        let scope = scope_of(OURS);
        let blockers = self.store().blockers(&scope, CFN, "web").await.expect("read").expect("a sync");
        blockers.first().expect("a blocker").id.clone()
    }

    /// Puts the scene's own names for `{host}`, `{connection}`, `{pending}`, `{link}`, `{link_arn}` and `{blocker}`.
    pub(crate) fn fill(&self, template: &Value) -> Value {
        let link_arn = link_arn(&self.link);
        let names = [
            ("{host}", &self.host),
            ("{connection}", &self.connection),
            ("{pending}", &self.pending),
            ("{link}", &self.link),
            ("{link_arn}", &link_arn),
            ("{blocker}", &self.blocker),
        ];
        let text = names.iter().fold(template.to_string(), |text, (name, value)| text.replace(name, value));
        serde_json::from_str(&text).expect("JSON")
    }

    /// Changes the database behind the server's back.
    #[expect(clippy::disallowed_methods, reason = "the test plays somebody else who opens the file")]
    pub(crate) fn tamper(&self, sql: &str) {
        let database = self.server.directory.path().join("syncline.db");
        let database = rusqlite::Connection::open(database).expect("opens");
        assert!(database.execute(sql, []).expect(sql) > 0, "{sql} changed nothing");
        // So long a reader of the server's may keep what it saw before.
        self.server.clock.advance_ms(200);
    }
}
