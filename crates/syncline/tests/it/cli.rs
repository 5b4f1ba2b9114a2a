//! The command line, run as a user runs it: the built binary against a server that listens.

mod audit;
mod databases;

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::config::retry::RetryConfig;
use aws_sdk_codeconnections::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_codeconnections::types::{ConnectionStatus, ProviderType, SyncConfigurationType};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use syncline::config::Config;
use syncline::running::{self, Running, Seams};
use syncline_seams::{Outside, SystemClock};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::repository::Repository;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

pub(crate) const REGION: &str = "eu-central-1";
const DEPLOYMENT: &str = "template-file-path: queue.yaml\n";
const TEMPLATE: &str = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n";
const BROKEN: &str = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n  Alias:\n    Type: AWS::SSM::Parameter\n    Properties:\n      Type: String\n      Value: !Ref Quue\n";

/// A server on loopback and a Git host beside it.
struct Here {
    directory: tempfile::TempDir,
    git: GitHost,
    running: Running,
    client: Client,
}

impl Here {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let git = GitHost::start().await;
        let mut config = Config::on_loopback(&directory.path().join("data"));
        config.allow_file_remotes = vec![git.directory()];
        config.allow_network = vec!["127.0.0.1/32".parse().expect("a network")];
        // Nothing is noticed by polling within a test: what happens was asked for.
        config.poll_interval = Duration::from_secs(3600);
        let seams = Seams { clock: Arc::new(SystemClock), outside: Outside::default() };
        let running = running::start(&config, &seams).await.expect("a server");
        let client = sdk(
            &format!("http://{}", running.address),
            &running.key.access_key_id,
            running.key.secret_access_key.expose(),
        );
        Self { directory, git, running, client }
    }

    /// `syncline …` with this server's address and data directory in its environment, and nothing else.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = syncline(arguments);
        command
            .env("HOME", self.directory.path())
            .env("SYNCLINE_ENDPOINT", format!("http://{}", self.running.address))
            .env("SYNCLINE_DATA_DIR", self.directory.path().join("data"))
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments), b"").await
    }

    /// A PENDING connection on a host at `provider_endpoint`.
    async fn connection(&self, provider_endpoint: &str) -> String {
        connection_to(&self.client, provider_endpoint).await
    }

    async fn connection_status(&self, arn: &str) -> ConnectionStatus {
        let got = self.client.get_connection().connection_arn(arn).send().await.expect("a connection");
        got.connection().and_then(|c| c.connection_status()).expect("its status").clone()
    }

    /// A link to the repository and a sync of its main branch.
    async fn sync(&self, connection_arn: &str, repository: &Repository, stack: &str) {
        sync_of(&self.client, connection_arn, repository, stack, "000000000000").await;
    }
}

/// The AWS SDK as a client of the server at `endpoint`.
pub(crate) fn sdk(endpoint: &str, key_id: &str, secret: &str) -> Client {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_sdk_codeconnections::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(key_id, secret, None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// A PENDING connection on a host at `provider_endpoint`.
pub(crate) async fn connection_to(client: &Client, provider_endpoint: &str) -> String {
    connection_of(client, "Git", provider_endpoint).await
}

/// The same of another provider type.
pub(crate) async fn connection_of(client: &Client, provider_type: &str, provider_endpoint: &str) -> String {
    let host = client.create_host().name("host").provider_type(ProviderType::from(provider_type));
    let host = host.provider_endpoint(provider_endpoint).send().await.expect("a host");
    let connection = client.create_connection().connection_name("connection");
    let made = connection.host_arn(host.host_arn().expect("its ARN")).send().await;
    made.expect("a connection").connection_arn().to_owned()
}

/// A link to the repository and a sync of its main branch with a role of the account.
pub(crate) async fn sync_of(
    client: &Client,
    connection_arn: &str,
    repository: &Repository,
    stack: &str,
    account: &str,
) {
    let link = client.create_repository_link().connection_arn(connection_arn);
    let link = link.owner_id(repository.owner()).repository_name(repository.name()).send().await;
    let link = link.expect("a link");
    let sync = client.create_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
    sync.resource_name(stack)
        .repository_link_id(link.repository_link_info().expect("its info").repository_link_id())
        .branch("main")
        .config_file("deployment.yaml")
        .role_arn(format!("arn:aws:iam::{account}:role/sync"))
        .send()
        .await
        .expect("a sync configuration");
}

/// What a command printed and how it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!((self.code, &*self.stdout), (Some(1), ""), "{}", self.stderr);
        self.stderr
    }
}

