//! Every operation, with the shape of its answer, in both protocols.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use syncline_wire::{Operation, Service};

use super::client::{Client, Draft, PROTOCOLS, START_MS};
use super::scene::{CFN, SHA, Scene, but, connection, link, sync_input, text};

fn tags() -> Value {
    json!([{"Key": "team", "Value": "web"}, {"Key": "empty", "Value": ""}])
}

/// Tags of what was made with [`tags`].
async fn labels(client: Client<'_>, arn: &str) {
    let named = json!({"ResourceArn": arn});
    let by_key = json!([{"Key": "empty", "Value": ""}, {"Key": "team", "Value": "web"}]);
    assert_eq!(client.ok("ListTagsForResource", named.clone()).await, json!({"Tags": by_key}));
    let tag = but(named.clone(), json!({"Tags": [{"Key": "team", "Value": "data"}]}));
    assert_eq!(client.ok("TagResource", tag).await, json!({}));
    let untag = but(named.clone(), json!({"TagKeys": ["empty"]}));
    assert_eq!(client.ok("UntagResource", untag).await, json!({}));
    let left = json!({"Tags": [{"Key": "team", "Value": "data"}]});
    assert_eq!(client.ok("ListTagsForResource", named).await, left);
}

async fn hosts(client: Client<'_>) {
    let vpc = json!({
        "VpcId": "vpc-01234567", "SubnetIds": ["subnet-01234567"], "SecurityGroupIds": ["sg-01234567"],
        "TlsCertificate": "-----BEGIN CERTIFICATE-----",
    });
    let input = json!({
        "Name": "My Forge", "ProviderType": "GitLabSelfManaged", "ProviderEndpoint": "https://gitlab.example.com",
        "VpcConfiguration": vpc, "Tags": tags(),
    });
    let made = client.ok("CreateHost", input).await;
    let arn = text(&made, "/HostArn");
    assert_eq!(made, json!({"HostArn": arn, "Tags": tags()}));
    let prefix = format!("arn:aws:{}:eu-west-1:111111111111:host/My Forge-", client.service.signing_name());
    let suffix = arn.strip_prefix(&prefix).unwrap_or_else(|| panic!("{arn}"));
    assert!(suffix.len() == 8 && suffix.bytes().all(|b| b.is_ascii_hexdigit()), "{arn}");

    let shown = json!({
        "Name": "My Forge", "Status": "PENDING", "ProviderType": "GitLabSelfManaged",
        "ProviderEndpoint": "https://gitlab.example.com", "VpcConfiguration": vpc,
    });
    assert_eq!(client.ok("GetHost", json!({"HostArn": arn})).await, shown);
    let listed = but(shown, json!({"HostArn": arn}));
    let hosts = client.ok("ListHosts", json!({})).await;
    assert!(hosts["Hosts"].as_array().expect("a list").contains(&listed), "{hosts}");
    let moved = json!({"HostArn": arn, "ProviderEndpoint": "https://git.example.org"});
    assert_eq!(client.ok("UpdateHost", moved).await, json!({}));
    let got = client.ok("GetHost", json!({"HostArn": arn})).await;
    assert_eq!(got["ProviderEndpoint"], "https://git.example.org");
    labels(client, &arn).await;
    assert_eq!(client.ok("DeleteHost", json!({"HostArn": arn})).await, json!({}));
    client
        .refuses(
            "GetHost",
            json!({"HostArn": arn}),
            "ResourceNotFoundException",
            &format!("Could not find host:{arn}"),
        )
        .await;
}

