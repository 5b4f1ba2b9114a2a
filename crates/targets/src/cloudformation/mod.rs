//! CloudFormation through the AWS SDK.

mod answers;
mod bounded;
mod bus;
mod guarded;
mod identity;
mod listings;
mod proxy;
mod sdk;
mod sessions;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::Region as SdkRegion;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::config::IdentityCache;
use aws_sdk_cloudformation::config::http::HttpResponse;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::types::{
    Capability, ChangeSetType, OnStackFailure, Parameter, Tag, TemplateStage,
};
use syncline_model::names::Region;
use syncline_seams::{Clock, Outside, Secret};

use self::guarded::{Guard, Guarded};
use self::identity::Identity;
pub use self::listings::{Listed, Listings};
pub use self::proxy::{InvalidProxy, Proxy};
use self::sessions::{Session, Sessions};
use crate::classify::{Operation, classify, rejects_credentials};
use crate::events::Gathering;
use crate::{
    Access, Answer, CallerIdentity, ChangeSet, ChangeSetKind, ChangeSetRef, ChangeSetRequest, Declared,
    Execution, InProgress, Stack, StackEvent, StackStatus, Target, TargetError,
};

/// The most pages of a stack's events that one call reads.
const MAX_EVENT_PAGES: usize = 20;

/// The most pages of one change set: far above what 500 resources (CloudFormation's quota) fill.
const MAX_CHANGE_PAGES: usize = 100;

/// The most pages of stacks in progress: 10,000 stacks. Those beyond are described one by one.
const MAX_LIST_PAGES: usize = 100;

/// The most clients that are kept.
const MAX_CLIENTS: usize = 1_000;

/// The statuses of stacks that are being changed. One under review is not.
const IN_PROGRESS: [StackStatus; 9] = [
    StackStatus::CreateInProgress,
    StackStatus::RollbackInProgress,
    StackStatus::DeleteInProgress,
    StackStatus::UpdateInProgress,
    StackStatus::UpdateCompleteCleanupInProgress,
    StackStatus::UpdateRollbackInProgress,
    StackStatus::UpdateRollbackCompleteCleanupInProgress,
    StackStatus::ImportInProgress,
    StackStatus::ImportRollbackInProgress,
];

/// Where AWS is and who we are there.
#[derive(Clone)]
pub enum AwsSource {
    /// The standard AWS chain: environment, profiles, web identity, container and instance credentials, and
    /// the `AWS_ENDPOINT_URL…` variables.
    Chain,
    /// One endpoint for everything and a key of our own: the simulator, and tests.
    Fixed {
        /// The endpoint of CloudFormation and STS in every region.
        endpoint_url: String,
        /// The access key's id.
        access_key_id: String,
        /// The access key's secret.
        secret_access_key: Secret,
    },
}

impl fmt::Debug for AwsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => f.write_str("Chain"),
            Self::Fixed { endpoint_url, .. } => f
                .debug_struct("Fixed")
                .field("endpoint_url", &without_userinfo(endpoint_url))
                .finish_non_exhaustive(),
        }
    }
}

/// The bounds of calls.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest a call may take, from resolving credentials to the last byte of the answer.
    pub call_timeout: Duration,
    /// The longest that opening a connection may take.
    pub connect_timeout: Duration,
    /// The HTTP proxy that AWS is called through.
    pub proxy: Option<Proxy>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { call_timeout: Duration::from_secs(30), connect_timeout: Duration::from_secs(5), proxy: None }
    }
}

/// Clients by their session, which is told apart by its access key and token, and their region.
type Clients = Mutex<HashMap<(String, String, Region), Guarded<Client>>>;

/// The real CloudFormation, or whatever speaks like it at the endpoint given.
pub struct CloudFormation {
    config: aws_sdk_cloudformation::Config,
    events: aws_sdk_eventbridge::Config,
    sts: Guarded<aws_sdk_sts::Client>,
    home: Option<SdkRegion>,
    /// The endpoint if it is not AWS's own, for messages.
    endpoint: Option<String>,
    identity: Identity,
    sessions: Sessions,
    clients: Clients,
    listings: Listings,
    guard: Guard,
    settings: Settings,
}

