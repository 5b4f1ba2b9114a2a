//! Connections and their sealed credentials.

use crate::change::Change;
use crate::keyring::{Keys, Owner, OwnerOf};
use crate::page::{Cursor, Page, PageOf};
use crate::sql::{Row, Tx, params};
use crate::tags::{self, Tag};
use crate::work::{self, Kind};
use crate::{Scope, Store, StoreResult, branches, grants, handshakes, hosts, pulls, redeliveries};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// Its handshake is not complete.
    Pending,
    /// It can be used.
    Available,
    /// Its credential stopped working.
    Error,
}

impl ConnectionStatus {
    /// The text of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Available => "AVAILABLE",
            Self::Error => "ERROR",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        [Self::Pending, Self::Available, Self::Error].into_iter().find(|status| status.as_str() == text)
    }
}

/// A connection, as stored, without its credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The ARN's last part.
    pub id: String,
    /// The spelling of the service under which the ARN was made.
    pub service: String,
    /// Its name, unique in account and region.
    pub name: String,
    /// The provider type.
    pub provider_type: String,
    /// The host's id and the spelling of its ARN's service.
    pub host: Option<(String, String)>,
    /// Its status.
    pub status: ConnectionStatus,
    /// Why it is in ERROR, or PENDING again.
    pub status_reason: Option<String>,
    created_at_ms: i64,
}

/// A connection to make.
#[derive(Debug, Clone)]
pub struct NewConnection {
    /// The ARN's last part.
    pub id: String,
    /// The spelling of the service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The provider type; `None` takes the host's.
    pub provider_type: Option<String>,
    /// The host's id.
    pub host_id: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What came of making a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateConnection {
    /// Made.
    Created,
    /// The account has as many as it may.
    LimitExceeded,
    /// Another one has the name.
    NameTaken,
    /// There is no such host.
    HostNotFound,
}

/// A credential to store with a connection.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// Sealed by the keyring for the connection's ARN; `None` for a remote that needs none.
    pub sealed: Option<Vec<u8>>,
    /// The host's endpoint at which it was tried: it is stored only if the host is still there. `None` if it was not tried
    /// at one.
    pub tried_at: Option<String>,
}

const COLUMNS: &str = "c.id, c.service, c.name, c.provider_type, c.host_id, h.service, c.status,
    c.status_reason, c.created_at_ms";
const TABLES: &str = "connection c LEFT JOIN host h ON h.id = c.host_id";

fn from_row(mut row: Row) -> StoreResult<Connection> {
    Ok(Connection {
        id: row.text()?,
        service: row.text()?,
        name: row.text()?,
        provider_type: row.text()?,
        host: row.opt_text()?.zip(row.opt_text()?),
        status: row.parsed(ConnectionStatus::from_text)?,
        status_reason: row.opt_text()?,
        created_at_ms: row.int()?,
    })
}

/// The columns that [`owner`] reads.
pub(crate) const OWNED_BY: &str = "account_id, region, service, id";

/// Whom a connection's credential is sealed for.
pub(crate) fn owner(row: &mut Row) -> StoreResult<OwnerOf> {
    let (account, region, service, id) = (row.text()?, row.text()?, row.text()?, row.text()?);
    Ok(OwnerOf { arn: arn_of(&service, &region, &account, &id), account })
}

fn arn_of(service: &str, region: &str, account: &str, id: &str) -> String {
    crate::arn(service, region, account, "connection", id)
}

pub(crate) fn find(tx: &Tx<'_>, scope: &Scope, id: &str) -> StoreResult<Option<Connection>> {
    tx.row(
        &format!("SELECT {COLUMNS} FROM {TABLES} WHERE c.account_id = $1 AND c.region = $2 AND c.id = $3"),
        params![scope.account.as_str(), scope.region.as_str(), id],
    )?
    .map(from_row)
    .transpose()
}

/// Erases the credentials of the host's connections, which are PENDING until they are authorized again.
pub(crate) fn unauthorize_all_of_host(tx: &Tx<'_>, host_id: &str, reason: &str) -> StoreResult<()> {
    tx.execute(
        "UPDATE connection SET credential = NULL, status = 'PENDING', status_reason = $2
          WHERE host_id = $1 AND status <> 'PENDING'",
        params![host_id, reason],
    )?;
    // Nobody may count on it that a PENDING connection has none.
    tx.execute("UPDATE connection SET credential = NULL WHERE host_id = $1", params![host_id])?;
    for mut connection in tx.rows("SELECT id FROM connection WHERE host_id = $1", params![host_id])? {
        let connection = connection.text()?;
        grants::forget(tx, &connection)?;
        handshakes::forget(tx, &connection)?;
    }
    Ok(())
}

