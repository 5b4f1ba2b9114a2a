//! Stories of change sets.

use aws_sdk_cloudformation::operation::describe_change_set::builders::DescribeChangeSetFluentBuilder;
use aws_sdk_cloudformation::types::{ChangeSetStatus, ExecutionStatus, ResourceChangeDetail, Tag};

use crate::harness::{ACCOUNT, REGION, TOPIC, TWO, World, refused};

#[tokio::test]
async fn nothing_to_do_is_a_failed_change_set() {
    let world = World::instant().await;
    let check = async |name: &str, template: &str, expect: &str| {
        world
            .change_set("web", name, template)
            .capabilities("CAPABILITY_AUTO_EXPAND".into())
            .send()
            .await
            .expect("accepted");
        let seen = world.describe("web", name).await.expect("described");
        assert_eq!(seen.status(), Some(&ChangeSetStatus::Failed), "{name}");
        assert_eq!(seen.execution_status(), Some(&ExecutionStatus::Unavailable));
        assert!(seen.status_reason().expect("a reason").starts_with(expect), "{:?}", seen.status_reason());
        let refusal = world.execute("web", name).await.expect_err("it failed");
        assert!(refusal.1.ends_with("cannot be executed in its current status of [FAILED]"), "{refusal:?}");
    };
    world.deploy("web", "one", TOPIC, &[]).await;
    check("same", TOPIC, "The submitted information didn't contain changes").await;
    let json =
        "{\"Description\": \"other words\", \"Resources\": {\"Topic\": {\"Type\": \"AWS::SNS::Topic\"}}}";
    check("reworded", json, "The submitted information didn't contain changes").await;
    let transformed = format!("Transform: AWS::LanguageExtensions\n{TOPIC}");
    check("transformed", &transformed, "No updates are to be performed").await;
    let macros = format!("Transform: AWS::Serverless-2016-10-31\n{TOPIC}");
    check("macro", &macros, "Transform AWS::Serverless-2016-10-31 failed with").await;
}

#[tokio::test]
async fn outputs_and_tags_alone_are_changes() {
    let world = World::instant().await;
    world.deploy("web", "one", TOPIC, &[]).await;
    world.deploy("web", "two", &format!("{TOPIC}\nOutputs: {{T: {{Value: !Ref Topic}}}}"), &[]).await;
    assert_eq!(world.stack("web").status, "UPDATE_COMPLETE");
    assert_eq!(world.stack("web").outputs.len(), 1);
    let with_tags = world
        .change_set("web", "three", &format!("{TOPIC}\nOutputs: {{T: {{Value: !Ref Topic}}}}"))
        .tags(Tag::builder().key("team").value("a&b").build());
    with_tags.send().await.expect("accepted");
    assert_eq!(world.changes("web", "three").await, ["Modify Topic replace:False"]);
    world.execute("web", "three").await.expect("accepted");
    let described = world.cloudformation.describe_stacks().stack_name("web").send().await.expect("described");
    assert_eq!(described.stacks()[0].tags()[0].value(), Some("a&b"));
}

#[tokio::test]
async fn executing_one_change_set_deletes_the_others() {
    let world = World::instant().await;
    world.deploy("web", "one", TOPIC, &[]).await;
    world.change_set("web", "two", TWO).send().await.expect("accepted");
    world.change_set("web", "three", TWO).send().await.expect("accepted");
    world.execute("web", "three").await.expect("accepted");
    let missing = world.describe("web", "two").await.expect_err("deleted");
    assert_eq!(missing, ("ChangeSetNotFound".to_owned(), "ChangeSet [two] does not exist".to_owned()));
    let twice = world.simulator.executions();
    assert_eq!(twice.iter().map(|e| e.change_set_name.as_str()).collect::<Vec<_>>(), ["one", "three"]);
}

#[tokio::test]
async fn an_execution_is_accepted_once_however_often_it_is_asked_for() {
    let world = World::slow().await;
    world.change_set("web", "one", TOPIC).send().await.expect("accepted");
    world.clock.advance_ms(40);
    world.execute("web", "one").await.expect("accepted");
    world.execute("web", "one").await.expect("the same token again is answered as before");
    let request = world.cloudformation.execute_change_set().stack_name("web").change_set_name("one");
    let other = refused(request.send().await.expect_err("another request"));
    assert!(other.1.ends_with("execution status of [EXECUTE_IN_PROGRESS]"), "{other:?}");
    assert_eq!(other.0, "InvalidChangeSetStatus");
    world.clock.advance_ms(1_000);
    world.execute("web", "one").await.expect("still the same answer");
    assert_eq!(world.simulator.executions().len(), 1);

    world.change_set("web", "two", TWO).send().await.expect("accepted");
    world.clock.advance_ms(40);
    let reused = world.cloudformation.execute_change_set().stack_name("web").change_set_name("two");
    let reused = refused(reused.client_request_token("one-token").send().await.expect_err("used before"));
    assert_eq!(reused.0, "TokenAlreadyExistsException");
}

