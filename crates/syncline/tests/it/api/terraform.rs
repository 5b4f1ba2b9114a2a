//! What Terraform does to the API while it applies, changes and destroys.
//!
//! This is not the Terraform AWS provider, whose binary is in no package registry: it is a transcript of the calls
//! that its resources `aws_codeconnections_host` and `aws_codeconnections_connection` (and their codestar
//! namesakes) are documented to make, in their order, with what each waits for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use syncline_wire::{Protocol, Service};

use super::client::{Client, PROTOCOLS, Server};
use super::scene::text;

/// The tags of a resource as a configuration has them.
type Tags<'a> = BTreeMap<&'a str, &'a str>;

/// How a waiter sees a resource.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It is there, and its status is this.
    Status(String),
    /// ResourceNotFoundException.
    Gone,
}

struct Terraform<'s>(Client<'s>);

impl Terraform<'_> {
    fn spoken(server: &Server, service: Service, protocol: Protocol) -> Terraform<'_> {
        Terraform(Client { service, protocol, ..server.client() })
    }

    async fn seen(&self, operation: &str, input: Value, status: &str) -> Seen {
        let reply = self.0.call(operation, &input).await;
        if reply.status == 200 {
            return Seen::Status(text(&reply.value, status));
        }
        let (code, _) = reply.refusal();
        assert_eq!(code, "ResourceNotFoundException", "{operation}: the only error that a waiter knows");
        Seen::Gone
    }

    async fn host(&self, arn: &str) -> Seen {
        self.seen("GetHost", json!({"HostArn": arn}), "/Status").await
    }

    async fn connection(&self, arn: &str) -> Seen {
        self.seen("GetConnection", json!({"ConnectionArn": arn}), "/Connection/ConnectionStatus").await
    }

    /// Waits while the host is VPC_CONFIG_INITIALIZING, until it has twice in turn been PENDING or AVAILABLE; any
    /// other status fails the apply.
    async fn wait_for_host(&self, arn: &str) {
        for _ in 0..2 {
            let seen = self.host(arn).await;
            let ready = ["PENDING", "AVAILABLE"].map(|status| Seen::Status(status.to_owned()));
            // No host of Syncline's is ever initializing: there is no VPC to wait for.
            assert!(ready.contains(&seen), "{seen:?}");
        }
    }

    async fn create_host(&self, vpc: Option<Value>, tags: &Tags<'_>) -> String {
        let mut input = json!({
            "Name": "forge", "ProviderType": "GitHubEnterpriseServer", "ProviderEndpoint": "https://git.example.com",
        });
        input["VpcConfiguration"] = vpc.unwrap_or(Value::Null);
        input["Tags"] = tag_list(tags);
        let arn = text(&self.0.ok("CreateHost", input).await, "/HostArn");
        self.wait_for_host(&arn).await;
        arn
    }

    async fn create_connection(&self, input: Value, tags: &Tags<'_>) -> String {
        let mut input = input;
        input["Tags"] = tag_list(tags);
        let arn = text(&self.0.ok("CreateConnection", input).await, "/ConnectionArn");
        // Until it has twice in turn been PENDING or AVAILABLE.
        for _ in 0..2 {
            assert_eq!(self.connection(&arn).await, Seen::Status("PENDING".to_owned()));
        }
        arn
    }

    /// What a refresh reads, to compare it with the configuration.
    async fn tags(&self, arn: &str) -> BTreeMap<String, String> {
        let listed = self.0.ok("ListTagsForResource", json!({"ResourceArn": arn})).await;
        let tags = listed["Tags"].as_array().expect("a list").iter();
        tags.map(|tag| (text(tag, "/Key"), text(tag, "/Value"))).collect()
    }

    /// First removes the keys that the configuration has no more, then sets what is new or changed; a call that
    /// would have nothing to say is not made.
    async fn change_tags(&self, arn: &str, from: &Tags<'_>, to: &Tags<'_>) {
        let removed: Vec<_> = from.keys().filter(|key| !to.contains_key(**key)).collect();
        if !removed.is_empty() {
            self.0.ok("UntagResource", json!({"ResourceArn": arn, "TagKeys": removed})).await;
        }
        let updated: Tags<'_> = to
            .iter()
            .filter(|(key, value)| from.get(*key) != Some(value))
            .map(|(key, value)| (*key, *value))
            .collect();
        if !updated.is_empty() {
            self.0.ok("TagResource", json!({"ResourceArn": arn, "Tags": tag_list(&updated)})).await;
        }
        let expect = to.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(self.tags(arn).await, expect, "the next plan would not be empty");
    }
}

