//! Sync configurations.

use syncline_model::names::RoleArn;
use syncline_model::sync::BlockerKind;
use syncline_seams::chance;

use crate::change::Change;
use crate::page::{Cursor, Page, PageOf};
use crate::sql::{Row, Tx, params};
use crate::work::{self, Kind};
use crate::{Scope, Store, StoreResult};
use crate::{blockers, branches, lanes, links, pulls};

/// A sync configuration, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Our id; a configuration made again under the same name has another one.
    pub id: String,
    /// The sync type.
    pub sync_type: String,
    /// The resource's name: the stack's.
    pub resource_name: String,
    /// The repository link's id.
    pub link_id: String,
    /// The branch.
    pub branch: String,
    /// The deployment file's path.
    pub config_file: String,
    /// The role that the stack is changed with.
    pub role_arn: String,
    /// Whether commit statuses are published.
    pub publish_deployment_status: Option<String>,
    /// What triggers a sync.
    pub trigger_resource_update_on: Option<String>,
    /// Whether pull requests get a comment.
    pub pull_request_comment: Option<String>,
    /// The repository's owner, from the link.
    pub owner_id: String,
    /// The repository's name, from the link.
    pub repository_name: String,
    /// The provider type, from the link.
    pub provider_type: String,
    created_at_ms: i64,
}

/// A sync configuration to make.
#[derive(Debug, Clone)]
pub struct NewConfiguration {
    /// The sync type.
    pub sync_type: String,
    /// The resource's name.
    pub resource_name: String,
    /// The repository link's id.
    pub link_id: String,
    /// The branch.
    pub branch: String,
    /// The deployment file's path.
    pub config_file: String,
    /// The role.
    pub role_arn: RoleArn,
    /// Whether commit statuses are published.
    pub publish_deployment_status: Option<String>,
    /// What triggers a sync.
    pub trigger_resource_update_on: Option<String>,
    /// Whether pull requests get a comment.
    pub pull_request_comment: Option<String>,
}

/// The members to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default)]
pub struct ConfigurationChange {
    /// The repository link's id.
    pub link_id: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// The deployment file's path.
    pub config_file: Option<String>,
    /// The role.
    pub role_arn: Option<RoleArn>,
    /// Whether commit statuses are published.
    pub publish_deployment_status: Option<String>,
    /// What triggers a sync.
    pub trigger_resource_update_on: Option<String>,
    /// Whether pull requests get a comment.
    pub pull_request_comment: Option<String>,
}

/// The quotas that a new configuration meets.
#[derive(Debug, Clone, Copy)]
pub struct ConfigurationQuotas {
    /// Of an account and region.
    pub per_account: u32,
    /// Of a repository link.
    pub per_link: u32,
    /// Of a branch.
    pub per_branch: u32,
}

/// What came of making a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateConfiguration {
    /// Made.
    Created(Box<Configuration>),
    /// There is no such link.
    LinkNotFound,
    /// There is one of the same name and type.
    AlreadyExists,
    /// A configuration of another account drives the same stack.
    StackTaken,
    /// A quota is reached; which one.
    LimitExceeded(&'static str),
}

/// What came of changing a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateConfiguration {
    /// Changed.
    Updated(Box<Configuration>),
    /// There is none.
    NotFound,
    /// There is no such link.
    LinkNotFound,
    /// A configuration of another account drives the same stack.
    StackTaken,
    /// A quota is reached; which one.
    LimitExceeded(&'static str),
}

const COLUMNS: &str = "s.id, s.sync_type, s.resource_name, s.link_id, s.branch, s.config_file, s.role_arn,
    s.publish_deployment_status, s.trigger_resource_update_on, s.pull_request_comment,
    l.owner_id, l.repository_name, l.provider_type, s.created_at_ms";
const TABLES: &str = "sync_configuration s JOIN repository_link l ON l.id = s.link_id";

fn from_row(row: &mut Row) -> StoreResult<Configuration> {
    Ok(Configuration {
        id: row.text()?,
        sync_type: row.text()?,
        resource_name: row.text()?,
        link_id: row.text()?,
        branch: row.text()?,
        config_file: row.text()?,
        role_arn: row.text()?,
        publish_deployment_status: row.opt_text()?,
        trigger_resource_update_on: row.opt_text()?,
        pull_request_comment: row.opt_text()?,
        owner_id: row.text()?,
        repository_name: row.text()?,
        provider_type: row.text()?,
        created_at_ms: row.int()?,
    })
}

