//! Stories of stacks.

use aws_sdk_cloudformation::types::{ChangeSetStatus, ExecutionStatus, OnStackFailure, StackStatus};
use syncline_cloudformation_sim::ResourceVerb;

use crate::harness::{ACCOUNT, REGION, TOPIC, TWO, World, refused};

#[tokio::test]
async fn a_change_set_for_a_new_stack_creates_it_event_by_event() {
    let world = World::slow().await;
    world.change_set("web", "one", TWO).send().await.expect("accepted");
    assert_eq!(world.stack("web").status, "REVIEW_IN_PROGRESS");

    let seen = world.describe("web", "one").await.expect("described");
    assert_eq!(seen.status(), Some(&ChangeSetStatus::CreatePending));
    assert_eq!(seen.execution_status(), Some(&ExecutionStatus::Unavailable));
    let early = world.execute("web", "one").await.expect_err("it is not ready");
    assert_eq!(early.0, "InvalidChangeSetStatus");
    world.clock.advance_ms(20);
    let seen = world.describe("web", "one").await.expect("described");
    assert_eq!(seen.status(), Some(&ChangeSetStatus::CreateInProgress));
    world.clock.advance_ms(20);
    let seen = world.describe("web", "one").await.expect("described");
    assert_eq!(seen.status(), Some(&ChangeSetStatus::CreateComplete));
    assert_eq!(seen.execution_status(), Some(&ExecutionStatus::Available));
    assert_eq!(world.changes("web", "one").await, ["Add Topic", "Add Queue"]);

    world.execute("web", "one").await.expect("accepted");
    assert_eq!(world.stack("web").status, "CREATE_IN_PROGRESS");
    world.clock.advance_ms(199);
    assert_eq!(world.stack("web").status, "CREATE_IN_PROGRESS");
    world.clock.advance_ms(1);
    assert_eq!(world.stack("web").status, "CREATE_COMPLETE");
    assert_eq!(
        world.events("web", 0),
        [
            "web REVIEW_IN_PROGRESS (User Initiated)",
            "web CREATE_IN_PROGRESS (User Initiated)",
            "Topic CREATE_IN_PROGRESS",
            "Topic CREATE_IN_PROGRESS (Resource creation Initiated)",
            "Topic CREATE_COMPLETE",
            "Queue CREATE_IN_PROGRESS",
            "Queue CREATE_IN_PROGRESS (Resource creation Initiated)",
            "Queue CREATE_COMPLETE",
            "web CREATE_COMPLETE",
        ]
    );
    let seen = world.describe("web", "one").await.expect("described");
    assert_eq!(seen.execution_status(), Some(&ExecutionStatus::ExecuteComplete));
}

#[tokio::test]
async fn independent_resources_are_created_at_the_same_time() {
    let world = World::slow().await;
    let template = "Resources: {A: {Type: 'AWS::SNS::Topic'}, B: {Type: 'AWS::SNS::Topic'}}";
    world.deploy("web", "one", template, &[]).await;
    world.clock.advance_ms(100);
    assert_eq!(world.stack("web").status, "CREATE_COMPLETE");
}

#[tokio::test]
async fn a_failed_creation_is_rolled_back() {
    let world = World::instant().await;
    world.simulator.faults().fail_resource("web", "Queue", ResourceVerb::Create, "no more queues");
    world.deploy("web", "one", TWO, &[]).await;
    assert_eq!(
        world.events("web", 5),
        [
            "Queue CREATE_IN_PROGRESS",
            "Queue CREATE_IN_PROGRESS (Resource creation Initiated)",
            "Queue CREATE_FAILED (no more queues)",
            "web ROLLBACK_IN_PROGRESS (The following resource(s) failed to create: [Queue]. Rollback requested by user.)",
            "Queue DELETE_IN_PROGRESS",
            "Queue DELETE_COMPLETE",
            "Topic DELETE_IN_PROGRESS",
            "Topic DELETE_COMPLETE",
            "web ROLLBACK_COMPLETE",
        ]
    );
    let seen = world.describe("web", "one").await.expect("described");
    assert_eq!(seen.execution_status(), Some(&ExecutionStatus::ExecuteFailed));
    let refusal = refused(world.change_set("web", "two", TWO).send().await.expect_err("not updatable"));
    let id = world.stack("web").id;
    assert_eq!(
        refusal,
        (
            "ValidationError".to_owned(),
            format!("Stack:{id} is in ROLLBACK_COMPLETE state and can not be updated.")
        )
    );
}

