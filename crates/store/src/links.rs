//! Repository links, and what the worker needs for their remote calls.

use crate::change::Change;
use crate::connections::{self, ConnectionStatus};
use crate::keyring::Owner;
use crate::page::{Cursor, Page, PageOf};
use crate::sql::{Row, Tx, params};
use crate::tags::{self, Tag};
use crate::work::{self, Claim, Kind};
use crate::{Scope, Store, StoreResult, branches, grants, pulls, redeliveries, webhooks};

/// A repository link, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id: the ARN's last part.
    pub id: String,
    /// The spelling of the service under which the ARN was made.
    pub service: String,
    /// The connection's ARN, as it was made.
    pub connection_arn: String,
    /// The repository's owner.
    pub owner_id: String,
    /// The repository's name.
    pub repository_name: String,
    /// The provider type.
    pub provider_type: String,
    /// The encryption key's ARN: kept and returned, no more.
    pub encryption_key_arn: Option<String>,
    created_at_ms: i64,
}

/// A repository link to make.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Its id.
    pub id: String,
    /// The spelling of the service.
    pub service: String,
    /// The connection's id.
    pub connection_id: String,
    /// The repository's owner.
    pub owner_id: String,
    /// The repository's name.
    pub repository_name: String,
    /// The encryption key's ARN.
    pub encryption_key_arn: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What came of making a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateLink {
    /// Made.
    Created(Link),
    /// There is no such connection.
    ConnectionNotFound,
    /// The connection is not AVAILABLE.
    ConnectionNotAvailable(ConnectionStatus),
    /// There is one of the same connection, owner and repository.
    AlreadyExists,
    /// The account has as many as it may.
    LimitExceeded,
}

/// What to change of a link; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkChange {
    /// The connection's id.
    pub connection_id: Option<String>,
    /// The encryption key's ARN.
    pub encryption_key_arn: Option<String>,
}

/// What came of changing a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateLink {
    /// It is as asked.
    Updated(Link),
    /// There is none.
    NotFound,
    /// There is no such connection.
    ConnectionNotFound,
    /// The other connection is not AVAILABLE.
    ConnectionNotAvailable(ConnectionStatus),
    /// The other connection is of another provider type than the link.
    OtherProviderType {
        /// The connection's.
        connection: String,
        /// The link's.
        link: String,
    },
    /// The other connection has a link of the same owner and repository.
    AlreadyExists(Link),
}

/// What came of deleting a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteLink {
    /// Deleted.
    Deleted,
    /// There is none.
    NotFound,
    /// Sync configurations use it.
    InUse,
}

/// What the worker needs to call a link's remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRecord {
    /// The link.
    pub link: Link,
    /// The account that owns it.
    pub account: String,
    /// The connection, unless it was deleted.
    pub connection: Option<LinkConnection>,
    /// The names of the branches that live sync configurations follow.
    pub branches: Vec<String>,
    /// Failed remote calls in a row.
    pub failures: i64,
    /// Since when its heads are to be asked for, in milliseconds since the Unix epoch.
    pub due_ms: i64,
}

impl LinkRecord {
    /// The connection's credential, as it is sealed.
    #[must_use]
    pub fn credential(&self) -> Option<&[u8]> {
        self.connection.as_ref()?.credential.as_deref()
    }
}

/// The connection of a link, with its sealed credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConnection {
    /// Its ARN in the spelling under which it was made: the owner of the sealed credential.
    pub arn: String,
    /// Its status.
    pub status: ConnectionStatus,
    /// Why it is in ERROR, or PENDING again.
    pub status_reason: Option<String>,
    /// The host's endpoint.
    pub provider_endpoint: Option<String>,
    /// The host's VPC configuration, as JSON: holds the extra root certificate.
    pub vpc_configuration: Option<String>,
    /// The sealed credential.
    pub credential: Option<Vec<u8>>,
    /// Why there is no other one, if it has run out.
    pub ran_out: Option<String>,
}

const COLUMNS: &str = "id, service, connection_arn, owner_id, repository_name, provider_type,
    encryption_key_arn, created_at_ms";

fn from_row(row: &mut Row) -> StoreResult<Link> {
    Ok(Link {
        id: row.text()?,
        service: row.text()?,
        connection_arn: row.text()?,
        owner_id: row.text()?,
        repository_name: row.text()?,
        provider_type: row.text()?,
        encryption_key_arn: row.opt_text()?,
        created_at_ms: row.int()?,
    })
}

