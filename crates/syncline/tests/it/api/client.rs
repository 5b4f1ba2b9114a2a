//! A server without a socket, and a client that signs for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use syncline::config::{Config, RootKey};
use syncline::running::{self, Parts, Seams};
use syncline::server::{self, SourceAddress};
use syncline_forges::rest::{Endpoint, Endpoints};
use syncline_seams::{Clock, Faults, Outside, VirtualClock};
use syncline_store::{Change, Made, NewAccessKey, Owner, Store, key_owner};
use syncline_targets::AwsSource;
use syncline_wire::{ErrorCode, Operation, Protocol, Service, codec};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// When every server begins, in milliseconds since the Unix epoch.
pub(crate) const START_MS: i64 = 1_763_865_600_000;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Json, Protocol::Cbor];

/// An access key of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) account: &'static str,
}

/// The root key: ours.
pub(crate) const OURS: Key =
    Key { id: "AKIAOURSOURSOURSOURS", secret: "our-secret-our-secret-our-secret", account: "111111111111" };
/// A key of somebody else's account.
pub(crate) const THEIRS: Key =
    Key { id: "AKIATHEIRSTHEIRSTHEI", secret: "their-secret-their-secret-theirs", account: "222222222222" };

/// What lets a user do everything.
pub(crate) const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

/// Makes a user who may do everything in its account, and its key.
pub(crate) async fn user_with_key(store: &Store, key: Key, user: &str) {
    let account = key.account.parse().expect("an account");
    let id = format!("AIDA{}", &key.id[4..]);
    let made = store.create_user(&account, &id, user, Change::unrecorded()).await;
    assert_eq!(made.expect("written"), Made::Made);
    let put = store.put_policy(&account, user, "everything", EVERYTHING, Change::unrecorded()).await;
    assert_eq!(put.expect("written"), Made::Made);
    let owner = key_owner(key.id);
    let owner = Owner { account: key.account, arn: &owner };
    let sealed = store.keyring().seal(&owner, key.secret.as_bytes()).expect("sealed");
    let new = NewAccessKey {
        id: key.id.to_owned(),
        user_name: user.to_owned(),
        sealed,
        token_hash: None,
        expires_at_ms: None,
    };
    let made = store.create_access_key(&account, new, Change::unrecorded()).await;
    assert_eq!(made.expect("written"), Made::Made);
}

pub(crate) struct Server {
    pub(crate) parts: Parts,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) directory: TempDir,
    router: axum::Router,
    succeeded: Mutex<BTreeSet<&'static str>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let faults = Faults::none();
        let outside = faults.outside();
        Self::with_outside(adjust, faults, outside).await
    }

    /// A server whose commits are broken by something else than [`Faults`].
    pub(crate) async fn with_outside(
        adjust: impl FnOnce(&mut Config),
        faults: Arc<Faults>,
        outside: Outside,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(VirtualClock::starting_at(START_MS));
        let mut config = Config::on_loopback(directory.path());
        config.root_account = Some(OURS.account.parse().expect("an account"));
        config.root_key =
            RootKey::Given { id: OURS.id.to_owned(), secret: syncline_seams::Secret::new(OURS.secret) };
        // Where nobody may be asked, so that nothing leaves this machine.
        let nowhere = Endpoint { api: "http://127.0.0.1:9".to_owned(), git: "http://127.0.0.1:9".to_owned() };
        config.forges = Endpoints {
            github: nowhere.clone(),
            gitlab: nowhere.clone(),
            bitbucket: nowhere.clone(),
            azure_devops: nowhere,
            entra: "http://127.0.0.1:9".to_owned(),
        };
        adjust(&mut config);
        let seams = Seams { clock: Arc::<VirtualClock>::clone(&clock), outside };
        // Nobody listens there: these tests ask nothing of AWS.
        let aws = AwsSource::Fixed {
            endpoint_url: "http://127.0.0.1:9".to_owned(),
            access_key_id: "nobody".to_owned(),
            secret_access_key: syncline_seams::Secret::new("nobody"),
        };
        let parts = running::parts(&config, &seams, aws).await.expect("the parts fit");
        user_with_key(&parts.store, THEIRS, "them").await;
        let router = server::router(Arc::clone(&parts.front));
        Self { parts, clock, faults, directory, router, succeeded: Mutex::default() }
    }

    /// Signs with our key, speaks JSON to codeconnections.
    pub(crate) fn client(&self) -> Client<'_> {
        Client {
            server: self,
            key: OURS,
            region: REGION,
            service: Service::CodeConnections,
            protocol: Protocol::Json,
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The operations that have succeeded so far.
    pub(crate) fn succeeded(&self) -> BTreeSet<&'static str> {
        self.succeeded.lock().expect("not poisoned").clone()
    }

    /// Sends a request as it is; whatever the answer, it bears what every answer bears.
    pub(crate) async fn send(&self, draft: Draft) -> Reply {
        let reply = self.send_raw(draft).await;
        let request_id = reply.header("x-amzn-requestid");
        assert_eq!(request_id.len(), 36, "x-amzn-RequestId: {request_id}");
        let now = UNIX_EPOCH + Duration::from_millis(self.now_ms().unsigned_abs());
        assert_eq!(reply.header("date"), httpdate::fmt_http_date(now), "Date");
        if let Some(message) = reply.value.get("Message").and_then(Value::as_str) {
            assert!(message.chars().count() <= 600, "a message of {} characters", message.chars().count());
            assert!(!message.is_empty());
        }
        reply
    }

    pub(crate) async fn send_raw(&self, draft: Draft) -> Reply {
        self.send_from(LOOPBACK, draft).await
    }

    /// Sends a request as it is, from an address.
    pub(crate) async fn send_from(&self, source: IpAddr, draft: Draft) -> Reply {
        let mut request = Request::builder().method(draft.method.as_str()).uri(&draft.path);
        for (name, value) in &draft.headers {
            request = request.header(name, value);
        }
        let request = request.extension(SourceAddress(source)).body(Body::from(draft.body));
        let request = request.expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("in memory").to_bytes().to_vec();
        let value = match parts.headers.get("content-type").and_then(|value| value.to_str().ok()) {
            Some("application/cbor") => from_cbor(&body),
            Some(json) if json.contains("json") => serde_json::from_slice(&body).expect("JSON"),
            _ => Value::Null,
        };
        Reply { status: parts.status.as_u16(), headers: parts.headers, body, value }
    }
}

