//! What is sent, and what is made of a good answer.

use syncline_targets::{
    ChangeAction, ChangeSetKind, ChangeSetRef, ChangeSetRequest, ChangeSetStatus, Execution, ExecutionStatus,
    Replacement, StackStatus, Target, TargetError,
};

use crate::stub::{Reply, START_MS, Stub, access};

const STACK_ID: &str = "arn:aws:cloudformation:eu-west-1:222222222222:stack/web/s-1";
const SET_ARN: &str = "arn:aws:cloudformation:eu-west-1:222222222222:changeSet/a-1/c-1";

fn request(kind: ChangeSetKind) -> ChangeSetRequest {
    ChangeSetRequest {
        stack: "web".to_owned(),
        name: "a-1".to_owned(),
        token: "t-1".to_owned(),
        kind,
        template_body: "Resources: {}\r\n# ä & = + %20\n".into(),
        parameters: vec![("B".to_owned(), "a,b".to_owned()), ("A".to_owned(), String::new())],
        tags: Some(vec![("team".to_owned(), "web & co".to_owned())]),
    }
}

async fn sent(request: &ChangeSetRequest) -> String {
    let stub = Stub::start().await;
    stub.assumable().reply(
        "CreateChangeSet",
        Reply::ok("CreateChangeSet", &format!("<Id>{SET_ARN}</Id><StackId>{STACK_ID}</StackId>")),
    );
    let made = stub.target().await.create_change_set(&access(), request).await.expect("made");
    assert_eq!(made, ChangeSetRef { change_set_arn: SET_ARN.to_owned(), stack_id: STACK_ID.to_owned() });
    stub.last().fields()
}

#[tokio::test]
async fn a_create_change_set_says_everything_once() {
    assert_eq!(
        sent(&request(ChangeSetKind::Create)).await,
        "Action=CreateChangeSet\n\
         Capabilities.member.1=CAPABILITY_IAM\n\
         Capabilities.member.2=CAPABILITY_NAMED_IAM\n\
         Capabilities.member.3=CAPABILITY_AUTO_EXPAND\n\
         ChangeSetName=a-1\n\
         ChangeSetType=CREATE\n\
         ClientToken=t-1\n\
         IncludeNestedStacks=false\n\
         OnStackFailure=DELETE\n\
         Parameters.member.1.ParameterKey=B\n\
         Parameters.member.1.ParameterValue=a,b\n\
         Parameters.member.2.ParameterKey=A\n\
         Parameters.member.2.ParameterValue=\n\
         StackName=web\n\
         Tags.member.1.Key=team\n\
         Tags.member.1.Value=web & co\n\
         TemplateBody=Resources: {}\r\n# ä & = + %20\n\n\
         Version=2010-05-15"
    );
}

#[tokio::test]
async fn an_update_never_deletes_the_stack_and_absent_is_not_empty() {
    let mut update = request(ChangeSetKind::Update);
    update.parameters.clear();
    update.tags = None;
    let fields = sent(&update).await;
    assert!(fields.contains("ChangeSetType=UPDATE\n"), "{fields}");
    for absent in ["OnStackFailure", "Parameters", "Tags"] {
        assert!(!fields.contains(absent), "{absent} should not be sent:\n{fields}");
    }

    update.tags = Some(Vec::new());
    let fields = sent(&update).await;
    assert!(fields.contains("\nTags=\n"), "an empty set of tags removes them:\n{fields}");
}

#[tokio::test]
async fn calls_are_made_as_the_role_in_the_sync_s_region() {
    let stub = Stub::start().await;
    stub.assumable().reply("DescribeStacks", Reply::ok("DescribeStacks", "<Stacks/>"));
    assert_eq!(stub.target().await.describe_stack(&access(), "web").await, Ok(None));

    let [assume, describe] = &stub.requests()[..] else { panic!("two calls") };
    assert_eq!(
        assume.fields(),
        "Action=AssumeRole\nExternalId=external-1\nRoleArn=arn:aws:iam::222222222222:role/deploy\n\
         RoleSessionName=syncline-111111111111\nVersion=2011-06-15"
    );
    let signed_by = |request: &crate::stub::Request| request.headers["authorization"].clone();
    let assume_by = "AWS4-HMAC-SHA256 Credential=AKIA0000000000000000/20261123/eu-west-1/sts/aws4_request";
    assert!(signed_by(assume).starts_with(assume_by), "{}", signed_by(assume));
    let describe_by =
        "AWS4-HMAC-SHA256 Credential=ASIA0000000000000001/20261123/eu-west-1/cloudformation/aws4_request";
    assert!(signed_by(describe).starts_with(describe_by), "{}", signed_by(describe));
    assert_eq!(describe.headers["x-amz-security-token"], "token-1");
    // The virtual clock's time, not the machine's.
    assert_eq!(describe.headers["x-amz-date"], "20261123T000000Z");
    assert_eq!(describe.fields(), "Action=DescribeStacks\nStackName=web\nVersion=2010-05-15");
}