// The SDK's own forms are pages long, and name our access key.
impl fmt::Debug for CloudFormation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudFormation")
            .field("endpoint", &self.endpoint)
            .field("home", &self.home)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl CloudFormation {
    /// Sets the SDK up. Calls nobody: credentials are looked for with the first call that needs them.
    pub async fn new(source: AwsSource, outside: Outside, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let sdk = sdk::load(&source, Arc::clone(&clock), &settings).await;
        let guard = Guard::new(outside, settings.call_timeout);
        let sts = guard.sts(&sdk);
        let home = sdk.region().cloned();
        let identity = Identity::new(Arc::clone(&clock));
        let listings = Listings::new(Arc::clone(&clock));
        let sessions = Sessions::new(sts.clone(), home.clone(), clock);
        // Each client is made for one session, whose credentials need no second cache.
        let config = aws_sdk_cloudformation::config::Builder::from(&sdk)
            .identity_cache(IdentityCache::no_cache())
            .build();
        let events = aws_sdk_eventbridge::config::Builder::from(&sdk)
            .identity_cache(IdentityCache::no_cache())
            .build();
        let endpoint = sdk.endpoint_url().map(without_userinfo);
        let clients = Clients::default();
        Self { config, events, sts, home, endpoint, identity, sessions, clients, listings, guard, settings }
    }

    /// Who we are to AWS before assuming a role: whom a role's trust policy must name.
    ///
    /// # Errors
    /// `Unavailable` without credentials or connection.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, TargetError> {
        let region = self.home.clone().unwrap_or_else(|| SdkRegion::from_static("us-east-1"));
        let whereabouts = self.whereabouts("STS", region.as_ref());
        let operation = Operation::GetCallerIdentity;
        let call = async |sts: aws_sdk_sts::Client| {
            sts.get_caller_identity()
                .customize()
                .config_override(aws_sdk_sts::Config::builder().region(region))
                .send()
                .await
                .map_err(|e| classify(operation, sdk::failure(&e, &whereabouts), None))
        };
        let answer = self.sts.call(operation, call).await?;
        let account = answer.account().and_then(|account| account.parse().ok());
        match (account, answer.arn()) {
            (Some(account), Some(arn)) => Ok(CallerIdentity { account, arn: arn.to_owned() }),
            _ => Err(answers::missing("GetCallerIdentity", "Account and Arn")),
        }
    }

    async fn session(&self, access: &Access) -> Result<Session, TargetError> {
        let region = self.home.as_ref().map_or(access.region.as_str(), AsRef::as_ref);
        self.sessions.session(access, &self.whereabouts("STS", region)).await
    }

    /// Makes one call as the role. A session that is refused is forgotten, so that the caller's next try
    /// assumes the role again.
    async fn call<T, E, F>(
        &self,
        access: &Access,
        operation: Operation,
        send: impl FnOnce(Client) -> F,
    ) -> Result<T, TargetError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let session = self.session(access).await?;
        let client = self.client(&session, &access.region);
        let call = async |client| {
            send(client).await.map_err(|error| {
                let whereabouts = self.whereabouts("CloudFormation", access.region.as_str());
                classify(operation, sdk::failure(&error, &whereabouts), None)
            })
        };
        let answer = client.call(operation, call).await;
        if answer.as_ref().is_err_and(rejects_credentials) {
            self.sessions.forget(access, &session).await;
        }
        answer
    }

    /// Every stack in progress that the role may list.
    async fn list_in_progress(&self, access: &Access) -> Result<Listed, TargetError> {
        let mut listed = HashMap::new();
        let mut next = None;
        for _ in 0..MAX_LIST_PAGES {
            let page = self
                .call(access, Operation::ListStacks, |client| {
                    let filter = IN_PROGRESS.iter().map(|status| status.as_str().into()).collect();
                    let call = client.list_stacks().set_stack_status_filter(Some(filter));
                    call.set_next_token(next.take()).send()
                })
                .await?;
            listed.extend(page.stack_summaries().iter().filter_map(answers::in_progress));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(Arc::new(listed))
    }

    /// A change set with all its changes, and with their values if those are asked for.
    async fn change_set(
        &self,
        access: &Access,
        stack: &str,
        name_or_arn: &str,
        with_values: bool,
    ) -> Result<ChangeSet, TargetError> {
        let mut changes = Vec::new();
        let mut next = None;
        for _ in 0..MAX_CHANGE_PAGES {
            let page = self
                .call(access, Operation::DescribeChangeSet, |client| {
                    let call = client.describe_change_set().stack_name(stack).change_set_name(name_or_arn);
                    let call = call.set_include_property_values(with_values.then_some(true));
                    call.set_next_token(next.take()).send()
                })
                .await?;
            changes.extend(page.changes().iter().filter_map(answers::change));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return answers::change_set(&page, changes);
            }
        }
        Err(TargetError::unavailable(
            "TooManyPages",
            format!("change set {name_or_arn} did not end within {MAX_CHANGE_PAGES} pages"),
        ))
    }

    /// The client of a session in a region, made once: the SDK puts a client together from hundreds of parts.
    fn client(&self, session: &Session, region: &Region) -> Guarded<Client> {
        let credentials = &session.credentials;
        let token = credentials.session_token().unwrap_or_default().to_owned();
        let key = (credentials.access_key_id().to_owned(), token, region.clone());
        let clients = || self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients().get(&key) {
            return client.clone();
        }
        let config = self
            .config
            .to_builder()
            .region(SdkRegion::new(region.to_string()))
            .credentials_provider(session.credentials.clone())
            .build();
        let client = self.guard.cloudformation(config);
        let mut clients = clients();
        // Those of sessions that have ended are never asked for again.
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        client
    }

    fn whereabouts(&self, service: &str, region: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{service} in {region} at {endpoint}"),
            None => format!("{service} in {region}"),
        }
    }
}

