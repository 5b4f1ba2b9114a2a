//! What EventBridge is asked, and what its answers mean.

use serde_json::{Value, json};
use syncline_targets::{BusEvent, EventBus as _, TargetError};

use crate::stub::{Reply, START_MS, Stub, access};

fn event() -> BusEvent {
    BusEvent {
        bus: "arn:aws:events:eu-west-1:222222222222:event-bus/ops".parse().expect("a bus"),
        source: "syncline.codeconnections".to_owned(),
        detail_type: "Git Sync Resource Sync Status Change".to_owned(),
        detail: json!({ "status": "FAILED" }).to_string(),
        time_ms: START_MS + 1_500,
    }
}

fn answer(status: u16, body: &Value) -> Reply {
    let headers = "content-type: application/x-amz-json-1.1\r\n";
    Reply::Http { status, headers, body: body.to_string() }
}

#[tokio::test]
async fn an_event_is_put_as_the_role_where_its_bus_is() {
    let stub = Stub::start().await;
    stub.assumable().reply(
        "PutEvents",
        answer(200, &json!({ "FailedEntryCount": 0, "Entries": [{ "EventId": "e-1" }] })),
    );
    let target = stub.target().await;
    assert_eq!(target.put_event(&access(), &event()).await, Ok("e-1".to_owned()));
    assert_eq!(stub.actions(), ["AssumeRole", "PutEvents"]);
    let asked = stub.last();
    assert_eq!(asked.headers["x-amz-target"], "AWSEvents.PutEvents");
    assert_eq!(asked.headers["x-amz-security-token"], "token-1");
    let signed = &asked.headers["authorization"];
    assert!(
        signed.contains("Credential=ASIA0000000000000001/20261123/eu-west-1/events/aws4_request"),
        "{signed}"
    );
    let body: Value = serde_json::from_str(&asked.body).expect("JSON");
    let expect = json!({ "Entries": [{ "EventBusName": "arn:aws:events:eu-west-1:222222222222:event-bus/ops",
        "Source": "syncline.codeconnections", "DetailType": "Git Sync Resource Sync Status Change",
        "Detail": "{\"status\":\"FAILED\"}", "Time": 1_795_392_001.5 }] });
    assert_eq!(body, expect);
}

#[tokio::test]
async fn what_eventbridge_says_is_what_the_caller_is_to_do() {
    let check = async |reply: Reply, expect: &dyn Fn(&TargetError) -> bool| {
        let stub = Stub::start().await;
        stub.assumable().reply("PutEvents", reply.clone());
        let error = stub.target().await.put_event(&access(), &event()).await.expect_err("refused");
        assert!(expect(&error), "{reply:?}: {error:?}");
    };
    let within = |code: &str| {
        let entry = json!({ "ErrorCode": code, "ErrorMessage": "so it is" });
        answer(200, &json!({ "FailedEntryCount": 1, "Entries": [entry] }))
    };
    let whole = |status: u16, code: &str| answer(status, &json!({ "__type": code, "message": "so it is" }));
    let refused =
        |error: &TargetError| matches!(error, TargetError::Refused { message, .. } if message == "so it is");
    let denied = |error: &TargetError| matches!(error, TargetError::Denied { .. });
    let throttled = TargetError::is_throttled;
    let later =
        |error: &TargetError| matches!(error, TargetError::Unavailable { .. }) && !error.is_throttled();
    check(within("NotAuthorizedForSourceException"), &refused).await;
    check(within("MalformedDetail"), &refused).await;
    check(within("AccessDeniedException"), &denied).await;
    check(within("ThrottlingException"), &throttled).await;
    check(within("InternalFailure"), &later).await;
    check(whole(400, "AccessDeniedException"), &denied).await;
    check(whole(400, "ResourceNotFoundException"), &refused).await;
    check(whole(400, "ThrottlingException"), &throttled).await;
    check(whole(500, "InternalException"), &later).await;
    check(whole(400, "ExpiredTokenException"), &later).await;
    check(answer(200, &json!({ "FailedEntryCount": 0, "Entries": [] })), &later).await;
    check(answer(200, &json!({ "Entries": [{}] })), &later).await;
    check(answer(200, &json!("<html>")), &later).await;
    check(Reply::Raw(Vec::new()), &later).await;
}

#[tokio::test]
async fn a_session_that_is_refused_is_not_used_again() {
    let over = json!({ "__type": "ExpiredTokenException", "message": "over" });
    is_renewed_after(answer(400, &over)).await;
    let within = json!({ "ErrorCode": "ExpiredTokenException", "ErrorMessage": "over" });
    is_renewed_after(answer(200, &json!({ "FailedEntryCount": 1, "Entries": [within] }))).await;
}

async fn is_renewed_after(refusal: Reply) {
    let stub = Stub::start().await;
    stub.assumable().reply("AssumeRole", Reply::credentials(2, "2026-11-23T01:00:00Z"));
    stub.reply("PutEvents", refusal);
    stub.reply("PutEvents", answer(200, &json!({ "Entries": [{ "EventId": "e-2" }] })));
    let target = stub.target().await;
    target.put_event(&access(), &event()).await.expect_err("the session is over");
    assert_eq!(target.put_event(&access(), &event()).await, Ok("e-2".to_owned()));
    assert_eq!(stub.last().headers["x-amz-security-token"], "token-2");
}
