//! Calls every operation of a running Syncline with an unmodified AWS SDK for Rust: makes, reads, lists,
//! changes, tags, deletes. The steps and the checks are those of `boto3_api_walk.py`.
//!
//! Compiled with each SDK there is: whoever includes this file says which is `sdk`, and under which of the
//! service's names it calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use aws_credential_types::Credentials;
use sdk::config::{BehaviorVersion, Region};
use sdk::types::{
    ConnectionStatus, ProviderType, PublishDeploymentStatus, RepositoryLinkInfo, SyncConfigurationType, Tag,
    TriggerResourceUpdateOn, VpcConfiguration,
};
use serde_json::{Value, json};
use tokio::process::Command;

#[path = "rust_api_answers.rs"]
mod answers;

use self::answers::check;
use super::sdk;

const SYNC_TYPE: SyncConfigurationType = SyncConfigurationType::CfnStackSync;
const NOTHING: &str = "00000000-1111-2222-3333-444444444444";
const GONE: &str = "ResourceNotFoundException";

/// Who calls, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Where Syncline listens, as `http://<address>`.
    pub(crate) endpoint: &'a str,
    /// The access key's id.
    pub(crate) key_id: &'a str,
    /// The access key's secret.
    pub(crate) secret: &'a str,
}

type Walked<T> = Result<T, String>;

/// Walks with `--region REGION --provider-endpoint URL --syncline PROGRAM`, and answers the operations that were
/// called and each error that was provoked with its HTTP status.
///
/// The region must be empty: lists are compared as a whole. The URL is where the hosts' repositories would be;
/// nothing needs to be there. The program is `syncline`, which completes the handshakes.
///
/// # Errors
/// One line that says which answer is not what the API promises.
pub(crate) async fn run(caller: Caller<'_>, arguments: &[&str]) -> Walked<Value> {
    let ["--region", region, "--provider-endpoint", provider_endpoint, "--syncline", syncline] = *arguments
    else {
        return Err("usage: --region REGION --provider-endpoint URL --syncline PROGRAM".to_owned());
    };
    let config = sdk::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        // Without TLS and proxies: everything is on loopback.
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new(caller.key_id, caller.secret, None, None, "the walk"))
        .region(Region::new(region.to_owned()))
        .endpoint_url(caller.endpoint)
        .build();
    let walk = Walk {
        caller,
        region,
        provider_endpoint,
        syncline,
        client: sdk::Client::from_conf(config),
        called: Mutex::default(),
        refused: Mutex::default(),
    };
    let hosts = walk.hosts().await?;
    let connections = walk.connections(&hosts).await?;
    for arn in &connections[..2] {
        walk.authorize(arn).await?;
    }
    let links = walk.links(&connections).await?;
    let syncs = walk.syncs(links[0].repository_link_id(), account_of(&connections[0])).await?;
    for arn in [&hosts[3], &connections[4], links[2].repository_link_arn()] {
        walk.tagging(arn).await?;
    }
    walk.fill(&hosts[3]).await?;
    walk.delete(&hosts, &connections, &links, &syncs).await?;
    let called = walk.called.into_inner().unwrap_or_else(PoisonError::into_inner);
    let refused = walk.refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(json!({ "called": called, "refused": refused }))
}

struct Walk<'a> {
    caller: Caller<'a>,
    region: &'a str,
    provider_endpoint: &'a str,
    syncline: &'a str,
    client: sdk::Client,
    called: Mutex<BTreeSet<&'static str>>,
    refused: Mutex<BTreeSet<String>>,
}

