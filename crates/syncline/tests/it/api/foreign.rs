//! What belongs to somebody else, or lies elsewhere, is as if it were not there.

use serde_json::{Value, json};
use syncline_wire::{Operation, Service};

use super::client::{Client, THEIRS};
use super::offered::offered;
use super::scene::{NOTHING, Scene, by_name, of_link, sync_input};

/// What an operation is asked about: ours, and something that never was.
enum Asked {
    /// Names it in an input in which `{it}` stands for the name, and is refused with code and message.
    Refused {
        it: &'static str,
        nothing: &'static str,
        input: Value,
        code: &'static str,
        message: &'static str,
    },
    /// Answers this, whatever exists elsewhere.
    Answered { input: Value, answer: Value },
    /// Names nothing that exists.
    Nothing(&'static str),
}
use Asked::{Answered, Nothing, Refused};

const NO_HOST: &str = "arn:aws:codeconnections:eu-west-1:111111111111:host/forge-00000000";
const NO_CONNECTION: &str =
    "arn:aws:codeconnections:eu-west-1:111111111111:connection/00000000-1111-2222-3333-444444444444";
const NOT_FOUND: &str = "ResourceNotFoundException";
const INVALID: &str = "InvalidInputException";

fn asked(operation: Operation) -> Asked {
    let host = |input: Value| Refused {
        it: "{host}",
        nothing: NO_HOST,
        input,
        code: NOT_FOUND,
        message: "Could not find host:{it}",
    };
    let connection = || Refused {
        it: "{connection}",
        nothing: NO_CONNECTION,
        input: json!({"ConnectionArn": "{it}"}),
        code: NOT_FOUND,
        message: "Could not find connection:{it}",
    };
    let link = |input: Value| Refused {
        it: "{link}",
        nothing: NOTHING,
        input,
        code: NOT_FOUND,
        message: "Could not find repository link:{it}",
    };
    let sync = |input: Value| Refused {
        it: "web",
        nothing: "none",
        input,
        code: NOT_FOUND,
        message: "Could not find a sync configuration for resource:{it}",
    };
    match operation {
        Operation::CreateHost => Nothing("it names no resource"),
        Operation::CreateConnection => host(json!({"ConnectionName": "x", "HostArn": "{it}"})),
        Operation::GetHost | Operation::DeleteHost => host(json!({"HostArn": "{it}"})),
        Operation::GetConnection | Operation::DeleteConnection => connection(),
        Operation::CreateRepositoryLink => Refused {
            it: "{connection}",
            nothing: NO_CONNECTION,
            input: json!({"ConnectionArn": "{it}", "OwnerId": "acme", "RepositoryName": "x"}),
            code: INVALID,
            message: "The connection {it} does not exist",
        },
        Operation::GetRepositoryLink | Operation::DeleteRepositoryLink => {
            link(json!({"RepositoryLinkId": "{it}"}))
        }
        Operation::ListSyncConfigurations | Operation::ListRepositorySyncDefinitions => link(of_link("{it}")),
        Operation::GetRepositorySyncStatus => {
            let mut input = of_link("{it}");
            input["Branch"] = "main".into();
            let (it, nothing) = ("{link}", NOTHING);
            let message = "Could not find a sync status for repository link:{it}";
            Refused { it, nothing, input, code: NOT_FOUND, message }
        }
        Operation::CreateSyncConfiguration => {
            let mut input = sync_input("{it}", "x");
            input["RoleArn"] = "arn:aws:iam::222222222222:role/deploy".into();
            let (it, nothing) = ("{link}", NOTHING);
            Refused { it, nothing, input, code: INVALID, message: "The repository link {it} does not exist" }
        }
        Operation::GetSyncConfiguration
        | Operation::UpdateSyncConfiguration
        | Operation::GetSyncBlockerSummary => sync(by_name("{it}")),
        Operation::UpdateSyncBlocker => {
            let mut input = by_name("{it}");
            input["Id"] = "{blocker}".into();
            input["ResolvedReason"] = "mine now".into();
            sync(input)
        }
        Operation::GetResourceSyncStatus => Refused {
            it: "web",
            nothing: "none",
            input: by_name("{it}"),
            code: NOT_FOUND,
            message: "Could not find a sync status for resource:{it}",
        },
        Operation::DeleteSyncConfiguration => Answered { input: by_name("web"), answer: json!({}) },
        Operation::ListHosts => Answered { input: json!({}), answer: json!({"Hosts": []}) },
        Operation::ListConnections => Answered { input: json!({}), answer: json!({"Connections": []}) },
        Operation::ListRepositoryLinks => {
            Answered { input: json!({}), answer: json!({"RepositoryLinks": []}) }
        }
        other => panic!("{} is not offered", other.name()),
    }
}

/// Everything of ours, to see that it is as it was.
async fn all_of_ours(scene: &Scene) -> Vec<Value> {
    let client = scene.client();
    let mut all = Vec::new();
    for (operation, input) in [
        ("ListHosts", json!({})),
        ("ListConnections", json!({})),
        ("ListRepositoryLinks", json!({})),
        ("ListSyncConfigurations", of_link(&scene.link)),
        ("GetResourceSyncStatus", by_name("web")),
        ("GetSyncBlockerSummary", by_name("web")),
    ] {
        all.push(client.ok(operation, input).await);
    }
    all
}

/// The input and the message with the name put in.
fn put(scene: &Scene, template: &Value, it: &str) -> Value {
    let text = template.to_string().replace("{it}", it);
    scene.fill(&serde_json::from_str(&text).expect("JSON"))
}

#[tokio::test]
async fn what_is_ours_is_nothing_to_others_and_elsewhere() {
    let scene = Scene::new().await;
    let before = all_of_ours(&scene).await;
    let client = scene.client();
    let them = Client { key: THEIRS, ..client };
    let elsewhere = Client { region: "eu-west-2", ..client };
    for operation in offered() {
        match asked(operation) {
            Nothing(why) => assert!(!why.is_empty()),
            Answered { input, answer } => {
                for caller in [them, elsewhere] {
                    assert_eq!(caller.ok(operation.name(), input.clone()).await, answer);
                }
            }
            Refused { it, nothing, input, code, message } => {
                for caller in [them, elsewhere] {
                    // The region elsewhere has our account, whose role it may pass.
                    let mut input = input.clone();
                    if caller.key.account == client.key.account && input.get("RoleArn").is_some() {
                        input["RoleArn"] = super::scene::ROLE.into();
                    }
                    // Somebody else's, and nobody's: but for the name the same answer.
                    for it in [it, nothing] {
                        let message = put(&scene, &json!(message), it);
                        let message = message.as_str().expect("a text");
                        caller.refuses(operation.name(), put(&scene, &input, it), code, message).await;
                    }
                }
                // The owner asks for what is not there and hears the very same.
                let mut input = put(&scene, &input, nothing);
                if input.get("RoleArn").is_some() {
                    input["RoleArn"] = super::scene::ROLE.into();
                }
                let message = put(&scene, &json!(message), nothing);
                client.refuses(operation.name(), input, code, message.as_str().expect("a text")).await;
            }
        }
    }
    assert_eq!(all_of_ours(&scene).await, before);
}

#[tokio::test]
async fn an_arn_of_another_account_or_region_is_not_found_even_if_its_id_is_ours() {
    let scene = Scene::new().await;
    let client = scene.client();
    let twisted = |arn: &str| {
        [("111111111111", "222222222222"), (":eu-west-1:", ":eu-west-2:"), ("arn:aws:", "arn:aws-cn:")]
            .map(|(ours, theirs)| arn.replace(ours, theirs))
    };
    for arn in twisted(&scene.connection) {
        let message = format!("Could not find connection:{arn}");
        for operation in ["GetConnection", "DeleteConnection"] {
            client.refuses(operation, json!({"ConnectionArn": arn}), NOT_FOUND, &message).await;
        }
        let input = json!({"ConnectionArn": arn, "OwnerId": "acme", "RepositoryName": "x"});
        let message = format!("The connection {arn} does not exist");
        client.refuses("CreateRepositoryLink", input, INVALID, &message).await;
    }
    for arn in twisted(&scene.host) {
        let message = format!("Could not find host:{arn}");
        for operation in ["GetHost", "DeleteHost"] {
            client.refuses(operation, json!({"HostArn": arn}), NOT_FOUND, &message).await;
        }
        let input = json!({"ConnectionName": "x", "HostArn": arn});
        client.refuses("CreateConnection", input, NOT_FOUND, &message).await;
        client.refuses("ListConnections", json!({"HostArnFilter": arn}), NOT_FOUND, &message).await;
    }
    // An ARN of something else is no connection either.
    let other_kind = scene.host.clone();
    let message = format!("Could not find connection:{other_kind}");
    client.refuses("GetConnection", json!({"ConnectionArn": other_kind}), NOT_FOUND, &message).await;
}

#[tokio::test]
async fn two_accounts_have_the_same_names_side_by_side() {
    let scene = Scene::new().await;
    let them = Client { key: THEIRS, service: Service::CodeStarConnections, ..scene.client() };
    let arn = super::scene::connection(them, "github").await;
    assert!(arn.contains(":222222222222:"), "{arn}");
    let link = super::scene::link(them, &arn, "infra").await;
    let mut input = sync_input(&link, "web");
    input["RoleArn"] = "arn:aws:iam::222222222222:role/deploy".into();
    them.ok("CreateSyncConfiguration", input).await;
    them.ok("DeleteSyncConfiguration", by_name("web")).await;
    scene.client().ok("GetSyncConfiguration", by_name("web")).await;
}