#[tokio::test]
async fn a_failed_creation_with_delete_leaves_the_name_free() {
    let world = World::instant().await;
    world.simulator.faults().fail_resource("*", "Topic", ResourceVerb::Create, "no more topics");
    world.create_with("web", TWO, OnStackFailure::Delete).await;
    let gone = world.stack("web");
    assert_eq!(gone.status, "DELETE_COMPLETE");
    let by_name = world.cloudformation.describe_stacks().stack_name("web").send().await;
    assert_eq!(refused(by_name.expect_err("deleted")).1, "Stack with id web does not exist");
    let by_id = world.cloudformation.describe_stacks().stack_name(&gone.id).send().await.expect("by id");
    assert_eq!(by_id.stacks()[0].stack_status(), Some(&StackStatus::DeleteComplete));

    world.simulator.faults().heal_resource("Topic");
    world.deploy("web", "create", TWO, &[]).await;
    let again = world.stack("web");
    assert_eq!(again.status, "CREATE_COMPLETE");
    assert_ne!(again.id, gone.id);
}

#[tokio::test]
async fn a_failed_creation_with_do_nothing_stays() {
    let world = World::instant().await;
    world.simulator.faults().fail_resource("*", "Queue", ResourceVerb::Create, "no more queues");
    world.create_with("web", TWO, OnStackFailure::DoNothing).await;
    let stack = world.stack("web");
    assert_eq!(stack.status, "CREATE_FAILED");
    let statuses: Vec<&str> = stack.resources.iter().map(|r| r.status.as_str()).collect();
    assert_eq!(statuses, ["CREATE_COMPLETE", "CREATE_FAILED"]);
}

#[tokio::test]
async fn what_was_still_being_created_is_cancelled() {
    let world = World::slow().await;
    let template = "Resources: {A: {Type: 'AWS::SNS::Topic'}, B: {Type: 'AWS::SNS::Topic'}}";
    let faults = world.simulator.faults();
    faults.fail_resource("*", "A", ResourceVerb::Create, "no");
    faults.slow_resource("B", std::time::Duration::from_secs(3600));
    world.deploy("web", "one", template, &[]).await;
    world.clock.advance_ms(100);
    assert!(world.events("web", 0).contains(&"B CREATE_FAILED (Resource creation cancelled)".to_owned()));
    assert_eq!(world.stack("web").status, "ROLLBACK_IN_PROGRESS");
}

