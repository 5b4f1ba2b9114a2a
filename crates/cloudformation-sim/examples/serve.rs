//! Serves a simulated CloudFormation on 127.0.0.1 until it is killed: `cargo run -p syncline-cloudformation-sim
//! --example serve -- [port]`. Prints its address.

use std::sync::Arc;

use syncline_cloudformation_sim::{Settings, Simulator};
use syncline_seams::SystemClock;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    Simulator::new(Arc::new(SystemClock), Settings::default()).serve(listener).await
}
