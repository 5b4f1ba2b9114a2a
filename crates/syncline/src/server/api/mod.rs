//! The operations, one file per resource. A handler sees typed input and gives typed output or an error.

pub(super) mod arns;
pub(super) mod blockers;
pub(super) mod connections;
pub(super) mod hosts;
pub(super) mod links;
pub(super) mod needs;
pub mod paging;
pub(super) mod sync_configurations;
pub(super) mod sync_status;
pub(super) mod tags;

use std::sync::Arc;

use syncline_store::Scope;
use syncline_wire::Service;

use super::Front;
use super::audit::Asked;
use super::error::{Answer, ApiError};

/// One authenticated call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) front: Arc<Front>,
    /// The account of the verified key and the region of its scope.
    pub(super) scope: Scope,
    /// The spelling of the service under which it came.
    pub(super) service: Service,
    /// Who asks for what, as it is recorded.
    pub(super) asked: Arc<Asked>,
}

/// An enumeration's value from its stored text.
fn stored<T: std::str::FromStr<Err = syncline_wire::UnknownValue>>(text: &str) -> Answer<T> {
    text.parse().map_err(|error: syncline_wire::UnknownValue| {
        ApiError::from(syncline_store::StoreError::Corrupt(error.to_string()))
    })
}
