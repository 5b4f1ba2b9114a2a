//! What can be changed of a host and of a repository link, and who looks again then.

use serde_json::{Value, json};
use syncline_store::{Kind, StoreError};
use syncline_wire::Service;

use super::client::Client;
use super::scene::{NOTHING, Scene, authorize, but, connection, link, respelled, sync_input, text};

fn vpc(certificate: &str) -> Value {
    json!({
        "VpcId": "vpc-01234567", "SubnetIds": ["subnet-01234567"], "SecurityGroupIds": ["sg-01234567"],
        "TlsCertificate": certificate,
    })
}

async fn host(client: Client<'_>, arn: &str) -> Value {
    client.ok("GetHost", json!({"HostArn": arn})).await
}

#[tokio::test]
async fn each_member_of_a_host_is_changed_alone() {
    let scene = Scene::new().await;
    let client = Client { service: Service::CodeStarConnections, ..scene.client() };
    let mut expected = host(client, &scene.host).await;
    for (change, arn) in [
        (json!({}), scene.host.clone()),
        (json!({"ProviderEndpoint": "https://git.example.org/scm"}), scene.host.clone()),
        (json!({"VpcConfiguration": vpc("one")}), respelled(&scene.host)),
        (json!({"ProviderEndpoint": null, "VpcConfiguration": null}), scene.host.clone()),
        (
            json!({"ProviderEndpoint": "https://a.example.org", "VpcConfiguration": vpc("two")}),
            scene.host.clone(),
        ),
    ] {
        let update = but(json!({"HostArn": arn}), change.clone());
        assert_eq!(client.ok("UpdateHost", update).await, json!({}));
        for (name, value) in change.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            expected[name] = value.clone();
        }
        assert_eq!(host(client, &scene.host).await, expected, "{change}");
    }
    // A VPC configuration is replaced as a whole.
    let mut bare = vpc("");
    bare.as_object_mut().expect("an object").remove("TlsCertificate");
    client.ok("UpdateHost", json!({"HostArn": scene.host, "VpcConfiguration": bare})).await;
    assert_eq!(host(client, &scene.host).await["VpcConfiguration"], bare);
}

/// A scene whose sync `hosted` follows a link on the scene's host.
async fn hosted() -> (Scene, String) {
    let scene = Scene::new().await;
    let client = scene.client();
    authorize(&scene.server, client.key, &scene.pending).await;
    let id = link(client, &scene.pending, "hosted").await;
    client.ok("CreateSyncConfiguration", sync_input(&id, "hosted")).await;
    (scene, id)
}

#[tokio::test]
async fn a_host_that_moves_has_its_links_look_at_the_new_place_and_nothing_written_of_the_old_one() {
    let (scene, id) = hosted().await;
    let (client, store) = (scene.client(), scene.store());
    let update = |change: Value| but(json!({"HostArn": scene.host}), change);
    let (moved, certified) =
        (json!({"ProviderEndpoint": "https://git.example.org"}), json!({"VpcConfiguration": vpc("a root")}));
    for change in [moved, certified] {
        let claim = store.claim(Kind::Link, "test", 15_000).await.expect("claimed").expect("due");
        assert_eq!(claim.id, id);
        client.ok("UpdateHost", update(change.clone())).await;
        let late = store.record_credential(&claim, None, Some("the old host's refusal".to_owned())).await;
        assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
        store.release(claim, None).await.expect("released");
        // Still due; the same again changes nothing and wakes nobody.
        let claim = store.claim(Kind::Link, "test", 15_000).await.expect("claimed").expect("due again");
        client.ok("UpdateHost", update(change)).await;
        client.ok("UpdateHost", update(json!({}))).await;
        store.release(claim.clone(), None).await.expect("released");
        assert_eq!(store.next_due_ms(Some(Kind::Link)).await.expect("read"), None);
        scene.tamper(&format!("UPDATE work SET due_at_ms = 0 WHERE id = '{id}'"));
    }
    let record =
        store.link_record(&id).await.expect("read").expect("a link").connection.expect("a connection");
    assert_eq!(record.provider_endpoint.as_deref(), Some("https://git.example.org"));
    assert!(record.vpc_configuration.expect("given").contains("a root"));
}

