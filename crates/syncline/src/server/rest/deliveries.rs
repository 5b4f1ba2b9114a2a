//! What forges delivered to webhooks: listed, shown, replayed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use syncline_store::Delivery;
use syncline_wire::Timestamp;

use super::super::Front;
use super::super::api::paging::Listing;
use super::{Answer, ApiError, Resource, Route, run};

/// As policies name the listing.
const LIST: &str = "ListDeliveries";
/// Deliveries in an answer at the most.
const MAX_LIMIT: i32 = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    repository_link_id: String,
    received_at: String,
    /// The event, in the forge's words.
    event: String,
    /// `WOKE`, `PING` or `IGNORED`.
    outcome: &'static str,
    /// Why it was ignored.
    reason: Option<String>,
    /// The branches that were made due.
    branches: Vec<String>,
    /// What the forge tells its deliveries apart by.
    forge_delivery_id: Option<String>,
    /// Without those that prove who sent it.
    headers: Map<String, Value>,
    body_bytes: i64,
    /// How often it came again, and when last.
    duplicates: i64,
    duplicate_at: Option<String>,
    replays: i64,
    replayed_at: Option<String>,
}

impl From<Delivery> for Shown {
    fn from(delivery: Delivery) -> Self {
        let iso8601 = |ms: i64| Timestamp::from_epoch_ms(ms).iso8601();
        Self {
            id: delivery.id,
            repository_link_id: delivery.link_id,
            received_at: iso8601(delivery.received_at_ms),
            event: delivery.event,
            outcome: delivery.outcome.as_str(),
            reason: delivery.reason,
            branches: delivery.woken,
            forge_delivery_id: delivery.dedupe,
            headers: delivery.headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            body_bytes: delivery.body_bytes,
            duplicates: delivery.duplicates,
            duplicate_at: delivery.duplicate_at_ms.map(iso8601),
            replays: delivery.replays,
            replayed_at: delivery.replayed_at_ms.map(iso8601),
        }
    }
}

fn not_found(id: &str) -> ApiError {
    ApiError::not_found("delivery", id)
}

/// What a listing's query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query<'q> {
    link: Option<&'q str>,
    limit: Option<i32>,
    after: Option<&'q str>,
}

fn read_query(query: &str) -> Answer<Query<'_>> {
    let mut asked = Query::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let invalid = |rule: &str| ApiError::validation(format!("{name}={value}: it must be {rule}"));
        match name {
            "link" => {
                let is_id =
                    !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                asked.link = Some(is_id.then_some(value).ok_or_else(|| invalid("a repository link's id"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                asked.limit = Some(limit.ok_or_else(|| invalid("a number from 1 to 100"))?);
            }
            "after" => asked.after = Some(value),
            _ => {
                return Err(ApiError::validation(format!(
                    "{name}: it is not known here; link, limit and after are"
                )));
            }
        }
    }
    Ok(asked)
}

/// `GET /api/v1/deliveries?link=<id>&limit=<number>&after=<next of the page before>`: the newest first.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Response {
    run(front, request, Route::question(LIST), async move |call, _| {
        let Query { link, limit, after } = read_query(query.as_deref().unwrap_or_default())?;
        let link = link.map(str::to_ascii_lowercase);
        let filters = [link.as_deref().unwrap_or_default()];
        let listing = Listing::of(&call, LIST, &filters, limit, after, ApiError::validation)?;
        let page = call.front.store.deliveries(&call.scope, link.as_deref(), &listing.page).await?;
        let deliveries: Vec<_> = page.items.into_iter().map(Shown::from).collect();
        Ok(json!({ "deliveries": deliveries, "next": listing.next(page.next.as_ref()) }))
    })
    .await
}

/// A delivery with its body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    shown: Shown,
    /// Null if it was too long to be kept.
    body: Option<String>,
    /// `text`, or `base64` of bytes that are no text.
    body_encoding: &'static str,
}

/// `GET /api/v1/deliveries/{id}`
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::question("GetDelivery").on(Resource::Delivery(id.clone()));
    run(front, request, route, async move |call, _| {
        let found = call.front.store.delivery(&call.scope, &id).await?;
        let (delivery, body) = found.ok_or_else(|| not_found(&id))?;
        let (body, body_encoding) = match body.map(String::from_utf8) {
            None => (None, "text"),
            Some(Ok(text)) => (Some(text), "text"),
            Some(Err(bytes)) => (Some(STANDARD.encode(bytes.as_bytes())), "base64"),
        };
        Ok(Whole { shown: delivery.into(), body, body_encoding })
    })
    .await
}

/// `POST /api/v1/deliveries/{id}/replay`: makes due again what it is about.
pub(super) async fn replay(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let change =
        Route::change("ReplayDelivery", json!({ "deliveryId": &id })).on(Resource::Delivery(id.clone()));
    let route = Route { status: StatusCode::ACCEPTED, ..change };
    run(front, request, route, async move |call, _| {
        let missing = not_found(&id);
        let change = call.asked.change(|replayed: Option<Delivery>| match replayed {
            Some(delivery) => Ok(Shown::from(delivery)),
            None => Err(missing),
        });
        call.front.store.replay_delivery(&call.scope, &id, change).await?
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_deliveries_are_meant() {
        let check = |query: &str, expect: Option<Query<'_>>| {
            assert_eq!(read_query(query).ok(), expect, "{query}");
        };
        check("", Some(Query::default()));
        check("link=a-1&limit=100", Some(Query { link: Some("a-1"), limit: Some(100), after: None }));
        check("after=token", Some(Query { after: Some("token"), ..Query::default() }));
        check("limit=0", None);
        check("limit=101", None);
        check("link=", None);
        check("link=a/b", None);
        check("page=1", None);
    }
}
