//! GitHub's deliveries to webhooks: made over HTTP to whoever listens, remembered, and made again when that is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use ring::hmac;
use serde_json::{Value, json};
use syncline_forges::Forge;
use syncline_seams::Clock;
use syncline_wire::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::hooks::place;
use super::{ForgeDouble, Grant, Inner, KnownHook, json_answer};

/// How long GitHub remembers a delivery, in milliseconds.
const REMEMBERED_MS: i64 = 3 * 24 * 3_600_000;

/// A delivery that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDelivery {
    /// Its id: each try has another.
    pub id: u64,
    /// What all tries of one event share.
    pub guid: String,
    /// The webhook's id.
    pub hook_id: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Whether somebody asked for it.
    pub is_redelivery: bool,
    /// The status that was answered; 502 if nobody did.
    pub status: u16,
    event: String,
    body: String,
}

/// Where the URLs of webhooks lead.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// What they begin with.
    public_url: String,
    /// `<address>:<port>` of whoever listens there.
    authority: String,
    clock: Arc<dyn Clock>,
}

impl ForgeDouble {
    /// Has the URLs of webhooks that begin with `public_url` lead to `authority`, from now on.
    pub fn reach(&self, public_url: &str, authority: &str, clock: Arc<dyn Clock>) {
        let reach = Reach { public_url: public_url.to_owned(), authority: authority.to_owned(), clock };
        self.inner.memory().reach = Some(reach);
    }

    /// Delivers an event to every webhook of a repository, as the forge does by itself; the statuses.
    ///
    /// # Panics
    /// When nobody said where URLs lead.
    pub async fn deliver(&self, repository: &str, event: &str, guid: &str, body: &Value) -> Vec<u16> {
        let of_it = self.hooks().into_iter().filter(|hook| hook.repository == repository);
        let mut statuses = Vec::new();
        for hook in of_it {
            statuses.push(self.inner.deliver(&hook, (event, guid, &body.to_string()), false).await);
        }
        statuses
    }

    /// Delivers a push to a branch of a repository; the statuses.
    pub async fn push(&self, repository: &str, branch: &str, guid: &str) -> Vec<u16> {
        let body =
            json!({ "ref": format!("refs/heads/{branch}"), "repository": { "full_name": repository } });
        self.deliver(repository, "push", guid, &body).await
    }

    /// Every try since the start, oldest first.
    #[must_use]
    pub fn deliveries(&self) -> Vec<KnownDelivery> {
        self.inner.memory().deliveries.clone()
    }
}

/// Sends a delivery; the status that is answered, or 502 as GitHub notes it where nobody answers.
async fn sent(authority: &str, path: &str, headers: &str, body: &str) -> u16 {
    let answered = async {
        let mut stream = TcpStream::connect(authority).await.ok()?;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: GitHub-Hookshot/044aadd\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split(' ').nth(1)?.parse().ok()
    };
    answered.await.unwrap_or(502)
}

impl Inner {
    async fn deliver(
        &self,
        hook: &KnownHook,
        (event, guid, body): (&str, &str, &str),
        is_redelivery: bool,
    ) -> u16 {
        let reach = self.memory().reach.clone().expect("somebody said where URLs lead");
        let at_ms = reach.clock.now_ms();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, hook.secret.as_bytes()), body.as_bytes());
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let headers = format!(
            "x-github-event: {event}\r\nx-github-delivery: {guid}\r\nx-github-hook-id: {}\r\n\
             x-hub-signature-256: sha256={digits}\r\n",
            hook.id
        );
        let status = match hook.url.strip_prefix(&reach.public_url) {
            Some(path) => sent(&reach.authority, path, &headers, body).await,
            None => 502,
        };
        let mut memory = self.memory();
        let (id, hook_id) = (memory.new_id(), hook.id.clone());
        let (guid, event, body) = (guid.to_owned(), event.to_owned(), body.to_owned());
        memory.deliveries.push(KnownDelivery {
            id,
            guid,
            hook_id,
            at_ms,
            is_redelivery,
            status,
            event,
            body,
        });
        status
    }

    /// The webhook that a path names, or a refusal.
    fn hook_at(&self, grant: &Grant, path: &BTreeMap<String, String>) -> Result<KnownHook, Box<Response>> {
        let repository = place(self, grant, path)?;
        let id = path.get("id").cloned().unwrap_or_default();
        let found =
            self.memory().hooks.iter().find(|hook| hook.id == id && hook.repository == repository).cloned();
        found.ok_or_else(|| Box::new(self.says(StatusCode::NOT_FOUND, "Not Found")))
    }
}

