//! The audit log as the API fills it: what is recorded, how it looks, and who may read it.

use serde_json::{Value, json};
use syncline_seams::Moment;
use syncline_store::chain::{ChainedRecord, Checker, GENESIS};
use syncline_store::{Change, GATHER_MS, Kind, Made, NewAccessKey, Owner, Page, key_owner};
use syncline_wire::Operation;

use super::access;
use super::client::{Client, Draft, EVERYTHING, Key, OURS, PROTOCOLS, REGION, Server, THEIRS};
use super::scene::{NOTHING, ROLE, Scene, by_name, id_of, scope_of, sync_input, text};

/// A secret that is to be seen nowhere.
const CANARY: &str = "canary-secret-0123456789";

/// Lets every record that waits get its place, as the worker does.
async fn sequence(server: &Server) {
    server.clock.advance_ms(GATHER_MS);
    let store = &server.parts.store;
    while let Some(claim) = store.claim(Kind::Audit, "test", 15_000).await.expect("claimed") {
        while store.sequence_audit(&claim).await.expect("sequenced") {}
        store.release(claim, None).await.expect("released");
    }
}

/// Every record of the key's account, from the database.
async fn log(server: &Server, key: Key) -> Vec<ChainedRecord> {
    sequence(server).await;
    let account = scope_of(key).account;
    let page = server.parts.store.audit_page(&account, 0, 1000).await.expect("read");
    let mut checker = Checker::default();
    page.records.iter().for_each(|record| checker.check(record).expect("sound"));
    assert_eq!(page.waiting, 0);
    page.records
}

/// The same, as they are in CloudTrail.
pub(super) async fn records(server: &Server, key: Key) -> Vec<Value> {
    let read = |record: ChainedRecord| serde_json::from_str(&record.record).expect("JSON");
    log(server, key).await.into_iter().map(read).collect()
}

