//! The front: the AWS API, the REST API and the admin endpoints.
//!
//! **Architecture Invariant:** nothing here changes a sync but its due time, its configuration and the
//! operator's decisions; what is acknowledged is committed.

mod access;
mod admin;
pub mod api;
mod audit;
mod auth;
mod aws;
mod caller;
mod error;
mod rest;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use syncline_git::Egress;
use syncline_model::names::AccountId;
use syncline_seams::Clock;
use syncline_store::Store;
use syncline_targets::Target;
use syncline_wire::sigv4::SigningKeys;

use crate::config::Quotas;
use crate::running::RootCredentials;

pub use access::Policies;
pub use api::paging::PageTokens;

/// The address that a request came from; an extension of requests that the listener adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceAddress(pub IpAddr);

impl SourceAddress {
    /// The address of a request; loopback where no listener added one.
    fn of(extensions: &http::Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |source| source.0)
    }
}

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
