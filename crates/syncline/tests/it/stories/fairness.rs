//! Whoever makes much work, hangs or is throttled keeps nobody else waiting.

use std::sync::Arc;

use aws_sdk_codeconnections::types::SyncConfigurationType;
use syncline_model::sync::AttemptStatus;
use syncline_store::Scope;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::{ACCOUNT, ANOTHER_ACCOUNT, REGION, World};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, yield_now};

use super::{deployment, template};

/// An account with nothing but one sync.
const HEALTHY: &str = "222222222222";
/// How long a turn takes in these stories, in milliseconds.
const TURN_MS: i64 = 50;

async fn repository(world: &World, name: &str) -> Repository {
    let repository = world.repository(name).await;
    repository.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template(""))]).await;
    repository
}

/// Whether the newest attempt of a sync has succeeded.
async fn is_synced(world: &World, account: &str, stack: &str) -> bool {
    let scope =
        Scope { account: account.parse().expect("an account"), region: REGION.parse().expect("a region") };
    let attempts = world.parts().store.attempts(&scope, "CFN_STACK_SYNC", stack).await.expect("a read");
    let newest = attempts.expect("a sync").pop();
    newest.is_some_and(|attempt| attempt.status == AttemptStatus::Succeeded)
}

/// Gives a turn to each kind of work, which takes its time.
async fn turn(world: &World) {
    world.tick().await;
    world.clock.advance_ms(TURN_MS);
}

#[tokio::test]
async fn one_sync_of_a_quiet_account_or_repository_does_not_wait_for_hundreds_of_others() {
    const NOISE: usize = 200;
    let world = World::start().await;
    let (noisy, quiet) = (repository(&world, "noisy/infra").await, repository(&world, "quiet/infra").await);
    let connection = world.connect("noisy", None).await;
    let link = world.link(&connection, &noisy).await;
    for number in 0..NOISE {
        world.sync(&link, &format!("noise-{number}"), "main", "prod.yaml").await;
    }
    // Everybody is due before the quiet ones come.
    turn(&world).await;
    world.create_sync_of(HEALTHY, "web", &world.git.endpoint(), ("quiet", "infra")).await;
    let link = world.link(&connection, &quiet).await;
    world.sync(&link, "quiet", "main", "prod.yaml").await;
    let mut turns = 0;
    while !(is_synced(&world, HEALTHY, "web").await && is_synced(&world, ACCOUNT, "quiet").await) {
        turns += 1;
        assert!(turns < 100, "the quiet ones are not synced after {turns} turns");
        turn(&world).await;
    }
    // What the noise got meanwhile is its share and no more.
    let noise = world.simulator.executions().len() - 2;
    assert!(noise < 50, "{noise} of the others came first");
    world.work().await;
    assert_eq!(world.simulator.executions().len(), NOISE + 2, "and nobody is forgotten");
}

/// A Git host that takes connections and says nothing, and a count of them.
async fn silent_host() -> (String, tokio::sync::mpsc::UnboundedReceiver<tokio::net::TcpStream>, JoinHandle<()>)
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("the bound address"));
    let (taken, connections) = tokio::sync::mpsc::unbounded_channel();
    let accepting = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            if taken.send(connection).is_err() {
                return;
            }
        }
    });
    (endpoint, connections, accepting)
}

#[tokio::test]
async fn a_git_host_that_hangs_keeps_nobody_from_the_others() {
    let world = Arc::new(World::start().await);
    let (endpoint, mut connections, accepting) = silent_host().await;
    let mut held = Vec::new();
    // Of several accounts, so that no bound but the host's keeps them in check.
    for number in 0..40 {
        let account = format!("3333333333{:02}", number % 4);
        let repository = format!("infra-{number}");
        world.create_sync_of(&account, &format!("stuck-{number}"), &endpoint, ("acme", &repository)).await;
    }
    world.clock.advance_ms(1);
    repository(&world, "quiet/infra").await;
    world.create_sync_of(HEALTHY, "web", &world.git.endpoint(), ("quiet", "infra")).await;
    let mut hanging = Vec::new();
    // As many workers' turns at once as there are places for repositories.
    while !is_synced(&world, HEALTHY, "web").await {
        assert!(hanging.len() < 32, "every place waits for the host that hangs");
        let ticking = Arc::clone(&world);
        let tick = tokio::spawn(async move { ticking.tick().await });
        loop {
            if let Ok(connection) = connections.try_recv() {
                held.push(connection);
                hanging.push(tick);
                break;
            }
            if tick.is_finished() {
                tick.await.expect("the turn ended");
                world.clock.advance_ms(TURN_MS);
                break;
            }
            yield_now().await;
        }
    }
    assert_eq!(hanging.len(), 8, "the places that one host may have");
    assert!(hanging.iter().all(|tick| !tick.is_finished()), "nobody's patience has ended");
    accepting.abort();
    for tick in hanging {
        tick.abort();
    }
}

#[tokio::test]
async fn an_aws_account_that_throttles_is_asked_more_slowly_and_delays_no_other() {
    const THROTTLED: usize = 30;
    let world = World::start().await;
    let repo = repository(&world, "acme/infra").await;
    let connection = world.connect("acme", None).await;
    let link = world.link(&connection, &repo).await;
    let faults = world.simulator.faults();
    faults.limit_rate(ANOTHER_ACCOUNT, 4);
    for number in 0..THROTTLED {
        let sync = world.client.create_sync_configuration().sync_type(SyncConfigurationType::CfnStackSync);
        sync.resource_name(format!("slow-{number}"))
            .repository_link_id(&link)
            .branch("main")
            .config_file("prod.yaml")
            .role_arn(format!("arn:aws:iam::{ANOTHER_ACCOUNT}:role/sync"))
            .send()
            .await
            .expect("a sync");
    }
    turn(&world).await;
    let link = world.link(&connection, &repository(&world, "quiet/infra").await).await;
    world.sync(&link, "web", "main", "prod.yaml").await;
    let throttled = || {
        let calls = world.simulator.calls();
        calls.iter().filter(|call| call.error.as_deref() == Some("Throttling")).count()
    };
    let mut turns = 0;
    while !is_synced(&world, ACCOUNT, "web").await {
        turns += 1;
        assert!(turns < 60, "the account beside it is not synced after {turns} turns");
        turn(&world).await;
    }
    assert!((1..=6).contains(&throttled()), "{} calls were throttled meanwhile", throttled());
    let gauges = world.parts().store.work_gauges().await.expect("read");
    let gauge = |name: &str| gauges.iter().find(|(known, ..)| *known == name).expect("a gauge").2;
    assert_eq!(gauge("syncline_endpoints_throttled"), 1);
    assert!(gauge("syncline_work_oldest_due_milliseconds") > 0, "what waits for the pause is due");
    // One turn makes nearly as many calls as are let through in a second; still, everybody comes to an end.
    for _ in 0..40 {
        world.settle().await;
    }
    for number in 0..THROTTLED {
        let stack = format!("slow-{number}");
        assert!(is_synced(&world, ACCOUNT, &stack).await, "{stack}; {} calls were throttled", throttled());
    }
}