pub(crate) fn syncline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command
}

pub(crate) async fn ended(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a piped stdin");
    // A command that reads no input may be gone already.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().await.expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

#[track_caller]
fn assert_says(text: &str, expect: &[&str]) {
    for part in expect {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[tokio::test]
async fn the_demo_ends_with_the_fix_as_the_synced_state() {
    // Whatever the machine's git and AWS configuration say: there is no home, no path, no key here.
    let ended = ended(syncline(&["demo", "--exit"]), b"").await;
    let told = ended.stderr.clone();
    let answer: Value = serde_json::from_str(&ended.good()).expect("one JSON value and nothing else");

    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned();
    let desired = text("/DesiredState/Sha");
    assert_eq!(desired.len(), 40);
    assert_eq!(text("/LatestSync/Status"), "SUCCEEDED");
    assert_eq!(text("/LatestSync/TargetRevision/Sha"), desired);
    let initial = text("/LatestSync/InitialRevision/Sha");
    assert_ne!(initial, desired);
    assert_eq!(answer["LatestSuccessfulSync"], answer["LatestSync"]);
    let started_at = answer["LatestSync"]["StartedAt"].as_f64().expect("seconds since 1970");
    let events = answer["LatestSync"]["Events"].as_array().expect("events");
    assert!(events.iter().all(|event| event["Time"].as_f64().is_some_and(|time| time >= started_at)));
    let types: Vec<&str> = events.iter().filter_map(|event| event["Type"].as_str()).collect();
    assert_eq!(types.first(), Some(&"ATTEMPT_STARTED"));
    assert_eq!(types.last(), Some(&"SUCCEEDED"));
    assert!(types.contains(&"STACK_EVENT"));

    assert_says(
        &told,
        &[
            "nothing is provisioned",
            &format!("git push {}", &initial[..12]),
            &format!("git push {}", &desired[..12]),
            "CREATE_COMPLETE",
            "CHANGE_SET_FAILED",
            "the sync is blocked:\n     Template error: instance of Fn::GetAtt references undefined resource DeadLetter\n",
            "suggested fix: correct the template",
            &format!("stack orders is at commit {}; the blocker is resolved", &desired[..12]),
        ],
    );
    assert!(!told.contains('\u{1b}'), "there are colours where no terminal is: {told:?}");
}

#[tokio::test]
async fn the_demo_stays_up_for_looking_around_until_it_is_interrupted() {
    let mut demo = syncline(&["demo"]);
    let mut demo = demo.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(demo.stderr.take().expect("a piped stderr")).lines();
    let mut told = Vec::new();
    while let Some(line) = lines.next_line().await.expect("read") {
        let is_last = line.contains("git push");
        told.push(line);
        if is_last && told.iter().any(|line| line.contains("Look around")) {
            break;
        }
    }
    let told = told.join("\n");
    let setting = |name: &str| {
        let (_, rest) = told.split_once(&format!("{name}=")).expect("the setting is told");
        rest.split_whitespace().next().expect("a value").to_owned()
    };
    let data_dir = setting("SYNCLINE_DATA_DIR");
    let mut list = syncline(&["sync", "status", "orders"]);
    list.env("SYNCLINE_ENDPOINT", setting("SYNCLINE_ENDPOINT")).env("SYNCLINE_DATA_DIR", &data_dir);
    assert_says(&ended(list, b"").await.good(), &["Latest sync     SUCCEEDED"]);

    let pid = demo.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).expect("it runs");
    kill_process(pid, Signal::INT).expect("interrupted");
    assert!(demo.wait().await.expect("it ends").success());
    assert!(!Path::new(&data_dir).exists(), "{data_dir} is left behind");
}

#[tokio::test]
async fn a_sync_is_watched_to_its_end_and_again_after_a_mistake() {
    let here = Here::start().await;
    let nothing = here.run(&["sync", "list"]).await;
    assert_says(&nothing.stderr, &["There are no syncs in region eu-central-1"]);
    assert_eq!(nothing.good(), "");

    let repository = here.git.repository("acme/shop").await;
    let first = repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;
    let connection = here.connection(&format!("file://{}", here.git.directory().display())).await;
    let id = connection.rsplit('/').next().expect("an id");
    let authorized = here.run(&["connection", "authorize", id, "--no-token"]).await.good();
    assert_eq!(authorized, format!("{connection} is AVAILABLE\n"));
    here.sync(&connection, &repository, "queues").await;

    let watched = here.run(&["sync", "watch", "queues"]).await.good();
    assert_says(
        &watched,
        &[
            &format!("Sync of queues to commit {}\n", &first[..12]),
            "Queue (AWS::SQS::Queue) CREATE_COMPLETE\n",
            &format!("✔ queues is at commit {first}\n"),
        ],
    );
    let list = here.run(&["sync", "list"]).await.good();
    let row: Vec<&str> = list.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..3], ["queues", "SUCCEEDED", &first[..12]]);
    assert_eq!(row[5..], ["acme/shop", "main", "-"]);

    // A mistake: asking for it now is quicker than the next poll.
    let broken = repository.commit("queue.yaml", BROKEN).await;
    let watched = here.run(&["sync", "now", "queues", "--watch"]).await;
    assert_eq!(watched.code, Some(1), "{}", watched.stderr);
    assert!(!watched.stdout.contains(&first[..12]), "an old attempt is shown: {}", watched.stdout);
    let blocked = ["✘ Blocked since ", "[Quue]", "Suggested fix: correct the template", &*broken];
    assert_says(&watched.stdout, &blocked);
    let again = here.run(&["sync", "watch", "queues"]).await;
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert_says(&again.stdout, &blocked);

    let status = here.run(&["sync", "status", "queues"]).await.good();
    assert_says(&status, &blocked);
    assert_says(
        &status,
        &[
            "Repository      acme/shop, branch main, deployment.yaml\n",
            &format!("Desired commit  {broken}\n"),
            &format!("Latest sync     FAILED {broken}, started 20"),
            &format!("Last successful SUCCEEDED {first}, started 20"),
            "CHANGE_SET_FAILED",
        ],
    );
    let status: Value =
        serde_json::from_str(&here.run(&["sync", "status", "queues", "--json"]).await.good()).expect("JSON");
    assert_eq!(status["status"]["LatestSync"]["TargetRevision"]["Sha"], broken);
    assert_eq!(status["blockers"][0]["Status"], "ACTIVE");
    let list: Value =
        serde_json::from_str(&here.run(&["sync", "list", "--json"]).await.good()).expect("JSON");
    assert_eq!(list["syncs"][0]["configuration"]["ResourceName"], "queues");

    let fixed = repository.commit("queue.yaml", &BROKEN.replace("Quue", "Queue")).await;
    assert_says(&here.run(&["sync", "now", "queues"]).await.good(), &["syncline sync watch queues"]);
    let watched = here.run(&["sync", "now", "queues", "--watch"]).await.good();
    assert_says(&watched, &[&format!("✔ queues is at commit {fixed}\n")]);
    let status = here.run(&["sync", "status", "queues"]).await.good();
    assert!(!status.contains("Blocked"), "{status}");
    here.running.stop().await;
}

