//! Sync blockers.

use syncline_store::{Blocker, Resolution};
use syncline_wire::{
    BlockerType, ErrorCode, GetSyncBlockerSummaryInput, GetSyncBlockerSummaryOutput, SyncBlocker,
    SyncBlockerContext, SyncBlockerSummary, Timestamp, UpdateSyncBlockerInput, UpdateSyncBlockerOutput,
};

use super::sync_configurations::not_found;
use super::{Answer, ApiError, Call, stored};

pub(in crate::server) fn shown(blocker: Blocker) -> Answer<SyncBlocker> {
    let contexts =
        blocker.contexts.into_iter().map(|(key, value)| SyncBlockerContext { key, value }).collect();
    Ok(SyncBlocker {
        id: blocker.id,
        r#type: BlockerType::Automated,
        status: stored(blocker.status.as_str())?,
        created_reason: blocker.created_reason,
        created_at: Timestamp::from_epoch_ms(blocker.created_at_ms),
        contexts: Some(contexts),
        resolved_reason: blocker.resolved_reason,
        resolved_at: blocker.resolved_at_ms.map(Timestamp::from_epoch_ms),
    })
}

pub(in crate::server) async fn get_sync_blocker_summary(
    call: &Call,
    input: GetSyncBlockerSummaryInput,
) -> Answer<GetSyncBlockerSummaryOutput> {
    let blockers = call
        .front
        .store
        .blockers(&call.scope, input.sync_type.as_str(), &input.resource_name)
        .await?
        .ok_or_else(|| not_found(&input.resource_name))?;
    Ok(GetSyncBlockerSummaryOutput {
        sync_blocker_summary: SyncBlockerSummary {
            resource_name: input.resource_name,
            parent_resource_name: None,
            latest_blockers: Some(blockers.into_iter().map(shown).collect::<Answer<Vec<_>>>()?),
        },
    })
}

pub(in crate::server) async fn update_sync_blocker(
    call: &Call,
    input: UpdateSyncBlockerInput,
) -> Answer<UpdateSyncBlockerOutput> {
    let (name, id) = (input.resource_name.clone(), input.id.clone());
    let change = call.asked.change(move |resolution| match resolution {
        Resolution::Resolved(blocker) => Ok(UpdateSyncBlockerOutput {
            resource_name: name,
            parent_resource_name: None,
            sync_blocker: shown(*blocker)?,
        }),
        Resolution::NoConfiguration => Err(not_found(&name)),
        Resolution::NoBlocker => Err(ApiError::new(
            ErrorCode::SyncBlockerDoesNotExist,
            format!("The sync blocker {id} does not exist for resource {name}"),
        )),
        Resolution::CannotRetry(why) => Err(ApiError::new(
            ErrorCode::RetryLatestCommitFailed,
            format!("The latest commit of {name} cannot be tried again: {why}"),
        )),
    });
    let (sync_type, name) = (input.sync_type.as_str(), &input.resource_name);
    let (id, reason) = (&input.id, &input.resolved_reason);
    call.front.store.resolve_blocker(&call.scope, sync_type, name, id, reason, change).await?
}
