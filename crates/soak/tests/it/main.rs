//! Real processes, one fault at a time, and a short storm of all that a long one has.

mod database;
mod disk;
mod pause;
mod rolling;
mod storms;

use std::path::Path;
use std::time::Duration;

use syncline_soak::estate::Estate;
use syncline_soak::fleet::{Fleet, Plan};
use syncline_soak::soak::end;
use syncline_soak::storm::{Happened, Weather, configure_all, settle};

/// How long a fleet may take to come to rest: leases of what died last 15 s.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// The program whose `serve` the replicas are.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_syncline-soak"))
}

/// A fleet with so many stacks, all of them configured; `None` when no PostgreSQL is installed.
async fn inhabited(plan: &Plan, stacks: usize) -> Option<(Fleet, Estate)> {
    let fleet = Fleet::start(plan).await.expect("a fleet")?;
    let estate = Estate::link(&fleet, plan, stacks).await.expect("linked repositories");
    let all: Vec<_> = (0..stacks).collect();
    configure_all(&fleet, &estate, &all).await.expect("sync configurations");
    Some((fleet, estate))
}

/// Pushes for so long, and nothing else.
fn pushes(seconds: u64) -> Weather {
    Weather {
        lasts: Duration::from_secs(seconds),
        push_every: Duration::from_millis(300),
        kill_every: None,
        pause: None,
        seed: 1,
    }
}

/// Waits until the fleet has come to rest, ends it, and fails if anything was lost or done twice.
async fn all_is_well(fleet: &Fleet, estate: &Estate, happened: &Happened) {
    let settled = settle(fleet, estate, SETTLE_LIMIT).await;
    assert_eq!(settled, Ok(()), "{}", fleet.logs());
    let found = end(fleet, estate, happened).await.expect("a readable database");
    assert!(found.is_empty(), "{}\n{}", found.join("\n"), fleet.logs());
}