pub(crate) fn find(tx: &Tx<'_>, scope: &Scope, id: &str) -> StoreResult<Option<Link>> {
    tx.row(
        &format!("SELECT {COLUMNS} FROM repository_link WHERE account_id = $1 AND region = $2 AND id = $3"),
        params![scope.account.as_str(), scope.region.as_str(), id],
    )?
    .map(|mut row| from_row(&mut row))
    .transpose()
}

/// Gives a link another connection, or says why not.
fn reconnect(
    tx: &mut Tx<'_>,
    scope: &Scope,
    link: &Link,
    connection_id: &str,
) -> StoreResult<Option<UpdateLink>> {
    let Some(connection) = connections::find(tx, scope, connection_id)? else {
        return Ok(Some(UpdateLink::ConnectionNotFound));
    };
    let (account, region) = (scope.account.as_str(), scope.region.as_str());
    let arn = crate::arn(&connection.service, region, account, "connection", connection_id);
    if arn == link.connection_arn {
        return Ok(None);
    }
    if connection.provider_type != link.provider_type {
        return Ok(Some(UpdateLink::OtherProviderType {
            connection: connection.provider_type,
            link: link.provider_type.clone(),
        }));
    }
    if connection.status != ConnectionStatus::Available {
        return Ok(Some(UpdateLink::ConnectionNotAvailable(connection.status)));
    }
    let same = tx.count(
        "SELECT count(*) FROM repository_link
          WHERE connection_id = $1 AND owner_id = $2 AND repository_name = $3",
        params![connection_id, &link.owner_id, &link.repository_name],
    )?;
    if same > 0 {
        return Ok(Some(UpdateLink::AlreadyExists(link.clone())));
    }
    tx.execute(
        "UPDATE repository_link SET connection_id = $2, connection_arn = $3 WHERE id = $1",
        params![&link.id, connection_id, arn],
    )?;
    branches::forget_failures(tx, &link.id)?;
    branches::forget_heads(tx, &link.id)?;
    branches::interrupt(tx, &link.id)?;
    pulls::interrupt(tx, &link.id)?;
    redeliveries::interrupt(tx, &link.id)?;
    work::interrupt(tx, Kind::Link, &link.id)?;
    Ok(None)
}

/// The branches of a link that syncs follow. By the branches, because every attempt asks when it reads its files, and a
/// link may have thousands of syncs.
const BRANCHES: &str = "SELECT b.name FROM branch b
   WHERE b.link_id = $1
     AND EXISTS (SELECT 1 FROM sync_configuration s WHERE s.link_id = $1 AND s.deleted = 0 AND s.branch = b.name)
   ORDER BY b.name";

