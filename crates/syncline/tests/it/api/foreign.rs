//! What belongs to somebody else, lies elsewhere, or was deleted is as if it were not there; and what is there is
//! found by either spelling (`conformance::encodings`).

use serde_json::{Value, json};
use syncline_wire::{Operation, Service};

use super::client::{Client, THEIRS};
use super::scene::{
    NOTHING, ROLE, Scene, by_name, connection, link, link_arn, of_link, respelled, sync_input, text,
};

/// What an operation is asked about: ours, and something that never was.
struct Asked {
    /// The name of [`Scene::fill`] that is put for `{it}`.
    it: &'static str,
    /// A well-formed name of nothing.
    nothing: String,
    input: Value,
    code: &'static str,
    message: &'static str,
}

const NO_HOST: &str = "arn:aws:codeconnections:eu-west-1:111111111111:host/forge-00000000";
const NO_CONNECTION: &str =
    "arn:aws:codeconnections:eu-west-1:111111111111:connection/00000000-1111-2222-3333-444444444444";
const NOT_FOUND: &str = "ResourceNotFoundException";
const INVALID: &str = "InvalidInputException";

/// Every way in which an operation names a resource.
fn asked(operation: Operation) -> Vec<Asked> {
    let named = |it: &'static str, nothing: &str, input: Value, code: &'static str, message: &'static str| {
        Asked { it, nothing: nothing.to_owned(), input, code, message }
    };
    let host = |input: Value| named("{host}", NO_HOST, input, NOT_FOUND, "Could not find host:{it}");
    let connection = || {
        let input = json!({"ConnectionArn": "{it}"});
        named("{connection}", NO_CONNECTION, input, NOT_FOUND, "Could not find connection:{it}")
    };
    let on_connection = |input: Value| {
        named("{connection}", NO_CONNECTION, input, INVALID, "The connection {it} does not exist")
    };
    let link =
        |input: Value| named("{link}", NOTHING, input, NOT_FOUND, "Could not find repository link:{it}");
    let on_link =
        |input: Value| named("{link}", NOTHING, input, INVALID, "The repository link {it} does not exist");
    let sync = |input: Value| {
        let message = "Could not find a sync configuration for resource:{it}";
        named("web", "none", input, NOT_FOUND, message)
    };
    let tagged = |input: Value| {
        let resources = [
            ("{connection}", NO_CONNECTION.to_owned()),
            ("{host}", NO_HOST.to_owned()),
            ("{link_arn}", link_arn(NOTHING)),
        ];
        let ask = |(it, nothing): (&'static str, String)| {
            named(it, &nothing, input.clone(), NOT_FOUND, "Could not find resource:{it}")
        };
        resources.map(ask).into_iter().collect()
    };
    match operation {
        Operation::CreateHost
        | Operation::DeleteSyncConfiguration
        | Operation::ListHosts
        | Operation::ListRepositoryLinks => Vec::new(),
        Operation::CreateConnection => vec![host(json!({"ConnectionName": "x", "HostArn": "{it}"}))],
        Operation::ListConnections => vec![host(json!({"HostArnFilter": "{it}"}))],
        Operation::GetHost | Operation::DeleteHost => vec![host(json!({"HostArn": "{it}"}))],
        Operation::UpdateHost => {
            vec![host(json!({"HostArn": "{it}", "ProviderEndpoint": "https://elsewhere.example.com"}))]
        }
        Operation::GetConnection | Operation::DeleteConnection => vec![connection()],
        Operation::CreateRepositoryLink => {
            vec![on_connection(json!({"ConnectionArn": "{it}", "OwnerId": "acme", "RepositoryName": "x"}))]
        }
        Operation::GetRepositoryLink | Operation::DeleteRepositoryLink => {
            vec![link(json!({"RepositoryLinkId": "{it}"}))]
        }
        Operation::UpdateRepositoryLink => vec![
            link(json!({"RepositoryLinkId": "{it}", "ConnectionArn": NO_CONNECTION})),
            on_connection(json!({"RepositoryLinkId": "{link}", "ConnectionArn": "{it}"})),
        ],
        Operation::ListSyncConfigurations | Operation::ListRepositorySyncDefinitions => {
            vec![link(of_link("{it}"))]
        }
        Operation::GetRepositorySyncStatus => {
            let mut input = of_link("{it}");
            input["Branch"] = "main".into();
            let message = "Could not find a sync status for repository link:{it}";
            vec![named("{link}", NOTHING, input, NOT_FOUND, message)]
        }
        Operation::CreateSyncConfiguration => vec![on_link(sync_input("{it}", "x"))],
        Operation::GetSyncConfiguration | Operation::GetSyncBlockerSummary => vec![sync(by_name("{it}"))],
        Operation::UpdateSyncConfiguration => {
            let mut input = by_name("web");
            input["RepositoryLinkId"] = "{it}".into();
            vec![sync(by_name("{it}")), on_link(input)]
        }
        Operation::UpdateSyncBlocker => {
            let mut input = by_name("{it}");
            input["Id"] = "{blocker}".into();
            input["ResolvedReason"] = "mine now".into();
            vec![sync(input)]
        }
        Operation::GetResourceSyncStatus => {
            let message = "Could not find a sync status for resource:{it}";
            vec![named("web", "none", by_name("{it}"), NOT_FOUND, message)]
        }
        Operation::ListTagsForResource => tagged(json!({"ResourceArn": "{it}"})),
        Operation::TagResource => {
            tagged(json!({"ResourceArn": "{it}", "Tags": [{"Key": "theirs", "Value": "now"}]}))
        }
        Operation::UntagResource => tagged(json!({"ResourceArn": "{it}", "TagKeys": ["team"]})),
    }
}

