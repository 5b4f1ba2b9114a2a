//! Tags of hosts, connections and repository links.

use crate::sql::{Tx, params};
use crate::{Scope, Store, StoreResult};

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What can have tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// A connection.
    Connection,
    /// A host.
    Host,
    /// A repository link.
    RepositoryLink,
}

impl Tagged {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Connection, Self::Host, Self::RepositoryLink];

    /// The kind as it stands in an ARN.
    #[must_use]
    pub fn arn_kind(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Host => "host",
            Self::RepositoryLink => "repository-link",
        }
    }

    fn table(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Host => "host",
            Self::RepositoryLink => "repository_link",
        }
    }
}

impl Store {
    /// The tags of a resource by key; none of one that is not of this scope.
    ///
    /// # Errors
    /// The database's.
    pub fn resource_tags(&self, scope: &Scope, kind: Tagged, id: &str) -> StoreResult<Vec<Tag>> {
        self.read(|tx| {
            tx.rows(
                &format!(
                    "SELECT t.tag_key, t.tag_value FROM {} r JOIN tag t ON t.resource_id = r.id
                      WHERE r.account_id = $1 AND r.region = $2 AND r.id = $3 ORDER BY t.tag_key",
                    kind.table()
                ),
                params![scope.account.as_str(), scope.region.as_str(), id],
            )?
            .into_iter()
            .map(|mut row| Ok(Tag { key: row.text()?, value: row.text()? }))
            .collect()
        })
    }
}

pub(crate) fn insert(tx: &Tx<'_>, resource_id: &str, tags: &[Tag]) -> StoreResult<()> {
    for tag in tags {
        tx.execute(
            "INSERT INTO tag (resource_id, tag_key, tag_value) VALUES ($1, $2, $3)
               ON CONFLICT (resource_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value",
            params![resource_id, &tag.key, &tag.value],
        )?;
    }
    Ok(())
}

pub(crate) fn delete_all(tx: &Tx<'_>, resource_id: &str) -> StoreResult<()> {
    tx.execute("DELETE FROM tag WHERE resource_id = $1", params![resource_id])?;
    Ok(())
}