#[tokio::test]
async fn a_link_is_given_another_connection_of_its_kind() {
    let scene = Scene::new().await;
    let client = scene.client();
    let by_id = json!({"RepositoryLinkId": scene.link});
    let before = client.ok("GetRepositoryLink", by_id.clone()).await["RepositoryLinkInfo"].clone();
    let shown = async |change: Value| {
        let updated = client.ok("UpdateRepositoryLink", but(by_id.clone(), change)).await;
        assert_eq!(client.ok("GetRepositoryLink", by_id.clone()).await, updated);
        updated["RepositoryLinkInfo"].clone()
    };
    assert_eq!(shown(json!({})).await, before);
    let key = "arn:aws:kms:eu-west-1:111111111111:key/01234567";
    let keyed = but(before.clone(), json!({"EncryptionKeyArn": key}));
    assert_eq!(shown(json!({"EncryptionKeyArn": key})).await, keyed);
    assert_eq!(
        shown(json!({"ConnectionArn": respelled(&scene.connection)})).await,
        keyed,
        "it has it already"
    );

    let other = connection(client, "other").await;
    let moved = but(keyed, json!({"ConnectionArn": other}));
    assert_eq!(shown(json!({"ConnectionArn": respelled(&other)})).await, moved, "the ARN as it was made");
    // A connection that the link has need not work.
    scene.tamper("UPDATE connection SET status = 'ERROR' WHERE name = 'other'");
    assert_eq!(shown(json!({"ConnectionArn": other})).await, moved);
    // The id is hexadecimal: its case says nothing.
    let upper = json!({"RepositoryLinkId": scene.link.to_uppercase(), "ConnectionArn": scene.connection});
    client.ok("UpdateRepositoryLink", upper).await;
    assert_eq!(shown(json!({})).await["ConnectionArn"], before["ConnectionArn"]);
}

#[tokio::test]
async fn a_link_s_new_connection_is_checked_like_a_first_one_and_a_refusal_changes_nothing() {
    let scene = Scene::new().await;
    let client = scene.client();
    let make = async |name: &str, provider_type: &str| {
        let input = json!({"ConnectionName": name, "ProviderType": provider_type});
        text(&client.ok("CreateConnection", input).await, "/ConnectionArn")
    };
    let unfinished = make("unfinished", "GitHub").await;
    let bitbucket = make("bitbucket", "Bitbucket").await;
    let taken = connection(client, "taken").await;
    link(client, &taken, "infra").await;
    let gone = connection(client, "gone").await;
    client.ok("DeleteConnection", json!({"ConnectionArn": gone})).await;
    let by_id = json!({"RepositoryLinkId": scene.link});
    let before = client.ok("GetRepositoryLink", by_id.clone()).await;
    for (arn, message) in [
        (
            &unfinished,
            format!(
                "The connection {unfinished} is PENDING, not AVAILABLE: complete it with `syncline connection \
                 authorize {unfinished}`"
            ),
        ),
        (
            &bitbucket,
            format!(
                "The connection {bitbucket} is of provider type Bitbucket, the repository link of GitHub"
            ),
        ),
        (&taken, "A repository link of acme/infra on this connection already exists".to_owned()),
        (&gone, format!("The connection {gone} does not exist")),
        (&scene.host, format!("The connection {} does not exist", scene.host)),
    ] {
        let key = "arn:aws:kms:eu-west-1:111111111111:key/01234567";
        let input = but(by_id.clone(), json!({"ConnectionArn": arn, "EncryptionKeyArn": key}));
        client.refuses("UpdateRepositoryLink", input.clone(), "InvalidInputException", &message).await;
        assert_eq!(client.ok("GetRepositoryLink", by_id.clone()).await, before, "{message}");
        // Without a link there is nothing to connect.
        let nothing = but(input, json!({"RepositoryLinkId": NOTHING}));
        let message = format!("Could not find repository link:{NOTHING}");
        client.refuses("UpdateRepositoryLink", nothing, "ResourceNotFoundException", &message).await;
    }
}

#[tokio::test]
async fn a_reconnected_link_looks_at_once_and_nothing_is_written_through_the_old_connection() {
    let scene = Scene::new().await;
    let (client, store) = (scene.client(), scene.store());
    let other = connection(client, "other").await;
    let due = async || store.next_due_ms(Some(Kind::Link)).await.expect("read");
    assert_eq!(due().await, None);
    let key = json!({
        "RepositoryLinkId": scene.link, "ConnectionArn": scene.connection,
        "EncryptionKeyArn": "arn:aws:kms:eu-west-1:111111111111:key/01234567",
    });
    client.ok("UpdateRepositoryLink", key).await;
    assert_eq!(due().await, None, "a key is kept and returned, no more");

    client.ok("UpdateSyncConfiguration", super::scene::by_name("web")).await;
    let claim = store.claim(Kind::Link, "test", 15_000).await.expect("claimed").expect("due");
    client.ok("UpdateRepositoryLink", json!({"RepositoryLinkId": scene.link, "ConnectionArn": other})).await;
    let late = store.record_credential(&claim, None, Some("the old token's refusal".to_owned())).await;
    assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
    let late = store.record_heads(&claim, std::collections::BTreeMap::new()).await;
    assert!(matches!(late, Err(StoreError::Stale(_))), "{late:?}");
    store.release(claim, None).await.expect("released");
    assert_eq!(due().await, Some(scene.server.now_ms()));
    let status = client.ok("GetConnection", json!({"ConnectionArn": other})).await;
    assert_eq!(status["Connection"]["ConnectionStatus"], "AVAILABLE");
}
