//! Unmodified AWS clients walk from the first host to a synced stack, against every CloudFormation there is.
//!
//! Each client is used as its users use it, only with another endpoint; each walk goes through a `serve` of
//! its own process, a Git host over smart HTTP that demands a token, and a CloudFormation that is the
//! simulator, moto or LocalStack. What is not installed is skipped with a line that says so.
//!
//! Beside that, every client there is calls every operation ([`api`]).

mod api;
mod client;
#[path = "../../../../../clients/rust_api_walk.rs"]
mod rust_api_walk;
#[path = "../../../../../clients/rust_walk.rs"]
mod rust_walk;
mod story;
mod throttled;

use std::sync::Arc;

use aws_sdk_codeconnections as sdk;
use syncline_testkit::peers::{Boto3, LocalStack, Moto};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::client::Client;
use self::story::{Story, walk};
use crate::serving::{Aws, Serve};

/// The name that the SDK of the walks above calls the service by.
const SERVICE: &str = "codeconnections";

#[tokio::test]
async fn every_client_syncs_a_stack_on_the_simulator() {
    every_client(Aws::Simulated, Story::Refused).await;
}

#[tokio::test]
async fn every_client_syncs_a_stack_on_moto() {
    let Some(moto) = Moto::start().await else { return };
    // moto refuses a template only while it executes it, and the stack is of no use from then on.
    every_client(Aws::At(moto.endpoint()), Story::Mended).await;
}

#[tokio::test]
async fn every_client_syncs_a_stack_on_localstack() {
    let Some(localstack) = LocalStack::start().await else { return };
    every_client(Aws::At(localstack.endpoint()), Story::RolledBack).await;
}

/// All clients, two at a time, each with a repository, a connection and a stack of its own. All tell of four
/// pushes; one client of each protocol tells `longest`.
async fn every_client(aws: Aws<'_>, longest: Story) {
    let serve = Arc::new(Serve::start(aws).await);
    let clients = [
        (Client::boto3(Boto3::V1_44), longest),
        (Client::boto3(Boto3::V1_43), Story::Mended),
        (Client::boto3_by_the_older_name(), Story::Mended),
        (Client::awscli(), Story::Mended),
        (Client::rust_json(), Story::Mended),
        (Some(Client::rust_cbor()), longest),
    ];
    let turns = Arc::new(Semaphore::new(2));
    let mut walks = JoinSet::new();
    for (client, story) in clients {
        // What is not installed has been told.
        let Some(client) = client else { continue };
        let (serve, turns) = (Arc::clone(&serve), Arc::clone(&turns));
        walks.spawn(async move {
            let _turn = turns.acquire().await.expect("never closed");
            walk(&serve, &client, story).await;
        });
    }
    let mut failed = 0;
    while let Some(ended) = walks.join_next().await {
        // The panic has been printed with the client's name.
        failed += usize::from(ended.is_err());
    }
    assert_eq!(failed, 0, "clients could not walk the story to its end");
}
