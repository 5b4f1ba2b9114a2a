//! What is made of bad answers and of none.

use std::sync::{Arc, Mutex};

use syncline_seams::{FaultPlan, Injected, Moment, Outside};
use syncline_targets::{
    AwsSource, ChangeSetKind, ChangeSetRef, ChangeSetRequest, CloudFormation, Settings, Target, TargetError,
};

use crate::stub::{Reply, Stub, access, impatient};

fn request() -> ChangeSetRequest {
    ChangeSetRequest {
        stack: "web".to_owned(),
        name: "a-1".to_owned(),
        token: "t-1".to_owned(),
        kind: ChangeSetKind::Update,
        template_body: "Resources: {}".into(),
        parameters: Vec::new(),
        tags: None,
    }
}

async fn create(reply: Reply) -> TargetError {
    let settings = if matches!(reply, Reply::Hang) { impatient() } else { Settings::default() };
    let stub = Stub::start().await;
    stub.assumable().reply("CreateChangeSet", reply);
    let target = stub.target_with(Outside::default(), settings).await;
    let answer = target.create_change_set(&access(), &request()).await;
    assert_eq!(stub.actions(), ["AssumeRole", "CreateChangeSet"], "nothing is tried twice");
    answer.expect_err("an error")
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn what_aws_refuses_is_told_in_its_own_words() {
    let check = async |status: u16, code: &str, message: &str, expect: TargetError| {
        assert_eq!(create(Reply::error(status, code, message)).await, expect, "{status} {code}: {message}");
    };
    let (code, message) = (text("ValidationError"), text("Template format error: <Resources> & more"));
    check(
        400,
        "ValidationError",
        "Template format error: &lt;Resources&gt; &amp; more",
        TargetError::Refused { code, message },
    )
    .await;
    let (code, message) = (text("Throttling"), text("Rate exceeded"));
    check(
        400,
        "Throttling",
        "Rate exceeded",
        TargetError::Unavailable { code, message, retry_after_ms: None },
    )
    .await;
    let (code, message) = (text("AccessDenied"), text("User: x is not authorized"));
    check(403, "AccessDenied", "User: x is not authorized", TargetError::Denied { code, message }).await;
    check(400, "ValidationError", "Stack [web] does not exist", TargetError::NotFound).await;
    check(400, "AlreadyExistsException", "ChangeSet a-1 already exists", TargetError::AlreadyExists).await;
    let message = text("Stack:web is in UPDATE_IN_PROGRESS state and can not be updated.");
    check(400, "ValidationError", &message.clone(), TargetError::InvalidState { message }).await;
    let (code, message) = (text("LimitExceededException"), text("ChangeSet limit exceeded"));
    check(400, "LimitExceededException", "ChangeSet limit exceeded", TargetError::Refused { code, message })
        .await;
    let (code, message) = (text("InternalFailure"), text("sorry"));
    check(500, "InternalFailure", "sorry", TargetError::Unavailable { code, message, retry_after_ms: None })
        .await;
}

#[tokio::test]
async fn execution_tells_its_errors_apart() {
    let check = async |status: u16, code: &str, message: &str, expect: TargetError| {
        let stub = Stub::start().await;
        stub.assumable().reply("ExecuteChangeSet", Reply::error(status, code, message));
        let set = ChangeSetRef { change_set_arn: text("arn:a"), stack_id: text("arn:s") };
        let answer = stub.target().await.execute_change_set(&access(), &set, "t-1").await;
        assert_eq!(answer, Err(expect), "{status} {code}: {message}");
    };
    check(404, "ChangeSetNotFound", "ChangeSet [a] does not exist", TargetError::NotFound).await;
    check(400, "TokenAlreadyExistsException", "taken", TargetError::TokenAlreadyExists).await;
    let message = text("ChangeSet [a] cannot be executed in its current execution status of [OBSOLETE]");
    check(400, "InvalidChangeSetStatus", &message.clone(), TargetError::InvalidChangeSetStatus { message })
        .await;
}

#[tokio::test]
async fn no_usable_answer_is_never_a_verdict_on_the_revision() {
    let http =
        |status: u16, headers: &'static str, body: &str| Reply::Http { status, headers, body: text(body) };
    let raw = |bytes: &str| Reply::Raw(bytes.as_bytes().to_vec());
    let check = async |reply: Reply, expect_code: &str, expect_ms: Option<i64>| {
        let error = create(reply.clone()).await;
        let TargetError::Unavailable { code, message, retry_after_ms } = &error else {
            panic!("{reply:?} became {error:?}");
        };
        assert_eq!((code.as_str(), *retry_after_ms), (expect_code, expect_ms), "{reply:?}: {message}");
        assert!(!message.is_empty() && !message.contains("secret"), "{reply:?}: {message}");
    };
    // Proxies, crashes and things that are not CloudFormation.
    check(http(500, "content-type: text/html\r\n", "<html><title>oops</title>"), "HTTP 500", None).await;
    check(http(500, "", "Traceback (most recent call last)"), "HTTP 500", None).await;
    check(http(502, "retry-after: 7\r\n", "<html><body>Bad Gateway</body></html>"), "HTTP 502", Some(7_000))
        .await;
    check(http(503, "retry-after: soon\r\n", ""), "HTTP 503", None).await;
    check(http(403, "", "<html>blocked</html>"), "HTTP 403", None).await;
    check(http(404, "", "{\"message\":\"no route\"}"), "HTTP 404", None).await;
    check(http(301, "location: http://127.0.0.1:1/\r\n", ""), "HTTP 301", None).await;
    // Answers that end early, are something else, or lack what they must have.
    check(http(200, "", "<DescribeStacksResponse/>"), "MalformedAnswer", None).await;
    check(http(200, "", "<CreateChangeSetResponse><CreateChangeSetResult><Id>x"), "MalformedAnswer", None)
        .await;
    check(http(200, "", "{}"), "MalformedAnswer", None).await;
    check(http(200, "", ""), "MalformedAnswer", None).await;
    check(Reply::ok("CreateChangeSet", "<Id>x</Id>"), "MalformedAnswer", None).await;
    check(raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n<CreateChange"), "MalformedAnswer", None).await;
    // The request arrived, the answer did not.
    check(raw(""), "NoConnection", None).await;
    check(raw("HTTP/1.1 200 OK\r\ncontent-le"), "NoConnection", None).await;
    check(raw("SSH-2.0-OpenSSH_9.6\r\n"), "NoConnection", None).await;
    check(Reply::Hang, "Timeout", None).await;
}

#[tokio::test]
async fn an_answer_is_not_read_without_end() {
    let stub = Stub::start().await;
    let answer = format!("<Id>a</Id><StackId>s</StackId><!--{}-->", " ".repeat(17 << 20));
    stub.assumable().reply("CreateChangeSet", Reply::ok("CreateChangeSet", &answer));
    let answer = stub.target().await.create_change_set(&access(), &request()).await;
    let Err(TargetError::Unavailable { code, message, .. }) = &answer else { panic!("{answer:?}") };
    assert_eq!(code, "MalformedAnswer");
    assert!(message.contains("length limit exceeded"), "{message}");
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_named() {
    let stub = Stub::start().await;
    let target = stub.target().await;
    let url = stub.url.clone();
    drop(stub);
    // The listener is closed once its task has ended.
    let error = loop {
        match target.describe_stack(&access(), "web").await {
            Err(TargetError::Unavailable { code, message, .. }) if code == "NoConnection" => {
                if message.contains("refused") {
                    break message;
                }
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(error.contains(&format!("STS in eu-west-1 at {url}")), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_tls_is_no_connection() {
    let stub = Stub::start().await;
    let source = AwsSource::Fixed {
        endpoint_url: stub.url.replace("http:", "https:"),
        access_key_id: text("AKIA0000000000000000"),
        secret_access_key: syncline_seams::Secret::new("server-secret"),
    };
    let clock = Arc::clone(&stub.clock);
    let target = CloudFormation::new(source, Outside::default(), clock, Settings::default()).await;
    let answer = target.describe_stack(&access(), "web").await;
    assert!(
        matches!(&answer, Err(TargetError::Unavailable { code, .. }) if code == "NoConnection"),
        "{answer:?}"
    );
    assert_eq!(stub.actions(), [""; 0]);
}

#[tokio::test]
async fn a_signature_error_does_not_repeat_our_token() {
    let canonical = "The request signature we calculated does not match. The Canonical String should have been \
                     'POST\n/\n\nhost:x\nx-amz-security-token:token-1\n\nhost;x-amz-security-token\nabc' ASIA0000000000000001";
    let error = create(Reply::error(403, "SignatureDoesNotMatch", canonical)).await;
    let told = format!("{error:?} {error}");
    assert!(matches!(error, TargetError::Unavailable { .. }), "{told}");
    assert!(!told.contains("token-1") && !told.contains("ASIA"), "{told}");
    assert!(told.contains("does not match"), "{told}");
}

/// Notes every point it is asked about, and breaks one.
#[derive(Debug, Default)]
struct Plan {
    asked: Mutex<Vec<(&'static str, Moment)>>,
    broken: Option<(&'static str, Moment, Injected)>,
}

impl FaultPlan for Plan {
    fn at(&self, point: &'static str, moment: Moment) -> Option<Injected> {
        self.asked.lock().expect("not poisoned").push((point, moment));
        self.broken.filter(|broken| (broken.0, broken.1) == (point, moment)).map(|broken| broken.2)
    }
}

#[tokio::test]
async fn every_call_has_its_fault_point() {
    let stub = Stub::start().await;
    let plan = Arc::new(Plan::default());
    let target = stub.target_with(Outside::with_faults(Arc::clone(&plan) as _), Settings::default()).await;
    stub.assumable();
    let (access, set) = (access(), ChangeSetRef { change_set_arn: text("arn:a"), stack_id: text("arn:s") });
    // What is answered does not matter here; only that each was asked.
    let _ = target.describe_stack(&access, "web").await;
    let _ = target.create_change_set(&access, &request()).await;
    let _ = target.describe_change_set(&access, "web", "a-1").await;
    let _ = target.delete_change_set(&access, "web", "a-1").await;
    let _ = target.execute_change_set(&access, &set, "t-1").await;
    let _ = target.stack_events(&access, "arn:s", None, None).await;
    let _ = target.caller_identity().await;

    let expect = [
        "sts.AssumeRole",
        "cloudformation.DescribeStacks",
        "cloudformation.CreateChangeSet",
        "cloudformation.DescribeChangeSet",
        "cloudformation.DeleteChangeSet",
        "cloudformation.ExecuteChangeSet",
        "cloudformation.DescribeStackEvents",
        "sts.GetCallerIdentity",
    ];
    let asked = plan.asked.lock().expect("not poisoned").clone();
    let expected: Vec<_> =
        expect.iter().flat_map(|&point| [(point, Moment::Before), (point, Moment::After)]).collect();
    assert_eq!(asked, expected);
    let actions: Vec<_> = expect.iter().map(|point| point.split_once('.').expect("a dot").1).collect();
    assert_eq!(stub.actions(), actions);
}

#[tokio::test]
async fn a_broken_call_is_unavailable_before_and_after_its_effect() {
    let check = async |moment: Moment, injected: Injected, code: &str, arrived: bool| {
        let stub = Stub::start().await;
        let broken = Some(("cloudformation.CreateChangeSet", moment, injected));
        let plan = Arc::new(Plan { asked: Mutex::default(), broken });
        stub.assumable()
            .reply("CreateChangeSet", Reply::ok("CreateChangeSet", "<Id>a</Id><StackId>s</StackId>"));
        let target = stub.target_with(Outside::with_faults(plan), Settings::default()).await;
        let answer = target.create_change_set(&access(), &request()).await;
        assert!(matches!(&answer, Err(TargetError::Unavailable { code: c, .. }) if c == code), "{answer:?}");
        assert_eq!(stub.actions().contains(&text("CreateChangeSet")), arrived, "{moment:?}");
    };
    check(Moment::Before, Injected::Fail, "Interrupted", false).await;
    check(Moment::After, Injected::Fail, "Interrupted", true).await;
    check(Moment::After, Injected::TimeOut, "Timeout", true).await;
}
