//! Suspensions: what the operator has told to rest, and why.
//!
//! A suspended sync opens no attempt and gives up one that has not executed anything. Its repository is read all the
//! same, so that what it would do is known, and it does it as soon as it is resumed.

use crate::change::Change;
use crate::sql::{Row, Tx, params};
use crate::{Scope, Store, StoreResult, configurations, work};

/// Why and since when a sync rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// The operator's reason.
    pub reason: String,
    /// Milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Its whole account rests.
    pub of_account: bool,
}

/// What is suspended or resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspended {
    /// The account of the scope, in every region.
    Account,
    /// A sync configuration of the scope.
    Sync {
        /// Its sync type.
        sync_type: String,
        /// Its resource's name.
        name: String,
    },
}

/// Why a sync is to rest, if it is: its own suspension first, then that of its account.
pub(crate) fn find(tx: &Tx<'_>, account: &str, sync_id: &str) -> StoreResult<Option<Suspension>> {
    let found = tx.row(
        "SELECT reason, since_ms, sync_id FROM suspension WHERE account_id = $1 AND sync_id IN ('', $2)
          ORDER BY sync_id DESC LIMIT 1",
        params![account, sync_id],
    )?;
    found
        .map(|mut row| {
            Ok(Suspension { reason: row.text()?, since_ms: row.int()?, of_account: row.text()?.is_empty() })
        })
        .transpose()
}

/// What is meant by a [`Suspended`].
struct Meant {
    /// The key of the suspension: a sync's id, or nothing for the account.
    key: String,
    /// The ids of the syncs.
    syncs: Vec<String>,
}

/// `None` if there is no such configuration.
fn meant(tx: &Tx<'_>, scope: &Scope, what: &Suspended) -> StoreResult<Option<Meant>> {
    match what {
        Suspended::Account => {
            let of_account = "SELECT id FROM sync_configuration WHERE account_id = $1 AND deleted = 0";
            let mut syncs = tx.rows(of_account, params![scope.account.as_str()])?;
            let syncs = syncs.iter_mut().map(Row::text);
            Ok(Some(Meant { key: String::new(), syncs: syncs.collect::<StoreResult<_>>()? }))
        }
        Suspended::Sync { sync_type, name } => {
            let found = configurations::find(tx, scope, sync_type, name)?;
            Ok(found.map(|sync| Meant { key: sync.id.clone(), syncs: vec![sync.id] }))
        }
    }
}

impl Store {
    /// Has a sync or an account rest. One that rests already rests for the new reason. `None` if there is no such
    /// configuration.
    ///
    /// # Errors
    /// The database's.
    pub async fn suspend<A: Send + 'static>(
        &self,
        scope: &Scope,
        what: Suspended,
        reason: &str,
        change: Change<Option<Suspension>, A>,
    ) -> StoreResult<A> {
        let (scope, reason) = (scope.clone(), reason.to_owned());
        self.change("store.suspend", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(Meant { key, syncs }) = meant(tx, &scope, &what)? else { return Ok(None) };
            tx.execute(
                "INSERT INTO suspension (account_id, sync_id, reason, since_ms) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (account_id, sync_id) DO UPDATE SET reason = excluded.reason",
                params![scope.account.as_str(), &key, reason, tx.now_ms()],
            )?;
            // What has not executed anything is given up now.
            for sync in syncs {
                work::wake(tx, &sync)?;
            }
            find(tx, scope.account.as_str(), &key)
        })
        .await
    }

    /// Ends the rest of a sync or an account: whatever its syncs want meanwhile, they do at once. `None` if there is no
    /// such configuration, else whether it rested.
    ///
    /// # Errors
    /// The database's.
    pub async fn resume<A: Send + 'static>(
        &self,
        scope: &Scope,
        what: Suspended,
        change: Change<Option<bool>, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.resume", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(Meant { key, syncs }) = meant(tx, &scope, &what)? else { return Ok(None) };
            let rested = tx.execute(
                "DELETE FROM suspension WHERE account_id = $1 AND sync_id = $2",
                params![scope.account.as_str(), &key],
            )? > 0;
            for sync in if rested { syncs } else { Vec::new() } {
                work::wake(tx, &sync)?;
            }
            Ok(Some(rested))
        })
        .await
    }

    /// Why a sync of the scope rests, if it does.
    ///
    /// # Errors
    /// The database's.
    pub async fn suspension(&self, scope: &Scope, sync_id: &str) -> StoreResult<Option<Suspension>> {
        let (account, sync_id) = (scope.account.clone(), sync_id.to_owned());
        self.read(move |tx| find(tx, account.as_str(), &sync_id)).await
    }
}
