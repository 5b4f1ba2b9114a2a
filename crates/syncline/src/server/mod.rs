//! The front: the AWS API, the REST API and the admin endpoints.
//!
//! **Architecture Invariant:** nothing here changes a sync but its due time, its configuration and the
//! operator's decisions; what is acknowledged is committed.

mod admin;
pub mod api;
mod auth;
mod aws;
mod error;
mod rest;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use syncline_git::Egress;
use syncline_model::names::AccountId;
use syncline_seams::Clock;
use syncline_store::Store;
use syncline_targets::Target;
use syncline_wire::sigv4::SigningKeys;
use zeroize::Zeroizing;

use crate::config::Quotas;

pub use api::paging::PageTokens;

/// An access key of this server.
pub struct AccessKey {
    /// The account it acts for.
    pub account: AccountId,
    /// Its secret.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKey({}, ***)", self.account)
    }
}

/// What every request is answered with.
#[derive(Debug)]
pub struct Front {
    /// The store.
    pub store: Store,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The access keys by id.
    pub keys: HashMap<String, AccessKey>,
    /// Derived signing keys.
    pub signing_keys: SigningKeys,
    /// The quotas.
    pub quotas: Quotas,
    /// Pairs of an account and another one whose roles its syncs may use.
    pub role_accounts: Vec<(AccountId, AccountId)>,
    /// Where remotes may be.
    pub egress: Egress,
    /// Authenticates paging tokens.
    pub tokens: PageTokens,
    /// Says whom a role's trust policy must name; nothing else is asked of it here.
    pub principal: Arc<dyn Target>,
}

/// The main listener's routes.
pub fn router(front: Arc<Front>) -> Router {
    Router::new()
        // Any method: what is no request of the API is told so in the API's own words.
        .route("/", any(aws::answer).get(landing))
        .nest("/api/v1", rest::routes())
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

async fn landing() -> &'static str {
    concat!(
        "Syncline ",
        env!("CARGO_PKG_VERSION"),
        "\n\nThis endpoint speaks the AWS CodeConnections and CodeStar Connections API.\n",
        "Point a client at it, for example: aws codeconnections list-connections --endpoint-url <this URL>\n",
    )
}
