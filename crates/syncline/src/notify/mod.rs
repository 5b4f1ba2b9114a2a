//! Telling notification targets of changed statuses: one request, and what its answer means.
//!
//! **Architecture Invariant:** a target's URL is a secret and in no message: for some receivers it is all that one needs to
//! write there. Requests go where the egress rules admit, are never redirected, and end in time.

mod bus;
mod message;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use serde::Deserialize;
use syncline_egress::{Egress, Http, NoAnswer, RemoteUrl};
use syncline_seams::{Clock, Outside, Secret};
use syncline_store::{StatusEvent, TargetKind, TargetRecord};
use syncline_targets::EventBus;

pub(crate) use self::bus::Bus;
use crate::credentials;

/// The longest a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// As much of an answer is told, in characters.
const MAX_TOLD: usize = 200;
/// A part of a URL that is so long may be a secret, in bytes.
const LEAST_SECRET: usize = 6;
/// What is said of who asks.
const AGENT: &str = concat!("syncline/", env!("CARGO_PKG_VERSION"));

/// What of a target is sealed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sealed {
    url: Secret,
    /// The signing key, `whsec_` and base64; `None` for a kind that is not signed.
    key: Option<Secret>,
}

/// Why a target's URL cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the URL cannot be used: {0}")]
pub(crate) struct InvalidUrl(String);

impl Sealed {
    /// The secrets of a new target at `url`, with a key of its own if its kind is signed; and where that is, for people: of
    /// a URL that is signed for everything but its query, of any other its host.
    pub(crate) fn new(kind: TargetKind, url: &Secret, egress: &Egress) -> Result<(Self, String), InvalidUrl> {
        let invalid = |why: &dyn std::fmt::Display| InvalidUrl(why.to_string());
        if url.expose().len() > RemoteUrl::MAX_BYTES {
            return Err(invalid(&format!("it has more than {} bytes", RemoteUrl::MAX_BYTES)));
        }
        let uri: Uri = url.expose().parse().map_err(|_| invalid(&"it is not a URL"))?;
        let (Some(scheme @ ("https" | "http")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(invalid(&"it must begin with https:// or http:// and a host"));
        };
        if authority.as_str().contains('@') {
            return Err(invalid(&"it must not hold a user name or password"));
        }
        let origin = format!("{scheme}://{authority}");
        let remote: RemoteUrl = origin.parse().map_err(|error| invalid(&error))?;
        egress.check_literal(&remote).map_err(|error| invalid(&error))?;
        let is_signed = kind != TargetKind::Slack;
        let shown = if is_signed { format!("{origin}{}", uri.path()) } else { format!("{origin}/…") };
        let key = is_signed.then(credentials::new_signing_key);
        Ok((Self { url: url.clone(), key }, shown))
    }

    /// The signing key.
    pub(crate) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    /// Those of a target that has none: an event bus.
    pub(crate) fn none() -> Self {
        Self { url: Secret::default(), key: None }
    }

    /// The bytes to seal.
    pub(crate) fn to_bytes(&self) -> Secret<Vec<u8>> {
        let key = self.key.as_ref().map(|key| key.expose());
        let sealed = serde_json::json!({ "url": self.url.expose(), "key": key });
        serde_json::to_vec(&sealed).unwrap_or_default().into()
    }

    /// What [`Sealed::to_bytes`] made.
    pub(crate) fn from_bytes(bytes: &Secret<Vec<u8>>) -> Option<Self> {
        serde_json::from_slice(bytes.expose()).ok()
    }
}

/// Why a target was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct NotTold {
    /// For people, without secrets.
    pub(crate) reason: String,
    /// What it answered, if it did.
    pub(crate) status: Option<u16>,
    /// It wants fewer requests, and the next one after so many milliseconds, if it says so.
    pub(crate) throttled: Option<Option<i64>>,
    /// It is never to be told this again.
    pub(crate) is_final: bool,
}

impl NotTold {
    fn here(reason: impl Into<String>, is_final: bool) -> Self {
        Self { reason: reason.into(), status: None, throttled: None, is_final }
    }
}