#[tokio::test]
async fn a_token_comes_by_standard_input_and_is_never_shown() {
    let here = Here::start().await;
    let repository = here.git.repository("acme/shop").await;
    repository.require_tokens(&["t0p-s3cret"]);
    repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;
    let connection = here.connection(&here.git.endpoint()).await;

    for (flags, expect) in [
        (&[][..], "--token-stdin, or --no-token"),
        (&["--token-stdin", "--no-token"], "exclude each other"),
        (&["--no-token", "--username", "ada"], "--username goes with a token"),
    ] {
        let refused = here.run(&[&["connection", "authorize", &connection], flags].concat()).await.failed();
        assert_says(&refused, &[expect]);
    }
    let by_token = ["connection", "authorize", &connection, "--token-stdin", "--username", "ada"];
    let empty = ended(here.command(&by_token), b"\n").await.failed();
    assert_says(&empty, &["there is no token on standard input"]);
    let unusable = ended(here.command(&by_token), b"t0p-s3cret\x07\n").await.failed();
    assert_says(&unusable, &["token: it must have", "ValidationException"]);
    assert!(!unusable.contains("s3cret"), "{unusable}");
    assert_eq!(here.connection_status(&connection).await, ConnectionStatus::Pending);

    let done = ended(here.command(&by_token), b"t0p-s3cret\n").await;
    assert!(!done.stderr.contains("s3cret"), "{}", done.stderr);
    assert_eq!(done.good(), format!("{connection} is AVAILABLE\n"));
    assert_eq!(here.connection_status(&connection).await, ConnectionStatus::Available);
    here.sync(&connection, &repository, "queues").await;
    here.run(&["sync", "watch", "queues"]).await.good();

    let unknown = connection.replace(':', "/");
    let refused = here.run(&["connection", "authorize", &unknown, "--no-token"]).await.failed();
    assert_says(&refused, &["neither the ARN of a connection nor the id"]);
    let missing = "00000000-0000-4000-8000-000000000000";
    let refused = here.run(&["connection", "authorize", missing, "--no-token"]).await.failed();
    assert_says(&refused, &["Could not find connection", "ResourceNotFoundException"]);
    here.running.stop().await;
}

