//! Sync configurations as a client meets them, and the orders in which things go.

use serde_json::{Value, json};
use syncline_model::sync::BlockerKind;
use syncline_store::{ConnectionStatus, Kind};

use super::client::{Client, OURS, THEIRS};
use super::scene::{CFN, ROLE, Scene, authorize, but, by_name, link, scope_of, sync_input, text};

const INVALID: &str = "InvalidInputException";

#[tokio::test]
async fn a_resource_s_name_must_be_a_stack_s() {
    let scene = Scene::new().await;
    for name in ["a_b", "1a", "0", "a\\b", "a_"] {
        let message = format!(
            "ResourceName: '{name}' is not a CloudFormation stack name: it must begin with a letter and hold \
             only letters, digits and '-', at most 128"
        );
        scene
            .client()
            .refuses("CreateSyncConfiguration", sync_input(&scene.link, name), INVALID, &message)
            .await;
        // The model's pattern allows such names: asking for one is no mistake.
        let message = format!("Could not find a sync configuration for resource:{name}");
        scene
            .client()
            .refuses("GetSyncConfiguration", by_name(name), "ResourceNotFoundException", &message)
            .await;
    }
    for name in ["a", "A-1-", &"x".repeat(100)] {
        scene.client().ok("CreateSyncConfiguration", sync_input(&scene.link, name)).await;
    }
}

#[tokio::test]
async fn paths_and_branches_stay_in_the_repository() {
    let scene = Scene::new().await;
    let client = scene.client();
    let check = async |member: &str, value: &str| {
        let input = but(sync_input(&scene.link, "x"), json!({member: value}));
        for (operation, input) in [
            ("CreateSyncConfiguration", input),
            ("UpdateSyncConfiguration", but(by_name("web"), json!({member: value}))),
        ] {
            let (code, message) = client.refused(operation, input).await;
            assert_eq!(code, INVALID, "{value}");
            let shown: String = value.chars().take(300).collect();
            assert!(message.starts_with(&format!("{member}: '{shown}' is not a ")), "{message}");
        }
    };
    let long = "x/".repeat(3000);
    for path in
        ["../x", "a/../../x", "/etc/passwd", "", "a//b", "./", ".git/config", "a\u{0}b", "a\\b", &long]
    {
        check("ConfigFile", path).await;
    }
    for branch in ["-x", "a..b", "a b", "a~1", "refs/../x", "x.lock", "@", "HEAD", "a@{1}", "/a", "a/", "a:b"]
    {
        check("Branch", branch).await;
    }
}

#[tokio::test]
async fn a_role_belongs_to_the_caller_s_account_or_to_one_the_operator_paired_with_it() {
    let scene = Scene::with(|config| {
        let account = |id: &str| id.parse().expect("an account");
        config.role_accounts = vec![(account("111111111111"), account("333333333333"))];
    })
    .await;
    let client = scene.client();
    let role = |account: &str| format!("arn:aws:iam::{account}:role/deploy");
    let with_role = |role: &str| but(sync_input(&scene.link, "x"), json!({"RoleArn": role}));
    let foreign = role("222222222222");
    let message = format!(
        "RoleArn: {foreign} belongs to account 222222222222, not to 111111111111; the operator can allow it with \
         --allow-role-account 111111111111=222222222222"
    );
    client.refuses("CreateSyncConfiguration", with_role(&foreign), INVALID, &message).await;
    let update = but(by_name("web"), json!({"RoleArn": foreign}));
    client.refuses("UpdateSyncConfiguration", update, INVALID, &message).await;
    client.ok("CreateSyncConfiguration", with_role(&role("333333333333"))).await;

    // The longest role there can be does not push the reason out of the message.
    let longest = format!("arn:aws:iam::222222222222:role/{}", "r".repeat(1024 - 31));
    let (code, message) = client.refused("CreateSyncConfiguration", with_role(&longest)).await;
    assert_eq!(code, INVALID);
    assert!(message.ends_with("--allow-role-account 111111111111=222222222222"), "{message}");

    // The pair has a direction: the other account gets nothing of it.
    let them = Client { key: THEIRS, ..client };
    let arn = super::scene::connection(them, "theirs").await;
    let their_link = link(them, &arn, "infra").await;
    let input = but(sync_input(&their_link, "y"), json!({"RoleArn": ROLE}));
    assert_eq!(them.refused("CreateSyncConfiguration", input).await.0, INVALID);
}