impl Store {
    /// Makes a repository link on an AVAILABLE connection.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_link<A: Send + 'static>(
        &self,
        scope: &Scope,
        new: NewLink,
        quota: u32,
        change: Change<CreateLink, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.create_link", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(connection) = connections::find(tx, &scope, &new.connection_id)? else {
                return Ok(CreateLink::ConnectionNotFound);
            };
            if connection.status != ConnectionStatus::Available {
                return Ok(CreateLink::ConnectionNotAvailable(connection.status));
            }
            let same = tx.count(
                "SELECT count(*) FROM repository_link
                  WHERE connection_id = $1 AND owner_id = $2 AND repository_name = $3",
                params![&new.connection_id, &new.owner_id, &new.repository_name],
            )?;
            if same > 0 {
                return Ok(CreateLink::AlreadyExists);
            }
            let count = tx.count(
                "SELECT count(*) FROM repository_link WHERE account_id = $1 AND region = $2",
                params![scope.account.as_str(), scope.region.as_str()],
            )?;
            if count >= i64::from(quota) {
                return Ok(CreateLink::LimitExceeded);
            }
            let (account, region) = (scope.account.as_str(), scope.region.as_str());
            let connection_arn =
                crate::arn(&connection.service, region, account, "connection", &new.connection_id);
            tx.execute(
                "INSERT INTO repository_link (id, account_id, region, service, connection_id, connection_arn,
                     owner_id, repository_name, provider_type, encryption_key_arn, failures, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11)",
                params![
                    &new.id,
                    account,
                    region,
                    new.service,
                    new.connection_id,
                    connection_arn,
                    new.owner_id,
                    new.repository_name,
                    connection.provider_type,
                    new.encryption_key_arn,
                    tx.now_ms()
                ],
            )?;
            tags::insert(tx, &new.id, &new.tags)?;
            work::insert(tx, Kind::Link, &new.id, false)?;
            Ok(find(tx, &scope, &new.id)?.map_or(CreateLink::ConnectionNotFound, CreateLink::Created))
        })
        .await
    }

    /// The link, if the scope has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn link(&self, scope: &Scope, id: &str) -> StoreResult<Option<Link>> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read(move |tx| find(tx, &scope, &id)).await
    }

    /// One page of the scope's links.
    ///
    /// # Errors
    /// The database's.
    pub async fn links(&self, scope: &Scope, page: &Page) -> StoreResult<PageOf<Link>> {
        let scope = scope.clone();
        let (created, id, limit) = page.bounds();
        let links = self
            .read(move |tx| {
                let scope = &scope;
                tx.rows(
                    &format!(
                        "SELECT {COLUMNS} FROM repository_link WHERE account_id = $1 AND region = $2
                        AND (created_at_ms, id) > ($3, $4) ORDER BY created_at_ms, id LIMIT $5"
                    ),
                    params![scope.account.as_str(), scope.region.as_str(), created, id, limit],
                )?
                .iter_mut()
                .map(from_row)
                .collect::<StoreResult<Vec<_>>>()
            })
            .await?;
        Ok(PageOf::cut(links, page, |link| Cursor { created_at_ms: link.created_at_ms, id: link.id.clone() }))
    }

    /// Changes a link. With another connection it looks again at once, and what a call under way finds through the
    /// old one is not written.
    ///
    /// # Errors
    /// The database's.
    pub async fn update_link<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        to: LinkChange,
        change: Change<UpdateLink, A>,
    ) -> StoreResult<A> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.change("store.update_link", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(link) = find(tx, &scope, &id)? else { return Ok(UpdateLink::NotFound) };
            if let Some(connection_id) = to.connection_id
                && let Some(refusal) = reconnect(tx, &scope, &link, &connection_id)?
            {
                return Ok(refusal);
            }
            if let Some(key) = to.encryption_key_arn {
                tx.execute(
                    "UPDATE repository_link SET encryption_key_arn = $2 WHERE id = $1",
                    params![&id, key],
                )?;
            }
            Ok(find(tx, &scope, &id)?.map_or(UpdateLink::NotFound, UpdateLink::Updated))
        })
        .await
    }

    /// Deletes a link that no sync configuration uses.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_link<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        change: Change<DeleteLink, A>,
    ) -> StoreResult<A> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.change("store.delete_link", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if find(tx, &scope, &id)?.is_none() {
                return Ok(DeleteLink::NotFound);
            }
            let syncs = "SELECT count(*) FROM sync_configuration WHERE link_id = $1 AND deleted = 0";
            if tx.count(syncs, params![&id])? > 0 {
                return Ok(DeleteLink::InUse);
            }
            tx.execute(
                "DELETE FROM event_page WHERE attempt_id IN (SELECT a.id FROM repository_attempt a
                    JOIN branch b ON b.id = a.branch_id WHERE b.link_id = $1)",
                params![&id],
            )?;
            tx.execute(
                "DELETE FROM repository_attempt WHERE branch_id IN (SELECT id FROM branch WHERE link_id = $1)",
                params![&id],
            )?;
            tx.execute(
                "DELETE FROM work WHERE id IN (SELECT id FROM branch WHERE link_id = $1)",
                params![&id],
            )?;
            // The link's own work stays until the worker has thrown its cached commits away.
            work::wake(tx, &id)?;
            pulls::forget(tx, &id)?;
            tx.execute("DELETE FROM branch WHERE link_id = $1", params![&id])?;
            tx.execute("DELETE FROM repository_link WHERE id = $1", params![&id])?;
            webhooks::delete_of_link(tx, &id)?;
            tags::delete_all(tx, &id)?;
            Ok(DeleteLink::Deleted)
        })
        .await
    }

    /// What the worker needs for a link's remote calls; `None` once it is deleted.
    ///
    /// # Errors
    /// The database's.
    pub async fn link_record(&self, id: &str) -> StoreResult<Option<LinkRecord>> {
        let (id, keys) = (id.to_owned(), self.keys());
        self.read(move |tx| {
            let id = id.as_str();
            let found = tx.row(
                &format!("SELECT {COLUMNS}, account_id, failures, region, connection_id FROM repository_link WHERE id = $1"),
                params![id],
            )?;
            let Some(mut row) = found else { return Ok(None) };
            let link = from_row(&mut row)?;
            let (account, failures, region, connection_id) = (row.text()?, row.int()?, row.text()?, row.text()?);
            let connection = tx.row(
                "SELECT c.service, c.status, c.status_reason, h.provider_endpoint, h.vpc_configuration, c.credential,
                        g.ends_ms, g.trouble, g.credential_digest
                   FROM connection c LEFT JOIN host h ON h.id = c.host_id
                     LEFT JOIN connection_grant g ON g.connection_id = c.id WHERE c.id = $1",
                params![&connection_id],
            )?;
            let connection = connection
                .map(|mut row| {
                    let service = row.text()?;
                    let mut connection = LinkConnection {
                        arn: crate::arn(&service, &region, &account, "connection", &connection_id),
                        status: row.parsed(ConnectionStatus::from_text)?,
                        status_reason: row.opt_text()?,
                        provider_endpoint: row.opt_text()?,
                        vpc_configuration: row.opt_text()?,
                        credential: row.opt_bytes()?,
                        ran_out: None,
                    };
                    let (ends_ms, trouble, digest) = (row.opt_int()?, row.opt_text()?, row.opt_text()?);
                    if ends_ms.is_some_and(|ends_ms| ends_ms <= tx.now_ms())
                        && let Some(digest) = digest
                    {
                        let owner = Owner { account: &account, arn: &connection.arn };
                        let is_of = grants::is_of(tx, &keys, &owner, connection.credential.as_deref(), &digest)?;
                        let why = || trouble.unwrap_or_else(|| "the next one is being got".to_owned());
                        connection.ran_out = is_of.then(why);
                    }
                    StoreResult::Ok(connection)
                })
                .transpose()?;
            let branches = tx
                .rows(
                    BRANCHES,
                    params![id],
                )?
                .iter_mut()
                .map(Row::text)
                .collect::<StoreResult<Vec<_>>>()?;
            let due = tx.row("SELECT due_at_ms FROM work WHERE id = $1", params![id])?;
            let due = due.map_or(Ok(None), |mut row| row.opt_int())?;
            let due_ms = due.unwrap_or(tx.now_ms());
            Ok(Some(LinkRecord { link, account, connection, branches, failures, due_ms }))
        })
        .await
    }

    /// Notes that the connection's credential works, or why it does not. False, and nothing is noted, if it is not the one
    /// that was `used`, as it was sealed then: another one was stored meanwhile, of which that says nothing.
    ///
    /// # Errors
    /// [`crate::StoreError::Stale`] if the claim was lost.
    pub async fn record_credential(
        &self,
        claim: &Claim,
        used: Option<&[u8]>,
        refused: Option<String>,
    ) -> StoreResult<bool> {
        let (claim, used, keys) = (claim.clone(), used.map(<[u8]>::to_vec), self.keys());
        self.write("store.record_credential", move |tx| {
            work::fence(tx, &claim)?;
            let found = tx.row(
                "SELECT c.id, c.account_id, c.region, c.service, c.credential, g.refused, g.credential_digest
                   FROM repository_link l JOIN connection c ON c.id = l.connection_id
                     LEFT JOIN connection_grant g ON g.connection_id = c.id WHERE l.id = $1",
                params![&claim.id],
            )?;
            let Some(mut row) = found else { return Ok(false) };
            let (id, account, region, service) = (row.text()?, row.text()?, row.text()?, row.text()?);
            let stored = row.opt_bytes()?;
            if stored != used {
                return Ok(false);
            }
            // A token that is still good says nothing of the next one, which the forge does not give.
            let is_without_next = match (row.opt_int()?, row.opt_text()?) {
                (Some(1), Some(digest)) => {
                    let arn = crate::arn(&service, &region, &account, "connection", &id);
                    let owner = Owner { account: &account, arn: &arn };
                    grants::is_of(tx, &keys, &owner, stored.as_deref(), &digest)?
                }
                _ => false,
            };
            let status = if refused.is_some() { "ERROR" } else { "AVAILABLE" };
            let is_refused = refused.is_some();
            if !is_without_next {
                tx.execute(
                    "UPDATE connection SET status = $2, status_reason = $3
                      WHERE id = $1 AND status IN ('AVAILABLE', 'ERROR')",
                    params![&id, status, refused],
                )?;
            }
            if is_refused {
                grants::want(tx, &claim.id)?;
            }
            Ok(true)
        })
        .await
    }
}
