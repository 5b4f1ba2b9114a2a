//! The handshake by token, and what becomes of the token.

use serde_json::{Value, json};

use super::client::{Client, Draft, OURS, REGION, Reply, Server, THEIRS};
use super::scene::{Scene, id_of, text};

/// A token that is to be seen nowhere.
const CANARY: &str = "canary-token-0123456789";

async fn authorize(client: Client<'_>, id: &str, body: &Value) -> Reply {
    client.rest("POST", &format!("/connections/{id}/authorize"), body).await
}

async fn status(client: Client<'_>, arn: &str) -> String {
    let got = client.ok("GetConnection", json!({"ConnectionArn": arn})).await;
    text(&got, "/Connection/ConnectionStatus")
}

#[tokio::test]
async fn a_token_completes_a_connection_and_its_host() {
    let scene = Scene::new().await;
    let client = scene.client();
    let id = id_of(&scene.pending);
    assert_eq!(status(client, &scene.pending).await, "PENDING");
    let reply = authorize(client, id, &json!({"token": CANARY, "username": "deploy"})).await;
    assert_eq!(reply.status, 200, "{}", reply.value);
    let expected = json!({"connectionArn": scene.pending, "connectionStatus": "AVAILABLE"});
    assert_eq!(reply.value, expected);
    assert_eq!(reply.header("x-amzn-requestid").len(), 36);
    assert_eq!(status(client, &scene.pending).await, "AVAILABLE");
    let host = client.ok("GetHost", json!({"HostArn": scene.host})).await;
    assert_eq!(host["Status"], "AVAILABLE");

    // Whatever the data directory holds, it does not hold the token.
    for entry in std::fs::read_dir(scene.server.directory.path()).expect("read") {
        let path = entry.expect("read").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("read");
            let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(!found, "the token is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_handshake_is_refused_where_it_makes_no_sense() {
    let scene = Scene::new().await;
    let client = scene.client();
    let id = id_of(&scene.pending);
    let check = async |client: Client<'_>, id: &str, body: Value, status: u16, code: &str| {
        let reply = authorize(client, id, &body).await;
        assert_eq!((reply.status, text(&reply.value, "/code").as_str()), (status, code), "{}", reply.value);
        assert!(!reply.value.to_string().contains(CANARY), "{}", reply.value);
    };
    let good = || json!({"token": CANARY});
    check(client, "none", good(), 404, "ResourceNotFoundException").await;
    check(Client { key: THEIRS, ..client }, id, good(), 404, "ResourceNotFoundException").await;
    check(Client { region: "eu-west-2", ..client }, id, good(), 404, "ResourceNotFoundException").await;
    // A forge where the egress rules let nobody go: the token is not shown to it.
    check(client, id_of(&scene.connection), good(), 400, "ValidationException").await;
    for body in [
        json!({"token": ""}),
        json!({"token": "x".repeat(4097)}),
        json!({"token": "a\nb"}),
        json!({"token": CANARY, "username": ""}),
        json!({"token": CANARY, "username": "a:b"}),
        json!({"token": CANARY, "username": "x".repeat(257)}),
    ] {
        check(client, id, body, 400, "ValidationException").await;
    }
    for body in [json!({"tokn": CANARY}), json!([]), json!({"token": 1})] {
        check(client, id, body, 400, "SerializationException").await;
    }
    assert_eq!(status(client, &scene.pending).await, "PENDING");
}

#[tokio::test]
async fn a_handshake_is_signed() {
    let server = Server::start().await;
    let draft = Draft {
        method: "POST".to_owned(),
        path: "/api/v1/connections/x/authorize".to_owned(),
        headers: vec![("host".to_owned(), "127.0.0.1:7962".to_owned())],
        body: b"{}".to_vec(),
    };
    let reply = server.send_raw(draft.clone()).await;
    assert_eq!(
        (reply.status, text(&reply.value, "/code").as_str()),
        (403, "MissingAuthenticationTokenException")
    );
    let mut tampered = draft.signed(OURS, REGION, "codeconnections", server.now_ms());
    tampered.path = "/api/v1/connections/y/authorize".to_owned();
    let reply = server.send_raw(tampered).await;
    assert_eq!((reply.status, text(&reply.value, "/code").as_str()), (403, "InvalidSignatureException"));
}