/// Has the next tokens of the host's connections got again: what kept them from it may have changed.
pub(crate) fn wake_grants_of_host(tx: &mut Tx<'_>, host_id: &str) -> StoreResult<()> {
    for mut connection in tx.rows("SELECT id FROM connection WHERE host_id = $1", params![host_id])? {
        grants::wake(tx, &connection.text()?)?;
    }
    Ok(())
}

/// Has every link of the host's connections look again: where their remotes are, or how they are asked, has changed.
pub(crate) fn interrupt_links_of_host(tx: &mut Tx<'_>, host_id: &str, moved: bool) -> StoreResult<()> {
    let links = tx.rows(
        "SELECT l.id FROM repository_link l JOIN connection c ON c.id = l.connection_id WHERE c.host_id = $1",
        params![host_id],
    )?;
    for mut link in links {
        let link = link.text()?;
        branches::forget_failures(tx, &link)?;
        if moved {
            branches::forget_heads(tx, &link)?;
        }
        branches::interrupt(tx, &link)?;
        pulls::interrupt(tx, &link)?;
        redeliveries::interrupt(tx, &link)?;
        work::interrupt(tx, Kind::Link, &link)?;
    }
    Ok(())
}

/// Makes every link of the connection due, and has its branches read again without waiting out a failure.
pub(crate) fn wake_links(tx: &mut Tx<'_>, id: &str) -> StoreResult<()> {
    let links = tx.rows("SELECT id FROM repository_link WHERE connection_id = $1", params![id])?;
    for mut link in links {
        let link = link.text()?;
        branches::forget_failures(tx, &link)?;
        work::wake(tx, &link)?;
    }
    Ok(())
}

/// Whether the scope has the connection, and its host is where something of it was tried.
pub(crate) fn is_where(tx: &Tx<'_>, scope: &Scope, id: &str, tried_at: Option<&str>) -> StoreResult<bool> {
    if find(tx, scope, id)?.is_none() {
        return Ok(false);
    }
    let Some(tried_at) = tried_at else { return Ok(true) };
    let same = "SELECT count(*) FROM host WHERE id = (SELECT host_id FROM connection WHERE id = $1)
        AND provider_endpoint = $2";
    Ok(tx.count(same, params![id, tried_at])? > 0)
}

/// Stores a credential that completes a connection's handshake, whose ARN it gives; `None` where
/// [`Store::authorize_connection`] says false. What tokens were got with until now is forgotten.
pub(crate) fn authorize(
    tx: &mut Tx<'_>,
    keys: &Keys,
    scope: &Scope,
    id: &str,
    credential: CredentialRow,
) -> StoreResult<Option<String>> {
    tx.lock_account(&scope.account)?;
    let Some(connection) = find(tx, scope, id)? else { return Ok(None) };
    if !is_where(tx, scope, id, credential.tried_at.as_deref())? {
        return Ok(None);
    }
    let arn = arn_of(&connection.service, scope.region.as_str(), scope.account.as_str(), id);
    let owner = Owner { account: scope.account.as_str(), arn: &arn };
    let sealed = credential.sealed.map(|sealed| keys.under_active(tx, &owner, sealed)).transpose()?;
    grants::forget(tx, id)?;
    handshakes::forget(tx, id)?;
    tx.execute(
        "UPDATE connection SET credential = $2, status = 'AVAILABLE', status_reason = NULL WHERE id = $1",
        params![id, sealed],
    )?;
    tx.execute(
        "UPDATE host SET status = 'AVAILABLE'
          WHERE status = 'PENDING' AND id = (SELECT host_id FROM connection WHERE id = $1)",
        params![id],
    )?;
    wake_links(tx, id)?;
    Ok(Some(arn))
}

