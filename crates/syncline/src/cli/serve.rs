//! `syncline serve`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use syncline_seams::{Outside, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, ServeArgs};
use crate::running::{self, Seams};

/// The seams of production: the machine's clock, and nothing that goes wrong by itself.
pub(super) fn seams() -> Seams {
    Seams { clock: Arc::new(SystemClock), outside: Outside::default() }
}

/// Logs to stderr. The AWS SDK's TRACE lines print signed requests, session tokens included: never more
/// than its warnings are shown.
pub(super) fn log(format: LogFormat, level: LevelFilter) {
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("syncline", level)
        .with_target("syncline_store", level)
        .with_target("syncline_git", level)
        .with_target("syncline_targets", level);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => {
            let text = tracing_subscriber::fmt::layer()
                .with_ansi(std::io::stderr().is_terminal())
                .with_writer(std::io::stderr);
            registry.with(text).init();
        }
        LogFormat::Json => {
            registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).init();
        }
    }
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.settle()?;
    log(config.log_format, LevelFilter::INFO);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anybody can know that there is somebody to stop.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let running = running::start(&config, &seams()).await?;
        info!(api = %running.address, admin = %running.admin_address, data_dir = %config.data_dir.display(), "serving");
        println!("ready {}://{}", running.scheme, running.address);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        running.stop().await;
        Ok(())
    })
}