/// What answers the same, whatever exists elsewhere.
fn listed(operation: Operation) -> Option<(Value, Value)> {
    Some(match operation {
        Operation::DeleteSyncConfiguration => (by_name("web"), json!({})),
        Operation::ListHosts => (json!({}), json!({"Hosts": []})),
        Operation::ListConnections => (json!({}), json!({"Connections": []})),
        Operation::ListRepositoryLinks => (json!({}), json!({"RepositoryLinks": []})),
        _ => return None,
    })
}

impl Asked {
    /// Asks about `it`, in the spelling given and, if it is an ARN, in the other one.
    async fn is_refused(&self, scene: &Scene, caller: Client<'_>, operation: Operation, it: &str) {
        let it = scene.fill(&json!(it));
        let it = it.as_str().expect("a text");
        let spellings =
            if it.starts_with("arn:") { vec![it.to_owned(), respelled(it)] } else { vec![it.to_owned()] };
        for it in spellings {
            let put = |template: &str| template.replace("{it}", &it);
            let input = serde_json::from_str(&put(&self.input.to_string())).expect("JSON");
            let mut input = scene.fill(&input);
            if input.get("RoleArn").is_some() {
                // Everybody has a role of their own account.
                input["RoleArn"] = ROLE.replace("111111111111", caller.key.account).into();
            }
            let message = scene.fill(&json!(put(self.message)));
            let message = message.as_str().expect("a text");
            caller.refuses(operation.name(), input, self.code, message).await;
        }
    }

