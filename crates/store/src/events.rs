//! The events of attempts: added behind those that are there, never changed, never reordered.
//!
//! The newest are one document in the attempt's own row, so that a status is read without a seek for each of them
//! (ADR 0013). A document that is full becomes a row of `event_page`, and the attempt's begins anew.

use syncline_model::sync::{EventKind, SyncEvent};

use crate::sql::{Tx, params, to_json};
use crate::{StoreError, StoreResult};

/// Events in one document, and in one answer of the API (contract §5).
pub(crate) const PAGE_EVENTS: usize = 100;

/// Whose events they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A sync's attempt.
    Sync,
    /// A branch's attempt.
    Repository,
}

/// An event as it is stored.
type Stored<'e> = (i64, EventKind, &'e str, Option<&'e str>);

/// The events of a document, oldest first.
pub(crate) fn read(document: &str) -> StoreResult<Vec<SyncEvent>> {
    let events: Vec<(i64, EventKind, String, Option<String>)> = serde_json::from_str(document)
        .map_err(|error| StoreError::Corrupt(format!("stored events: {error}")))?;
    let event = |(time_ms, kind, text, external_id)| SyncEvent { time_ms, kind, text, external_id };
    Ok(events.into_iter().map(event).collect())
}

pub(crate) fn write(events: &[SyncEvent]) -> StoreResult<String> {
    let mut stored: Vec<Stored<'_>> = Vec::with_capacity(events.len());
    for event in events {
        stored.push((event.time_ms, event.kind, &event.text, event.external_id.as_deref()));
    }
    to_json(&stored)
}

/// Adds events behind those that an attempt has.
pub(crate) fn append(tx: &Tx<'_>, of: Of, attempt_id: &str, events: Vec<SyncEvent>) -> StoreResult<()> {
    if events.is_empty() {
        return Ok(());
    }
    let (select, update) = match of {
        Of::Sync => (
            "SELECT event_count, events FROM attempt WHERE id = $1",
            "UPDATE attempt SET event_count = $2, events = $3 WHERE id = $1",
        ),
        Of::Repository => (
            "SELECT event_count, events FROM repository_attempt WHERE id = $1",
            "UPDATE repository_attempt SET event_count = $2, events = $3 WHERE id = $1",
        ),
    };
    let mut row = tx
        .row(select, params![attempt_id])?
        .ok_or_else(|| StoreError::Corrupt(format!("attempt {attempt_id} vanished")))?;
    let mut count = row.int()?;
    let mut page = read(&row.text()?)?;
    for event in events {
        if page.len() >= PAGE_EVENTS {
            let number = (count - 1) / PAGE_EVENTS as i64;
            tx.execute(
                "INSERT INTO event_page (attempt_id, number, events) VALUES ($1, $2, $3)",
                params![attempt_id, number, write(&page)?],
            )?;
            page.clear();
        }
        page.push(event);
        count += 1;
    }
    tx.execute(update, params![attempt_id, count, write(&page)?])?;
    Ok(())
}

/// The newest [`PAGE_EVENTS`] events of an attempt that has `count` of them, of which `document` holds the last.
pub(crate) fn newest(
    tx: &Tx<'_>,
    attempt_id: &str,
    count: i64,
    document: &str,
) -> StoreResult<Vec<SyncEvent>> {
    let newest = read(document)?;
    let before = (count - 1) / PAGE_EVENTS as i64 - 1;
    if before < 0 || newest.len() >= PAGE_EVENTS {
        return Ok(newest);
    }
    let page = tx.row(
        "SELECT events FROM event_page WHERE attempt_id = $1 AND number = $2",
        params![attempt_id, before],
    )?;
    let mut page =
        page.ok_or_else(|| StoreError::Corrupt(format!("attempt {attempt_id} lacks page {before}")))?;
    let mut events = read(&page.text()?)?;
    events.drain(..newest.len().min(events.len()));
    events.extend(newest);
    Ok(events)
}

/// The newest event of a document.
pub(crate) fn last(document: &str) -> StoreResult<Option<SyncEvent>> {
    Ok(read(document)?.pop())
}
