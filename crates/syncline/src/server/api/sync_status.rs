//! What became of a sync.

use syncline_model::sync::AttemptStatus;
use syncline_store::{RepositoryStatus, StoredAttempt, SyncStatus};
use syncline_wire::{
    GetRepositorySyncStatusInput, GetRepositorySyncStatusOutput, GetResourceSyncStatusInput,
    GetResourceSyncStatusOutput, RepositorySyncAttempt, ResourceSyncAttempt, Timestamp, Writing, Written,
};

use super::{Answer, ApiError, Call};

/// The answer of GetResourceSyncStatus.
pub(in crate::server) type ResourceStatus = Written<GetResourceSyncStatusOutput>;
/// The answer of GetRepositorySyncStatus.
type RepositorySyncStatus = Written<GetRepositorySyncStatusOutput>;

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

/// The API's shape of a sync's status. It is written here, since nearly all of it is stored as it is answered.
pub(in crate::server) fn resource_status(status: SyncStatus) -> Answer<ResourceStatus> {
    let latest = attempt(&status.latest)?;
    let mut answer = Writing::with_capacity(2 * latest.len() + 512);
    if let Some(desired) = &status.desired {
        answer.member("DesiredState", &desired.to_api_json()?);
    }
    if status.latest.status == AttemptStatus::Succeeded {
        answer.written("LatestSuccessfulSync", &latest);
    } else if let Some(success) = &status.earlier_success {
        answer.written("LatestSuccessfulSync", &attempt(success)?);
    }
    answer.written("LatestSync", &latest);
    Ok(answer.finish())
}

fn attempt(attempt: &StoredAttempt) -> Answer<Written<ResourceSyncAttempt>> {
    let events = attempt.events.json()?;
    let mut written = Writing::with_capacity(events.len() + 1024);
    written.member("Events", events);
    written.member("InitialRevision", &attempt.initial.to_api_json()?);
    written.time("StartedAt", Timestamp::from_epoch_ms(attempt.started_at_ms));
    written.text("Status", attempt.status.as_str());
    written.text("Target", &attempt.target);
    written.member("TargetRevision", &attempt.target_revision.to_api_json()?);
    Ok(written.finish())
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
    repository_status(&status)
}

/// The API's shape of a branch's status, written likewise.
fn repository_status(status: &RepositoryStatus) -> Answer<RepositorySyncStatus> {
    let events = status.events.json()?;
    let mut attempt = Writing::with_capacity(events.len() + 256);
    attempt.member("Events", events);
    attempt.time("StartedAt", Timestamp::from_epoch_ms(status.started_at_ms));
    attempt.text("Status", status.status.as_str());
    let mut answer = Writing::with_capacity(events.len() + 512);
    answer.written("LatestSync", &attempt.finish::<RepositorySyncAttempt>());
    Ok(answer.finish())
}