/// The way to notification targets.
#[derive(Debug)]
pub struct Notifier {
    http: Http,
    outside: Outside,
    clock: Arc<dyn Clock>,
    buses: Arc<dyn EventBus>,
}

impl Notifier {
    /// The way to URLs as far as `egress` admits it, and to `buses`.
    #[must_use]
    pub fn new(egress: Egress, outside: Outside, clock: Arc<dyn Clock>, buses: Arc<dyn EventBus>) -> Self {
        Self { http: Http::new(egress), outside, clock, buses }
    }

    /// Tells a target of an event under an id by which it knows one that is told again; what it answered.
    pub(crate) async fn tell(
        &self,
        target: &TargetRecord,
        sealed: &Sealed,
        id: &str,
        event: &StatusEvent,
    ) -> Result<StatusCode, NotTold> {
        let kind = match target.target.kind {
            Some(TargetKind::EventBridge) => return self.put(target, id, event).await,
            Some(kind) => kind,
            None => {
                return Err(NotTold::here("only a newer version can tell this notification target", false));
            }
        };
        let request = self.request(kind, sealed, id, event)?;
        // The status is what counts, however much is said beside it.
        let sent = self.http.send_and_cut(None, request, MAX_ANSWER_BYTES);
        match self.outside.call("notification.send", TIMEOUT, sent).await {
            Ok((response, _)) => self.read(sealed, &response),
            Err(error) => {
                let is_final = matches!(error, NoAnswer::Here(_));
                Err(NotTold::here(scrubbed(sealed, &error.to_string()), is_final))
            }
        }
    }

