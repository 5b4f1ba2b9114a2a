//! Who sends a request, as its signature proved.

use syncline_model::names::AccountId;
use syncline_store::User;

/// Who sends a request.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The id of the key that signed.
    pub(super) key_id: String,
    /// The account the key acts for.
    pub(super) account: AccountId,
    /// Whose key it is.
    pub(super) principal: Principal,
    /// When the key was made, in milliseconds since the Unix epoch, if it is a temporary one.
    pub(super) session_began_ms: Option<i64>,
}

/// Whose key it is.
#[derive(Debug, Clone)]
pub(super) enum Principal {
    /// The root key's: the operator of this server, who may do everything.
    Root,
    /// A user's, who may do what its policies allow.
    User(User),
}

impl Caller {
    /// The principal's ARN in the partition of the request's region.
    pub(super) fn arn(&self, partition: &str) -> String {
        let account = &self.account;
        match &self.principal {
            Principal::Root => format!("arn:{partition}:iam::{account}:root"),
            Principal::User(user) => format!("arn:{partition}:iam::{account}:user/{}", user.name),
        }
    }
}