#[tokio::test]
async fn a_repeated_creation_of_a_change_set_is_answered_by_its_token() {
    let world = World::instant().await;
    let first = world.change_set("web", "one", TOPIC).client_token("t").send().await.expect("accepted");
    let again = world.change_set("web", "one", TOPIC).client_token("t").send().await.expect("the same");
    assert_eq!(first.id(), again.id());
    let check = async |token: &str, template: &str, attribute: &str| {
        let request = world.change_set("web", "one", template).client_token(token);
        assert_eq!(
            refused(request.send().await.expect_err("another")),
            (
                "AlreadyExistsException".to_owned(),
                format!(
                    "ChangeSet one cannot be created due to a mismatch with existing attribute {attribute}"
                )
            )
        );
    };
    check("u", TOPIC, "ClientToken").await;
    check("t", TWO, "Template").await;
}

#[tokio::test]
async fn somebody_else_makes_change_sets_obsolete_and_stacks_disappear() {
    let world = World::instant().await;
    world.deploy("web", "one", TOPIC, &[]).await;
    world.change_set("web", "two", TWO).send().await.expect("accepted");
    let faults = world.simulator.faults();
    assert!(faults.modify_stack(ACCOUNT, REGION, "web", &format!("{TOPIC}\nDescription: other")));
    let refusal = world.execute("web", "two").await.expect_err("obsolete");
    assert!(refusal.1.ends_with("execution status of [OBSOLETE]"), "{refusal:?}");
    world.change_set("web", "three", TWO).send().await.expect("accepted");
    assert!(faults.delete_change_set(ACCOUNT, REGION, "web", "three"));
    assert_eq!(world.execute("web", "three").await.expect_err("deleted").0, "ChangeSetNotFound");
    assert!(faults.set_status(ACCOUNT, REGION, "web", "UPDATE_ROLLBACK_FAILED", "stuck"));
    assert_eq!(world.stack("web").status, "UPDATE_ROLLBACK_FAILED");
    assert!(faults.delete_stack(ACCOUNT, REGION, "web"));
    assert_eq!(world.stack("web").status, "DELETE_COMPLETE");
    assert!(!faults.delete_stack(ACCOUNT, REGION, "web"));
}

#[tokio::test]
async fn a_change_set_fails_for_any_reason_a_test_wants() {
    let world = World::instant().await;
    world.simulator.faults().fail_change_sets("web", "Internal Failure");
    world.change_set("web", "one", TOPIC).send().await.expect("accepted");
    let seen = world.describe("web", "one").await.expect("described");
    assert_eq!(seen.status(), Some(&ChangeSetStatus::Failed));
    assert_eq!(seen.status_reason(), Some("Internal Failure"));
}

#[tokio::test]
async fn values_are_told_to_whoever_asks_for_them() {
    let world = World::instant().await;
    let topic = |properties: &str| {
        format!("Resources: {{Topic: {{Type: 'AWS::SNS::Topic', Properties: {{{properties}}}}}}}")
    };
    world.deploy("web", "one", &topic("DisplayName: one, KmsMasterKeyId: key"), &[]).await;
    let next = topic("DisplayName: two, ContentBasedDeduplication: true");
    world.change_set("web", "two", &next).send().await.expect("accepted");
    let asked = world.cloudformation.describe_change_set().stack_name("web").change_set_name("two");
    let told = async |asked: DescribeChangeSetFluentBuilder| {
        let answer = asked.send().await.expect("described");
        let change = answer.changes()[0].resource_change().expect("of a resource").clone();
        let of = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let line = |detail: &ResourceChangeDetail| {
            let target = detail.target().expect("a target");
            format!("{} {} -> {}", of(target.path()), of(target.before_value()), of(target.after_value()))
        };
        change.details().iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(told(asked.clone()).await, ["- - -> -"; 3]);
    assert_eq!(
        told(asked.include_property_values(true)).await,
        [
            "/Properties/ContentBasedDeduplication - -> true",
            "/Properties/DisplayName one -> two",
            "/Properties/KmsMasterKeyId key -> -",
        ]
    );
}