impl Target for CloudFormation {
    fn principal(&self) -> Answer<'_, String> {
        let ask = async { Ok(self.caller_identity().await?.principal_arn()) };
        Box::pin(self.identity.or_ask(ask))
    }

    fn describe_stack<'a>(&'a self, access: &'a Access, stack: &'a str) -> Answer<'a, Option<Stack>> {
        Box::pin(async move {
            let answer = self
                .call(access, Operation::DescribeStacks, |client| {
                    client.describe_stacks().stack_name(stack).send()
                })
                .await;
            match answer {
                Ok(answer) => answers::stack(&answer),
                Err(TargetError::NotFound) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn in_progress<'a>(
        &'a self,
        access: &'a Access,
        stack_id: &'a str,
        asked_ms: i64,
    ) -> Answer<'a, Option<InProgress>> {
        Box::pin(async move {
            let listed = self.listings.since(access, asked_ms, self.list_in_progress(access)).await?;
            Ok(listed.get(stack_id).cloned())
        })
    }

    fn create_change_set<'a>(
        &'a self,
        access: &'a Access,
        request: &'a ChangeSetRequest,
    ) -> Answer<'a, ChangeSetRef> {
        Box::pin(async move {
            let (kind, on_failure) = match request.kind {
                ChangeSetKind::Create => (ChangeSetType::Create, Some(OnStackFailure::Delete)),
                ChangeSetKind::Update => (ChangeSetType::Update, None),
            };
            let parameters = request
                .parameters
                .iter()
                .map(|(name, value)| Parameter::builder().parameter_key(name).parameter_value(value).build());
            let tag = |(key, value): &(String, String)| Tag::builder().key(key).value(value).build();
            let answer = self
                .call(access, Operation::CreateChangeSet, |client| {
                    client
                        .create_change_set()
                        .stack_name(&request.stack)
                        .change_set_name(&request.name)
                        .client_token(&request.token)
                        .change_set_type(kind)
                        .set_on_stack_failure(on_failure)
                        .include_nested_stacks(false)
                        .capabilities(Capability::CapabilityIam)
                        .capabilities(Capability::CapabilityNamedIam)
                        .capabilities(Capability::CapabilityAutoExpand)
                        .template_body(&*request.template_body)
                        .set_parameters((!request.parameters.is_empty()).then(|| parameters.collect()))
                        .set_tags(request.tags.as_ref().map(|tags| tags.iter().map(tag).collect()))
                        .send()
                })
                .await?;
            match (answer.id, answer.stack_id) {
                (Some(change_set_arn), Some(stack_id)) => Ok(ChangeSetRef { change_set_arn, stack_id }),
                _ => Err(answers::missing("CreateChangeSet", "Id and StackId")),
            }
        })
    }

    fn describe_change_set<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ChangeSet> {
        Box::pin(self.change_set(access, stack, name_or_arn, false))
    }

    fn describe_changes<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ChangeSet> {
        Box::pin(self.change_set(access, stack, name_or_arn, true))
    }

    fn declared<'a>(&'a self, access: &'a Access, stack: &'a str) -> Answer<'a, Declared> {
        Box::pin(async move {
            let template = self
                .call(access, Operation::GetTemplate, |client| {
                    client.get_template().stack_name(stack).template_stage(TemplateStage::Original).send()
                })
                .await?;
            let stacks = self
                .call(access, Operation::DescribeStacks, |client| {
                    client.describe_stacks().stack_name(stack).send()
                })
                .await?;
            let Some(template) = template.template_body else {
                return Err(answers::missing("GetTemplate", "TemplateBody"));
            };
            Ok(Declared { template, parameters: answers::parameters(&stacks) })
        })
    }

    fn delete_change_set<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let answer = self
                .call(access, Operation::DeleteChangeSet, |client| {
                    client.delete_change_set().stack_name(stack).change_set_name(name_or_arn).send()
                })
                .await;
            match answer {
                Ok(_) | Err(TargetError::NotFound) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn execute_change_set<'a>(
        &'a self,
        access: &'a Access,
        change_set: &'a ChangeSetRef,
        token: &'a str,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            self.call(access, Operation::ExecuteChangeSet, |client| {
                client
                    .execute_change_set()
                    .change_set_name(&change_set.change_set_arn)
                    .stack_name(&change_set.stack_id)
                    .client_request_token(token)
                    .send()
            })
            .await?;
            Ok(())
        })
    }

    fn stack_events<'a>(
        &'a self,
        access: &'a Access,
        stack_id: &'a str,
        since: Option<&'a str>,
        of: Option<Execution<'a>>,
    ) -> Answer<'a, Vec<StackEvent>> {
        Box::pin(async move {
            let mut events = Gathering::new(stack_id, since, of);
            let mut next = None;
            'pages: for _ in 0..MAX_EVENT_PAGES {
                let page = self
                    .call(access, Operation::DescribeStackEvents, |client| {
                        client.describe_stack_events().stack_name(stack_id).set_next_token(next.take()).send()
                    })
                    .await?;
                for event in page.stack_events().iter().filter_map(answers::event) {
                    if !events.take(event) {
                        break 'pages;
                    }
                }
                next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                if next.is_none() {
                    break;
                }
            }
            Ok(events.gathered())
        })
    }
}

/// The URL without a user's name and password, which have no place in a message.
fn without_userinfo(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_named_without_its_password() {
        let check = |url: &str, expect: &str| assert_eq!(without_userinfo(url), expect);
        check("http://me:secret@127.0.0.1:5000/x@y", "http://127.0.0.1:5000/x@y");
        check("http://127.0.0.1:5000", "http://127.0.0.1:5000");
        check("nonsense", "nonsense");
    }

    #[test]
    fn a_source_does_not_print_its_secret() {
        let source = AwsSource::Fixed {
            endpoint_url: "http://127.0.0.1:1".to_owned(),
            access_key_id: "AKIACANARY".to_owned(),
            secret_access_key: Secret::new("canary"),
        };
        let printed = format!("{source:?}").to_lowercase();
        assert!(printed.contains("127.0.0.1") && !printed.contains("canary"), "{printed}");
    }
}
