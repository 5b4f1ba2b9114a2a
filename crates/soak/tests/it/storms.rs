//! Short storms of what `cargo xtask soak` does for minutes.

use syncline_soak::fleet::Kept;
use syncline_soak::soak::{SoakArgs, report};

use crate::program;

/// Well within what the test runner lets a test take, so that what is not at rest is told.
const SETTLE_SECONDS: u64 = 240;

async fn short(database: Kept, replicas: u64, stacks: u64, seconds: u64) {
    let args = SoakArgs {
        seconds,
        settle_seconds: SETTLE_SECONDS,
        replicas: Some(replicas),
        stacks,
        database,
        seed: None,
        push_every_ms: 400,
        program: Some(program().to_owned()),
    };
    let Some(report) = report(&args).await.expect("a fleet") else { return };
    println!("{}", report.text);
    assert!(report.found.is_empty(), "{}", report.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_killed_at_random_lose_nothing_and_do_nothing_twice() {
    short(Kept::Postgres, 2, 40, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_sqlite_that_is_killed_at_random_loses_nothing() {
    short(Kept::Sqlite, 1, 12, 6).await;
}
