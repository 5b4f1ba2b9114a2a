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
    /// The principal's ARN.
    pub(super) fn arn(&self) -> String {
        let account = &self.account;
        match &self.principal {
            Principal::Root => format!("arn:{PARTITION}:iam::{account}:root"),
            Principal::User(user) => user_arn(account, &user.name),
        }
    }
}

/// The partition in the ARN of every principal.
///
/// Accounts and users are the same in every region, so the region that a request is signed for must not choose
/// how they are named: a denial of a user's ARN would not hold for requests to the regions of another partition.
const PARTITION: &str = "aws";

/// The ARN of a user.
pub(super) fn user_arn(account: &AccountId, name: &str) -> String {
    format!("arn:{PARTITION}:iam::{account}:user/{name}")
}
