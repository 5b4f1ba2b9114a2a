//! Walks a running Syncline with an unmodified AWS SDK for Rust, with the commands, the state file and the
//! checks of `boto3_walk.py`.
//!
//! Compiled twice, because one build cannot hold two versions of the SDK with the same major number: into
//! the tests with the newest SDK, which speaks CBOR, and into `rust-json` with one that still speaks JSON.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_codeconnections as sdk;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use sdk::config::{BehaviorVersion, Region};
use sdk::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use sdk::operation::get_resource_sync_status::GetResourceSyncStatusOutput;
use sdk::primitives::DateTime;
use sdk::types::{
    BlockerStatus, BlockerType, ConnectionStatus, ProviderType, RepositorySyncStatus, ResourceSyncAttempt,
    ResourceSyncStatus, Revision, SyncConfigurationType, TriggerResourceUpdateOn,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SYNC_TYPE: SyncConfigurationType = SyncConfigurationType::CfnStackSync;
const REGION: &str = "us-east-1";
const POLL: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(180);
/// How far from now a time in an answer may be, in seconds: a wrong unit is further off.
const CLOSE_S: u64 = 24 * 3600;

/// Who calls, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Where Syncline listens, as `http://<address>`.
    pub(crate) endpoint: &'a str,
    /// The access key's id.
    pub(crate) key_id: &'a str,
    /// The access key's secret.
    pub(crate) secret: &'a str,
    /// The Git host's token.
    pub(crate) token: &'a str,
}

type Walked<T> = Result<T, String>;

/// Runs one command and answers what it saw.
///
/// # Errors
/// One line that says which answer is not what the API promises.
pub(crate) async fn run(caller: Caller<'_>, arguments: &[&str]) -> Walked<Value> {
    let Some((command, options)) = arguments.split_first() else { return Err("a command is missing".into()) };
    let mut pairs = BTreeMap::new();
    for pair in options.chunks(2) {
        let [name, value] = pair else { return Err(format!("{pair:?}: its value is missing")) };
        pairs.insert(*name, *value);
    }
    let walk = Walk { caller, client: client(caller), options: pairs };
    match *command {
        "setup" => walk.setup().await,
        "wait" => walk.wait().await,
        "teardown" => walk.teardown().await,
        other => Err(format!("{other}: unknown command")),
    }
}

fn client(caller: Caller<'_>) -> sdk::Client {
    let config = sdk::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        // Without TLS and proxies: everything is on loopback.
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new(caller.key_id, caller.secret, None, None, "the walk"))
        .region(Region::new(REGION))
        .endpoint_url(caller.endpoint)
        .build();
    sdk::Client::from_conf(config)
}

struct Walk<'a> {
    caller: Caller<'a>,
    client: sdk::Client,
    options: BTreeMap<&'a str, &'a str>,
}