#[tokio::test]
async fn an_update_replaces_before_it_deletes() {
    let world = World::instant().await;
    let template = |name: &str, extra: &str| {
        format!(
            "Resources:\n  Topic: {{Type: 'AWS::SNS::Topic', Properties: {{TopicName: {name}}}}}\n{extra}"
        )
    };
    let old = "  Old: {Type: 'AWS::SQS::Queue'}\n";
    let new = "  New: {Type: 'AWS::SQS::Queue', Properties: {DelaySeconds: 5}}\n";
    world.deploy("web", "one", &template("a", old), &[]).await;
    let before = world.stack("web");
    world.change_set("web", "two", &template("b", new)).send().await.expect("accepted");
    assert_eq!(world.changes("web", "two").await, ["Remove Old", "Modify Topic replace:True", "Add New"]);
    world.execute("web", "two").await.expect("accepted");
    assert_eq!(
        world.events("web", before.events.len()),
        [
            "web UPDATE_IN_PROGRESS (User Initiated)",
            "Topic UPDATE_IN_PROGRESS (Requested update requires the creation of a new physical resource; hence \
             creating one.)",
            "New CREATE_IN_PROGRESS",
            "Topic UPDATE_IN_PROGRESS (Resource creation Initiated)",
            "New CREATE_IN_PROGRESS (Resource creation Initiated)",
            "Topic UPDATE_COMPLETE",
            "New CREATE_COMPLETE",
            "web UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
            "Old DELETE_IN_PROGRESS",
            "Topic DELETE_IN_PROGRESS",
            "Old DELETE_COMPLETE",
            "Topic DELETE_COMPLETE",
            "web UPDATE_COMPLETE",
        ]
    );
    let after = world.stack("web");
    let ids: Vec<(&str, Option<&str>)> =
        after.resources.iter().map(|r| (r.logical_id.as_str(), r.physical_id.as_deref())).collect();
    assert_eq!(ids[0], ("Topic", Some("arn:aws:sns:eu-west-1:000000000000:b")));
    assert_eq!(ids[1].0, "New");
}

#[tokio::test]
async fn a_failed_update_is_rolled_back_to_what_was() {
    let world = World::instant().await;
    let template = |name: &str, extra: &str| {
        format!(
            "Resources:\n  Topic: {{Type: 'AWS::SNS::Topic', Properties: {{TopicName: {name}}}}}\n{extra}"
        )
    };
    world.deploy("web", "one", &template("a", ""), &[]).await;
    let before = world.stack("web");
    world.simulator.faults().fail_resource("web", "Bad", ResourceVerb::Create, "no more queues");
    let bad = "  Bad: {Type: 'AWS::SQS::Queue', DependsOn: Topic}\n";
    world.deploy("web", "two", &template("b", bad), &[]).await;
    assert_eq!(
        world.events("web", before.events.len() + 4),
        [
            "Bad CREATE_IN_PROGRESS",
            "Bad CREATE_IN_PROGRESS (Resource creation Initiated)",
            "Bad CREATE_FAILED (no more queues)",
            "web UPDATE_ROLLBACK_IN_PROGRESS (The following resource(s) failed to create: [Bad].)",
            "Topic UPDATE_IN_PROGRESS",
            "Topic UPDATE_COMPLETE",
            "web UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
            "Bad DELETE_IN_PROGRESS",
            "Bad DELETE_COMPLETE",
            "Topic DELETE_IN_PROGRESS",
            "Topic DELETE_COMPLETE",
            "web UPDATE_ROLLBACK_COMPLETE",
        ]
    );
    let after = world.stack("web");
    assert_eq!(after.resources[0].physical_id, before.resources[0].physical_id);
    assert_eq!(after.resources.len(), 1);
    assert_eq!(after.template, before.template);

    // The fix goes through.
    world.deploy("web", "three", &template("c", ""), &[]).await;
    assert_eq!(world.stack("web").status, "UPDATE_COMPLETE");
}

#[tokio::test]
async fn a_failed_rollback_waits_for_somebody_to_continue_it() {
    let world = World::instant().await;
    let template = |delay: u32| {
        format!(
            "Resources:\n  A: {{Type: 'AWS::SQS::Queue', Properties: {{DelaySeconds: {delay}}}}}\n  \
             B: {{Type: 'AWS::SQS::Queue', DependsOn: A, Properties: {{DelaySeconds: {delay}}}}}\n"
        )
    };
    world.deploy("web", "one", &template(1), &[]).await;
    let faults = world.simulator.faults();
    faults.fail_resource("*", "B", ResourceVerb::Update, "no");
    faults.fail_resource("*", "A", ResourceVerb::Rollback, "stuck");
    world.deploy("web", "two", &template(2), &[]).await;
    let stuck = world.stack("web");
    assert_eq!(stuck.status, "UPDATE_ROLLBACK_FAILED");
    assert_eq!(stuck.reason.as_deref(), Some("The following resource(s) failed to update: [A]. "));
    let refusal = refused(world.change_set("web", "x", &template(3)).send().await.expect_err("stuck"));
    assert!(refusal.1.contains("UPDATE_ROLLBACK_FAILED state and can not be updated"), "{refusal:?}");

    faults.clear();
    let request = world.cloudformation.continue_update_rollback().stack_name("web");
    request.send().await.expect("accepted");
    assert_eq!(world.stack("web").status, "UPDATE_ROLLBACK_COMPLETE");
    world.change_set("web", "three", &template(1)).send().await.expect("accepted");
    let seen = world.describe("web", "three").await.expect("described");
    assert_eq!(
        seen.status_reason(),
        Some(
            "The submitted information didn't contain changes. Submit different information to create a change set."
        )
    );
}