/// What is asked for first, how it succeeds, and how it is refused.
struct Case {
    before: Vec<(&'static str, Value)>,
    good: Value,
    bad: Value,
    code: &'static str,
}

/// A case for every operation that changes something.
fn case(operation: Operation) -> Case {
    let case = |good, bad, code| Case { before: Vec::new(), good, bad, code };
    let missing = "ResourceNotFoundException";
    let no_arn = |kind: &str| format!("arn:aws:codeconnections:eu-west-1:111111111111:{kind}/none-01234567");
    let connection = |name: &str| json!({"ConnectionName": name, "ProviderType": "GitHub"});
    let link =
        |name: &str| json!({"ConnectionArn": "{connection}", "OwnerId": "acme", "RepositoryName": name});
    let host = |name: &str| json!({"Name": name, "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com"});
    let resolve = |id: &str| json!({"SyncType": "CFN_STACK_SYNC", "ResourceName": "web", "Id": id, "ResolvedReason": "r"});
    let update =
        |name: &str| json!({"SyncType": "CFN_STACK_SYNC", "ResourceName": name, "ConfigFile": "a.yaml"});
    match operation {
        Operation::CreateConnection => case(connection("new"), connection("github"), "ValidationException"),
        Operation::CreateHost => case(host("new"), host(""), "ValidationException"),
        Operation::CreateRepositoryLink => case(link("new"), link("infra"), "ResourceAlreadyExistsException"),
        Operation::CreateSyncConfiguration => {
            let taken = sync_input("{link}", "web");
            case(sync_input("{link}", "new"), taken, "ResourceAlreadyExistsException")
        }
        Operation::DeleteConnection => {
            let other = json!({"ConnectionArn": no_arn("connection")});
            case(json!({"ConnectionArn": "{pending}"}), other, missing)
        }
        Operation::DeleteHost => Case {
            before: vec![("DeleteConnection", json!({"ConnectionArn": "{pending}"}))],
            ..case(json!({"HostArn": "{host}"}), json!({"HostArn": no_arn("host")}), missing)
        },
        Operation::DeleteRepositoryLink => Case {
            before: vec![("DeleteSyncConfiguration", by_name("web"))],
            ..case(json!({"RepositoryLinkId": "{link}"}), json!({"RepositoryLinkId": NOTHING}), missing)
        },
        // It is idempotent: what it refuses is malformed.
        Operation::DeleteSyncConfiguration => case(by_name("web"), by_name(""), "InvalidInputException"),
        Operation::TagResource => {
            let tag = |arn: &str| json!({"ResourceArn": arn, "Tags": [{"Key": "team", "Value": "web"}]});
            case(tag("{host}"), tag(&no_arn("host")), missing)
        }
        Operation::UntagResource => {
            let untag = |arn: &str| json!({"ResourceArn": arn, "TagKeys": ["team"]});
            case(untag("{host}"), untag(&no_arn("host")), missing)
        }
        Operation::UpdateHost => {
            let update = |arn: &str| json!({"HostArn": arn, "ProviderEndpoint": "https://git2.example.com"});
            case(update("{host}"), update(&no_arn("host")), missing)
        }
        Operation::UpdateRepositoryLink => {
            let update = |id: &str| json!({"RepositoryLinkId": id, "ConnectionArn": "{connection}"});
            case(update("{link}"), update(NOTHING), missing)
        }
        Operation::UpdateSyncBlocker => {
            case(resolve("{blocker}"), resolve(NOTHING), "SyncBlockerDoesNotExistException")
        }
        Operation::UpdateSyncConfiguration => case(update("web"), update("none"), missing),
        Operation::GetConnection
        | Operation::GetHost
        | Operation::GetRepositoryLink
        | Operation::GetRepositorySyncStatus
        | Operation::GetResourceSyncStatus
        | Operation::GetSyncBlockerSummary
        | Operation::GetSyncConfiguration
        | Operation::ListConnections
        | Operation::ListHosts
        | Operation::ListRepositoryLinks
        | Operation::ListRepositorySyncDefinitions
        | Operation::ListSyncConfigurations
        | Operation::ListTagsForResource => unreachable!("{} changes nothing", operation.name()),
    }
}

/// The same value as CloudTrail spells its members.
fn lower_camel(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let lower = |name: &str| format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
            members.iter().map(|(name, value)| (lower(name), lower_camel(value))).collect()
        }
        Value::Array(items) => items.iter().map(lower_camel).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn every_change_is_recorded_once_whether_it_is_done_or_refused() {
    for operation in Operation::ALL.into_iter().filter(|operation| !operation.is_read_only()) {
        let (scene, name) = (Scene::new().await, operation.name());
        let (client, case) = (scene.client(), case(operation));
        for (operation, input) in &case.before {
            client.ok(operation, scene.fill(input)).await;
        }
        let before = records(&scene.server, OURS).await.len();
        let good = scene.fill(&case.good);
        let done = client.call(name, &good).await;
        assert_eq!(done.status, 200, "{name}: {}", done.value);
        // Records of one millisecond have no order.
        scene.server.clock.advance_ms(1);
        let bad = scene.fill(&case.bad);
        let refused = client.call(name, &bad).await;
        let (code, message) = refused.refusal();
        assert_eq!(code, case.code, "{name}: {message}");
        scene.server.clock.advance_ms(1);
        let malformed = client.call(name, &json!([])).await;
        let malformed_code = malformed.refusal().0;
        assert_eq!(malformed_code, "SerializationException", "{name}");

        let told = records(&scene.server, OURS).await.split_off(before);
        assert_eq!(told.len(), 3, "{name}: {told:#?}");
        for (record, reply) in told.iter().zip([&done, &refused, &malformed]) {
            assert_eq!(record["eventName"], name);
            assert_eq!(record["requestID"], reply.header("x-amzn-requestid"), "{name}");
            assert_eq!(record["readOnly"], false, "{name}");
            assert_eq!(record["eventSource"], "codeconnections.amazonaws.com", "{name}");
        }
        assert_eq!(told[0].get("errorCode"), None, "{name}");
        assert_eq!(told[0]["requestParameters"], lower_camel(&good), "{name}");
        assert_eq!(told[0]["responseElements"], lower_camel(&done.value), "{name}");
        assert_eq!(
            (&told[1]["errorCode"], &told[1]["errorMessage"]),
            (&json!(code), &json!(message)),
            "{name}"
        );
        assert_eq!(told[1]["responseElements"], Value::Null, "{name}");
        assert_eq!(told[2]["errorCode"], "SerializationException", "{name}");
        assert_eq!(told[2]["requestParameters"], Value::Null, "{name}: it could not be read");
    }
}

#[tokio::test]
async fn whatever_is_denied_is_recorded_and_what_is_allowed_only_if_it_changes_something() {
    let scene = access::scene_with_ann().await;
    let ann = access::ann(&scene);
    let before = records(&scene.server, OURS).await.len();
    let mut replies = Vec::new();
    for operation in Operation::ALL {
        let input = scene.fill(&access::needed(operation).0);
        let reply = ann.call(operation.name(), &input).await;
        assert_eq!(reply.refusal().0, access::DENIED, "{}", operation.name());
        replies.push(reply);
        scene.server.clock.advance_ms(1);
    }
    let told = records(&scene.server, OURS).await.split_off(before);
    assert_eq!(told.len(), Operation::ALL.len());
    for ((operation, record), reply) in Operation::ALL.into_iter().zip(&told).zip(&replies) {
        let name = operation.name();
        assert_eq!(
            (&record["eventName"], &record["readOnly"]),
            (&json!(name), &json!(operation.is_read_only()))
        );
        assert_eq!(record["errorCode"], access::DENIED, "{name}");
        assert_eq!(record["errorMessage"], reply.refusal().1, "{name}");
        assert_eq!(record["requestID"], reply.header("x-amzn-requestid"), "{name}");
        assert_eq!(record["userIdentity"]["userName"], "ann", "{name}");
    }

    access::may(&scene, access::everything()).await;
    let before = before + told.len();
    for operation in Operation::ALL.into_iter().filter(|operation| operation.is_read_only()) {
        ann.ok(operation.name(), scene.fill(&access::needed(operation).0)).await;
    }
    assert_eq!(records(&scene.server, OURS).await.len(), before);
    access::may(&scene, access::allow("syncline:GetSync", "*")).await;
    assert_eq!(ann.rest("GET", "/audit", &Value::Null).await.status, 403);
    access::may(&scene, access::allow("syncline:ListAuditRecords", "*")).await;
    assert_eq!(ann.rest("GET", "/audit", &Value::Null).await.status, 200);
    let told = records(&scene.server, OURS).await.split_off(before);
    assert_eq!((told.len(), &told[0]["eventName"]), (1, &json!("ListAuditRecords")));
}

#[tokio::test]
async fn the_rest_api_s_changes_are_recorded_too_and_without_the_token() {
    let scene = Scene::new().await;
    let client = scene.client();
    let before = records(&scene.server, OURS).await.len();
    let pending = id_of(&scene.pending);
    let authorize = format!("/connections/{pending}/authorize");
    let good = json!({"token": CANARY, "username": "deploy"});
    let mut replies = Vec::new();
    for (path, body, status) in [
        (&*authorize, good.clone(), 200),
        (&*authorize, json!({"token": CANARY, "username": CANARY.repeat(20)}), 400),
        (&*authorize, json!({"tokn": CANARY}), 400),
        (&*authorize, json!({CANARY: 1}), 400),
        ("/connections/none/authorize", good, 404),
        ("/syncs/web/sync-now", Value::Null, 202),
        ("/syncs/none/sync-now", Value::Null, 404),
    ] {
        let reply = client.rest("POST", path, &body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.value);
        replies.push(reply);
        scene.server.clock.advance_ms(1);
    }
    let told = records(&scene.server, OURS).await.split_off(before);
    let lines: Vec<_> = told
        .iter()
        .map(|record| {
            let part = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                part("eventSource"),
                part("eventName"),
                part("errorCode"),
                record["requestParameters"]
            )
        })
        .collect();
    let of_connection = |id: &str| format!("{{\"connectionId\":\"{id}\"}}");
    assert_eq!(
        lines,
        [
            format!("syncline AuthorizeConnection - {}", of_connection(pending)),
            format!("syncline AuthorizeConnection ValidationException {}", of_connection(pending)),
            format!("syncline AuthorizeConnection SerializationException {}", of_connection(pending)),
            format!("syncline AuthorizeConnection SerializationException {}", of_connection(pending)),
            format!("syncline AuthorizeConnection ResourceNotFoundException {}", of_connection("none")),
            "syncline SyncNow - {\"resourceName\":\"web\"}".to_owned(),
            "syncline SyncNow ResourceNotFoundException {\"resourceName\":\"none\"}".to_owned(),
        ]
    );
    for (record, reply) in told.iter().zip(&replies) {
        assert_eq!(record["requestID"], reply.header("x-amzn-requestid"));
        assert!(!record.to_string().contains(CANARY), "{record}");
        assert!(!reply.value.to_string().contains(CANARY), "{}", reply.value);
    }
}

