//! moto was written by other people: what both it and our stub agree on is more likely to be AWS.
//!
//! Where moto differs from AWS, and what that leaves unproved here: it makes and executes change sets at
//! once, gives its events no token, reports no events of resources, never fails, executes twice without a
//! word, ignores external ids, makes a second stack for a CREATE of one
//! that exists, and finds the stack of an UPDATE by name only.

use std::sync::Arc;

use syncline_peers::Moto;
use syncline_seams::{Outside, SystemClock};
use syncline_targets::{
    AwsSource, BusEvent, ChangeAction, ChangeSetKind, ChangeSetRequest, ChangeSetStatus, CloudFormation,
    EventBus as _, ExecutionStatus, Settings, StackStatus, Target, TargetError,
};

use crate::stub::access;

async fn target(moto: &Moto) -> CloudFormation {
    let source = AwsSource::Fixed {
        endpoint_url: moto.endpoint().to_owned(),
        access_key_id: "AKIA0000000000000000".to_owned(),
        secret_access_key: syncline_seams::Secret::new("anything"),
    };
    CloudFormation::new(source, Outside::default(), Arc::new(SystemClock), Settings::default()).await
}

const ONE_BUCKET: &str = "Parameters: {Name: {Type: String}}\n\
    Resources:\n  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: !Ref Name}}\n";
const AND_A_TOPIC: &str = "Parameters: {Name: {Type: String}}\n\
    Resources:\n  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: !Ref Name}}\n  Topic: {Type: AWS::SNS::Topic}\n";

fn request(name: &str, stack: &str, kind: ChangeSetKind, template: &str) -> ChangeSetRequest {
    ChangeSetRequest {
        stack: stack.to_owned(),
        name: name.to_owned(),
        token: name.to_owned(),
        kind,
        template_body: template.into(),
        parameters: vec![("Name".to_owned(), "bucket-of-a-test".to_owned())],
        tags: Some(vec![("team".to_owned(), "web".to_owned())]),
    }
}

#[tokio::test]
async fn a_stack_is_made_and_changed_on_moto() {
    let Some(moto) = Moto::start().await else { return };
    let target = target(&moto).await;
    let access = access();

    assert_eq!(target.describe_stack(&access, "web").await, Ok(None));

    let create = request("a-1", "web", ChangeSetKind::Create, ONE_BUCKET);
    let set = target.create_change_set(&access, &create).await.expect("made");
    // The stack lives in the role's account.
    assert!(set.stack_id.starts_with("arn:aws:cloudformation:eu-west-1:222222222222:stack/web/"), "{set:?}");
    let stack = target.describe_stack(&access, "web").await.expect("answered").expect("there");
    assert_eq!((&stack.id, &stack.status), (&set.stack_id, &StackStatus::ReviewInProgress));

    let described = target.describe_change_set(&access, "web", "a-1").await.expect("described");
    assert_eq!((&described.arn, &described.stack_id), (&set.change_set_arn, &set.stack_id));
    assert_eq!(described.status, ChangeSetStatus::CreateComplete);
    assert_eq!(described.execution_status, ExecutionStatus::Available);
    let adds: Vec<_> = described.changes.iter().map(|c| (&c.action, c.logical_id.as_str())).collect();
    assert_eq!(adds, [(&ChangeAction::Add, "Bucket")]);
    let by_arn = target.describe_change_set(&access, &set.stack_id, &set.change_set_arn).await;
    assert_eq!(by_arn, Ok(described));

    target.execute_change_set(&access, &set, "a-1").await.expect("executed");
    let stack = target.describe_stack(&access, &set.stack_id).await.expect("answered").expect("there");
    assert_eq!(stack.status, StackStatus::CreateComplete);

    let history = target.stack_events(&access, &set.stack_id, None, None).await.expect("read");
    let statuses: Vec<_> = history.iter().map(|event| event.status.as_str()).collect();
    assert!(statuses.ends_with(&["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]), "oldest first: {statuses:?}");

    let update = request("a-2", "web", ChangeSetKind::Update, AND_A_TOPIC);
    let set = target.create_change_set(&access, &update).await.expect("made");
    target.execute_change_set(&access, &set, "a-2").await.expect("executed");
    let stack = target.describe_stack(&access, "web").await.expect("answered").expect("there");
    assert_eq!((&stack.id, &stack.status), (&set.stack_id, &StackStatus::UpdateComplete));

    let last_seen = history.last().map(|event| event.id.as_str());
    let news = target.stack_events(&access, &set.stack_id, last_seen, None).await.expect("read");
    let statuses: Vec<_> = news.iter().map(|event| event.status.as_str()).collect();
    assert_eq!(statuses, ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"]);
}

#[tokio::test]
async fn moto_s_refusals_become_decisions() {
    let Some(moto) = Moto::start().await else { return };
    let target = target(&moto).await;
    let access = access();

    let create = request("a-1", "web", ChangeSetKind::Create, ONE_BUCKET);
    let set = target.create_change_set(&access, &create).await.expect("made");

    assert_eq!(target.describe_change_set(&access, "web", "another").await, Err(TargetError::NotFound));
    assert_eq!(target.stack_events(&access, "no-such-stack", None, None).await, Err(TargetError::NotFound));
    let update = request("a-1", "no-such-stack", ChangeSetKind::Update, ONE_BUCKET);
    assert_eq!(target.create_change_set(&access, &update).await, Err(TargetError::NotFound));

    assert_eq!(target.delete_change_set(&access, &set.stack_id, &set.change_set_arn).await, Ok(()));
    assert_eq!(
        target.describe_change_set(&access, &set.stack_id, &set.change_set_arn).await,
        Err(TargetError::NotFound)
    );

    let caller = target.caller_identity().await.expect("answered");
    assert_eq!(caller.account.as_str(), "123456789012");
}

#[tokio::test]
async fn an_event_is_put_on_moto_s_bus() {
    let Some(moto) = Moto::start().await else { return };
    let target = target(&moto).await;
    let event = |source: &str, detail: &str| BusEvent {
        bus: "arn:aws:events:eu-west-1:222222222222:event-bus/default".parse().expect("a bus"),
        source: source.to_owned(),
        detail_type: "Git Sync Resource Sync Status Change".to_owned(),
        detail: detail.to_owned(),
        time_ms: 1_795_392_000_000,
    };
    let put = target.put_event(&access(), &event("syncline.codeconnections", "{}")).await;
    assert_eq!(put.as_deref().map(str::len), Ok(36), "an id: {put:?}");
    let refused = target.put_event(&access(), &event("syncline.codeconnections", "no JSON")).await;
    assert!(matches!(refused, Err(TargetError::Refused { .. })), "{refused:?}");
}
