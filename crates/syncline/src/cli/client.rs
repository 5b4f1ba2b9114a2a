//! The command line's client of a running server: whom it calls, with which key, and what it is told.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use aws_config::BehaviorVersion;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_types::body::SdkBody;
use clap::Args;
use http::{Method, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use syncline_seams::{CallError, Clock, Outside, Secret};
use thiserror::Error;

use crate::running::{Seams, read_credentials};

/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long credentials may take to be found: a profile may run a program or assume a role.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer, in bytes: every sync of an account with all its events is well below.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// What requests are signed for.
const SERVICE: &str = "codeconnections";

/// Which server is called, with which key. The environment is read here by clap.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server and key")]
pub(super) struct ServerArgs {
    /// Where the server is.
    #[arg(
        long,
        env = "SYNCLINE_ENDPOINT",
        value_name = "URL",
        default_value = "http://127.0.0.1:7962",
        value_parser = parse_endpoint
    )]
    endpoint: String,
    /// The region of the resources; else AWS_DEFAULT_REGION's, else us-east-1.
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    region: Option<String>,
    /// The region, where AWS_REGION is not set.
    #[arg(long, env = "AWS_DEFAULT_REGION", hide = true)]
    aws_default_region: Option<String>,
    /// Take the key from this profile of the AWS configuration files.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The server's data directory; its file `credentials`, if there is one, holds a key.
    #[arg(long, env = "SYNCLINE_DATA_DIR", value_name = "DIR", default_value = "syncline-data")]
    data_dir: PathBuf,
    /// The key's id; it and its secret come before every other source.
    #[arg(long, env = "SYNCLINE_ACCESS_KEY_ID", hide = true)]
    access_key_id: Option<String>,
    /// The key's secret.
    #[arg(long, env = "SYNCLINE_SECRET_ACCESS_KEY", hide = true, hide_env_values = true)]
    secret_access_key: Option<Secret>,
    /// The session token of a temporary key.
    #[arg(long, env = "SYNCLINE_SESSION_TOKEN", hide = true, hide_env_values = true)]
    session_token: Option<Secret>,
}

/// Says where each command takes its key from, at the end of its help.
pub(super) const KEY_HELP: &str = "\
The key is the first found of: SYNCLINE_ACCESS_KEY_ID and SYNCLINE_SECRET_ACCESS_KEY; --profile; the data \
directory's; what AWS's own tools would use.";

impl ServerArgs {
    /// The client of that server.
    ///
    /// # Errors
    /// No key, or half of one; the message says where it was looked for.
    pub(super) async fn client(&self, seams: &Seams) -> anyhow::Result<Client> {
        let (credentials, source) = self.credentials(&seams.outside).await?;
        Ok(Client::new(&self.endpoint, &self.region(), credentials, source, seams))
    }

    fn region(&self) -> String {
        let region = set(&self.region).or_else(|| set(&self.aws_default_region));
        region.unwrap_or("us-east-1").to_owned()
    }

    async fn credentials(&self, outside: &Outside) -> anyhow::Result<(Credentials, String)> {
        match (set(&self.access_key_id), set_secret(&self.secret_access_key)) {
            (Some(id), Some(secret)) => {
                let token = set_secret(&self.session_token).map(|token| token.expose().clone());
                return Ok((key(id, secret, token), "SYNCLINE_ACCESS_KEY_ID".to_owned()));
            }
            (None, None) => {}
            _ => bail!(
                "SYNCLINE_ACCESS_KEY_ID and SYNCLINE_SECRET_ACCESS_KEY must be set together or not at all"
            ),
        }
        // This client ignores the proxy variables of the environment unless it is told to read them.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let region = aws_config::Region::new(self.region());
        if let Some(profile) = &self.profile {
            let config = ProviderConfig::without_region().with_http_client(http).with_region(Some(region));
            let provider =
                ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile).build();
            let found = provided(outside, &provider).await;
            return Ok((
                found.with_context(|| {
                    format!("--profile {profile} gives no key; is it in AWS's credentials or config file?")
                })?,
                format!("profile {profile}"),
            ));
        }
        let file = self.data_dir.join("credentials");
        if let Some((id, secret)) = read_credentials(&file)? {
            return Ok((key(&id, &secret, None), file.display().to_string()));
        }
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(region)
            .load()
            .await;
        let nothing = || {
            format!(
                "there is no key to sign with: SYNCLINE_ACCESS_KEY_ID and --profile are not given, {} does not exist \
                 (say where the server's data directory is with --data-dir), and AWS's own sources have none",
                file.display()
            )
        };
        let chain = config.credentials_provider().with_context(nothing)?;
        let found = provided(outside, &chain).await.with_context(nothing)?;
        Ok((found, "the AWS environment, files and roles".to_owned()))
    }
}

