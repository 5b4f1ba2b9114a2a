//! Two services, one set of resources: an ARN keeps the spelling it was made with and is found by either.

use serde_json::{Value, json};
use syncline_wire::Service;

use super::client::{Client, PROTOCOLS};
use super::scene::{Scene, by_name, connection, link, of_link, respelled, sync_input, text};

#[tokio::test]
async fn what_one_service_made_the_other_shows_as_it_was_made() {
    for protocol in PROTOCOLS {
        for &maker in Service::ALL {
            let scene = Scene::new().await;
            let maker = Client { service: maker, protocol, ..scene.client() };
            let host = json!({
                "Name": "forge2", "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com",
            });
            let host = text(&maker.ok("CreateHost", host).await, "/HostArn");
            let on_host = json!({"ConnectionName": "on-host", "HostArn": respelled(&host)});
            let on_host = text(&maker.ok("CreateConnection", on_host).await, "/ConnectionArn");
            let made = connection(maker, "made").await;
            let link_id = link(maker, &respelled(&made), "made").await;
            maker.ok("CreateSyncConfiguration", sync_input(&link_id, "made")).await;
            let prefix = format!("arn:aws:{}:", maker.service.signing_name());
            for arn in [&host, &on_host, &made] {
                assert!(arn.starts_with(&prefix), "{arn}");
            }

            for &reader in Service::ALL {
                let reader = Client { service: reader, ..maker };
                for spelled in [host.clone(), respelled(&host)] {
                    let got = reader.ok("GetHost", json!({"HostArn": spelled})).await;
                    assert_eq!(got["Name"], "forge2");
                    let listed = reader.ok("ListConnections", json!({"HostArnFilter": spelled})).await;
                    assert_eq!(listed["Connections"][0]["ConnectionArn"], on_host);
                    assert_eq!(listed["Connections"][0]["HostArn"], host);
                }
                for spelled in [on_host.clone(), respelled(&on_host)] {
                    let got = reader.ok("GetConnection", json!({"ConnectionArn": spelled})).await;
                    assert_eq!(got["Connection"]["ConnectionArn"], on_host);
                    assert_eq!(
                        got["Connection"]["HostArn"], host,
                        "the host as it was made, not as it was named"
                    );
                }
                let got = reader.ok("GetRepositoryLink", json!({"RepositoryLinkId": link_id})).await;
                let info = &got["RepositoryLinkInfo"];
                assert_eq!(info["ConnectionArn"], made, "the connection as it was made, not as it was named");
                assert_eq!(
                    info["RepositoryLinkArn"],
                    format!("{prefix}eu-west-1:111111111111:repository-link/{link_id}")
                );
                let listed = reader.ok("ListRepositoryLinks", json!({})).await;
                assert!(listed["RepositoryLinks"].as_array().expect("a list").contains(info));
                let hosts = reader.ok("ListHosts", json!({})).await;
                let arns: Vec<_> =
                    hosts["Hosts"].as_array().expect("a list").iter().map(|h| &h["HostArn"]).collect();
                assert!(arns.contains(&&Value::from(host.clone())), "{arns:?}");
                reader.ok("GetSyncConfiguration", by_name("made")).await;
                reader.ok("ListSyncConfigurations", of_link(&link_id)).await;
            }

            // And either service deletes by either spelling what the other one made.
            let other = Service::ALL.iter().copied().find(|&service| service != maker.service);
            let other = Client { service: other.expect("two services"), ..maker };
            other.ok("DeleteSyncConfiguration", by_name("made")).await;
            other.ok("DeleteRepositoryLink", json!({"RepositoryLinkId": link_id})).await;
            for arn in [&on_host, &made] {
                other.ok("DeleteConnection", json!({"ConnectionArn": respelled(arn)})).await;
            }
            other.ok("DeleteHost", json!({"HostArn": respelled(&host)})).await;
        }
    }
}

#[tokio::test]
async fn the_same_repository_under_the_other_spelling_is_the_same_repository() {
    let scene = Scene::new().await;
    let again = json!({
        "ConnectionArn": respelled(&scene.connection), "OwnerId": "acme", "RepositoryName": "infra",
    });
    let (code, _) = scene.client().refused("CreateRepositoryLink", again).await;
    assert_eq!(code, "ResourceAlreadyExistsException");
}
