//! The audit log, read in the order of its chain.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::Request;
use serde::Serialize;
use syncline_store::chain::{ChainedRecord, Head};

use super::super::Front;
use super::{Answer, ApiError, Route, run};

/// As policies name it.
const NAME: &str = "ListAuditRecords";
/// Records in an answer unless the caller says otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Records in an answer at the most; fewer if they are long.
const MAX_LIMIT: usize = 1000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Records {
    account_id: String,
    /// The records after the place that was asked for, in their order.
    records: Vec<ChainedRecord>,
    /// How far the account's chain has come; null while it is empty.
    head: Option<Head>,
    /// How many records of the account wait for their places.
    waiting: i64,
}

/// `GET /api/v1/audit?after=<sequence>&limit=<number>`: the records of the caller's account.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Response {
    answer(front, Route::question(NAME), query, request).await
}

/// `GET /api/v1/accounts/{account}/audit`: the same of an account, for the operator.
pub(super) async fn list_of_account(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Response {
    answer(front, Route::question(NAME).of(account), query, request).await
}

async fn answer(front: Arc<Front>, route: Route, query: Option<String>, request: Request<Body>) -> Response {
    run(front, request, route, async move |call, _| {
        let (after, limit) = read_query(query.as_deref().unwrap_or_default())?;
        let account = &call.scope.account;
        let page = call.front.store.audit_page(account, after, limit).await?;
        let account_id = account.as_str().to_owned();
        Ok(Records { account_id, records: page.records, head: page.head, waiting: page.waiting })
    })
    .await
}

fn read_query(query: &str) -> Answer<(i64, usize)> {
    let (mut after, mut limit) = (0, DEFAULT_LIMIT);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let invalid = |rule: &str| ApiError::validation(format!("{name}={value}: it must be {rule}"));
        match name {
            "after" => {
                let given = value.parse().ok().filter(|after| *after >= 0);
                after = given.ok_or_else(|| invalid("the sequence of a record, or 0"))?;
            }
            "limit" => {
                let given = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                limit = given.ok_or_else(|| invalid("a number from 1 to 1000"))?;
            }
            _ => {
                return Err(ApiError::validation(format!(
                    "{name}: it is not known here; after and limit are"
                )));
            }
        }
    }
    Ok((after, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_where_to_begin_and_how_much() {
        let check = |query: &str, expect: Option<(i64, usize)>| {
            assert_eq!(read_query(query).ok(), expect, "{query}");
        };
        check("", Some((0, 100)));
        check("after=17", Some((17, 100)));
        check("limit=1000&after=0", Some((0, 1000)));
        check("limit=1", Some((0, 1)));
        check("limit=0", None);
        check("limit=1001", None);
        check("after=-1", None);
        check("after=", None);
        check("after=one", None);
        check("from=1", None);
    }
}
