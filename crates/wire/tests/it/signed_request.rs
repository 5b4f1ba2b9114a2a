//! Requests signed by the signer of the AWS SDK for Rust.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue};
use syncline_wire::sigv4::{Expected, Presented, SignedParts, SigningKeys, Verified};
use syncline_wire::{ErrorCode, WireError};

/// When the requests are signed.
pub(crate) const NOW_MS: i64 = 1_763_865_600_000;
/// The secret of the one key there is.
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request that can be changed on its way.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let [method, path, query] = [method, path, query].map(str::to_owned);
        Self { method, path, query, headers: headers.collect(), body: body.to_vec() }
    }

    /// As the Rust SDK would send it.
    pub(crate) fn of_the_sdk() -> Self {
        let mut request = Self::new(
            "POST",
            "/service/CodeConnections_20231201/operation/ListHosts",
            "",
            &[
                ("host", "127.0.0.1:7962"),
                ("content-type", "application/cbor"),
                ("smithy-protocol", "rpc-v2-cbor"),
                ("accept", "application/cbor"),
                ("content-length", "2"),
                ("x-amz-user-agent", "aws-sdk-rust/1.3.9"),
            ],
            &[0xbf, 0xff],
        );
        request.sign(NOW_MS, Some("session-token"));
        request.headers.push(("user-agent".to_owned(), b"aws-sdk-rust/1.3.9 os/linux".to_vec()));
        request
    }

    /// Adds what the AWS SDK's signer adds.
    pub(crate) fn sign(&mut self, now_ms: i64, token: Option<&str>) {
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token.map(str::to_owned), None, "test");
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name("codeconnections")
            .time(UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs()))
            .settings(SigningSettings::default())
            .build()
            .expect("complete")
            .into();
        let host = self.headers.iter().find(|(name, _)| name == "host").expect("a host");
        let mut uri = format!("http://{}{}", String::from_utf8_lossy(&host.1), self.path);
        if !self.query.is_empty() {
            uri = format!("{uri}?{}", self.query);
        }
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| {
                (name.as_str(), std::str::from_utf8(value).expect("signed headers are text"))
            })
            .collect();
        let request =
            SignableRequest::new(&self.method, uri, headers.into_iter(), SignableBody::Bytes(&self.body));
        let output = sign(request.expect("a request"), &parameters).expect("signed");
        let (instructions, _) = output.into_parts();
        for (name, value) in instructions.headers() {
            self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        }
    }

    /// `None` where no HTTP server would take the request.
    pub(crate) fn header_map(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        Some(map)
    }

    pub(crate) fn presented(&self, now_ms: i64) -> Option<Result<Presented, WireError>> {
        let headers = self.header_map()?;
        let parts = SignedParts {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            body: &self.body,
        };
        let expected = Expected { service: "codeconnections", now_ms, normalize_path: true };
        Some(Presented::parse(parts, expected))
    }

    /// With a key store that holds one key.
    pub(crate) fn verify(&self, now_ms: i64) -> Option<Result<Verified, WireError>> {
        let keys = SigningKeys::default();
        Some(self.presented(now_ms)?.and_then(|presented| match presented.access_key_id() {
            "AKIDEXAMPLE" => presented.verify(SECRET.as_bytes(), &keys),
            _ => Err(presented.unknown(&keys)),
        }))
    }

    pub(crate) fn code(&self) -> Result<(), ErrorCode> {
        self.verify(NOW_MS).expect("HTTP").map(|_| ()).map_err(|error| error.code)
    }

    pub(crate) fn header(&mut self, name: &str) -> &mut Vec<u8> {
        let header = self.headers.iter_mut().find(|(known, _)| known == name);
        &mut header.unwrap_or_else(|| panic!("no header {name}")).1
    }
}
