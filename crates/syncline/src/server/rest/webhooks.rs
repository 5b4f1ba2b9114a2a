//! Webhooks of repository links: their URL and secret, shown once.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, Request, Uri};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use syncline_forges::Forge;
use syncline_seams::Secret;
use syncline_store::{NewWebhookSecret, Owner, webhook_secret_owner};
use syncline_wire::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::super::api::{Call, links};
use super::super::hooks;
use super::super::{Encrypted, Front};
use super::access::exposed;
use super::{Answer, ApiError, Resource, Route, read, run};
use crate::credentials;

/// How long the secret before a new one goes on counting if nothing is said, in seconds.
const DEFAULT_OVERLAP_S: i64 = 24 * 60 * 60;
/// The same at the most.
const MAX_OVERLAP_S: i64 = 7 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Input {
    overlap_seconds: i64,
    /// Whether the forge is told by its API, now and whenever the secret changes.
    register: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self { overlap_seconds: DEFAULT_OVERLAP_S, register: false }
    }
}

/// What is recorded of it: neither the URL nor the secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    repository_link_id: String,
    #[serde(skip)]
    webhook_id: String,
    /// Whether the forge is told by its API.
    registered: bool,
    /// Until when the secret before it counts.
    previous_secret_until: Option<String>,
}

/// The one answer that shows a webhook's secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    url: String,
    /// Not where the forge has it.
    #[serde(serialize_with = "exposed_if_any", skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    /// What the forge is to send, in its own words.
    events: &'static [&'static str],
    provider_type: String,
    /// The link's repository.
    repository: String,
    /// Until when the secret before it counts; null if there was none.
    previous_secret_until: Option<String>,
    /// Whether the forge has the webhook as it is now.
    registered: bool,
    /// Why it has not, though it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_error: Option<String>,
    /// What is to be known of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

fn exposed_if_any<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Said where nobody knows how the server is reached.
const NO_PUBLIC_URL: &str = "--public-url is not set: the URL is where this request was sent to, and a forge may not \
    reach the server there; set it, and put the path of this URL behind it";

/// `POST /api/v1/repository-links/{id}/webhook`, with `{"overlapSeconds": …, "register": …}` or nothing: makes the
/// link's webhook, or gives it another secret, and has the forge know of it if that is asked for or was once.
pub(super) async fn rotate(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let id = id.to_ascii_lowercase();
    let route = Route::change("RotateWebhook", json!({ "repositoryLinkId": &id }))
        .on(Resource::Link(id.clone()))
        .recording_body_as("rotation");
    let is_encrypted = Encrypted::of(request.extensions()).unwrap_or_default();
    let asked_at = base_of(request.headers(), request.uri(), is_encrypted);
    run(front, request, route, async move |call, body| rotate_webhook(&call, &id, &body, asked_at).await)
        .await
}

/// Where a request was sent to.
fn base_of(headers: &HeaderMap, uri: &Uri, is_encrypted: bool) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let scheme = if is_encrypted { "https" } else { "http" };
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

async fn rotate_webhook(call: &Call, id: &str, body: &[u8], asked_at: String) -> Answer<Shown> {
    let input: Input = if body.is_empty() { Input::default() } else { read(body)? };
    if !(0..=MAX_OVERLAP_S).contains(&input.overlap_seconds) {
        return Err(ApiError::validation(format!(
            "overlapSeconds: {} is not between 0 and {MAX_OVERLAP_S}",
            input.overlap_seconds
        )));
    }
    let store = &call.front.store;
    let link = store.link(&call.scope, id).await?.ok_or_else(|| links::not_found(id))?;
    let forge = Forge::of_provider_type(&link.provider_type).ok_or_else(|| {
        let message = format!("there are no webhooks for provider type {}", link.provider_type);
        ApiError::new(ErrorCode::UnsupportedProviderType, message)
    })?;
    if input.register {
        // Before anything is changed.
        if call.front.public_url.is_none() {
            let why = "register: --public-url is not set, so no forge could be told where to send to";
            return Err(ApiError::validation(why));
        }
        let reached = hooks::forge_of(store, &call.front.forges, &link.id).await;
        reached.map_err(|why| ApiError::validation(format!("register: {why}")))?;
    }
    let secret = match forge {
        // Its token and its signing key are fields of their own: the secret is good for either.
        Forge::GitLab => credentials::new_signing_key(),
        Forge::AzureDevOps | Forge::Bitbucket | Forge::Git | Forge::GitHub | Forge::Gitea => {
            credentials::new_webhook_secret()
        }
    };
    let secret_id = Uuid::new_v4().to_string();
    let owner = webhook_secret_owner(&secret_id);
    let owner = Owner { account: call.scope.account.as_str(), arn: &owner };
    let new = NewWebhookSecret {
        webhook_id: Uuid::new_v4().simple().to_string(),
        sealed: store.keyring().seal(&owner, secret.expose().as_bytes())?,
        id: secret_id,
        overlap_ms: input.overlap_seconds * 1000,
        register: input.register,
    };
    let link_id = link.id.clone();
    // What is answered to the change is what is recorded.
    let change = call.asked.change(move |rotated: Option<syncline_store::Rotated>| match rotated {
        None => Err(links::not_found(&link_id)),
        Some(rotated) => Ok(Recorded {
            repository_link_id: link_id,
            webhook_id: rotated.webhook_id,
            registered: rotated.registered,
            previous_secret_until: rotated
                .previous_until_ms
                .map(|until_ms| Timestamp::from_epoch_ms(until_ms).iso8601()),
        }),
    });
    let made = store.rotate_webhook(&call.scope, id, new, change).await??;
    let public_url = call.front.public_url.as_ref();
    let base = public_url.unwrap_or(&asked_at);
    let url = format!("{base}{}{}", super::super::webhooks::PREFIX, made.webhook_id);
    let registration = match (made.registered, public_url) {
        (false, _) => None,
        (true, None) => Some(Err("--public-url is not set any more".to_owned())),
        (true, Some(_)) => Some(told_of(call, id, &made.webhook_id, &url).await),
    };
    let registered = registration == Some(Ok(()));
    Ok(Shown {
        url,
        secret: (!registered).then_some(secret),
        registered,
        registration_error: registration.and_then(Result::err),
        events: forge.events(),
        provider_type: link.provider_type,
        repository: format!("{}/{}", link.owner_id, link.repository_name),
        previous_secret_until: made.previous_secret_until,
        note: public_url.is_none().then_some(NO_PUBLIC_URL),
    })
}

/// Tells the forge of a webhook.
async fn told_of(call: &Call, link_id: &str, webhook_id: &str, url: &str) -> Result<(), String> {
    let (store, forges) = (&call.front.store, &call.front.forges);
    let at = hooks::forge_of(store, forges, link_id).await?;
    hooks::register(store, forges, &at, webhook_id, url).await
}
