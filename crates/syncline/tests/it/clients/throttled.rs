//! AWS's own clients come again when they are told to, and then get their answer.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::config::retry::RetryConfig;
use aws_sdk_codeconnections::config::timeout::TimeoutConfig;
use aws_sdk_codeconnections::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_async::time::TimeSource;
use axum::response::Response;
use syncline::config::{Config, Limits, RootKey};
use syncline::running::{self, Seams};
use syncline_seams::{CallError, Clock, Outside, SystemClock, VirtualClock};
use syncline_targets::AwsSource;
use syncline_testkit::peers::{self, Boto3};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;

use crate::serving::{ACCOUNT, KEY_ID, SECRET};

const COMMAND_LIMIT: Duration = Duration::from_secs(300);
const NEVER: Duration = Duration::from_secs(3600);

struct Server {
    endpoint: String,
    clock: Arc<VirtualClock>,
    _stop: watch::Sender<bool>,
    directory: TempDir,
}

impl Server {
    /// A server whose clock stands still, but whenever it throttles somebody moves on by just the time that it
    /// tells, if `moves` says so.
    async fn start(limits: Limits, moves: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A program of its own signs by the machine's clock.
        let clock = Arc::new(VirtualClock::starting_at(SystemClock.now_ms()));
        let mut config = Config::on_loopback(directory.path());
        config.root_account = Some(ACCOUNT.parse().expect("an account"));
        config.root_key =
            RootKey::Given { id: KEY_ID.to_owned(), secret: syncline_seams::Secret::new(SECRET) };
        config.limits = limits;
        let seams = Seams { clock: Arc::<VirtualClock>::clone(&clock), outside: Outside::default() };
        let aws = AwsSource::Fixed {
            endpoint_url: "http://127.0.0.1:9".to_owned(),
            access_key_id: "nobody".to_owned(),
            secret_access_key: syncline_seams::Secret::new("nobody"),
        };
        let parts = running::parts(&config, &seams, aws).await.expect("the parts fit");
        let time = Arc::clone(&clock);
        let pass = move |response: Response| {
            let told = response.headers().get("x-amz-retry-after").and_then(|value| value.to_str().ok());
            if let (true, Some(told)) = (moves, told) {
                time.advance_ms(told.parse().expect("milliseconds"));
            }
            std::future::ready(response)
        };
        let router = syncline::server::router(Arc::clone(&parts.front));
        let router = router.layer(axum::middleware::map_response(pass));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("the bound address"));
        let (stop, stopped) = watch::channel(false);
        running::serve(listener, router, Arc::clone(&parts.front.connections), stopped);
        Self { endpoint, clock, _stop: stop, directory }
    }

    fn rust_sdk(&self, retries: RetryConfig) -> (Client, Slept) {
        let slept = Slept { clock: Arc::clone(&self.clock), times: Arc::default() };
        let config = aws_sdk_codeconnections::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new(KEY_ID, SECRET, None, None, "the test"))
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .time_source(ServersTime(Arc::clone(&self.clock)))
            .sleep_impl(slept.clone())
            // These would wait on the same clock.
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(retries)
            .build();
        (Client::from_conf(config), slept)
    }
}

#[derive(Debug)]
struct ServersTime(Arc<VirtualClock>);

impl TimeSource for ServersTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.now_ms().unsigned_abs())
    }
}

/// How long the SDK wanted to wait, each time; the server's clock moves on by it.
#[derive(Debug, Clone)]
struct Slept {
    clock: Arc<VirtualClock>,
    times: Arc<Mutex<Vec<Duration>>>,
}

impl Slept {
    fn times(&self) -> Vec<Duration> {
        self.times.lock().expect("not poisoned").clone()
    }
}

impl AsyncSleep for Slept {
    fn sleep(&self, duration: Duration) -> Sleep {
        let slept = self.clone();
        Sleep::new(async move {
            slept.clock.advance_ms(i64::try_from(duration.as_millis()).expect("short"));
            slept.times.lock().expect("not poisoned").push(duration);
        })
    }
}

const ONE_A_SECOND: Limits =
    Limits { account_reads_per_second: 1, account_reads_burst: 1, ..Limits::unthrottled() };

#[tokio::test]
async fn the_rust_sdk_waits_as_long_as_it_is_told() {
    let server = Server::start(ONE_A_SECOND, false).await;
    let (client, slept) = server.rust_sdk(RetryConfig::standard());
    client.list_hosts().send().await.expect("the first");
    assert!(slept.times().is_empty());
    for calls in 1..=3 {
        client.list_repository_links().send().await.expect("one that is retried");
        // Its own backoff would be some random part of a second.
        assert_eq!(slept.times(), vec![Duration::from_secs(1); calls]);
    }
}

#[tokio::test]
async fn the_rust_sdk_reads_refusals_as_modelled_errors() {
    let server = Server::start(Limits { connections: 1, idle_time: NEVER, ..ONE_A_SECOND }, false).await;
    let (client, _) = server.rust_sdk(RetryConfig::disabled());
    client.list_repository_links().send().await.expect("the first");
    let throttled = client.list_repository_links().send().await.expect_err("the second");
    assert!(
        throttled.as_service_error().is_some_and(|error| error.is_throttling_exception()),
        "{throttled:?}"
    );

    // It has the only connection and keeps it, so that another client gets none.
    let (another, _) = server.rust_sdk(RetryConfig::disabled());
    let shed = another.list_repository_links().send().await.expect_err("one too many");
    assert!(shed.as_service_error().is_some_and(|error| error.is_internal_server_exception()), "{shed:?}");
    server.clock.advance_ms(1000);
    client.list_repository_links().send().await.expect("the first client's");
}

const TWICE_IN_EACH_MODE: &str = "
import os, boto3, botocore.config
attempts = []
for mode in ('legacy', 'standard'):
    config = botocore.config.Config(proxies={}, retries={'mode': mode})
    client = boto3.client('codeconnections', region_name='us-east-1', endpoint_url=os.environ['ENDPOINT'], config=config)
    for call in (client.list_hosts, client.list_repository_links):
        attempts.append(call()['ResponseMetadata']['RetryAttempts'])
print(attempts)
";

#[tokio::test]
async fn boto3_comes_again_and_gets_its_answer() {
    for boto3 in [Boto3::V1_43, Boto3::V1_44] {
        let Some(python) = peers::python(boto3) else { continue };
        let server = Server::start(ONE_A_SECOND, true).await;
        let output = Command::new(python)
            .args(["-c", TWICE_IN_EACH_MODE])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", server.directory.path())
            .env("ENDPOINT", &server.endpoint)
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let outside = Outside::default();
        let ran = outside.call("tests.run_client", COMMAND_LIMIT, async { Ok::<_, CallError>(output.await) });
        let output = ran.await.expect("it ends").expect("it runs");
        let [told, complaint] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert_eq!(told.trim(), "[0, 1, 1, 1]", "{boto3:?}: {complaint}");
    }
}