    /// True where the question names nothing of ours but what it asks about.
    fn is_whole(&self) -> bool {
        let rest = self.input.to_string().replace("{it}", "");
        !rest.contains("{link}") && !rest.contains("\"web\"")
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

#[tokio::test]
async fn what_is_ours_is_nothing_to_others_and_elsewhere() {
    let scene = Scene::new().await;
    let before = all_of_ours(&scene).await;
    let client = scene.client();
    let them = Client { key: THEIRS, ..client };
    let elsewhere = Client { region: "eu-west-2", ..client };
    for operation in Operation::ALL {
        let asked = asked(operation);
        let listed = listed(operation);
        let names_nothing = operation == Operation::CreateHost;
        assert!(names_nothing || listed.is_some() || !asked.is_empty(), "{}", operation.name());
        for caller in [them, elsewhere] {
            if let Some((input, answer)) = &listed {
                assert_eq!(&caller.ok(operation.name(), input.clone()).await, answer);
            }
            // Somebody else's, and nobody's: but for the name the same answer.
            for ask in asked.iter().filter(|ask| ask.is_whole()) {
                ask.is_refused(&scene, caller, operation, ask.it).await;
                ask.is_refused(&scene, caller, operation, &ask.nothing).await;
            }
        }
        // The owner asks for what is not there and hears the very same.
        for ask in &asked {
            ask.is_refused(&scene, client, operation, &ask.nothing).await;
        }
    }
    assert_eq!(all_of_ours(&scene).await, before);
}

#[tokio::test]
async fn an_arn_of_another_account_or_region_is_not_found_even_if_its_id_is_ours() {
    let scene = Scene::new().await;
    let before = all_of_ours(&scene).await;
    let client = scene.client();
    let mut twisted = 0;
    for operation in Operation::ALL {
        for ask in asked(operation) {
            let arn = scene.fill(&json!(ask.it));
            let Some(arn) = arn.as_str().filter(|it| it.starts_with("arn:")) else { continue };
            for (ours, theirs) in [
                ("111111111111", THEIRS.account),
                (":eu-west-1:", ":eu-west-2:"),
                ("arn:aws:", "arn:aws-cn:"),
            ] {
                ask.is_refused(&scene, client, operation, &arn.replace(ours, theirs)).await;
                twisted += 1;
            }
        }
    }
    assert!(twisted > 20, "{twisted}");
    // An ARN of something else is no connection either.
    let other_kind = scene.host.clone();
    let message = format!("Could not find connection:{other_kind}");
    client.refuses("GetConnection", json!({"ConnectionArn": other_kind}), NOT_FOUND, &message).await;
    assert_eq!(all_of_ours(&scene).await, before);
}

#[tokio::test]
async fn what_somebody_else_has_is_nothing_to_us() {
    let scene = Scene::new().await;
    let client = scene.client();
    let theirs = Theirs::make(Client { key: THEIRS, ..client }).await;
    for operation in Operation::ALL {
        for ask in asked(operation) {
            ask.is_refused(&scene, client, operation, theirs.named(ask.it)).await;
        }
    }
    theirs.delete(Client { key: THEIRS, ..client }).await;
}

#[tokio::test]
async fn what_was_deleted_is_as_if_it_had_never_been() {
    let scene = Scene::new().await;
    let before = all_of_ours(&scene).await;
    let client = scene.client();
    let gone = Theirs::make(client).await;
    gone.delete(client).await;
    for operation in Operation::ALL {
        for ask in asked(operation) {
            ask.is_refused(&scene, client, operation, gone.named(ask.it)).await;
        }
    }
    client.ok("DeleteSyncConfiguration", by_name(&gone.sync)).await;
    assert_eq!(all_of_ours(&scene).await, before);
}

/// One of everything, beside the scene's own.
struct Theirs {
    host: String,
    connection: String,
    link: String,
    link_arn: String,
    sync: String,
}

impl Theirs {
    async fn make(owner: Client<'_>) -> Self {
        let host = json!({
            "Name": "theirs", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com",
        });
        let host = text(&owner.ok("CreateHost", host).await, "/HostArn");
        let connection = connection(owner, "theirs").await;
        let link = link(owner, &connection, "theirs").await;
        let got = owner.ok("GetRepositoryLink", json!({"RepositoryLinkId": link})).await;
        let link_arn = text(&got, "/RepositoryLinkInfo/RepositoryLinkArn");
        let mut input = sync_input(&link, "theirs");
        input["RoleArn"] = ROLE.replace("111111111111", owner.key.account).into();
        owner.ok("CreateSyncConfiguration", input).await;
        Self { host, connection, link, link_arn, sync: "theirs".to_owned() }
    }

    fn named(&self, it: &str) -> &str {
        match it {
            "{host}" => &self.host,
            "{connection}" => &self.connection,
            "{link}" => &self.link,
            "{link_arn}" => &self.link_arn,
            "web" => &self.sync,
            other => panic!("nothing is named {other}"),
        }
    }

    async fn delete(&self, owner: Client<'_>) {
        owner.ok("DeleteSyncConfiguration", by_name(&self.sync)).await;
        owner.ok("DeleteRepositoryLink", json!({"RepositoryLinkId": self.link})).await;
        owner.ok("DeleteConnection", json!({"ConnectionArn": self.connection})).await;
        owner.ok("DeleteHost", json!({"HostArn": self.host})).await;
    }
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
