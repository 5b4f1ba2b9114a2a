//! A replica is stopped for longer than its leases last, and goes on as if nothing had been.

use std::time::Duration;

use syncline_peers::postgres::Database;
use syncline_seams::{Clock as _, SystemClock};
use syncline_soak::fleet::{Fleet, Plan};
use syncline_soak::storm::{settle_seen_by, storm};
use syncline_soak::until;

use crate::{SETTLE_LIMIT, all_is_well, inhabited, program, pushes};

/// Syncs in the middle of which it is stopped, at the least.
const AT_ONCE: usize = 4;
/// How long a stack takes that the other one has taken over.
const SLOWLY: Duration = Duration::from_secs(3);

fn ask(fleet: &Fleet, sql: &str) -> String {
    let server = fleet.postgres.as_ref().expect("it is on PostgreSQL").lock().expect("nobody panicked");
    Database::ask_at(&server.url, sql)
}

/// The ids of the syncs that somebody works on, each in quotes.
fn held(fleet: &Fleet) -> Vec<String> {
    let held = "SELECT coalesce(string_agg('''' || id || '''', ','), '') FROM work
                 WHERE kind = 'SYNC' AND lease_until_ms > extract(epoch FROM clock_timestamp()) * 1000";
    ask(fleet, held).split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stopped_past_its_leases_writes_nothing_stale_and_executes_nothing_twice() {
    let plan = Plan { in_reserve: 1, ..Plan::of(program(), 1) };
    let Some((fleet, mut estate)) = inhabited(&plan, 24).await else { return };
    let [stopped, other] = &fleet.replicas[..] else { panic!("two replicas") };
    // Alone, it has everything that anybody has.
    let has_work = async || {
        let is_stopped = stopped.pause();
        if is_stopped && held(&fleet).len() >= AT_ONCE {
            return true;
        }
        stopped.go_on();
        SystemClock.sleep(Duration::from_millis(7)).await;
        false
    };
    until("stopped in the middle of some syncs", || fleet.logs(), has_work).await;
    let left = held(&fleet);
    let claims = || {
        let claims = format!("SELECT sum(epoch) FROM work WHERE id IN ({})", left.join(","));
        ask(&fleet, &claims).parse::<usize>().expect("a sum")
    };
    let claimed = claims();
    fleet.simulator.faults().slow_resource("Topic", SLOWLY);
    other.begin();
    other.ready().await;
    let taken_over = async || claims() >= claimed + left.len();
    until("all of it is taken over", || fleet.logs(), taken_over).await;
    // While the other one is in the middle of the same attempts.
    stopped.go_on();
    fleet.simulator.faults().heal_resource("Topic");
    let happened = storm(&fleet, &mut estate, Vec::new(), &pushes(2)).await;
    let at_rest = settle_seen_by(other, &fleet, &estate, SETTLE_LIMIT).await;
    assert_eq!(at_rest, Ok(()), "{}", fleet.logs());
    // At its end it has finished, or given up, whatever it had in its hands when it was stopped.
    let status = stopped.terminate().await;
    assert!(status.success(), "{status}: {}", stopped.log());
    all_is_well(&fleet, &estate, &happened).await;
}
