//! The simulated CloudFormation as a process of its own, which also tells what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::routing::get;
use clap::Args;
use serde::{Deserialize, Serialize};
use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_seams::SystemClock;
use tokio::net::TcpListener;

use crate::client;
use crate::process::Server;

/// The arguments of `simulator`.
#[derive(Debug, Args)]
pub(crate) struct SimulatorArgs {
    /// How long everything takes that CloudFormation does by itself, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

/// A call as the simulator remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Called {
    /// The action.
    pub(crate) action: String,
    /// The `StackName` it gave: a name or an id.
    pub(crate) stack: Option<String>,
}

/// What the simulator was asked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Calls by action.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The newest calls, oldest first.
    pub(crate) newest: Vec<Called>,
}

/// Serves the simulator until this process is ended.
pub(crate) fn run(args: &SimulatorArgs) -> anyhow::Result<()> {
    let latency = Duration::from_millis(args.latency_ms);
    let settings = Settings {
        change_set_latency: latency,
        create_latency: latency,
        update_latency: latency,
        delete_latency: latency,
        ..Settings::default()
    };
    let simulator = Simulator::new(Arc::new(SystemClock), settings);
    let router =
        simulator.router().merge(Router::new().route("/told/{newest}", get(tell)).with_state(simulator));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("ready http://{}", listener.local_addr()?);
        axum::serve(listener, router).await.context("the listener")
    })
}

/// A JSON document of the counts and the newest calls.
async fn tell(
    State(simulator): State<Simulator>,
    Segment(newest): Segment<usize>,
) -> Result<String, StatusCode> {
    let calls = if newest > 0 { simulator.calls() } else { Vec::new() };
    let newest = calls.into_iter().rev().take(newest);
    let mut newest: Vec<_> =
        newest.map(|call| Called { action: call.action, stack: call.stack_name }).collect();
    newest.reverse();
    let told = Told { counts: simulator.counts(), newest };
    serde_json::to_string(&told).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// The simulator of a run; it ends with this value.
#[derive(Debug)]
pub(crate) struct Simulated {
    server: Server,
}

impl Simulated {
    /// Starts it.
    pub(crate) fn start(bench: &Path, folder: &Path) -> anyhow::Result<Self> {
        let server = Server::start(bench, ["simulator"], &[], &folder.join("simulator.log"))?;
        Ok(Self { server })
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// What it was asked, with so many of the newest calls (it remembers 10,000).
    pub(crate) fn told(&self, newest: u64) -> anyhow::Result<Told> {
        client::get(self.server.address, &format!("/told/{newest}"))
    }

    /// How many calls of an action there have been.
    pub(crate) fn count(&self, action: &str) -> anyhow::Result<u64> {
        Ok(self.told(0)?.counts.get(action).copied().unwrap_or_default())
    }

    /// How many calls there have been.
    pub(crate) fn calls(&self) -> anyhow::Result<u64> {
        Ok(self.told(0)?.counts.values().sum())
    }
}
