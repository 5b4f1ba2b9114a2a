//! Secrets given to the built binary, or made by it, are seen nowhere: no file, no log line, no answer, no command
//! line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use syncline_seams::SystemClock;
use syncline_testkit::forge::{self, APP_KEY, ForgeDouble, Issued, KnownInstallation};
use syncline_testkit::git_host::{Fault, GitHost};
use syncline_testkit::receiver::Receiver;
use syncline_testkit::ssh_host::{SshFault, SshHost};
use tokio::process::Command;

use crate::cli::{Ended, REGION, connection_of, connection_to, ended, sdk, sync_of, syncline};
use crate::serving::{ACCOUNT, Aws, KEY_ID, SECRET, Serve};

const CANARY: &str = "canary-4c1e-token-of-a-git-host";
/// base64 of `deploy:` and the canary, as HTTP sends it; what comes before the last digits, which depend on the end.
const ENCODED: &str = "ZGVwbG95OmNhbmFyeS00YzFlLXRva2VuLW9mLWEtZ2l0LWhvc3";

/// base64 of `x-access-token:` and the canary, as it goes to GitHub's Git side; the same without its last digits.
const ENCODED_FOR_GITHUB: &str = "eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5LTRjMWUtdG9rZW4tb2YtYS1naXQtaG9zd";

const DEPLOYMENT: &str = "template-file-path: queue.yaml\n";
const TEMPLATE: &str = "Resources:\n  Queue:\n    Type: AWS::SQS::Queue\n";

fn is_in(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// A line of the private key of a GitHub App, which is like no other text.
fn line_of_key() -> &'static str {
    APP_KEY.lines().nth(7).expect("a line")
}

fn is_seen_in(bytes: &[u8]) -> bool {
    [CANARY, ENCODED, ENCODED_FOR_GITHUB, SECRET, line_of_key()]
        .iter()
        .any(|secret| is_in(bytes, secret.as_bytes()))
}

/// The files below a folder, none of which may show the canary or one of the other secrets.
fn search(folder: &Path, others: &[String], files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            search(&path, others, files);
            continue;
        }
        // Git's own scratch files come and go.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let is_seen = is_seen_in(&bytes) || others.iter().any(|other| is_in(&bytes, other.as_bytes()));
        assert!(!is_seen, "a secret is in {}", path.display());
        files.push(entry.file_name().to_string_lossy().into_owned());
    }
}

/// Looks at the command line of every process until told to stop.
fn watch_command_lines(stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut lines = 0;
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").expect("a proc file system").filter_map(Result::ok) {
                let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
                assert!(!is_seen_in(&line), "the token is on the command line of {}", entry.path().display());
                lines += 1;
            }
            std::thread::yield_now();
        }
        lines
    })
}

fn command(serve: &Serve, arguments: &[&str]) -> Command {
    let mut command = syncline(arguments);
    command
        .env("SYNCLINE_ENDPOINT", &serve.endpoint)
        .env("SYNCLINE_ACCESS_KEY_ID", KEY_ID)
        .env("SYNCLINE_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_REGION", REGION);
    command
}

