//! What became of a sync.

use syncline_model::sync::{AttemptStatus, Revision as StoredRevision};
use syncline_store::{AttemptStatusRow, EventDocument, RepositoryStatus, StoreError, SyncStatus};
use syncline_wire::{
    GetRepositorySyncStatusInput, GetRepositorySyncStatusOutput, GetResourceSyncStatusInput,
    GetResourceSyncStatusOutput, RepositorySyncAttempt, RepositorySyncEvent, ResourceSyncAttempt,
    ResourceSyncEvent, Revision, Timestamp, WrittenList,
};

use super::{Answer, ApiError, Call, stored};

/// The answer of GetResourceSyncStatus, its events taken from the store as they are.
pub(in crate::server) type ResourceStatus = GetResourceSyncStatusOutput<WrittenList<ResourceSyncEvent>>;
/// The answer of GetRepositorySyncStatus, likewise.
type RepositorySyncStatus = GetRepositorySyncStatusOutput<WrittenList<RepositorySyncEvent>>;

pub(in crate::server) async fn get_resource_sync_status(
    call: &Call,
    input: GetResourceSyncStatusInput,
) -> Answer<ResourceStatus> {
    let status = call
        .front
        .store
        .sync_status(&call.scope, input.sync_type.as_str(), &input.resource_name)
        .await?
        .ok_or_else(|| ApiError::not_found("a sync status for resource", &input.resource_name))?;
    resource_status(status)
}

/// The API's shape of a sync's status.
pub(in crate::server) fn resource_status(status: SyncStatus) -> Answer<ResourceStatus> {
    let latest_succeeded = status.latest.status == AttemptStatus::Succeeded;
    let latest_sync = attempt(status.latest)?;
    let latest_successful_sync = if latest_succeeded {
        Some(latest_sync.clone())
    } else {
        status.earlier_success.map(attempt).transpose()?
    };
    Ok(GetResourceSyncStatusOutput {
        desired_state: status.desired.map(revision).transpose()?,
        latest_successful_sync,
        latest_sync,
    })
}

/// Events are stored as they are answered.
fn written<T>(events: EventDocument) -> Answer<WrittenList<T>> {
    WrittenList::from_json(events.into_json())
        .map_err(|error| StoreError::Corrupt(format!("stored events: {error}")).into())
}

fn revision(revision: StoredRevision) -> Answer<Revision> {
    Ok(Revision {
        branch: revision.branch,
        directory: revision.directory,
        owner_id: revision.owner_id,
        repository_name: revision.repository_name,
        provider_type: stored(&revision.provider_type)?,
        sha: revision.sha,
    })
}

fn attempt(
    attempt: AttemptStatusRow<EventDocument>,
) -> Answer<ResourceSyncAttempt<WrittenList<ResourceSyncEvent>>> {
    Ok(ResourceSyncAttempt {
        events: written(attempt.events)?,
        initial_revision: revision(attempt.initial)?,
        started_at: Timestamp::from_epoch_ms(attempt.started_at_ms),
        status: stored(attempt.status.as_str())?,
        target_revision: revision(attempt.target_revision)?,
        target: attempt.target,
    })
}

pub(in crate::server) async fn get_repository_sync_status(
    call: &Call,
    input: GetRepositorySyncStatusInput,
) -> Answer<RepositorySyncStatus> {
    let link_id = input.repository_link_id.to_ascii_lowercase();
    let status = call
        .front
        .store
        .repository_status(&call.scope, &link_id, &input.branch)
        .await?
        .flatten()
        .ok_or_else(|| ApiError::not_found("a sync status for repository link", &input.repository_link_id))?;
    Ok(GetRepositorySyncStatusOutput { latest_sync: repository_attempt(status)? })
}

fn repository_attempt(
    status: RepositoryStatus,
) -> Answer<RepositorySyncAttempt<WrittenList<RepositorySyncEvent>>> {
    Ok(RepositorySyncAttempt {
        started_at: Timestamp::from_epoch_ms(status.started_at_ms),
        status: stored(status.status.as_str())?,
        events: written(status.events)?,
    })
}
