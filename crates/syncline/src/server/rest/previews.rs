//! Previews: what the merges of pull requests would do to stacks, listed, and shown whole.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::Request;
use serde::Serialize;
use serde_json::json;
use syncline_store::{PreviewFilter, PreviewSummary};
use syncline_wire::Timestamp;

use super::super::Front;
use super::super::api::paging::Listing;
use super::{Answer, ApiError, Resource, Route, run};

/// As policies name the listing.
const LIST: &str = "ListPreviews";
/// Previews in an answer at the most.
const MAX_LIMIT: i32 = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    /// Null if a version made it that did not note that.
    created_at: Option<String>,
    sync: String,
    repository_link_id: String,
    /// Null if its link is gone.
    repository: Option<String>,
    /// The forge's number.
    pull_request: i64,
    /// `OPEN`, `CLOSED` or `MERGED`.
    pull_request_state: &'static str,
    target_branch: String,
    /// The commit at the head of the pull request.
    head: String,
    /// `PENDING` while something else is being found out, `CURRENT`, or `ENDED` once nothing more is to be told.
    status: &'static str,
    told_at: Option<String>,
}

impl From<PreviewSummary> for Shown {
    fn from(preview: PreviewSummary) -> Self {
        let iso8601 = |ms: i64| Timestamp::from_epoch_ms(ms).iso8601();
        Self {
            id: preview.id,
            created_at: (preview.created_at_ms > 0).then(|| iso8601(preview.created_at_ms)),
            sync: preview.sync,
            repository_link_id: preview.link_id,
            repository: preview.repository,
            pull_request: preview.pull_request,
            pull_request_state: preview.state.as_str(),
            target_branch: preview.target_branch,
            head: preview.head_sha,
            status: match (preview.is_ended, preview.is_current) {
                (true, _) => "ENDED",
                (false, true) => "CURRENT",
                (false, false) => "PENDING",
            },
            told_at: preview.told_at_ms.map(iso8601),
        }
    }
}

/// What a listing's query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query<'q> {
    filter: PreviewFilter,
    limit: Option<i32>,
    after: Option<&'q str>,
}

fn read_query(query: &str) -> Answer<Query<'_>> {
    let mut asked = Query::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let invalid = |rule: &str| ApiError::validation(format!("{name}={value}: it must be {rule}"));
        match name {
            "sync" => {
                // Names of stacks have nothing that a query would write otherwise.
                let is_name =
                    !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                let name = is_name.then(|| value.to_owned());
                asked.filter.sync = Some(name.ok_or_else(|| invalid("a sync's name"))?);
            }
            "pullRequest" => {
                let number = value.parse().ok().filter(|number: &i64| *number > 0);
                asked.filter.pull_request =
                    Some(number.ok_or_else(|| invalid("the number of a pull request"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                asked.limit = Some(limit.ok_or_else(|| invalid("a number from 1 to 100"))?);
            }
            "after" => asked.after = Some(value),
            _ => {
                return Err(ApiError::validation(format!(
                    "{name}: it is not known here; sync, pullRequest, limit and after are"
                )));
            }
        }
    }
    Ok(asked)
}

/// `GET /api/v1/previews?sync=<name>&pullRequest=<number>&limit=<number>&after=<next of the page before>`: the newest first.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Response {
    run(front, request, Route::question(LIST), async move |call, _| {
        let Query { filter, limit, after } = read_query(query.as_deref().unwrap_or_default())?;
        let number = filter.pull_request.map(|number| number.to_string());
        let filters = [filter.sync.as_deref().unwrap_or_default(), number.as_deref().unwrap_or_default()];
        let listing = Listing::of(&call, LIST, &filters, limit, after, ApiError::validation)?;
        let page = call.front.store.preview_summaries(&call.scope, filter.clone(), &listing.page).await?;
        let previews: Vec<_> = page.items.into_iter().map(Shown::from).collect();
        Ok(json!({ "previews": previews, "next": listing.next(page.next.as_ref()) }))
    })
    .await
}

/// A preview with its text.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    shown: Shown,
    /// Markdown, of which the comment on the pull request may have left something out; null while nothing was told.
    text: Option<String>,
}

/// `GET /api/v1/previews/{id}`
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::question("GetPreview").on(Resource::Preview(id.clone()));
    run(front, request, route, async move |call, _| {
        let found = call.front.store.preview_summary(&call.scope, &id).await?;
        let (preview, text) = found.ok_or_else(|| ApiError::not_found("preview", &id))?;
        Ok(Whole { shown: preview.into(), text })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_previews_are_meant() {
        let check = |query: &str, expect: Option<Query<'_>>| {
            assert_eq!(read_query(query).ok(), expect, "{query}");
        };
        let of = |sync: Option<&str>, pull_request: Option<i64>| PreviewFilter {
            sync: sync.map(str::to_owned),
            pull_request,
        };
        check("", Some(Query::default()));
        let both = of(Some("web-1"), Some(7));
        check(
            "sync=web-1&pullRequest=7&limit=100",
            Some(Query { filter: both, limit: Some(100), after: None }),
        );
        check("pullRequest=7", Some(Query { filter: of(None, Some(7)), ..Query::default() }));
        check("after=token", Some(Query { after: Some("token"), ..Query::default() }));
        check("sync=", None);
        check("sync=a/b", None);
        check("pullRequest=0", None);
        check("pullRequest=x", None);
        check("limit=0", None);
        check("limit=101", None);
        check("page=1", None);
    }
}