async fn connections(client: Client<'_>, host: &str) {
    let made = client
        .ok(
            "CreateConnection",
            json!({"ConnectionName": "mine", "ProviderType": "Bitbucket", "Tags": tags()}),
        )
        .await;
    let arn = text(&made, "/ConnectionArn");
    assert_eq!(made, json!({"ConnectionArn": arn, "Tags": tags()}));
    let prefix = format!("arn:aws:{}:eu-west-1:111111111111:connection/", client.service.signing_name());
    assert_eq!(arn.strip_prefix(&prefix).map(str::len), Some(36), "{arn}");
    let shown = json!({
        "ConnectionArn": arn, "ConnectionName": "mine", "ProviderType": "Bitbucket",
        "OwnerAccountId": "111111111111", "ConnectionStatus": "PENDING",
    });
    let got = client.ok("GetConnection", json!({"ConnectionArn": arn})).await;
    assert_eq!(got, json!({"Connection": shown}));

    let on_host = client.ok("CreateConnection", json!({"ConnectionName": "hosted", "HostArn": host})).await;
    let on_host = text(&on_host, "/ConnectionArn");
    let got = client.ok("GetConnection", json!({"ConnectionArn": on_host})).await;
    assert_eq!(got["Connection"]["HostArn"], *host);
    assert_eq!(got["Connection"]["ProviderType"], "Git", "the host's");
    let listed = async |filter: Value| {
        let listed = client.ok("ListConnections", filter).await;
        let names = listed["Connections"].as_array().expect("a list").iter();
        names.map(|connection| text(connection, "/ConnectionName")).collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(listed(json!({})).await, set(&["github", "pending", "mine", "hosted"]));
    assert_eq!(listed(json!({"ProviderTypeFilter": "Bitbucket"})).await, set(&["mine"]));
    assert_eq!(listed(json!({"HostArnFilter": host})).await, set(&["pending", "hosted"]));
    assert_eq!(listed(json!({"HostArnFilter": host, "ProviderTypeFilter": "GitHub"})).await, set(&[]));
    labels(client, &arn).await;
    for arn in [arn, on_host] {
        assert_eq!(client.ok("DeleteConnection", json!({"ConnectionArn": arn})).await, json!({}));
    }
}

async fn links(client: Client<'_>, connection_arn: &str) {
    let key = "arn:aws:kms:eu-west-1:111111111111:key/01234567";
    let input = json!({
        "ConnectionArn": connection_arn, "OwnerId": "acme/team", "RepositoryName": "web",
        "EncryptionKeyArn": key, "Tags": tags(),
    });
    let made = client.ok("CreateRepositoryLink", input).await;
    let id = text(&made, "/RepositoryLinkInfo/RepositoryLinkId");
    let service = client.service.signing_name();
    let info = json!({
        "ConnectionArn": connection_arn, "EncryptionKeyArn": key, "OwnerId": "acme/team",
        "ProviderType": "GitHub", "RepositoryName": "web", "RepositoryLinkId": id,
        "RepositoryLinkArn": format!("arn:aws:{service}:eu-west-1:111111111111:repository-link/{id}"),
    });
    assert_eq!(made, json!({"RepositoryLinkInfo": info}));
    // The id is hexadecimal: its case says nothing.
    for id in [id.clone(), id.to_uppercase()] {
        let got = client.ok("GetRepositoryLink", json!({"RepositoryLinkId": id})).await;
        assert_eq!(got, json!({"RepositoryLinkInfo": info}));
    }
    let listed = client.ok("ListRepositoryLinks", json!({})).await;
    assert!(listed["RepositoryLinks"].as_array().expect("a list").contains(&info), "{listed}");
    labels(client, &text(&info, "/RepositoryLinkArn")).await;
    let other = connection(client, "other").await;
    let moved = json!({"RepositoryLinkId": id, "ConnectionArn": other});
    let info = but(info, json!({"ConnectionArn": other}));
    assert_eq!(client.ok("UpdateRepositoryLink", moved).await, json!({"RepositoryLinkInfo": info}));
    assert_eq!(client.ok("DeleteRepositoryLink", json!({"RepositoryLinkId": id})).await, json!({}));
    client.ok("DeleteConnection", json!({"ConnectionArn": other})).await;
}

async fn configurations(client: Client<'_>, link: &str) {
    let full = but(
        sync_input(link, "full"),
        json!({"PublishDeploymentStatus": "ENABLED", "TriggerResourceUpdateOn": "FILE_CHANGE", "PullRequestComment": "DISABLED"}),
    );
    for input in [sync_input(link, "least"), full] {
        // Listings are in the order of making, and what is made in one moment has none.
        client.server.clock.advance_ms(1);
        let name = text(&input, "/ResourceName");
        let known = json!({"OwnerId": "acme", "RepositoryName": "infra", "ProviderType": "GitHub"});
        let expected = json!({"SyncConfiguration": but(input.clone(), known)});
        assert_eq!(client.ok("CreateSyncConfiguration", input).await, expected);
        let by_name = json!({"SyncType": CFN, "ResourceName": name});
        assert_eq!(client.ok("GetSyncConfiguration", by_name.clone()).await, expected);
        let of_link = json!({"RepositoryLinkId": link, "SyncType": CFN});
        let listed = client.ok("ListSyncConfigurations", of_link.clone()).await;
        let listed = listed["SyncConfigurations"].as_array().expect("a list");
        assert_eq!(listed.last(), Some(&expected["SyncConfiguration"]));

        let definitions = client.ok("ListRepositorySyncDefinitions", of_link).await;
        let definitions = definitions["RepositorySyncDefinitions"].as_array().expect("a list");
        let definition = json!({"Branch": "main", "Directory": "deploy", "Parent": name, "Target": name});
        assert_eq!(definitions.last(), Some(&definition));

        let update = but(by_name.clone(), json!({"ConfigFile": "root.yaml"}));
        let updated = client.ok("UpdateSyncConfiguration", update).await;
        assert_eq!(updated["SyncConfiguration"]["ConfigFile"], "root.yaml");
        let of_link = json!({"RepositoryLinkId": link, "SyncType": CFN});
        let definitions = client.ok("ListRepositorySyncDefinitions", of_link).await;
        let definitions = definitions["RepositorySyncDefinitions"].as_array().expect("a list");
        assert_eq!(definitions.last().expect("one")["Directory"], ".");
        for _ in 0..2 {
            assert_eq!(client.ok("DeleteSyncConfiguration", by_name.clone()).await, json!({}));
        }
    }
}

async fn statuses(client: Client<'_>, scene: &Scene) {
    let seconds = f64::from(u32::try_from(START_MS / 1000).expect("before 2106"));
    let web = json!({"SyncType": CFN, "ResourceName": "web"});
    let of_main = json!({"Branch": "main", "RepositoryLinkId": scene.link, "SyncType": CFN});
    let revision = json!({
        "Branch": "main", "Directory": "deploy", "OwnerId": "acme", "RepositoryName": "infra",
        "ProviderType": "GitHub", "Sha": SHA,
    });
    let attempt = |status: &str, last: &str| {
        json!({
            "StartedAt": seconds, "Status": status, "Target": "web",
            "InitialRevision": revision, "TargetRevision": revision,
            "Events": [
                {"Event": format!("Started syncing commit {SHA} of branch main"), "ExternalId": SHA,
                 "Time": seconds, "Type": "ATTEMPT_STARTED"},
                {"Event": "it ended", "ExternalId": "change-set", "Time": seconds, "Type": last},
            ],
        })
    };
    let failed = attempt("FAILED", "FAILED");
    let status = client.ok("GetResourceSyncStatus", web.clone()).await;
    assert_eq!(status, json!({"DesiredState": revision, "LatestSync": failed}));
    let status = client.ok("GetRepositorySyncStatus", of_main).await;
    let events = json!([
        {"Event": format!("Reading commit {SHA}"), "ExternalId": SHA, "Time": seconds, "Type": "HEAD_OBSERVED"},
        {"Event": "web changed", "ExternalId": SHA, "Time": seconds, "Type": "RESOURCE_CHANGED"},
    ]);
    assert_eq!(
        status,
        json!({"LatestSync": {"StartedAt": seconds, "Status": "SUCCEEDED", "Events": events}})
    );

    let summary = client.ok("GetSyncBlockerSummary", web.clone()).await;
    let blocker = json!({
        "Id": scene.blocker, "Type": "AUTOMATED", "Status": "ACTIVE", "CreatedAt": seconds,
        "CreatedReason": "the stack was rolled back",
        "Contexts": [
            {"Key": "kind", "Value": "EXECUTION_FAILED"}, {"Key": "commit", "Value": SHA},
            {"Key": "suggestedFix", "Value": "correct what made the resource fail and push, or resolve this \
                                              blocker to try the same commit again"},
        ],
    });
    let shown =
        |blockers: Value| json!({"SyncBlockerSummary": {"ResourceName": "web", "LatestBlockers": blockers}});
    assert_eq!(summary, shown(json!([blocker])));
    let resolve = but(web.clone(), json!({"Id": scene.blocker, "ResolvedReason": "mended"}));
    let resolved =
        but(blocker, json!({"Status": "RESOLVED", "ResolvedReason": "mended", "ResolvedAt": seconds}));
    for reason in ["mended", "once more"] {
        let resolve = but(resolve.clone(), json!({"ResolvedReason": reason}));
        let answer = client.ok("UpdateSyncBlocker", resolve).await;
        assert_eq!(answer, json!({"ResourceName": "web", "SyncBlocker": resolved}), "the first reason stays");
    }
    assert_eq!(client.ok("GetSyncBlockerSummary", web.clone()).await, shown(json!([resolved])));

    let claim = scene.pushed(2).await;
    scene.succeed(&claim).await;
    let succeeded = attempt("SUCCEEDED", "SUCCEEDED");
    let status = client.ok("GetResourceSyncStatus", web).await;
    let expected =
        json!({"DesiredState": revision, "LatestSync": succeeded, "LatestSuccessfulSync": succeeded});
    assert_eq!(status, expected);
}

#[tokio::test]
async fn every_operation_answers_in_its_shape() {
    for protocol in PROTOCOLS {
        for &service in Service::ALL {
            let scene = Scene::new().await;
            let client = Client { protocol, service, ..scene.client() };
            statuses(client, &scene).await;
            hosts(client).await;
            connections(client, &scene.host).await;
            links(client, &scene.connection).await;
            configurations(client, &scene.link).await;
            let names: BTreeSet<_> = Operation::ALL.into_iter().map(Operation::name).collect();
            assert_eq!(scene.server.succeeded(), names);
        }
    }
}

#[tokio::test]
async fn a_sync_without_blockers_has_an_empty_list() {
    let scene = Scene::new().await;
    let client = scene.client();
    client.ok("CreateSyncConfiguration", sync_input(&scene.link, "api")).await;
    let summary = client.ok("GetSyncBlockerSummary", json!({"SyncType": CFN, "ResourceName": "api"})).await;
    assert_eq!(summary, json!({"SyncBlockerSummary": {"ResourceName": "api", "LatestBlockers": []}}));
}

#[tokio::test]
async fn what_is_no_operation_says_so() {
    let scene = Scene::new().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..scene.client() };
        let message = "the operation 'DropEverything' does not exist";
        client.refuses("DropEverything", json!({}), "UnknownOperationException", message).await;
    }
}

#[tokio::test]
async fn an_empty_body_is_an_empty_input() {
    let scene = Scene::new().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..scene.client() };
        let empty = Draft::new(client.service, protocol, "ListHosts", Vec::new());
        let reply = scene.server.send(client.sign(empty)).await;
        assert_eq!(reply.status, 200, "{}", reply.value);
    }
}

#[tokio::test]
async fn a_link_survives_its_connection_and_shows_it() {
    let scene = Scene::new().await;
    let client = scene.client();
    let arn = connection(client, "short-lived").await;
    let id = link(client, &arn, "orphan").await;
    client.ok("DeleteConnection", json!({"ConnectionArn": arn})).await;
    let got = client.ok("GetRepositoryLink", json!({"RepositoryLinkId": id})).await;
    assert_eq!(text(&got, "/RepositoryLinkInfo/ConnectionArn"), arn);
}
