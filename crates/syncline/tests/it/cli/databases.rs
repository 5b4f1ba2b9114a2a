//! Databases on the command line: shared by servers, saved, restored, and moved from one kind to the other.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use syncline_peers::postgres::Database;
use syncline_testkit::git_host::GitHost;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{DEPLOYMENT, REGION, TEMPLATE, assert_says, connection_to, ended, sdk, sync_of, syncline};

const KEY_ID: &str = "AKIAAAAAAAAAAAAAAAAA";
const SECRET: &str = "a secret of the first key";
const ACCOUNT: &str = "000000000000";

/// What every server and command here has in its environment.
fn with_settings(arguments: &[&str], database_url: &str) -> Command {
    let mut command = syncline(arguments);
    command
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("SYNCLINE_DATABASE_URL", database_url)
        .env("SYNCLINE_KEYRING", "env:SYNCLINE_TEST_KEYS")
        .env("SYNCLINE_TEST_KEYS", "ab".repeat(32))
        .env("SYNCLINE_ROOT_ACCESS_KEY_ID", KEY_ID)
        .env("SYNCLINE_ROOT_SECRET_ACCESS_KEY", SECRET)
        .env("SYNCLINE_ROOT_ACCOUNT_ID", ACCOUNT)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// A server of its own data directory that is ready, and where.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    async fn start(role: &str, database_url: &str, data_dir: &Path, remotes: &Path) -> Self {
        let mut command = with_settings(
            &["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--simulate-cloudformation"],
            database_url,
        );
        command.arg("--role").arg(role).arg("--data-dir").arg(data_dir);
        command.arg("--allow-file-remotes").arg(remotes).args(["--poll-interval", "1h"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
        let ready = lines.next_line().await.expect("read").expect("it is ready");
        let url = ready.strip_prefix("ready ").expect("ready").to_owned();
        Self { child, url }
    }

    async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), Signal::TERM).expect("told to stop");
        assert!(self.child.wait().await.expect("it ends").success());
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let mut command = with_settings(arguments, "");
        command.env_remove("SYNCLINE_DATABASE_URL");
        command.env("SYNCLINE_ENDPOINT", &self.url);
        command.env("SYNCLINE_ACCESS_KEY_ID", KEY_ID).env("SYNCLINE_SECRET_ACCESS_KEY", SECRET);
        ended(command, b"").await.good()
    }
}

#[tokio::test]
async fn an_api_and_a_worker_of_two_processes_share_a_database_that_then_moves_to_sqlite() {
    let Some(database) = Database::new() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    let git = GitHost::start().await;
    let remotes = git.directory();
    let repository = git.repository("acme/shop").await;
    let first = repository.commit_files(&[("deployment.yaml", DEPLOYMENT), ("queue.yaml", TEMPLATE)]).await;

    let run = async |arguments: &[&str], url: &str| ended(with_settings(arguments, url), b"").await;
    let made = run(&["migrate"], &database.url).await.good();
    assert_says(&made, &["made the database postgres://", "with schema version"]);
    let again = run(&["migrate"], &database.url).await.good();
    assert_says(&again, &["has schema version", "already"]);

    let folders = [at("api"), at("worker")];
    let (api, worker) = tokio::join!(
        Server::start("api", &database.url, &folders[0], &remotes),
        Server::start("worker", &database.url, &folders[1], &remotes),
    );
    let client = sdk(&api.url, KEY_ID, SECRET);
    let connection = connection_to(&client, &format!("file://{}", remotes.display())).await;
    api.run(&["connection", "authorize", &connection, "--no-token"]).await;
    sync_of(&client, &connection, &repository, "queues", ACCOUNT).await;
    let watched = api.run(&["sync", "watch", "queues"]).await;
    assert_says(&watched, &[&format!("✔ queues is at commit {first}\n")]);

    let saved = run(&["backup", &text("saved")], &database.url).await.good();
    assert_says(
        &saved,
        &["rows of", "the keyring, without which its secrets cannot be opened, is not in it"],
    );
    let refused = run(&["backup", &text("saved")], &database.url).await.failed();
    assert_says(&refused, &["cannot make", "exists"]);

    let new = format!("sqlite:{}", text("moved/syncline.db"));
    std::fs::create_dir(at("moved")).expect("a folder");
    let copy = ["store", "copy", "--from", &database.url, "--to", &new];
    let refused = run(&copy, "").await.failed();
    assert_says(&refused, &["syncline servers use it: stop them first"]);
    tokio::join!(api.stop(), worker.stop());
    let copied = run(&copy, "").await.good();
    assert_says(&copied, &["copied", "the new database needs the same keyring"]);

    let restored = format!("sqlite:{}", text("restored/syncline.db"));
    run(&["restore", &text("saved")], &restored).await.good();
    let refused = run(&["restore", &text("saved")], &restored).await.failed();
    assert_says(&refused, &["it exists already"]);
    for (url, folder) in [(&new, "moved"), (&restored, "restored")] {
        let server = Server::start("all", url, &at(folder), &remotes).await;
        let status = server.run(&["sync", "status", "queues"]).await;
        assert_says(&status, &[&format!("Last successful SUCCEEDED {first}")]);
        server.stop().await;
    }
}