impl Store {
    /// Makes a connection.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_connection<A: Send + 'static>(
        &self,
        scope: &Scope,
        new: NewConnection,
        quota: u32,
        change: Change<CreateConnection, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.create_connection", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let provider_type = match (&new.provider_type, &new.host_id) {
                (_, Some(host_id)) => match hosts::find(tx, &scope, host_id)? {
                    Some(host) => host.provider_type,
                    None => return Ok(CreateConnection::HostNotFound),
                },
                (Some(provider_type), None) => provider_type.clone(),
                (None, None) => return Ok(CreateConnection::HostNotFound),
            };
            let count = tx.count(
                "SELECT count(*) FROM connection WHERE account_id = $1 AND region = $2",
                params![scope.account.as_str(), scope.region.as_str()],
            )?;
            let taken = tx.count(
                "SELECT count(*) FROM connection WHERE account_id = $1 AND region = $2 AND name = $3",
                params![scope.account.as_str(), scope.region.as_str(), &new.name],
            )?;
            if taken > 0 {
                return Ok(CreateConnection::NameTaken);
            }
            if count >= i64::from(quota) {
                return Ok(CreateConnection::LimitExceeded);
            }
            tx.execute(
                "INSERT INTO connection (id, account_id, region, service, name, provider_type, host_id, status,
                                         created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, 'PENDING', $8)",
                params![
                    &new.id,
                    scope.account.as_str(),
                    scope.region.as_str(),
                    new.service,
                    new.name,
                    provider_type,
                    new.host_id,
                    tx.now_ms()
                ],
            )?;
            tags::insert(tx, &new.id, &new.tags)?;
            Ok(CreateConnection::Created)
        })
        .await
    }

    /// The connection, if the scope has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn connection(&self, scope: &Scope, id: &str) -> StoreResult<Option<Connection>> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read(move |tx| find(tx, &scope, &id)).await
    }

    /// One page of the scope's connections, of one provider type or on one host where that is given.
    ///
    /// # Errors
    /// The database's.
    pub async fn connections(
        &self,
        scope: &Scope,
        provider_type: Option<&str>,
        host_id: Option<&str>,
        page: &Page,
    ) -> StoreResult<PageOf<Connection>> {
        let (scope, provider_type, host_id) =
            (scope.clone(), provider_type.map(str::to_owned), host_id.map(str::to_owned));
        let (created, id, limit) = page.bounds();
        let connections = self
            .read(move |tx| {
                let (scope, provider_type, host_id) = (&scope, provider_type.as_deref(), host_id.as_deref());
                tx.rows(
                    &format!(
                        "SELECT {COLUMNS} FROM {TABLES}
                      WHERE c.account_id = $1 AND c.region = $2 AND (c.created_at_ms, c.id) > ($3, $4)
                        AND (CAST($5 AS TEXT) IS NULL OR c.provider_type = $5)
                        AND (CAST($6 AS TEXT) IS NULL OR c.host_id = $6)
                      ORDER BY c.created_at_ms, c.id LIMIT $7"
                    ),
                    params![
                        scope.account.as_str(),
                        scope.region.as_str(),
                        created,
                        id,
                        provider_type,
                        host_id,
                        limit
                    ],
                )?
                .into_iter()
                .map(from_row)
                .collect::<StoreResult<Vec<_>>>()
            })
            .await?;
        Ok(PageOf::cut(connections, page, |c| Cursor { created_at_ms: c.created_at_ms, id: c.id.clone() }))
    }

    /// Completes a connection's handshake: stores its credential, makes it AVAILABLE and its host too, and
    /// wakes its links. False, and nothing is stored, if the scope has no such connection, or its host is not where the
    /// credential was tried.
    ///
    /// # Errors
    /// The database's.
    pub async fn authorize_connection<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        credential: CredentialRow,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let (scope, id, keys) = (scope.clone(), id.to_owned(), self.keys());
        self.change("store.authorize_connection", change, move |tx| {
            Ok(authorize(tx, &keys, &scope, &id, credential)?.is_some())
        })
        .await
    }

    /// Deletes a connection and its credential; its links stay and their syncs block. False if the scope has
    /// no such connection.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_connection<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.change("store.delete_connection", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let deleted = tx.execute(
                "DELETE FROM connection WHERE account_id = $1 AND region = $2 AND id = $3",
                params![scope.account.as_str(), scope.region.as_str(), &id],
            )?;
            if deleted > 0 {
                tags::delete_all(tx, &id)?;
                grants::forget(tx, &id)?;
                handshakes::forget(tx, &id)?;
                wake_links(tx, &id)?;
            }
            Ok(deleted > 0)
        })
        .await
    }
}
