//! The REST API of a [`World`]'s server, asked with the root key.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_codeconnections::types::ProviderType;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use syncline::server;
use syncline_seams::Clock as _;
use tower::ServiceExt as _;

use crate::world::{REGION, World};

/// The authority that requests are signed for.
const AUTHORITY: &str = "127.0.0.1:7962";

/// A page that a browser got.
#[derive(Debug, Clone)]
pub struct Page {
    /// The answer's status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The answer's body.
    pub html: String,
}

impl Page {
    /// The first attribute of this name of the page, as a browser reads it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn attribute(&self, name: &str) -> String {
        let from = self.html.find(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name}: {}", self.html));
        let value = &self.html[from + name.len() + 3..];
        let value = &value[..value.find('"').expect("its end")];
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        entities.iter().fold(value.to_owned(), |value, (entity, text)| value.replace(entity, text))
    }

    /// The cookie that the page sets, as it is sent back; `None` if it sets none.
    #[must_use]
    pub fn cookie(&self) -> Option<String> {
        let set = self.headers.get("set-cookie")?.to_str().expect("a text");
        Some(set.split(';').next().unwrap_or_default().to_owned())
    }
}

impl World {
    /// Visits a page as a browser does, with the cookie that it has.
    ///
    /// # Panics
    /// When the answer is no text.
    pub async fn visit(&self, path: &str, cookie: Option<&str>) -> Page {
        let mut request = Request::builder().uri(path).header("host", AUTHORITY);
        if let Some(cookie) = cookie {
            request = request.header("cookie", format!("theme=dark; {cookie}"));
        }
        let request = request.body(Body::empty()).expect("a request");
        let answer = server::router(Arc::clone(&self.parts().front)).oneshot(request).await;
        let (head, body) = answer.expect("infallible").into_parts();
        let body = body.collect().await.expect("in memory").to_bytes();
        let html = String::from_utf8(body.to_vec()).expect("a text");
        Page { status: head.status.as_u16(), headers: head.headers, html }
    }

    /// Asks the REST API for a path below `/api/v1`, with no body where it is null; the status and the answer.
    ///
    /// # Panics
    /// When the answer is not JSON.
    pub async fn rest(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{AUTHORITY}/api/v1{path}");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let key = &self.parts().key;
        let identity =
            Credentials::new(&key.access_key_id, key.secret_access_key.expose(), None, None, "world").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("codeconnections")
            .time(UNIX_EPOCH + Duration::from_millis(self.clock.now_ms().unsigned_abs()))
            .settings(SigningSettings::default())
            .build()
            .expect("complete")
            .into();
        let headers = [("host", AUTHORITY)];
        let signable = SignableRequest::new(method, &url, headers.into_iter(), SignableBody::Bytes(&body));
        let (signed, _) = sign(signable.expect("a request"), &parameters).expect("signed").into_parts();
        let mut request = Request::builder().method(method).uri(&url).header("host", AUTHORITY);
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let answer = server::router(Arc::clone(&self.parts().front)).oneshot(request).await;
        let (head, body) = answer.expect("infallible").into_parts();
        let body = body.collect().await.expect("in memory").to_bytes();
        (head.status.as_u16(), serde_json::from_slice(&body).expect("JSON"))
    }

    /// Makes a PENDING connection of a provider type, on a host at `endpoint` if one is given; its ARN.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connection_of(&self, name: &str, provider_type: &str, endpoint: Option<&str>) -> String {
        let provider_type = ProviderType::from(provider_type);
        let connection = self.client.create_connection().connection_name(name);
        let connection = match endpoint {
            None => connection.provider_type(provider_type),
            Some(endpoint) => {
                let host =
                    self.client.create_host().name(format!("{name}-host")).provider_type(provider_type);
                let host = host.provider_endpoint(endpoint).send().await.expect("a host");
                connection.host_arn(host.host_arn().expect("its ARN"))
            }
        };
        connection.send().await.expect("a connection").connection_arn().to_owned()
    }

    /// The connection's status.
    ///
    /// # Panics
    /// When there is no such connection.
    pub async fn connection_status(&self, arn: &str) -> String {
        let got = self.client.get_connection().connection_arn(arn).send().await.expect("a connection");
        let connection = got.connection().expect("a connection");
        connection.connection_status().expect("a status").as_str().to_owned()
    }
}
