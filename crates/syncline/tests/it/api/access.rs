//! What users may do, and what they are told who may not.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use syncline_store::{Change, Made};
use syncline_wire::{Operation, Protocol, Service};

use super::client::{Client, EVERYTHING, Key, OURS, PROTOCOLS, user_with_key};
use super::scene::{NOTHING, ROLE, Scene, but, by_name, of_link, scope_of, sync_input, text};

/// A user's key in our account.
const ANN: Key =
    Key { id: "AKIAANNANNANNANNANN1", secret: "anns-secret-anns-secret-anns-secr", account: OURS.account };
/// Another user's.
const BOB: Key =
    Key { id: "AKIABOBBOBBOBBOBBOB1", secret: "bobs-secret-bobs-secret-bobs-secr", account: OURS.account };
const ANN_ARN: &str = "arn:aws:iam::111111111111:user/ann";
pub(super) const ALL: &str = "arn:aws:codeconnections:eu-west-1:111111111111:*";
pub(super) const DENIED: &str = "AccessDeniedException";

/// A scene with a user who may do nothing.
pub(super) async fn scene_with_ann() -> Scene {
    let scene = Scene::new().await;
    user_with_key(scene.store(), ANN, "ann").await;
    let account = scope_of(OURS).account;
    let taken = scene.store().delete_policy(&account, "ann", "everything", Change::unrecorded()).await;
    assert!(taken.expect("written"));
    scene
}

pub(super) fn ann(scene: &Scene) -> Client<'_> {
    Client { key: ANN, ..scene.client() }
}

/// Gives Ann these statements and no others.
pub(super) async fn may(scene: &Scene, statements: Value) {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let account = scope_of(OURS).account;
    let put = scene.store().put_policy(&account, "ann", "own", &document, Change::unrecorded()).await;
    assert_eq!(put.expect("written"), Made::Made);
}

pub(super) fn allow(action: &str, resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": resource})
}

pub(super) fn everything() -> Value {
    allow("*", "*")
}

pub(super) fn not_allowed(action: &str, resource: &str) -> String {
    format!(
        "User: {ANN_ARN} is not authorized to perform: {action} on resource: {resource} \
         because no identity-based policy allows the {action} action"
    )
}

pub(super) fn denied(action: &str, resource: &str) -> String {
    format!(
        "User: {ANN_ARN} is not authorized to perform: {action} on resource: {resource} \
         with an explicit deny in an identity-based policy"
    )
}