/// A request that can still be changed.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Draft {
    /// Unsigned, as a client of the service would write it.
    pub(crate) fn new(service: Service, protocol: Protocol, operation: &str, body: Vec<u8>) -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers =
            vec![header("host", "127.0.0.1:7962"), header("content-type", protocol.content_type())];
        let path = match protocol {
            Protocol::Json => {
                headers.push(header("x-amz-target", &format!("{}.{operation}", service.target_prefix())));
                "/".to_owned()
            }
            Protocol::Cbor => {
                headers.push(header("smithy-protocol", "rpc-v2-cbor"));
                format!("/service/{}/operation/{operation}", service.short_name())
            }
        };
        Self { method: "POST".to_owned(), path, headers, body }
    }

    /// Adds what the AWS SDK's signer adds.
    pub(crate) fn signed(self, key: Key, region: &str, service: &str, now_ms: i64) -> Self {
        self.signed_by(Credentials::new(key.id, key.secret, None, None, "test"), region, service, now_ms)
    }

    pub(crate) fn signed_by(
        mut self,
        credentials: Credentials,
        region: &str,
        service: &str,
        now_ms: i64,
    ) -> Self {
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs()))
            .settings(SigningSettings::default())
            .build()
            .expect("complete")
            .into();
        let uri = format!("http://127.0.0.1:7962{}", self.path);
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let signable = SignableRequest::new(&self.method, uri, headers, SignableBody::Bytes(&self.body));
        let (instructions, _) = sign(signable.expect("a request"), &parameters).expect("signed").into_parts();
        for (name, value) in instructions.headers() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn header(&mut self, name: &str) -> &mut String {
        let header = self.headers.iter_mut().find(|(known, _)| known == name);
        &mut header.unwrap_or_else(|| panic!("no header {name}")).1
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The body, whatever the protocol; timestamps are seconds.
    pub(crate) value: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("ASCII")
    }

    /// The code and the message of a refusal, whose status is the code's.
    pub(crate) fn refusal(&self) -> (String, String) {
        let text = |name: &str| {
            let value = self.value.get(name).and_then(Value::as_str);
            value.unwrap_or_else(|| panic!("no {name} in {}: {}", self.status, self.value)).to_owned()
        };
        let kind = text("__type");
        let code = kind.strip_prefix("com.amazonaws.codeconnections#").expect("the namespace");
        let known = code_named(code);
        assert_eq!(self.status, known.status(), "{code}");
        (code.to_owned(), text("Message"))
    }
}

