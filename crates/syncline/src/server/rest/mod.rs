//! The REST API under `/api/v1`: what the AWS API has no operation for. Requests are signed with SigV4 for
//! the service `codeconnections`, as `curl --aws-sigv4` does.

mod access;
mod audit;
mod connections;
mod deliveries;
mod github_app;
mod keyring;
mod notifications;
mod oauth;
mod outbox;
mod previews;
mod ssh;
mod suspensions;
mod syncs;
mod webhooks;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use syncline_model::names::AccountId;
use syncline_store::{Scope, Tagged};
use syncline_wire::{ErrorCode, Service, WireError};
use tracing::info;
use uuid::Uuid;

use super::access::{Need, check, everything};
use super::api::Call;
use super::api::arns::arn;
use super::audit::{Asked, Origin, hash};
use super::caller::{Caller, Principal, user_arn};
use super::error::{Answer, ApiError};
use super::{Front, SourceAddress, auth, aws};

/// The routes below `/api/v1`.
pub(super) fn routes(front: &Arc<Front>) -> Router<Arc<Front>> {
    Router::new()
        .route("/connections/{id}/authorize", post(connections::authorize))
        .route("/connections/{id}/github-app", post(github_app::authorize))
        .route("/connections/{id}/github-app/manifest", post(github_app::begin))
        .route("/connections/{id}/oauth", post(oauth::begin))
        .route("/repository-links/{id}/webhook", post(webhooks::rotate))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/notification-targets", get(notifications::list).post(notifications::create))
        .route("/notification-targets/{name}", axum::routing::delete(notifications::delete))
        .route("/notification-targets/{name}/test", post(notifications::test))
        .route("/outbox", get(outbox::list))
        .route("/previews", get(previews::list))
        .route("/previews/{id}", get(previews::show))
        .route("/account", get(syncs::account))
        .nest("/accounts/{account}", access::routes())
        .route("/audit", get(audit::list))
        .route("/keyring", get(keyring::show))
        .route("/keyring/rotate", post(keyring::rotate))
        .route("/syncs", get(syncs::list))
        .route("/syncs/{name}", get(syncs::show))
        .route("/syncs/{name}/sync-now", post(syncs::sync_now))
        .route("/syncs/{name}/suspend", post(suspensions::suspend_sync))
        .route("/syncs/{name}/resume", post(suspensions::resume_sync))
        .fallback(async || refusal(&WireError::new(ErrorCode::ResourceNotFound, "there is no such path")))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(front), admitted))
}

/// The id under which a request is answered, logged and recorded.
#[derive(Debug, Clone)]
struct RequestId(String);

/// Every request costs its source, and every answer carries the id under which it is logged.
async fn admitted(State(front): State<Arc<Front>>, mut request: Request<Body>, next: Next) -> Response {
    let request_id = Uuid::new_v4().to_string();
    if let Err(error) = front.gate.admit(SourceAddress::of(request.extensions())) {
        return identified(refusal(&error), &request_id);
    }
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    if !response.status().is_success() && !response.headers().contains_key(RETRY_AFTER) {
        info!(request_id, %method, path, status = response.status().as_u16(), "refused");
    }
    identified(response, &request_id)
}