/// An input that succeeds, and the permissions for it in the order in which they are asked for.
pub(super) fn needed(operation: Operation) -> (Value, Vec<(&'static str, &'static str)>) {
    const CONNECTIONS: &str = "arn:aws:codeconnections:eu-west-1:111111111111:connection/*";
    const HOSTS: &str = "arn:aws:codeconnections:eu-west-1:111111111111:host/*";
    const LINKS: &str = "arn:aws:codeconnections:eu-west-1:111111111111:repository-link/*";
    const LINK: &str = "arn:aws:codeconnections:eu-west-1:111111111111:repository-link/{link}";
    let tags = json!([{"Key": "team", "Value": "web"}]);
    match operation {
        Operation::CreateConnection => (
            json!({"ConnectionName": "new", "ProviderType": "GitHub", "Tags": tags}),
            vec![("codeconnections:CreateConnection", ALL), ("codeconnections:TagResource", CONNECTIONS)],
        ),
        Operation::CreateHost => (
            json!({
                "Name": "new", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com", "Tags": tags,
            }),
            vec![("codeconnections:CreateHost", ALL), ("codeconnections:TagResource", HOSTS)],
        ),
        Operation::CreateRepositoryLink => (
            json!({
                "ConnectionArn": "{connection}", "OwnerId": "acme", "RepositoryName": "new", "Tags": tags,
            }),
            vec![
                ("codeconnections:CreateRepositoryLink", "{connection}"),
                ("codeconnections:TagResource", LINKS),
                ("codeconnections:PassConnection", "{connection}"),
                ("codeconnections:UseConnection", "{connection}"),
            ],
        ),
        Operation::CreateSyncConfiguration => (
            sync_input("{link}", "new"),
            vec![
                ("codeconnections:CreateSyncConfiguration", LINK),
                ("codeconnections:PassRepository", LINK),
                ("iam:PassRole", ROLE),
            ],
        ),
        Operation::UpdateSyncConfiguration => (
            but(by_name("web"), json!({"RepositoryLinkId": "{link}", "RoleArn": ROLE, "Branch": "main"})),
            vec![
                ("codeconnections:UpdateSyncConfiguration", ALL),
                ("codeconnections:PassRepository", LINK),
                ("iam:PassRole", ROLE),
            ],
        ),
        Operation::UpdateRepositoryLink => (
            json!({"RepositoryLinkId": "{link}", "ConnectionArn": "{connection}"}),
            vec![
                ("codeconnections:UpdateRepositoryLink", LINK),
                ("codeconnections:PassConnection", "{connection}"),
                ("codeconnections:UseConnection", "{connection}"),
            ],
        ),
        Operation::DeleteConnection => {
            (json!({"ConnectionArn": "{pending}"}), vec![("codeconnections:DeleteConnection", "{pending}")])
        }
        Operation::GetConnection => (
            json!({"ConnectionArn": "{connection}"}),
            vec![("codeconnections:GetConnection", "{connection}")],
        ),
        Operation::DeleteHost => {
            (json!({"HostArn": "{host}"}), vec![("codeconnections:DeleteHost", "{host}")])
        }
        Operation::GetHost => (json!({"HostArn": "{host}"}), vec![("codeconnections:GetHost", "{host}")]),
        Operation::UpdateHost => (
            json!({"HostArn": "{host}", "ProviderEndpoint": "https://git.example.com"}),
            vec![("codeconnections:UpdateHost", "{host}")],
        ),
        Operation::DeleteRepositoryLink => {
            (json!({"RepositoryLinkId": "{link}"}), vec![("codeconnections:DeleteRepositoryLink", LINK)])
        }
        Operation::GetRepositoryLink => {
            (json!({"RepositoryLinkId": "{link}"}), vec![("codeconnections:GetRepositoryLink", LINK)])
        }
        Operation::GetRepositorySyncStatus => (
            but(of_link("{link}"), json!({"Branch": "main"})),
            vec![("codeconnections:GetRepositorySyncStatus", LINK)],
        ),
        Operation::ListConnections => (json!({}), vec![("codeconnections:ListConnections", CONNECTIONS)]),
        Operation::ListHosts => (json!({}), vec![("codeconnections:ListHosts", ALL)]),
        Operation::ListRepositoryLinks => (json!({}), vec![("codeconnections:ListRepositoryLinks", ALL)]),
        Operation::ListRepositorySyncDefinitions => {
            (of_link("{link}"), vec![("codeconnections:ListRepositorySyncDefinitions", ALL)])
        }
        Operation::ListSyncConfigurations => {
            (of_link("{link}"), vec![("codeconnections:ListSyncConfigurations", ALL)])
        }
        Operation::DeleteSyncConfiguration => {
            (by_name("web"), vec![("codeconnections:DeleteSyncConfiguration", ALL)])
        }
        Operation::GetResourceSyncStatus => {
            (by_name("web"), vec![("codeconnections:GetResourceSyncStatus", ALL)])
        }
        Operation::GetSyncBlockerSummary => {
            (by_name("web"), vec![("codeconnections:GetSyncBlockerSummary", ALL)])
        }
        Operation::GetSyncConfiguration => {
            (by_name("web"), vec![("codeconnections:GetSyncConfiguration", ALL)])
        }
        Operation::UpdateSyncBlocker => (
            but(by_name("web"), json!({"Id": "{blocker}", "ResolvedReason": "mended"})),
            vec![("codeconnections:UpdateSyncBlocker", ALL)],
        ),
        Operation::ListTagsForResource => {
            (json!({"ResourceArn": "{host}"}), vec![("codeconnections:ListTagsForResource", "{host}")])
        }
        Operation::TagResource => (
            json!({"ResourceArn": "{connection}", "Tags": tags}),
            vec![("codeconnections:TagResource", "{connection}")],
        ),
        Operation::UntagResource => {
            (json!({"ResourceArn": LINK, "TagKeys": ["team"]}), vec![("codeconnections:UntagResource", LINK)])
        }
    }
}

