//! How the AWS SDK is set up, and what its errors say.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudformation::config::http::HttpResponse;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use syncline_seams::Clock;

use super::bounded::Bounded;
use super::proxy::Proxy;
use super::{AwsSource, Settings};
use crate::classify::Failure;

/// Signs requests by the clock of everything else, so that virtual time holds here too.
#[derive(Debug)]
struct SigningTime(Arc<dyn Clock>);

impl TimeSource for SigningTime {
    fn now(&self) -> SystemTime {
        let ms = self.0.now_ms();
        let distance = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

/// The SDK as Syncline uses it: no retries, because the worker retries, and no timeouts but for connecting,
/// because [`syncline_seams::Outside`] bounds each call. Reads the environment and profiles if `source` says
/// so, and calls nobody.
pub(super) async fn load(source: &AwsSource, clock: Arc<dyn Clock>, settings: &Settings) -> SdkConfig {
    let http = Bounded(client(settings.proxy.as_ref()));
    let retries = RetryConfig::disabled();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .disable_read_timeout()
        .disable_operation_timeout()
        .disable_operation_attempt_timeout()
        .build();
    let stalled_streams = StalledStreamProtectionConfig::disabled();
    let time = SigningTime(clock);
    let version = BehaviorVersion::v2026_01_12();
    match source {
        AwsSource::Chain => {
            // The SDK's own chain of regions ends by asking the instance metadata service, which takes
            // seconds where there is none, at every start.
            let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .region()
                .await;
            // Without any, the chain of credentials would ask there again.
            let of_credentials = region.clone().unwrap_or_else(|| Region::from_static("us-east-1"));
            aws_config::defaults(version)
                .http_client(http)
                .retry_config(retries)
                .timeout_config(timeouts)
                .stalled_stream_protection(stalled_streams)
                .time_source(time)
                .region(of_credentials)
                .load()
                .await
                .into_builder()
                .region(region)
                .build()
        }
        AwsSource::Fixed { endpoint_url, access_key_id, secret_access_key } => {
            let key = Credentials::new(access_key_id, secret_access_key.expose(), None, None, "syncline");
            SdkConfig::builder()
                .behavior_version(version)
                .http_client(http)
                .retry_config(retries)
                .timeout_config(timeouts)
                .stalled_stream_protection(stalled_streams)
                .time_source(time)
                .sleep_impl(TokioSleep::new())
                .endpoint_url(endpoint_url)
                .credentials_provider(SharedCredentialsProvider::new(key))
                .build()
        }
    }
}

/// The SDK's HTTP client. It ignores the proxy variables of the environment unless it is told to read them.
fn client(proxy: Option<&Proxy>) -> SharedHttpClient {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let builder = aws_smithy_http_client::Builder::new();
    let Some(proxy) = proxy.cloned() else { return builder.tls_provider(tls).build_https() };
    builder.build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.tls_provider(tls.clone()).proxy_config(proxy.config()).build()
    })
}

/// What a failed SDK call says. `whereabouts` names the other side, for messages about reaching it.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>, whereabouts: &str) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(credentials) = find::<CredentialsError>(error) {
        let message =
            format!("there are no AWS credentials to call {whereabouts} with: {}", chain(credentials));
        return Failure::NoAnswer { code: "NoCredentials", message };
    }
    let malformed = |why: String| Failure::NoAnswer {
        code: "MalformedAnswer",
        message: format!("{whereabouts} gave an answer that cannot be read: {why}"),
    };
    match error {
        SdkError::ServiceError(service) => {
            let response = service.raw();
            let status = response.status().as_u16();
            if response.status().is_success() {
                return malformed(chain(service.err()));
            }
            let retry_after_s =
                response.headers().get("retry-after").and_then(|v| v.trim().parse::<i64>().ok());
            Failure::Answered {
                status,
                code: service.err().code().map(str::to_owned),
                message: service.err().message().map(str::to_owned).or_else(|| {
                    let no_code = service.err().code().is_none();
                    no_code.then(|| format!("{whereabouts} answered without an AWS error code"))
                }),
                retry_after_ms: retry_after_s.map(|s| s.saturating_mul(1_000)),
            }
        }
        SdkError::ResponseError(_) => malformed(chain(error)),
        _ => Failure::NoAnswer {
            code: "NoConnection",
            message: format!("cannot reach {whereabouts}: {}", chain(error)),
        },
    }
}

fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and its causes, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
