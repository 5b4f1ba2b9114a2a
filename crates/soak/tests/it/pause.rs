//! A replica is stopped for longer than its leases last, and goes on as if nothing had been.

use std::time::Duration;

use syncline_peers::postgres::Database;
use syncline_seams::{Clock as _, SystemClock};
use syncline_soak::fleet::{Fleet, Plan};
use syncline_soak::storm::{settle_seen_by, storm};
use syncline_soak::until;

use crate::{SETTLE_LIMIT, all_is_well, inhabited, program, pushes};

/// Syncs that somebody works on.
fn held(fleet: &Fleet) -> i64 {
    let server = fleet.postgres.as_ref().expect("it is on PostgreSQL").lock().expect("nobody panicked");
    let held = "SELECT count(*) FROM work WHERE kind = 'SYNC' AND lease_owner IS NOT NULL
                  AND lease_until_ms > extract(epoch FROM clock_timestamp()) * 1000";
    Database::ask_at(&server.url, held).parse().expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stopped_past_its_leases_writes_nothing_stale_and_executes_nothing_twice() {
    let plan = Plan { in_reserve: 1, ..Plan::of(program(), 1) };
    let Some((fleet, mut estate)) = inhabited(&plan, 24).await else { return };
    let [stopped, other] = &fleet.replicas[..] else { panic!("two replicas") };
    // Alone, it has everything that anybody has.
    let has_work = async || {
        let is_stopped = stopped.pause();
        if is_stopped && held(&fleet) > 0 {
            return true;
        }
        stopped.go_on();
        SystemClock.sleep(Duration::from_millis(7)).await;
        false
    };
    until("stopped in the middle of some sync", || fleet.logs(), has_work).await;
    other.begin();
    other.ready().await;
    let happened = storm(&fleet, &mut estate, Vec::new(), &pushes(3)).await;
    // The other one has to wait for the leases of the stopped one, and takes all of its work over.
    let at_rest = settle_seen_by(other, &fleet, &estate, SETTLE_LIMIT).await;
    assert_eq!(at_rest, Ok(()), "{}", fleet.logs());
    let executed = fleet.simulator.executions().len();
    stopped.go_on();
    let answers = async || stopped.admin("/readyz").await.is_some_and(|(status, _)| status == 200);
    until("it goes on", || fleet.logs(), answers).await;
    // At its end it has finished, or given up, whatever it had in its hands when it was stopped.
    let status = stopped.terminate().await;
    assert!(status.success(), "{status}: {}", stopped.log());
    assert_eq!(fleet.simulator.executions().len(), executed, "everything had been executed already");
    all_is_well(&fleet, &estate, &happened).await;
}
