//! Notification targets: who is told of changed statuses, and the events that are for them.
//!
//! An event is written in the transaction that changes the status, once for each target of its account and region whose
//! filters let it pass. Whether there is any target is asked within the statements that change the status, so that
//! without one nothing is done.

use serde::{Deserialize, Serialize};
use syncline_model::sync::{AttemptStatus, RepositoryAttemptStatus, Revision};

use crate::accounts::external_id;
use crate::change::Change;
use crate::keyring::{Owner, OwnerOf};
use crate::outbox::{self, NewNotification};
use crate::sql::{Row, Tx, params, to_json};
use crate::{Scope, Store, StoreResult, deployments};

/// How a target is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A signed request, as Standard Webhooks has it.
    Webhook,
    /// The same, with the body that EventBridge gives its targets.
    Envelope,
    /// A message, as Slack's incoming webhooks take it.
    Slack,
    /// An event on an EventBridge bus.
    EventBridge,
}

impl TargetKind {
    /// The text under which it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "WEBHOOK",
            Self::Envelope => "ENVELOPE",
            Self::Slack => "SLACK",
            Self::EventBridge => "EVENTBRIDGE",
        }
    }

    /// The kind of that text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let all = [Self::Webhook, Self::Envelope, Self::Slack, Self::EventBridge];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A notification target, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationTarget {
    /// Its id.
    pub id: String,
    /// Its name, unique in account and region.
    pub name: String,
    /// How it is told; `None` for a way that only a newer version knows.
    pub kind: Option<TargetKind>,
    /// Where it is, without secrets: a URL, or the bus's ARN.
    pub shown: String,
    /// As whom it is told; of an event bus alone.
    pub role_arn: Option<String>,
    /// The names of the syncs it is told of; `None`: all, and repositories.
    pub syncs: Option<Vec<String>>,
    /// The statuses it is told of; `None`: all.
    pub statuses: Option<Vec<String>>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

/// A target to make.
#[derive(Debug, Clone)]
pub struct NewNotificationTarget {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How it is told.
    pub kind: TargetKind,
    /// Where it is, without secrets: a URL, or the bus's ARN.
    pub shown: String,
    /// As whom it is told; of an event bus alone.
    pub role_arn: Option<String>,
    /// Its secrets, sealed for [`notification_target_owner`].
    pub sealed: Vec<u8>,
    /// The names of the syncs it is told of; `None`: all, and repositories.
    pub syncs: Option<Vec<String>>,
    /// The statuses it is told of; `None`: all.
    pub statuses: Option<Vec<String>>,
}

/// What came of making a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateNotificationTarget {
    /// Made.
    Created(NotificationTarget),
    /// Another one of the account and region has the name.
    NameTaken,
    /// There are as many as there may be.
    LimitExceeded,
}

/// A target with its sealed secrets, for whoever tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// The target.
    pub target: NotificationTarget,
    /// Whose it is.
    pub account: String,
    /// The account's external id, which the role's trust policy must name.
    pub external_id: String,
    sealed: Vec<u8>,
}

/// An event, as it stands in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusEvent {
    /// EventBridge's detail type.
    pub detail_type: String,
    /// When it happened, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The account it belongs to.
    pub account: String,
    /// The region it belongs to.
    pub region: String,
    /// EventBridge's detail, in JSON.
    pub detail: serde_json::Value,
    /// The sync's name, if it is a sync's.
    pub sync: Option<String>,
    /// The new status.
    pub status: String,
}

/// EventBridge's detail types [F].
const REPOSITORY_CHANGED: &str = "Git Sync Repository Sync Status Change";
const RESOURCE_CHANGED: &str = "Git Sync Resource Sync Status Change";

/// The row that a target's secrets are sealed for, as the resource of an [`Owner`].
#[must_use]
pub fn notification_target_owner(id: &str) -> String {
    format!("notification-target/{id}")
}

/// The columns that [`owner`] reads.
pub(crate) const OWNED_BY: &str = "account_id, id";

/// Whom a target's secrets are sealed for.
pub(crate) fn owner(row: &mut Row) -> StoreResult<OwnerOf> {
    Ok(OwnerOf { account: row.text()?, arn: notification_target_owner(&row.text()?) })
}