#[tokio::test]
async fn a_stack_is_deleted_in_reverse_order_and_keeps_what_it_must() {
    let world = World::instant().await;
    let template = "
Resources:
  Topic: {Type: AWS::SNS::Topic}
  Queue: {Type: AWS::SQS::Queue, Properties: {Tags: [{Key: t, Value: !Ref Topic}]}}
  Kept: {Type: AWS::S3::Bucket, DeletionPolicy: Retain, DependsOn: Queue}
";
    world.deploy("web", "one", template, &[]).await;
    let events = world.stack("web").events.len();
    world.cloudformation.delete_stack().stack_name("web").send().await.expect("accepted");
    assert_eq!(
        world.events("web", events),
        [
            "web DELETE_IN_PROGRESS (User Initiated)",
            "Kept DELETE_SKIPPED",
            "Queue DELETE_IN_PROGRESS",
            "Queue DELETE_COMPLETE",
            "Topic DELETE_IN_PROGRESS",
            "Topic DELETE_COMPLETE",
            "web DELETE_COMPLETE",
        ]
    );
    world.cloudformation.delete_stack().stack_name("web").send().await.expect("gone is gone");
}

#[tokio::test]
async fn a_stack_that_cannot_be_deleted_says_why() {
    let world = World::instant().await;
    world.deploy("web", "one", TWO, &[]).await;
    world.simulator.faults().fail_resource("*", "Topic", ResourceVerb::Delete, "in use");
    world.cloudformation.delete_stack().stack_name("web").send().await.expect("accepted");
    let stack = world.stack("web");
    assert_eq!(stack.status, "DELETE_FAILED");
    assert_eq!(stack.reason.as_deref(), Some("The following resource(s) failed to delete: [Topic]. "));
    world.simulator.faults().clear();
    world.cloudformation.delete_stack().stack_name("web").send().await.expect("accepted");
    assert_eq!(world.stack("web").status, "DELETE_COMPLETE");
}

#[tokio::test]
async fn an_export_in_use_holds_its_stack() {
    let world = World::instant().await;
    let exporting =
        |value: &str| format!("{TOPIC}\nOutputs: {{Name: {{Value: {value}, Export: {{Name: shared}}}}}}");
    let importing = "
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {Tags: [{Key: t, Value: !ImportValue shared}]}}
Outputs: {Seen: {Value: !ImportValue shared}}
";
    world.deploy("producer", "one", &exporting("a"), &[]).await;
    world.deploy("consumer", "one", importing, &[]).await;
    assert_eq!(world.stack("consumer").outputs, [("Seen".to_owned(), "a".to_owned())]);

    world.deploy("producer", "two", &exporting("b"), &[]).await;
    assert_eq!(world.stack("producer").status, "UPDATE_ROLLBACK_COMPLETE");
    assert!(
        world.events("producer", 0).contains(
            &"producer UPDATE_ROLLBACK_IN_PROGRESS (Cannot update export shared as it is in use by consumer.)".to_owned()
        ),
        "{:?}",
        world.events("producer", 0)
    );
    world.cloudformation.delete_stack().stack_name("producer").send().await.expect("accepted");
    assert_eq!(world.stack("producer").status, "UPDATE_ROLLBACK_COMPLETE");

    world.cloudformation.delete_stack().stack_name("consumer").send().await.expect("accepted");
    world.cloudformation.delete_stack().stack_name("producer").send().await.expect("accepted");
    assert_eq!(world.stack("producer").status, "DELETE_COMPLETE");
}