#[tokio::test]
async fn what_the_operator_does_is_in_the_log_of_the_account_and_without_the_keys() {
    const CUSTOMER: Key = Key { id: "", secret: "", account: "333333333333" };
    let server = Server::start().await;
    let operator = server.client();
    let user = format!("/accounts/{}/users/ci", CUSTOMER.account);
    let ask = async |method: &str, path: &str, body: Value, status: u16| {
        let reply = operator.rest(method, path, &body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.value);
        server.clock.advance_ms(1);
        reply.value
    };
    ask("PUT", &user, Value::Null, 200).await;
    ask("PUT", &user, Value::Null, 200).await;
    let policy: Value = serde_json::from_str(EVERYTHING).expect("JSON");
    ask("PUT", &format!("{user}/policies/all"), policy.clone(), 200).await;
    ask("PUT", &format!("{user}/policies/all"), json!({"Statement": 1}), 400).await;
    let created = ask("POST", &format!("{user}/keys"), json!({"temporary": true}), 200).await;
    let id = text(&created, "/accessKeyId");
    let key = format!("{user}/keys/{id}");
    ask("POST", &format!("{key}/deactivate"), Value::Null, 200).await;
    ask("POST", &format!("{key}/activate"), Value::Null, 200).await;
    ask("DELETE", &key, Value::Null, 200).await;
    ask("DELETE", &key, Value::Null, 404).await;
    ask("DELETE", &format!("{user}/policies/all"), Value::Null, 200).await;
    ask("DELETE", &user, Value::Null, 200).await;

    let told = records(&server, CUSTOMER).await;
    let lines: Vec<_> = told
        .iter()
        .map(|record| format!("{} {}", record["eventName"].as_str().expect("a text"), record["errorCode"]))
        .collect();
    assert_eq!(
        lines,
        [
            "CreateUser null",
            "CreateUser null",
            "PutUserPolicy null",
            "PutUserPolicy \"ValidationException\"",
            "CreateAccessKey null",
            "UpdateAccessKey null",
            "UpdateAccessKey null",
            "DeleteAccessKey null",
            "DeleteAccessKey \"ResourceNotFoundException\"",
            "DeleteUserPolicy null",
            "DeleteUser null",
        ]
    );
    assert_eq!(told[1]["responseElements"]["created"], false, "a change that found nothing to do");
    assert_eq!(told[2]["requestParameters"]["policyDocument"], policy);
    assert_eq!(told[4]["responseElements"]["accessKeyId"], id);
    for record in &told {
        assert_eq!(record["recipientAccountId"], CUSTOMER.account);
        assert_eq!(record["userIdentity"]["accountId"], OURS.account);
        for secret in ["/secretAccessKey", "/sessionToken"] {
            assert!(!record.to_string().contains(&text(&created, secret)), "{record}");
        }
    }
    assert_eq!(records(&server, OURS).await, Vec::<Value>::new());

    // The operator reads it; nobody else does, and that he asked is recorded.
    let path = format!("/accounts/{}/audit", CUSTOMER.account);
    let read = ask("GET", &path, Value::Null, 200).await;
    assert_eq!((&read["accountId"], &read["head"]["sequence"]), (&json!(CUSTOMER.account), &json!(11)));
    let curious = Client { key: THEIRS, ..operator };
    let denied = curious.rest("GET", &path, &Value::Null).await;
    assert_eq!((denied.status, text(&denied.value, "/code").as_str()), (403, "AccessDeniedException"));
    let told = records(&server, THEIRS).await;
    assert_eq!(told.len(), 1);
    let parts = ["eventName", "errorCode", "readOnly"].map(|name| &told[0][name]);
    assert_eq!(parts, [&json!("ListAuditRecords"), &json!("AccessDeniedException"), &json!(true)]);
}