/// Whether anybody is told of a repository's status: 1 or 0, in the statement that changes it.
macro_rules! anybody_listens {
    () => {
        "CASE WHEN EXISTS (SELECT 1 FROM notification_target) THEN 1 ELSE 0 END"
    };
}
pub(crate) use anybody_listens;

/// Whether anybody is told of the status of an attempt's sync: 1 or 0, in the statement that changes the `attempt`, or reads
/// the configuration `s`.
macro_rules! sync_is_told {
    ($sync_id:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT 1 FROM notification_target)
               OR EXISTS (SELECT 1 FROM sync_configuration p
                           WHERE p.id = ",
            $sync_id,
            " AND p.publish_deployment_status = 'ENABLED') THEN 1 ELSE 0 END"
        )
    };
}
pub(crate) use sync_is_told;

const COLUMNS: &str = "id, name, kind, shown, role_arn, syncs, statuses, created_at_ms";

fn from_row(row: &mut Row) -> StoreResult<NotificationTarget> {
    Ok(NotificationTarget {
        id: row.text()?,
        name: row.text()?,
        kind: TargetKind::from_text(&row.text()?),
        shown: row.text()?,
        role_arn: row.opt_text()?,
        syncs: row.opt_json()?,
        statuses: row.opt_json()?,
        created_at_ms: row.int()?,
    })
}

impl NotificationTarget {
    /// Whether an event is for it.
    #[must_use]
    pub fn listens_to(&self, sync: Option<&str>, status: &str) -> bool {
        let to_sync = self
            .syncs
            .as_ref()
            .is_none_or(|syncs| sync.is_some_and(|sync| syncs.iter().any(|name| name == sync)));
        to_sync && self.statuses.as_ref().is_none_or(|statuses| statuses.iter().any(|known| known == status))
    }
}

/// Writes an event for every target that it is for. Events of a subject are told in their order.
fn tell(tx: &mut Tx<'_>, scope: &Scope, subject: &str, event: &StatusEvent) -> StoreResult<()> {
    let targets = tx.rows(
        &format!(
            "SELECT {COLUMNS} FROM notification_target WHERE account_id = $1 AND region = $2 ORDER BY id"
        ),
        params![scope.account.as_str(), scope.region.as_str()],
    )?;
    let document = to_json(event)?;
    for mut row in targets {
        let target = from_row(&mut row)?;
        if target.listens_to(event.sync.as_deref(), &event.status) {
            let endpoint = format!("target:{}", target.id);
            let new = NewNotification {
                target_id: &target.id,
                subject,
                scope,
                endpoint: &endpoint,
                document: &document,
            };
            outbox::notify(tx, &new)?;
        }
    }
    Ok(())
}

fn scope(account: &str, region: &str) -> StoreResult<Scope> {
    let corrupt = |what: &str| crate::StoreError::Corrupt(format!("'{what}' is no account or region"));
    Ok(Scope {
        account: account.parse().map_err(|_| corrupt(account))?,
        region: region.parse().map_err(|_| corrupt(region))?,
    })
}

/// Puts a member in where there is a value.
fn put_in(detail: &mut serde_json::Value, member: &str, value: Option<&str>) {
    if let (Some(members), Some(value)) = (detail.as_object_mut(), value) {
        members.insert(member.to_owned(), value.into());
    }
}

/// A sync's status that changed.
#[derive(Debug)]
pub(crate) struct SyncChanged<'a> {
    pub(crate) sync_id: &'a str,
    pub(crate) attempt_id: &'a str,
    /// The revision that is applied, in JSON.
    pub(crate) target: &'a str,
    pub(crate) stack_id: Option<&'a str>,
    pub(crate) status: AttemptStatus,
    /// `None` for the first attempt's first.
    pub(crate) previous: Option<AttemptStatus>,
    /// It was given up before it executed anything, which is no failure.
    pub(crate) given_up: bool,
}