#[tokio::test]
async fn a_stack_is_described() {
    let stub = Stub::start().await;
    stub.assumable().reply(
        "DescribeStacks",
        Reply::ok(
            "DescribeStacks",
            &format!(
                "<Stacks><member><StackId>{STACK_ID}</StackId><StackName>web</StackName>\
                 <ChangeSetId>{SET_ARN}</ChangeSetId><CreationTime>2026-11-22T23:59:59.250Z</CreationTime>\
                 <StackStatus>UPDATE_ROLLBACK_FAILED</StackStatus><StackStatusReason>stuck</StackStatusReason>\
                 </member></Stacks>"
            ),
        ),
    );
    let stack = stub.target().await.describe_stack(&access(), "web").await.expect("answered").expect("there");
    assert_eq!((stack.id.as_str(), stack.name.as_str()), (STACK_ID, "web"));
    assert_eq!(stack.status, StackStatus::UpdateRollbackFailed);
    assert_eq!(stack.status_reason.as_deref(), Some("stuck"));
    assert_eq!(stack.change_set_arn.as_deref(), Some(SET_ARN));
    assert_eq!((stack.created_ms, stack.updated_ms), (Some(crate::stub::START_MS - 750), None));
}

#[tokio::test]
async fn a_stack_that_does_not_exist_is_none() {
    let stub = Stub::start().await;
    stub.assumable()
        .reply("DescribeStacks", Reply::error(400, "ValidationError", "Stack with id web does not exist"));
    assert_eq!(stub.target().await.describe_stack(&access(), "web").await, Ok(None));
}

fn change_page(changes: &str, next: &str) -> Reply {
    Reply::ok(
        "DescribeChangeSet",
        &format!(
            "<ChangeSetName>a-1</ChangeSetName><ChangeSetId>{SET_ARN}</ChangeSetId><StackId>{STACK_ID}</StackId>\
             <Status>CREATE_COMPLETE</Status><ExecutionStatus>AVAILABLE</ExecutionStatus>\
             <Changes>{changes}</Changes>{next}"
        ),
    )
}

#[tokio::test]
async fn a_change_set_is_described_with_all_its_pages() {
    let stub = Stub::start().await;
    stub.assumable()
        .reply(
            "DescribeChangeSet",
            change_page(
                "<member><Type>Resource</Type><ResourceChange><Action>Modify</Action>\
                 <LogicalResourceId>Bucket</LogicalResourceId><PhysicalResourceId>b-1</PhysicalResourceId>\
                 <ResourceType>AWS::S3::Bucket</ResourceType><Replacement>True</Replacement>\
                 <PolicyAction>ReplaceAndRetain</PolicyAction>\
                 <Scope><member>Properties</member><member>Tags</member></Scope></ResourceChange></member>",
                "<NextToken>n-1</NextToken>",
            ),
        )
        .reply(
            "DescribeChangeSet",
            change_page(
                "<member><Type>Resource</Type><ResourceChange><Action>Add</Action>\
                 <LogicalResourceId>Topic</LogicalResourceId><ResourceType>AWS::SNS::Topic</ResourceType>\
                 <Scope/></ResourceChange></member>",
                "",
            ),
        );
    let set = stub.target().await.describe_change_set(&access(), "web", "a-1").await.expect("described");
    assert_eq!((set.arn.as_str(), set.stack_id.as_str()), (SET_ARN, STACK_ID));
    assert_eq!(set.status, ChangeSetStatus::CreateComplete);
    assert_eq!(set.execution_status, ExecutionStatus::Available);
    let [bucket, topic] = &set.changes[..] else { panic!("two changes: {:?}", set.changes) };
    assert_eq!((bucket.action.as_str(), bucket.logical_id.as_str()), ("Modify", "Bucket"));
    assert_eq!(bucket.physical_id.as_deref(), Some("b-1"));
    assert_eq!(bucket.replacement, Some(Replacement::True));
    assert_eq!(bucket.policy_action.as_deref(), Some("ReplaceAndRetain"));
    assert_eq!(bucket.scope, ["Properties", "Tags"]);
    assert_eq!((&topic.action, topic.resource_type.as_str()), (&ChangeAction::Add, "AWS::SNS::Topic"));
    assert_eq!((&topic.physical_id, &topic.replacement), (&None, &None));

    let asked: Vec<_> = stub.requests()[1..].iter().map(crate::stub::Request::fields).collect();
    assert_eq!(asked[0], "Action=DescribeChangeSet\nChangeSetName=a-1\nStackName=web\nVersion=2010-05-15");
    assert_eq!(asked[1], asked[0].replace("\nStackName", "\nNextToken=n-1\nStackName"));
}