#[tokio::test]
async fn the_body_is_recorded_only_of_who_may_send_it_and_if_it_can_be_read() {
    let scene = access::scene_with_ann().await;
    let ann = access::ann(&scene);
    let before = records(&scene.server, OURS).await.len();
    let path = format!("/accounts/{}/users/ann/policies/mine", OURS.account);
    let policy: Value = serde_json::from_str(EVERYTHING).expect("JSON");
    let arn = |number: usize| format!("arn:aws:codeconnections:eu-west-1:111111111111:host/{number}");
    let flood: Value = (0..10_000).map(arn).collect();
    let elsewhere = format!("/accounts/{}/users/them/policies/mine", THEIRS.account);
    let keys = format!("/accounts/{}/users/ann/keys", OURS.account);
    let operator = scene.client();
    for (client, method, path, body, status) in [
        (&ann, "PUT", &path, flood, 403),
        (&ann, "PUT", &elsewhere, policy.clone(), 403),
        (&operator, "POST", &keys, json!({"tokn": CANARY}), 400),
        (&operator, "PUT", &path, json!({"Statement": 1}), 400),
        (&operator, "PUT", &path, policy.clone(), 200),
    ] {
        let reply = client.rest(method, path, &body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.value);
        scene.server.clock.advance_ms(1);
    }

    let told = records(&scene.server, OURS).await.split_off(before);
    let parameters: Vec<_> = told.iter().map(|record| &record["requestParameters"]).collect();
    let of_put = |user: &str| json!({"userName": user, "policyName": "mine"});
    let with = |document: Value| json!({"userName": "ann", "policyName": "mine", "policyDocument": document});
    let expect = [
        of_put("ann"),
        of_put("them"),
        json!({"userName": "ann"}),
        with(json!({"Statement": 1})),
        with(policy.clone()),
    ];
    assert_eq!(parameters, expect.iter().collect::<Vec<_>>());
    assert!(told.iter().all(|record| record.get("resources").is_none()), "{told:#?}");
}

