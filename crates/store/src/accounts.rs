//! Accounts: who owns what, and the ExternalId that their roles are assumed with.

use syncline_model::names::AccountId;
use syncline_seams::chance;

use crate::sql::params;
use crate::{Store, StoreResult};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Made by this server, given to sts:AssumeRole: a role that asks for it cannot be used by way of
    /// somebody else's sync configuration.
    pub external_id: String,
}

impl Store {
    /// The account, made if this is its first appearance.
    ///
    /// # Errors
    /// The database's.
    pub async fn account(&self, id: &AccountId) -> StoreResult<Account> {
        if let Some(external_id) = self.external_id(id).await? {
            return Ok(Account { id: id.clone(), external_id });
        }
        let wanted = id.clone();
        let external_id = self
            .write("store.create_account", move |tx| {
                let made = format!("syncline-{}", chance::uuid().simple());
                let now = tx.now_ms();
                tx.execute(
                    "INSERT INTO account (id, external_id, created_at_ms) VALUES ($1, $2, $3)
                       ON CONFLICT (id) DO NOTHING",
                    params![wanted.as_str(), made, now],
                )?;
                external_id(tx, wanted.as_str())
            })
            .await?;
        external_id
            .map(|external_id| Account { id: id.clone(), external_id })
            .ok_or_else(|| crate::StoreError::Corrupt(format!("account {id} vanished")))
    }

    /// The account of the root access key, as the first start found it.
    ///
    /// # Errors
    /// The database's.
    pub async fn root_account(&self) -> StoreResult<Option<String>> {
        self.read(move |tx| {
            let row = tx.row("SELECT value FROM setting WHERE name = 'root_account'", &[])?;
            row.map(|mut row| row.text()).transpose()
        })
        .await
    }

    /// Records the account of the root access key, unless one is recorded.
    ///
    /// # Errors
    /// The database's.
    pub async fn record_root_account(&self, id: &AccountId) -> StoreResult<()> {
        let id = id.clone();
        self.write("store.record_root_account", move |tx| {
            tx.execute(
                "INSERT INTO setting (name, value) VALUES ('root_account', $1) ON CONFLICT (name) DO NOTHING",
                params![id.as_str()],
            )?;
            Ok(())
        })
        .await
    }

    /// The ExternalId of an account that has appeared before.
    ///
    /// # Errors
    /// The database's.
    pub async fn external_id(&self, id: &AccountId) -> StoreResult<Option<String>> {
        let id = id.clone();
        self.read(move |tx| external_id(tx, id.as_str())).await
    }
}

pub(crate) fn external_id(tx: &crate::sql::Tx<'_>, account: &str) -> StoreResult<Option<String>> {
    tx.row("SELECT external_id FROM account WHERE id = $1", params![account])?
        .map(|mut row| row.text())
        .transpose()
}
