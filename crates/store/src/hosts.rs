//! Hosts: where self-managed forges live.

use crate::change::Change;
use crate::page::{Cursor, Page, PageOf};
use crate::sql::{Row, Tx, params};
use crate::tags::{self, Tag};
use crate::{Scope, Store, StoreResult, connections};

/// A host, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The ARN's last part, `<Name>-<8 hex>`.
    pub id: String,
    /// The spelling of the service under which the ARN was made.
    pub service: String,
    /// Its name; not unique.
    pub name: String,
    /// The provider type.
    pub provider_type: String,
    /// The forge's URL.
    pub provider_endpoint: String,
    /// The VPC configuration, as JSON in the API's shape.
    pub vpc_configuration: Option<String>,
    /// The status.
    pub status: String,
    created_at_ms: i64,
}

/// A host to make.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// The ARN's last part.
    pub id: String,
    /// The spelling of the service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The provider type.
    pub provider_type: String,
    /// The forge's URL.
    pub provider_endpoint: String,
    /// The VPC configuration, as JSON.
    pub vpc_configuration: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What came of making a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateHost {
    /// Made.
    Created,
    /// The account has as many as it may.
    LimitExceeded,
}

/// What to change of a host; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostChange {
    /// The forge's URL.
    pub provider_endpoint: Option<String>,
    /// The whole VPC configuration, as JSON.
    pub vpc_configuration: Option<String>,
}

/// What came of changing a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateHost {
    /// It is as asked.
    Updated,
    /// There is none.
    NotFound,
}

/// What came of deleting a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteHost {
    /// Deleted.
    Deleted,
    /// There is none.
    NotFound,
    /// Connections use it.
    InUse,
}

const COLUMNS: &str =
    "id, service, name, provider_type, provider_endpoint, vpc_configuration, status, created_at_ms";

fn from_row(mut row: Row) -> StoreResult<Host> {
    Ok(Host {
        id: row.text()?,
        service: row.text()?,
        name: row.text()?,
        provider_type: row.text()?,
        provider_endpoint: row.text()?,
        vpc_configuration: row.opt_text()?,
        status: row.text()?,
        created_at_ms: row.int()?,
    })
}

pub(crate) fn find(tx: &Tx<'_>, scope: &Scope, id: &str) -> StoreResult<Option<Host>> {
    tx.row(
        &format!(
            "SELECT {COLUMNS} FROM host WHERE account_id = $1 AND region = $2 AND id = $3 AND deleted = 0"
        ),
        params![scope.account.as_str(), scope.region.as_str(), id],
    )?
    .map(from_row)
    .transpose()
}

/// Who is spoken to at an endpoint: scheme, host and port. Two spellings of one origin may differ here, never two
/// origins be the same.
fn origin(endpoint: &str) -> (String, String) {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or_default();
    let (scheme, rest) = (scheme.to_ascii_lowercase(), rest.to_ascii_lowercase());
    let authority = rest.split('/').next().unwrap_or_default();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority).to_owned();
    (scheme, authority)
}

