//! A turn of the outbox: telling one thing to the outside, and recording what came of it.
//!
//! Telling is harmless when it is repeated, as it is when the process dies between the effect and its record.

use syncline_store::{Claim, StoreError};

use super::{Due, Worker};

/// When to look again at what only a newer version can tell, in milliseconds: one shares the database, or comes.
const NEWER_VERSION_MS: i64 = 60_000;

impl Worker {
    pub(super) async fn work_on_outbox(&self, claim: &Claim) -> Result<Option<Due>, StoreError> {
        if self.store.outbox_item(&claim.id).await?.is_none() {
            self.store.forget_work(claim).await?;
            return Ok(None);
        }
        Ok(Some(Some(self.clock.now_ms() + NEWER_VERSION_MS)))
    }
}