/// Has whoever listens told of a sync's status, and its forge, where that is to show it.
pub(crate) fn sync_changed(tx: &mut Tx<'_>, changed: &SyncChanged<'_>) -> StoreResult<()> {
    let found = tx.row(
        "SELECT s.account_id, s.region, s.sync_type, s.resource_name, s.publish_deployment_status, a.link_id
           FROM sync_configuration s JOIN attempt a ON a.id = $2 WHERE s.id = $1",
        params![changed.sync_id, changed.attempt_id],
    )?;
    let Some(mut row) = found else { return Ok(()) };
    let scope = scope(&row.text()?, &row.text()?)?;
    let (sync_type, name) = (row.text()?, row.text()?);
    let is_published = row.opt_text()?.as_deref() == Some("ENABLED");
    let revision: Revision = serde_json::from_str(changed.target)
        .map_err(|error| crate::StoreError::Corrupt(format!("stored JSON: {error}")))?;
    if is_published {
        deployments::publish(tx, &scope, &name, &row.text()?, &revision, changed)?;
    }
    if changed.given_up {
        // What follows it is told soon.
        return Ok(());
    }
    let mut detail = serde_json::json!({
        "providerType": revision.provider_type,
        "commit": revision.sha,
        "repositoryName": revision.repository_name,
        "branch": revision.branch,
        "syncType": sync_type,
        // Before its creation a stack has no ARN.
        "syncTarget": changed.stack_id.unwrap_or(&name),
        "status": changed.status.as_str(),
    });
    put_in(&mut detail, "previousStatus", changed.previous.map(AttemptStatus::as_str));
    let event = StatusEvent {
        detail_type: RESOURCE_CHANGED.to_owned(),
        time_ms: tx.now_ms(),
        account: scope.account.as_str().to_owned(),
        region: scope.region.as_str().to_owned(),
        detail,
        sync: Some(name),
        status: changed.status.as_str().to_owned(),
    };
    tell(tx, &scope, changed.sync_id, &event)
}

/// Tells who listens of a branch's status.
pub(crate) fn repository_changed(
    tx: &mut Tx<'_>,
    branch_id: &str,
    sha: Option<&str>,
    status: RepositoryAttemptStatus,
    previous: Option<RepositoryAttemptStatus>,
) -> StoreResult<()> {
    let found = tx.row(
        "SELECT l.account_id, l.region, l.service, l.id, l.connection_arn, l.owner_id, l.repository_name, l.provider_type,
                b.name
           FROM branch b JOIN repository_link l ON l.id = b.link_id WHERE b.id = $1",
        params![branch_id],
    )?;
    let Some(mut row) = found else { return Ok(()) };
    let scope = scope(&row.text()?, &row.text()?)?;
    let (service, link_id, connection_arn) = (row.text()?, row.text()?, row.text()?);
    let (owner_id, repository_name, provider_type) = (row.text()?, row.text()?, row.text()?);
    let (account, region) = (scope.account.as_str().to_owned(), scope.region.as_str().to_owned());
    let mut detail = serde_json::json!({
        "connectionArn": connection_arn,
        "providerType": provider_type,
        "repositoryName": repository_name,
        "repositoryArn": crate::arn(&service, &region, &account, "repository-link", &link_id),
        "repositoryLinkId": link_id,
        "ownerId": owner_id,
        "branch": row.text()?,
        "syncType": "CFN_STACK_SYNC",
        "status": status.as_str(),
    });
    put_in(&mut detail, "commit", sha);
    put_in(&mut detail, "previousStatus", previous.map(RepositoryAttemptStatus::as_str));
    let event = StatusEvent {
        detail_type: REPOSITORY_CHANGED.to_owned(),
        time_ms: tx.now_ms(),
        account,
        region,
        detail,
        sync: None,
        status: status.as_str().to_owned(),
    };
    tell(tx, &scope, branch_id, &event)
}

fn find(tx: &Tx<'_>, scope: &Scope, name_or_id: &str) -> StoreResult<Option<NotificationTarget>> {
    tx.row(
        &format!(
            "SELECT {COLUMNS} FROM notification_target
              WHERE account_id = $1 AND region = $2 AND (id = $3 OR name = $3) ORDER BY id LIMIT 1"
        ),
        params![scope.account.as_str(), scope.region.as_str(), name_or_id],
    )?
    .map(|mut row| from_row(&mut row))
    .transpose()
}

