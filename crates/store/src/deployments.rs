//! What forges are to show of syncs whose configuration says so: a status of each synced commit, and a deployment where the
//! forge has such a thing. Wanted things of the outbox, one for each commit and sync.

use serde::{Deserialize, Serialize};
use syncline_model::sync::{AttemptStatus, Revision};

use crate::notifications::SyncChanged;
use crate::outbox::{self, OutboxKind, Wanted};
use crate::sql::{Tx, params, to_json};
use crate::{Scope, StoreResult, lanes};

/// How a sync of a commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentState {
    /// It was begun.
    Pending,
    /// It changes its stack.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It was given up before it changed anything, for a newer commit or configuration: no failure.
    Superseded,
}

/// What a forge is to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedStatus {
    /// The link of the repository.
    pub link_id: String,
    /// The sync's id.
    pub sync_id: String,
    /// The sync's name.
    pub sync: String,
    /// Its region.
    pub region: String,
    /// The attempt's id.
    pub attempt_id: String,
    /// The whole commit id.
    pub commit: String,
    /// The branch.
    pub branch: String,
    /// How it stands.
    pub state: DeploymentState,
}

/// The provider types that have deployments beside statuses.
const WITH_DEPLOYMENTS: [&str; 4] = ["GitHub", "GitHubEnterpriseServer", "GitLab", "GitLabSelfManaged"];
/// The one that has no API.
const WITHOUT_API: &str = "Git";

/// Has a sync's forge show its status, in the transaction that changes it.
pub(crate) fn publish(
    tx: &mut Tx<'_>,
    scope: &Scope,
    name: &str,
    link_id: &str,
    revision: &Revision,
    changed: &SyncChanged<'_>,
) -> StoreResult<()> {
    let found = tx.row(
        "SELECT l.provider_type, h.provider_endpoint FROM repository_link l
           LEFT JOIN connection c ON c.id = l.connection_id LEFT JOIN host h ON h.id = c.host_id WHERE l.id = $1",
        params![link_id],
    )?;
    let Some(mut row) = found else { return Ok(()) };
    let (provider_type, host) = (row.text()?, row.opt_text()?);
    if provider_type == WITHOUT_API {
        return Ok(());
    }
    let status = PublishedStatus {
        link_id: link_id.to_owned(),
        sync_id: changed.sync_id.to_owned(),
        sync: name.to_owned(),
        region: scope.region.as_str().to_owned(),
        attempt_id: changed.attempt_id.to_owned(),
        commit: revision.sha.clone(),
        branch: revision.branch.clone(),
        state: match changed.status {
            _ if changed.given_up => DeploymentState::Superseded,
            AttemptStatus::Initiated => DeploymentState::Pending,
            AttemptStatus::InProgress => DeploymentState::Running,
            AttemptStatus::Succeeded => DeploymentState::Succeeded,
            AttemptStatus::Failed => DeploymentState::Failed,
        },
    };
    let host = host.as_deref().map_or_else(|| provider_type.clone(), lanes::git_host);
    let has_deployments = WITH_DEPLOYMENTS.contains(&&*provider_type);
    let kinds = [(OutboxKind::CommitStatus, true), (OutboxKind::Deployment, has_deployments)];
    for (kind, _) in kinds.into_iter().filter(|(_, is_known)| *is_known) {
        let wanted = Wanted {
            kind,
            subject: format!("{}/{}/{}", status.link_id, status.commit, status.sync_id),
            scope: scope.clone(),
            endpoint: lanes::rest_endpoint(scope.account.as_str(), &host),
            document: to_json(&status)?,
        };
        outbox::put(tx, &wanted)?;
    }
    Ok(())
}