#[tokio::test]
async fn a_value_that_fails_to_evaluate_fails_its_resource() {
    let world = World::instant().await;
    let template = "
Resources:
  Topic: {Type: AWS::SNS::Topic}
  Queue:
    Type: AWS::SQS::Queue
    Properties: {Tags: [{Key: k, Value: !Select [9, !Split [':', !Ref Topic]]}]}
";
    world.deploy("web", "one", template, &[]).await;
    let events = world.events("web", 5);
    assert_eq!(
        events[0],
        "Queue CREATE_FAILED (Template error: Fn::Select cannot select nonexistent value at index 9)"
    );
    assert_eq!(world.stack("web").status, "ROLLBACK_COMPLETE");
}

#[tokio::test]
async fn what_cannot_be_cleaned_up_is_left_behind() {
    let world = World::instant().await;
    world.deploy("web", "one", TWO, &[]).await;
    world.simulator.faults().fail_resource("*", "Queue", ResourceVerb::Delete, "in use");
    world.deploy("web", "two", TOPIC, &[]).await;
    let stack = world.stack("web");
    assert_eq!(stack.status, "UPDATE_COMPLETE");
    assert_eq!(
        stack.reason.as_deref(),
        Some("Update successful. One or more resources could not be deleted.")
    );
}

#[tokio::test]
async fn deletion_policies_are_kept() {
    let world = World::instant().await;
    let check = async |policy: &str, fails: bool, expect: &str| {
        let name = format!("s{}", world.simulator.stacks(ACCOUNT, REGION).len());
        let template = format!(
            "Resources:
  Kept: {{Type: AWS::S3::Bucket, DeletionPolicy: {policy}}}
  Last: {{Type: AWS::SNS::Topic, DependsOn: Kept}}
"
        );
        if fails {
            world.simulator.faults().fail_resource(&name, "Last", ResourceVerb::Create, "no");
        }
        world.deploy(&name, "one", &template, &[]).await;
        world.cloudformation.delete_stack().stack_name(&name).send().await.expect("accepted");
        let line = world.events(&name, 0).into_iter().rfind(|line| line.starts_with("Kept "));
        assert_eq!(line, Some(format!("Kept {expect}")), "{policy} {fails}");
    };
    check("Delete", false, "DELETE_COMPLETE").await;
    check("Retain", false, "DELETE_SKIPPED").await;
    check("Retain", true, "DELETE_SKIPPED").await;
    check("RetainExceptOnCreate", false, "DELETE_SKIPPED").await;
    check("RetainExceptOnCreate", true, "DELETE_COMPLETE").await;
}

#[tokio::test]
async fn a_replaced_resource_may_be_kept() {
    let world = World::instant().await;
    let template = |name: &str| {
        format!(
            "Resources: {{B: {{Type: 'AWS::S3::Bucket', UpdateReplacePolicy: Retain, \
             Properties: {{BucketName: {name}}}}}}}"
        )
    };
    world.deploy("web", "one", &template("a"), &[]).await;
    world.change_set("web", "two", &template("b")).send().await.expect("accepted");
    let seen = world.describe("web", "two").await.expect("described");
    let change = seen.changes()[0].resource_change().expect("of a resource");
    assert_eq!(change.policy_action().map(|action| action.as_str()), Some("ReplaceAndRetain"));
    world.execute("web", "two").await.expect("accepted");
    assert!(world.events("web", 0).contains(&"B DELETE_SKIPPED".to_owned()));
    assert_eq!(world.stack("web").resources[0].physical_id.as_deref(), Some("b"));
}

