//! The audit log: a record for every change that was asked for and everything that was denied.
//!
//! A record is written in the transaction of its change, without a place in the chain; the sequencer gives
//! places later, so that changes of one account do not wait for one another.

use syncline_model::names::AccountId;

use crate::sql::{Tx, params};
use crate::{Store, StoreResult};

pub(crate) fn insert(tx: &Tx<'_>, account: &AccountId, event_id: &str, record: &str) -> StoreResult<()> {
    tx.execute(
        "INSERT INTO audit_record (id, account_id, time_ms, record) VALUES ($1, $2, $3, $4)",
        params![event_id, account.as_str(), tx.now_ms(), record],
    )?;
    Ok(())
}

impl Store {
    /// Records what was refused before it came to a change; `record` is given the time of the transaction in
    /// milliseconds.
    ///
    /// # Errors
    /// The database's.
    pub async fn record_refusal(
        &self,
        account: &AccountId,
        event_id: &str,
        record: impl FnOnce(i64) -> String + Send + 'static,
    ) -> StoreResult<()> {
        let (account, event_id) = (account.clone(), event_id.to_owned());
        self.write("store.record_refusal", move |tx| insert(tx, &account, &event_id, &record(tx.now_ms())))
            .await
    }
}