/// Null without tags: the member is left out.
fn tag_list(tags: &Tags<'_>) -> Value {
    if tags.is_empty() {
        return Value::Null;
    }
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

#[tokio::test]
async fn terraform_applies_changes_and_destroys_a_host_and_its_connection() {
    let server = Server::start().await;
    for service in [Service::CodeConnections, Service::CodeStarConnections] {
        for protocol in PROTOCOLS {
            apply_change_and_destroy(&Terraform::spoken(&server, service, protocol)).await;
        }
    }
}

async fn apply_change_and_destroy(terraform: &Terraform<'_>) {
    let vpc = json!({
        "VpcId": "vpc-0a1b2c3d4e5f60718", "SubnetIds": ["subnet-0a1b2c3d4e5f60718"],
        "SecurityGroupIds": ["sg-0a1b2c3d4e5f60718"],
    });
    let first: Tags<'_> = [("team", "web"), ("stage", "test")].into();
    let second: Tags<'_> = [("team", "api"), ("cost", "")].into();

    // terraform apply
    let host = terraform.create_host(Some(vpc.clone()), &first).await;
    let created = json!({"ConnectionName": "forge", "HostArn": host});
    let connection = terraform.create_connection(created, &first).await;
    for arn in [&host, &connection] {
        terraform.change_tags(arn, &first, &first).await; // a refresh that finds nothing to do
    }

    // terraform apply, with other tags
    for arn in [&host, &connection] {
        terraform.change_tags(arn, &first, &second).await;
    }

    // terraform apply, with another endpoint: aws_codeconnections_host sends nothing but the ARN
    terraform.0.ok("UpdateHost", json!({"HostArn": host})).await;
    terraform.wait_for_host(&host).await;
    // aws_codestarconnections_host sends the endpoint, and the VPC if it is to have one
    let changed =
        json!({"HostArn": host, "ProviderEndpoint": "https://git.example.org", "VpcConfiguration": vpc});
    terraform.0.ok("UpdateHost", changed).await;
    terraform.wait_for_host(&host).await;
    let read = terraform.0.ok("GetHost", json!({"HostArn": host})).await;
    assert_eq!(read["ProviderEndpoint"], "https://git.example.org");
    assert_eq!(read["VpcConfiguration"], vpc);

    // terraform apply, with no tags
    for arn in [&host, &connection] {
        terraform.change_tags(arn, &second, &Tags::new()).await;
    }

    // terraform destroy: each delete is followed by reads until the resource is gone
    terraform.0.ok("DeleteConnection", json!({"ConnectionArn": connection})).await;
    assert_eq!(terraform.connection(&connection).await, Seen::Gone);
    terraform.0.ok("DeleteHost", json!({"HostArn": host})).await;
    assert_eq!(terraform.host(&host).await, Seen::Gone);
    // Somebody else has deleted it: a destroy takes ResourceNotFoundException for success.
    for (operation, input) in
        [("DeleteConnection", json!({"ConnectionArn": connection})), ("DeleteHost", json!({"HostArn": host}))]
    {
        let (code, _) = terraform.0.refused(operation, input).await;
        assert_eq!(code, "ResourceNotFoundException", "{operation}");
    }
}