#[tokio::test]
async fn updates_in_the_same_instant_are_rolled_back_all_the_same() {
    let world = World::instant().await;
    let template = |delay: u32, extra: &str| {
        format!(
            "Resources:\n  A: {{Type: 'AWS::SQS::Queue', Properties: {{DelaySeconds: {delay}}}}}\n{extra}"
        )
    };
    world.deploy("web", "one", &template(1, ""), &[]).await;
    world.execute_now("web", "two", &template(2, "")).await;
    world.simulator.faults().fail_resource("*", "Bad", ResourceVerb::Create, "no");
    world.execute_now("web", "three", &template(3, "  Bad: {Type: 'AWS::SNS::Topic', DependsOn: A}\n")).await;
    assert_eq!(world.stack("web").status, "UPDATE_ROLLBACK_COMPLETE");
    let restored = world.events("web", 0);
    let begin = restored.iter().position(|line| line.starts_with("web UPDATE_ROLLBACK_IN_PROGRESS"));
    let begin = begin.expect("it was rolled back");
    assert_eq!(restored[begin + 1..begin + 3], ["A UPDATE_IN_PROGRESS", "A UPDATE_COMPLETE"]);
}

#[tokio::test]
async fn the_same_names_in_other_accounts_and_regions_are_other_stacks() {
    let world = World::instant().await;
    world.deploy("web", "one", TOPIC, &[]).await;
    let keys = aws_credential_types::Credentials::from_keys("AKIDEXAMPLE", "secret", None);
    let elsewhere = crate::harness::client(&world.url, "us-east-1", keys);
    let missing = elsewhere.describe_stacks().stack_name("web").send().await.expect_err("another region");
    assert_eq!(refused(missing).1, "Stack with id web does not exist");
    assert!(elsewhere.describe_stacks().send().await.expect("a list").stacks().is_empty());
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_nothing() {
    let world = World::slow().await;
    world.deploy("web", "one", TOPIC, &[]).await;
    world.clock.advance_ms(-3_600_000);
    assert_eq!(world.stack("web").status, "CREATE_IN_PROGRESS");
    world.clock.advance_ms(100);
    assert_eq!(world.stack("web").status, "CREATE_COMPLETE");
}

#[tokio::test]
async fn other_peoples_tools_create_and_update_a_stack_in_one_call() {
    let world = World::slow().await;
    let create = || world.cloudformation.create_stack().stack_name("web").template_body(TWO);
    let stack_id = create().send().await.expect("accepted").stack_id.expect("an id");
    assert_eq!(world.stack("web").status, "CREATE_IN_PROGRESS");
    assert_eq!(refused(create().send().await.expect_err("there is one")).0, "AlreadyExistsException");
    world.clock.advance_ms(10_000);
    assert_eq!(world.stack("web").status, "CREATE_COMPLETE");

    let update =
        |template: &str| world.cloudformation.update_stack().stack_name("web").template_body(template);
    let summary = world.cloudformation.get_template_summary();
    summary.clone().stack_name("web").send().await.expect("told");
    summary.clone().template_body(TWO).send().await.expect("told");
    let unknown = refused(summary.stack_name("other").send().await.expect_err("there is none"));
    assert_eq!(unknown.1, "Stack with id other does not exist");

    let nothing = update(TWO).send().await.expect_err("it has that already");
    assert_eq!(
        refused(nothing),
        ("ValidationError".to_owned(), "No updates are to be performed.".to_owned())
    );
    let updated = update(TOPIC).send().await.expect("accepted");
    assert_eq!(updated.stack_id.as_deref(), Some(&*stack_id));
    world.clock.advance_ms(10_000);
    assert_eq!(world.stack("web").status, "UPDATE_COMPLETE");
    assert_eq!(world.simulator.counts()["UpdateStack"], 2);
}