#[tokio::test]
async fn a_refused_key_is_named_with_where_it_comes_from() {
    let here = Here::start().await;
    let aws_files = |text: &str| {
        let path = here.directory.path().join("aws-credentials");
        std::fs::write(&path, text).expect("written");
        path
    };
    let profile = |name: &str, id: &str, secret: &str| {
        format!("[{name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
    };
    let (id, secret) = (here.running.key.access_key_id.as_str(), here.running.key.secret_access_key.expose());
    let list = |environment: &[(&str, &str)], data_dir: &Path, flags: &[&str]| {
        let mut command = here.command(&[&["sync", "list"], flags].concat());
        command.env("SYNCLINE_DATA_DIR", data_dir).envs(environment.iter().copied());
        ended(command, b"")
    };
    let (data, nowhere) = (here.directory.path().join("data"), here.directory.path().join("nowhere"));
    let wrong = profile("wrong", id, "wrong") + &profile("right", id, secret);
    let files = aws_files(&wrong);
    let files = files.to_str().expect("UTF-8");
    let wrong_key = [("SYNCLINE_ACCESS_KEY_ID", "AKOTHER"), ("SYNCLINE_SECRET_ACCESS_KEY", "x")];
    let right_key = [("SYNCLINE_ACCESS_KEY_ID", id), ("SYNCLINE_SECRET_ACCESS_KEY", secret)];
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", files);

    // Each source comes before the next one, right or wrong.
    let refused = list(&[&wrong_key[..], &[shared]].concat(), &data, &["--profile", "right"]).await.failed();
    assert_says(&refused, &["UnrecognizedClientException", "key AKOTHER from SYNCLINE_ACCESS_KEY_ID"]);
    let refused = list(&[shared], &data, &["--profile", "wrong"]).await.failed();
    assert_says(&refused, &["InvalidSignatureException", &format!("key {id} from profile wrong")]);
    list(&[&right_key[..], &[shared]].concat(), &nowhere, &["--profile", "wrong"]).await.good();
    list(&[shared], &nowhere, &["--profile", "right"]).await.good();
    let empty = [("SYNCLINE_ACCESS_KEY_ID", ""), ("SYNCLINE_SECRET_ACCESS_KEY", "")];
    list(&[&empty[..], &[shared, ("AWS_PROFILE", "wrong")]].concat(), &data, &[]).await.good();
    list(&[shared, ("AWS_PROFILE", "right")], &nowhere, &[]).await.good();
    let refused = list(&[shared, ("AWS_PROFILE", "wrong")], &nowhere, &[]).await.failed();
    assert_says(&refused, &[&format!("key {id} from the AWS environment, files and roles")]);

    // No source, or half of one.
    let refused = list(&[], &nowhere, &[]).await.failed();
    assert_says(&refused, &["there is no key to sign with", &nowhere.display().to_string()]);
    let refused = list(&[shared], &data, &["--profile", "absent"]).await.failed();
    assert_says(&refused, &["--profile absent gives no key"]);
    let refused = list(&right_key[..1], &data, &[]).await.failed();
    assert_says(&refused, &["must be set together"]);

    // A file that is the data directory's own is named by its path.
    std::fs::create_dir_all(&nowhere).expect("a directory");
    std::fs::write(nowhere.join("credentials"), profile("syncline", id, "wrong")).expect("written");
    let refused = list(&[], &nowhere, &[]).await.failed();
    assert_says(&refused, &[&format!("key {id} from {}/credentials", nowhere.display())]);
    here.running.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_so() {
    let here = Here::start().await;
    // Bound, so that nobody else gets the port, but nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().expect("a socket");
    taken.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let endpoint = format!("http://{}", taken.local_addr().expect("its address"));
    let refused = here.run(&["sync", "list", "--endpoint", &endpoint]).await.failed();
    assert_says(&refused, &[&format!("cannot reach {endpoint}"), "is `syncline serve` running there?"]);

    let git = here.git.endpoint();
    let other = here.run(&["sync", "list", "--endpoint", &git]).await.failed();
    assert_says(&other, &[&format!("{git} gave an answer that cannot be read")]);
    let unknown = here.run(&["sync", "status", "nothing"]).await.failed();
    assert_says(&unknown, &["Could not find a sync configuration for resource:nothing"]);
    let unknown = here.run(&["sync", "now", "nothing"]).await.failed();
    assert_says(&unknown, &["ResourceNotFoundException"]);
    here.running.stop().await;
}

#[tokio::test]
async fn a_trust_policy_is_ready_to_be_pasted() {
    let here = Here::start().await;
    let printed = here.run(&["account", "trust-policy"]).await;
    assert_says(&printed.stderr, &["ExternalId", "Add this statement"]);
    let statement: Value = serde_json::from_str(&printed.good()).expect("JSON");
    let external_id = &statement["Condition"]["StringEquals"]["sts:ExternalId"];
    assert!(external_id.as_str().is_some_and(|id| id.len() >= 16), "{external_id}");
    assert_eq!(statement["Action"], "sts:AssumeRole");
    assert_eq!(statement["Principal"]["AWS"], "arn:aws:iam::000000000000:user/simulated");

    let principal = "arn:aws:iam::123456789012:role/tools/syncline";
    let whole = here.run(&["account", "trust-policy", "--principal", principal, "--whole"]).await.good();
    let policy: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(2));
    assert_eq!(policy["Statement"][1]["Principal"]["AWS"], principal);
    assert_eq!(policy["Statement"][1]["Condition"]["StringEquals"]["sts:ExternalId"], *external_id);

    let refused = here.run(&["account", "trust-policy", "--principal", "me"]).await.failed();
    assert_says(&refused, &["--principal me: it must be like arn:"]);
    here.running.stop().await;
}

#[tokio::test]
async fn the_operator_makes_a_key_and_its_holder_uses_it() {
    let here = Here::start().await;
    let file = here.directory.path().join("reader.json");
    let reader = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["syncline:*","codeconnections:List*"],"Resource":"*"}}"#;
    std::fs::write(&file, reader).expect("written");
    let file = file.to_str().expect("UTF-8");
    let account = "123456789012";

    let bare = here.run(&["key", "create", "--user", "nobody", "--account", account]).await;
    assert_says(&bare.stderr, &["nobody has no policies, so the key may do nothing yet"]);
    let made = here.run(&["key", "create", "--user", "ci", "--account", account, "--policy", file]).await;
    assert_says(&made.stderr, &["in account 123456789012", "shown only this once"]);
    let profile = made.good();
    assert_says(&profile, &["[ci]\naws_access_key_id = AKIA", "aws_secret_access_key = "]);

    // The holder's files are AWS's own.
    let credentials = here.directory.path().join("aws-credentials");
    std::fs::write(&credentials, &profile).expect("written");
    let as_holder = |arguments: &[&str]| {
        let mut command = here.command(arguments);
        command.env("AWS_SHARED_CREDENTIALS_FILE", &credentials).arg("--profile").arg("ci");
        command
    };
    let listed = ended(as_holder(&["key", "list"]), b"").await.good();
    assert_says(&listed, &["AKIA", "ci", "nobody", "Active"]);
    let id = profile.split_whitespace().find(|word| word.starts_with("AKIA")).expect("the key's id");
    let policies = ended(as_holder(&["policy", "list", "--user", "ci"]), b"").await.good();
    assert_says(&policies, &["\"policyName\": \"reader\"", "codeconnections:List*"]);
    let users = ended(as_holder(&["user", "list"]), b"").await.good();
    assert_says(&users, &["arn:aws:iam::123456789012:user/ci"]);
    let foreign = ended(as_holder(&["key", "list", "--account", "999999999999"]), b"").await.failed();
    assert_says(&foreign, &["account 999999999999 is not the key's own", "AccessDeniedException"]);

    let temporary =
        ["key", "create", "--user", "ci", "--account", account, "--temporary", "1h", "--format", "json"];
    let process: Value = serde_json::from_str(&here.run(&temporary).await.good()).expect("JSON");
    let text = |name: &str| process[name].as_str().unwrap_or_else(|| panic!("{name}")).to_owned();
    let mut command = here.command(&["user", "list"]);
    command
        .env("SYNCLINE_ACCESS_KEY_ID", text("AccessKeyId"))
        .env("SYNCLINE_SECRET_ACCESS_KEY", text("SecretAccessKey"))
        .env("SYNCLINE_SESSION_TOKEN", text("SessionToken"));
    assert_says(&ended(command, b"").await.good(), &["user/ci"]);

    let done = here.run(&["key", "deactivate", id, "--account", account]).await.good();
    assert_says(&done, &["is inactive"]);
    let refused = ended(as_holder(&["key", "list"]), b"").await.failed();
    assert_says(&refused, &["UnrecognizedClientException", "from profile ci"]);
    let other = here.run(&["key", "delete", id, "--user", "other", "--account", account]).await.failed();
    assert_says(&other, &["Could not find access key"]);
    here.run(&["key", "delete", id, "--account", account]).await.good();
    let missing = here.run(&["key", "delete", id, "--account", account]).await.failed();
    assert_says(&missing, &["has no access key"]);
    let gone = here.run(&["policy", "delete", "reader", "--user", "ci", "--account", account]).await.good();
    assert_says(&gone, &["ci has the policy reader no more"]);
    here.run(&["user", "delete", "ci", "--account", account]).await.good();
    let unknown = here.run(&["policy", "put", file, "--user", "ci", "--account", account]).await.failed();
    assert_says(&unknown, &["Could not find user:ci"]);

    std::fs::write(file, r#"{"Statement":[{"Effect":"Allow"}]}"#).expect("written");
    let refused = here.run(&["policy", "put", file, "--user", "nobody", "--account", account]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert_says(&refused.stderr, &["Statement[0]"]);
    here.running.stop().await;
}