#[tokio::test]
async fn changed_properties_are_told_with_their_values_to_whoever_asks_for_them() {
    let stub = Stub::start().await;
    let page = change_page(
        "<member><Type>Resource</Type><ResourceChange><Action>Modify</Action>\
         <LogicalResourceId>Topic</LogicalResourceId><ResourceType>AWS::SNS::Topic</ResourceType>\
         <Scope><member>Properties</member></Scope><Details><member><Target><Attribute>Properties</Attribute>\
         <Name>DisplayName</Name><Path>/Properties/DisplayName</Path><BeforeValue>canary</BeforeValue>\
         <AfterValue></AfterValue></Target><CausingEntity>Name</CausingEntity></member>\
         <member><Target><Attribute>Tags</Attribute></Target></member></Details></ResourceChange></member>",
        "",
    );
    stub.assumable().reply("DescribeChangeSet", page);
    let set = stub.target().await.describe_changes(&access(), "web", "a-1").await.expect("described");
    let [name, tags] = &set.changes[0].details[..] else { panic!("two details: {set:?}") };
    assert_eq!(name.property.as_deref(), Some("DisplayName"));
    assert_eq!(name.path.as_deref(), Some("/Properties/DisplayName"));
    assert_eq!((name.before.as_deref(), name.after.as_deref()), (Some("canary"), Some("")));
    assert_eq!(name.cause.as_deref(), Some("Name"));
    assert_eq!((&tags.property, &tags.before), (&None, &None));
    assert!(stub.last().fields().contains("\nIncludePropertyValues=true\n"), "{}", stub.last().fields());
    assert!(!format!("{set:?}").contains("canary"), "values may be secrets: {set:?}");
}

#[tokio::test]
async fn what_a_stack_was_made_from_is_its_template_as_sent_and_its_parameters() {
    let stub = Stub::start().await;
    let parameters = "<Parameters><member><ParameterKey>Name</ParameterKey><ParameterValue>canary</ParameterValue></member>\
         <member><ParameterKey>Odd</ParameterKey></member></Parameters>";
    let stacks = format!(
        "<Stacks><member><StackId>{STACK_ID}</StackId><StackName>web</StackName>\
         <StackStatus>CREATE_COMPLETE</StackStatus>{parameters}</member></Stacks>"
    );
    stub.assumable()
        .reply("GetTemplate", Reply::ok("GetTemplate", "<TemplateBody>Resources: {}</TemplateBody>"))
        .reply("DescribeStacks", Reply::ok("DescribeStacks", &stacks));
    let target = stub.target().await;
    let declared = target.declared(&access(), STACK_ID).await.expect("declared");
    assert_eq!(declared.template, "Resources: {}");
    assert_eq!(declared.parameters, [("Name".to_owned(), "canary".to_owned())]);
    assert!(!format!("{declared:?}").contains("canary"), "{declared:?}");
    let fields = stub.requests()[1].fields();
    assert_eq!(
        fields,
        format!("Action=GetTemplate\nStackName={STACK_ID}\nTemplateStage=Original\nVersion=2010-05-15")
    );
    stub.reply("GetTemplate", Reply::error(400, "ValidationError", "Stack with id web does not exist"));
    assert_eq!(target.declared(&access(), "web").await, Err(TargetError::NotFound));
}