#[tokio::test]
async fn a_record_is_what_cloudtrail_would_write() {
    let server = Server::start().await;
    let client = server.client();
    let input = json!({"ConnectionName": "mine", "ProviderType": "GitHub", "Tags": [{"Key": "Team", "Value": "Web"}]});
    let mut draft = client.draft("CreateConnection", &input);
    draft.headers.push(("user-agent".to_owned(), "aws-cli/2.31 md/Botocore#1.44".to_owned()));
    let reply = server.send(client.sign(draft)).await;
    let arn = text(&reply.value, "/ConnectionArn");
    let log = log(&server, OURS).await;
    assert_eq!((log.len(), &*log[0].previous_hash), (1, GENESIS));
    let record: Value = serde_json::from_str(&log[0].record).expect("JSON");
    let expected = json!({
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "Root", "principalId": "111111111111", "arn": "arn:aws:iam::111111111111:root",
            "accountId": "111111111111", "accessKeyId": OURS.id,
        },
        "eventTime": "2025-11-23T02:40:00Z",
        "eventSource": "codeconnections.amazonaws.com",
        "eventName": "CreateConnection",
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "127.0.0.1",
        "userAgent": "aws-cli/2.31 md/Botocore#1.44",
        "requestParameters": {
            "connectionName": "mine", "providerType": "GitHub", "tags": [{"key": "Team", "value": "Web"}],
        },
        "responseElements": {"connectionArn": arn, "tags": [{"key": "Team", "value": "Web"}]},
        "requestID": reply.header("x-amzn-requestid"),
        "eventID": log[0].event_id,
        "readOnly": false,
        "resources": [{"ARN": arn, "accountId": "111111111111", "type": "AWS::CodeConnections::Connection"}],
        "eventType": "AwsApiCall",
        "managementEvent": true,
        "recipientAccountId": "111111111111",
        "eventCategory": "Management",
    });
    assert_eq!(record, expected);
}

/// Makes a temporary key of the user `them`; its session token.
async fn temporary_key(server: &Server, key: Key) -> &'static str {
    const TOKEN: &str = "session-token-of-the-temporary-key";
    let hash: String = sha2_hex(TOKEN.as_bytes());
    let owner = key_owner(key.id);
    let owner = Owner { account: key.account, arn: &owner };
    let store = &server.parts.store;
    let new = NewAccessKey {
        id: key.id.to_owned(),
        user_name: "them".to_owned(),
        sealed: store.keyring().seal(&owner, key.secret.as_bytes()).expect("sealed"),
        token_hash: Some(hash),
        expires_at_ms: Some(server.now_ms() + 3_600_000),
    };
    let made = store.create_access_key(&scope_of(key).account, new, Change::unrecorded()).await;
    assert_eq!(made.expect("written"), Made::Made);
    TOKEN
}