/// The permissions with the scene's names in them.
pub(super) fn filled(scene: &Scene, needs: &[(&str, &str)]) -> Vec<(String, String)> {
    let fill = |text: &str| scene.fill(&text.into()).as_str().expect("a string").to_owned();
    needs.iter().map(|(action, resource)| (fill(action), fill(resource))).collect()
}

fn statements(needs: &[(String, String)]) -> Value {
    needs.iter().map(|(action, resource)| allow(action, resource)).collect()
}

/// An operation on what may be used up by succeeding once; the service itself may still refuse it.
fn must_succeed(operation: Operation) -> bool {
    !matches!(operation, Operation::DeleteHost | Operation::DeleteRepositoryLink)
}

#[tokio::test]
async fn every_operation_is_denied_without_a_policy() {
    let scene = scene_with_ann().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..ann(&scene) };
        for operation in Operation::ALL {
            let (input, needs) = needed(operation);
            let (action, resource) = &filled(&scene, &needs)[0];
            client
                .refuses(operation.name(), scene.fill(&input), DENIED, &not_allowed(action, resource))
                .await;
        }
    }
}

#[tokio::test]
async fn every_operation_needs_its_own_permissions_and_no_more() {
    for operation in Operation::ALL {
        let scene = scene_with_ann().await;
        let client = ann(&scene);
        let (input, needs) = needed(operation);
        let (input, needs) = (scene.fill(&input), filled(&scene, &needs));
        for missing in 0..needs.len() {
            let mut others = needs.clone();
            let (action, resource) = others.remove(missing);
            others.push(("codecommit:*".to_owned(), "*".to_owned()));
            may(&scene, statements(&others)).await;
            client.refuses(operation.name(), input.clone(), DENIED, &not_allowed(&action, &resource)).await;
        }
        may(&scene, statements(&needs)).await;
        let reply = client.call(operation.name(), &input).await;
        if must_succeed(operation) {
            assert_eq!(reply.status, 200, "{}: {}", operation.name(), reply.value);
        } else {
            assert_ne!(reply.refusal().0, DENIED, "{}", operation.name());
        }
    }
}

#[tokio::test]
async fn a_denial_of_any_permission_wins_over_everything() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    for operation in Operation::ALL {
        let (input, needs) = needed(operation);
        for (action, resource) in filled(&scene, &needs) {
            let deny = json!({"Effect": "Deny", "Action": action, "Resource": resource});
            may(&scene, json!([everything(), deny])).await;
            let refused = denied(&action, &resource);
            client.refuses(operation.name(), scene.fill(&input), DENIED, &refused).await;
        }
    }
}

#[tokio::test]
async fn either_name_of_the_service_will_do() {
    let scene = scene_with_ann().await;
    let renamed = |text: &str| text.replace("codeconnections:", "codestar-connections:");
    for &service in Service::ALL {
        let client = Client { service, ..ann(&scene) };
        for operation in [
            Operation::GetConnection,
            Operation::GetHost,
            Operation::GetRepositoryLink,
            Operation::GetResourceSyncStatus,
            Operation::ListConnections,
        ] {
            let (input, needs) = needed(operation);
            let (action, resource) = &filled(&scene, &needs)[0];
            for action in [action, &renamed(action)] {
                for resource in [resource, &renamed(resource)] {
                    may(&scene, json!([allow(action, resource)])).await;
                    for input in [scene.fill(&input), {
                        let text = scene.fill(&input).to_string();
                        serde_json::from_str(&renamed(&text)).expect("JSON")
                    }] {
                        client.ok(operation.name(), input).await;
                    }
                }
            }
        }
        // The refusal speaks of what was called.
        may(&scene, json!([allow("codecommit:*", "*")])).await;
        let action = format!("{}:ListHosts", service.signing_name());
        let all = ALL.replace("codeconnections", service.signing_name());
        client.refuses("ListHosts", json!({}), DENIED, &not_allowed(&action, &all)).await;
    }
}

