//! The first access key.

use anyhow::{Context as _, bail};
use syncline_model::names::AccountId;
use syncline_seams::Secret;

use super::environment::variable;

/// Where the root access key comes from.
#[derive(Debug, Clone)]
pub enum RootKey {
    /// Given.
    Given {
        /// The key's id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// In the data directory's credentials file, made on the first start.
    InDataDir,
}

/// The first access key and its account, as far as they are given.
#[derive(Debug, Default)]
pub(super) struct FirstKey {
    pub(super) id: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) account: Option<AccountId>,
}

impl FirstKey {
    /// The key and its account; what is not given is `SYNCLINE_ROOT_ACCESS_KEY_ID`, `SYNCLINE_ROOT_SECRET_ACCESS_KEY` and
    /// `SYNCLINE_ROOT_ACCOUNT_ID`.
    pub(super) fn settle(self) -> anyhow::Result<(RootKey, Option<AccountId>)> {
        let account = variable("SYNCLINE_ROOT_ACCOUNT_ID").map(|text| text.parse::<AccountId>()).transpose();
        let account = self.account.or(account.context("SYNCLINE_ROOT_ACCOUNT_ID")?);
        let id = self.id.or_else(|| variable("SYNCLINE_ROOT_ACCESS_KEY_ID"));
        let secret = self.secret.or_else(|| variable("SYNCLINE_ROOT_SECRET_ACCESS_KEY").map(Secret::new));
        let key = match (id, secret) {
            (Some(id), Some(secret)) => RootKey::Given { id, secret },
            (None, None) => RootKey::InDataDir,
            _ => bail!(
                "SYNCLINE_ROOT_ACCESS_KEY_ID and SYNCLINE_ROOT_SECRET_ACCESS_KEY must be set together or not at all"
            ),
        };
        Ok((key, account))
    }
}