pub(super) fn routes(forge: Forge) -> Router<Arc<Inner>> {
    if forge != Forge::GitHub {
        return Router::new();
    }
    let path = "/repos/{owner}/{name}/hooks/{id}/deliveries";
    Router::new().route(path, get(list)).route(&format!("{path}/{{delivery}}/attempts"), post(attempt))
}

type Named = Path<BTreeMap<String, String>>;

fn shown(delivery: &KnownDelivery) -> Value {
    let status = match delivery.status {
        200..300 => "OK",
        502 => "failed to connect",
        _ => "Invalid HTTP Response",
    };
    json!({
        "id": delivery.id, "guid": delivery.guid, "delivered_at": Timestamp::from_epoch_ms(delivery.at_ms).iso8601(),
        "redelivery": delivery.is_redelivery, "duration": 0.27, "status": status, "status_code": delivery.status,
        "event": delivery.event, "action": null, "installation_id": null, "repository_id": 1, "throttled_at": null,
    })
}

/// The newest first; the cursor says how many came before.
async fn list(
    State(inner): State<Arc<Inner>>,
    Extension(grant): Extension<Grant>,
    Path(path): Named,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let hook = match inner.hook_at(&grant, &path) {
        Ok(hook) => hook,
        Err(refusal) => return *refusal,
    };
    let size: usize = query.get("per_page").map_or(Some(30), |size| size.parse().ok()).unwrap_or_default();
    let cursor =
        query.get("cursor").map(|cursor| cursor.strip_prefix("v1_").and_then(|skip| skip.parse().ok()));
    let is_known = query.keys().all(|name| ["per_page", "cursor"].contains(&&**name));
    let (Some(skip), true, 1..=100) = (cursor.unwrap_or(Some(0usize)), is_known, size) else {
        return inner.misunderstands(format!("no page of deliveries: {query:?}"));
    };
    let memory = inner.memory();
    let now_ms = memory.reach.as_ref().map_or(0, |reach| reach.clock.now_ms());
    let is_its = |one: &&KnownDelivery| one.hook_id == hook.id && one.at_ms > now_ms - REMEMBERED_MS;
    let all: Vec<Value> = memory.deliveries.iter().rev().filter(is_its).map(shown).collect();
    drop(memory);
    let rest = all.len() > skip + size;
    let page: Vec<Value> = all.into_iter().skip(skip).take(size).collect();
    let mut response = json_answer(StatusCode::OK, &Value::Array(page));
    if rest {
        let (repository, id) = (&hook.repository, &hook.id);
        let next = format!(
            "<{}/repos/{repository}/hooks/{id}/deliveries?per_page={size}&cursor=v1_{}>; rel=\"next\"",
            inner.api,
            skip + size
        );
        response.headers_mut().insert(header::LINK, HeaderValue::try_from(next).expect("a header"));
    }
    response
}

/// Delivers again before it answers, so that whoever asked knows what follows.
async fn attempt(
    State(inner): State<Arc<Inner>>,
    Extension(grant): Extension<Grant>,
    Path(path): Named,
    body: Bytes,
) -> Response {
    let hook = match inner.hook_at(&grant, &path) {
        Ok(hook) => hook,
        Err(refusal) => return *refusal,
    };
    if !body.is_empty() {
        return inner.misunderstands("an attempt with a body");
    }
    let id = path.get("delivery").and_then(|id| id.parse::<u64>().ok());
    let known =
        inner.memory().deliveries.iter().find(|one| Some(one.id) == id && one.hook_id == hook.id).cloned();
    let Some(known) = known else { return inner.says(StatusCode::NOT_FOUND, "Not Found") };
    inner.deliver(&hook, (&known.event, &known.guid, &known.body), true).await;
    json_answer(StatusCode::ACCEPTED, &json!({}))
}