#[tokio::test]
async fn whoever_may_not_ask_learns_nothing_of_what_exists() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    may(&scene, json!([allow("codeconnections:*", "arn:aws:codeconnections:*:*:connection/none")])).await;
    let foreign =
        "arn:aws:codeconnections:eu-west-1:222222222222:connection/aaaaaaaa-1111-2222-3333-444444444444";
    let absent = format!("arn:aws:codeconnections:eu-west-1:111111111111:connection/{NOTHING}");
    for arn in [scene.connection.as_str(), &absent, foreign] {
        let refused = not_allowed("codeconnections:GetConnection", arn);
        client.refuses("GetConnection", json!({"ConnectionArn": arn}), DENIED, &refused).await;
    }
    for name in ["web", "none"] {
        let refused = not_allowed("codeconnections:GetResourceSyncStatus", ALL);
        client.refuses("GetResourceSyncStatus", by_name(name), DENIED, &refused).await;
    }
    // Who may ask about everything still finds only what is the account's.
    may(&scene, json!([everything()])).await;
    for arn in [&absent, foreign] {
        let missing = format!("Could not find connection:{arn}");
        let input = json!({"ConnectionArn": arn});
        client.refuses("GetConnection", input, "ResourceNotFoundException", &missing).await;
    }
}

#[tokio::test]
async fn a_denial_of_a_link_holds_for_every_way_to_write_its_id() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let arn = format!("arn:aws:codeconnections:eu-west-1:111111111111:repository-link/{}", scene.link);
    let deny = json!({"Effect": "Deny", "Action": "codeconnections:*", "Resource": arn});
    may(&scene, json!([everything(), deny])).await;
    for id in [scene.link.clone(), scene.link.to_uppercase()] {
        for operation in ["GetRepositoryLink", "DeleteRepositoryLink"] {
            let refused = denied(&format!("codeconnections:{operation}"), &arn);
            client.refuses(operation, json!({"RepositoryLinkId": id}), DENIED, &refused).await;
        }
        let spelled = arn.replace(&scene.link, &id);
        let refused = denied("codeconnections:ListTagsForResource", &arn);
        client.refuses("ListTagsForResource", json!({"ResourceArn": spelled}), DENIED, &refused).await;
    }
}

#[tokio::test]
async fn policies_count_together_and_from_the_next_request_on() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let account = scope_of(OURS).account;
    let refused = not_allowed("codeconnections:ListHosts", ALL);
    let list = async || client.call("ListHosts", &json!({})).await;
    client.refuses("ListHosts", json!({}), DENIED, &refused).await;
    may(&scene, json!([allow("codeconnections:List*", "*")])).await;
    assert_eq!(list().await.status, 200);
    let deny = r#"{"Statement":{"Effect":"Deny","Action":"codestar-connections:ListHosts","Resource":"*"}}"#;
    let put = scene.store().put_policy(&account, "ann", "more", deny, Change::unrecorded()).await;
    assert_eq!(put.expect("written"), Made::Made);
    assert_eq!(list().await.refusal(), (DENIED.to_owned(), denied("codeconnections:ListHosts", ALL)));
    assert!(
        scene.store().delete_policy(&account, "ann", "more", Change::unrecorded()).await.expect("written")
    );
    assert_eq!(list().await.status, 200);
    assert!(
        scene.store().delete_policy(&account, "ann", "own", Change::unrecorded()).await.expect("written")
    );
    assert_eq!(list().await.refusal(), (DENIED.to_owned(), refused));
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_allows_nothing() {
    let scene = scene_with_ann().await;
    may(&scene, json!([everything()])).await;
    scene.tamper("UPDATE policy SET document = '{}' WHERE name = 'own'");
    let (code, _) = ann(&scene).refused("GetResourceSyncStatus", by_name("web")).await;
    assert_eq!(code, "InternalServerException");
}

