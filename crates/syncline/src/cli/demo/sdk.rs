//! The demo's client: the AWS SDK for CodeConnections, unmodified but for the endpoint.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use aws_credential_types::Credentials;
use aws_sdk_codeconnections as sdk;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use sdk::config::http::HttpResponse;
use sdk::config::retry::RetryConfig;
use sdk::config::{BehaviorVersion, Region};
use sdk::error::{ProvideErrorMetadata, SdkError};
use sdk::types::SyncConfigurationType::CfnStackSync;
use syncline_seams::Outside;
use syncline_wire::{
    BlockerStatus, GetResourceSyncStatusOutput, ResourceSyncAttempt, ResourceSyncEvent, Revision, Timestamp,
};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a sync configuration is made of.
#[derive(Debug)]
pub(super) struct NewSync<'a> {
    pub(super) link_id: &'a str,
    pub(super) branch: &'a str,
    pub(super) config_file: &'a str,
    pub(super) stack: &'a str,
    pub(super) role_arn: &'a str,
}

/// An ACTIVE blocker.
#[derive(Debug)]
pub(super) struct Blocked {
    /// Why.
    pub(super) reason: String,
    /// What to do about it.
    pub(super) suggested_fix: Option<String>,
}

/// The SDK's client, each call bounded.
#[derive(Debug)]
pub(super) struct Aws {
    client: sdk::Client,
    outside: Outside,
}

impl Aws {
    /// A client of `endpoint` that signs for `region`.
    pub(super) fn new(endpoint: &str, region: &str, key: Credentials, outside: &Outside) -> Self {
        // This client ignores the proxy variables of the environment unless it is told to read them.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let config = sdk::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .region(Region::new(region.to_owned()))
            .endpoint_url(endpoint)
            .credentials_provider(key)
            .build();
        Self { client: sdk::Client::from_conf(config), outside: outside.clone() }
    }

    async fn call<T, E>(
        &self,
        operation: &'static str,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> anyhow::Result<T>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let answer = async { sent.await.map_err(|error| anyhow!("{operation}: {}", said(&error))) };
        self.outside.call(operation, CALL_TIMEOUT, answer).await
    }

    /// Creates a host of provider type `Git`; answers its ARN.
    pub(super) async fn create_host(&self, name: &str, provider_endpoint: &str) -> anyhow::Result<String> {
        let host = self.client.create_host().name(name).provider_type(sdk::types::ProviderType::from("Git"));
        let made = self.call("CreateHost", host.provider_endpoint(provider_endpoint).send()).await?;
        made.host_arn.context("CreateHost answered no HostArn")
    }

    /// Creates a connection on a host; answers its ARN.
    pub(super) async fn create_connection(&self, name: &str, host_arn: &str) -> anyhow::Result<String> {
        let connection = self.client.create_connection().connection_name(name).host_arn(host_arn);
        Ok(self.call("CreateConnection", connection.send()).await?.connection_arn)
    }

    /// Links a repository; answers the link's id.
    pub(super) async fn create_repository_link(
        &self,
        connection_arn: &str,
        owner: &str,
        repository: &str,
    ) -> anyhow::Result<String> {
        let link = self.client.create_repository_link().connection_arn(connection_arn).owner_id(owner);
        let made = self.call("CreateRepositoryLink", link.repository_name(repository).send()).await?;
        Ok(made.repository_link_info.context("CreateRepositoryLink answered no link")?.repository_link_id)
    }

    /// Creates a sync configuration.
    pub(super) async fn create_sync_configuration(&self, new: &NewSync<'_>) -> anyhow::Result<()> {
        let sync = self
            .client
            .create_sync_configuration()
            .sync_type(CfnStackSync)
            .repository_link_id(new.link_id)
            .branch(new.branch)
            .config_file(new.config_file)
            .resource_name(new.stack)
            .role_arn(new.role_arn);
        self.call("CreateSyncConfiguration", sync.send()).await.map(|_| ())
    }

    /// The sync's status; `None` before its first attempt.
    pub(super) async fn resource_sync_status(
        &self,
        stack: &str,
    ) -> anyhow::Result<Option<GetResourceSyncStatusOutput>> {
        let status = self.client.get_resource_sync_status().sync_type(CfnStackSync).resource_name(stack);
        let sent = async {
            match status.send().await {
                Ok(status) => Ok(Some(status)),
                Err(SdkError::ServiceError(error)) if error.err().is_resource_not_found_exception() => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        let Some(status) = self.call("GetResourceSyncStatus", sent).await? else { return Ok(None) };
        Ok(Some(GetResourceSyncStatusOutput {
            desired_state: status.desired_state.map(revision).transpose()?,
            latest_successful_sync: status.latest_successful_sync.map(attempt).transpose()?,
            latest_sync: attempt(
                status.latest_sync.context("GetResourceSyncStatus answered no LatestSync")?,
            )?,
        }))
    }

    /// The sync's ACTIVE blockers, newest first.
    pub(super) async fn active_blockers(&self, stack: &str) -> anyhow::Result<Vec<Blocked>> {
        let summary = self.client.get_sync_blocker_summary().sync_type(CfnStackSync).resource_name(stack);
        let answer = self.call("GetSyncBlockerSummary", summary.send()).await?;
        let blockers = answer.sync_blocker_summary.and_then(|summary| summary.latest_blockers);
        let is_active =
            |blocker: &sdk::types::SyncBlocker| blocker.status.as_str() == BlockerStatus::Active.as_str();
        Ok(blockers
            .unwrap_or_default()
            .into_iter()
            .filter(is_active)
            .map(|blocker| Blocked {
                suggested_fix: blocker
                    .contexts()
                    .iter()
                    .find(|context| context.key() == "suggestedFix")
                    .map(|context| context.value().to_owned()),
                reason: blocker.created_reason,
            })
            .collect())
    }
}

/// What an error of the SDK says: the service's code and message, or why there is no answer.
fn said<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E, HttpResponse>) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{message} ({code})"),
        (Some(code), None) => code.to_owned(),
        _ => super::super::client::chain(error),
    }
}

fn attempt(from: sdk::types::ResourceSyncAttempt) -> anyhow::Result<ResourceSyncAttempt> {
    Ok(ResourceSyncAttempt {
        events: from.events.into_iter().map(event).collect::<anyhow::Result<_>>()?,
        initial_revision: revision(from.initial_revision.context("there is no InitialRevision")?)?,
        started_at: timestamp(from.started_at)?,
        status: from.status.as_str().parse()?,
        target_revision: revision(from.target_revision.context("there is no TargetRevision")?)?,
        target: from.target,
    })
}

fn event(from: sdk::types::ResourceSyncEvent) -> anyhow::Result<ResourceSyncEvent> {
    Ok(ResourceSyncEvent {
        event: from.event,
        external_id: from.external_id,
        time: timestamp(from.time)?,
        r#type: from.r#type,
    })
}

fn revision(from: sdk::types::Revision) -> anyhow::Result<Revision> {
    Ok(Revision {
        branch: from.branch,
        directory: from.directory,
        owner_id: from.owner_id,
        repository_name: from.repository_name,
        provider_type: from.provider_type.as_str().parse()?,
        sha: from.sha,
    })
}

fn timestamp(from: sdk::primitives::DateTime) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_epoch_ms(from.to_millis()?))
}
