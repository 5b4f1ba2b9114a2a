//! `/handshakes/…`: handshakes that a person completes in a browser.
//!
//! A key begins one ([`begin`]) and gets a URL that opens it. The browser that opens it first gets a cookie, without which
//! nothing goes on; the forge gets a `state`, and hands it back. Each of these is random, good for ten minutes and stored as a
//! digest. A browser may be in several handshakes: each has a cookie of its own, which the state names. What a handshake is
//! allowed to do is what whoever began it is allowed to do when it ends.
//!
//! **Architecture Invariant:** a handshake for which the forge hands back a code is taken out of the database before anything
//! is asked for it, so that a code is exchanged once, whoever brings it how often; and what was taken is gone on with to the
//! end, whether a browser waits for it or not. Where there is no code, what was got before stays until it is of use.

mod github_app;
mod oauth;
mod page;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::header::{COOKIE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline_seams::Secret;
use syncline_store::{Handshake, NewHandshake, Owner, handshake_owner};
use syncline_wire::{ErrorCode, Service, Timestamp};
use tracing::{error, info};
use uuid::Uuid;

use super::access::check;
use super::api::Call;
use super::audit::{Asked, Origin, hash};
use super::authorizing::Subject;
use super::caller::{Caller, Principal};
use super::error::{Answer, ApiError};
use super::rest::Resource;
use super::{Front, SourceAddress};
use crate::credentials;

pub(super) use github_app::{Choice, begin as begin_github_app};
pub(super) use oauth::begin as begin_oauth;

/// What every path of a handshake begins with.
pub(super) const PREFIX: &str = "/handshakes/";

/// The permission that completing a handshake takes.
pub(super) const AUTHORIZE: &str = "AuthorizeConnection";

/// How long a step may take, in milliseconds.
const LIFETIME_MS: i64 = 10 * 60 * 1000;

/// How many hexadecimal digits of the ticket's SHA-256 name the cookie of its handshake.
const LABEL_DIGITS: usize = 16;

/// The longest of what a browser brings back, in bytes.
const MAX_BROUGHT_BYTES: usize = 4096;

/// The routes below `/handshakes`.
pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/{ticket}", get(open))
        .route("/oauth", get(oauth::authorized))
        .route("/github-app/made", get(github_app::made))
        .route("/github-app/installed", get(github_app::installed))
}

/// A handshake that was begun.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Begun {
    /// What is to be opened in a browser.
    url: String,
    /// Until when.
    expires_at: String,
    /// What the forge must know to send the browser back to, where somebody has to tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<String>,
}

/// Who began a handshake.
#[derive(Serialize, Deserialize)]
struct BegunBy {
    key_id: String,
}

/// Begins a handshake, whose next step needs `content`.
async fn begin(call: &Call, subject: &Subject, kind: &str, content: &Secret<Vec<u8>>) -> Answer<Begun> {
    let front = &call.front;
    let Some(public_url) = &front.public_url else {
        return Err(ApiError::validation(
            "--public-url is not set: the forge could not send the browser back to this server",
        ));
    };
    let (id, ticket) = (Uuid::new_v4().to_string(), credentials::new_webhook_secret());
    let row = handshake_owner(&id);
    let owner = Owner { account: call.scope.account.as_str(), arn: &row };
    let new = NewHandshake {
        kind: kind.to_owned(),
        begun_by: serde_json::to_string(&BegunBy { key_id: call.asked.caller.key_id.clone() })
            .unwrap_or_default(),
        tried_at: subject.host.clone(),
        ticket: hash(ticket.expose()),
        lifetime_ms: LIFETIME_MS,
        sealed: front.store.keyring().seal(&owner, content.expose())?,
        id,
    };
    let begun = Begun {
        url: format!("{public_url}{PREFIX}{}", ticket.expose()),
        expires_at: Timestamp::from_epoch_ms(front.clock.now_ms() + LIFETIME_MS).iso8601(),
        redirect_uri: None,
    };
    let id = subject.connection.id.clone();
    let gone = ApiError::not_found("connection", &id);
    // The URL is a secret, which the audit log must not hold.
    let expires_at = begun.expires_at.clone();
    let change = call
        .asked
        .change(move |is_begun| if is_begun { Ok(json!({ "expiresAt": expires_at })) } else { Err(gone) });
    front.store.begin_handshake(&call.scope, &id, new, change).await??;
    Ok(begun)
}

/// What a browser brings: its cookie.
fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, value)| *found == name && value.len() <= 128).map(|(_, value)| value.to_owned())
}

/// The name of a handshake's cookie: with the prefix by which browsers take it from this host alone and over TLS, where there
/// is TLS.
fn cookie_name(front: &Front, label: &str) -> String {
    let prefix = if is_https(front) { "__Host-" } else { "" };
    format!("{prefix}syncline-handshake-{label}")
}

