//! What a call needs to succeed, and what it leaves behind.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use syncline::config::Quotas;
use syncline_wire::Operation as Op;

use crate::api::client::Client;
use crate::api::scene::{CFN, ROLE, Scene, but, by_name, connection, link, of_link, sync_input, text};

/// One operation's world: a scene in which each call of it can succeed.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) operation: Op,
    made: AtomicU32,
    /// A host and a link with every member that there is.
    host: String,
    link: String,
}

fn tags() -> Value {
    json!([{"Key": "team", "Value": "web"}, {"Key": "empty", "Value": ""}])
}

fn vpc() -> Value {
    json!({
        "VpcId": "vpc-01234567", "SubnetIds": ["subnet-01234567", "subnet-12345678"],
        "SecurityGroupIds": ["sg-01234567", "sg-12345678"], "TlsCertificate": "-----BEGIN CERTIFICATE-----",
    })
}

const KEY: &str = "arn:aws:kms:eu-west-1:111111111111:key/01234567";

impl Stage {
    /// A scene with two of everything that is listed.
    pub(super) async fn of(operation: Op) -> Self {
        let quotas = Quotas {
            connections: 10_000,
            hosts: 10_000,
            repository_links: 10_000,
            sync_configurations: 10_000,
            sync_configurations_per_link: 10_000,
            sync_configurations_per_branch: 10_000,
        };
        let scene = Scene::with(|config| config.quotas = quotas).await;
        let client = scene.client();
        if operation != Op::UpdateSyncBlocker {
            let mended = but(by_name("web"), json!({"Id": scene.blocker, "ResolvedReason": "mended"}));
            client.ok("UpdateSyncBlocker", mended).await;
            let claim = scene.pushed(2).await;
            scene.succeed(&claim).await;
        }
        let host = text(&client.ok("CreateHost", host()).await, "/HostArn");
        client.ok("CreateConnection", json!({"ConnectionName": "second", "HostArn": scene.host})).await;
        let full = json!({
            "ConnectionArn": scene.connection, "OwnerId": "acme", "RepositoryName": "second",
            "EncryptionKeyArn": KEY, "Tags": tags(),
        });
        let link = client.ok("CreateRepositoryLink", full).await;
        let link = text(&link, "/RepositoryLinkInfo/RepositoryLinkId");
        for name in ["full", "fuller"] {
            let full = but(sync_input(&link, name), publishing());
            client.ok("CreateSyncConfiguration", full).await;
        }
        Self { scene, operation, made: AtomicU32::new(0), host, link }
    }

