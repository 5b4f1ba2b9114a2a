//! What it costs to watch many stacks, and that nothing else is made of what was seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use syncline_cloudformation_sim::{CallFault, ResourceVerb, Times};
use syncline_model::sync::AttemptStatus;
use syncline_seams::{Clock, Faults, Moment};
use syncline_store::{Change, ConfigurationQuotas, CreateConfiguration, NewConfiguration};
use syncline_testkit::world::{ROLE, World};

use super::{deployment, template};

const PLENTY: ConfigurationQuotas =
    ConfigurationQuotas { per_account: 10_000, per_link: 10_000, per_branch: 10_000 };

fn stack(number: usize) -> String {
    format!("stack-{number:03}")
}

/// So many stacks that are all created from one commit, each with a resource that takes `slow`, up to where each has
/// been seen to be in progress.
async fn in_flight(count: usize, slow: Duration) -> (World, Arc<Faults>) {
    let faults = Faults::none();
    let world = World::with_faults(Arc::clone(&faults) as _).await;
    world.simulator.faults().slow_resource("Slow", slow);
    let repo = world.repository("acme/infra").await;
    let template = template("  Slow:\n    Type: AWS::SQS::Queue\n");
    repo.commit_files(&[("prod.yaml", &deployment("one")), ("template.yaml", &template)]).await;
    let connection = world.connect("forge", None).await;
    let link = world.link(&connection, &repo).await;
    for number in 0..count {
        let new = NewConfiguration {
            sync_type: "CFN_STACK_SYNC".to_owned(),
            resource_name: stack(number),
            link_id: link.clone(),
            branch: "main".to_owned(),
            config_file: "prod.yaml".to_owned(),
            role_arn: ROLE.parse().expect("a role"),
            publish_deployment_status: None,
            trigger_resource_update_on: None,
            pull_request_comment: None,
        };
        let store = &world.parts().store;
        let made = store.create_configuration(&world.scope(), new, PLENTY, Change::unrecorded()).await;
        assert!(matches!(made.expect("written"), CreateConfiguration::Created(_)));
    }
    until(&world, &faults, "cloudformation.DescribeStackEvents", count).await;
    (world, faults)
}

fn count_of(seen: &[(&str, Moment)], point: &str) -> usize {
    seen.iter().filter(|(passed, moment)| *passed == point && *moment == Moment::Before).count()
}

/// Does what is due until a point was passed so often, and lets time pass where nothing is.
async fn until(world: &World, faults: &Faults, point: &str, count: usize) {
    loop {
        while world.tick().await {}
        if count_of(&faults.seen(), point) >= count {
            return;
        }
        let next = world.parts().store.next_due_ms(None).await.expect("a read").expect("something is due");
        world.clock.advance_ms((next - world.clock.now_ms()).max(1));
    }
}

async fn statuses(world: &World, count: usize) -> HashMap<AttemptStatus, usize> {
    let mut statuses = HashMap::new();
    for number in 0..count {
        let newest = world.attempt_rows(&stack(number)).await.pop().expect("an attempt");
        *statuses.entry(newest.status).or_default() += 1;
    }
    statuses
}

/// The calls of CloudFormation until every stack has ended, but for those that each stack needs to begin with.
async fn calls_until_the_end(world: &World, faults: &Faults, count: usize) -> BTreeMap<&'static str, usize> {
    faults.clear();
    until(world, faults, "store.end_attempt", count).await;
    let mut calls = BTreeMap::new();
    for (point, moment) in faults.seen() {
        if moment == Moment::Before && point.starts_with("cloudformation.") {
            *calls.entry(point).or_default() += 1;
        }
    }
    calls
}