/// The answer with its id.
pub(super) fn identified(mut response: Response, request_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

/// An operation of this API, as policies and the audit log name it.
struct Route {
    name: &'static str,
    /// What it needs the permission for; what it is named, where it is not said.
    needs: Option<&'static str>,
    is_read_only: bool,
    /// What a change is asked to do; never a secret.
    parameters: Value,
    /// The member of the parameters that the body is recorded as, unless the request is denied or it cannot be
    /// read.
    body_as: Option<&'static str>,
    /// Whose resources it is about; the caller's own where it is not said.
    account: Option<String>,
    /// What it is done to.
    resource: Resource,
    /// The status of the answer.
    status: StatusCode,
}

impl Route {
    fn question(name: &'static str) -> Self {
        Self {
            name,
            needs: None,
            is_read_only: true,
            parameters: Value::Null,
            body_as: None,
            account: None,
            resource: Resource::Account,
            status: StatusCode::OK,
        }
    }

    fn change(name: &'static str, parameters: Value) -> Self {
        Self { is_read_only: false, parameters, ..Self::question(name) }
    }

    /// The same, for whoever may do `action`.
    fn needing(self, action: &'static str) -> Self {
        Self { needs: Some(action), ..self }
    }

    /// The same, about the resources of `account`.
    fn of(self, account: String) -> Self {
        Self { account: Some(account), ..self }
    }

    /// The same, its body recorded as this member of its parameters: a body without a secret.
    fn recording_body_as(self, member: &'static str) -> Self {
        Self { body_as: Some(member), ..self }
    }

    /// The same, done to `resource`.
    fn on(self, resource: Resource) -> Self {
        Self { resource, ..self }
    }
}

/// What an operation of this API is done to, as policies name it.
pub(super) enum Resource {
    /// The account as a whole: `arn:aws:syncline:<region>:<account>:*`.
    Account,
    /// A user: `arn:aws:iam::<account>:user/<name>`.
    User(String),
    /// A sync: `arn:aws:syncline:<region>:<account>:sync/<name>`.
    Sync(String),
    /// A connection, under its ARN of the AWS API.
    Connection(String),
    /// A repository link, under its ARN of the AWS API.
    Link(String),
    /// What was delivered to a webhook: `arn:aws:syncline:<region>:<account>:delivery/<id>`.
    Delivery(String),
    /// A preview of a pull request: `arn:aws:syncline:<region>:<account>:preview/<id>`.
    Preview(String),
    /// A notification target: `arn:aws:syncline:<region>:<account>:notification-target/<name>`.
    NotificationTarget(String),
}

impl Resource {
    /// The permission for an action of ours, `syncline:<name>`.
    pub(super) fn needed(&self, scope: &Scope, name: &str) -> Need {
        let action = format!("syncline:{name}");
        match self {
            Self::Account => Need::new(action, everything(scope, "syncline")),
            Self::User(name) => Need::new(action, user_arn(&scope.account, name)),
            Self::Sync(sync) => Need::new(action, arn(scope, "syncline", "sync", sync)),
            Self::Connection(id) => {
                let service = Service::CodeConnections.signing_name();
                Need::new(action, arn(scope, service, "connection", id))
                    .tags_of(Some(Tagged::Connection(id.clone())))
            }
            Self::Link(id) => {
                let service = Service::CodeConnections.signing_name();
                Need::new(action, arn(scope, service, "repository-link", id))
                    .tags_of(Some(Tagged::Link(id.clone())))
            }
            Self::Delivery(id) => Need::new(action, arn(scope, "syncline", "delivery", id)),
            Self::Preview(id) => Need::new(action, arn(scope, "syncline", "preview", id)),
            Self::NotificationTarget(name) => {
                Need::new(action, arn(scope, "syncline", "notification-target", name))
            }
        }
    }
}

/// Verifies a request, has it answered, and records it if it is refused.
async fn run<O: Serialize>(
    front: Arc<Front>,
    request: Request<Body>,
    route: Route,
    handler: impl AsyncFnOnce(Call, Bytes) -> Answer<O>,
) -> Response {
    let status = route.status;
    match answer(front, request, route, handler).await {
        Ok(output) => json(status, &output),
        Err(error) => refusal(&error.error),
    }
}

async fn answer<O: Serialize>(
    front: Arc<Front>,
    request: Request<Body>,
    route: Route,
    handler: impl AsyncFnOnce(Call, Bytes) -> Answer<O>,
) -> Answer<O> {
    let (mut parts, body) = request.into_parts();
    // A nested route sees the path without its prefix; the client signed the whole one.
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        parts.uri = original.0.clone();
    }
    let body = aws::read_body(&front, &parts, body).await?;
    front.gate.in_time(operate(&front, &parts, body, route, handler)).await
}