pub(crate) fn find(
    tx: &Tx<'_>,
    scope: &Scope,
    sync_type: &str,
    name: &str,
) -> StoreResult<Option<Configuration>> {
    tx.row(
        &format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE s.account_id = $1 AND s.region = $2 AND s.sync_type = $3
                AND s.resource_name = $4 AND s.deleted = 0"
        ),
        params![scope.account.as_str(), scope.region.as_str(), sync_type, name],
    )?
    .map(|mut row| from_row(&mut row))
    .transpose()
}

/// Lets no other account's configuration take the stack meanwhile.
fn lock_stack(tx: &Tx<'_>, role_account: &str, region: &str, name: &str) -> StoreResult<()> {
    tx.lock(&format!("stack {role_account}/{region}/{name}"))
}

/// Whether a live configuration other than `except` drives the stack.
fn stack_taken(tx: &Tx<'_>, role_account: &str, region: &str, name: &str, except: &str) -> StoreResult<bool> {
    Ok(tx.count(
        "SELECT count(*) FROM sync_configuration
          WHERE role_account = $1 AND region = $2 AND resource_name = $3 AND deleted = 0 AND id <> $4",
        params![role_account, region, name, except],
    )? > 0)
}

fn branch_quota_reached(
    tx: &Tx<'_>,
    link_id: &str,
    branch: &str,
    except: &str,
    quotas: ConfigurationQuotas,
) -> StoreResult<Option<&'static str>> {
    let of_link = tx.count(
        "SELECT count(*) FROM sync_configuration WHERE link_id = $1 AND deleted = 0 AND id <> $2",
        params![link_id, except],
    )?;
    let of_branch = tx.count(
        "SELECT count(*) FROM sync_configuration
          WHERE link_id = $1 AND branch = $2 AND deleted = 0 AND id <> $3",
        params![link_id, branch, except],
    )?;
    Ok(match () {
        () if of_link >= i64::from(quotas.per_link) => Some("sync configurations of a repository link"),
        () if of_branch >= i64::from(quotas.per_branch) => Some("sync configurations of a branch"),
        () => None,
    })
}

/// The branch has a row and its link looks at it at once.
fn follow_branch(tx: &mut Tx<'_>, link_id: &str, branch: &str) -> StoreResult<()> {
    let id = chance::uuid().to_string();
    let made = tx.execute(
        "INSERT INTO branch (id, link_id, name, head_seq, failures) VALUES ($1, $2, $3, 0, 0)
           ON CONFLICT (link_id, name) DO NOTHING",
        params![&id, link_id, branch],
    )?;
    if made > 0 {
        work::insert(tx, Kind::Branch, &id, false)?;
    }
    look_at_once(tx, link_id)
}

fn look_at_once(tx: &mut Tx<'_>, link_id: &str) -> StoreResult<()> {
    branches::forget_failures(tx, link_id)?;
    work::wake(tx, link_id)
}

