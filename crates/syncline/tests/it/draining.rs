//! What a server that is asked to stop does with what it has begun.

#![expect(
    clippy::disallowed_methods,
    reason = "only the driver tells what is in the database of a server that ended"
)]

use rusqlite::Connection;
use syncline_testkit::git_host::{Fault, GitHost};

use crate::cli::{REGION, connection_to, ended, sdk, sync_of, syncline};
use crate::serving::{ACCOUNT, Aws, KEY_ID, SECRET, Serve};

/// Rows of work that somebody holds, and repositories that are to be asked.
fn held_and_due(serve: &Serve) -> (i64, i64) {
    let database = Connection::open(serve.folder().join("data/syncline.db")).expect("the database");
    let count = |sql: &str| database.query_row(sql, [], |row| row.get(0)).expect("a count");
    let held = count("SELECT count(*) FROM work WHERE lease_until_ms IS NOT NULL AND kind <> 'AUDIT'");
    // Whatever the time is: the poll interval is an hour.
    (
        held,
        count(
            "SELECT count(*) FROM work WHERE kind = 'LINK' AND due_at_ms <= (SELECT max(created_at_ms) + 60000 FROM sync_configuration)",
        ),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_hands_over_what_it_cannot_finish_and_ends_well() {
    let git = GitHost::start().await;
    let repository = git.repository("acme/infra").await;
    repository.fail(Fault::Hang);
    let arguments = ["--shutdown-grace", "200ms"];
    let mut serve = Serve::start_with(Aws::Simulated, |command| {
        command.args(arguments);
    })
    .await;
    let client = sdk(&serve.endpoint, KEY_ID, SECRET);
    let connection = connection_to(&client, &git.endpoint()).await;
    let mut authorize = syncline(&["connection", "authorize", &connection, "--no-token"]);
    authorize
        .env("SYNCLINE_ENDPOINT", &serve.endpoint)
        .env("SYNCLINE_ACCESS_KEY_ID", KEY_ID)
        .env("SYNCLINE_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_REGION", REGION);
    ended(authorize, b"").await.good();
    sync_of(&client, &connection, &repository, "web", ACCOUNT).await;
    while git.received() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(held_and_due(&serve).0, 1, "the repository is being asked");
    let status = serve.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", serve.log());
    assert_eq!(held_and_due(&serve), (0, 1), "nobody holds it, and it is to be done: {}", serve.log());
    assert!(serve.log().contains("handed over"), "{}", serve.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_nothing_to_finish_does_not_wait_out_its_grace() {
    let mut serve = Serve::start_with(Aws::Simulated, |command| {
        command.args(["--shutdown-grace", "24h"]);
    })
    .await;
    assert_eq!(serve.terminate().await.code(), Some(0), "{}", serve.log());
}
