//! The outbox: what is to be told to the outside, what was, and what was given up.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::Request;
use serde::Serialize;
use serde_json::json;
use syncline_store::{OutboxItem, OutboxKind, OutboxState};
use syncline_wire::Timestamp;

use super::super::Front;
use super::super::api::paging::Listing;
use super::{Answer, ApiError, Route, run};

/// As policies name the listing.
const LIST: &str = "ListOutbox";
/// Rows in an answer at the most.
const MAX_LIMIT: i32 = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    /// `COMMENT`, `COMMIT_STATUS`, `DEPLOYMENT` or `NOTIFICATION`; null for what only a newer version knows.
    kind: Option<&'static str>,
    /// What it is about.
    subject: String,
    notification_target_id: Option<String>,
    /// Who is told.
    endpoint: String,
    /// `WAITING`, `SENT` or `FAILED`.
    state: &'static str,
    version: i64,
    sent_version: i64,
    /// Failed tries in a row, and why the last one failed.
    failures: i64,
    last_error: Option<String>,
    remote_id: Option<String>,
    created_at: String,
    changed_at: String,
    tried_at: Option<String>,
    /// When it is tried next.
    next_try_at: Option<String>,
}

impl From<OutboxItem> for Shown {
    fn from(item: OutboxItem) -> Self {
        let iso8601 = |ms: i64| Timestamp::from_epoch_ms(ms).iso8601();
        Self {
            id: item.id,
            kind: item.kind.map(OutboxKind::as_str),
            subject: item.subject,
            notification_target_id: item.target_id,
            endpoint: item.endpoint,
            state: item.state.as_str(),
            version: item.version,
            sent_version: item.sent_version,
            failures: item.failures,
            last_error: item.last_error,
            remote_id: item.remote_id,
            created_at: iso8601(item.created_at_ms),
            changed_at: iso8601(item.changed_at_ms),
            tried_at: item.tried_at_ms.map(iso8601),
            next_try_at: item.due_at_ms.map(iso8601),
        }
    }
}

/// What a listing's query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query<'q> {
    state: Option<OutboxState>,
    limit: Option<i32>,
    after: Option<&'q str>,
}

fn read_query(query: &str) -> Answer<Query<'_>> {
    let mut asked = Query::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let invalid = |rule: &str| ApiError::validation(format!("{name}={value}: it must be {rule}"));
        match name {
            "state" => {
                let state = OutboxState::from_text(value);
                asked.state = Some(state.ok_or_else(|| invalid("WAITING, SENT or FAILED"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                asked.limit = Some(limit.ok_or_else(|| invalid("a number from 1 to 100"))?);
            }
            "after" => asked.after = Some(value),
            _ => {
                return Err(ApiError::validation(format!(
                    "{name}: it is not known here; state, limit and after are"
                )));
            }
        }
    }
    Ok(asked)
}

/// `GET /api/v1/outbox?state=<state>&limit=<number>&after=<next of the page before>`: what changed last first.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Response {
    run(front, request, Route::question(LIST), async move |call, _| {
        let Query { state, limit, after } = read_query(query.as_deref().unwrap_or_default())?;
        let filters = [state.map_or("", OutboxState::as_str)];
        let listing = Listing::of(&call, LIST, &filters, limit, after, ApiError::validation)?;
        let page = call.front.store.outbox(&call.scope, state, &listing.page).await?;
        let items: Vec<_> = page.items.into_iter().map(Shown::from).collect();
        Ok(json!({ "outbox": items, "next": listing.next(page.next.as_ref()) }))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_rows_are_meant() {
        let check = |query: &str, expect: Option<Query<'_>>| {
            assert_eq!(read_query(query).ok(), expect, "{query}");
        };
        check("", Some(Query::default()));
        let failed = Some(OutboxState::Failed);
        check("state=FAILED&limit=100", Some(Query { state: failed, limit: Some(100), after: None }));
        check("after=token", Some(Query { after: Some("token"), ..Query::default() }));
        check("state=failed", None);
        check("limit=101", None);
        check("link=a", None);
    }
}
