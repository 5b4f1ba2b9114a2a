//! Calls themselves: who makes them, what becomes of them, pages and lists.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_cloudformation::error::SdkError;
use aws_sdk_cloudformation::types::StackStatus;
use syncline_cloudformation_sim::{CallFault, Settings, Times};

use crate::harness::{ACCOUNT, REGION, TOPIC, World, client, refused, sts};

const ROLE: &str = "arn:aws:iam::111122223333:role/path/deploy";

fn own_keys() -> Credentials {
    Credentials::from_keys("AKIDEXAMPLE", "secret", None)
}

async fn assume(world: &World, external_id: Option<&str>) -> Result<Credentials, (String, String)> {
    let request = sts(&world.url, REGION, own_keys())
        .assume_role()
        .role_arn(ROLE)
        .role_session_name("syncline")
        .set_external_id(external_id.map(str::to_owned));
    let answer = request.send().await.map_err(refused)?;
    let keys = answer.credentials().expect("credentials");
    Ok(Credentials::from_keys(
        keys.access_key_id(),
        keys.secret_access_key(),
        Some(keys.session_token().to_owned()),
    ))
}

#[tokio::test]
async fn an_assumed_role_acts_in_its_account() {
    let world = World::instant().await;
    let keys = assume(&world, None).await.expect("assumed");
    let identity = sts(&world.url, REGION, keys.clone()).get_caller_identity().send().await.expect("known");
    assert_eq!(identity.account(), Some("111122223333"));
    assert_eq!(identity.arn(), Some("arn:aws:sts::111122223333:assumed-role/deploy/syncline"));

    let foreign = client(&world.url, "cn-north-1", keys);
    let request = foreign.create_change_set().stack_name("web").change_set_name("one");
    let kind = aws_sdk_cloudformation::types::ChangeSetType::Create;
    let answer = request.change_set_type(kind).template_body(TOPIC).send().await.expect("accepted");
    let prefix = "arn:aws-cn:cloudformation:cn-north-1:111122223333:stack/web/";
    assert!(answer.stack_id().expect("an id").starts_with(prefix));
    assert!(world.simulator.stack("111122223333", "cn-north-1", "web").is_some());
    assert!(world.simulator.stack(ACCOUNT, "cn-north-1", "web").is_none());
    assert!(world.simulator.stack("111122223333", REGION, "web").is_none());
}

#[tokio::test]
async fn a_role_is_assumed_only_as_it_allows() {
    let world = World::instant().await;
    let faults = world.simulator.faults();
    faults.require_external_id(ROLE, "right");
    let denied = assume(&world, None).await.expect_err("no external id");
    assert_eq!(denied.0, "AccessDenied");
    assert_eq!(
        denied.1,
        format!(
            "User: arn:aws:iam::{ACCOUNT}:user/simulated is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
        )
    );
    assert_eq!(assume(&world, Some("wrong")).await.expect_err("wrong").0, "AccessDenied");
    assume(&world, Some("right")).await.expect("assumed");
    faults.deny_role(ROLE);
    assert_eq!(assume(&world, Some("right")).await.expect_err("denied").0, "AccessDenied");
    faults.allow_role(ROLE);
    assume(&world, Some("right")).await.expect("assumed again");
}

#[tokio::test]
async fn assumed_credentials_expire() {
    let world = World::instant().await;
    let check = async |keys: Credentials, code: Option<&str>| {
        let answer = client(&world.url, REGION, keys).describe_stacks().send().await;
        assert_eq!(answer.map(|_| ()).map_err(|e| refused(e).0).err().as_deref(), code);
    };
    let keys = assume(&world, None).await.expect("assumed");
    world.clock.advance_ms(3_599_999);
    check(keys.clone(), None).await;
    world.clock.advance_ms(1);
    check(keys, Some("ExpiredToken")).await;
    let keys = assume(&world, None).await.expect("assumed");
    world.simulator.faults().expire_sessions();
    check(keys, Some("ExpiredToken")).await;
    check(Credentials::from_keys("ASIAUNKNOWN", "s", Some("t".into())), Some("InvalidClientTokenId")).await;
}

