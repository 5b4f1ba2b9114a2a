//! The operator's keyring over the REST API.

use serde_json::{Value, json};

use super::client::{Client, Server, THEIRS};
use super::scene::{Scene, text};

/// The data keys for a purpose, with what they seal.
fn keys_for(status: &Value, purpose: &str) -> Vec<(String, Value)> {
    let keys = status["dataKeys"].as_array().expect("keys").iter().filter(|key| key["purpose"] == purpose);
    keys.map(|key| (text(key, "/id"), key["secrets"].clone())).collect()
}

#[tokio::test]
async fn the_operator_sees_the_keys_and_rotates_them() {
    let server = Server::start().await;
    let before = server.client().rest("GET", "/keyring", &Value::Null).await;
    assert_eq!(before.status, 200, "{}", before.value);
    let source = format!("file:{}", server.directory.path().join("keyring").display());
    assert_eq!(text(&before.value, "/source"), source);
    assert_eq!(before.value["masterKeys"].as_array().map(Vec::len), Some(1));
    let one_secret = json!([{ "what": "secrets of access keys", "count": 1 }]);
    let secrets = keys_for(&before.value, "SECRETS");
    assert_eq!(secrets.iter().map(|(_, sealed)| sealed).collect::<Vec<_>>(), [&one_secret]);

    let rotated = server.client().rest("POST", "/keyring/rotate", &Value::Null).await;
    assert_eq!(rotated.status, 200, "{}", rotated.value);
    let new = text(&rotated.value, "/dataKey");
    let expected = json!({
        "dataKey": &new, "resealed": 1, "rewrapped": 0, "deleted": 1, "unreadable": [], "finished": true,
    });
    assert_eq!(rotated.value, expected);
    let after = server.client().rest("GET", "/keyring", &Value::Null).await.value;
    assert_eq!(keys_for(&after, "SECRETS"), [(new, one_secret)]);
    assert_eq!(keys_for(&after, "PAGE_TOKENS"), keys_for(&before.value, "PAGE_TOKENS"));
    // Requests of the user whose secret was sealed anew still verify.
    let theirs = Client { key: THEIRS, ..server.client() };
    theirs.ok("ListConnections", json!({})).await;
}

#[tokio::test]
async fn a_user_may_do_neither_whatever_its_policies_say() {
    let server = Server::start().await;
    let theirs = Client { key: THEIRS, ..server.client() };
    for (method, path, action) in
        [("GET", "/keyring", "GetKeyring"), ("POST", "/keyring/rotate", "RotateKeyring")]
    {
        let reply = theirs.rest(method, path, &Value::Null).await;
        assert_eq!((reply.status, &*text(&reply.value, "/code")), (403, "AccessDeniedException"));
        let expected = format!(
            "User: arn:aws:iam::{}:user/them is not authorized to perform: syncline:{action} because only the \
             operator's root key is",
            THEIRS.account
        );
        assert_eq!(text(&reply.value, "/message"), expected);
    }
    let status = server.client().rest("GET", "/keyring", &Value::Null).await.value;
    assert_eq!(keys_for(&status, "SECRETS").len(), 1);
    assert_eq!(status["rotating"], false);
}

#[tokio::test]
async fn a_page_token_is_good_after_a_rotation() {
    let scene = Scene::new().await;
    let client = scene.client();
    let page = client.ok("ListConnections", json!({ "MaxResults": 1 })).await;
    let token = text(&page, "/NextToken");
    assert_eq!(client.rest("POST", "/keyring/rotate", &Value::Null).await.status, 200);
    let next = client.ok("ListConnections", json!({ "MaxResults": 1, "NextToken": token })).await;
    assert_ne!(next["Connections"], page["Connections"]);
}