fn is_https(front: &Front) -> bool {
    front.public_url.as_ref().is_some_and(|url| url.starts_with("https://"))
}

/// What the forge is to hand back, which names the cookie.
fn new_state(label: &str) -> Secret {
    Secret::new(format!("{label}.{}", credentials::new_webhook_secret().expose()))
}

/// The name that a state gives to the cookie.
fn label_of(state: &str) -> Option<&str> {
    state.split_once('.').map(|(label, _)| label)
}

/// A step of a handshake, as a page.
async fn step(
    front: &Arc<Front>,
    parts: &Parts,
    page: impl AsyncFnOnce(&str) -> Answer<Response>,
) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let answered = async {
        front.gate.admit(SourceAddress::of(&parts.extensions))?;
        let _turn = front.gate.turn(&parts.headers, false)?;
        front.gate.in_time(page(&request_id)).await
    };
    shown(answered.await, &request_id)
}

/// A step that goes on when the browser has gone away, for as long as its calls take, each of which has a bound of its own:
/// what it has taken, nobody else can bring again.
async fn whole_step<F>(
    front: Arc<Front>,
    parts: Parts,
    page: impl FnOnce(Arc<Front>, Parts, String) -> F,
) -> Response
where
    F: Future<Output = Answer<Response>> + Send + 'static,
{
    let request_id = Uuid::new_v4().to_string();
    let answered = async {
        front.gate.admit(SourceAddress::of(&parts.extensions))?;
        let turn = front.gate.turn(&parts.headers, false)?;
        let page = page(Arc::clone(&front), parts, request_id.clone());
        let task = tokio::spawn(async move {
            let _turn = turn;
            page.await
        });
        task.await.unwrap_or_else(|error| {
            error!(%error, request_id, "a step of a handshake did not end");
            Err(ended(ApiError::new(ErrorCode::InternalServer, "")))
        })
    };
    shown(answered.await, &request_id)
}

/// What came of a step, as a page.
fn shown(answered: Answer<Response>, request_id: &str) -> Response {
    let response = answered.unwrap_or_else(|error| {
        let error = error.error;
        if error.retry_after.is_none() {
            info!(request_id, code = error.code.name(), message = error.message, "a handshake was refused");
        }
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = format!("<p>{}</p>", page::text(&error.message));
        page::page(status, "The connection is not authorized", &body, None)
    });
    super::rest::identified(response, request_id)
}

/// Whether it says that something went wrong here, which is otherwise mended by asking again.
fn is_trouble_here(error: &ApiError) -> bool {
    error.error.code == ErrorCode::InternalServer
}

/// The same for a step whose handshake is over by it.
fn ended(error: ApiError) -> ApiError {
    if !is_trouble_here(&error) {
        return error;
    }
    let words = "the server could not complete the request, and the handshake is over: begin again";
    ApiError::new(ErrorCode::InternalServer, words)
}

/// The one answer to whatever opens or continues nothing (any more).
fn over() -> ApiError {
    ApiError::validation(
        "this handshake is over: it took longer than ten minutes, was gone on with already or in another browser, or was \
         begun anew since. Nothing was stored by this request. Begin again.",
    )
}

/// `GET /handshakes/{ticket}`
async fn open(State(front): State<Arc<Front>>, Path(ticket): Path<String>, parts: Parts) -> Response {
    let ticket = hash(&ticket);
    let label = &ticket[..LABEL_DIGITS];
    let name = cookie_name(&front, label);
    // Whatever comes of it: who may have opened it must be able to open it again.
    let mut fresh = None;
    let mut response = step(&front, &parts, async |request_id| {
        let cookie = credentials::new_webhook_secret();
        let known = cookie_of(&parts.headers, &name).map(|cookie| hash(&cookie));
        let state = new_state(label);
        let (browser, expected) = (hash(cookie.expose()), hash(state.expose()));
        fresh = Some(cookie);
        let opened = front.store.open_handshake(&ticket, known.as_deref(), &browser, &expected).await?;
        let Some(handshake) = opened else {
            fresh = None;
            front.gate.unproven(SourceAddress::of(&parts.extensions));
            return Err(over());
        };
        if !handshake.is_of_browser(&browser) {
            fresh = None;
        }
        let call = call_of(&front, &handshake, &parts, request_id).await?;
        match handshake.kind.as_str() {
            github_app::MANIFEST => github_app::offer(&call, &handshake, state.expose()).await,
            oauth::CODE => oauth::offer(&call, &handshake, state.expose()).await,
            _ => Err(over()),
        }
    })
    .await;
    if let Some(cookie) = fresh {
        let secure = if is_https(&front) { "; Secure" } else { "" };
        let cookie = format!(
            "{name}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            cookie.expose(),
            2 * LIFETIME_MS / 1000
        );
        if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
            cookie.set_sensitive(true);
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
    }
    response
}

