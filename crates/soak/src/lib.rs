//! Whole fleets of Syncline as real processes: replicas that are killed, stopped and started again, on a real PostgreSQL
//! that is killed too, among a real Git host and a simulated CloudFormation that outlive them all.
//!
//! [`soak`] is the long run of `cargo xtask soak`; the tests of this crate use the same parts one fault at a time. Whatever
//! happened, [`verdict`] says at the end what was lost or done twice.
//!
//! Everything here runs on real time, because it is about real processes: it waits for conditions, with a bound, and
//! asserts nothing about how long something took.

pub mod estate;
pub mod fleet;
pub mod replica;
pub mod soak;
pub mod storm;
pub mod verdict;

use std::time::Duration;

use syncline_seams::{Clock as _, SystemClock};

/// How long anything may take on a busy machine before it counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The future's answer; `None` if it takes longer than `limit`.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        answer = future => Some(answer),
        () = SystemClock.sleep(limit) => None,
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within [`PATIENCE`], with what `told` says.
pub async fn until(what: &str, told: impl Fn() -> String, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
    };
    if within(PATIENCE, waiting).await.is_none() {
        panic!("{what}: not within {} s\n{}", PATIENCE.as_secs(), told());
    }
}