#[tokio::test]
async fn the_root_key_and_other_accounts_users_are_judged_by_what_is_theirs() {
    let scene = scene_with_ann().await;
    may(&scene, json!([{"Effect": "Deny", "Action": "*", "Resource": "*"}])).await;
    scene.client().ok("ListHosts", json!({})).await;
    Client { key: super::client::THEIRS, ..scene.client() }.ok("ListHosts", json!({})).await;
}

#[tokio::test]
async fn the_rest_api_asks_for_permissions_of_its_own() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let id = scene.pending.rsplit('/').next().expect("an id");
    let sync = "arn:aws:syncline:eu-west-1:111111111111:sync/web";
    let account = "arn:aws:syncline:eu-west-1:111111111111:*";
    let bob = "arn:aws:iam::111111111111:user/bob";
    user_with_key(scene.store(), BOB, "bob").await;
    let authorize = format!("/connections/{id}/authorize");
    let of_key = |what: &str| format!("/accounts/{}/users/bob/keys/{}{what}", OURS.account, BOB.id);
    let (users, keys) =
        (format!("/accounts/{}/users", OURS.account), format!("/accounts/{}/keys", OURS.account));
    let of_bob = |what: &str| format!("{users}/bob{what}");
    let document = serde_json::from_str(EVERYTHING).expect("JSON");
    let mut actions = BTreeSet::new();
    for (method, path, body, action, resource, status) in [
        ("GET", "/account", &Value::Null, "syncline:GetAccount", account, 200),
        ("GET", "/syncs", &Value::Null, "syncline:ListSyncs", account, 200),
        ("GET", "/syncs/web", &Value::Null, "syncline:GetSync", sync, 200),
        ("POST", "/syncs/web/sync-now", &Value::Null, "syncline:SyncNow", sync, 202),
        ("POST", "/syncs/web/suspend", &json!({"reason": "a freeze"}), "syncline:SuspendSync", sync, 200),
        ("POST", "/syncs/web/resume", &Value::Null, "syncline:ResumeSync", sync, 200),
        ("POST", &authorize, &json!({"token": "t"}), "syncline:AuthorizeConnection", &scene.pending, 200),
        ("GET", &users, &Value::Null, "syncline:ListUsers", account, 200),
        ("PUT", &of_bob(""), &Value::Null, "syncline:CreateUser", bob, 200),
        ("GET", &of_bob("/policies"), &Value::Null, "syncline:ListUserPolicies", bob, 200),
        ("PUT", &of_bob("/policies/new"), &document, "syncline:PutUserPolicy", bob, 200),
        ("DELETE", &of_bob("/policies/new"), &Value::Null, "syncline:DeleteUserPolicy", bob, 200),
        ("POST", &of_bob("/keys"), &Value::Null, "syncline:CreateAccessKey", bob, 200),
        ("GET", &keys, &Value::Null, "syncline:ListAccessKeys", account, 200),
        ("POST", &of_key("/deactivate"), &Value::Null, "syncline:UpdateAccessKey", bob, 200),
        ("DELETE", &of_key(""), &Value::Null, "syncline:DeleteAccessKey", bob, 200),
        ("DELETE", &of_bob(""), &Value::Null, "syncline:DeleteUser", bob, 200),
    ] {
        assert!(actions.insert(action), "{action}");
        let refused = |message: String| json!({"code": DENIED, "message": message});
        may(&scene, json!([allow("codeconnections:*", "*"), allow("iam:*", "*")])).await;
        let reply = client.rest(method, path, body).await;
        assert_eq!((reply.status, reply.value), (403, refused(not_allowed(action, resource))), "{path}");
        let deny = json!({"Effect": "Deny", "Action": action, "Resource": resource});
        may(&scene, json!([everything(), deny])).await;
        let reply = client.rest(method, path, body).await;
        assert_eq!((reply.status, reply.value), (403, refused(denied(action, resource))), "{path}");
        may(&scene, json!([allow(action, resource)])).await;
        let reply = client.rest(method, path, body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.value);
    }
    may(&scene, json!([allow("syncline:*", sync)])).await;
    let reply = client.rest("GET", "/syncs/none", &Value::Null).await;
    assert_eq!(reply.status, 403, "a sync that may not be seen is not told from one that does not exist");
    may(&scene, json!([everything()])).await;
    let reply = client.rest("PUT", "/accounts/222222222222/users/eve", &Value::Null).await;
    assert_eq!(reply.status, 403, "no policy reaches into another account: {}", reply.value);
}