impl Walk<'_> {
    /// Five hosts of two kinds, the first two for repositories; answers their ARNs.
    async fn hosts(&self) -> Walked<Vec<String>> {
        let (client, endpoint) = (&self.client, self.provider_endpoint);
        let mut arns = Vec::new();
        for number in 0..5 {
            let name = format!("host-{number}");
            let kind =
                if number < 2 { ProviderType::from("Git") } else { ProviderType::GithubEnterpriseServer };
            let vpc = (number == 4).then(vpc).transpose()?;
            let tags = tags(&[("team", "web"), ("number", &number.to_string())])?;
            let made = client.create_host().name(&name).provider_type(kind.clone());
            let made = made.provider_endpoint(endpoint).set_vpc_configuration(vpc.clone());
            let made = self.told("CreateHost", made.set_tags(Some(tags.clone())).send().await)?;
            check("the tags of the answer to CreateHost", made.tags(), &tags[..])?;
            let arn = made.host_arn().unwrap_or_default();
            let (_, suffix) = arn.rsplit_once('-').unwrap_or_default();
            check(arn, is_hex(suffix) && suffix.len() == 8, true)?;
            check(arn, arn.strip_suffix(suffix), Some(&*self.arn(arn, &format!("host/{name}-"))))?;
            let host = self.told("GetHost", client.get_host().host_arn(arn).send().await)?;
            check("the new host's name", host.name(), Some(&*name))?;
            check("the new host's status", host.status(), Some("PENDING"))?;
            check("the new host's type", host.provider_type(), Some(&kind))?;
            check("the new host's endpoint", host.provider_endpoint(), Some(endpoint))?;
            check("the new host's VPC", host.vpc_configuration(), vpc.as_ref())?;
            arns.push(arn.to_owned());
        }
        self.check_hosts(&arns).await?;

        let moved = format!("{endpoint}/moved");
        let update = client.update_host().host_arn(&arns[2]);
        let changed = update.clone().provider_endpoint(&moved).vpc_configuration(vpc()?);
        self.told("UpdateHost", changed.send().await)?;
        self.told("UpdateHost", update.send().await)?;
        let host = self.told("GetHost", client.get_host().host_arn(&arns[2]).send().await)?;
        check("the updated host's name", host.name(), Some("host-2"))?;
        check("the updated host's endpoint", host.provider_endpoint(), Some(&*moved))?;
        check("the updated host's VPC", host.vpc_configuration(), Some(&vpc()?))?;

        let missing = format!("{}00000000", &arns[0][..arns[0].len() - 8]);
        let got = client.get_host().host_arn(&missing).send().await;
        self.refused("GetHost", GONE, got, |error| error.is_resource_not_found_exception())?;
        let updated = client.update_host().host_arn(&missing).send().await;
        self.refused("UpdateHost", GONE, updated, |error| error.is_resource_not_found_exception())?;
        let deleted = client.delete_host().host_arn(&missing).send().await;
        self.refused("DeleteHost", GONE, deleted, |error| error.is_resource_not_found_exception())?;
        let made = client.create_connection().connection_name("nowhere").host_arn(&missing).send().await;
        self.refused("CreateConnection", GONE, made, |error| error.is_resource_not_found_exception())?;
        Ok(arns)
    }

    /// Five connections, the first two on a host; answers their ARNs.
    async fn connections(&self, hosts: &[String]) -> Walked<Vec<String>> {
        let client = &self.client;
        let kinds = [
            (Some(&hosts[0]), None),
            (Some(&hosts[0]), None),
            (None, Some(ProviderType::Github)),
            (None, Some(ProviderType::Github)),
            (None, Some(ProviderType::Bitbucket)),
        ];
        let mut arns = Vec::new();
        for (number, (host, kind)) in kinds.into_iter().enumerate() {
            let name = format!("connection-{number}");
            let tags = tags(&[("team", "web")])?;
            let made = client.create_connection().connection_name(&name).set_tags(Some(tags.clone()));
            let made = made.set_host_arn(host.cloned()).set_provider_type(kind.clone()).send().await;
            let made = self.told("CreateConnection", made)?;
            check("the tags of the answer to CreateConnection", made.tags(), &tags[..])?;
            let arn = made.connection_arn();
            let (before, id) = arn.split_once('/').unwrap_or_default();
            check(arn, before, self.arn(arn, "connection").as_str())?;
            check(arn, is_uuid(id), true)?;
            let got = self.told("GetConnection", client.get_connection().connection_arn(arn).send().await)?;
            let got = got.connection().ok_or("GetConnection answered none")?;
            check("the new connection", got.connection_arn(), Some(arn))?;
            check("the new connection's name", got.connection_name(), Some(&*name))?;
            check("the new connection's status", got.connection_status(), Some(&ConnectionStatus::Pending))?;
            check("the new connection's owner", got.owner_account_id(), Some(account_of(arn)))?;
            check("the new connection's host", got.host_arn(), host.map(String::as_str))?;
            let kind = kind.unwrap_or_else(|| ProviderType::from("Git"));
            check("the new connection's type", got.provider_type(), Some(&kind))?;
            arns.push(arn.to_owned());
        }
        let github = Some(ProviderType::Github);
        self.check_connections(None, None, &arns).await?;
        self.check_connections(github, None, &arns[2..4]).await?;
        self.check_connections(None, Some(&hosts[0]), &arns[..2]).await?;
        self.check_connections(None, Some(&hosts[1]), &[]).await?;

        let create = |name: &str| {
            client.create_connection().connection_name(name).provider_type(ProviderType::Github).send()
        };
        self.invalid("CreateConnection", "connection-2", create("connection-2").await)?;
        let long = "x".repeat(33);
        let text = format!(
            "1 validation error detected: Value '{long}' at 'connectionName' failed to satisfy constraint: \
             Member must have length less than or equal to 32"
        );
        self.invalid("CreateConnection", &text, create(&long).await)?;
        let deleted = client.delete_host().host_arn(&hosts[0]).send().await;
        self.refused("DeleteHost", "ResourceUnavailableException", deleted, |error| {
            error.is_resource_unavailable_exception()
        })?;
        Ok(arns)
    }

    /// The handshake, which has no AWS operation.
    async fn authorize(&self, arn: &str) -> Walked<()> {
        let Caller { endpoint, key_id, secret } = self.caller;
        let mut command = Command::new(self.syncline);
        command
            .args([
                "connection",
                "authorize",
                arn,
                "--no-token",
                "--endpoint",
                endpoint,
                "--region",
                self.region,
            ])
            .env("SYNCLINE_ACCESS_KEY_ID", key_id)
            .env("SYNCLINE_SECRET_ACCESS_KEY", secret);
        let done = command.output().await.map_err(|error| format!("{}: {error}", self.syncline))?;
        if !done.status.success() {
            return Err(format!("syncline connection authorize: {}", String::from_utf8_lossy(&done.stderr)));
        }
        let got = self.client.get_connection().connection_arn(arn).send().await;
        let got = self.told("GetConnection", got)?.connection.ok_or("GetConnection answered none")?;
        check("the authorized connection", got.connection_status, Some(ConnectionStatus::Available))
    }

    /// Three links on the first connection, the first of which moves to the second.
    async fn links(&self, connections: &[String]) -> Walked<Vec<RepositoryLinkInfo>> {
        let client = &self.client;
        let create = |connection: &str, repository: &str| {
            let create = client.create_repository_link().owner_id("acme").connection_arn(connection);
            create.repository_name(repository)
        };
        let made = create(&connections[2], "none").send().await;
        self.refused("CreateRepositoryLink", "InvalidInputException", made, |error| {
            error.is_invalid_input_exception()
        })?;
        let get = |id: &str| client.get_repository_link().repository_link_id(id).send();
        let mut links = Vec::new();
        for number in 0..3 {
            let name = format!("repository-{number}");
            let made = create(&connections[0], &name).set_tags(Some(tags(&[("team", "web")])?)).send().await;
            let link = self.told("CreateRepositoryLink", made)?.repository_link_info;
            let link = link.ok_or("CreateRepositoryLink answered none")?;
            let (id, arn) = (link.repository_link_id(), link.repository_link_arn());
            check(id, is_uuid(id), true)?;
            check("the new link's ARN", arn, self.arn(arn, &format!("repository-link/{id}")).as_str())?;
            check("the new link's connection", link.connection_arn(), &*connections[0])?;
            check("the new link's repository", (link.owner_id(), link.repository_name()), ("acme", &*name))?;
            check("the new link's type", link.provider_type(), &ProviderType::from("Git"))?;
            let got = self.told("GetRepositoryLink", get(id).await)?;
            check("GetRepositoryLink", got.repository_link_info(), Some(&link))?;
            links.push(link);
        }
        let ids: Vec<String> = links.iter().map(|link| link.repository_link_id().to_owned()).collect();
        self.check_links(&ids).await?;
        let again = create(&connections[0], "repository-1").send().await;
        self.refused("CreateRepositoryLink", "ResourceAlreadyExistsException", again, |error| {
            error.is_resource_already_exists_exception()
        })?;

        let key = format!("arn:aws:kms:{}:{}:key/{NOTHING}", self.region, account_of(&connections[0]));
        let update = client.update_repository_link().repository_link_id(&ids[0]);
        let moved = update.clone().connection_arn(&connections[1]).encryption_key_arn(&key).send().await;
        let moved = self.told("UpdateRepositoryLink", moved)?.repository_link_info;
        let moved = moved.ok_or("UpdateRepositoryLink answered none")?;
        check("the moved link", moved.repository_link_id(), &*ids[0])?;
        check("the moved link's connection", moved.connection_arn(), &*connections[1])?;
        check("the moved link's key", moved.encryption_key_arn(), Some(&*key))?;
        let got = self.told("GetRepositoryLink", get(&ids[0]).await)?;
        check("the moved link", got.repository_link_info(), Some(&moved))?;
        let elsewhere = update.connection_arn(&connections[2]).send().await;
        self.refused("UpdateRepositoryLink", "InvalidInputException", elsewhere, |error| {
            error.is_invalid_input_exception()
        })?;

        self.refused("GetRepositoryLink", GONE, get(NOTHING).await, |error| {
            error.is_resource_not_found_exception()
        })?;
        let updated = client.update_repository_link().repository_link_id(NOTHING).send().await;
        self.refused("UpdateRepositoryLink", GONE, updated, |error| error.is_resource_not_found_exception())?;
        let deleted = client.delete_repository_link().repository_link_id(NOTHING).send().await;
        self.refused("DeleteRepositoryLink", GONE, deleted, |error| error.is_resource_not_found_exception())?;
        Ok(links)
    }

    /// Three sync configurations of a link; answers their names.
    async fn syncs(&self, link_id: &str, account: &str) -> Walked<Vec<String>> {
        let client = &self.client;
        let role = format!("arn:aws:iam::{account}:role/sync");
        let create = |name: &str| {
            let create = client.create_sync_configuration().branch("main").repository_link_id(link_id);
            let create = create.config_file(format!("deploy/{name}.yaml")).resource_name(name);
            create.role_arn(&role).sync_type(SYNC_TYPE).send()
        };
        let get =
            |name: &str| client.get_sync_configuration().sync_type(SYNC_TYPE).resource_name(name).send();
        let names: Vec<String> = (0..3).map(|number| format!("stack-{number}")).collect();
        for name in &names {
            let made = self.told("CreateSyncConfiguration", create(name).await)?.sync_configuration;
            let made = made.ok_or("CreateSyncConfiguration answered none")?;
            let shown = (made.branch(), made.config_file(), made.resource_name(), made.role_arn());
            let file = format!("deploy/{name}.yaml");
            check("the new sync configuration", shown, ("main", Some(&*file), &**name, &*role))?;
            let shown = (made.owner_id(), made.repository_name(), made.repository_link_id());
            check("the new sync configuration's link", shown, ("acme", "repository-0", link_id))?;
            let got = self.told("GetSyncConfiguration", get(name).await)?;
            check("GetSyncConfiguration", got.sync_configuration(), Some(&made))?;
        }
        self.check_syncs(link_id, &names).await?;
        let defined = client.list_repository_sync_definitions().repository_link_id(link_id);
        let defined =
            self.told("ListRepositorySyncDefinitions", defined.sync_type(SYNC_TYPE).send().await)?;
        let mut targets: Vec<_> =
            defined.repository_sync_definitions().iter().map(|one| one.target()).collect();
        targets.sort_unstable();
        check("the sync definitions", targets, names.iter().map(String::as_str).collect())?;
        self.refused(
            "CreateSyncConfiguration",
            "ResourceAlreadyExistsException",
            create(&names[0]).await,
            |error| error.is_resource_already_exists_exception(),
        )?;

        let update = client.update_sync_configuration().sync_type(SYNC_TYPE);
        let updated =
            update.clone().resource_name(&names[0]).branch("release").config_file("deploy/other.yaml");
        let updated = updated.trigger_resource_update_on(TriggerResourceUpdateOn::FileChange);
        let updated = updated.publish_deployment_status(PublishDeploymentStatus::Enabled).send().await;
        let updated = self.told("UpdateSyncConfiguration", updated)?.sync_configuration;
        let updated = updated.ok_or("UpdateSyncConfiguration answered none")?;
        let shown = (updated.branch(), updated.config_file(), updated.resource_name(), updated.role_arn());
        let expect = ("release", Some("deploy/other.yaml"), &*names[0], &*role);
        check("the updated sync configuration", shown, expect)?;
        let shown = (updated.trigger_resource_update_on(), updated.publish_deployment_status());
        let expect = (Some(&TriggerResourceUpdateOn::FileChange), Some(&PublishDeploymentStatus::Enabled));
        check("the updated sync configuration", shown, expect)?;
        let got = self.told("GetSyncConfiguration", get(&names[0]).await)?;
        check("the updated sync configuration", got.sync_configuration(), Some(&updated))?;

        // There is no repository, and nobody follows that branch: there is nothing to tell.
        let got =
            client.get_resource_sync_status().sync_type(SYNC_TYPE).resource_name(&names[0]).send().await;
        self.refused("GetResourceSyncStatus", GONE, got, |error| error.is_resource_not_found_exception())?;
        let got = client.get_repository_sync_status().branch("unfollowed").repository_link_id(link_id);
        let got = got.sync_type(SYNC_TYPE).send().await;
        self.refused("GetRepositorySyncStatus", GONE, got, |error| error.is_resource_not_found_exception())?;
        let got =
            client.get_sync_blocker_summary().sync_type(SYNC_TYPE).resource_name(&names[0]).send().await;
        let summary = self.told("GetSyncBlockerSummary", got)?.sync_blocker_summary;
        let name = summary.as_ref().map(|summary| summary.resource_name());
        check("the blocker summary's resource", name, Some(&*names[0]))?;
        let blocker = client.update_sync_blocker().id(NOTHING).resolved_reason("mended");
        let blocker = blocker.sync_type(SYNC_TYPE).resource_name(&names[0]).send().await;
        self.refused("UpdateSyncBlocker", "SyncBlockerDoesNotExistException", blocker, |error| {
            error.is_sync_blocker_does_not_exist_exception()
        })?;
        self.refused("GetSyncConfiguration", GONE, get("stack-9").await, |error| {
            error.is_resource_not_found_exception()
        })?;
        let updated = update.resource_name("stack-9").send().await;
        self.refused("UpdateSyncConfiguration", GONE, updated, |error| {
            error.is_resource_not_found_exception()
        })?;
        Ok(names)
    }

    /// The tags of one resource, made with `team`: merged, replaced, removed.
    async fn tagging(&self, arn: &str) -> Walked<()> {
        let client = &self.client;
        let tag = |tags: Vec<Tag>| client.tag_resource().resource_arn(arn).set_tags(Some(tags)).send();
        let left: BTreeMap<String, String> = [("team".to_owned(), "api".to_owned())].into();

        let before = self.tags(arn).await?;
        let team = before.get("team").map(String::as_str);
        check("the tag that the resource was made with", team, Some("web"))?;
        self.told("TagResource", tag(tags(&[("team", "api"), ("cost", "")])?).await)?;
        let mut merged = before.clone();
        merged.extend(left.clone());
        merged.insert("cost".to_owned(), String::new());
        check("the merged tags", self.tags(arn).await?, merged)?;
        let others = before.into_keys().filter(|key| key != "team");
        let keys = others.chain(["cost".to_owned(), "never-set".to_owned()]).collect();
        let untag = client.untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
        self.told("UntagResource", untag.send().await)?;
        check("the tags that are left", self.tags(arn).await?, left)?;
        self.invalid("TagResource", "aws:", tag(tags(&[("aws:team", "web")])?).await)
    }

    /// As many tags as a resource may have, and one more; clients take their time to believe that, and ask again.
    async fn fill(&self, arn: &str) -> Walked<()> {
        let client = &self.client;
        let tag = |tags: Vec<Tag>| client.tag_resource().resource_arn(arn).set_tags(Some(tags)).send();
        let many: Vec<String> = (0..199).map(|number| format!("key-{number}")).collect();
        let full: Vec<_> = many.iter().map(|key| (key.as_str(), "value")).collect();
        self.told("TagResource", tag(tags(&full)?).await)?;
        let more = tag(tags(&[("more", "one")])?).await;
        self.refused("TagResource", "LimitExceededException", more, |error| {
            error.is_limit_exceeded_exception()
        })?;
        check("the number of tags at the quota", self.tags(arn).await?.len(), 200)?;
        let untag = client.untag_resource().resource_arn(arn).set_tag_keys(Some(many));
        self.told("UntagResource", untag.send().await)?;
        check("the number of tags that are left", self.tags(arn).await?.len(), 1)
    }

    async fn tags(&self, arn: &str) -> Walked<BTreeMap<String, String>> {
        let listed = self.client.list_tags_for_resource().resource_arn(arn).send().await;
        let listed = self.told("ListTagsForResource", listed)?;
        Ok(listed.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    async fn untaggable(&self, arn: &str) -> Walked<()> {
        let client = &self.client;
        let listed = client.list_tags_for_resource().resource_arn(arn).send().await;
        self.refused("ListTagsForResource", GONE, listed, |error| error.is_resource_not_found_exception())?;
        let tag = client.tag_resource().resource_arn(arn).set_tags(Some(tags(&[("team", "web")])?));
        self.refused("TagResource", GONE, tag.send().await, |error| error.is_resource_not_found_exception())?;
        let untagged = client.untag_resource().resource_arn(arn).tag_keys("team").send().await;
        self.refused("UntagResource", GONE, untagged, |error| error.is_resource_not_found_exception())
    }

    async fn delete(
        &self,
        hosts: &[String],
        connections: &[String],
        links: &[RepositoryLinkInfo],
        syncs: &[String],
    ) -> Walked<()> {
        let client = &self.client;
        let delete = |link: &RepositoryLinkInfo| {
            client.delete_repository_link().repository_link_id(link.repository_link_id()).send()
        };
        let still = "SyncConfigurationStillExistsException";
        self.refused("DeleteRepositoryLink", still, delete(&links[0]).await, |error| {
            error.is_sync_configuration_still_exists_exception()
        })?;
        for name in syncs {
            let delete = client.delete_sync_configuration().sync_type(SYNC_TYPE).resource_name(name);
            self.told("DeleteSyncConfiguration", delete.clone().send().await)?;
            let got = client.get_sync_configuration().sync_type(SYNC_TYPE).resource_name(name).send().await;
            self.refused("GetSyncConfiguration", GONE, got, |error| error.is_resource_not_found_exception())?;
            // Again: there is nothing to delete, which is no error.
            self.told("DeleteSyncConfiguration", delete.send().await)?;
        }
        for link in links {
            self.told("DeleteRepositoryLink", delete(link).await)?;
            let got = client.get_repository_link().repository_link_id(link.repository_link_id()).send().await;
            self.refused("GetRepositoryLink", GONE, got, |error| error.is_resource_not_found_exception())?;
        }
        for arn in connections {
            let delete = client.delete_connection().connection_arn(arn);
            self.told("DeleteConnection", delete.clone().send().await)?;
            let got = client.get_connection().connection_arn(arn).send().await;
            self.refused("GetConnection", GONE, got, |error| error.is_resource_not_found_exception())?;
            let again = delete.send().await;
            self.refused("DeleteConnection", GONE, again, |error| error.is_resource_not_found_exception())?;
        }
        for arn in hosts {
            self.told("DeleteHost", client.delete_host().host_arn(arn).send().await)?;
            let got = client.get_host().host_arn(arn).send().await;
            self.refused("GetHost", GONE, got, |error| error.is_resource_not_found_exception())?;
        }
        for arn in [&hosts[0], &connections[0], links[0].repository_link_arn()] {
            self.untaggable(arn).await?;
        }
        self.check_hosts(&[]).await?;
        self.check_connections(None, None, &[]).await?;
        self.check_links(&[]).await
    }
}

fn tags(tags: &[(&str, &str)]) -> Walked<Vec<Tag>> {
    let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
    tags.iter().map(tag).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn vpc() -> Walked<VpcConfiguration> {
    let vpc = VpcConfiguration::builder().vpc_id("vpc-0a1b2c3d4e5f60718");
    let vpc = vpc.subnet_ids("subnet-0a1b2c3d4e5f60718").security_group_ids("sg-0a1b2c3d4e5f60718");
    vpc.build().map_err(|error| error.to_string())
}

fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

fn is_hex(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.into_iter().all(is_hex)
}