/// What a browser and a forge bring of a handshake.
struct Proof {
    /// What the cookie is called by.
    label: String,
    /// SHA-256 of the cookie.
    browser: String,
    /// SHA-256 of the state.
    state: String,
}

impl Proof {
    fn of(front: &Front, parts: &Parts) -> Option<Self> {
        let state = brought(parts, "state")?;
        let label = label_of(&state)?.to_owned();
        let cookie = cookie_of(&parts.headers, &cookie_name(front, &label))?;
        Some(Self { label, browser: hash(cookie), state: hash(state) })
    }
}

/// The handshake that was looked for, or the answer to whoever has none.
fn found(front: &Front, parts: &Parts, handshake: Option<Handshake>) -> Answer<Handshake> {
    handshake.ok_or_else(|| {
        front.gate.unproven(SourceAddress::of(&parts.extensions));
        over()
    })
}

/// The handshake that a browser brings the state of, which is taken by that; and what its cookie is called by.
async fn taken(front: &Front, parts: &Parts, kind: &str) -> Answer<(Handshake, String)> {
    let Some(Proof { label, browser, state }) = Proof::of(front, parts) else {
        return Ok((found(front, parts, None)?, String::new()));
    };
    let handshake = front.store.take_handshake(kind, &browser, &state).await?;
    Ok((found(front, parts, handshake)?, label))
}

/// The same of a handshake that stays what it is until it is of use.
async fn looked_at(front: &Front, parts: &Parts, kind: &str) -> Answer<Handshake> {
    let handshake = match Proof::of(front, parts) {
        Some(Proof { browser, state, .. }) => front.store.handshake(kind, &browser, &state).await?,
        None => None,
    };
    found(front, parts, handshake)
}

/// What the step of a handshake needs.
async fn content(front: &Front, handshake: &Handshake) -> Answer<Secret<Vec<u8>>> {
    let row = handshake_owner(&handshake.id);
    let owner = Owner { account: handshake.scope.account.as_str(), arn: &row };
    Ok(front.store.keyring().open_sealed(&owner, &handshake.sealed).await?)
}

/// The call of whoever began a handshake, if their key is still one, and may still do it.
async fn call_of(front: &Arc<Front>, handshake: &Handshake, parts: &Parts, request_id: &str) -> Answer<Call> {
    let gone = || {
        ApiError::new(ErrorCode::AccessDenied, "the key that began this handshake is no longer a valid one")
    };
    let BegunBy { key_id } = serde_json::from_str(&handshake.begun_by).map_err(|_| gone())?;
    let (principal, account, session_began_ms) = if key_id == front.root.access_key_id {
        (Principal::Root, front.root.account.clone(), None)
    } else {
        let key = front.store.access_key(&key_id).await?.filter(|key| key.is_active).ok_or_else(gone)?;
        if key.expires_at_ms.is_some_and(|ends_ms| ends_ms <= front.clock.now_ms()) {
            return Err(gone());
        }
        (Principal::User(key.user), key.account, key.expires_at_ms.map(|_| key.created_at_ms))
    };
    let connection_id = &handshake.connection_id;
    let asked = Arc::new(Asked {
        caller: Caller { key_id, account, principal, session_began_ms },
        account: handshake.scope.account.clone(),
        region: handshake.scope.region.clone(),
        origin: Origin::of(parts, request_id),
        event_source: "syncline",
        event_name: AUTHORIZE,
        is_read_only: false,
        parameters: json!({ "connectionId": connection_id, "handshake": handshake.kind }),
        body: OnceLock::new(),
        body_hash: String::new(),
        is_recorded: AtomicBool::new(false),
    });
    let service = Service::CodeConnections;
    let call = Call { front: Arc::clone(front), scope: handshake.scope.clone(), service, asked };
    let resource = Resource::Connection(connection_id.clone());
    let permitted = check(&call, || vec![resource.needed(&call.scope, AUTHORIZE)]).await;
    if let Err(denied) = permitted {
        call.asked.refused(front, &denied).await;
        return Err(denied);
    }
    Ok(call)
}

/// What a forge hands back in the query under this name, if it is no longer than anything that is expected.
fn brought(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let found = form_urlencoded::parse(query).find(|(found, _)| found == name)?;
    Some(found.1.into_owned()).filter(|value| (1..=MAX_BROUGHT_BYTES).contains(&value.len()))
}

/// The origin of a forge's pages, which a page may post to.
fn origin(git: &str) -> Answer<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let uri: Option<Uri> = git.parse().ok();
    let parts = uri.as_ref().and_then(|uri| uri.scheme_str().zip(uri.authority()));
    match parts {
        Some((scheme, authority)) if authority.as_str().chars().all(plain) => {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(ApiError::validation(format!("'{git}' is no place that a browser can be sent to"))),
    }
}