/// A variable that is there but empty is not set.
fn set(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

fn set_secret(value: &Option<Secret>) -> Option<&Secret> {
    value.as_ref().filter(|value| !value.expose().is_empty())
}

fn key(id: &str, secret: &Secret, session_token: Option<String>) -> Credentials {
    Credentials::new(id, secret.expose(), session_token, None, "syncline")
}

async fn provided(outside: &Outside, provider: &impl ProvideCredentials) -> anyhow::Result<Credentials> {
    let answer =
        async { provider.provide_credentials().await.map_err(|error| anyhow::anyhow!(chain(&error))) };
    outside.call("cli.credentials", CREDENTIALS_TIMEOUT, answer).await
}

/// The error and its causes, each said once.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said.push_str(": ");
            said.push_str(&text);
        }
        next = cause.source();
    }
    said
}

/// A base URL without its last slash: scheme and authority, and a path where a proxy adds one.
fn parse_endpoint(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err("it must be like http://127.0.0.1:7962".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Why a call of the server has no good answer.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// Nobody answers there: trying again later may help.
    #[error("cannot reach {endpoint}: {why}; is `syncline serve` running there?")]
    Unreachable {
        /// The server's URL.
        endpoint: String,
        /// What the network says.
        why: String,
    },
    /// The server does not accept the key.
    #[error("{message} ({code}); the request was signed with key {key_id} from {source_of_key}")]
    KeyRefused {
        /// The error code.
        code: String,
        /// What the server says.
        message: String,
        /// The key's id.
        key_id: String,
        /// Where the key comes from.
        source_of_key: String,
    },
    /// The server refuses the request.
    #[error("{message} ({code})")]
    Refused {
        /// The error code.
        code: String,
        /// What the server says.
        message: String,
    },
    /// Something answers there that is no Syncline, or one of another version.
    #[error("{endpoint} gave an answer that cannot be read: {why}")]
    Malformed {
        /// The server's URL.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
}

/// An outside call as [`Outside`] sees it: what went wrong, in words.
struct NoAnswer(String);

impl From<CallError> for NoAnswer {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

/// A signed client of `/api/v1`.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: String,
    region: String,
    credentials: Credentials,
    source: String,
    seams: Seams,
    http: Connector,
}

impl Client {
    /// A client of the server at `endpoint` that signs with `credentials`, which come from `source`.
    pub(super) fn new(
        endpoint: &str,
        region: &str,
        credentials: Credentials,
        source: String,
        seams: &Seams,
    ) -> Self {
        // Proxy variables of the environment are not read: a key's requests go where they are told to.
        let http = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build();
        Self {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
            credentials,
            source,
            seams: seams.clone(),
            http,
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.seams.clock
    }

    /// `GET /api/v1<path>`
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Secret::default()).await
    }

    /// `POST /api/v1<path>` with a JSON body, which may hold a secret.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Secret<Vec<u8>>,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, body).await
    }

    /// `PUT /api/v1<path>` with a JSON body.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Secret<Vec<u8>>,
    ) -> Result<T, ClientError> {
        self.call(Method::PUT, path, body).await
    }

    /// `DELETE /api/v1<path>`
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, Secret::default()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Secret<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let malformed = |why: String| ClientError::Malformed { endpoint: self.endpoint.clone(), why };
        let request = self.signed(method, path, body.expose()).map_err(malformed)?;
        let exchange = async {
            let sent = self.http.call(request).await.map_err(|error| NoAnswer(chain(&error)))?;
            let status = sent.status().as_u16();
            let body = Limited::new(sent.into_body(), MAX_ANSWER_BYTES);
            let body = body.collect().await.map_err(|error| NoAnswer(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        let (status, body) = self
            .seams
            .outside
            .call("cli.request", ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|NoAnswer(why)| ClientError::Unreachable { endpoint: self.endpoint.clone(), why })?;
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()));
        }
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: u16, body: &[u8]) -> ClientError {
        #[derive(serde::Deserialize)]
        struct Refusal {
            code: String,
            message: String,
        }
        let Ok(Refusal { code, message }) = serde_json::from_slice(body) else {
            let why = format!("HTTP status {status} without a message of Syncline's");
            return ClientError::Malformed { endpoint: self.endpoint.clone(), why };
        };
        // A denial is about what is asked, not about the key.
        if matches!(status, 401 | 403) && code != "AccessDeniedException" {
            return ClientError::KeyRefused {
                code,
                message,
                key_id: self.credentials.access_key_id().to_owned(),
                source_of_key: self.source.clone(),
            };
        }
        ClientError::Refused { code, message }
    }

    fn signed(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> Result<aws_smithy_runtime_api::http::Request, String> {
        let uri = format!("{}/api/v1{path}", self.endpoint);
        let identity = self.credentials.clone().into();
        let now_ms = u64::try_from(self.seams.clock.now_ms()).unwrap_or(0);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(UNIX_EPOCH + Duration::from_millis(now_ms))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let json = ("content-type", "application/json");
        let signable =
            SignableRequest::new(method.as_str(), &*uri, std::iter::once(json), SignableBody::Bytes(body));
        let signable = signable.map_err(|error| error.to_string())?;
        let (instructions, _) = sign(signable, &params).map_err(|error| error.to_string())?.into_parts();
        let mut request = http::Request::builder()
            .method(method)
            .uri(&uri)
            .header(json.0, json.1)
            .body(SdkBody::from(body))
            .map_err(|error| error.to_string())?;
        instructions.apply_to_request_http1x(&mut request);
        request.try_into().map_err(|error: aws_smithy_runtime_api::http::HttpError| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_first_that_is_set() {
        let check = |region: Option<&str>, aws_default_region: Option<&str>, expect: &str| {
            let args = ServerArgs {
                endpoint: "http://127.0.0.1:7962".to_owned(),
                region: region.map(str::to_owned),
                aws_default_region: aws_default_region.map(str::to_owned),
                profile: None,
                data_dir: PathBuf::new(),
                access_key_id: None,
                secret_access_key: None,
                session_token: None,
            };
            assert_eq!(args.region(), expect);
        };
        check(Some("eu-north-1"), Some("eu-west-1"), "eu-north-1");
        check(None, Some("eu-west-1"), "eu-west-1");
        check(Some(""), Some("eu-west-1"), "eu-west-1");
        check(None, None, "us-east-1");
        check(Some(""), Some(""), "us-east-1");
    }

    #[test]
    fn an_endpoint_is_a_base_url() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(parse_endpoint(text).ok().as_deref(), expect, "{text}");
        };
        check("http://127.0.0.1:7962", Some("http://127.0.0.1:7962"));
        check("https://sync.example.com/", Some("https://sync.example.com"));
        check("https://example.com/syncline/", Some("https://example.com/syncline"));
        check("127.0.0.1:7962", None);
        check("ftp://example.com", None);
        check("http://", None);
        check("http://a/?b=c", None);
        check("", None);
    }
}
