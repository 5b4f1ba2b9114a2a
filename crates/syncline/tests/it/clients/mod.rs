//! Unmodified AWS clients walk from the first host to a synced stack, against every CloudFormation there is.
//!
//! Each client is used as its users use it, only with another endpoint; each walk goes through a `serve` of
//! its own process, a Git host over smart HTTP that demands a token, and a CloudFormation that is the
//! simulator, moto or LocalStack. What is not installed is skipped with a line that says so.

mod client;
mod story;

use client::Client;
use serving::{Aws, Serve};
use story::{Story, walk};
use syncline_testkit::peers::Boto3;

use crate::serving;

#[tokio::test]
async fn every_client_syncs_a_stack_on_the_simulator() {
    let serve = Serve::start(Aws::Simulated).await;
    let Some(boto3) = Client::boto3(Boto3::V1_44, "codeconnections") else { return };
    walk(&serve, &boto3, Story::Whole).await;
}