#[tokio::test]
async fn calls_fail_as_faults_say() {
    let world = World::instant().await;
    let faults = world.simulator.faults();
    let list = async || world.cloudformation.list_stacks().send().await.map(|_| ()).map_err(|e| refused(e).0);
    faults.on_call("ListStacks", CallFault::Throttle, Times::Next(2));
    assert_eq!(list().await, Err("Throttling".to_owned()));
    assert_eq!(list().await, Err("Throttling".to_owned()));
    assert_eq!(list().await, Ok(()));
    faults.on_call("*", CallFault::InternalFailure, Times::Every(2));
    assert_eq!(list().await, Err("InternalFailure".to_owned()));
    assert_eq!(list().await, Ok(()));
    assert_eq!(list().await, Err("InternalFailure".to_owned()));
    faults.clear();
    assert_eq!(list().await, Ok(()));
    faults.on_call("ListStacks", CallFault::AccessDenied, Times::Always);
    assert_eq!(list().await, Err("AccessDenied".to_owned()));
    let calls = world.simulator.calls();
    assert_eq!(calls.len(), 8);
    assert_eq!(calls[7].error.as_deref(), Some("AccessDenied"));
    assert_eq!((calls[7].action.as_str(), calls[7].account.as_str()), ("ListStacks", ACCOUNT));
}

#[tokio::test]
async fn a_lost_answer_has_had_its_effect() {
    let world = World::instant().await;
    let faults = world.simulator.faults();
    faults.on_call("CreateChangeSet", CallFault::LoseAnswer, Times::Next(1));
    let lost = world.change_set("web", "one", TOPIC).client_token("t").send().await.expect_err("lost");
    assert!(matches!(lost, SdkError::DispatchFailure(_)), "{lost:?}");
    assert_eq!(world.stack("web").change_sets, ["one"]);
    world.change_set("web", "one", TOPIC).client_token("t").send().await.expect("the same again");

    faults.on_call("ExecuteChangeSet", CallFault::LoseAnswer, Times::Next(1));
    let request = world.cloudformation.execute_change_set().stack_name("web").change_set_name("one");
    request.client_request_token("one-token").send().await.expect_err("lost");
    world.execute("web", "one").await.expect("the token says it is the same");
    assert_eq!(world.simulator.executions().len(), 1);

    faults.on_call("ExecuteChangeSet", CallFault::DropBefore, Times::Next(1));
    world
        .change_set("web", "two", &format!("{TOPIC}\nOutputs: {{A: {{Value: b}}}}"))
        .send()
        .await
        .expect("ok");
    let request = world.cloudformation.execute_change_set().stack_name("web").change_set_name("two");
    request.send().await.expect_err("dropped");
    assert_eq!(world.simulator.executions().len(), 1);
}

#[tokio::test]
async fn a_hanging_call_is_never_answered() {
    let world = World::instant().await;
    world.simulator.faults().on_call("CreateChangeSet", CallFault::HangAfter, Times::Next(1));
    let config = world.cloudformation.config().to_builder().timeout_config(
        aws_sdk_cloudformation::config::timeout::TimeoutConfig::builder()
            .operation_timeout(Duration::from_millis(50))
            .build(),
    );
    let impatient = aws_sdk_cloudformation::Client::from_conf(config.build());
    let request = impatient.create_change_set().stack_name("web").change_set_name("one").template_body(TOPIC);
    let kind = aws_sdk_cloudformation::types::ChangeSetType::Create;
    let error = request.change_set_type(kind).send().await.expect_err("never answered");
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
}