#[tokio::test]
async fn one_stack_has_one_driver() {
    let scene = Scene::with(|config| {
        let account = |id: &str| id.parse().expect("an account");
        config.role_accounts = vec![(account("222222222222"), account("111111111111"))];
    })
    .await;
    let them = Client { key: THEIRS, ..scene.client() };
    let arn = super::scene::connection(them, "theirs").await;
    let their_link = link(them, &arn, "infra").await;
    let message = "The stack web of the role's account and region is driven by another sync configuration";
    let input = sync_input(&their_link, "web");
    them.refuses("CreateSyncConfiguration", input.clone(), "ResourceAlreadyExistsException", message).await;
    let own = but(input.clone(), json!({"RoleArn": "arn:aws:iam::222222222222:role/deploy"}));
    them.ok("CreateSyncConfiguration", own).await;
    let update = but(by_name("web"), json!({"RoleArn": ROLE}));
    // UpdateSyncConfiguration declares no ResourceAlreadyExistsException.
    them.refuses("UpdateSyncConfiguration", update.clone(), INVALID, message).await;
    scene.client().ok("DeleteSyncConfiguration", by_name("web")).await;
    them.ok("UpdateSyncConfiguration", update).await;
}

#[tokio::test]
async fn each_member_of_a_configuration_is_changed_alone() {
    let scene = Scene::new().await;
    let client = scene.client();
    let second = link(client, &scene.connection, "second").await;
    let mut expected = client.ok("GetSyncConfiguration", by_name("web")).await["SyncConfiguration"].clone();
    for change in [
        json!({}),
        json!({"Branch": "release/2026"}),
        json!({"ConfigFile": "other/deploy.yaml"}),
        json!({"RoleArn": "arn:aws:iam::111111111111:role/path/other"}),
        json!({"PublishDeploymentStatus": "ENABLED"}),
        json!({"TriggerResourceUpdateOn": "FILE_CHANGE"}),
        json!({"TriggerResourceUpdateOn": "ANY_CHANGE"}),
        json!({"PullRequestComment": "ENABLED"}),
        json!({"RepositoryLinkId": second, "RepositoryName": "second"}),
    ] {
        // The repository's name is told, not taken: it is ignored as an unknown member.
        let input = but(by_name("web"), change.clone());
        let answer = client.ok("UpdateSyncConfiguration", input).await;
        expected = but(expected, change);
        assert_eq!(answer, json!({"SyncConfiguration": expected}));
        let got = client.ok("GetSyncConfiguration", by_name("web")).await;
        assert_eq!(got, answer);
    }
    let unknown = but(by_name("web"), json!({"RepositoryLinkId": super::scene::NOTHING}));
    let message = "The repository link 00000000-1111-2222-3333-444444444444 does not exist";
    client.refuses("UpdateSyncConfiguration", unknown, INVALID, message).await;
}

#[tokio::test]
async fn creating_and_changing_make_the_link_look_at_once() {
    let scene = Scene::new().await;
    let client = scene.client();
    let store = scene.store();
    let due = async || store.next_due_ms(Some(Kind::Link)).await.expect("read");
    let turn = async || {
        let claim = store.claim(Kind::Link, "test", 1000).await.expect("claimed").expect("due");
        store.release(claim, None).await.expect("released");
        assert_eq!(due().await, None);
    };
    assert_eq!(due().await, None);
    client.ok("CreateSyncConfiguration", sync_input(&scene.link, "api")).await;
    turn().await;
    client.ok("UpdateSyncConfiguration", by_name("api")).await;
    turn().await;
    let resolve = but(by_name("web"), json!({"Id": scene.blocker, "ResolvedReason": "mended"}));
    client.ok("UpdateSyncBlocker", resolve).await;
    turn().await;
}