fn sha2_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_record_says_who_it_was_and_with_which_kind_of_key() {
    const TEMPORARY: Key =
        Key { id: "ASIATHEIRSTHEIRSTHEI", secret: "a-secret-for-an-hour-a-secret", account: "222222222222" };
    let server = Server::start().await;
    let client = Client { key: THEIRS, ..server.client() };
    client.ok("CreateConnection", json!({"ConnectionName": "a", "ProviderType": "GitHub"})).await;
    let token = temporary_key(&server, TEMPORARY).await;
    server.clock.advance_ms(60_000);
    let client = Client { key: TEMPORARY, region: "cn-north-1", ..client };
    let mut draft =
        client.draft("CreateConnection", &json!({"ConnectionName": "b", "ProviderType": "GitHub"}));
    draft.headers.push(("x-amz-security-token".to_owned(), token.to_owned()));
    assert_eq!(server.send(client.sign(draft)).await.status, 200);

    let told = records(&server, THEIRS).await;
    let user = json!({
        "type": "IAMUser", "principalId": "AIDATHEIRSTHEIRSTHEI", "arn": "arn:aws:iam::222222222222:user/them",
        "accountId": "222222222222", "accessKeyId": THEIRS.id, "userName": "them",
    });
    assert_eq!(told[0]["userIdentity"], user);
    let session = json!({
        "type": "IAMUser", "principalId": "AIDATHEIRSTHEIRSTHEI", "arn": "arn:aws:iam::222222222222:user/them",
        "accountId": "222222222222", "accessKeyId": TEMPORARY.id, "userName": "them",
        "sessionContext": {"attributes": {"creationDate": "2025-11-23T02:40:00Z", "mfaAuthenticated": "false"}},
    });
    assert_eq!(told[1]["userIdentity"], session);
    let made = text(&told[1], "/responseElements/connectionArn");
    assert!(made.starts_with("arn:aws-cn:codeconnections:cn-north-1:222222222222:connection/"), "{made}");
    assert!(!told[1].to_string().contains(token));
}

