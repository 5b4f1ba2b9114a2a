//! Replicas are replaced one after the other while they work.

use syncline_cloudformation_sim::{CallFault, Times};
use syncline_peers::postgres::Database;
use syncline_soak::fleet::{Fleet, Plan};
use syncline_soak::storm::storm;
use syncline_soak::until;

use crate::{all_is_well, inhabited, program, pushes};

/// How many replicas hold a piece of work.
fn holders(fleet: &Fleet) -> String {
    let server = fleet.postgres.as_ref().expect("it is on PostgreSQL").lock().expect("nobody panicked");
    let holders = "SELECT count(DISTINCT lease_owner) FROM work WHERE lease_until_ms IS NOT NULL";
    Database::ask_at(&server.url, holders)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_replaced_one_by_one_hand_their_work_over() {
    let plan = Plan { in_reserve: 2, ..Plan::of(program(), 1) };
    let Some((fleet, mut estate)) = inhabited(&plan, 24).await else { return };
    let replacing = async {
        let mut executed = 0;
        for pair in fleet.replicas.windows(2) {
            let [old, new] = pair else { panic!("two of them") };
            let more = async || fleet.simulator.executions().len() > executed;
            until("an execution", || fleet.logs(), more).await;
            executed = fleet.simulator.executions().len();
            // Something that does not end within the grace period, so that there is something to hand over.
            let before = fleet.simulator.calls().len();
            fleet.simulator.faults().on_call("DescribeStacks", CallFault::HangBefore, Times::Next(2));
            let hangs = async || {
                fleet.simulator.calls()[before..].iter().any(|call| call.error.as_deref() == Some("-"))
            };
            until("a call without an answer", || fleet.logs(), hangs).await;
            fleet.simulator.faults().clear();
            new.begin();
            new.ready().await;
            let status = old.terminate().await;
            assert!(status.success() && old.log().contains("handed over"), "{status}: {}", old.log());
            let holders = holders(&fleet);
            assert!(["0", "1"].contains(&&*holders), "{holders} hold work, and one replica is left");
        }
    };
    let weather = pushes(8);
    let (happened, ()) = tokio::join!(storm(&fleet, &mut estate, Vec::new(), &weather), replacing);
    assert_eq!(fleet.running().count(), 1);
    all_is_well(&fleet, &estate, &happened).await;
}