#[tokio::test]
async fn things_go_from_the_leaves_to_the_root() {
    let scene = Scene::new().await;
    let client = scene.client();
    let by_link = json!({"RepositoryLinkId": scene.link});
    let (code, _) = client.refused("DeleteRepositoryLink", by_link.clone()).await;
    assert_eq!(code, "SyncConfigurationStillExistsException");
    for _ in 0..2 {
        client.ok("DeleteSyncConfiguration", by_name("web")).await;
    }
    client.ok("DeleteRepositoryLink", by_link.clone()).await;
    let message = format!("Could not find repository link:{}", scene.link);
    client.refuses("DeleteRepositoryLink", by_link, "ResourceNotFoundException", &message).await;

    let by_host = json!({"HostArn": scene.host});
    let (code, _) = client.refused("DeleteHost", by_host.clone()).await;
    assert_eq!(code, "ResourceUnavailableException");
    let by_connection = json!({"ConnectionArn": scene.pending});
    client.ok("DeleteConnection", by_connection.clone()).await;
    let message = format!("Could not find connection:{}", scene.pending);
    client.refuses("DeleteConnection", by_connection, "ResourceNotFoundException", &message).await;
    client.ok("DeleteHost", by_host).await;
}

#[tokio::test]
async fn a_configuration_made_again_has_no_history() {
    let scene = Scene::new().await;
    let client = scene.client();
    client.ok("DeleteSyncConfiguration", by_name("web")).await;
    for operation in ["GetSyncConfiguration", "GetResourceSyncStatus", "GetSyncBlockerSummary"] {
        let (code, _) = client.refused(operation, by_name("web")).await;
        assert_eq!(code, "ResourceNotFoundException", "{operation}");
    }
    client.ok("CreateSyncConfiguration", sync_input(&scene.link, "web")).await;
    let message = "Could not find a sync status for resource:web";
    client.refuses("GetResourceSyncStatus", by_name("web"), "ResourceNotFoundException", message).await;
    let summary = client.ok("GetSyncBlockerSummary", by_name("web")).await;
    assert_eq!(summary["SyncBlockerSummary"]["LatestBlockers"], json!([]));
    let old = but(by_name("web"), json!({"Id": scene.blocker, "ResolvedReason": "mended"}));
    assert_eq!(client.refused("UpdateSyncBlocker", old).await.0, "SyncBlockerDoesNotExistException");
}

#[tokio::test]
async fn a_link_needs_a_connection_that_works() {
    let scene = Scene::new().await;
    let client = scene.client();
    let input = json!({"ConnectionArn": scene.pending, "OwnerId": "acme", "RepositoryName": "x"});
    let (code, message) = client.refused("CreateRepositoryLink", input.clone()).await;
    assert_eq!(code, INVALID);
    assert!(
        message.contains("is PENDING, not AVAILABLE") && message.contains("syncline connection authorize"),
        "{message}"
    );
    authorize(&scene.server, OURS, &scene.pending).await;
    client.ok("CreateRepositoryLink", input).await;
    for (owner, repository) in
        [("-x", "a"), ("a", "-x"), ("..", "a"), ("a/../b", "x"), ("a", ".."), ("a//b", "x")]
    {
        let input =
            json!({"ConnectionArn": scene.connection, "OwnerId": owner, "RepositoryName": repository});
        let (code, message) = client.refused("CreateRepositoryLink", input).await;
        assert_eq!(code, INVALID, "{owner}/{repository}");
        assert!(message.starts_with("OwnerId and RepositoryName: "), "{message}");
    }
}