#[tokio::test]
async fn a_change_set_that_never_ends_is_given_up() {
    let stub = Stub::start().await;
    stub.assumable();
    for _ in 0..200 {
        stub.reply("DescribeChangeSet", change_page("", "<NextToken>again</NextToken>"));
    }
    let answer = stub.target().await.describe_change_set(&access(), "web", "a-1").await;
    assert!(
        matches!(&answer, Err(TargetError::Unavailable { code, .. }) if code == "TooManyPages"),
        "{answer:?}"
    );
    assert_eq!(stub.requests().len(), 1 + 100);
}

#[tokio::test]
async fn execution_carries_the_token_and_both_names() {
    let stub = Stub::start().await;
    stub.assumable().reply("ExecuteChangeSet", Reply::ok("ExecuteChangeSet", ""));
    let set = ChangeSetRef { change_set_arn: SET_ARN.to_owned(), stack_id: STACK_ID.to_owned() };
    stub.target().await.execute_change_set(&access(), &set, "t-1").await.expect("begun");
    assert_eq!(
        stub.last().fields(),
        format!(
            "Action=ExecuteChangeSet\nChangeSetName={SET_ARN}\nClientRequestToken=t-1\n\
             StackName={STACK_ID}\nVersion=2010-05-15"
        )
    );
}

#[tokio::test]
async fn a_change_set_that_is_gone_is_deleted() {
    let deleted = Reply::ok("DeleteChangeSet", "");
    let no_set = Reply::error(404, "ChangeSetNotFound", "ChangeSet [a-1] does not exist");
    let no_stack = Reply::error(400, "ValidationError", "Stack [web] does not exist");
    for reply in [deleted, no_set, no_stack] {
        let stub = Stub::start().await;
        stub.assumable().reply("DeleteChangeSet", reply);
        assert_eq!(stub.target().await.delete_change_set(&access(), "web", "a-1").await, Ok(()));
        assert_eq!(
            stub.last().fields(),
            "Action=DeleteChangeSet\nChangeSetName=a-1\nStackName=web\nVersion=2010-05-15"
        );
    }
}

/// One page of events, newest first: `id`, status and token, of the stack itself where the id begins with `s`.
fn event_page(events: &[(&str, &str, &str)], next: Option<&str>) -> Reply {
    let events: String = events
        .iter()
        .map(|(id, status, token)| {
            let physical = if id.starts_with('s') { STACK_ID } else { "b-1" };
            let token = if token.is_empty() {
                String::new()
            } else {
                format!("<ClientRequestToken>{token}</ClientRequestToken>")
            };
            format!(
                "<member><StackId>{STACK_ID}</StackId><EventId>{id}</EventId><StackName>web</StackName>\
                 <LogicalResourceId>L</LogicalResourceId><PhysicalResourceId>{physical}</PhysicalResourceId>\
                 <ResourceType>T</ResourceType><Timestamp>2026-11-23T00:00:00.001Z</Timestamp>\
                 <ResourceStatus>{status}</ResourceStatus>{token}</member>"
            )
        })
        .collect();
    let next = next.map(|token| format!("<NextToken>{token}</NextToken>")).unwrap_or_default();
    Reply::ok("DescribeStackEvents", &format!("<StackEvents>{events}</StackEvents>{next}"))
}

async fn events(pages: &[Reply], since: Option<&str>, of: Option<Execution<'_>>) -> (Vec<String>, usize) {
    let stub = Stub::start().await;
    stub.assumable();
    for page in pages {
        stub.reply("DescribeStackEvents", page.clone());
    }
    let events = stub.target().await.stack_events(&access(), STACK_ID, since, of).await.expect("read");
    (events.into_iter().map(|event| event.id).collect(), stub.requests().len() - 1)
}