async fn run(serve: &Serve, arguments: &[&str], input: &str) -> Ended {
    let ended = ended(command(serve, arguments), input.as_bytes()).await;
    for told in [&ended.stdout, &ended.stderr] {
        assert!(!is_seen_in(told.as_bytes()), "{arguments:?}: {told}");
    }
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_in_no_file_no_log_no_answer_and_on_no_command_line() {
    let git = GitHost::start().await;
    let repository = git.repository("acme/infra").await;
    repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;
    repository.require_tokens(&[CANARY]);
    let serve = Serve::start(Aws::Simulated).await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch_command_lines(&stop);

    // Somebody is told whose URL is a secret, and who repeats it.
    let receiver = Receiver::on(&git, Arc::new(SystemClock), "ops");
    let url = format!("{}?token={CANARY}\n", receiver.url());
    let add = ["notification", "add", "ops", "--url-stdin", "--sync", "web", "--json"];
    let target: Value = serde_json::from_str(&run(&serve, &add, &url).await.good()).expect("JSON");
    let signing_key = target["secret"].as_str().expect("a key").to_owned();
    receiver.expect_key(&signing_key);
    run(&serve, &["notification", "add", "ops", "--url-stdin"], &url).await.failed();
    let slack = ["notification", "add", "team", "--format", "slack", "--status", "FAILED", "--url-stdin"];
    assert!(run(&serve, &slack, &url).await.stderr.contains("team is told of everything: FAILED"));
    receiver.fail(forge::Fault::Status(500, &[], ECHO));
    let tried = run(&serve, &["notification", "test", "ops"], "").await;
    let words = "ops was not told: it answered 500 Internal Server Error: you sent …\n";
    assert_eq!((tried.code, tried.stdout.as_str()), (Some(1), words));
    let tried = run(&serve, &["notification", "test", "ops"], "").await.good();
    assert_eq!(tried, "ops was told: it answered 200\n");
    let listed = run(&serve, &["notification", "list"], "").await.good();
    assert!(listed.contains("/told/ops/in") && listed.contains("/…"), "{listed}");
    receiver.fail(forge::Fault::Status(500, &[], ECHO));

    let client = sdk(&serve.endpoint, KEY_ID, SECRET);
    let connection = connection_to(&client, &git.endpoint()).await;
    let authorize = ["connection", "authorize", &connection, "--token-stdin", "--username"];
    let with = |name: &'static str| [&authorize[..], &[name]].concat();
    let refused = run(&serve, &with("de:ploy"), CANARY).await.failed();
    assert!(refused.contains("username"), "{refused}");
    let refused = run(&serve, &with("deploy"), &format!("{CANARY}\u{1}")).await.failed();
    assert!(refused.contains("token"), "{refused}");
    run(&serve, &with("deploy"), CANARY).await.good();
    sync_of(&client, &connection, &repository, "web", ACCOUNT).await;
    run(&serve, &["sync", "watch", "web"], "").await.good();

    // The test that was taken, and every change of a status.
    while receiver.taken().len() < 4 {
        tokio::task::yield_now().await;
    }
    let listed = run(&serve, &["outbox", "list", "--state", "sent"], "").await.good();
    assert!(listed.contains("NOTIFICATION") && listed.contains("SENT"), "{listed}");
    run(&serve, &["outbox", "list", "--json"], "").await.good();
    let removed = run(&serve, &["notification", "remove", "team"], "").await.good();
    assert_eq!(removed, "team is told no more.\n");

    // A host that fails in every way, then refuses the token, and each time says what it likes.
    for fault in [Fault::Status(500), Fault::HtmlPage, Fault::Disconnect, Fault::HalfBody] {
        repository.fail(fault);
        let before = git.received();
        run(&serve, &["sync", "now", "web"], "").await.good();
        while git.received() == before {
            tokio::task::yield_now().await;
        }
    }
    repository.recover();
    repository.require_tokens(&["another"]);
    while !run(&serve, &["sync", "status", "web", "--json"], "").await.good().contains("CREDENTIAL_REFUSED") {
        tokio::task::yield_now().await;
    }
    run(&serve, &["sync", "status", "web"], "").await.good();
    let temporary = ["key", "create", "--user", "ann", "--temporary", "1h", "--format", "json"];
    let key: Value = serde_json::from_str(&run(&serve, &temporary, "").await.good()).expect("JSON");
    let made = ["SecretAccessKey", "SessionToken"];
    let mut made = made.map(|name| key[name].as_str().expect("a secret").to_owned()).to_vec();
    let links = client.list_repository_links().send().await.expect("links");
    let link = links.repository_links()[0].repository_link_id();
    made.push(signing_key);
    let webhook = run(&serve, &["link", "webhook", link, "--json"], "").await.good();
    let webhook: Value = serde_json::from_str(&webhook).expect("JSON");
    let secret = webhook["secret"].as_str().expect("a secret").to_owned();
    let shown = run(&serve, &["link", "webhook", link, "--overlap", "1h"], "").await;
    let told = format!("{}{}", shown.stdout, shown.stderr);
    for expected in
        ["/webhooks/", "X-Hub-Signature-256", "--public-url is not set", "The secret before this one"]
    {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    assert!(!told.contains(&secret), "another one is shown");
    made.push(secret);
    let none = run(&serve, &["delivery", "list"], "").await;
    assert!(none.stderr.contains("Nothing was delivered"), "{}", none.stderr);
    run(&serve, &["delivery", "show", "none"], "").await.failed();
    run(&serve, &["delivery", "replay", "none"], "").await.failed();
    run(&serve, &["key", "list"], "").await.good();
    run(&serve, &["keyring", "rotate"], "").await.good();
    run(&serve, &["keyring", "status"], "").await.good();

    stop.store(true, Ordering::Relaxed);
    let lines = watching.join().expect("the token is on no command line");
    assert!(lines > 100, "{lines} command lines were looked at");
    let mut files = Vec::new();
    search(serve.folder(), &made, &mut files);
    let master = std::fs::read_to_string(serve.folder().join("data/keyring")).expect("the key file");
    let master: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&master[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
        .collect();
    for file in ["syncline.db", "syncline.db-wal"] {
        let bytes = std::fs::read(serve.folder().join("data").join(file)).expect("readable");
        assert!(!is_in(&bytes, &master), "the master key is in {file}");
    }
    for expected in ["syncline.db", "syncline.db-wal", "syncline.db-shm", "keyring", "log"] {
        assert!(files.iter().any(|file| file == expected), "{expected} is not among {files:?}");
    }
    let sent = git
        .requests()
        .iter()
        .filter(|r| is_seen_in(r.authorization.as_deref().unwrap_or("").as_bytes()))
        .count();
    assert!(sent > 0, "the host was sent the token in the form that was looked for");
}

/// Looks at the command line and the environment of every process for a text until told to stop; how many were looked at.
fn watch_processes_for(text: String, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut looked = 0;
        while !stop.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").expect("a proc file system").filter_map(Result::ok) {
                for file in ["cmdline", "environ"] {
                    let Ok(bytes) = std::fs::read(entry.path().join(file)) else { continue };
                    assert!(!is_in(&bytes, text.as_bytes()), "{} of {}", file, entry.path().display());
                    looked += 1;
                }
            }
            std::thread::yield_now();
        }
        looked
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssh_key_is_in_no_file_no_log_no_answer_and_in_no_other_process() {
    let git = GitHost::start().await;
    let Some(ssh) = SshHost::start(&git).await else { return };
    let repository = git.repository("acme/infra").await;
    repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;
    let key = ssh.key("ed25519").await;
    // Two lines of it, which hold the private half in base64; the line break between them may be told in other ways.
    let canaries: Vec<String> = key.lines().skip(2).take(2).map(str::to_owned).collect();
    let serve = Serve::start(Aws::Simulated).await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch_processes_for(canaries[0].clone(), &stop);
    let run = async |arguments: &[&str], input: &str| {
        let ended = ended(command(&serve, arguments), input.as_bytes()).await;
        for canary in &canaries {
            let told = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!told.contains(canary.as_str()), "{arguments:?}: {told}");
        }
        ended
    };
    let client = sdk(&serve.endpoint, KEY_ID, SECRET);
    let connection = connection_to(&client, &ssh.endpoint()).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (key_file, known_hosts) = (folder.path().join("key"), folder.path().join("known_hosts"));
    std::fs::write(&key_file, &key).expect("written");
    std::fs::write(&known_hosts, ssh.known_hosts()).expect("written");
    let (key_file, known_hosts) = (key_file.to_str().expect("UTF-8"), known_hosts.to_str().expect("UTF-8"));
    let authorize = ["connection", "authorize", &connection, "--ssh-key"];
    let with = |more: &[&'static str]| [&authorize[..], more].concat();

    let fingerprint = ssh.fingerprint().await;
    let shown = run(&[&authorize[..], &[key_file]].concat(), "").await.failed();
    for words in [fingerprint.as_str(), "--host-key", "nothing was stored"] {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    let cut = key.replace("-----END", "-----FIN");
    for (arguments, input, words) in [
        (with(&["-"]), cut.as_str(), "not in OpenSSH's format"),
        (with(&["-"]), "", "there is no key on standard input"),
        (with(&["-", "--token-stdin"]), &key, "--ssh-key goes with"),
        (with(&["/nowhere/key"]), "", "/nowhere/key cannot be read"),
        (with(&["-", "--host-key", "nonsense"]), &key, "line 1"),
    ] {
        let refused = run(&arguments, input).await.failed();
        assert!(refused.contains(words), "{words} is not in {refused}");
    }
    let told = format!("{connection} is AVAILABLE, its host known by ssh-ed25519 {fingerprint}\n");
    let by_fingerprint = [&authorize[..], &["-", "--host-key", &fingerprint]].concat();
    assert_eq!(run(&by_fingerprint, &key).await.good(), told);
    let by_file = [&authorize[..], &[key_file, "--known-hosts", known_hosts]].concat();
    assert_eq!(run(&by_file, "").await.good(), told);
    sync_of(&client, &connection, &repository, "web", ACCOUNT).await;
    run(&["sync", "watch", "web"], "").await.good();

    // A host that fails in every way, then no longer lets the key in.
    ssh.close_connections();
    for fault in [SshFault::Disconnect, SshFault::Http] {
        ssh.fail(fault);
        let before = ssh.connections();
        run(&["sync", "now", "web"], "").await.good();
        while ssh.connections() == before {
            tokio::task::yield_now().await;
        }
    }
    ssh.recover();
    ssh.let_in("");
    while !run(&["sync", "status", "web", "--json"], "").await.good().contains("CREDENTIAL_REFUSED") {
        tokio::task::yield_now().await;
    }
    run(&["keyring", "rotate"], "").await.good();

    stop.store(true, Ordering::Relaxed);
    let looked = watching.join().expect("the key is in no other process");
    assert!(looked > 100, "{looked} processes were looked at");
    let mut files = Vec::new();
    search(serve.folder(), &canaries, &mut files);
    for expected in ["syncline.db", "log"] {
        assert!(files.iter().any(|file| file == expected), "{expected} is not among {files:?}");
    }
}

/// What a forge says that repeats what it was sent.
const ECHO: &str = "you sent canary-4c1e-token-of-a-git-host";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_its_forge_repeats_is_seen_nowhere_all_the_same() {
    let git = GitHost::start().await;
    let forge = ForgeDouble::on(&git, "GitHubEnterpriseServer");
    let repository = git.repository("acme/infra").await;
    repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;
    repository.require_login("x-access-token", CANARY);
    forge.add_repository("acme/infra");
    forge.grant(CANARY, "deploy-bot");
    let serve = Serve::start_with(Aws::Simulated, |command| {
        command.args(["--public-url", "https://syncline.example"]);
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch_command_lines(&stop);
    let client = sdk(&serve.endpoint, KEY_ID, SECRET);
    let connection = connection_of(&client, "GitHubEnterpriseServer", &git.endpoint()).await;

    let authorize = ["connection", "authorize", &connection, "--token-stdin"];
    for (status, words) in [
        (401, "it refuses the token: 401 Unauthorized: you sent ***"),
        (403, "the token may not do this: 403 Forbidden: you sent ***"),
        (404, "it is not there, or the token may not see it: 404 Not Found: you sent ***"),
        (422, "422 Unprocessable Entity: you sent ***"),
        (429, "it wants fewer requests: 429 Too Many Requests: you sent ***"),
        (500, "try again: 500 Internal Server Error: you sent ***"),
    ] {
        forge.fail(forge::Fault::Status(status, &[], ECHO));
        let refused = run(&serve, &authorize, CANARY).await.failed();
        assert!(refused.contains(words) && refused.contains("nothing was stored"), "{refused}");
    }
    forge.fail(forge::Fault::Html);
    run(&serve, &authorize, CANARY).await.failed();
    let done = run(&serve, &authorize, CANARY).await.good();
    assert_eq!(done, format!("{connection} is AVAILABLE, as deploy-bot\n"));

    sync_of(&client, &connection, &repository, "web", ACCOUNT).await;
    run(&serve, &["sync", "watch", "web"], "").await.good();
    let links = client.list_repository_links().send().await.expect("links");
    let link = links.repository_links()[0].repository_link_id();
    for method in ["GET", "POST"] {
        forge.fail_at(method.parse().expect("a method"), forge::Fault::Status(403, &[], ECHO));
        let unregistered = run(&serve, &["link", "webhook", link, "--register"], "").await;
        assert_eq!(unregistered.code, Some(1), "{}", unregistered.stderr);
        for expected in ["The forge does not know of it:", "you sent ***", "admin:repo_hook", "Payload URL"] {
            assert!(unregistered.stderr.contains(expected), "{expected}: {}", unregistered.stderr);
        }
        assert!(unregistered.stdout.contains("Secret  "), "{}", unregistered.stdout);
    }
    let registered = run(&serve, &["link", "webhook", link, "--register"], "").await;
    assert!(registered.stderr.contains("Registered at GitHubEnterpriseServer for acme/infra, events: "));
    let hook = forge.hooks().remove(0);
    assert_eq!(registered.good(), format!("URL     {}\n", hook.url));

    stop.store(true, Ordering::Relaxed);
    watching.join().expect("the token is on no command line");
    let mut files = Vec::new();
    search(serve.folder(), &[hook.secret], &mut files);
    for expected in ["syncline.db", "log"] {
        assert!(files.iter().any(|file| file == expected), "{expected} is not among {files:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tokens_are_got_with_is_seen_nowhere_either() {
    let git = GitHost::start().await;
    let forge = ForgeDouble::on(&git, "GitHubEnterpriseServer");
    let issued = Issued::by(Arc::new(SystemClock));
    forge.issue(&issued);
    forge.add_app(7);
    forge.install(KnownInstallation::of(70, 7, "acme"));
    let repository = git.repository("acme/infra").await;
    repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;
    repository.require_issued("x-access-token", &issued);
    forge.add_repository("acme/infra");
    let serve = Serve::start_with(Aws::Simulated, |command| {
        command.args(["--public-url", "https://syncline.example"]);
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch_command_lines(&stop);
    let client = sdk(&serve.endpoint, KEY_ID, SECRET);
    let connection = connection_of(&client, "GitHubEnterpriseServer", &git.endpoint()).await;

    let app = |id: &'static str, owner: &'static str| {
        let with = ["--app-id", id, "--installation-id", "70", "--owner", owner];
        [&["connection", "github-app", &connection][..], &with].concat()
    };
    let by_stdin = [&app("7", "acme")[..], &["--private-key-stdin"]].concat();
    for (status, words) in [(401, "401"), (403, "403"), (404, "404"), (422, "422"), (500, "500")] {
        forge.fail(forge::Fault::Status(status, &[], "not now"));
        let refused = run(&serve, &by_stdin, APP_KEY).await;
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
        refused.failed();
    }
    run(&serve, &by_stdin, &APP_KEY.replace("RSA", "EC")).await.failed();
    run(&serve, &by_stdin, line_of_key()).await.failed();
    let of_another = [&app("7", "somebody")[..], &["--private-key-stdin"]].concat();
    assert!(run(&serve, &of_another, APP_KEY).await.failed().contains("not of the account somebody"));
    run(&serve, &app("7", "acme"), "").await.failed();
    let done = run(&serve, &by_stdin, APP_KEY).await.good();
    assert_eq!(done, format!("{connection} is AVAILABLE, as acme\n"));
    sync_of(&client, &connection, &repository, "web", ACCOUNT).await;
    run(&serve, &["sync", "watch", "web"], "").await.good();
    let begun = run(&serve, &["connection", "github-app", &connection, "--organization", "acme"], "").await;
    assert!(begun.stderr.contains("Open this in a browser"), "{}", begun.stderr);
    let ticket = begun.good();
    let prefix = "https://syncline.example/handshakes/";
    let mut secrets = vec![ticket.trim().strip_prefix(prefix).expect("a ticket").to_owned()];

    let lab = client.create_host().name("lab").provider_endpoint(git.endpoint());
    let lab = lab.provider_type("GitLabSelfManaged".into()).send().await.expect("a host");
    let lab = client.create_connection().connection_name("lab").host_arn(lab.host_arn().expect("an ARN"));
    let lab = lab.send().await.expect("a connection").connection_arn().to_owned();
    let oauth = ["connection", "oauth", &lab, "--client-id", "an-application", "--client-secret-stdin"];
    let begun = run(&serve, &oauth, CANARY).await;
    let words = "The application's redirect URI must be https://syncline.example/handshakes/oauth\n";
    assert!(begun.stderr.starts_with(words), "{}", begun.stderr);
    secrets.push(begun.good().trim().strip_prefix(prefix).expect("a ticket").to_owned());
    run(&serve, &oauth, &format!("{CANARY} {CANARY}")).await.failed();

    stop.store(true, Ordering::Relaxed);
    watching.join().expect("the key is on no command line");
    secrets.extend(issued.all());
    assert!(secrets.len() >= 3, "a token was issued");
    let mut files = Vec::new();
    search(serve.folder(), &secrets, &mut files);
    for expected in ["syncline.db", "log"] {
        assert!(files.iter().any(|file| file == expected), "{expected} is not among {files:?}");
    }
}