/// The commit cannot be tried again while the connection is gone or refused: the blocker stands.
#[tokio::test]
async fn a_blocker_stands_while_its_commit_cannot_be_tried_again() {
    let scene = Scene::new().await;
    let client = scene.client();
    let resolve = but(by_name("web"), json!({"Id": scene.blocker, "ResolvedReason": "mended"}));
    let status = async || {
        let summary = client.ok("GetSyncBlockerSummary", by_name("web")).await;
        text(&summary, "/SyncBlockerSummary/LatestBlockers/0/Status")
    };
    // The worker finds the credential refused.
    client.ok("UpdateSyncConfiguration", by_name("web")).await;
    let store = scene.store();
    let claim = store.claim(Kind::Link, "test", 1000).await.expect("claimed").expect("due");
    let record = store.link_record(&claim.id).await.expect("read").expect("a link");
    let noted = store.record_credential(&claim, record.credential(), Some("401".to_owned())).await;
    assert!(noted.expect("recorded"));
    let got = client.ok("GetConnection", json!({"ConnectionArn": scene.connection})).await;
    assert_eq!(got["Connection"]["ConnectionStatus"], ConnectionStatus::Error.as_str());
    let message = "The latest commit of web cannot be tried again: the connection 'github' is ERROR; authorize it again";
    client.refuses("UpdateSyncBlocker", resolve.clone(), "RetryLatestCommitFailedException", message).await;
    assert_eq!(status().await, "ACTIVE");

    authorize(&scene.server, OURS, &scene.connection).await;
    client.ok("UpdateSyncBlocker", resolve.clone()).await;
    assert_eq!(status().await, "RESOLVED");
    // Once resolved it stays so, whatever becomes of the connection.
    client.ok("DeleteConnection", json!({"ConnectionArn": scene.connection})).await;
    let answer = client.ok("UpdateSyncBlocker", resolve).await;
    assert_eq!(answer["SyncBlocker"]["ResolvedReason"], "mended");
}

#[tokio::test]
async fn the_worker_itself_blocks_a_sync_whose_connection_is_gone() {
    let scene = Scene::new().await;
    let client = scene.client();
    client.ok("DeleteConnection", json!({"ConnectionArn": scene.connection})).await;
    assert!(scene.server.parts.worker.tick().await.expect("worked"), "the deletion woke the link");
    let summary = client.ok("GetSyncBlockerSummary", by_name("web")).await;
    let blockers = summary["SyncBlockerSummary"]["LatestBlockers"].as_array().expect("a list").clone();
    let kind = |blocker: &Value| text(blocker, "/Contexts/0/Value");
    let unavailable =
        blockers.iter().find(|blocker| kind(blocker) == BlockerKind::ConnectionUnavailable.as_str());
    let unavailable = unavailable.unwrap_or_else(|| panic!("{blockers:?}"));
    assert_eq!(unavailable["Status"], "ACTIVE");
    let resolve = but(by_name("web"), json!({"Id": unavailable["Id"], "ResolvedReason": "x"}));
    let (code, message) = client.refused("UpdateSyncBlocker", resolve).await;
    assert_eq!(code, "RetryLatestCommitFailedException");
    assert!(message.ends_with("the connection of its repository link was deleted"), "{message}");
    let of_main = json!({"RepositoryLinkId": scene.link, "Branch": "main", "SyncType": CFN});
    let status = client.ok("GetRepositorySyncStatus", of_main).await;
    assert_eq!(status["LatestSync"]["Status"], "FAILED", "and the repository's attempt says why");
}

#[tokio::test]
async fn an_account_s_external_id_is_there_before_any_role_is_assumed() {
    let scene = Scene::new().await;
    let made = scene.store().external_id(&scope_of(OURS).account).await.expect("read");
    assert!(made.is_some_and(|id| id.starts_with("syncline-")));
    assert_eq!(scene.store().external_id(&scope_of(THEIRS).account).await.expect("read"), None);
}