impl Store {
    /// Makes a host, unless the account has `quota` already.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_host<A: Send + 'static>(
        &self,
        scope: &Scope,
        new: NewHost,
        quota: u32,
        change: Change<CreateHost, A>,
    ) -> StoreResult<A> {
        let scope = scope.clone();
        self.change("store.create_host", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let count = tx.count(
                "SELECT count(*) FROM host WHERE account_id = $1 AND region = $2 AND deleted = 0",
                params![scope.account.as_str(), scope.region.as_str()],
            )?;
            if count >= i64::from(quota) {
                return Ok(CreateHost::LimitExceeded);
            }
            tx.execute(
                "INSERT INTO host (id, account_id, region, service, name, provider_type, provider_endpoint,
                                   vpc_configuration, status, created_at_ms, deleted)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'PENDING', $9, 0)",
                params![
                    &new.id,
                    scope.account.as_str(),
                    scope.region.as_str(),
                    new.service,
                    new.name,
                    new.provider_type,
                    new.provider_endpoint,
                    new.vpc_configuration,
                    tx.now_ms()
                ],
            )?;
            tags::insert(tx, &new.id, &new.tags)?;
            Ok(CreateHost::Created)
        })
        .await
    }

    /// The host, if the scope has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn host(&self, scope: &Scope, id: &str) -> StoreResult<Option<Host>> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read(move |tx| find(tx, &scope, &id)).await
    }

    /// One page of the scope's hosts.
    ///
    /// # Errors
    /// The database's.
    pub async fn hosts(&self, scope: &Scope, page: &Page) -> StoreResult<PageOf<Host>> {
        let scope = scope.clone();
        let (created, id, limit) = page.bounds();
        let hosts = self
            .read(move |tx| {
                let scope = &scope;
                tx.rows(
                    &format!(
                        "SELECT {COLUMNS} FROM host WHERE account_id = $1 AND region = $2 AND deleted = 0
                        AND (created_at_ms, id) > ($3, $4) ORDER BY created_at_ms, id LIMIT $5"
                    ),
                    params![scope.account.as_str(), scope.region.as_str(), created, id, limit],
                )?
                .into_iter()
                .map(from_row)
                .collect::<StoreResult<Vec<_>>>()
            })
            .await?;
        Ok(PageOf::cut(hosts, page, |host| Cursor { created_at_ms: host.created_at_ms, id: host.id.clone() }))
    }

    /// Changes a host. Where its endpoint or its root certificate changes, the links of its connections look again
    /// at once, and what a call under way finds at the old place is not written. Where its scheme, host or port
    /// changes, the credentials of its connections, which were given for the old one, are erased: they and the host
    /// are PENDING until they are authorized again.
    ///
    /// # Errors
    /// The database's.
    pub async fn update_host<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        to: HostChange,
        change: Change<UpdateHost, A>,
    ) -> StoreResult<A> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.change("store.update_host", change, move |tx| {
            tx.lock_account(&scope.account)?;
            let Some(host) = find(tx, &scope, &id)? else { return Ok(UpdateHost::NotFound) };
            let provider_endpoint = to.provider_endpoint.unwrap_or_else(|| host.provider_endpoint.clone());
            let vpc_configuration = to.vpc_configuration.or_else(|| host.vpc_configuration.clone());
            if (&provider_endpoint, &vpc_configuration) == (&host.provider_endpoint, &host.vpc_configuration)
            {
                return Ok(UpdateHost::Updated);
            }
            tx.execute(
                "UPDATE host SET provider_endpoint = $2, vpc_configuration = $3 WHERE id = $1",
                params![&id, &provider_endpoint, vpc_configuration],
            )?;
            if origin(&provider_endpoint) != origin(&host.provider_endpoint) {
                tx.execute("UPDATE host SET status = 'PENDING' WHERE id = $1", params![&id])?;
                let reason = format!("its host moved to {provider_endpoint}");
                connections::unauthorize_all_of_host(tx, &id, &reason)?;
            }
            let moved = provider_endpoint != host.provider_endpoint;
            connections::interrupt_links_of_host(tx, &id, moved)?;
            connections::wake_grants_of_host(tx, &id)?;
            Ok(UpdateHost::Updated)
        })
        .await
    }

    /// Deletes a host that no connection uses.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_host<A: Send + 'static>(
        &self,
        scope: &Scope,
        id: &str,
        change: Change<DeleteHost, A>,
    ) -> StoreResult<A> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.change("store.delete_host", change, move |tx| {
            tx.lock_account(&scope.account)?;
            if find(tx, &scope, &id)?.is_none() {
                return Ok(DeleteHost::NotFound);
            }
            if tx.count("SELECT count(*) FROM connection WHERE host_id = $1", params![&id])? > 0 {
                return Ok(DeleteHost::InUse);
            }
            tx.execute("UPDATE host SET deleted = 1 WHERE id = $1", params![&id])?;
            tags::delete_all(tx, &id)?;
            Ok(DeleteHost::Deleted)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let check = |one: &str, other: &str, same: bool| {
            assert_eq!(origin(one) == origin(other), same, "{one} and {other}");
        };
        check("https://git.example.com", "https://git.example.com/scm/", true);
        check("https://git.example.com:443/a", "HTTPS://Git.Example.com/b", true);
        check("http://git.example.com:80", "http://git.example.com", true);
        check("file:///a", "file:///b/c", true);
        check("https://[2606:2800:220:1::1]/a", "https://[2606:2800:220:1::1]:443/b", true);
        check("https://git.example.com", "http://git.example.com", false);
        check("https://git.example.com", "https://git.example.com:8443", false);
        check("http://git.example.com:443", "http://git.example.com", false);
        check("https://git.example.com", "https://git.example.com.attacker.example", false);
        check("https://git.example.com", "https://attacker.example/git.example.com", false);
        check("https://git.example.com", "file:///git.example.com", false);
        check("https://[2606::1]:443", "https://[2606::1:443]", false);
    }
}