#[tokio::test]
async fn questions_are_not_recorded_nor_is_anybody_unknown() {
    let scene = Scene::new().await;
    let client = scene.client();
    let before = [records(&scene.server, OURS).await.len(), records(&scene.server, THEIRS).await.len()];
    client.ok("ListConnections", json!({})).await;
    client.ok("GetHost", json!({"HostArn": scene.host})).await;
    client.refused("GetHost", json!({"HostArn": "nonsense"})).await;
    assert_eq!(client.rest("GET", "/syncs/web", &Value::Null).await.status, 200);
    assert_eq!(client.rest("GET", "/syncs/none", &Value::Null).await.status, 404);
    assert_eq!(client.rest("GET", "/audit", &Value::Null).await.status, 200);
    let forged = Client { key: Key { secret: "a guess", ..OURS }, ..client };
    let input = json!({"ConnectionName": "forged", "ProviderType": "GitHub"});
    assert_eq!(forged.refused("CreateConnection", input).await.0, "InvalidSignatureException");
    let after = [records(&scene.server, OURS).await.len(), records(&scene.server, THEIRS).await.len()];
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_commit_that_fails_leaves_neither_the_change_nor_its_record() {
    let server = Server::start().await;
    let client = server.client();
    let input = json!({"ConnectionName": "mine", "ProviderType": "GitHub"});
    let connections = async || {
        let page = Page { after: None, limit: 10 };
        server.parts.store.connections(&scope_of(OURS), None, None, &page).await.expect("read").items.len()
    };
    server.faults.fail("store.create_connection", Moment::Before);
    let refused = client.refused("CreateConnection", input.clone()).await;
    assert_eq!(connections().await, 0);
    let told = records(&server, OURS).await;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((&told[0]["errorCode"], &told[0]["errorMessage"]), (&json!(refused.0), &json!(refused.1)));
    assert_eq!(told[0]["responseElements"], Value::Null);

    // The commit stands, but the server does not know: the log has the change, and that its answer was an error.
    server.faults.fail("store.create_connection", Moment::After);
    let refused = client.refused("CreateConnection", input).await;
    assert_eq!(connections().await, 1);
    let told = records(&server, OURS).await.split_off(1);
    let outcomes: Vec<_> = told.iter().map(|record| record["errorCode"].as_str()).collect();
    assert_eq!(outcomes.iter().filter(|code| code.is_none()).count(), 1, "{told:#?}");
    assert_eq!(outcomes.iter().filter(|code| **code == Some(&*refused.0)).count(), 1, "{told:#?}");
    assert_eq!(told[0]["requestID"], told[1]["requestID"]);
    assert_ne!(told[0]["eventID"], told[1]["eventID"]);
}

#[tokio::test]
async fn a_creation_that_is_sent_again_is_a_call_of_its_own() {
    let server = Server::start().await;
    let client = server.client();
    let send = async || {
        let input = json!({"ConnectionName": "mine", "ProviderType": "GitHub"});
        let mut draft = client.draft("CreateConnection", &input);
        draft.headers.push(("amz-sdk-invocation-id".to_owned(), "invocation-1".to_owned()));
        let reply = server.send(client.sign(draft)).await;
        assert_eq!(reply.status, 200, "{}", reply.value);
        reply
    };
    let (first, second) = (send().await, send().await);
    assert_eq!(first.value, second.value);
    let told = records(&server, OURS).await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["responseElements"], told[1]["responseElements"]);
    let mut ids: Vec<_> = told.iter().map(|record| record["requestID"].as_str()).collect();
    let mut expected = [Some(first.header("x-amzn-requestid")), Some(second.header("x-amzn-requestid"))];
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn what_is_too_long_is_left_out_and_said_so_and_the_rest_is_there() {
    let server = Server::start().await;
    let client = server.client();
    let value = "\u{1f980}".repeat(200);
    let tags: Vec<_> =
        (0..150).map(|number| json!({"Key": format!("key-{number}"), "Value": value})).collect();
    let input = json!({"ConnectionName": "mine", "ProviderType": "GitHub", "Tags": tags});
    client.ok("CreateConnection", input).await;
    let record = records(&server, OURS).await.remove(0);
    for name in ["requestParameters", "responseElements"] {
        let tags = &record[name]["tags"];
        assert_eq!(tags["omitted"], true, "{name}: {record}");
        assert!(tags["originalSize"].as_u64().expect("a size") > 120_000, "{name}");
    }
    assert_eq!(record["requestParameters"]["connectionName"], "mine");
    assert_eq!(record["responseElements"]["connectionArn"], record["resources"][0]["ARN"]);
    assert_eq!(record["resources"][0]["type"], "AWS::CodeConnections::Connection", "known all the same");
}

#[tokio::test]
async fn what_is_refused_is_recorded_in_short() {
    let scene = access::scene_with_ann().await;
    let before = records(&scene.server, OURS).await.len();
    let tags = |count: usize| -> Value {
        (0..count).map(|number| json!({"Key": format!("key-{number}"), "Value": "v".repeat(200)})).collect()
    };
    let input = |name: &str| json!({"ConnectionName": name, "ProviderType": "GitHub", "Tags": tags(40)});
    // Denied, refused by the change itself, and done.
    access::ann(&scene).refused("CreateConnection", input("new")).await;
    scene.server.clock.advance_ms(1);
    let client = scene.client();
    let many = json!({"ResourceArn": scene.host, "Tags": tags(150)});
    client.ok("TagResource", many).await;
    scene.server.clock.advance_ms(1);
    let others: Value =
        (0..100).map(|number| json!({"Key": format!("other-{number}"), "Value": "v".repeat(50)})).collect();
    client.refused("TagResource", json!({"ResourceArn": scene.host, "Tags": others})).await;

    let told = records(&scene.server, OURS).await.split_off(before);
    let omitted = |record: &Value| record["requestParameters"]["tags"]["omitted"] == true;
    assert_eq!(told.iter().map(omitted).collect::<Vec<_>>(), [true, false, true], "{told:#?}");
    assert_eq!(told[0]["requestParameters"]["connectionName"], "new");
    assert_eq!(told[2]["requestParameters"]["resourceArn"], scene.host);
    assert_eq!(told[2]["resources"][0]["ARN"], scene.host);
    for refused in [&told[0], &told[2]] {
        assert!(refused["errorCode"].is_string(), "{refused}");
        assert!(refused.to_string().len() < 8 * 1024, "{refused}");
    }
}

#[tokio::test]
async fn a_password_in_a_url_is_not_recorded() {
    let server = Server::start().await;
    let client = server.client();
    let endpoint = |user: &str| format!("https://{user}@git.example.com/acme");
    for user in [CANARY.to_owned(), format!("me:{CANARY}")] {
        let input = json!({"Name": "git", "ProviderType": "Git", "ProviderEndpoint": endpoint(&user)});
        client.call("CreateHost", &input).await;
    }
    let told = records(&server, OURS).await;
    assert_eq!(told.len(), 2);
    for record in told {
        assert_eq!(record["requestParameters"]["providerEndpoint"], endpoint("***"));
        assert!(!record.to_string().contains(CANARY), "{record}");
    }
}

#[tokio::test]
async fn either_name_of_the_service_and_either_protocol_are_recorded_alike() {
    let scene = Scene::new().await;
    let before = records(&scene.server, OURS).await.len();
    for protocol in PROTOCOLS {
        for &service in syncline_wire::Service::ALL {
            scene.server.clock.advance_ms(1);
            let client = Client { protocol, service, ..scene.client() };
            let input = json!({"SyncType": "CFN_STACK_SYNC", "ResourceName": "web", "RoleArn": ROLE});
            client.ok("UpdateSyncConfiguration", input).await;
        }
    }
    let told = records(&scene.server, OURS).await.split_off(before);
    let sources: Vec<_> = told.iter().map(|record| record["eventSource"].as_str().expect("a text")).collect();
    let both = ["codeconnections.amazonaws.com", "codestar-connections.amazonaws.com"];
    assert_eq!(sources, [both, both].concat());
    assert!(told.iter().all(|record| record["requestParameters"] == told[0]["requestParameters"]));
}

#[tokio::test]
async fn an_account_reads_its_own_log_in_pages() {
    let server = Server::start().await;
    let client = server.client();
    for name in ["a", "b", "c", "d", "e"] {
        client.ok("CreateConnection", json!({"ConnectionName": name, "ProviderType": "GitHub"})).await;
        server.clock.advance_ms(1);
    }
    let theirs = Client { key: THEIRS, ..client };
    theirs.ok("CreateConnection", json!({"ConnectionName": "x", "ProviderType": "GitHub"})).await;
    let waiting = client.rest("GET", "/audit", &Value::Null).await.value;
    assert_eq!(waiting, json!({"accountId": "111111111111", "records": [], "head": null, "waiting": 5}));

    let log = log(&server, OURS).await;
    let page = client.rest("GET", "/audit?after=1&limit=2", &Value::Null).await.value;
    let head = json!({"sequence": 5, "hash": log[4].hash});
    let expected = json!({"accountId": "111111111111", "records": &log[1..3], "head": head, "waiting": 0});
    assert_eq!(page, expected);
    let first = client.rest("GET", "/audit", &Value::Null).await.value;
    assert_eq!(first["records"].as_array().map(Vec::len), Some(5));
    assert_eq!(first["records"][0]["previousHash"], GENESIS);
    let end = client.rest("GET", "/audit?after=5", &Value::Null).await.value;
    assert_eq!((&end["records"], &end["head"]), (&json!([]), &head));
    let theirs = theirs.rest("GET", "/audit", &Value::Null).await.value;
    assert_eq!(
        (theirs["records"].as_array().map(Vec::len), &theirs["head"]["sequence"]),
        (Some(1), &json!(1))
    );

    // It is the account's, whatever the region.
    let elsewhere = Client { region: "us-east-1", ..client };
    assert_eq!(elsewhere.rest("GET", "/audit", &Value::Null).await.value, first);

    for query in ["after=-1", "limit=0", "limit=1001", "from=yesterday"] {
        let reply = client.rest("GET", &format!("/audit?{query}"), &Value::Null).await;
        assert_eq!(
            (reply.status, text(&reply.value, "/code").as_str()),
            (400, "ValidationException"),
            "{query}"
        );
    }
    let unsigned = Draft {
        method: "GET".to_owned(),
        path: "/api/v1/audit".to_owned(),
        headers: vec![("host".to_owned(), "127.0.0.1:7962".to_owned())],
        body: Vec::new(),
    };
    assert_eq!(server.send_raw(unsigned.clone()).await.status, 403);
    // The query is signed too.
    let mut other = unsigned.signed(OURS, REGION, "codeconnections", server.now_ms());
    other.path = "/api/v1/audit?after=4".to_owned();
    assert_eq!(server.send_raw(other).await.status, 403);
}