#[tokio::test]
async fn three_hundred_stacks_in_progress_share_their_polling() {
    const STACKS: usize = 300;
    let (world, faults) = in_flight(STACKS, Duration::from_secs(10)).await;
    let began_ms = world.clock.now_ms();
    let calls = calls_until_the_end(&world, &faults, STACKS).await;
    let took_ms = world.clock.now_ms() - began_ms;
    let of = |point: &str| calls.get(point).copied().unwrap_or_default();
    // In ten seconds a poller of its own looks at each stack some ten times, by three calls.
    let alone = STACKS * 10 * 3;
    let all: usize = calls.values().sum();
    assert!(all * 5 < alone, "{all} calls instead of some {alone}: {calls:?}");
    // The look that finds it ended, and few before.
    assert!(of("cloudformation.DescribeStacks") <= 2 * STACKS, "{calls:?}");
    assert!(of("cloudformation.DescribeStackEvents") <= 2 * STACKS, "{calls:?}");
    // A listing of three pages for all, four times a second at first and then less and less.
    assert!(of("cloudformation.ListStacks") <= 3 * 40, "{calls:?}");
    assert!((8_000..15_000).contains(&took_ms), "they end about when they would have: {took_ms}");
    assert_eq!(statuses(&world, STACKS).await, HashMap::from([(AttemptStatus::Succeeded, STACKS)]));
    for number in [0, 299] {
        let attempt = world.attempt_rows(&stack(number)).await.pop().expect("an attempt");
        let told = attempt.events.iter().filter(|event| event.kind.as_str() == "STACK_EVENT").count();
        assert_eq!(told, 8, "every event of the stack: {:?}", attempt.events);
        assert_eq!(world.executions(&stack(number)), 1);
    }
}

#[tokio::test]
async fn a_few_stacks_are_looked_at_one_by_one() {
    let (world, faults) = in_flight(3, Duration::from_secs(20)).await;
    let calls = calls_until_the_end(&world, &faults, 3).await;
    assert!(!calls.contains_key("cloudformation.ListStacks"), "{calls:?}");
    assert!(calls["cloudformation.DescribeStackEvents"] >= 3 * 8, "{calls:?}");
}

#[tokio::test]
async fn a_stack_that_fails_among_many_is_told_with_its_reason() {
    let (world, faults) = in_flight(20, Duration::from_secs(60)).await;
    world.simulator.faults().fail_resource(&stack(7), "Slow", ResourceVerb::Create, "the quota is reached");
    calls_until_the_end(&world, &faults, 20).await;
    let failed = world.blockers(&stack(7)).await;
    assert_eq!(
        failed,
        "ACTIVE   EXECUTION_FAILED: Slow (AWS::SQS::Queue) CREATE_FAILED: the quota is reached\n"
    );
    let expected = HashMap::from([(AttemptStatus::Succeeded, 19), (AttemptStatus::Failed, 1)]);
    assert_eq!(statuses(&world, 20).await, expected);
}

#[tokio::test]
async fn a_role_that_may_not_list_stacks_has_them_looked_at_one_by_one() {
    let (world, faults) = in_flight(8, Duration::from_secs(30)).await;
    world.simulator.faults().on_call("ListStacks", CallFault::AccessDenied, Times::Always);
    let calls = calls_until_the_end(&world, &faults, 8).await;
    assert!(calls["cloudformation.ListStacks"] <= 1, "{calls:?}");
    assert_eq!(statuses(&world, 8).await, HashMap::from([(AttemptStatus::Succeeded, 8)]));
    assert!(world.blocker_rows(&stack(3)).await.is_empty(), "what is not needed is nobody's trouble");
}

#[tokio::test]
async fn listings_that_fail_are_an_outage_like_any_other() {
    let (world, faults) = in_flight(8, Duration::from_secs(90)).await;
    world.simulator.faults().on_call("ListStacks", CallFault::InternalFailure, Times::Next(3));
    calls_until_the_end(&world, &faults, 8).await;
    assert_eq!(statuses(&world, 8).await, HashMap::from([(AttemptStatus::Succeeded, 8)]));
    for number in 0..8 {
        assert_eq!(world.executions(&stack(number)), 1);
    }
}

#[tokio::test]
async fn a_server_that_starts_among_many_executions_looks_at_each_by_itself_first() {
    let (world, _) = in_flight(12, Duration::from_secs(60)).await;
    let faults = Faults::none();
    let world = world.restart(Arc::clone(&faults) as _).await;
    until(&world, &faults, "cloudformation.DescribeStackEvents", 12).await;
    assert_eq!(count_of(&faults.seen(), "cloudformation.ListStacks"), 0);
    let calls = calls_until_the_end(&world, &faults, 12).await;
    assert!(calls.contains_key("cloudformation.ListStacks"), "{calls:?}");
    assert_eq!(statuses(&world, 12).await, HashMap::from([(AttemptStatus::Succeeded, 12)]));
}
