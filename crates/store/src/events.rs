//! The events of attempts: added behind those that are there, never changed, never reordered.
//!
//! The newest are one document in the attempt's own row, so that a status is read without a seek for each of them
//! (ADR 0013). A document that is full becomes a row of `event_page`, and the attempt's begins anew.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
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

/// The events of an attempt as they are stored and answered: a JSON list in the words of the API's sync events, oldest
/// first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDocument(String);

impl EventDocument {
    /// The events.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if they are not what this version writes.
    pub fn read(&self) -> StoreResult<Vec<SyncEvent>> {
        read(&self.0)
    }

    /// The JSON; what stands between its brackets is not looked at.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a text without the brackets of a list.
    pub fn json(&self) -> StoreResult<&str> {
        let is_list = self.0.starts_with('[') && self.0.ends_with(']');
        if is_list { Ok(&self.0) } else { Err(StoreError::Corrupt("stored events are no list".to_owned())) }
    }
}

/// An event in the API's words: a status is answered without reading its events (ADR 0013).
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored<'e> {
    #[serde(borrow)]
    event: Cow<'e, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    external_id: Option<Cow<'e, str>>,
    /// Seconds since the Unix epoch. Doubles hold whole milliseconds for 285,000 years.
    time: f64,
    r#type: EventKind,
}

/// The events of a document, oldest first.
pub(crate) fn read(document: &str) -> StoreResult<Vec<SyncEvent>> {
    let events: Vec<Stored<'_>> = serde_json::from_str(document)
        .map_err(|error| StoreError::Corrupt(format!("stored events: {error}")))?;
    #[expect(clippy::cast_possible_truncation, reason = "a time of ours")]
    let event = |event: Stored<'_>| SyncEvent {
        time_ms: (event.time * 1000.0).round() as i64,
        kind: event.r#type,
        text: event.event.into_owned(),
        external_id: event.external_id.map(Cow::into_owned),
    };
    Ok(events.into_iter().map(event).collect())
}

pub(crate) fn write(events: &[SyncEvent]) -> StoreResult<String> {
    #[expect(clippy::cast_precision_loss, reason = "exact, as said above")]
    fn stored(event: &SyncEvent) -> Stored<'_> {
        Stored {
            event: Cow::Borrowed(&event.text),
            external_id: event.external_id.as_deref().map(Cow::Borrowed),
            time: event.time_ms as f64 / 1000.0,
            r#type: event.kind,
        }
    }
    to_json(&events.iter().map(stored).collect::<Vec<_>>())
}

/// Sets the columns of an attempt whose document has room for more events to what they are with these, unread: how many
/// they are and their JSON, as [`Added`] has them, are the parameters of these names.
macro_rules! with_events {
    ($count:literal, $json:literal) => {
        concat!(
            "event_count = event_count + CAST(",
            $count,
            " AS BIGINT), events = CASE WHEN CAST(",
            $count,
            " AS BIGINT) = 0 THEN events WHEN event_count = 0 THEN '[' || CAST(",
            $json,
            " AS TEXT) || ']' ELSE substr(events, 1, length(events) - 1) || ',' || CAST(",
            $json,
            " AS TEXT) || ']' END"
        )
    };
}

/// Whether the document of an attempt has room for so many more events ([`PAGE_EVENTS`]).
macro_rules! has_room {
    ($count:literal) => {
        concat!(
            "(CASE WHEN event_count = 0 THEN 0 ELSE (event_count - 1) % 100 + 1 END + CAST(",
            $count,
            " AS BIGINT) <= 100)"
        )
    };
}
pub(crate) use {has_room, with_events};

/// Events to be added to a document.
pub(crate) struct Added {
    /// How many.
    pub(crate) count: i64,
    /// Their JSON, without the brackets of a list.
    pub(crate) json: String,
}

impl Added {
    pub(crate) fn of(events: &[SyncEvent]) -> StoreResult<Self> {
        let list = write(events)?;
        let json =
            list.strip_prefix('[').and_then(|list| list.strip_suffix(']')).unwrap_or_default().to_owned();
        Ok(Self { count: i64::try_from(events.len()).unwrap_or(i64::MAX), json })
    }
}

/// Adds events behind those that an attempt has.
pub(crate) fn append(tx: &Tx<'_>, of: Of, attempt_id: &str, events: Vec<SyncEvent>) -> StoreResult<()> {
    if events.is_empty() {
        return Ok(());
    }
    let one_document = match of {
        Of::Sync => {
            concat!("UPDATE attempt SET ", with_events!("$2", "$3"), " WHERE id = $1 AND ", has_room!("$2"))
        }
        Of::Repository => concat!(
            "UPDATE repository_attempt SET ",
            with_events!("$2", "$3"),
            " WHERE id = $1 AND ",
            has_room!("$2")
        ),
    };
    let added = Added::of(&events)?;
    if tx.execute(one_document, params![attempt_id, added.count, added.json])? == 1 {
        return Ok(());
    }
    append_in_pages(tx, of, attempt_id, events)
}

/// The same where a document becomes full.
fn append_in_pages(tx: &Tx<'_>, of: Of, attempt_id: &str, events: Vec<SyncEvent>) -> StoreResult<()> {
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

/// The newest [`PAGE_EVENTS`] events of an attempt that has `count` of them, if `document`, which holds the last, holds all of
/// these; else the document again.
pub(crate) fn alone(count: i64, document: String) -> Result<EventDocument, String> {
    let is_alone = count <= PAGE_EVENTS as i64 || count % PAGE_EVENTS as i64 == 0;
    if is_alone { Ok(EventDocument(document)) } else { Err(document) }
}

/// The newest [`PAGE_EVENTS`] events of an attempt that has `count` of them, of which `document` holds the last.
pub(crate) fn newest(
    tx: &Tx<'_>,
    attempt_id: &str,
    count: i64,
    document: String,
) -> StoreResult<EventDocument> {
    let document = match alone(count, document) {
        Ok(events) => return Ok(events),
        Err(document) => document,
    };
    let before = (count - 1) / PAGE_EVENTS as i64 - 1;
    let page = tx.row(
        "SELECT events FROM event_page WHERE attempt_id = $1 AND number = $2",
        params![attempt_id, before],
    )?;
    let mut page =
        page.ok_or_else(|| StoreError::Corrupt(format!("attempt {attempt_id} lacks page {before}")))?;
    let (mut events, newest) = (read(&page.text()?)?, read(&document)?);
    events.drain(..newest.len().min(events.len()));
    events.extend(newest);
    Ok(EventDocument(write(&events)?))
}

/// The newest event of a document.
pub(crate) fn last(document: &str) -> StoreResult<Option<SyncEvent>> {
    Ok(read(document)?.pop())
}
