//! `POST /webhooks/{id}`: what forges tell of pushes.
//!
//! The proof is checked over the bytes as they came, before anything of them is parsed. A webhook that does not exist and
//! a proof that is wrong are answered alike. Whatever is accepted is recorded, with what it makes due, before the answer.
//!
//! **Architecture Invariant:** an event makes branches due and does nothing else.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::json;
use syncline_forges::{Branches, Forge, Meaning, Received, decoy, verify};
use syncline_seams::Secret;
use syncline_store::{Accepted, NewDelivery, Outcome, Says, Webhook};
use syncline_wire::{ErrorCode, WireError};
use tracing::info;
use uuid::Uuid;

use super::error::ApiError;
use super::{Front, SourceAddress, audit, aws, rest};

/// What every path of a webhook begins with.
pub(crate) const PREFIX: &str = "/webhooks/";

/// The longest body that is kept for inspection, in bytes.
const MAX_KEPT_BYTES: usize = 64 * 1024;
/// Longer bodies are checked and read where others do not wait for it, in bytes.
const MAX_INLINE_BYTES: usize = 256 * 1024;
/// The longest value of a header that is kept, in characters.
const MAX_HEADER_CHARS: usize = 300;
/// The longest name of a delivery that is kept as it is, in bytes.
const MAX_DEDUPE_BYTES: usize = 128;

/// Headers that are kept for inspection: no proof is among them.
const SHOWN: &[&str] = &[
    "content-type",
    "idempotency-key",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-attempt-number",
    "x-delivery-id",
    "x-event-key",
    "x-event-time",
    "x-gitea-delivery",
    "x-gitea-event",
    "x-gitea-event-type",
    "x-github-delivery",
    "x-github-enterprise-host",
    "x-github-enterprise-version",
    "x-github-event",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
    "x-gitlab-event",
    "x-gitlab-event-uuid",
    "x-gitlab-instance",
    "x-gitlab-webhook-uuid",
    "x-gogs-delivery",
    "x-gogs-event",
    "x-hook-uuid",
    "x-request-uuid",
];

/// Why nothing was accepted.
enum Refusal {
    /// There is no such webhook, or whoever sent this does not know its secret.
    Unproven,
    /// As an operation is refused.
    Error(WireError),
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Error(error)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error.error)
    }
}

impl From<syncline_store::StoreError> for Refusal {
    fn from(error: syncline_store::StoreError) -> Self {
        ApiError::from(error).into()
    }
}

/// `POST /webhooks/{id}`
pub(super) async fn receive(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let (parts, body) = request.into_parts();
    let response = match admitted(&front, &id, parts, body).await {
        Ok((status, delivery_id, outcome)) => {
            rest::json(status, &json!({ "deliveryId": delivery_id, "outcome": outcome }))
        }
        Err(Refusal::Unproven) => unproven(),
        Err(Refusal::Error(error)) => {
            // What is refused only for now is counted instead: a flood must not fill the log.
            if error.retry_after.is_none() {
                info!(request_id, code = error.code.name(), message = error.message, "a webhook was refused");
            }
            rest::refusal(&error)
        }
    };
    rest::identified(response, &request_id)
}

/// The one answer to whoever proves nothing.
fn unproven() -> Response {
    let message = "there is no webhook of this URL and secret";
    let mut response =
        rest::json(StatusCode::UNAUTHORIZED, &json!({ "code": "Unproven", "message": message }));
    // HTTP wants one; Azure DevOps proves itself so.
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"webhook\""));
    response
}

