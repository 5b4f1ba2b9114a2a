//! What clients are told where the server itself fails: a code that the operation has, and that it may be tried again.

use serde_json::{Value, json};
use syncline_seams::Moment;
use syncline_wire::Operation;

use super::client::{Client, PROTOCOLS};
use super::scene::{Scene, but};

const FAILED: &str = "the server could not complete the request; it is safe to try again";

/// The operations that declare no InternalServerException, with what makes each fail: a commit, or nonsense in a row.
fn undeclared(operation: Operation) -> Option<(Result<&'static str, &'static str>, Value)> {
    let host = json!({"HostArn": "{host}"});
    let connection = json!({"ConnectionArn": "{connection}"});
    let tagged = json!({"ResourceArn": "{connection}"});
    const NO_HOST_TYPE: &str = "UPDATE host SET provider_type = 'Subversion'";
    const NO_CONNECTION_TYPE: &str = "UPDATE connection SET status = 'LOST'";
    Some(match operation {
        Operation::CreateConnection => {
            (Ok("store.create_connection"), json!({"ConnectionName": "x", "ProviderType": "GitHub"}))
        }
        Operation::CreateHost => (
            Ok("store.create_host"),
            json!({"Name": "x", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com"}),
        ),
        Operation::DeleteConnection => (Ok("store.delete_connection"), connection),
        Operation::DeleteHost => (Ok("store.delete_host"), host),
        Operation::UpdateHost => (Ok("store.update_host"), host),
        Operation::TagResource => (Ok("store.tag"), but(tagged, json!({"Tags": []}))),
        Operation::UntagResource => (Ok("store.untag"), but(tagged, json!({"TagKeys": []}))),
        Operation::GetConnection => (Err(NO_CONNECTION_TYPE), connection),
        Operation::ListConnections => (Err(NO_CONNECTION_TYPE), json!({})),
        Operation::ListTagsForResource => (Err(NO_CONNECTION_TYPE), tagged),
        Operation::GetHost => (Err(NO_HOST_TYPE), host),
        Operation::ListHosts => (Err(NO_HOST_TYPE), json!({})),
        _ => return None,
    })
}

#[tokio::test]
async fn an_operation_without_a_failure_of_its_own_answers_with_everybody_s() {
    for operation in Operation::ALL {
        let declares = operation.failure_code().name() == "InternalServerException";
        let Some((cause, input)) = undeclared(operation) else {
            assert!(declares, "{} has no row", operation.name());
            continue;
        };
        assert!(!declares, "{} declares its failure: declared_errors has the row", operation.name());
        let scene = Scene::new().await;
        if let Err(nonsense) = cause {
            scene.tamper(nonsense);
        }
        if operation == Operation::DeleteHost {
            scene.client().ok("DeleteConnection", json!({"ConnectionArn": scene.pending})).await;
        }
        for protocol in PROTOCOLS {
            if let Ok(point) = cause {
                scene.server.faults.fail(point, Moment::Before);
            }
            let client = Client { protocol, ..scene.client() };
            let reply = client.call(operation.name(), &scene.fill(&input)).await;
            assert_eq!(reply.status, 500, "{}: SDKs try again on it", operation.name());
            assert_eq!(reply.refusal(), ("InternalFailure".to_owned(), FAILED.to_owned()));
        }
        if cause.is_ok() {
            scene.client().ok(operation.name(), scene.fill(&input)).await;
        }
    }
}
