//! Syncs as a person looks at them: configuration, status, blockers and history in one answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};
use serde::Serialize;
use syncline_store::{Configuration, Page, Scope};
use syncline_wire::{
    ErrorCode, GetResourceSyncStatusOutput, SyncBlocker, SyncConfiguration, SyncConfigurationType,
};

use super::super::Front;
use super::super::api::{blockers, sync_configurations, sync_status};
use super::{RestError, Signed, json};

const SYNC_TYPE: &str = SyncConfigurationType::CfnStackSync.as_str();
/// Syncs in one listing; the quota of an account is far below.
const MOST_SYNCS: usize = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    configuration: SyncConfiguration,
    /// As GetResourceSyncStatus answers; absent before the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<GetResourceSyncStatusOutput>,
    /// As GetSyncBlockerSummary answers: the newest ten.
    blockers: Vec<SyncBlocker>,
}

fn shown(front: &Front, scope: &Scope, configuration: Configuration) -> Result<Shown, RestError> {
    let name = configuration.resource_name.clone();
    let status = front.store.sync_status(scope, SYNC_TYPE, &name)?;
    let blockers = front.store.blockers(scope, SYNC_TYPE, &name)?.unwrap_or_default();
    Ok(Shown {
        configuration: sync_configurations::shown(configuration)?,
        status: status.map(sync_status::resource_status).transpose()?,
        blockers: blockers.into_iter().map(blockers::shown).collect::<Result<_, _>>()?,
    })
}

fn not_found(name: &str) -> RestError {
    RestError::new(
        ErrorCode::ResourceNotFound,
        format!("Could not find a sync configuration for resource:{name}"),
    )
}

/// `GET /api/v1/account`: the caller's account and the ExternalId its roles are assumed with.
pub(super) async fn account(
    State(front): State<Arc<Front>>,
    request: Request<Body>,
) -> Result<Response, RestError> {
    let signed = Signed::verify(&front, request).await?;
    let account = front.store.account(&signed.scope.account).await?;
    let principal = front.principal.principal().await;
    Ok(json(
        StatusCode::OK,
        &serde_json::json!({
            "accountId": account.id.as_str(),
            "externalId": account.external_id,
            "principalArn": principal.as_ref().ok(),
            "principalError": principal.as_ref().err().map(ToString::to_string),
        }),
    ))
}

/// `GET /api/v1/syncs`: every sync of the account and region.
pub(super) async fn list(
    State(front): State<Arc<Front>>,
    request: Request<Body>,
) -> Result<Response, RestError> {
    let signed = Signed::verify(&front, request).await?;
    let page = Page { after: None, limit: MOST_SYNCS };
    let configurations = front.store.configurations(&signed.scope, None, SYNC_TYPE, &page)?;
    let syncs = configurations
        .map(|page| page.items)
        .unwrap_or_default()
        .into_iter()
        .map(|configuration| shown(&front, &signed.scope, configuration))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "syncs": syncs })))
}

/// `GET /api/v1/syncs/{name}`
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, RestError> {
    let signed = Signed::verify(&front, request).await?;
    let configuration =
        front.store.configuration(&signed.scope, SYNC_TYPE, &name)?.ok_or_else(|| not_found(&name))?;
    Ok(json(StatusCode::OK, &shown(&front, &signed.scope, configuration)?))
}

/// `POST /api/v1/syncs/{name}/sync-now`: syncs the branch's head again, whatever it was before.
pub(super) async fn sync_now(
    State(front): State<Arc<Front>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, RestError> {
    let signed = Signed::verify(&front, request).await?;
    match front.store.sync_now(&signed.scope, SYNC_TYPE, &name).await? {
        None => Err(not_found(&name)),
        Some(Err(why)) => Err(RestError::new(
            ErrorCode::RetryLatestCommitFailed,
            format!("{name} cannot be synced now: {why}"),
        )),
        Some(Ok(())) => Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "resourceName": name }))),
    }
}