    pub(super) fn client(&self) -> Client<'_> {
        self.scene.client()
    }

    fn fresh(&self, what: &str) -> String {
        format!("{what}{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// An input that succeeds, once, with as many members as can be together with the one at `site`.
    pub(super) async fn input(&self, client: Client<'_>, site: &str) -> Value {
        let scene = &self.scene;
        match self.operation {
            Op::CreateConnection => {
                let given = if site == "HostArn" {
                    json!({"HostArn": scene.host})
                } else {
                    json!({"ProviderType": "GitHub"})
                };
                but(given, json!({"ConnectionName": self.fresh("c"), "Tags": tags()}))
            }
            Op::CreateHost => host(),
            Op::CreateRepositoryLink => json!({
                "ConnectionArn": scene.connection, "OwnerId": "acme", "RepositoryName": self.fresh("r"),
                "EncryptionKeyArn": KEY, "Tags": tags(),
            }),
            Op::CreateSyncConfiguration => but(sync_input(&scene.link, &self.fresh("s")), publishing()),
            Op::DeleteConnection => {
                json!({"ConnectionArn": connection(client, &self.fresh("c")).await})
            }
            Op::DeleteHost => json!({"HostArn": text(&client.ok("CreateHost", host()).await, "/HostArn")}),
            Op::DeleteRepositoryLink => {
                json!({"RepositoryLinkId": link(client, &scene.connection, &self.fresh("r")).await})
            }
            Op::DeleteSyncConfiguration => {
                let name = self.fresh("s");
                client.ok("CreateSyncConfiguration", sync_input(&scene.link, &name)).await;
                by_name(&name)
            }
            Op::GetConnection => json!({"ConnectionArn": scene.pending}),
            Op::GetHost => json!({"HostArn": self.host}),
            Op::GetRepositoryLink => json!({"RepositoryLinkId": self.link}),
            Op::GetRepositorySyncStatus => but(of_link(&scene.link), json!({"Branch": "main"})),
            Op::GetResourceSyncStatus | Op::GetSyncBlockerSummary => by_name("web"),
            Op::GetSyncConfiguration => by_name("full"),
            Op::ListConnections => {
                let filters = json!({"ProviderTypeFilter": "Git", "HostArnFilter": scene.host});
                self.page(client, site, filters).await
            }
            Op::ListHosts | Op::ListRepositoryLinks => self.page(client, site, json!({})).await,
            Op::ListSyncConfigurations | Op::ListRepositorySyncDefinitions => {
                self.page(client, site, of_link(&self.link)).await
            }
            Op::ListTagsForResource => json!({"ResourceArn": self.host}),
            Op::TagResource => json!({"ResourceArn": scene.connection, "Tags": tags()}),
            Op::UntagResource => json!({"ResourceArn": scene.connection, "TagKeys": ["team", "absent"]}),
            Op::UpdateHost => json!({
                "HostArn": scene.host, "ProviderEndpoint": "https://git.example.com", "VpcConfiguration": vpc(),
            }),
            Op::UpdateRepositoryLink => json!({
                "RepositoryLinkId": scene.link, "ConnectionArn": scene.connection, "EncryptionKeyArn": KEY,
            }),
            Op::UpdateSyncBlocker => {
                but(by_name("web"), json!({"Id": scene.blocker, "ResolvedReason": "mended"}))
            }
            Op::UpdateSyncConfiguration => but(sync_input(&scene.link, "web"), publishing()),
        }
    }

    /// A listing; a token is good for the filters that it came with, and there only where they stay.
    async fn page(&self, client: Client<'_>, site: &str, filters: Value) -> Value {
        let page = but(filters, json!({"MaxResults": 1}));
        if site != "NextToken" {
            return page;
        }
        let first = client.ok(self.operation.name(), page.clone()).await;
        but(page, json!({"NextToken": text(&first, "/NextToken")}))
    }

    /// Takes away what a success has made, so that its name is free again.
    pub(super) async fn undo(&self, client: Client<'_>, input: &Value, answer: &Value) {
        match self.operation {
            Op::CreateConnection => {
                let arn = text(answer, "/ConnectionArn");
                client.ok("DeleteConnection", json!({"ConnectionArn": arn})).await;
            }
            Op::CreateRepositoryLink => {
                let id = text(answer, "/RepositoryLinkInfo/RepositoryLinkId");
                client.ok("DeleteRepositoryLink", json!({"RepositoryLinkId": id})).await;
            }
            Op::CreateSyncConfiguration => {
                client.ok("DeleteSyncConfiguration", by_name(&text(input, "/ResourceName"))).await;
            }
            // Tags pile up to their quota.
            Op::TagResource => {
                let keys = input["Tags"].as_array().expect("tags").iter().map(|tag| tag["Key"].clone());
                let keys: Vec<_> = keys.collect();
                let untag = json!({"ResourceArn": self.scene.connection, "TagKeys": keys});
                client.ok("UntagResource", untag).await;
            }
            _ => {}
        }
    }
}

fn host() -> Value {
    json!({
        "Name": "My Forge", "ProviderType": "GitLabSelfManaged", "ProviderEndpoint": "https://gitlab.example.com",
        "VpcConfiguration": vpc(), "Tags": tags(),
    })
}

fn publishing() -> Value {
    json!({
        "PublishDeploymentStatus": "ENABLED", "TriggerResourceUpdateOn": "FILE_CHANGE",
        "PullRequestComment": "DISABLED", "RoleArn": ROLE, "SyncType": CFN,
    })
}
