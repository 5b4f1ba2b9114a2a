//! The front: the AWS API, the REST API, webhooks and the admin endpoints.
//!
//! **Architecture Invariant:** nothing here changes a sync but its due time, its configuration and the
//! operator's decisions; what is acknowledged is committed.

mod access;
mod admin;
pub mod api;
mod audit;
mod auth;
mod authorizing;
mod aws;
mod caller;
mod error;
mod forwarded;
mod handshakes;
mod hooks;
mod limits;
mod listener;
mod rest;
mod source;
mod tls;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use http::{HeaderMap, Response};
use syncline_git::{Egress, Git};
use syncline_model::names::AccountId;
use syncline_seams::Clock;
use syncline_store::Store;
use syncline_targets::Target;
use syncline_wire::sigv4::SigningKeys;
use syncline_wire::{WireError, encode_error, protocol_of};
use uuid::Uuid;

use crate::config::Quotas;
use crate::forges::Forges;
use crate::notify::Notifier;
use crate::running::RootCredentials;

pub use access::Policies;
pub use api::paging::PageTokens;
pub use forwarded::Proxies;
pub use limits::Gate;
pub use listener::Connections;
pub use source::{Encrypted, SourceAddress};
pub use tls::{Tls, TlsFiles};
pub(crate) use webhooks::PREFIX as WEBHOOKS;

/// What every request is answered with.
#[derive(Debug)]
pub struct Front {
    /// The store.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The operator's key; the others are in the store.
    pub root: RootCredentials,
    /// The policies of users.
    pub policies: Policies,
    /// Derived signing keys.
    pub signing_keys: SigningKeys,
    /// The quotas.
    pub quotas: Quotas,
    /// Pairs of an account and another one whose roles its syncs may use.
    pub role_accounts: Vec<(AccountId, AccountId)>,
    /// Where remotes may be.
    pub egress: Egress,
    /// Git hosts that a key is shown to; what repositories hold is the worker's to ask.
    pub git: Arc<Git>,
    /// The forges.
    pub forges: Arc<Forges>,
    /// The way to notification targets.
    pub notifier: Arc<Notifier>,
    /// Where this server is reached from outside, without a slash at the end; `None` if nobody said so.
    pub public_url: Option<String>,
    /// Authenticates paging tokens.
    pub tokens: PageTokens,
    /// Bounds what is taken on.
    pub gate: Gate,
    /// The main listener's connections.
    pub connections: Arc<Connections>,
    /// Says whom a role's trust policy must name; nothing else is asked of it here.
    pub principal: Arc<dyn Target>,
}

/// What every path of the REST API begins with.
const REST_PREFIX: &str = "/api/v1";

/// The main listener's routes.
pub fn router(front: Arc<Front>) -> Router {
    Router::new()
        // Any method: what is no request of the API is told so in the API's own words.
        .route("/", any(aws::answer).get(landing))
        .nest(REST_PREFIX, rest::routes(&front))
        .nest(handshakes::PREFIX.trim_end_matches('/'), handshakes::routes())
        .route("/webhooks/{id}", post(webhooks::receive))
        .fallback(aws::answer)
        .with_state(front)
}

/// The admin listener's routes.
pub fn admin_router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/livez", get(admin::livez))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .with_state(front)
}

/// The answer to a request that is refused before it is routed, in the words of whoever sent it.
fn refuse(path: &str, headers: &HeaderMap, error: &WireError) -> Response<Body> {
    let request_id = Uuid::new_v4().to_string();
    if [REST_PREFIX, webhooks::PREFIX, handshakes::PREFIX].iter().any(|prefix| path.starts_with(prefix)) {
        return rest::identified(rest::refusal(error), &request_id);
    }
    encode_error(protocol_of(path, headers), error, &request_id).map(Body::from)
}

async fn landing() -> &'static str {
    concat!(
        "Syncline ",
        env!("CARGO_PKG_VERSION"),
        "\n\nThis endpoint speaks the AWS CodeConnections and CodeStar Connections API.\n",
        "Point a client at it, for example: aws codeconnections list-connections --endpoint-url <this URL>\n",
    )
}