#[tokio::test]
async fn whoever_may_change_one_user_s_keys_reaches_no_other_s() {
    let scene = scene_with_ann().await;
    user_with_key(scene.store(), BOB, "bob").await;
    may(&scene, json!([allow("syncline:*", ANN_ARN)])).await;
    let path =
        |user: &str, what: &str| format!("/accounts/{}/users/{user}/keys/{}{what}", OURS.account, BOB.id);
    for (method, what, action) in [
        ("POST", "/activate", "syncline:UpdateAccessKey"),
        ("POST", "/deactivate", "syncline:UpdateAccessKey"),
        ("DELETE", "", "syncline:DeleteAccessKey"),
    ] {
        let reply = ann(&scene).rest(method, &path("bob", what), &Value::Null).await;
        let refused = not_allowed(action, "arn:aws:iam::111111111111:user/bob");
        assert_eq!((reply.status, text(&reply.value, "/message")), (403, refused), "{what}");
        // A path that names the user who is allowed does not make the key that user's.
        for user in ["ann", "nobody"] {
            may(&scene, json!([allow("syncline:*", &format!("arn:aws:iam::111111111111:user/{user}"))]))
                .await;
            let reply = ann(&scene).rest(method, &path(user, what), &Value::Null).await;
            let missing = format!("Could not find access key:{}", BOB.id);
            assert_eq!((reply.status, text(&reply.value, "/message")), (404, missing), "{user} {what}");
        }
        may(&scene, json!([allow("syncline:*", ANN_ARN)])).await;
    }
    Client { key: BOB, ..scene.client() }.ok("ListHosts", json!({})).await;
}

#[tokio::test]
async fn a_denial_of_a_user_holds_in_every_region() {
    let scene = scene_with_ann().await;
    user_with_key(scene.store(), BOB, "bob").await;
    let bob = "arn:aws:iam::111111111111:user/bob";
    let action = "syncline:CreateAccessKey";
    let path = format!("/accounts/{}/users/bob/keys", OURS.account);
    for region in ["eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"] {
        let client = Client { region, ..ann(&scene) };
        may(&scene, json!([everything(), {"Effect": "Deny", "Action": "*", "Resource": bob}])).await;
        let reply = client.rest("POST", &path, &Value::Null).await;
        assert_eq!(text(&reply.value, "/message"), denied(action, bob), "{region}");
        let deny = json!({"Effect": "Deny", "Action": "*", "Resource": "*",
                          "Condition": {"ArnEquals": {"aws:PrincipalArn": ANN_ARN}}});
        may(&scene, json!([everything(), deny])).await;
        let reply = client.rest("POST", &path, &Value::Null).await;
        assert_eq!(text(&reply.value, "/message"), denied(action, bob), "{region}");
    }
}

#[tokio::test]
async fn a_refusal_is_worded_alike_over_both_protocols_and_is_recorded() {
    let scene = scene_with_ann().await;
    let hosts = json!({"Name": "h", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com"});
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let client = Client { protocol, ..ann(&scene) };
        let reply = client.call("CreateHost", &hosts).await;
        assert_eq!(reply.status, 403);
        assert_eq!(
            reply.refusal(),
            (DENIED.to_owned(), not_allowed("codeconnections:CreateHost", ALL)),
            "{protocol:?}"
        );
    }
    // `tamper` fails where it finds no record to change.
    scene.tamper(
        "UPDATE audit_record SET account_id = account_id
          WHERE record LIKE '%\"errorCode\":\"AccessDeniedException\"%'
            AND record LIKE '%\"userName\":\"ann\"%' AND record LIKE '%\"eventName\":\"CreateHost\"%'",
    );
}
