//! Unmodified AWS clients walk from the first host to a synced stack, against every CloudFormation there is.
//!
//! Each client is used as its users use it, only with another endpoint; each walk goes through a `serve` of
//! its own process, a Git host over smart HTTP that demands a token, and a CloudFormation that is the
//! simulator, moto or LocalStack. What is not installed is skipped with a line that says so.

mod client;
#[path = "../../../../../clients/rust_walk.rs"]
mod rust_walk;
mod story;

use std::sync::Arc;

use syncline_testkit::peers::{Boto3, LocalStack, Moto};
use tokio::task::JoinSet;

use self::client::Client;
use self::story::{Story, walk};
use crate::serving::{Aws, Serve};

#[tokio::test]
async fn every_client_syncs_a_stack_on_the_simulator() {
    every_client(Aws::Simulated).await;
}

#[tokio::test]
async fn every_client_syncs_a_stack_on_moto() {
    let Some(moto) = Moto::start().await else { return };
    every_client(Aws::At(moto.endpoint())).await;
}

#[tokio::test]
async fn every_client_syncs_a_stack_on_localstack() {
    let Some(localstack) = LocalStack::start().await else { return };
    every_client(Aws::At(localstack.endpoint())).await;
}

/// All clients at once, each with a repository, a connection and a stack of its own.
async fn every_client(aws: Aws<'_>) {
    let serve = Arc::new(Serve::start(aws).await);
    let clients = [
        (Client::boto3(Boto3::V1_44), Story::Whole),
        (Client::boto3(Boto3::V1_43), Story::FirstPush),
        (Client::boto3_by_the_older_name(), Story::FirstPush),
        (Client::awscli(), Story::FirstPush),
        (Client::rust_json(), Story::FirstPush),
        (Some(Client::rust_cbor()), Story::Whole),
    ];
    let mut walks = JoinSet::new();
    for (client, story) in clients {
        let Some(client) = client else { continue };
        let serve = Arc::clone(&serve);
        walks.spawn(async move { walk(&serve, &client, story).await });
    }
    let mut failed = 0;
    while let Some(ended) = walks.join_next().await {
        // The panic has been printed with the client's name.
        failed += usize::from(ended.is_err());
    }
    assert_eq!(failed, 0, "clients could not walk the story to its end");
}