#[tokio::test]
async fn events_come_oldest_first_and_no_further_back_than_asked() {
    let pages = [
        event_page(
            &[
                ("s6", "UPDATE_COMPLETE", "t-2"),
                ("r5", "UPDATE_COMPLETE", "t-2"),
                ("s4", "UPDATE_IN_PROGRESS", "t-2"),
            ],
            Some("n-1"),
        ),
        event_page(&[("s3", "CREATE_COMPLETE", "t-1"), ("r2", "CREATE_COMPLETE", "t-1")], Some("n-2")),
        event_page(&[("s1", "CREATE_IN_PROGRESS", "t-1"), ("s0", "REVIEW_IN_PROGRESS", "")], None),
    ];
    let check = async |since: Option<&str>, token: Option<&str>, expect: &[&str], calls: usize| {
        let of = token.map(|token| Execution { token, change_set_created_ms: None });
        let (ids, made) = events(&pages, since, of).await;
        assert_eq!(
            (ids, made),
            (expect.iter().map(|&id| id.to_owned()).collect(), calls),
            "{since:?} {token:?}"
        );
    };
    check(None, None, &["s0", "s1", "r2", "s3", "s4", "r5", "s6"], 3).await;
    check(Some("s3"), None, &["s4", "r5", "s6"], 2).await;
    check(Some("s6"), None, &[], 1).await;
    check(Some("unknown"), None, &["s0", "s1", "r2", "s3", "s4", "r5", "s6"], 3).await;
    // An operation's own first event ends the search for its token.
    check(None, Some("t-2"), &["s4", "r5", "s6"], 1).await;
    check(None, Some("t-1"), &["s1", "r2", "s3"], 3).await;
    check(Some("r2"), Some("t-1"), &["s3"], 2).await;
    check(None, Some("never-begun"), &[], 3).await;
}

#[tokio::test]
async fn events_without_a_token_belong_to_the_execution_that_has_none_with_one() {
    let at_ms = crate::stub::START_MS + 1;
    let check = async |shown: &[(&str, &str, &str)], created_ms: Option<i64>, expect: &[&str]| {
        let of = Execution { token: "t-2", change_set_created_ms: created_ms };
        let (ids, _) = events(&[event_page(shown, None)], None, Some(of)).await;
        assert_eq!(ids, expect, "{shown:?} {created_ms:?}");
    };
    let silent = [
        ("s4", "UPDATE_COMPLETE", ""),
        ("r3", "UPDATE_COMPLETE", ""),
        ("s2", "UPDATE_IN_PROGRESS", ""),
        ("s1", "REVIEW_IN_PROGRESS", ""),
        ("s0", "CREATE_COMPLETE", "t-1"),
    ];
    check(&silent, Some(at_ms), &["s2", "r3", "s4"]).await;
    check(&silent, Some(at_ms + 1), &[]).await;
    check(&silent, None, &[]).await;
    // Somebody else's operation without a token follows ours.
    let followed = [
        ("s3", "UPDATE_IN_PROGRESS", ""),
        ("s2", "UPDATE_COMPLETE", "t-2"),
        ("r1", "UPDATE_COMPLETE", "t-2"),
    ];
    check(&followed, Some(at_ms), &["r1", "s2"]).await;
}

#[tokio::test]
async fn an_event_is_read_whole() {
    let stub = Stub::start().await;
    stub.assumable().reply("DescribeStackEvents", event_page(&[("r1", "CREATE_FAILED", "t-1")], None));
    let events = stub.target().await.stack_events(&access(), STACK_ID, None, None).await.expect("read");
    let [event] = &events[..] else { panic!("one event: {events:?}") };
    assert_eq!((event.logical_id.as_str(), event.resource_type.as_str()), ("L", "T"));
    assert_eq!((event.physical_id.as_deref(), event.status.as_str()), (Some("b-1"), "CREATE_FAILED"));
    assert_eq!((event.time_ms, &event.reason), (crate::stub::START_MS + 1, &None));
    assert_eq!(event.client_request_token.as_deref(), Some("t-1"));
    assert_eq!(stub.last().field("StackName"), Some(STACK_ID));
}

#[tokio::test]
async fn a_long_history_is_read_only_so_far() {
    let pages: Vec<_> = (0..30).map(|_| event_page(&[("r1", "CREATE_COMPLETE", "")], Some("more"))).collect();
    let (ids, calls) = events(&pages, None, None).await;
    assert_eq!((ids.len(), calls), (20, 20));
}