impl Store {
    /// Makes a notification target; `most` is how many an account may have in a region.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_notification_target<A: Send + 'static>(
        &self,
        scope: &Scope,
        new: NewNotificationTarget,
        most: i64,
        change: Change<CreateNotificationTarget, A>,
    ) -> StoreResult<A> {
        let (scope, keys) = (scope.clone(), self.keys());
        self.change("store.create_notification_target", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let (account, region) = (scope.account.as_str(), scope.region.as_str());
            if find(tx, &scope, &new.name)?.is_some() {
                return Ok(CreateNotificationTarget::NameTaken);
            }
            let count = "SELECT count(*) FROM notification_target WHERE account_id = $1 AND region = $2";
            if tx.count(count, params![account, region])? >= most {
                return Ok(CreateNotificationTarget::LimitExceeded);
            }
            let owner = notification_target_owner(&new.id);
            let sealed = keys.under_active(tx, &Owner { account, arn: &owner }, new.sealed)?;
            tx.execute(
                "INSERT INTO notification_target (id, account_id, region, name, kind, shown, role_arn, secret, syncs,
                     statuses, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                params![
                    &new.id,
                    account,
                    region,
                    new.name,
                    new.kind.as_str(),
                    new.shown,
                    new.role_arn,
                    sealed,
                    new.syncs.as_ref().map(to_json).transpose()?,
                    new.statuses.as_ref().map(to_json).transpose()?,
                    tx.now_ms()
                ],
            )?;
            let made = find(tx, &scope, &new.id)?;
            let vanished = || crate::StoreError::Corrupt("the notification target vanished".into());
            made.map(CreateNotificationTarget::Created).ok_or_else(vanished)
        })
        .await
    }

    /// Deletes the target of a name or an id, with what it was to be told and was; `None` if there is none.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_notification_target<A: Send + 'static>(
        &self,
        scope: &Scope,
        name_or_id: &str,
        change: Change<Option<NotificationTarget>, A>,
    ) -> StoreResult<A> {
        let (scope, wanted) = (scope.clone(), name_or_id.to_owned());
        self.change("store.delete_notification_target", change, move |tx| {
            // None of the worker's changes adds to what it is told meanwhile.
            tx.lock_account(&scope.account)?;
            let Some(target) = find(tx, &scope, &wanted)? else { return Ok(None) };
            outbox::forget_target(tx, &target.id)?;
            tx.execute("DELETE FROM notification_target WHERE id = $1", params![&target.id])?;
            Ok(Some(target))
        })
        .await
    }

    /// The scope's notification targets, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn notification_targets(&self, scope: &Scope) -> StoreResult<Vec<NotificationTarget>> {
        let scope = scope.clone();
        self.read(move |tx| {
            tx.rows(
                &format!(
                    "SELECT {COLUMNS} FROM notification_target WHERE account_id = $1 AND region = $2 ORDER BY name"
                ),
                params![scope.account.as_str(), scope.region.as_str()],
            )?
            .iter_mut()
            .map(from_row)
            .collect()
        })
        .await
    }

    /// The scope's target of a name or an id, with its sealed secrets.
    ///
    /// # Errors
    /// The database's.
    pub async fn notification_target(
        &self,
        scope: &Scope,
        name_or_id: &str,
    ) -> StoreResult<Option<TargetRecord>> {
        let (scope, wanted) = (scope.clone(), name_or_id.to_owned());
        self.read(move |tx| {
            let Some(target) = find(tx, &scope, &wanted)? else { return Ok(None) };
            record(tx, &target.id)
        })
        .await
    }

    /// The target of an id, whosever it is, with its sealed secrets.
    ///
    /// # Errors
    /// The database's.
    pub async fn target_record(&self, id: &str) -> StoreResult<Option<TargetRecord>> {
        let id = id.to_owned();
        self.read(move |tx| record(tx, &id)).await
    }

    /// A target's secrets.
    ///
    /// # Errors
    /// The keyring's.
    pub async fn target_secret(&self, record: &TargetRecord) -> StoreResult<syncline_seams::Secret<Vec<u8>>> {
        let owner = notification_target_owner(&record.target.id);
        self.keyring().open_sealed(&Owner { account: &record.account, arn: &owner }, &record.sealed).await
    }
}

fn record(tx: &Tx<'_>, id: &str) -> StoreResult<Option<TargetRecord>> {
    let found = tx.row(
        &format!("SELECT {COLUMNS}, account_id, secret FROM notification_target WHERE id = $1"),
        params![id],
    )?;
    let Some(mut row) = found else { return Ok(None) };
    let target = from_row(&mut row)?;
    let (account, sealed) = (row.text()?, row.opt_bytes()?.unwrap_or_default());
    let external_id = external_id(tx, &account)?.unwrap_or_default();
    Ok(Some(TargetRecord { target, account, external_id, sealed }))
}
