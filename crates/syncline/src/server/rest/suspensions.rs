//! Syncs and accounts that the operator tells to rest, and to go on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline_store::{Suspended, Suspension};
use syncline_wire::{ErrorCode, Timestamp};

use super::super::Front;
use super::super::api::{Call, sync_configurations};
use super::super::caller::Principal;
use super::syncs::SYNC_TYPE;
use super::{Answer, ApiError, Resource, Route, read, run};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// Why a sync rests, as answers show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    reason: String,
    since: String,
    of_account: bool,
}

impl From<Suspension> for Shown {
    fn from(suspension: Suspension) -> Self {
        Self {
            reason: suspension.reason,
            since: Timestamp::from_epoch_ms(suspension.since_ms).iso8601(),
            of_account: suspension.of_account,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    reason: String,
}

/// The reason that a request gives: something to show to whoever wonders.
fn reason_of(body: &[u8]) -> Answer<String> {
    let Input { reason } = read(body)?;
    let length = reason.chars().count();
    if reason.trim().is_empty() || length > LONGEST_REASON || reason.chars().any(char::is_control) {
        return Err(ApiError::validation(format!(
            "the reason: it must be one line of 1 to {LONGEST_REASON} characters, not {length}"
        )));
    }
    Ok(reason)
}

fn sync(name: &str) -> Suspended {
    Suspended::Sync { sync_type: SYNC_TYPE.to_owned(), name: name.to_owned() }
}

/// `POST /api/v1/syncs/{name}/suspend` with `{"reason": …}`: the sync begins nothing until it is resumed.
pub(super) async fn suspend_sync(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("SuspendSync", json!({ "resourceName": &name }))
        .on(Resource::Sync(name.clone()))
        .recording_body_as("suspension");
    run(front, request, route, async move |call, body| {
        let reason = reason_of(&body)?;
        let resource = name.clone();
        let change = call.asked.change(move |suspension| match suspension {
            None => Err(sync_configurations::not_found(&resource)),
            Some(suspension) => {
                Ok(json!({ "resourceName": resource, "suspension": Shown::from(suspension) }))
            }
        });
        call.front.store.suspend(&call.scope, sync(&name), &reason, change).await?
    })
    .await
}

/// `POST /api/v1/syncs/{name}/resume`
pub(super) async fn resume_sync(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let route =
        Route::change("ResumeSync", json!({ "resourceName": &name })).on(Resource::Sync(name.clone()));
    run(front, request, route, async move |call, _| {
        let resource = name.clone();
        let change = call.asked.change(move |rested| match rested {
            None => Err(sync_configurations::not_found(&resource)),
            Some(rested) => Ok(json!({ "resourceName": resource, "wasSuspended": rested })),
        });
        call.front.store.resume(&call.scope, sync(&name), change).await?
    })
    .await
}

/// Whoever pays for an account must not be able to switch on again what the operator switched off.
fn by_operator(call: &Call) -> Answer<()> {
    match call.asked.caller.principal {
        Principal::Root => Ok(()),
        Principal::User(_) => Err(ApiError::new(
            ErrorCode::AccessDenied,
            "only the operator's root key suspends and resumes accounts",
        )),
    }
}

/// `POST /api/v1/accounts/{account}/suspend` with `{"reason": …}`: no sync of the account begins anything, in any
/// region, until the account is resumed.
pub(super) async fn suspend_account(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("SuspendAccount", json!({})).of(account).recording_body_as("suspension");
    run(front, request, route, async move |call, body| {
        by_operator(&call)?;
        let reason = reason_of(&body)?;
        let account = call.scope.account.to_string();
        let change = call.asked.change(move |suspension: Option<Suspension>| {
            Ok::<_, ApiError>(json!({ "accountId": account, "suspension": suspension.map(Shown::from) }))
        });
        call.front.store.suspend(&call.scope, Suspended::Account, &reason, change).await?
    })
    .await
}

/// `POST /api/v1/accounts/{account}/resume`
pub(super) async fn resume_account(
    State(front): State<Arc<Front>>,
    Path(account): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::change("ResumeAccount", json!({})).of(account);
    run(front, request, route, async move |call, _| {
        by_operator(&call)?;
        let account = call.scope.account.to_string();
        let change = call.asked.change(move |rested: Option<bool>| {
            Ok::<_, ApiError>(json!({ "accountId": account, "wasSuspended": rested == Some(true) }))
        });
        call.front.store.resume(&call.scope, Suspended::Account, change).await?
    })
    .await
}
