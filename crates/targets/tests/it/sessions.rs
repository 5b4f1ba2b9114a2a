//! Roles are assumed as seldom as they can be, and as often as they must be.

use futures_util::future::join_all;
use syncline_targets::{Target, TargetError};

use crate::stub::{Reply, Stub, access};

const NO_STACKS: &str = "<Stacks/>";

fn described(stub: &Stub, times: usize) {
    for _ in 0..times {
        stub.reply("DescribeStacks", Reply::ok("DescribeStacks", NO_STACKS));
    }
}

fn assumed(stub: &Stub) -> usize {
    stub.actions().iter().filter(|action| *action == "AssumeRole").count()
}

#[tokio::test]
async fn a_session_serves_until_five_minutes_before_its_end() {
    let stub = Stub::start().await;
    stub.reply("AssumeRole", Reply::credentials(1, "2026-11-23T01:00:00Z"))
        .reply("AssumeRole", Reply::credentials(2, "2026-11-23T02:00:00Z"));
    described(&stub, 3);
    let target = stub.target().await;
    let describe = async || target.describe_stack(&access(), "web").await;

    assert_eq!(describe().await, Ok(None));
    stub.clock.advance_ms(55 * 60_000 - 1);
    assert_eq!(describe().await, Ok(None));
    assert_eq!(assumed(&stub), 1);

    stub.clock.advance_ms(1);
    assert_eq!(describe().await, Ok(None));
    assert_eq!(assumed(&stub), 2);
    assert_eq!(stub.last().headers["x-amz-security-token"], "token-2");
}

#[tokio::test]
async fn one_session_serves_all_regions_but_not_another_owner() {
    let stub = Stub::start().await;
    stub.assumable();
    described(&stub, 3);
    let target = stub.target().await;
    let mut elsewhere = access();
    elsewhere.region = "us-west-2".parse().expect("valid");

    assert_eq!(target.describe_stack(&access(), "web").await, Ok(None));
    assert_eq!(target.describe_stack(&elsewhere, "web").await, Ok(None));
    assert_eq!(assumed(&stub), 1);
    assert!(stub.last().headers["authorization"].contains("/us-west-2/cloudformation/"));

    let mut another = access();
    another.external_id = "external-2".to_owned();
    stub.reply("AssumeRole", Reply::error(403, "AccessDenied", "not authorized to perform: sts:AssumeRole"));
    let refused = target.describe_stack(&another, "web").await;
    assert!(matches!(&refused, Err(TargetError::RoleNotAssumable { role, .. }) if *role == another.role));
    assert_eq!(assumed(&stub), 2);
    assert_eq!(stub.last().field("ExternalId"), Some("external-2"));
}

#[tokio::test]
async fn callers_that_come_together_share_one_call() {
    let stub = Stub::start().await;
    stub.assumable();
    described(&stub, 10);
    let target = stub.target().await;
    let access = access();
    let answers = join_all((0..10).map(|_| target.describe_stack(&access, "web"))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(None)), "{answers:?}");
    assert_eq!(assumed(&stub), 1);
}

#[tokio::test]
async fn callers_that_come_together_share_the_refusal_too() {
    let stub = Stub::start().await;
    stub.reply("AssumeRole", Reply::error(403, "AccessDenied", "no"));
    let target = stub.target().await;
    let access = access();
    let answers = join_all((0..10).map(|_| target.describe_stack(&access, "web"))).await;
    let denied = |answer: &Result<_, _>| matches!(answer, Err(TargetError::RoleNotAssumable { .. }));
    assert!(answers.iter().all(denied), "{answers:?}");
    assert_eq!(stub.actions(), ["AssumeRole"]);

    // A refusal is not remembered: the role may trust us by now.
    stub.assumable();
    described(&stub, 1);
    assert_eq!(target.describe_stack(&access, "web").await, Ok(None));
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_hold_the_others() {
    let stub = Stub::start().await;
    stub.reply("AssumeRole", Reply::Hang).assumable();
    described(&stub, 1);
    let target = stub.target().await;
    let access = access();
    let mut first = target.describe_stack(&access, "web");
    // The first caller begins to assume the role, and is dropped once the call has arrived.
    loop {
        tokio::select! {
            biased;
            answer = &mut first => panic!("nobody answers: {answer:?}"),
            () = tokio::task::yield_now() => {}
        }
        if assumed(&stub) == 1 {
            break;
        }
    }
    drop(first);
    assert_eq!(target.describe_stack(&access, "web").await, Ok(None));
    assert_eq!(assumed(&stub), 2);
}

#[tokio::test]
async fn a_session_that_is_refused_is_forgotten() {
    for code in
        ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"]
    {
        let stub = Stub::start().await;
        stub.assumable()
            .reply(
                "DescribeStacks",
                Reply::error(403, code, "The security token included in the request is expired"),
            )
            .reply("AssumeRole", Reply::credentials(2, "2026-11-23T01:00:00Z"));
        described(&stub, 1);
        let target = stub.target().await;

        let first = target.describe_stack(&access(), "web").await;
        assert!(matches!(&first, Err(TargetError::Unavailable { code: c, .. }) if c == code), "{first:?}");
        assert_eq!(target.describe_stack(&access(), "web").await, Ok(None));
        assert_eq!(stub.actions(), ["AssumeRole", "DescribeStacks", "AssumeRole", "DescribeStacks"]);
        assert_eq!(stub.last().headers["x-amz-security-token"], "token-2");
    }
}

#[tokio::test]
async fn a_session_outlives_every_other_error() {
    let stub = Stub::start().await;
    stub.assumable()
        .reply("DescribeStacks", Reply::error(403, "AccessDenied", "not authorized"))
        .reply("DescribeStacks", Reply::error(400, "Throttling", "Rate exceeded"))
        .reply("DescribeStacks", Reply::Raw(Vec::new()));
    described(&stub, 1);
    let target = stub.target().await;
    for _ in 0..3 {
        assert!(target.describe_stack(&access(), "web").await.is_err());
    }
    assert_eq!(target.describe_stack(&access(), "web").await, Ok(None));
    assert_eq!(assumed(&stub), 1);
}

#[tokio::test]
async fn our_own_rejected_credentials_are_an_outage_and_not_the_role_s_fault() {
    let stub = Stub::start().await;
    stub.reply("AssumeRole", Reply::error(403, "InvalidClientTokenId", "The security token is invalid"));
    let answer = stub.target().await.describe_stack(&access(), "web").await;
    assert!(
        matches!(&answer, Err(TargetError::Unavailable { code, .. }) if code == "InvalidClientTokenId"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn no_secret_is_printed() {
    let stub = Stub::start().await;
    stub.assumable();
    described(&stub, 1);
    let target = stub.target().await;
    assert_eq!(target.describe_stack(&access(), "web").await, Ok(None));
    let printed = format!("{target:?}");
    for secret in ["secret-1", "token-1", "ASIA0", "server-secret", "AKIA0"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
