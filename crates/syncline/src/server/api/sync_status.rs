//! What became of a sync.

use syncline_model::sync::{Revision as StoredRevision, SyncEvent};
use syncline_store::{AttemptStatusRow, RepositoryStatus, SyncStatus};
use syncline_wire::{
    GetRepositorySyncStatusInput, GetRepositorySyncStatusOutput, GetResourceSyncStatusInput,
    GetResourceSyncStatusOutput, RepositorySyncAttempt, RepositorySyncEvent, ResourceSyncAttempt,
    ResourceSyncEvent, Revision, Timestamp,
};

use super::{Answer, ApiError, Call, stored};

pub(in crate::server) async fn get_resource_sync_status(
    call: &Call,
    input: GetResourceSyncStatusInput,
) -> Answer<GetResourceSyncStatusOutput> {
    let status = call
        .front
        .store
        .sync_status(&call.scope, input.sync_type.as_str(), &input.resource_name)
        .await?
        .ok_or_else(|| ApiError::not_found("a sync status for resource", &input.resource_name))?;
    resource_status(status)
}

/// The API's shape of a sync's status.
pub(in crate::server) fn resource_status(status: SyncStatus) -> Answer<GetResourceSyncStatusOutput> {
    Ok(GetResourceSyncStatusOutput {
        desired_state: status.desired.map(revision).transpose()?,
        latest_successful_sync: status.latest_successful.map(attempt).transpose()?,
        latest_sync: attempt(status.latest)?,
    })
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

fn attempt(attempt: AttemptStatusRow) -> Answer<ResourceSyncAttempt> {
    let event = |event: SyncEvent| ResourceSyncEvent {
        event: event.text,
        external_id: event.external_id,
        time: Timestamp::from_epoch_ms(event.time_ms),
        r#type: event.kind.as_str().to_owned(),
    };
    Ok(ResourceSyncAttempt {
        events: attempt.events.into_iter().map(event).collect(),
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
) -> Answer<GetRepositorySyncStatusOutput> {
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

fn repository_attempt(status: RepositoryStatus) -> Answer<RepositorySyncAttempt> {
    let event = |event: SyncEvent| RepositorySyncEvent {
        event: event.text,
        external_id: event.external_id,
        time: Timestamp::from_epoch_ms(event.time_ms),
        r#type: event.kind.as_str().to_owned(),
    };
    Ok(RepositorySyncAttempt {
        started_at: Timestamp::from_epoch_ms(status.started_at_ms),
        status: stored(status.status.as_str())?,
        events: status.events.into_iter().map(event).collect(),
    })
}