    fn request(
        &self,
        kind: TargetKind,
        sealed: &Sealed,
        id: &str,
        event: &StatusEvent,
    ) -> Result<Request<Bytes>, NotTold> {
        let unusable = |what: &str| NotTold::here(format!("its {what} cannot be used"), true);
        let body = message::body(kind, id, event);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if kind != TargetKind::Slack {
            let key = sealed.key().ok_or_else(|| unusable("key"))?;
            let timestamp = self.clock.now_ms().div_euclid(1000);
            let signature = message::signature(key, id, timestamp, &body).ok_or_else(|| unusable("key"))?;
            for (name, value) in [
                ("webhook-id", id),
                ("webhook-timestamp", &timestamp.to_string()),
                ("webhook-signature", &signature),
            ] {
                let value = HeaderValue::from_str(value).map_err(|_| unusable("signature"))?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = sealed.url.expose().parse().map_err(|_| unusable("URL"))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn read(&self, sealed: &Sealed, response: &Response<Bytes>) -> Result<StatusCode, NotTold> {
        let status = response.status();
        if status.is_success() {
            return Ok(status);
        }
        let said: String = String::from_utf8_lossy(response.body()).chars().take(4 * MAX_TOLD).collect();
        let said = scrubbed(sealed, said.trim());
        let reason = match said.as_str() {
            "" => format!("it answered {status}"),
            said => format!("it answered {status}: {said}"),
        };
        let reason = if status.is_redirection() {
            format!("it answered {status}, and redirects are not followed")
        } else {
            reason
        };
        let retry_after_ms = retry_after_ms(response.headers(), self.clock.now_ms());
        let is_throttled = status == StatusCode::TOO_MANY_REQUESTS
            || (status == StatusCode::SERVICE_UNAVAILABLE && retry_after_ms.is_some());
        Err(NotTold {
            reason,
            status: Some(status.as_u16()),
            throttled: is_throttled.then_some(retry_after_ms),
            // As Standard Webhooks has it, the receiver is gone for good.
            is_final: status == StatusCode::GONE,
        })
    }
}

/// Somebody else's words as one short line, without the target's secrets.
fn scrubbed(sealed: &Sealed, text: &str) -> String {
    let url = sealed.url.expose();
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let (_, path) = rest.split_once('/').unwrap_or_default();
    let mut secrets: Vec<&str> = vec![url, path, path.split('?').next().unwrap_or_default()];
    secrets.extend(path.split(['/', '?', '&', '=']));
    secrets.extend(sealed.key().map(|key| key.expose().as_str()));
    // Less than that is in many a word.
    secrets.retain(|secret| secret.len() >= LEAST_SECRET);
    let mut text = text.to_owned();
    for secret in secrets {
        text = text.replace(secret, "…");
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TOLD).collect()
}

/// After how many milliseconds it wants to be asked again: seconds or a date (RFC 9110).
fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = said.parse::<u32>() {
        return Some(i64::from(seconds) * 1000);
    }
    let date = httpdate::parse_http_date(said).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(date.as_millis()).ok().map(|at_ms| at_ms.saturating_sub(now_ms).max(0))
}

/// An event that says that nothing happened.
pub(crate) fn test_event(account: &str, region: &str, now_ms: i64) -> StatusEvent {
    StatusEvent {
        detail_type: "Syncline Notification Test".to_owned(),
        time_ms: now_ms,
        account: account.to_owned(),
        region: region.to_owned(),
        detail: serde_json::json!({ "message": "This is a test: nothing happened." }),
        sync: None,
        status: "TEST".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(url: &str) -> Sealed {
        Sealed { url: Secret::new(url), key: Some(Secret::new("whsec_c2VjcmV0c2VjcmV0")) }
    }

    #[test]
    fn a_url_is_checked_and_shown_without_what_makes_it_a_secret() {
        let allowed = Egress::new(vec!["127.0.0.1/32".parse().expect("a network")], Vec::new());
        let check = |kind, url: &str, expect: Result<&str, &str>| {
            let made = Sealed::new(kind, &Secret::new(url), &allowed);
            let made = made.as_ref().map(|(_, shown)| shown.as_str()).map_err(ToString::to_string);
            match (made, expect) {
                (Ok(shown), Ok(expect)) => assert_eq!(shown, expect),
                (Err(error), Err(expect)) => {
                    assert!(error.contains(expect) && !error.contains("s3cr3t"), "{error}")
                }
                (made, _) => panic!("{url}: {made:?}"),
            }
        };
        use TargetKind::{Envelope, Slack, Webhook};
        check(Webhook, "https://hooks.example.com/a?token=s3cr3t", Ok("https://hooks.example.com/a"));
        check(Envelope, "http://127.0.0.1:8080/a", Ok("http://127.0.0.1:8080/a"));
        check(Slack, "https://hooks.slack.com/services/T/B/s3cr3t", Ok("https://hooks.slack.com/…"));
        check(Webhook, "ftp://hooks.example.com/s3cr3t", Err("https://"));
        check(Webhook, "/s3cr3t", Err("https://"));
        check(Webhook, "https://user:s3cr3t@hooks.example.com/", Err("user name"));
        check(Webhook, "http://169.254.169.254/s3cr3t", Err("169.254.169.254"));
        check(Webhook, &format!("https://a.example/{}", "s3cr3t".repeat(400)), Err("more than 2048"));
    }

    #[test]
    fn what_a_receiver_says_is_told_without_secrets_in_one_short_line() {
        let of = sealed("https://hooks.example.com/services/T000/s3cr3t");
        let said = "no such hook:\nhttps://hooks.example.com/services/T000/s3cr3t, services/T000/s3cr3t, \
                    s3cr3t, whsec_c2VjcmV0c2VjcmV0";
        assert_eq!(scrubbed(&of, said), "no such hook: …, …, …, …");
        assert_eq!(scrubbed(&of, &"x".repeat(1000)).len(), MAX_TOLD);
        assert_eq!(scrubbed(&sealed("https://h.example/a?token=s3cr3t"), "an ant, s3cr3t"), "an ant, …");
    }

    #[test]
    fn a_receiver_says_when_to_come_back_in_seconds_or_as_a_date() {
        let check = |value: &'static str, expect| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            assert_eq!(retry_after_ms(&headers, 1_000_000), expect, "{value}");
        };
        check("120", Some(120_000));
        check("Thu, 01 Jan 1970 00:20:00 GMT", Some(200_000));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("soon", None);
    }
}
