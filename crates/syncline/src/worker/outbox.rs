//! A turn of the outbox: telling one thing to the outside, and recording what came of it.
//!
//! Telling is harmless when it is repeated, as it is when the process dies between the effect and its record.

use syncline_model::plan::backoff_ms;
use syncline_store::{Claim, OutboxItem, OutboxKind, StoreError, Unsent};
use tracing::{debug, info, warn};

use super::{Due, Worker};
use crate::notify::Sealed;

/// When to look again at what only a newer version can tell, in milliseconds: one shares the database, or comes.
const NEWER_VERSION_MS: i64 = 60_000;
/// The longest that somebody may have us wait, in milliseconds.
const LONGEST_WAIT_MS: i64 = 6 * 60 * 60 * 1000;

/// Why something was not told.
pub(super) struct Trouble {
    /// For people, without secrets.
    pub(super) reason: String,
    /// Telling it again is of no use.
    pub(super) is_final: bool,
    /// The other side wants fewer requests, and none for so many milliseconds if it says so.
    pub(super) throttled: Option<Option<i64>>,
    /// Under which the other side knows it, where a part of it was done.
    pub(super) remote_id: Option<String>,
}

impl Trouble {
    /// One that ends it, or that may pass.
    pub(super) fn new(reason: impl Into<String>, is_final: bool) -> Self {
        Self { reason: reason.into(), is_final, throttled: None, remote_id: None }
    }
}

/// What came of telling: under which the other side knows it, if it says so.
pub(super) type Told = Result<Option<String>, Trouble>;

impl Worker {
    pub(super) async fn work_on_outbox(&self, claim: &Claim) -> Result<Option<Due>, StoreError> {
        let Some(item) = self.store.outbox_item(&claim.id).await? else {
            self.store.forget_work(claim).await?;
            return Ok(None);
        };
        let told = match item.kind {
            Some(OutboxKind::Notification) => self.notify(&item).await?,
            Some(OutboxKind::Comment) => self.comment(&item).await?,
            Some(OutboxKind::CommitStatus) => self.publish_status(&item).await?,
            Some(OutboxKind::Deployment) => self.publish_deployment(&item).await?,
            None => {
                return Ok(Some(Some(self.clock.now_ms() + NEWER_VERSION_MS)));
            }
        };
        match told {
            Ok(remote_id) => {
                debug!(id = item.id, subject = item.subject, version = item.version, "told the outside");
                self.store.record_sent(claim, &item, remote_id).await?;
            }
            Err(trouble) => self.could_not_tell(claim, &item, trouble).await?,
        }
        Ok(None)
    }

    /// Records a try that failed, and when the next one is.
    async fn could_not_tell(
        &self,
        claim: &Claim,
        item: &OutboxItem,
        trouble: Trouble,
    ) -> Result<(), StoreError> {
        let Trouble { reason, is_final, throttled, remote_id } = trouble;
        let asked_ms = throttled.flatten().unwrap_or(0).min(LONGEST_WAIT_MS);
        if throttled.is_some() {
            self.ask_more_slowly(claim, asked_ms, &reason).await?;
        }
        let now_ms = self.clock.now_ms();
        let gives_up = is_final || item.is_exhausted(now_ms);
        let kind = item.kind.map_or("", OutboxKind::as_str);
        if gives_up {
            warn!(id = item.id, kind, reason, "gave up telling the outside; syncline outbox list shows it");
        } else {
            info!(id = item.id, kind, reason, failures = item.failures + 1, "could not tell the outside");
        }
        let delay_ms = backoff_ms(item.failures, self.outside.jitter()).max(asked_ms);
        let again_at_ms = (!gives_up).then_some(now_ms + delay_ms);
        self.store.record_unsent(claim, item, Unsent { reason, again_at_ms, remote_id }).await
    }

    /// Tells a notification target.
    async fn notify(&self, item: &OutboxItem) -> Result<Told, StoreError> {
        let target_id = item.target_id.as_deref().unwrap_or_default();
        let Some(record) = self.store.target_record(target_id).await? else {
            return Ok(Err(Trouble::new("the notification target was deleted", true)));
        };
        let sealed = match self.store.target_secret(&record).await {
            Ok(secret) => Sealed::from_bytes(&secret),
            Err(error @ StoreError::Key(_)) => return Ok(Err(Trouble::new(error.to_string(), false))),
            Err(error) => return Err(error),
        };
        let (Some(sealed), Ok(event)) = (sealed, serde_json::from_str(&item.document)) else {
            return Ok(Err(Trouble::new("what is stored of it is unreadable", true)));
        };
        Ok(match self.notifier.tell(&record, &sealed, &item.id, &event).await {
            Ok(_) => Ok(None),
            Err(not_told) => Err(Trouble {
                reason: not_told.reason,
                is_final: not_told.is_final,
                throttled: not_told.throttled,
                remote_id: None,
            }),
        })
    }
}