#[tokio::test]
async fn who_we_are_is_asked_once_an_hour_and_after_a_failure_twice_a_minute() {
    let stub = Stub::start().await;
    let identity = |name: &str| {
        let arn = format!("arn:aws:iam::333333333333:user/{name}");
        let told = format!("<Arn>{arn}</Arn><UserId>A</UserId><Account>333333333333</Account>");
        (Reply::ok("GetCallerIdentity", &told), arn)
    };
    let ((first, first_arn), (second, second_arn)) = (identity("one"), identity("two"));
    stub.reply("GetCallerIdentity", Reply::error(403, "AccessDenied", "no"));
    stub.reply("GetCallerIdentity", first).reply("GetCallerIdentity", second);
    let target = stub.target().await;
    let check = async |after_ms: i64, expect: Option<&String>, calls: usize| {
        stub.clock.advance_ms(after_ms);
        let answer = target.principal().await;
        assert_eq!((answer.as_ref().ok(), stub.requests().len()), (expect, calls), "{answer:?}");
    };
    check(0, None, 1).await;
    check(29_999, None, 1).await;
    check(1, Some(&first_arn), 2).await;
    check(3_599_999, Some(&first_arn), 2).await;
    check(1, Some(&second_arn), 3).await;
}

#[tokio::test]
async fn the_caller_knows_who_it_is() {
    let stub = Stub::start().await;
    stub.reply(
        "GetCallerIdentity",
        Reply::ok(
            "GetCallerIdentity",
            "<Arn>arn:aws:sts::333333333333:assumed-role/syncline/i-1</Arn><UserId>A:i-1</UserId>\
             <Account>333333333333</Account>",
        ),
    );
    let caller = stub.target().await.caller_identity().await.expect("answered");
    assert_eq!(caller.account.as_str(), "333333333333");
    assert_eq!(caller.principal_arn(), "arn:aws:iam::333333333333:role/syncline");
}

#[tokio::test]
async fn stacks_in_progress_are_listed_page_by_page_and_once_for_a_moment() {
    let stub = Stub::start().await;
    let summary = |number: u32, status: &str, updated: &str| {
        format!(
            "<member><StackId>{STACK_ID}{number}</StackId><StackName>web</StackName>\
             <CreationTime>2026-11-23T00:00:00Z</CreationTime>{updated}<StackStatus>{status}</StackStatus></member>"
        )
    };
    let updated = "<LastUpdatedTime>2026-11-23T00:00:01.5Z</LastUpdatedTime>";
    let first = summary(1, "UPDATE_IN_PROGRESS", updated);
    let second = summary(2, "CREATE_IN_PROGRESS", "");
    let page = |members: &str, rest: &str| {
        Reply::ok("ListStacks", &format!("<StackSummaries>{members}</StackSummaries>{rest}"))
    };
    stub.assumable().reply("ListStacks", page(&first, "<NextToken>more</NextToken>"));
    stub.reply("ListStacks", page(&second, ""));
    stub.reply("ListStacks", page("", ""));
    let target = stub.target().await;
    let ask = async |number: u32, asked_ms: i64| {
        let id = format!("{STACK_ID}{number}");
        target.in_progress(&access(), &id, asked_ms).await.expect("listed")
    };
    let found = ask(1, START_MS).await.expect("it is in progress");
    assert_eq!((found.status, found.updated_ms), (StackStatus::UpdateInProgress, Some(START_MS + 1_500)));
    assert_eq!(
        stub.last().fields(),
        "Action=ListStacks\n\
         NextToken=more\n\
         StackStatusFilter.member.1=CREATE_IN_PROGRESS\n\
         StackStatusFilter.member.2=ROLLBACK_IN_PROGRESS\n\
         StackStatusFilter.member.3=DELETE_IN_PROGRESS\n\
         StackStatusFilter.member.4=UPDATE_IN_PROGRESS\n\
         StackStatusFilter.member.5=UPDATE_COMPLETE_CLEANUP_IN_PROGRESS\n\
         StackStatusFilter.member.6=UPDATE_ROLLBACK_IN_PROGRESS\n\
         StackStatusFilter.member.7=UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS\n\
         StackStatusFilter.member.8=IMPORT_IN_PROGRESS\n\
         StackStatusFilter.member.9=IMPORT_ROLLBACK_IN_PROGRESS\n\
         Version=2010-05-15"
    );
    let found = ask(2, START_MS - 5).await.expect("it is in progress");
    assert_eq!((found.status, found.updated_ms), (StackStatus::CreateInProgress, None));
    assert_eq!(ask(3, START_MS).await, None, "of the same listing");
    stub.clock.advance_ms(1);
    assert_eq!(ask(1, START_MS + 1).await, None, "of the next one");
}