impl Store {
    /// Makes a sync configuration; it is synced at once.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_configuration<A: Send + 'static>(
        &self,
        scope: &Scope,
        new: NewConfiguration,
        quotas: ConfigurationQuotas,
        change: Change<CreateConfiguration, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.create_configuration", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if links::find(tx, &scope, &new.link_id)?.is_none() {
                return Ok(CreateConfiguration::LinkNotFound);
            }
            if find(tx, &scope, &new.sync_type, &new.resource_name)?.is_some() {
                return Ok(CreateConfiguration::AlreadyExists);
            }
            let (account, region) = (scope.account.as_str(), scope.region.as_str());
            let role_account = new.role_arn.account().as_str();
            lock_stack(tx, role_account, region, &new.resource_name)?;
            if stack_taken(tx, role_account, region, &new.resource_name, "")? {
                return Ok(CreateConfiguration::StackTaken);
            }
            let of_account = tx.count(
                "SELECT count(*) FROM sync_configuration WHERE account_id = $1 AND region = $2 AND deleted = 0",
                params![account, region],
            )?;
            if of_account >= i64::from(quotas.per_account) {
                return Ok(CreateConfiguration::LimitExceeded("sync configurations"));
            }
            if let Some(which) = branch_quota_reached(tx, &new.link_id, &new.branch, "", quotas)? {
                return Ok(CreateConfiguration::LimitExceeded(which));
            }
            let id = chance::uuid().to_string();
            tx.execute(
                "INSERT INTO sync_configuration (id, account_id, region, sync_type, resource_name, link_id,
                     branch, config_file, role_arn, role_account, publish_deployment_status,
                     trigger_resource_update_on, pull_request_comment, generation, considered_seq,
                     considered_generation, deleted, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, 0, 0, 0, $14)",
                params![
                    &id,
                    account,
                    region,
                    &new.sync_type,
                    &new.resource_name,
                    &new.link_id,
                    &new.branch,
                    new.config_file,
                    new.role_arn.as_str(),
                    role_account,
                    new.publish_deployment_status,
                    new.trigger_resource_update_on,
                    new.pull_request_comment.as_deref(),
                    tx.now_ms()
                ],
            )?;
            work::insert(tx, Kind::Sync, &id, false)?;
            follow_branch(tx, &new.link_id, &new.branch)?;
            if new.pull_request_comment.as_deref() == Some("ENABLED") {
                pulls::wake(tx, &new.link_id)?;
            }
            let created = find(tx, &scope, &new.sync_type, &new.resource_name)?;
            Ok(created.map_or(CreateConfiguration::LinkNotFound, |configuration| {
                CreateConfiguration::Created(Box::new(configuration))
            }))
        })
        .await
    }

    /// The configuration, if the scope has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn configuration(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
    ) -> StoreResult<Option<Configuration>> {
        let (scope, sync_type, name) = (scope.clone(), sync_type.to_owned(), name.to_owned());
        self.read(move |tx| find(tx, &scope, &sync_type, &name)).await
    }

    /// One page of a link's configurations, or of the whole scope's; `None` if there is no such link.
    ///
    /// # Errors
    /// The database's.
    pub async fn configurations(
        &self,
        scope: &Scope,
        link_id: Option<&str>,
        sync_type: &str,
        page: &Page,
    ) -> StoreResult<Option<PageOf<Configuration>>> {
        let (scope, link_id, sync_type) = (scope.clone(), link_id.map(str::to_owned), sync_type.to_owned());
        let (created, id, limit) = page.bounds();
        let configurations = self.read(move |tx| {
            let (scope, link_id, sync_type) = (&scope, link_id.as_deref(), sync_type.as_str());
            if let Some(link_id) = link_id
                && links::find(tx, scope, link_id)?.is_none()
            {
                return Ok(None);
            }
            tx.rows(
                &format!(
                    "SELECT {COLUMNS} FROM {TABLES}
                      WHERE s.account_id = $1 AND s.region = $2 AND (CAST($3 AS TEXT) IS NULL OR s.link_id = $3)
                        AND s.sync_type = $4 AND s.deleted = 0 AND (s.created_at_ms, s.id) > ($5, $6)
                      ORDER BY s.created_at_ms, s.id LIMIT $7"
                ),
                params![
                    scope.account.as_str(),
                    scope.region.as_str(),
                    link_id,
                    sync_type,
                    created,
                    id,
                    limit
                ],
            )?
            .iter_mut()
            .map(from_row)
            .collect::<StoreResult<Vec<_>>>()
            .map(Some)
        }).await?;
        Ok(configurations.map(|items| {
            PageOf::cut(items, page, |c| Cursor { created_at_ms: c.created_at_ms, id: c.id.clone() })
        }))
    }

    /// Changes a configuration; what it wants now is synced at once, and an attempt of the old one that has
    /// not executed is given up.
    ///
    /// # Errors
    /// The database's.
    pub async fn update_configuration<A: Send + 'static>(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
        wanted: ConfigurationChange,
        quotas: ConfigurationQuotas,
        change: Change<UpdateConfiguration, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        let [sync_type, name] = [sync_type, name].map(str::to_owned);
        self.change("store.update_configuration", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(old) = find(tx, &scope, &sync_type, &name)? else {
                return Ok(UpdateConfiguration::NotFound);
            };
            let mut new = old.clone();
            if let Some(link_id) = wanted.link_id.filter(|link_id| *link_id != old.link_id) {
                let Some(link) = links::find(tx, &scope, &link_id)? else {
                    return Ok(UpdateConfiguration::LinkNotFound);
                };
                new.link_id = link_id;
                (new.owner_id, new.repository_name) = (link.owner_id, link.repository_name);
                new.provider_type = link.provider_type;
            }
            let set = |member: &mut String, wanted: Option<String>| {
                if let Some(wanted) = wanted {
                    *member = wanted;
                }
            };
            set(&mut new.branch, wanted.branch);
            set(&mut new.config_file, wanted.config_file);
            set(&mut new.role_arn, wanted.role_arn.as_ref().map(|role| role.as_str().to_owned()));
            let has_wanted_comment = wanted.pull_request_comment.is_some();
            new.publish_deployment_status = wanted.publish_deployment_status.or(new.publish_deployment_status);
            new.trigger_resource_update_on =
                wanted.trigger_resource_update_on.or(new.trigger_resource_update_on);
            new.pull_request_comment = wanted.pull_request_comment.or(new.pull_request_comment);

            let is_elsewhere = (&new.link_id, &new.branch) != (&old.link_id, &old.branch);
            if is_elsewhere
                && let Some(which) = branch_quota_reached(tx, &new.link_id, &new.branch, &old.id, quotas)?
            {
                return Ok(UpdateConfiguration::LimitExceeded(which));
            }
            let mut is_moved = false;
            if let Some(role) = &wanted.role_arn {
                let account = role.account().as_str();
                lock_stack(tx, account, scope.region.as_str(), &name)?;
                if stack_taken(tx, account, scope.region.as_str(), &name, &old.id)? {
                    return Ok(UpdateConfiguration::StackTaken);
                }
                // Another account means another stack: nothing was ever applied to that one.
                is_moved = tx.execute(
                    "UPDATE sync_configuration SET applied_revision = NULL, stack_id = NULL, role_account = $2
                      WHERE id = $1 AND role_account <> $2",
                    params![&old.id, account],
                )? > 0;
            }
            tx.execute(
                "UPDATE sync_configuration SET link_id = $2, branch = $3, config_file = $4, role_arn = $5,
                    publish_deployment_status = $6, trigger_resource_update_on = $7, pull_request_comment = $8,
                    generation = generation + 1
                  WHERE id = $1",
                params![
                    &old.id,
                    &new.link_id,
                    &new.branch,
                    &new.config_file,
                    &new.role_arn,
                    new.publish_deployment_status.clone(),
                    new.trigger_resource_update_on.clone(),
                    new.pull_request_comment.clone()
                ],
            )?;
            if is_elsewhere {
                // Another branch counts its heads by itself.
                tx.execute(
                    "UPDATE sync_configuration SET considered_seq = 0 WHERE id = $1",
                    params![&old.id],
                )?;
                let reason = "the sync configuration follows another branch";
                blockers::resolve_where(tx, &old.id, reason, BlockerKind::is_of_repository)?;
                follow_branch(tx, &new.link_id, &new.branch)?;
            } else {
                look_at_once(tx, &new.link_id)?;
            }
            if new.role_arn != old.role_arn {
                blockers::resolve_where(tx, &old.id, "the sync configuration has another role", |kind| {
                    matches!(kind, BlockerKind::RoleNotAssumable | BlockerKind::AccessDenied)
                        || (is_moved && kind == BlockerKind::StackDeleted)
                })?;
            }
            if is_elsewhere || is_moved {
                lanes::line_up(tx, Kind::Sync, &old.id)?;
            }
            work::wake(tx, &old.id)?;
            if old.pull_request_comment.is_some() || has_wanted_comment {
                pulls::wake(tx, &old.link_id)?;
                pulls::wake(tx, &new.link_id)?;
            }
            Ok(UpdateConfiguration::Updated(Box::new(new)))
        })
        .await
    }

    /// Deletes a configuration, if there is one, and leaves its stack alone. What is open of it is drained.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_configuration<A: Send + 'static>(
        &self,
        scope: &Scope,
        sync_type: &str,
        name: &str,
        change: Change<(), A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        let [sync_type, name] = [sync_type, name].map(str::to_owned);
        self.change("store.delete_configuration", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if let Some(configuration) = find(tx, &scope, &sync_type, &name)? {
                tx.execute(
                    "UPDATE sync_configuration SET deleted = 1 WHERE id = $1",
                    params![&configuration.id],
                )?;
                work::wake(tx, &configuration.id)?;
            }
            Ok(())
        })
        .await
    }
}