impl Walk<'_> {
    fn option(&self, name: &str) -> Walked<&str> {
        self.options.get(name).copied().ok_or_else(|| format!("{name} is missing"))
    }

    fn state(&self) -> Walked<Value> {
        let path = self.option("--state")?;
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
    }

    async fn setup(&self) -> Walked<Value> {
        let client = &self.client;
        let name = self.option("--name")?;
        let provider_endpoint = self.option("--provider-endpoint")?;
        let git = ProviderType::from("Git");

        let host = client.create_host().name(name).provider_type(git.clone());
        let host = told("CreateHost", host.provider_endpoint(provider_endpoint).send().await)?;
        let host_arn = host.host_arn().ok_or("CreateHost answered no HostArn")?;
        let host = told("GetHost", client.get_host().host_arn(host_arn).send().await)?;
        check("the new host's name", host.name(), Some(name))?;
        check("the new host's status", host.status(), Some("PENDING"))?;
        check("the new host's type", host.provider_type(), Some(&git))?;
        check("the new host's endpoint", host.provider_endpoint(), Some(provider_endpoint))?;

        let made = client.create_connection().connection_name(name).host_arn(host_arn).send().await;
        let connection_arn = told("CreateConnection", made)?.connection_arn().to_owned();
        let connection = || async {
            let got = client.get_connection().connection_arn(&connection_arn).send().await;
            told("GetConnection", got)?.connection.ok_or_else(|| "GetConnection answered none".to_owned())
        };
        let new = connection().await?;
        check("the new connection's status", new.connection_status(), Some(&ConnectionStatus::Pending))?;
        check("the new connection's host", new.host_arn(), Some(host_arn))?;
        let (owner, repository) = (self.option("--owner")?, self.option("--repository")?);
        let link = client
            .create_repository_link()
            .connection_arn(&connection_arn)
            .owner_id(owner)
            .repository_name(repository);
        refused("CreateRepositoryLink", "InvalidInputException", link.clone().send().await, |error| {
            error.is_invalid_input_exception()
        })?;

        self.authorize(&connection_arn).await?;
        let status = connection().await?.connection_status;
        check("the authorized connection's status", status, Some(ConnectionStatus::Available))?;
        let connections = client.list_connections().host_arn_filter(host_arn).max_results(1);
        let pages = connections.into_paginator().send().collect::<Result<Vec<_>, _>>().await;
        let pages = told("ListConnections", pages)?;
        let listed = pages.iter().flat_map(|page| page.connections());
        let listed: Vec<_> = listed.map(|connection| connection.connection_arn()).collect();
        check("the listed connections", listed, vec![Some(connection_arn.as_str())])?;
        let pages = client.list_hosts().max_results(1).into_paginator().send();
        let pages = told("ListHosts", pages.collect::<Result<Vec<_>, _>>().await)?;
        let listed =
            pages.iter().flat_map(|page| page.hosts()).find(|host| host.host_arn() == Some(host_arn));
        check("the listed host's status", listed.and_then(|host| host.status()), Some("AVAILABLE"))?;

        let made = told("CreateRepositoryLink", link.clone().send().await)?.repository_link_info;
        let made = made.ok_or("CreateRepositoryLink answered none")?;
        let link_id = made.repository_link_id();
        let got =
            told("GetRepositoryLink", client.get_repository_link().repository_link_id(link_id).send().await)?;
        check("the new repository link", got.repository_link_info(), Some(&made))?;
        check("the repository link's type", made.provider_type(), &git)?;
        let links = told("ListRepositoryLinks", client.list_repository_links().send().await)?;
        let listed = links.repository_links().iter().find(|link| link.repository_link_id() == link_id);
        check("the listed repository link", listed, Some(&made))?;
        refused("CreateRepositoryLink", "ResourceAlreadyExistsException", link.send().await, |error| {
            error.is_resource_already_exists_exception()
        })?;

        let (branch, config_file) = (self.option("--branch")?, self.option("--config-file")?);
        let (stack, role_arn) = (self.option("--stack")?, self.option("--role-arn")?);
        let made = client
            .create_sync_configuration()
            .branch(branch)
            .config_file(config_file)
            .repository_link_id(link_id)
            .resource_name(stack)
            .role_arn(role_arn)
            .sync_type(SYNC_TYPE)
            .trigger_resource_update_on(TriggerResourceUpdateOn::FileChange)
            .send()
            .await;
        let made = told("CreateSyncConfiguration", made)?.sync_configuration;
        let made = made.ok_or("CreateSyncConfiguration answered none")?;
        check("the sync configuration's owner", made.owner_id(), owner)?;
        check("the sync configuration's repository", made.repository_name(), repository)?;
        check("the sync configuration's role", made.role_arn(), role_arn)?;
        let trigger = made.trigger_resource_update_on();
        check("the sync configuration's trigger", trigger, Some(&TriggerResourceUpdateOn::FileChange))?;
        let got = client.get_sync_configuration().sync_type(SYNC_TYPE).resource_name(stack).send().await;
        let got = told("GetSyncConfiguration", got)?.sync_configuration;
        check("the sync configuration", got.as_ref(), Some(&made))?;
        let listed = client.list_sync_configurations().repository_link_id(link_id).sync_type(SYNC_TYPE);
        let pages = listed.max_results(1).into_paginator().send();
        let pages = told("ListSyncConfigurations", pages.collect::<Result<Vec<_>, _>>().await)?;
        let listed: Vec<_> = pages.iter().flat_map(|page| page.sync_configurations()).collect();
        check("the listed sync configurations", listed, vec![&made])?;

        let state = json!({
            "host_arn": host_arn, "connection_arn": connection_arn, "repository_link_id": link_id,
            "owner": owner, "repository": repository, "branch": branch, "stack": stack,
            "config_file": config_file,
        });
        let path = self.option("--state")?;
        fs::write(path, state.to_string()).map_err(|error| format!("{path}: {error}"))?;
        Ok(state)
    }

    /// The handshake by token, the one step that has no AWS operation: a signed POST to the REST interface.
    async fn authorize(&self, connection_arn: &str) -> Walked<()> {
        let wrong = |error: &dyn Display| format!("authorize: {error}");
        let id = connection_arn.rsplit('/').next().unwrap_or_default();
        let url = format!("{}/api/v1/connections/{id}/authorize", self.caller.endpoint);
        let address = self.caller.endpoint.strip_prefix("http://").ok_or("the endpoint is not http://…")?;
        let body = json!({ "token": self.caller.token }).to_string();
        let identity =
            Credentials::new(self.caller.key_id, self.caller.secret, None, None, "the walk").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("codeconnections")
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(&error))?
            .into();
        let headers = [("host", address), ("content-type", "application/json")];
        let signable =
            SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| wrong(&error))?;
        let (instructions, _) = sign(signable, &parameters).map_err(|error| wrong(&error))?.into_parts();
        let mut request = format!(
            "POST /api/v1/connections/{id}/authorize HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        let answer = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = answer.await.map_err(|error| wrong(&error))?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            return Err(format!("authorize answered {answer}"));
        }
        Ok(())
    }

    async fn wait(&self) -> Walked<Value> {
        let state = self.state()?;
        let text = |name: &str| state[name].as_str().unwrap_or_default();
        let (stack, link_id, branch) = (text("stack"), text("repository_link_id"), text("branch"));
        let expect = ResourceSyncStatus::from(self.option("--expect")?);
        let synced = expect == ResourceSyncStatus::Succeeded;

        let status = self.ended(stack, self.option("--sha")?).await?;
        let latest = status.latest_sync().ok_or("LatestSync is missing")?;
        check(&format!("the status of {:?}", latest.events()), latest.status(), &expect)?;
        check("LatestSync.Target", latest.target(), stack)?;
        check_attempt("LatestSync", latest, &state)?;
        check("LatestSync.TargetRevision", latest.target_revision(), status.desired_state())?;
        let from = latest.initial_revision().map(Revision::sha);
        check("LatestSync.InitialRevision.Sha", from, Some(self.option("--initial-sha")?))?;
        let good = status.latest_successful_sync();
        if let Some(good) = good {
            check("LatestSuccessfulSync.Status", good.status(), &ResourceSyncStatus::Succeeded)?;
            check_attempt("LatestSuccessfulSync", good, &state)?;
        }
        if synced {
            check("LatestSuccessfulSync", good, Some(latest))?;
        }
        let last_good = good.and_then(ResourceSyncAttempt::target_revision).map(Revision::sha);
        check("LatestSuccessfulSync's commit", last_good, Some(self.option("--last-good-sha")?))?;

        let summary = self.client.get_sync_blocker_summary().sync_type(SYNC_TYPE).resource_name(stack);
        let summary = told("GetSyncBlockerSummary", summary.send().await)?.sync_blocker_summary;
        let summary = summary.ok_or("GetSyncBlockerSummary answered none")?;
        check("the blocker summary's resource", summary.resource_name(), stack)?;
        let mut active = Vec::new();
        for blocker in summary.latest_blockers() {
            check("a blocker's type", blocker.r#type(), &BlockerType::Automated)?;
            check("whether a blocker has a reason", blocker.created_reason().is_empty(), false)?;
            check_time("a blocker's CreatedAt", blocker.created_at())?;
            if *blocker.status() == BlockerStatus::Active {
                active.push(blocker.created_reason());
            }
        }
        check("whether a blocker is ACTIVE", !active.is_empty(), !synced)?;

        let repository = self.client.get_repository_sync_status().branch(branch).repository_link_id(link_id);
        let repository = told("GetRepositorySyncStatus", repository.sync_type(SYNC_TYPE).send().await)?;
        let repository = repository.latest_sync().ok_or("the repository sync's LatestSync is missing")?;
        check_time("the repository sync's StartedAt", repository.started_at())?;
        if synced {
            check("the repository sync's status", repository.status(), &RepositorySyncStatus::Succeeded)?;
        }
        let definitions = self.client.list_repository_sync_definitions().repository_link_id(link_id);
        let definitions =
            told("ListRepositorySyncDefinitions", definitions.sync_type(SYNC_TYPE).send().await)?;
        let definitions: Vec<_> = definitions
            .repository_sync_definitions()
            .iter()
            .map(|d| (d.branch(), d.directory(), d.parent(), d.target()))
            .collect();
        check("the sync definitions", definitions, vec![(branch, directory(&state), stack, stack)])?;
        let types: Vec<_> = latest.events().iter().map(|event| event.r#type()).collect();
        Ok(json!({ "status": expect.as_str(), "events": types, "reason": active.first().unwrap_or(&"") }))
    }

    /// Polls until the newest attempt has ended and is the one for this commit.
    async fn ended(&self, stack: &str, sha: &str) -> Walked<GetResourceSyncStatusOutput> {
        let start = Instant::now();
        loop {
            let request = self.client.get_resource_sync_status().sync_type(SYNC_TYPE).resource_name(stack);
            let seen = match request.send().await {
                Ok(status) => {
                    let latest = status.latest_sync().ok_or("LatestSync is missing")?;
                    let at = latest.target_revision().map(Revision::sha);
                    let ended =
                        [ResourceSyncStatus::Succeeded, ResourceSyncStatus::Failed].contains(latest.status());
                    // One that was given up for something newer says nothing about that.
                    let given_up = latest.events().last().is_some_and(|event| event.r#type() == "SUPERSEDED");
                    if ended && !given_up && at == Some(sha) {
                        return Ok(status);
                    }
                    format!("{latest:?}")
                }
                // There has been no attempt yet.
                Err(error)
                    if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) =>
                {
                    "no attempt".to_owned()
                }
                Err(error) => {
                    return Err(format!("GetResourceSyncStatus: {}", DisplayErrorContext(error)));
                }
            };
            if start.elapsed() > PATIENCE {
                return Err(format!(
                    "no sync of {sha} ended within {PATIENCE:?}; the last answer was {seen}"
                ));
            }
            pause().await;
        }
    }

    async fn teardown(&self) -> Walked<Value> {
        let state = self.state()?;
        let text = |name: &str| state[name].as_str().unwrap_or_default();
        let (stack, link_id) = (text("stack"), text("repository_link_id"));
        let (host_arn, connection_arn) = (text("host_arn"), text("connection_arn"));
        let client = &self.client;

        let link = client.delete_repository_link().repository_link_id(link_id);
        let still = "SyncConfigurationStillExistsException";
        refused("DeleteRepositoryLink", still, link.clone().send().await, |error| {
            error.is_sync_configuration_still_exists_exception()
        })?;
        let host = client.delete_host().host_arn(host_arn);
        refused("DeleteHost", "ResourceUnavailableException", host.clone().send().await, |error| {
            error.is_resource_unavailable_exception()
        })?;

        let gone = "ResourceNotFoundException";
        let sync = client.delete_sync_configuration().sync_type(SYNC_TYPE).resource_name(stack);
        told("DeleteSyncConfiguration", sync.clone().send().await)?;
        let got = client.get_resource_sync_status().sync_type(SYNC_TYPE).resource_name(stack).send().await;
        refused("GetResourceSyncStatus", gone, got, |error| error.is_resource_not_found_exception())?;
        // Again: there is nothing to delete, which is no error.
        told("DeleteSyncConfiguration", sync.send().await)?;
        told("DeleteRepositoryLink", link.send().await)?;
        let got = client.get_repository_link().repository_link_id(link_id).send().await;
        refused("GetRepositoryLink", gone, got, |error| error.is_resource_not_found_exception())?;
        told("DeleteConnection", client.delete_connection().connection_arn(connection_arn).send().await)?;
        let got = client.get_connection().connection_arn(connection_arn).send().await;
        refused("GetConnection", gone, got, |error| error.is_resource_not_found_exception())?;
        told("DeleteHost", host.send().await)?;
        let got = client.get_host().host_arn(host_arn).send().await;
        refused("GetHost", gone, got, |error| error.is_resource_not_found_exception())?;
        Ok(json!({ "deleted": [stack, link_id, connection_arn, host_arn] }))
    }
}

fn told<T, E, R>(operation: &str, answer: Result<T, SdkError<E, R>>) -> Walked<T>
where
    SdkError<E, R>: std::error::Error,
{
    answer.map_err(|error| format!("{operation}: {}", DisplayErrorContext(error)))
}

/// Expects the error, and that the SDK knows it as one of the operation's own.
fn refused<T, E, R>(
    operation: &str,
    code: &str,
    answer: Result<T, SdkError<E, R>>,
    is: impl FnOnce(&E) -> bool,
) -> Walked<()>
where
    E: ProvideErrorMetadata,
    SdkError<E, R>: std::error::Error,
{
    match answer {
        Ok(_) => Err(format!("{operation} answered where {code} is due")),
        Err(error) => match error.as_service_error() {
            Some(known) if is(known) && known.code() == Some(code) && known.message().is_some() => Ok(()),
            _ => Err(format!("{operation} where {code} is due: {}", DisplayErrorContext(error))),
        },
    }
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, actual: T, expect: T) -> Walked<()> {
    if actual == expect { Ok(()) } else { Err(format!("{what} is {actual:?}, not {expect:?}")) }
}

fn check_attempt(what: &str, attempt: &ResourceSyncAttempt, state: &Value) -> Walked<()> {
    check_time(&format!("{what}.StartedAt"), attempt.started_at())?;
    for (name, revision) in
        [("InitialRevision", attempt.initial_revision()), ("TargetRevision", attempt.target_revision())]
    {
        let revision = revision.ok_or_else(|| format!("{what}.{name} is missing"))?;
        let Revision { branch, directory: found, owner_id, repository_name, provider_type, sha, .. } =
            revision;
        let what = format!("{what}.{name}");
        check(&what, (json!(branch), json!(owner_id)), (state["branch"].clone(), state["owner"].clone()))?;
        check(&what, json!(repository_name), state["repository"].clone())?;
        check(&what, (found.as_str(), provider_type.as_str()), (directory(state), "Git"))?;
        check(&what, sha.len() == 40 && sha.chars().all(|c| c.is_ascii_hexdigit()), true)?;
    }
    check(&format!("whether {what} has no events"), attempt.events().is_empty(), false)?;
    for event in attempt.events() {
        check_time(&format!("the time of {event:?}"), event.time())?;
        check(
            &format!("whether {event:?} is told"),
            event.event().is_empty() || event.r#type().is_empty(),
            false,
        )?;
    }
    let in_order = attempt.events().is_sorted_by_key(|event| event.time().as_nanos());
    check(&format!("whether {what}.Events are in order"), in_order, true)
}

fn check_time(what: &str, time: &DateTime) -> Walked<()> {
    let now = now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    let distance = time.secs().abs_diff(i64::try_from(now.as_secs()).map_err(|error| error.to_string())?);
    if distance < CLOSE_S { Ok(()) } else { Err(format!("{what} is {time:?}, which is not today")) }
}

/// The directory of the state's deployment file.
fn directory(state: &Value) -> &str {
    let path = state["config_file"].as_str().unwrap_or_default();
    path.rsplit_once('/').map_or(".", |(directory, _)| directory)
}

#[expect(clippy::disallowed_methods, reason = "a client signs by its machine's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[expect(clippy::disallowed_methods, reason = "between two polls of a client, as in every script of a user")]
async fn pause() {
    tokio::time::sleep(POLL).await;
}