type Told = (StatusCode, String, &'static str);

async fn admitted(front: &Arc<Front>, id: &str, parts: Parts, body: Body) -> Result<Told, Refusal> {
    front.gate.admit(SourceAddress::of(&parts.extensions))?;
    let body = aws::read_body_of(front, &parts, body, front.gate.webhook_bytes()).await?;
    front.gate.in_time(accept(front, id, parts, body)).await
}

async fn accept(front: &Arc<Front>, id: &str, parts: Parts, body: Bytes) -> Result<Told, Refusal> {
    let _turn = front.gate.turn(&parts.headers, false)?;
    let source = SourceAddress::of(&parts.extensions);
    let webhook = front.store.webhook(id).await?;
    let forge = webhook.as_ref().and_then(|webhook| Forge::of_provider_type(&webhook.provider_type));
    let secrets = match &webhook {
        Some(webhook) => front.store.secrets_of(webhook).await?,
        None => Vec::new(),
    };
    let now_ms = front.clock.now_ms();
    let (headers, bytes) = (parts.headers, body.clone());
    let judged = move || judge(forge, &headers, &bytes, now_ms, &secrets);
    let judged = if body.len() > MAX_INLINE_BYTES {
        let failed = |_| WireError::new(ErrorCode::InternalServer, "the server could not read the delivery");
        tokio::task::spawn_blocking(judged).await.map_err(failed)?
    } else {
        judged()
    };
    let (Some(webhook), Some(delivery)) = (webhook.as_ref(), judged) else {
        front.gate.unproven(source);
        if let Some(webhook) = &webhook {
            info!(link = webhook.link_id, source = %source.0, "a webhook's proof is missing or wrong");
        }
        return Err(Refusal::Unproven);
    };
    let delivery = about(webhook, delivery);
    let delivery_id = delivery.id.clone();
    match front.store.accept_delivery(webhook, delivery).await? {
        Accepted::New(outcome) => {
            let status = if outcome == Outcome::Ping { StatusCode::OK } else { StatusCode::ACCEPTED };
            info!(link = webhook.link_id, delivery = delivery_id, outcome = outcome.as_str(), "delivered");
            Ok((status, delivery_id, outcome.as_str()))
        }
        Accepted::Duplicate(first) => Ok((StatusCode::ACCEPTED, first, "DUPLICATE")),
        Accepted::Gone => Err(Refusal::Unproven),
    }
}

/// A delivery, and the repository that it is about.
struct Judged {
    delivery: NewDelivery,
    repository: Option<String>,
}

/// Checks the proof, reads the event, and makes what is kept of it; `None` if the proof is not right.
fn judge(
    forge: Option<Forge>,
    headers: &HeaderMap,
    body: &[u8],
    now_ms: i64,
    secrets: &[Secret<Vec<u8>>],
) -> Option<Judged> {
    let request = syncline_forges::Request { headers, body, now_ms };
    let Some(forge) = forge else {
        decoy(request);
        return None;
    };
    let Received { event, id, repository, meaning } = verify(forge, request, secrets)?.read();
    let shown = |name: &&str| {
        let value = headers.get(*name)?.to_str().ok()?;
        let value = without(value.as_bytes(), secrets);
        let value = String::from_utf8_lossy(&value).chars().take(MAX_HEADER_CHARS).collect();
        Some(((*name).to_owned(), value))
    };
    let delivery = NewDelivery {
        id: Uuid::new_v4().to_string(),
        dedupe: id.map(|id| match id.len() {
            ..=MAX_DEDUPE_BYTES => id,
            _ => format!("sha256:{}", audit::hash(&id)),
        }),
        event,
        says: match meaning {
            Meaning::Pushed(Branches::All) => Says::Pushed(None),
            Meaning::Pushed(Branches::Named(names)) => Says::Pushed(Some(names)),
            Meaning::PullRequest => Says::PullRequest,
            Meaning::Ping => Says::Ping,
            Meaning::Nothing(why) => Says::Nothing(why),
        },
        headers: SHOWN.iter().filter_map(shown).collect(),
        body: (body.len() <= MAX_KEPT_BYTES).then(|| without(body, secrets)),
        body_bytes: i64::try_from(body.len()).unwrap_or(i64::MAX),
    };
    Some(Judged { delivery, repository })
}

/// The delivery, of no effect if it is about another repository than the link's: a webhook of an organisation tells of
/// all of them.
fn about(webhook: &Webhook, Judged { mut delivery, repository }: Judged) -> NewDelivery {
    let other = repository.filter(|repository| !repository.eq_ignore_ascii_case(&webhook.repository));
    if let (Says::Pushed(_) | Says::PullRequest, Some(other)) = (&delivery.says, other) {
        delivery.says = Says::Nothing(format!("an event of '{other}', not of '{}'", webhook.repository));
    }
    delivery
}

/// The bytes with every secret blotted out: old versions of Gitea put it into the body.
fn without(bytes: &[u8], secrets: &[Secret<Vec<u8>>]) -> Vec<u8> {
    let mut clean = bytes.to_vec();
    for secret in secrets.iter().map(Secret::expose).filter(|secret| !secret.is_empty()) {
        let mut from = 0;
        while let Some(at) = clean[from..].windows(secret.len()).position(|part| part == secret) {
            clean.splice(from + at..from + at + secret.len(), *b"***");
            from += at + 3;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_kept() {
        let secrets =
            [Secret::from(b"one".to_vec()), Secret::from(b"two".to_vec()), Secret::from(Vec::new())];
        let check = |bytes: &str, expect: &str| {
            let clean = String::from_utf8(without(bytes.as_bytes(), &secrets)).expect("text");
            assert_eq!(clean, expect, "{bytes}");
        };
        check("", "");
        check("on", "on");
        check("one", "***");
        check("{\"secret\": \"one\"} onetwo tw one", "{\"secret\": \"***\"} ****** tw ***");
    }
}
