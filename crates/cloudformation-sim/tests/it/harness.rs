//! A simulator on a virtual clock, and AWS SDK clients that talk to it over HTTP.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_cloudformation::config::retry::RetryConfig;
use aws_sdk_cloudformation::config::timeout::TimeoutConfig;
use aws_sdk_cloudformation::config::{BehaviorVersion, Region};
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::operation::create_change_set::builders::CreateChangeSetFluentBuilder;
use aws_sdk_cloudformation::types::{Change, ChangeSetType, OnStackFailure, Parameter};
use aws_sdk_cloudformation::{Client, operation::describe_change_set::DescribeChangeSetOutput};
use syncline_cloudformation_sim::{Settings, Simulator, StackView};
use syncline_seams::VirtualClock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const REGION: &str = "eu-west-1";

/// One topic: the least a template can be.
pub(crate) const TOPIC: &str = "Resources: {Topic: {Type: 'AWS::SNS::Topic'}}";

/// A topic and a queue that waits for it.
pub(crate) const TWO: &str = "
Resources:
  Topic:
    Type: AWS::SNS::Topic
  Queue:
    Type: AWS::SQS::Queue
    DependsOn: Topic
";

/// An error's code and message.
pub(crate) type Refused = (String, String);

pub(crate) struct World {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) simulator: Simulator,
    pub(crate) cloudformation: Client,
    pub(crate) url: String,
    server: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl World {
    /// Everything happens at once.
    pub(crate) async fn instant() -> Self {
        Self::with(Settings::instant()).await
    }

    /// Creating, updating and deleting a resource take 100 ms each, a change set 40 ms.
    pub(crate) async fn slow() -> Self {
        let latency = Duration::from_millis(100);
        Self::with(Settings {
            change_set_latency: Duration::from_millis(40),
            create_latency: latency,
            update_latency: latency,
            delete_latency: latency,
            ..Settings::default()
        })
        .await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(1_795_407_300_000));
        let simulator = Simulator::new(clock.clone(), settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let serving = simulator.clone();
        let server =
            tokio::spawn(async move { serving.serve(listener).await.expect("serving does not end") });
        let keys = Credentials::from_keys("AKIDEXAMPLE", "secret", None);
        let cloudformation = client(&url, REGION, keys);
        Self { clock, simulator, cloudformation, url, server }
    }

    /// A CreateChangeSet that only has to be sent.
    pub(crate) fn change_set(&self, stack: &str, name: &str, template: &str) -> CreateChangeSetFluentBuilder {
        let fresh = self
            .simulator
            .stack(ACCOUNT, REGION, stack)
            .is_none_or(|stack| matches!(stack.status.as_str(), "REVIEW_IN_PROGRESS" | "DELETE_COMPLETE"));
        let kind = if fresh { ChangeSetType::Create } else { ChangeSetType::Update };
        self.cloudformation
            .create_change_set()
            .stack_name(stack)
            .change_set_name(name)
            .change_set_type(kind)
            .template_body(template)
    }

    /// Creates a change set and executes it; the template's parameters are given as pairs.
    pub(crate) async fn deploy(&self, stack: &str, name: &str, template: &str, parameters: &[(&str, &str)]) {
        let mut request = self.change_set(stack, name, template);
        for (key, value) in parameters {
            request =
                request.parameters(Parameter::builder().parameter_key(*key).parameter_value(*value).build());
        }
        request.send().await.expect("the change set is accepted");
        self.clock.advance_ms(40);
        self.execute(stack, name).await.expect("the execution is accepted");
    }

    /// Like [`World::deploy`], without a moment passing.
    pub(crate) async fn execute_now(&self, stack: &str, name: &str, template: &str) {
        self.change_set(stack, name, template).send().await.expect("the change set is accepted");
        self.execute(stack, name).await.expect("the execution is accepted");
    }

    /// Like [`World::deploy`] of a new stack, with what follows a failure.
    pub(crate) async fn create_with(&self, stack: &str, template: &str, on_failure: OnStackFailure) {
        let request = self.change_set(stack, "create", template).on_stack_failure(on_failure);
        request.send().await.expect("the change set is accepted");
        self.clock.advance_ms(40);
        self.execute(stack, "create").await.expect("the execution is accepted");
    }

    /// ExecuteChangeSet with the token `<change set>-token`.
    pub(crate) async fn execute(&self, stack: &str, change_set: &str) -> Result<(), Refused> {
        let request = self
            .cloudformation
            .execute_change_set()
            .stack_name(stack)
            .change_set_name(change_set)
            .client_request_token(format!("{change_set}-token"));
        request.send().await.map(|_| ()).map_err(refused)
    }

    pub(crate) async fn describe(
        &self,
        stack: &str,
        change_set: &str,
    ) -> Result<DescribeChangeSetOutput, Refused> {
        let request = self.cloudformation.describe_change_set().stack_name(stack).change_set_name(change_set);
        request.send().await.map_err(refused)
    }

    /// The changes of a change set, a line each: action, logical id, replacement.
    pub(crate) async fn changes(&self, stack: &str, change_set: &str) -> Vec<String> {
        let output = self.describe(stack, change_set).await.expect("the change set is there");
        let line = |change: &Change| {
            let change = change.resource_change().expect("changes are of resources");
            let mut line = format!(
                "{} {}",
                change.action().expect("an action"),
                change.logical_resource_id().expect("a logical id")
            );
            if let Some(replacement) = change.replacement() {
                line.push_str(&format!(" replace:{replacement}"));
            }
            line
        };
        output.changes().iter().map(line).collect()
    }

    pub(crate) fn stack(&self, name: &str) -> StackView {
        self.simulator.stack(ACCOUNT, REGION, name).expect("the stack is there")
    }

    /// The stack's events, oldest first, a line each, without those before the `from`th.
    pub(crate) fn events(&self, stack: &str, from: usize) -> Vec<String> {
        let line = |event: &syncline_cloudformation_sim::EventView| match &event.reason {
            Some(reason) => format!("{} {} ({})", event.logical_id, event.status, reason.trim_end()),
            None => format!("{} {}", event.logical_id, event.status),
        };
        self.stack(stack).events.iter().skip(from).map(line).collect()
    }
}

pub(crate) fn client(url: &str, region: &str, keys: Credentials) -> Client {
    let config = aws_sdk_cloudformation::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(url)
        .credentials_provider(keys)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(30)).build())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

pub(crate) fn sts(url: &str, region: &str, keys: Credentials) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .region(aws_sdk_sts::config::Region::new(region.to_owned()))
        .endpoint_url(url)
        .credentials_provider(keys)
        .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_sts::Client::from_conf(config)
}

/// The code and message of an error answer.
pub(crate) fn refused<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    error: SdkError<E, R>,
) -> Refused {
    match &error {
        SdkError::ServiceError(context) => (
            context.err().code().unwrap_or_default().to_owned(),
            context.err().message().unwrap_or_default().to_owned(),
        ),
        other => panic!("not an answer of the service: {other:?}"),
    }
}
