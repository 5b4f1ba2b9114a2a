//! Syncs as a person looks at them: configuration, status, blockers and history in one answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};
use serde::Serialize;
use syncline_store::{Configuration, Page, Scope};
use syncline_wire::{ErrorCode, SyncBlocker, SyncConfiguration, SyncConfigurationType};

use super::super::Front;
use super::super::api::{blockers, sync_configurations, sync_status};
use super::{Answer, ApiError, Resource, Route, run, suspensions};

pub(super) const SYNC_TYPE: &str = SyncConfigurationType::CfnStackSync.as_str();
/// Syncs in one listing; the quota of an account is far below.
const MOST_SYNCS: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    configuration: SyncConfiguration,
    /// As GetResourceSyncStatus answers; absent before the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<sync_status::ResourceStatus>,
    /// Why it rests, if the operator told it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspension: Option<suspensions::Shown>,
    /// As GetSyncBlockerSummary answers: the newest ten.
    blockers: Vec<SyncBlocker>,
}

async fn shown(front: &Front, scope: &Scope, configuration: Configuration) -> Answer<Shown> {
    let name = configuration.resource_name.clone();
    let status = front.store.sync_status(scope, SYNC_TYPE, &name).await?;
    let blockers = front.store.blockers(scope, SYNC_TYPE, &name).await?.unwrap_or_default();
    let suspension = front.store.suspension(scope, &configuration.id).await?;
    Ok(Shown {
        suspension: suspension.map(suspensions::Shown::from),
        configuration: sync_configurations::shown(configuration)?,
        status: status.map(sync_status::resource_status).transpose()?,
        blockers: blockers.into_iter().map(blockers::shown).collect::<Answer<_>>()?,
    })
}

/// `GET /api/v1/account`: the caller's account and the ExternalId its roles are assumed with.
///
/// A question, though the first one for an account makes and stores its ExternalId: whoever sets up a role needs it
/// before anything exists that it could come with. It is the server's choice, not the caller's, and it never changes, so
/// that there is no change to allow or to record, and whoever may only read can do no harm by asking.
pub(super) async fn account(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    run(front, request, Route::question("GetAccount"), async |call, _| {
        let account = call.front.store.account(&call.scope.account).await?;
        let principal = call.front.principal.principal().await;
        Ok(serde_json::json!({
            "accountId": account.id.as_str(),
            "externalId": account.external_id,
            "principalArn": principal.as_ref().ok(),
            "principalError": principal.as_ref().err().map(ToString::to_string),
        }))
    })
    .await
}

#[derive(Serialize)]
struct Syncs {
    syncs: Vec<Shown>,
}

/// `GET /api/v1/syncs`: every sync of the account and region.
pub(super) async fn list(State(front): State<Arc<Front>>, request: Request<Body>) -> Response {
    run(front, request, Route::question("ListSyncs"), async |call, _| {
        let page = Page { after: None, limit: MOST_SYNCS };
        let configurations = call.front.store.configurations(&call.scope, None, SYNC_TYPE, &page).await?;
        let mut syncs = Vec::new();
        for configuration in configurations.map(|page| page.items).unwrap_or_default() {
            syncs.push(shown(&call.front, &call.scope, configuration).await?);
        }
        Ok(Syncs { syncs })
    })
    .await
}

/// `GET /api/v1/syncs/{name}`
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let route = Route::question("GetSync").on(Resource::Sync(name.clone()));
    run(front, request, route, async move |call, _| {
        let configuration = call
            .front
            .store
            .configuration(&call.scope, SYNC_TYPE, &name)
            .await?
            .ok_or_else(|| sync_configurations::not_found(&name))?;
        shown(&call.front, &call.scope, configuration).await
    })
    .await
}

/// `POST /api/v1/syncs/{name}/sync-now`: syncs the branch's head again, whatever it was before.
pub(super) async fn sync_now(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Response {
    let parameters = serde_json::json!({ "resourceName": &name });
    let change = Route::change("SyncNow", parameters).on(Resource::Sync(name.clone()));
    let route = Route { status: StatusCode::ACCEPTED, ..change };
    run(front, request, route, async move |call, _| {
        let resource = name.clone();
        let change = call.asked.change(move |outcome| match outcome {
            None => Err(sync_configurations::not_found(&resource)),
            Some(Err(why)) => Err(ApiError::new(
                ErrorCode::RetryLatestCommitFailed,
                format!("{resource} cannot be synced now: {why}"),
            )),
            Some(Ok(())) => Ok(serde_json::json!({ "resourceName": resource })),
        });
        call.front.store.sync_now(&call.scope, SYNC_TYPE, &name, change).await?
    })
    .await
}
