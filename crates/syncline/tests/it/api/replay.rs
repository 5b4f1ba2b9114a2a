//! A client that lost the answer to a creation sends the same request again, as SDKs do, and gets the answer
//! that it lost.

use serde_json::{Value, json};
use syncline_seams::Moment;
use syncline_wire::Service;

use super::client::{Client, Draft, PROTOCOLS, Reply, Server, THEIRS};
use super::scene::{Scene, sync_input, text};

/// Calls as an SDK does that numbers its invocations.
async fn invoke(client: Client<'_>, operation: &str, input: &Value, invocation: &str) -> Reply {
    let mut draft: Draft = client.draft(operation, input);
    draft.headers.push(("amz-sdk-invocation-id".to_owned(), invocation.to_owned()));
    client.server.send(client.sign(draft)).await
}

const FIRST: &str = "8fdb2f1c-0000-4000-8000-000000000001";
const OTHER: &str = "8fdb2f1c-0000-4000-8000-000000000002";

#[tokio::test]
async fn every_creation_gives_its_first_answer_to_whoever_asks_again() {
    for protocol in PROTOCOLS {
        let scene = Scene::new().await;
        let client = Client { protocol, ..scene.client() };
        let host =
            json!({"Name": "again", "ProviderType": "Git", "ProviderEndpoint": "https://forge.example"});
        let link = json!({
            "ConnectionArn": scene.connection, "OwnerId": "acme", "RepositoryName": "again",
            "Tags": [{"Key": "team", "Value": "web"}],
        });
        for (operation, input) in [
            ("CreateHost", host),
            ("CreateConnection", json!({"ConnectionName": "again", "ProviderType": "GitHub"})),
            ("CreateRepositoryLink", link),
            ("CreateSyncConfiguration", sync_input(&scene.link, "again")),
        ] {
            let first = invoke(client, operation, &input, FIRST).await;
            assert_eq!(first.status, 200, "{operation}: {}", first.value);
            let again = invoke(client, operation, &input, FIRST).await;
            assert_eq!((again.status, &again.value), (200, &first.value), "{operation}");
            assert_ne!(again.header("x-amzn-requestid"), first.header("x-amzn-requestid"));
        }
        let hosts = client.ok("ListHosts", json!({})).await;
        let same = hosts["Hosts"].as_array().expect("hosts").iter().filter(|host| host["Name"] == "again");
        assert_eq!(same.count(), 1, "a second host of this name would be allowed");
    }
}

#[tokio::test]
async fn another_invocation_key_place_body_or_time_is_another_request() {
    let server = Server::start().await;
    let input = json!({"ConnectionName": "web", "ProviderType": "GitHub"});
    let made = invoke(server.client(), "CreateConnection", &input, FIRST).await;
    assert_eq!(made.status, 200, "{}", made.value);
    let taken = async |client: Client<'_>, input: &Value, invocation: &str| {
        invoke(client, "CreateConnection", input, invocation).await.refusal().0
    };
    assert_eq!(taken(server.client(), &input, OTHER).await, "ValidationException");
    let other_body = json!({"ConnectionName": "web", "ProviderType": "Bitbucket"});
    assert_eq!(taken(server.client(), &other_body, FIRST).await, "ValidationException");
    let them = Client { key: THEIRS, ..server.client() };
    let theirs = invoke(them, "CreateConnection", &input, FIRST).await;
    assert_eq!(theirs.status, 200, "{}", theirs.value);
    assert_ne!(theirs.value, made.value, "an answer of ours is none of theirs");
    let elsewhere = Client { region: "eu-central-1", ..server.client() };
    let there = invoke(elsewhere, "CreateConnection", &input, FIRST).await;
    assert_eq!(there.status, 200, "{}", there.value);
    let arn = text(&there.value, "/ConnectionArn");
    assert!(arn.starts_with("arn:aws:codeconnections:eu-central-1:111111111111:connection/"), "{arn}");
    elsewhere.ok("GetConnection", json!({"ConnectionArn": arn})).await;
    let renamed = Client { service: Service::CodeStarConnections, ..server.client() };
    assert_eq!(taken(renamed, &input, FIRST).await, "ValidationException", "not made under this name");
    server.clock.advance_ms(10 * 60 * 1000);
    assert_eq!(taken(server.client(), &input, FIRST).await, "ValidationException");
}

#[tokio::test]
async fn a_refused_creation_may_succeed_when_it_is_asked_for_again() {
    let server = Server::start().await;
    let host = json!({"ConnectionName": "web", "HostArn": "arn:aws:codeconnections:eu-west-1:111111111111:host/none-01234567"});
    assert_eq!(
        invoke(server.client(), "CreateConnection", &host, FIRST).await.refusal().0,
        "ResourceNotFoundException"
    );
    let connection = json!({"ConnectionName": "web", "ProviderType": "GitHub"});
    server.faults.fail("store.create_connection", Moment::After);
    let lost = invoke(server.client(), "CreateConnection", &connection, FIRST).await;
    assert_eq!(lost.refusal().0, "InternalFailure");
    server.faults.clear();
    let again = invoke(server.client(), "CreateConnection", &connection, FIRST).await;
    assert_eq!(again.status, 200, "{}", again.value);
}
