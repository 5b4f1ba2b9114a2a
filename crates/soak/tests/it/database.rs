//! PostgreSQL dies while everybody uses it.

use std::sync::PoisonError;

use aws_sdk_codeconnections::types::SyncConfigurationType;
use aws_smithy_types::error::display::DisplayErrorContext;
use syncline_soak::fleet::{Fleet, Plan};
use syncline_soak::storm::storm;
use syncline_soak::until;

use crate::{all_is_well, inhabited, program, pushes};

/// How often it dies.
const DEATHS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_killed_under_load_is_no_loss_and_its_servers_go_on_by_themselves() {
    let Some((fleet, mut estate)) = inhabited(&Plan::of(program(), 2), 24).await else { return };
    let weather = pushes(8);
    let trouble = async {
        let mut executed = 0;
        for _ in 0..DEATHS {
            // Something is going on.
            let more = async || fleet.simulator.executions().len() > executed;
            until("an execution", || fleet.logs(), more).await;
            executed = fleet.simulator.executions().len();
            die_and_live(&fleet).await;
        }
    };
    let (happened, ()) = tokio::join!(storm(&fleet, &mut estate, Vec::new(), &weather), trouble);
    all_is_well(&fleet, &estate, &happened).await;
    let starts: Vec<_> = fleet.replicas.iter().map(|replica| replica.starts()).collect();
    assert_eq!(starts, [1, 1], "no server ended with the database");
}

async fn die_and_live(fleet: &Fleet) {
    let postgres = fleet.postgres.as_ref().expect("it is on PostgreSQL");
    let postgres = || postgres.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::task::block_in_place(|| postgres().kill());
    for replica in &fleet.replicas {
        let is_unready = async || replica.admin("/readyz").await.is_some_and(|(status, _)| status == 503);
        until("not ready without the database", || fleet.logs(), is_unready).await;
        let is_alive = replica.admin("/livez").await.is_some_and(|(status, _)| status == 200);
        assert!(is_alive, "it lives without the database: {}", replica.log());
        let client = fleet.client_of(&replica.ready().await);
        let refused = client
            .get_resource_sync_status()
            .sync_type(SyncConfigurationType::CfnStackSync)
            .resource_name("stack-0000")
            .send()
            .await
            .expect_err("there is no database to read");
        let status = refused.raw_response().map(|answer| answer.status().as_u16());
        let told = format!("{}", DisplayErrorContext(&refused));
        assert!(matches!(status, Some(500 | 503)) && told.contains("safe to try again"), "{status:?} {told}");
    }
    tokio::task::block_in_place(|| postgres().start_again());
    for replica in &fleet.replicas {
        let is_ready = async || replica.admin("/readyz").await.is_some_and(|(status, _)| status == 200);
        until("ready with the database", || fleet.logs(), is_ready).await;
    }
}
