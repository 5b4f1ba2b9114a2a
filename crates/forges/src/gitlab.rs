//! GitLab.com and self-managed GitLab.
//!
//! Two proofs: the secret token as it is, in a header; or, since GitLab 19.0, a signature after the Standard Webhooks
//! specification over id, time and body. Where a signature is given it alone counts, so that nobody goes around its
//! time by adding a token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use http::HeaderMap;
use serde::Deserialize;

use crate::Request;
use crate::lenient::{Object, Text};
use crate::proof::{hmac, is_same};
use crate::received::{Meaning, Received, delivery_id, header, name};

/// How far a signature's time may be from ours, in milliseconds: the tolerance of the Standard Webhooks libraries.
const WINDOW_MS: u64 = 5 * 60 * 1000;
/// Signatures of one request that are looked at: one for each key that is in use.
const MAX_SIGNATURES: usize = 8;
/// What a signing key begins with; the rest is the key in base64.
const KEY_PREFIX: &str = "whsec_";

pub(crate) fn is_proven(request: Request<'_>, secret: &[u8]) -> bool {
    if request.headers.contains_key("webhook-signature") {
        return is_signed(request, secret) == Some(true);
    }
    is_same(header(request.headers, "x-gitlab-token").unwrap_or_default().as_bytes(), secret)
}

/// `None` if something of a signature is missing.
fn is_signed(request: Request<'_>, secret: &[u8]) -> Option<bool> {
    let said = |name: &str| header(request.headers, name);
    let (id, time) = (said("webhook-id")?, said("webhook-timestamp")?);
    let key = std::str::from_utf8(secret).ok()?.strip_prefix(KEY_PREFIX)?;
    let key = STANDARD.decode(key).ok()?;
    let time_ms = time.parse::<i64>().ok()?.checked_mul(1000)?;
    let is_now = time_ms.abs_diff(request.now_ms) <= WINDOW_MS;
    let signatures = said("webhook-signature")?.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let mac = hmac(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", request.body]);
    let is_right = signatures.take(MAX_SIGNATURES).fold(false, |is_right, signature| {
        let signature = STANDARD.decode(signature).unwrap_or_default();
        is_right | mac.clone().verify_slice(&signature).is_ok()
    });
    Some(is_right && is_now)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    object_kind: Text,
    #[serde(rename = "ref")]
    reference: Text,
    project: Object<Project>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    path_with_namespace: Text,
}

pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Received {
    let event = name(header(headers, "x-gitlab-event").unwrap_or_default());
    let id = delivery_id(headers, &["webhook-id", "idempotency-key"]);
    let Ok(Object(said)) = serde_json::from_slice::<Object<Event>>(body) else {
        return Received::unreadable(event, id);
    };
    let meaning = match (&*event, said.object_kind.get()) {
        // A hook of the whole server says of what kind it is in the body.
        ("Push Hook", _) | ("System Hook", Some("push")) => Meaning::pushed(said.reference.get()),
        ("Tag Push Hook", _) | ("System Hook", Some("tag_push")) => {
            Meaning::nothing("the event is about tags or other refs, not about a branch")
        }
        ("Merge Request Hook", _) | ("System Hook", Some("merge_request")) => Meaning::PullRequest,
        ("", _) => Meaning::nothing("the header X-Gitlab-Event is missing"),
        (other, _) => Meaning::unknown(other),
    };
    Received { event, id, repository: said.project.0.path_with_namespace.get().map(str::to_owned), meaning }
}