async fn operate<O: Serialize>(
    front: &Arc<Front>,
    parts: &Parts,
    body: Bytes,
    route: Route,
    handler: impl AsyncFnOnce(Call, Bytes) -> Answer<O>,
) -> Answer<O> {
    let service = Service::CodeConnections;
    let mut turn = front.gate.turn(&parts.headers, route.is_read_only)?;
    let (caller, region) = auth::authenticate(front, parts, &body, service.signing_name()).await?;
    front.gate.charge(&mut turn, &caller, route.is_read_only)?;
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let (account, foreign) = account_of(&caller, route.account.as_deref());
    let scope = Scope { account: account.clone(), region: region.clone() };
    let asked = Arc::new(Asked {
        caller,
        account,
        region,
        origin: Origin::of(parts, &request_id),
        event_source: "syncline",
        event_name: route.name,
        is_read_only: route.is_read_only,
        parameters: route.parameters,
        body: OnceLock::new(),
        body_hash: if route.is_read_only { String::new() } else { hash(&body) },
        is_recorded: AtomicBool::new(false),
    });
    let call = Call { front: Arc::clone(front), scope, service, asked: Arc::clone(&asked) };
    let needed = || vec![route.resource.needed(&call.scope, route.needs.unwrap_or(route.name))];
    let changes_user = !call.asked.is_read_only && matches!(route.resource, Resource::User(_));
    let permitted = match foreign {
        Some(foreign) => Err(foreign),
        None => check(&call, needed).await,
    };
    let permitted =
        permitted.and_then(|()| if changes_user { needs_lasting_key(&call.asked.caller) } else { Ok(()) });
    let answered = match permitted {
        Ok(()) => {
            // Not before: whoever may not do this has no say in what the log holds.
            if let Some(member) = route.body_as
                && let Ok(value) = serde_json::from_slice(&body)
            {
                asked.body.get_or_init(|| (member, value));
            }
            handler(call, body).await
        }
        Err(denied) => Err(denied),
    };
    match &answered {
        Ok(output) => asked.done(front, output).await,
        Err(refusal) => asked.refused(front, refusal).await,
    }
    answered
}

/// Whose resources a request is about, and its refusal if they are no business of the caller's: the operator
/// manages every account, everybody else their own.
fn account_of(caller: &Caller, named: Option<&str>) -> (AccountId, Option<ApiError>) {
    let own = caller.account.clone();
    let Some(named) = named.filter(|named| *named != own.as_str()) else { return (own, None) };
    match (&caller.principal, named.parse::<AccountId>()) {
        (Principal::Root, Ok(named)) => (named, None),
        (Principal::Root, Err(error)) => (own, Some(ApiError::validation(format!("the account: {error}")))),
        (Principal::User(_), _) => {
            let message =
                format!("account {named} is not the key's own: only the operator's root key manages others");
            (own, Some(ApiError::new(ErrorCode::AccessDenied, message)))
        }
    }
}

/// Refuses a temporary key, whatever its user's policies allow: what it made would outlive it.
fn needs_lasting_key(caller: &Caller) -> Answer<()> {
    if caller.session_began_ms.is_none() {
        return Ok(());
    }
    let message = format!(
        "the access key {} is temporary: users, their policies and their keys are changed only with a key that \
         does not expire",
        caller.key_id
    );
    Err(ApiError::new(ErrorCode::AccessDenied, message))
}

/// What a REST request is refused with: `{"code": …, "message": …}`.
pub(super) fn refusal(error: &WireError) -> Response {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response =
        json(status, &serde_json::json!({ "code": error.code.name(), "message": error.message }));
    response.headers_mut().extend(error.retry_headers());
    response
}

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of a request. The refusal says where it goes wrong, in none of the body's own words: these may be a
/// secret that stands in the wrong place, and the refusal is logged and recorded.
fn read<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    // A structure could also be read from a list of its members, and an empty list would be all defaults.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::new(ErrorCode::Serialization, "the body: it must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = match error.classify() {
            Category::Data => "a member is unknown, missing, given twice or of the wrong type",
            Category::Eof => "it ends too early",
            Category::Syntax | Category::Io => "it is not JSON",
        };
        let message = format!("the body: {what} (line {line}, column {column})");
        ApiError::new(ErrorCode::Serialization, message)
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only read")]
    struct Input {
        token: Option<String>,
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused_in_words_that_are_not_its_own() {
        let check = |body: &str, expect: &str| {
            let refusal = read::<Input>(body.as_bytes()).expect_err(body).error;
            assert_eq!((refusal.code, &*refusal.message), (ErrorCode::Serialization, expect), "{body}");
        };
        let data = |place: &str| {
            format!("the body: a member is unknown, missing, given twice or of the wrong type ({place})")
        };
        check(r#"{"token": 123456}"#, &data("line 1, column 16"));
        check(r#"{"token": ["s3cr3t"]}"#, &data("line 1, column 10"));
        check("{\n\"s3cr3t\": 1}", &data("line 2, column 8"));
        check(r#"{"token": s3cr3t}"#, "the body: it is not JSON (line 1, column 11)");
        check(r#"{"token": "s3cr3t"#, "the body: it ends too early (line 1, column 17)");
        check(r#"["s3cr3t"]"#, "the body: it must be a JSON object");
        check("s3cr3t", "the body: it must be a JSON object");
    }
}