/// One caller: a key, a region, a spelling of the service, a protocol.
#[derive(Clone, Copy)]
pub(crate) struct Client<'s> {
    pub(crate) server: &'s Server,
    pub(crate) key: Key,
    pub(crate) region: &'s str,
    pub(crate) service: Service,
    pub(crate) protocol: Protocol,
}

impl Client<'_> {
    pub(crate) fn draft(&self, operation: &str, input: &Value) -> Draft {
        let body = match self.protocol {
            Protocol::Json => serde_json::to_vec(input).expect("JSON"),
            Protocol::Cbor => to_cbor(input),
        };
        Draft::new(self.service, self.protocol, operation, body)
    }

    pub(crate) fn sign(&self, draft: Draft) -> Draft {
        draft.signed(self.key, self.region, self.service.signing_name(), self.server.now_ms())
    }

    /// Asks the REST API; no body where `body` is null.
    pub(crate) async fn rest(&self, method: &str, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).expect("JSON") };
        let draft = Draft {
            method: method.to_owned(),
            path: format!("/api/v1{path}"),
            headers: vec![("host".to_owned(), "127.0.0.1:7962".to_owned())],
            body,
        };
        let signed = draft.signed(self.key, self.region, "codeconnections", self.server.now_ms());
        let reply = self.server.send_raw(signed).await;
        assert_eq!(reply.header("x-amzn-requestid").len(), 36);
        reply
    }

    pub(crate) async fn call(&self, operation: &str, input: &Value) -> Reply {
        let reply = self.server.send(self.sign(self.draft(operation, input))).await;
        assert_eq!(reply.header("content-type"), self.protocol.content_type());
        let echoed = reply.headers.get("smithy-protocol").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(echoed, (self.protocol == Protocol::Cbor).then_some("rpc-v2-cbor"));
        reply
    }

    /// Calls an operation that succeeds with an answer of the model's shape.
    pub(crate) async fn ok(&self, operation: &str, input: Value) -> Value {
        let reply = self.call(operation, &input).await;
        assert_eq!(reply.status, 200, "{operation} {input}: {}", reply.value);
        let known = Operation::from_name(operation).expect("an operation");
        let document = codec::read(self.protocol, &reply.body).expect("readable");
        let accepted = codec::accept(self.protocol, known.output_shape(), document);
        assert!(accepted.is_ok(), "{operation}: {accepted:?}");
        self.server.succeeded.lock().expect("not poisoned").insert(known.name());
        reply.value
    }

    /// Calls an operation that is refused; its code and message.
    pub(crate) async fn refused(&self, operation: &str, input: Value) -> (String, String) {
        let reply = self.call(operation, &input).await;
        assert_ne!(reply.status, 200, "{operation} {input} succeeded: {}", reply.value);
        reply.refusal()
    }

    /// Calls an operation that is refused with this code and message.
    pub(crate) async fn refuses(&self, operation: &str, input: Value, code: &str, message: &str) {
        let told = input.to_string();
        let refusal = self.refused(operation, input).await;
        assert_eq!(refusal, (code.to_owned(), message.to_owned()), "{operation} {told}");
    }
}

pub(crate) fn code_named(name: &str) -> ErrorCode {
    let found = ErrorCode::ALL.iter().find(|code| code.name() == name);
    *found.unwrap_or_else(|| panic!("{name} is no error of this API"))
}

pub(crate) fn to_cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("CBOR");
    bytes
}

pub(crate) fn from_cbor(body: &[u8]) -> Value {
    fn convert(value: ciborium::Value) -> Value {
        match value {
            ciborium::Value::Null => Value::Null,
            ciborium::Value::Bool(value) => value.into(),
            ciborium::Value::Integer(value) => i64::try_from(value).expect("small").into(),
            ciborium::Value::Float(value) => value.into(),
            ciborium::Value::Text(value) => value.into(),
            ciborium::Value::Tag(1, seconds) => convert(*seconds),
            ciborium::Value::Array(items) => items.into_iter().map(convert).collect(),
            ciborium::Value::Map(entries) => {
                let entry =
                    |(key, value): (ciborium::Value, _)| (key.into_text().expect("a text"), convert(value));
                Value::Object(entries.into_iter().map(entry).collect())
            }
            other => panic!("{other:?} is no part of an answer"),
        }
    }
    convert(ciborium::from_reader(body).expect("CBOR"))
}
