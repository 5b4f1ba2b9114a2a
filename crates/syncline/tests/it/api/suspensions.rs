//! Syncs and accounts that the operator has rest, by the REST API.

use serde_json::{Value, json};

use super::access::{ann, everything, may, scene_with_ann};
use super::client::OURS;

#[tokio::test]
async fn a_suspension_is_shown_with_its_reason_and_keeps_what_would_sync_from_starting() {
    let scene = scene_with_ann().await;
    let client = scene.client();
    let (suspend, body) = ("/syncs/web/suspend", json!({"reason": "a freeze until Monday"}));
    let reply = client.rest("POST", suspend, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.value);
    let shown = client.rest("GET", "/syncs/web", &Value::Null).await.value;
    assert_eq!(shown["suspension"]["reason"], "a freeze until Monday");
    assert_eq!(shown["suspension"]["ofAccount"], false);
    let now = client.rest("POST", "/syncs/web/sync-now", &Value::Null).await;
    let message = now.value["message"].as_str().expect("a message");
    assert!(message.contains("it is suspended (a freeze until Monday)"), "{message}");
    let resolve = json!({"Id": scene.blocker, "SyncType": "CFN_STACK_SYNC", "ResourceName": "web",
                         "ResolvedReason": "mended"});
    let (code, message) = client.refused("UpdateSyncBlocker", resolve.clone()).await;
    assert_eq!(code, "RetryLatestCommitFailedException", "{message}");
    for rested in [true, false] {
        let reply = client.rest("POST", "/syncs/web/resume", &Value::Null).await;
        assert_eq!(reply.value, json!({"resourceName": "web", "wasSuspended": rested}));
    }
    assert_eq!(client.rest("GET", "/syncs/web", &Value::Null).await.value.get("suspension"), None);
    client.ok("UpdateSyncBlocker", resolve).await;

    for (path, body, status) in [
        ("/syncs/none/suspend", &body, 404),
        ("/syncs/none/resume", &Value::Null, 404),
        (suspend, &json!({"reason": ""}), 400),
        (suspend, &json!({"reason": "a\nb"}), 400),
        (suspend, &json!({"reason": "x".repeat(501)}), 400),
        (suspend, &json!({}), 400),
    ] {
        assert_eq!(client.rest("POST", path, body).await.status, status, "{path} {body}");
    }
}

#[tokio::test]
async fn only_the_operator_suspends_an_account() {
    let scene = scene_with_ann().await;
    may(&scene, json!([everything()])).await;
    let path = |what: &str| format!("/accounts/{}/{what}", OURS.account);
    let body = json!({"reason": "unpaid"});
    let (operator, user) = (scene.client(), ann(&scene));
    let refused = async |what: &str| {
        let reply = user.rest("POST", &path(what), &body).await;
        assert_eq!(reply.status, 403, "{}", reply.value);
        assert!(
            reply.value["message"].as_str().is_some_and(|text| text.contains("only the operator's root key"))
        );
    };
    refused("suspend").await;
    let reply = operator.rest("POST", &path("suspend"), &body).await;
    assert_eq!(
        (reply.status, &reply.value["suspension"]["ofAccount"]),
        (200, &json!(true)),
        "{}",
        reply.value
    );
    refused("resume").await;
    let shown = user.rest("GET", "/syncs/web", &Value::Null).await.value;
    assert_eq!(shown["suspension"]["reason"], "unpaid", "whoever it concerns sees why");
    let reply = operator.rest("POST", &path("resume"), &Value::Null).await;
    assert_eq!(reply.value, json!({"accountId": OURS.account, "wasSuspended": true}));
}