#[tokio::test]
async fn events_are_paged_newest_first_while_more_arrive() {
    let world = World::with(Settings { page_size: 4, ..Settings::instant() }).await;
    world.deploy("web", "one", TOPIC, &[]).await;
    let events = world.cloudformation.describe_stack_events().stack_name("web");
    let first = events.clone().send().await.expect("a page");
    assert_eq!(first.stack_events()[0].resource_status().map(|s| s.as_str()), Some("CREATE_COMPLETE"));
    assert_eq!(first.stack_events()[0].client_request_token(), Some("one-token"));
    world.cloudformation.delete_stack().stack_name("web").send().await.expect("accepted");
    let id = world.stack("web").id;
    let second = world.cloudformation.describe_stack_events().stack_name(id);
    let second = second.set_next_token(first.next_token().map(str::to_owned)).send().await.expect("a page");
    assert_eq!(second.next_token(), None);
    let seen: Vec<&str> = first
        .stack_events()
        .iter()
        .chain(second.stack_events())
        .filter_map(|event| event.resource_status().map(|status| status.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            "CREATE_COMPLETE",
            "CREATE_COMPLETE",
            "CREATE_IN_PROGRESS",
            "CREATE_IN_PROGRESS",
            "CREATE_IN_PROGRESS",
            "REVIEW_IN_PROGRESS"
        ]
    );
    let bad = events.next_token("simulated-ffff").send().await.expect_err("deleted by name");
    assert_eq!(refused(bad).1, "Stack [web] does not exist");
}

#[tokio::test]
async fn stacks_and_resources_are_listed() {
    let world = World::instant().await;
    world.deploy("one", "c", TOPIC, &[]).await;
    world.deploy("two", "c", TOPIC, &[]).await;
    world.cloudformation.delete_stack().stack_name("one").send().await.expect("accepted");
    let names = async |filter: Option<StackStatus>| -> Vec<String> {
        let request = world.cloudformation.list_stacks().set_stack_status_filter(filter.map(|f| vec![f]));
        let answer = request.send().await.expect("a list");
        answer.stack_summaries().iter().filter_map(|s| s.stack_name().map(str::to_owned)).collect()
    };
    assert_eq!(names(None).await, ["two", "one"]);
    assert_eq!(names(Some(StackStatus::CreateComplete)).await, ["two"]);
    assert_eq!(names(Some(StackStatus::DeleteComplete)).await, ["one"]);
    let resources =
        world.cloudformation.describe_stack_resources().stack_name("two").send().await.expect("ok");
    let resource = &resources.stack_resources()[0];
    assert_eq!(resource.resource_type(), Some("AWS::SNS::Topic"));
    let id = resource.physical_resource_id().expect("an id").to_owned();
    let by_id = world.cloudformation.describe_stack_resources().physical_resource_id(id).send().await;
    assert_eq!(by_id.expect("found").stack_resources()[0].stack_name(), Some("two"));
    let sets = world.cloudformation.list_change_sets().stack_name("two").send().await.expect("a list");
    assert_eq!(sets.summaries()[0].change_set_name(), Some("c"));
    let template = world.cloudformation.get_template().stack_name("two").send().await.expect("a template");
    assert_eq!(template.template_body(), Some(TOPIC));
}

#[tokio::test]
async fn a_template_is_validated_without_a_stack() {
    let world = World::instant().await;
    let template = "
Description: a < b & \"c\"
Parameters: {Name: {Type: String, Default: x, NoEcho: true, Description: who}}
Resources: {Role: {Type: AWS::IAM::Role, Properties: {RoleName: !Ref Name}}}
";
    let answer =
        world.cloudformation.validate_template().template_body(template).send().await.expect("valid");
    assert_eq!(answer.description(), Some("a < b & \"c\""));
    assert_eq!(answer.parameters()[0].no_echo(), Some(true));
    assert_eq!(answer.capabilities()[0].as_str(), "CAPABILITY_NAMED_IAM");
    let wrong = world.cloudformation.validate_template().template_body("Resources: [").send().await;
    assert!(
        refused(wrong.expect_err("malformed")).1.starts_with("Template format error: YAML not well-formed.")
    );
}

#[tokio::test]
async fn the_simulator_can_be_mounted_in_another_server() {
    let world = World::instant().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
    let router = world.simulator.router();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mounted = client(&url, REGION, own_keys());
    world.deploy("web", "one", TOPIC, &[]).await;
    let seen = mounted.describe_stacks().stack_name("web").send().await.expect("the same simulator");
    assert_eq!(seen.stacks()[0].stack_status(), Some(&StackStatus::CreateComplete));
    world.simulator.faults().on_call("DeleteStack", CallFault::LoseAnswer, Times::Next(1));
    mounted.delete_stack().stack_name("web").send().await.expect_err("the answer breaks off");
    assert_eq!(world.stack("web").status, "DELETE_COMPLETE");
    server.abort();
}
